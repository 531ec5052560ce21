//! A reader for JSON as issuers write it: without white space, escapes, or numbers but whole
//! ones. It costs a third of what reading JSON in general does.
//!
//! It decides nothing. What it does not read is read by `serde_json`, right or wrong; and what it
//! does, `serde_json` reads the same, which a property test holds.

use std::fmt;

use serde::{
    de::{
        self, DeserializeSeed, Deserializer, IntoDeserializer as _, MapAccess, SeqAccess, Visitor,
    },
    forward_to_deserialize_any,
};

/// A text that is read from its beginning.
pub(super) struct Plain<'de> {
    text: &'de str,
    /// How much of it was read.
    at: usize,
}

impl<'de> Plain<'de> {
    /// `None`: there are escapes or control characters somewhere in it.
    pub(super) fn new(text: &'de str) -> Option<Self> {
        // without a way out of the loop, so that the compiler makes vectors of it
        let is_special = |byte: u8| u8::from(byte < b' ') | u8::from(byte == b'\\');
        let special = text.bytes().fold(0, |found, byte| found | is_special(byte));
        (special == 0).then_some(Self { text, at: 0 })
    }

    pub(super) fn end(&self) -> Result<(), NotPlain> {
        if self.at == self.text.len() { Ok(()) } else { Err(NotPlain) }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, wanted: u8) -> Result<(), NotPlain> {
        if self.peek() == Some(wanted) {
            self.at += 1;
            Ok(())
        } else {
            Err(NotPlain)
        }
    }

    /// Steps to the next element of a list or object. `false`: it ended here.
    fn next(&mut self, first: &mut bool, end: u8) -> Result<bool, NotPlain> {
        if self.peek() == Some(end) {
            self.at += 1;
            return Ok(false);
        }
        if !std::mem::replace(first, false) {
            self.take(b',')?;
        }
        Ok(true)
    }

    #[inline(never)]
    fn text(&mut self) -> Result<&'de str, NotPlain> {
        self.take(b'"')?;
        let rest = self.text.as_bytes().get(self.at..).ok_or(NotPlain)?;
        let end = self.at + first_quote(rest).ok_or(NotPlain)?;
        let text = self.text.get(self.at..end).ok_or(NotPlain)?;
        self.at = end + 1;
        Ok(text)
    }

    /// A whole number that fits, without a zero in front of it.
    #[inline(never)]
    fn number(&mut self) -> Result<u64, NotPlain> {
        let rest = self.text.as_bytes().get(self.at..).ok_or(NotPlain)?;
        let mut number = 0_u64;
        let mut digits = 0;
        for byte in rest {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                break;
            }
            number = number.wrapping_mul(10).wrapping_add(u64::from(digit));
            digits += 1;
        }
        let zero_in_front = digits > 1 && rest.first() == Some(&b'0');
        if digits == 0 || digits > DIGITS || zero_in_front {
            return Err(NotPlain);
        }
        self.at += digits;
        Ok(number)
    }

    fn word(&mut self, word: &str) -> Result<(), NotPlain> {
        let there = self.text.get(self.at..).is_some_and(|rest| rest.starts_with(word));
        self.at += word.len();
        if there { Ok(()) } else { Err(NotPlain) }
    }
}

/// As many digits as every number of that many fits in 64 bits.
const DIGITS: usize = 19;

/// Where the first quote is. Texts are short, so it looks at eight bytes at a time, in place.
fn first_quote(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGHS: u64 = u64::from_le_bytes([0x80; 8]);
    const QUOTES: u64 = u64::from_le_bytes([b'"'; 8]);
    let (chunks, rest) = bytes.as_chunks();
    for (index, chunk) in chunks.iter().enumerate() {
        // a byte that is a quote becomes zero, and the lowest zero gets its highest bit set
        let word = u64::from_le_bytes(*chunk) ^ QUOTES;
        let zeros = word.wrapping_sub(ONES) & !word & HIGHS;
        if zeros != 0 {
            return Some(index * 8 + zeros.trailing_zeros() as usize / 8);
        }
    }
    let before = bytes.len() - rest.len();
    rest.iter().position(|byte| *byte == b'"').map(|index| before + index)
}

