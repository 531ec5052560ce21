//! Member names that `serde_json` reserves, and its numbers, which may come under one of them.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use super::malformed::RESERVED_NAME;

/// A `serde_json::Value` takes the text under such a name as JSON, unseen by a strict reader.
const RESERVED: &str = "$serde_json::private::";

/// With `serde_json/arbitrary_precision`, which any crate may enable, a number of any type comes as
/// an object with one member of this name.
const NUMBER: &str = "$serde_json::private::Number";

pub(super) fn is_reserved(name: &str) -> bool {
    name.starts_with(RESERVED)
}

/// Reads the rest of an object that begins with a reserved name: a number, or an error.
#[cold]
pub(super) fn number<'de, A: MapAccess<'de>>(name: &str, mut map: A) -> Result<(), A::Error> {
    if name != NUMBER {
        return Err(A::Error::custom(RESERVED_NAME));
    }
    let reserved = |_| A::Error::custom(RESERVED_NAME);
    let is_finite = map.next_value_seed(NumberText).map_err(reserved)?;
    match map.next_key::<IgnoredAny>()? {
        None if is_finite => Ok(()),
        None => Err(A::Error::custom("number out of range")),
        Some(_) => Err(A::Error::custom(RESERVED_NAME)),
    }
}

/// The text of a number, and whether the number is finite.
struct NumberText;

impl<'de> DeserializeSeed<'de> for NumberText {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for NumberText {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<bool, E> {
        Err(E::custom(RESERVED_NAME))
    }

    /// The text of a number is owned, which that of a real member never is.
    fn visit_string<E: Error>(self, number: String) -> Result<bool, E> {
        Ok(number.parse::<f64>().is_ok_and(f64::is_finite))
    }
}
