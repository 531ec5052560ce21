//! Objects: their members, each of which comes once, and values that are checked and skipped.

use std::{borrow::Cow, fmt, marker::PhantomData};

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::{
    malformed::{Malformed, TOO_DEEP, TWICE},
    name::{Either, Name, NameSeed},
    reserved,
    seen::Seen,
    values::Text,
};

/// How deep arrays and objects may nest. A Kubernetes token needs 3.
pub(crate) const MAX_DEPTH: u8 = 32;

/// What is made of the members of one object. Those of other names are checked and skipped.
pub(crate) trait Members<'de> {
    /// The names that count.
    type Name: Name;

    /// Takes one member, which does not come twice. It must read `value`, by one of its methods.
    fn member<A: MapAccess<'de>>(
        &mut self,
        name: Self::Name,
        value: Value<'_, A>,
    ) -> Result<(), A::Error>;

    /// Notes the member that made reading fail: in it, or because it came twice.
    fn note_fault(&mut self, _: Self::Name) {}
}

/// The value of a member, to be read once.
pub(crate) struct Value<'a, A> {
    map: &'a mut A,
    depth: u8,
}

impl<'de, A: MapAccess<'de>> Value<'_, A> {
    pub(crate) fn text(self) -> Result<Cow<'de, str>, A::Error> {
        self.map.next_value_seed(Text)
    }

    pub(crate) fn object<M: Members<'de>>(self, members: &mut M) -> Result<(), A::Error> {
        self.map.next_value_seed(Object { members, depth: self.depth })
    }

    /// Checks an object of which no member counts.
    pub(crate) fn skip_object(self) -> Result<(), A::Error> {
        self.object(&mut SkipMembers)
    }

    /// Checks a value that does not count.
    pub(crate) fn skip(self) -> Result<(), A::Error> {
        self.map.next_value_seed(Skip { depth: self.depth })
    }

    /// Reads a value with no objects in it.
    pub(crate) fn seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}

/// Reads a whole text as one object.
pub(crate) fn parse_object<'de, M: Members<'de>>(
    text: &'de str,
    members: &mut M,
) -> Result<(), Malformed> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let object = Object { members, depth: 1 };
    object.deserialize(&mut deserializer).and_then(|()| deserializer.end()).map_err(Malformed)
}

struct Object<'m, M> {
    members: &'m mut M,
    depth: u8,
}

impl<'de, M: Members<'de>> DeserializeSeed<'de> for Object<'_, M> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, M: Members<'de>> Visitor<'de> for Object<'_, M> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    // once for each kind of object: what is small stays in the processor's nearest memory
    #[inline(never)]
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let depth = deeper(self.depth);
        let mut known = 0;
        let mut unknown: Option<Seen<'de>> = None;
        while let Some(name) = map.next_key_seed(NameSeed::<M::Name>(PhantomData))? {
            match &name {
                Either::Unknown(name) if reserved::is_reserved(name) => {
                    return reserved::number(name, map);
                }
                _ => {}
            }
            // not before the name was looked at: a number is no deeper than what it is in
            let depth = depth.ok_or_else(too_deep)?;
            let value = Value { map: &mut map, depth };
            let new = match &name {
                Either::Known(name) => known & name.bit() == 0,
                Either::Unknown(name) => unknown.get_or_insert_default().insert(name),
            };
            match name {
                Either::Known(name) => {
                    known |= name.bit();
                    let read = if new {
                        self.members.member(name, value)
                    } else {
                        Err(A::Error::custom(TWICE))
                    };
                    read.inspect_err(|_| self.members.note_fault(name))?;
                }
                Either::Unknown(_) if !new => return Err(A::Error::custom(TWICE)),
                Either::Unknown(_) => value.skip()?,
            }
        }
        depth.map(drop).ok_or_else(too_deep)
    }
}

fn deeper(depth: u8) -> Option<u8> {
    (depth <= MAX_DEPTH).then_some(depth + 1)
}

#[cold]
fn too_deep<E: serde::de::Error>() -> E {
    E::custom(TOO_DEEP)
}

/// Any value, checked and thrown away.
struct Skip {
    depth: u8,
}

/// The members of a skipped object, of which none counts.
pub(super) struct SkipMembers;

#[derive(Clone, Copy)]
pub(super) enum NoName {}

impl Name for NoName {
    fn of(_: &str) -> Option<Self> {
        None
    }

    fn text(self) -> &'static str {
        match self {}
    }

    fn bit(self) -> u32 {
        match self {}
    }
}

impl<'de> Members<'de> for SkipMembers {
    type Name = NoName;

    fn member<A: MapAccess<'de>>(&mut self, name: NoName, _: Value<'_, A>) -> Result<(), A::Error> {
        match name {}
    }
}

impl<'de> DeserializeSeed<'de> for Skip {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Skip {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let depth = deeper(self.depth).ok_or_else(too_deep)?;
        while list.next_element_seed(Skip { depth })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        Object { members: &mut SkipMembers, depth: self.depth }.visit_map(map)
    }
}
