//! base64url as JOSE wants it ([RFC 7515, 2]): no padding, no stray bits, no other byte.
//!
//! [RFC 7515, 2]: https://www.rfc-editor.org/rfc/rfc7515#section-2

use base64_simd::{AsOut as _, URL_SAFE_NO_PAD};

/// Decodes `text`, or `None` where it is not the one encoding of some bytes.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode_to_vec(text).ok()
}

/// Returns `true` if a byte may be in an encoded text.
pub(crate) fn is_in_alphabet(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

/// Room for decoded texts, of which each takes what it needs.
pub(crate) struct Room<'r>(&'r mut [u8]);

impl<'r> Room<'r> {
    pub(crate) fn new(bytes: &'r mut [u8]) -> Self {
        Self(bytes)
    }

    /// Decodes `text` as [`decode`] does. Without room for it there is `None`, too.
    pub(crate) fn decode(&mut self, text: &[u8]) -> Option<&'r [u8]> {
        let room = std::mem::take(&mut self.0);
        let (out, rest) = room.split_at_mut_checked(decoded_len(text.len()))?;
        self.0 = rest;
        URL_SAFE_NO_PAD.decode(text, out.as_out()).ok().map(|decoded| &*decoded)
    }
}

/// How many bytes a text of this length stands for, if it stands for any.
pub(crate) fn decoded_len(length: usize) -> usize {
    length / 4 * 3 + length % 4 * 3 / 4
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose};
    use proptest::prelude::*;

    use super::*;

    fn decode_both(text: &str) -> Option<Vec<u8>> {
        let decoded = Room::new(&mut [0; 4096]).decode(text.as_bytes()).map(<[u8]>::to_vec);
        assert_eq!(decoded, decode(text), "{text:?}");
        decoded
    }

    #[test]
    fn only_one_text_stands_for_some_bytes() {
        assert_eq!(decode_both("").unwrap(), b"");
        assert_eq!(decode_both("-_8").unwrap(), [0xfb, 0xff]);
        for text in [
            "-_8=", "+/8", "-_9", "A", " AAA", "AAA\n", "AA AA", "AA==", "AAAä", "AAAAA", "AB",
            "AAB", "AA\0A", "AAA=",
        ] {
            assert_eq!(decode_both(text), None, "{text:?}");
        }
    }

    #[test]
    fn parts_stand_side_by_side() {
        let mut bytes = [0; 5];
        let mut room = Room::new(&mut bytes);
        let (one, other) = (room.decode(b"AQI").unwrap(), room.decode(b"AwQF").unwrap());
        assert_eq!((one, other), (&[1, 2][..], &[3, 4, 5][..]));
        assert_eq!(room.decode(b"AA"), None, "there is no more room");
    }

    proptest! {
        /// Fast code with vectors agrees with plain code without.
        #[test]
        fn another_decoder_agrees(text in "[A-Za-z0-9_\\-]{0,300}[A-Za-z0-9_\\-=+/ .\n]{0,3}") {
            prop_assert_eq!(decode_both(&text), general_purpose::URL_SAFE_NO_PAD.decode(&text).ok());
        }

        #[test]
        fn a_wrong_byte_anywhere_is_found(
            bytes in proptest::collection::vec(any::<u8>(), 1..600),
            at in any::<prop::sample::Index>(),
            wrong in any::<u8>(),
        ) {
            let mut text = general_purpose::URL_SAFE_NO_PAD.encode(bytes).into_bytes();
            let at = at.index(text.len());
            text[at] = wrong;
            if let Ok(text) = String::from_utf8(text) {
                prop_assert_eq!(
                    decode_both(&text),
                    general_purpose::URL_SAFE_NO_PAD.decode(&text).ok()
                );
            }
        }
    }
}
