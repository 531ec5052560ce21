//! What is open to everybody, and what only looks so.
