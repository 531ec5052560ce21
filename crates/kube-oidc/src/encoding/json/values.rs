//! Values that are kept: strings, lists of strings, and what may be `null`.

use std::{borrow::Cow, fmt, ops::Deref};

use serde::de::{DeserializeSeed, Deserializer, SeqAccess, Visitor};

/// A string, borrowed where it has no escapes.
pub(crate) struct Text;

impl<'de> DeserializeSeed<'de> for Text {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Text {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

/// A value, or `None` for `null`.
pub(crate) struct Nullable<S>(pub(crate) S);

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Nullable<S> {
    type Value = Option<S::Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de, S: DeserializeSeed<'de>> Visitor<'de> for Nullable<S> {
    type Value = Option<S::Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value or null")
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        self.0.deserialize(deserializer).map(Some)
    }
}

/// Some strings. A single one, as nearly every token's audience is, needs no allocation.
#[derive(Debug)]
pub(crate) enum Texts<'de> {
    One([Cow<'de, str>; 1]),
    Several(Vec<Cow<'de, str>>),
}

impl Default for Texts<'_> {
    fn default() -> Self {
        Self::Several(Vec::new())
    }
}

impl<'de> Deref for Texts<'de> {
    type Target = [Cow<'de, str>];

    fn deref(&self) -> &Self::Target {
        match self {
            Self::One(one) => one,
            Self::Several(several) => several,
        }
    }
}

/// One string, or a list of strings.
pub(crate) struct TextOrList;

impl<'de> DeserializeSeed<'de> for TextOrList {
    type Value = Texts<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for TextOrList {
    type Value = Texts<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or a list of strings")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Texts::One([Cow::Borrowed(text)]))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Texts::One([Cow::Owned(text.to_owned())]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let Some(first) = list.next_element_seed(Text)? else { return Ok(Texts::default()) };
        let Some(second) = list.next_element_seed(Text)? else { return Ok(Texts::One([first])) };
        let mut texts = vec![first, second];
        while let Some(text) = list.next_element_seed(Text)? {
            texts.push(text);
        }
        Ok(Texts::Several(texts))
    }
}
