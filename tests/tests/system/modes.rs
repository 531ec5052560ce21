//! What a layer can be told beside what it expects of tokens.