impl<'de> Deserializer<'de> for &mut Plain<'de> {
    type Error = NotPlain;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NotPlain> {
        match self.peek() {
            Some(b'"') => visitor.visit_borrowed_str(self.text()?),
            Some(b'0'..=b'9') => visitor.visit_u64(self.number()?),
            Some(b'{') => {
                self.at += 1;
                visitor.visit_map(Elements::of(self))
            }
            Some(b'[') => {
                self.at += 1;
                visitor.visit_seq(Elements::of(self))
            }
            Some(b't') => self.word("true").and_then(|()| visitor.visit_bool(true)),
            Some(b'f') => self.word("false").and_then(|()| visitor.visit_bool(false)),
            Some(b'n') => self.word("null").and_then(|()| visitor.visit_unit()),
            _ => Err(NotPlain),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NotPlain> {
        visitor.visit_borrowed_str(self.text()?)
    }

    /// Of any number.
    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NotPlain> {
        visitor.visit_u64(self.number()?)
    }

    /// Of the names in `expected`, quotes and colon included, those that come in this order are
    /// told by their number.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        expected: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, NotPlain> {
        self.take(b'{')?;
        visitor.visit_map(Elements { expected, ..Elements::of(self) })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 char string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// The elements of a list or object.
struct Elements<'a, 'de> {
    plain: &'a mut Plain<'de>,
    first: bool,
    expected: &'static [&'static str],
    /// How many of the expected names came, or did not and will not be looked for.
    past: usize,
}

impl<'a, 'de> Elements<'a, 'de> {
    fn of(plain: &'a mut Plain<'de>) -> Self {
        Self { plain, first: true, expected: &[], past: 0 }
    }

    /// The number of the expected name that comes next, if one does.
    fn expected_name(&mut self) -> Option<u64> {
        let rest = self.plain.text.as_bytes().get(self.plain.at..)?;
        let candidates = self.expected.get(self.past..)?;
        let skipped = candidates.iter().position(|name| rest.starts_with(name.as_bytes()))?;
        let number = self.past + skipped;
        self.plain.at += self.expected.get(number)?.len();
        self.past = number + 1;
        u64::try_from(number).ok()
    }
}

impl<'de> MapAccess<'de> for Elements<'_, 'de> {
    type Error = NotPlain;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, NotPlain> {
        if !self.plain.next(&mut self.first, b'}')? {
            return Ok(None);
        }
        if let Some(number) = self.expected_name() {
            return seed.deserialize(number.into_deserializer()).map(Some);
        }
        // a text and nothing else, whatever the seed asks for
        if self.plain.peek() != Some(b'"') {
            return Err(NotPlain);
        }
        let key = seed.deserialize(&mut *self.plain)?;
        self.plain.take(b':')?;
        Ok(Some(key))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, NotPlain> {
        seed.deserialize(&mut *self.plain)
    }
}

impl<'de> SeqAccess<'de> for Elements<'_, 'de> {
    type Error = NotPlain;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, NotPlain> {
        if self.plain.next(&mut self.first, b']')? {
            seed.deserialize(&mut *self.plain).map(Some)
        } else {
            Ok(None)
        }
    }
}

/// The text is for `serde_json` to read.
#[derive(Debug)]
pub(super) struct NotPlain;

impl fmt::Display for NotPlain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not plain JSON")
    }
}

impl std::error::Error for NotPlain {}

impl de::Error for NotPlain {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize as _;
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_first_quote_is_found_wherever_it_is() {
        for length in 0..40 {
            for at in 0..=length {
                for other in [0, b' ', b'!', b'#', 0x21, 0xa2, 0xff] {
                    let mut bytes = vec![other; length];
                    bytes[at..].fill(b'"');
                    assert_eq!(first_quote(&bytes), (at < length).then_some(at));
                }
            }
        }
    }

    fn read(text: &str) -> Option<Value> {
        let mut plain = Plain::new(text)?;
        let value = Value::deserialize(&mut plain).ok()?;
        plain.end().ok()?;
        Some(value)
    }

    #[test]
    fn plain_json_is_read() {
        for text in [
            r#"{"a":"b","c":[1,20,0,"x",[],{}],"d":{"e":true,"f":false,"g":null},"ä":"€"}"#,
            "[]",
            "{}",
            "0",
            "999999999999999999",
            "9999999999999999999",
            r#""""#,
        ] {
            assert_eq!(read(text).unwrap(), serde_json::from_str::<Value>(text).unwrap());
        }
    }

    #[test]
    fn what_is_not_plain_is_left_alone() {
        for text in [
            "",
            " {}",
            "{} ",
            "{ }",
            "[1, 2]",
            "[1 ]",
            "-1",
            "1.5",
            "1e3",
            "01",
            "00",
            "1x",
            "10000000000000000000",
            "{,}",
            "[,]",
            "[1,]",
            "{\"a\":1,}",
            "{\"a\"}",
            "{a:1}",
            "{1:1}",
            "{\"a\":1 }",
            "\"a",
            "\"a\\n\"",
            "\"a\nb\"",
            "[1",
            "{\"a\":1",
            "tru",
            "nul",
            "{}}",
            "{[]:1}",
            "{null:1}",
            "[\"a\"\"b\"]",
            "{\"a\":1\"b\":2}",
            "[}",
            "{]",
            "\"\u{0}\"",
            "{\"a\":}",
            "{:1}",
            "\u{feff}{}",
        ] {
            assert_eq!(read(text), None, "{text:?}");
        }
    }

    /// Any JSON value, and texts that nearly are.
    fn json() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            Just("true".to_owned()),
            any::<u64>().prop_map(|number| number.to_string()),
            any::<f64>().prop_map(|number| number.to_string()),
            "\"[a-z.:\"\\\\/ ä€\\x00-\\x1f]{0,8}\"",
            "[-0-9.eE+]{0,6}",
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4)
                    .prop_map(|list| format!("[{}]", list.join(","))),
                prop::collection::vec(("\"[a-z\\\\\"]{0,3}\"", inner), 0..4).prop_map(|members| {
                    let members: Vec<String> =
                        members.iter().map(|(name, value)| format!("{name}:{value}")).collect();
                    format!("{{{}}}", members.join(","))
                }),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn serde_json_reads_the_same(text in json(), cut in any::<prop::sample::Index>()) {
            for text in [&text[..], text.get(..cut.index(text.len() + 1)).unwrap_or_default()] {
                if let Some(value) = read(text) {
                    prop_assert_eq!(value, serde_json::from_str::<Value>(text).unwrap());
                }
            }
        }

        #[test]
        fn serde_json_reads_the_same_of_anything(text in "[\\[\\]{}:,\" 0-9a-c\\\\.truefalsn-]{0,24}") {
            if let Some(value) = read(&text) {
                prop_assert_eq!(value, serde_json::from_str::<Value>(&text).unwrap());
            }
        }
    }
}
