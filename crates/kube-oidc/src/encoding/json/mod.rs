//! Strict JSON: no member twice in any object, and no deeper than [`MAX_DEPTH`].
//!
//! Two parsers that disagree on which of two `sub` members counts are a way past a lock
//! ([RFC 8725, 2.4 and RFC 7515, 4]: duplicate names must be rejected or the last one taken; we
//! reject). Names are compared after unescaping, in objects that we skip too. A name that
//! `serde_json` reserves is no name either, and no feature of `serde_json` changes what is accepted.
//!
//! [RFC 8725, 2.4 and RFC 7515, 4]: https://www.rfc-editor.org/rfc/rfc7515#section-4

mod document;
mod reserved;

use std::{borrow::Cow, collections::HashSet, fmt, marker::PhantomData, ops::Deref};

use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

pub(crate) use self::document::{Foreign, document_text};
use crate::observe::display::Cut;

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

/// Why a text is not what was expected. The library's own words may quote all of the text.
#[derive(Debug)]
pub(crate) struct Malformed(serde_json::Error);

impl Malformed {
    /// The library's own words, cut: for documents of an issuer. The values that they quote stay out:
    /// a server may send back a credential.
    pub(crate) fn words(&self) -> String {
        const QUOTES: [char; 2] = ['"', '`'];
        let words = self.0.to_string();
        match (words.find(QUOTES), words.rfind(QUOTES)) {
            (Some(start), Some(end)) if start < end => {
                Cut(&format!("{}...{}", &words[..=start], &words[end..])).to_string()
            }
            _ => Cut(&words).to_string(),
        }
    }

    /// The place only: for tokens, of which nothing may be shown.
    pub(crate) fn place(&self) -> String {
        let (error, column) = (&self.0, self.0.column());
        match self.ours() {
            Some(ours) => format!("{ours}, at column {column}"),
            None => format!("{:?} error at column {column}", error.classify()),
        }
    }

    /// Whether a member came twice.
    pub(crate) fn is_twice(&self) -> bool {
        self.ours() == Some(TWICE)
    }

    /// Whether a value is not of the expected kind.
    pub(crate) fn is_of_other_kind(&self) -> bool {
        self.0.is_data() && self.ours().is_none()
    }

    /// The words, where they are ours.
    fn ours(&self) -> Option<&'static str> {
        let words = self.0.to_string();
        [TWICE, TOO_DEEP, RESERVED_NAME].into_iter().find(|ours| words.starts_with(ours))
    }
}

const TWICE: &str = "a member stands twice";
const TOO_DEEP: &str = "nested too deep";
const RESERVED_NAME: &str = "a member name begins with `$serde_json::private::`";

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

/// A name that counts, or another.
enum Either<'de, N> {
    Known(N),
    Unknown(Cow<'de, str>),
}

struct NameSeed<N>(PhantomData<N>);

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

fn deeper(depth: u8) -> Option<u8> {
    (depth <= MAX_DEPTH).then_some(depth + 1)
}

#[cold]
fn too_deep<E: serde::de::Error>() -> E {
    E::custom(TOO_DEEP)
}

/// The names of no interest that were seen in one object. A list while they are few, for speed; then a set, so that an
/// object of thousands of members costs no more than linear time.
#[derive(Default)]
struct Seen<'de> {
    few: Vec<Cow<'de, str>>,
    many: HashSet<Cow<'de, str>>,
}

impl<'de> Seen<'de> {
    const FEW: usize = 16;

    /// `false`: it was there already.
    #[expect(clippy::ptr_arg, reason = "a clone of it may be borrowed")]
    fn insert(&mut self, name: &Cow<'de, str>) -> bool {
        !self.few.contains(name)
            && if self.few.len() < Self::FEW {
                self.few.push(name.clone());
                true
            } else {
                self.many.insert(name.clone())
            }
    }
}

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

/// Any value, checked and thrown away.
struct Skip {
    depth: u8,
}

/// The members of a skipped object, of which none counts.
struct SkipMembers;

