//! The names of members that count.

use std::{borrow::Cow, fmt, marker::PhantomData};

use serde::de::{DeserializeSeed, Deserializer, Visitor};

/// A name of a member that counts: see [`names`].
pub(crate) trait Name: Copy + 'static {
    fn of(text: &str) -> Option<Self>;

    fn text(self) -> &'static str;

    /// A bit of its own.
    fn bit(self) -> u32;
}

/// Makes an enum of the names of members that count, at most 32.
macro_rules! names {
    ($names:ident { $($name:ident = $text:literal),* $(,)? }) => {
        #[derive(Clone, Copy, Debug)]
        pub(crate) enum $names { $($name),* }

        impl $crate::encoding::json::Name for $names {
            fn of(text: &str) -> Option<Self> {
                match text {
                    $($text => Some(Self::$name),)*
                    _ => None,
                }
            }

            fn text(self) -> &'static str {
                match self { $(Self::$name => $text),* }
            }

            fn bit(self) -> u32 {
                const { assert!([$($text),*].len() <= 32) };
                1 << self as u32
            }
        }
    };
}

pub(crate) use names;

/// A name that counts, or another.
pub(super) enum Either<'de, N> {
    Known(N),
    Unknown(Cow<'de, str>),
}

pub(super) struct NameSeed<N>(pub(super) PhantomData<N>);

impl<'de, N: Name> DeserializeSeed<'de> for NameSeed<N> {
    type Value = Either<'de, N>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl<'de, N: Name> Visitor<'de> for NameSeed<N> {
    type Value = Either<'de, N>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        let unknown = || Either::Unknown(Cow::Borrowed(text));
        Ok(N::of(text).map_or_else(unknown, Either::Known))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        let unknown = || Either::Unknown(Cow::Owned(text.to_owned()));
        Ok(N::of(text).map_or_else(unknown, Either::Known))
    }
}
