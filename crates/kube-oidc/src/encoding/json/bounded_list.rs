//! A list with a maximum of elements.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, SeqAccess, Visitor};

/// A list of which the elements are read as they come, at most `limit` of them.
pub(crate) struct BoundedList<F> {
    pub(crate) limit: usize,
    pub(crate) each: F,
}

impl<'de, F> DeserializeSeed<'de> for BoundedList<F>
where
    F: FnMut(&'de serde_json::value::RawValue),
{
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, F> Visitor<'de> for BoundedList<F>
where
    F: FnMut(&'de serde_json::value::RawValue),
{
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        for _ in 0..self.limit {
            match list.next_element()? {
                Some(element) => (self.each)(element),
                None => return Ok(()),
            }
        }
        match list.next_element::<IgnoredAny>()? {
            None => Ok(()),
            Some(_) => {
                Err(A::Error::custom(format_args!("more than {} elements in a list", self.limit)))
            }
        }
    }
}
