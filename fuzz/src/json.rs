//! JSON as its grammar has it. `serde_json` takes no number that is too large for a float and no half
//! of a surrogate pair, which says nothing of the rest of a document: here such a value is null.

use std::collections::HashMap;

use serde_json::{Value, value::RawValue};

/// As deep as `serde_json` reads.
const MAX_DEPTH: usize = 128;

/// What a document says, without the byte order mark that it may begin with.
pub(crate) fn read_document(document: &[u8]) -> Option<Value> {
    read(document.strip_prefix("\u{feff}".as_bytes()).unwrap_or(document))
}

/// What a text says, if it is JSON.
pub(crate) fn read(document: &[u8]) -> Option<Value> {
    serde_json::from_slice(document).ok().map(|raw| value(raw, MAX_DEPTH))
}

fn value(raw: &RawValue, depth: usize) -> Value {
    let (text, Some(deeper)) = (raw.get(), depth.checked_sub(1)) else { return Value::Null };
    match text.as_bytes().first() {
        Some(b'{') => {
            let members: HashMap<String, &RawValue> =
                serde_json::from_str(text).unwrap_or_default();
            members.into_iter().map(|(name, raw)| (name, value(raw, deeper))).collect()
        }
        Some(b'[') => {
            let elements: Vec<&RawValue> = serde_json::from_str(text).unwrap_or_default();
            elements.into_iter().map(|raw| value(raw, deeper)).collect()
        }
        _ => serde_json::from_str(text).unwrap_or_default(),
    }
}
