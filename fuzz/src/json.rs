//! JSON as its grammar has it. `serde_json` takes no number that is too large for a float, which says
//! nothing of the rest of a document: here such a number is the largest that there is.

use std::collections::HashMap;

use serde_json::{Value, json, value::RawValue};

/// As deep as `serde_json` reads.
const MAX_DEPTH: usize = 128;

/// What a document says, if it is one.
pub(crate) fn read(document: &[u8]) -> Option<Value> {
    value(serde_json::from_slice(document).ok()?, MAX_DEPTH)
}

fn value(raw: &RawValue, depth: usize) -> Option<Value> {
    let (text, deeper) = (raw.get(), depth.checked_sub(1)?);
    match text.as_bytes().first()? {
        b'{' => {
            let members: HashMap<String, &RawValue> = serde_json::from_str(text).ok()?;
            let member = |(name, raw)| Some((name, value(raw, deeper)?));
            members.into_iter().map(member).collect::<Option<_>>().map(Value::Object)
        }
        b'[' => {
            let elements: Vec<&RawValue> = serde_json::from_str(text).ok()?;
            elements.into_iter().map(|raw| value(raw, deeper)).collect()
        }
        first @ (b'-' | b'0'..=b'9') => Some(
            serde_json::from_str(text)
                .unwrap_or_else(|_| json!(if *first == b'-' { f64::MIN } else { f64::MAX })),
        ),
        _ => serde_json::from_str(text).ok(),
    }
}
