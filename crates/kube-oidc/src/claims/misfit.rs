//! The member of a payload that does not fit a custom type, named only where the type names it.

use serde::{
    Deserializer,
    de::{DeserializeOwned, DeserializeSeed, IntoDeserializer as _, MapAccess, Visitor},
    forward_to_deserialize_any,
};
use serde_json::{Error, Map, Value, map::IntoIter};

/// Says which claim does not fit a type. The words of `serde` stay out, as they hold values, and a
/// name is shown only if it is one of the fields of the type.
#[cold]
pub(super) fn misfit<C: DeserializeOwned>(text: &str) -> String {
    let Ok(members) = serde_json::from_str::<Map<String, Value>>(text) else {
        return "the claims do not fit the type".to_owned();
    };
    let mut reader =
        Reader { members: members.into_iter(), value: Value::Null, name: None, fields: &[] };
    let error = C::deserialize(&mut reader).err();
    let words = error.map(|error| error.to_string()).unwrap_or_default();
    let is_missing = |field: &str| words.starts_with(&format!("missing field `{field}`"));
    let fields = || reader.fields.iter();
    if let Some(name) = &reader.name {
        if let Some(field) = fields().find(|field| **field == name) {
            return format!("the claim `{field}` does not fit the type");
        }
    } else if let Some(field) = fields().find(|field| is_missing(field)) {
        return format!("missing claim `{field}`, which the type requires");
    }
    "the claims do not fit the type".to_owned()
}

/// Reads the members of a payload one by one.
struct Reader {
    members: IntoIter,
    value: Value,
    /// The member that is read, until all are.
    name: Option<String>,
    /// The fields of the type, if it is a struct.
    fields: &'static [&'static str],
}

impl<'de> Deserializer<'de> for &mut Reader {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_map(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.fields = fields;
        visitor.visit_map(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

impl<'de> MapAccess<'de> for &mut Reader {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        let Some((name, value)) = self.members.next() else {
            self.name = None;
            return Ok(None);
        };
        self.value = value;
        let key = seed.deserialize(name.as_str().into_deserializer());
        self.name = Some(name);
        key.map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        seed.deserialize(self.value.take())
    }
}