#[derive(Clone, Copy)]
enum NoName {}

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

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(text: &str) -> bool {
        parse_object(text, &mut SkipMembers).is_ok()
    }

    // rule: strict-json
    #[test]
    fn members_twice_are_refused_at_every_depth_and_after_unescaping() {
        assert!(accepts(r#"{"a":1,"b":{"a":1},"c":[{"a":1},{"a":2}]}"#));
        assert!(!accepts(r#"{"a":1,"a":1}"#));
        assert!(!accepts(r#"{"a":1,"\u0061":1}"#));
        assert!(!accepts(r#"{"x":{"a":1,"a":1}}"#));
        assert!(!accepts(r#"{"x":[[{"a":1,"b":2,"a":3}]]}"#));
    }

    #[test]
    fn members_twice_are_found_among_many() {
        let names: Vec<String> = (0..100).map(|i| format!("\"m{i}\":{i}")).collect();
        let body = names.join(",");
        assert!(accepts(&format!("{{{body}}}")));
        assert!(!accepts(&format!("{{{body},\"m3\":0}}")));
        assert!(!accepts(&format!("{{{body},\"m70\":0}}")));
    }

    // rule: strict-json
    #[test]
    fn depth_is_bounded() {
        let nested = |n: usize| format!("{{\"a\":{}1{}}}", "[".repeat(n), "]".repeat(n));
        assert!(accepts(&nested(31)));
        assert!(!accepts(&nested(32)));
        assert!(!accepts(&nested(100_000)));
        let objects = |n: usize| format!("{}1{}", "{\"a\":".repeat(n), "}".repeat(n));
        assert!(accepts(&objects(32)));
        assert!(!accepts(&objects(33)));
    }

    // rule: strict-json
    #[test]
    fn number_at_the_greatest_depth_is_accepted() {
        let nested = |value: &str| format!("{{\"a\":{}{value}{}}}", "[".repeat(31), "]".repeat(31));
        for number in ["1", "-1", "1.5", "1e3", "100000000000000000000000", "-0.0", "1e-999"] {
            assert!(accepts(&nested(number)), "{number}");
            assert!(accepts(&format!("{{\"a\":{number}, \"b\":[{number}]}}")), "{number}");
        }
        assert!(!accepts(&nested("{}")));
        assert!(!accepts(&nested("[]")));
        assert!(!accepts(&nested("1e999")));
        assert!(!accepts(&nested("{\"a\":1}")));
    }

    // rule: strict-json
    #[test]
    fn reserved_member_names_are_rejected_at_every_depth_and_after_unescaping() {
        for name in [
            "$serde_json::private::RawValue",
            "$serde_json::private::Number",
            "$serde_json::private::",
            r"\u0024serde_json::private::RawValue",
        ] {
            for value in [r#""1""#, r#""{}""#, r#""\u0031""#, "1", "{}"] {
                let object = format!("{{\"{name}\":{value}}}");
                let longer = format!("{{\"x\":0,\"{name}\":{value}}}");
                for object in [object.clone(), longer, format!("{{\"y\":[1,{object}]}}")] {
                    assert!(!accepts(&object), "{object}");
                    let error = parse_object(&object, &mut SkipMembers).unwrap_err().place();
                    assert!(error.contains("begins with `$serde_json::private::`"), "{error}");
                }
            }
        }
        assert!(accepts(r#"{"serde_json::private::RawValue":"","$serde_json":"","$":""}"#));
    }

    #[test]
    fn what_is_no_json_object_is_refused() {
        for text in [
            "",
            "null",
            "[]",
            "\"a\"",
            "{",
            "{}x",
            "{} {}",
            "\u{feff}{}",
            "{\"a\":NaN}",
            "{\"a\":1e999}",
            "{\"a\":01}",
            "{\"a\":\"\\ud800\"}",
            "{\"a\":\"\u{1}\"}",
            "{'a':1}",
            "{\"a\":1,}",
            "{a:1}",
            "{1:1}",
            "{null:1}",
            "{[]:1}",
            "{:1}",
            "{,}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1\"b\":2}",
            "{\"a\":[\"b\"\"c\"]}",
            "{\"a\":[1,]}",
            "{\"a\":[}}",
            "{\"a\":tru}",
            "{\"a\":\"b}",
            "{]",
        ] {
            assert!(!accepts(text), "{text:?}");
        }
        assert!(accepts(" {} \n"));
    }
}
