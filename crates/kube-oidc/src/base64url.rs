//! base64url as JOSE wants it ([RFC 7515, 2]): no padding, no stray bits, no other byte.
//!
//! [RFC 7515, 2]: https://www.rfc-editor.org/rfc/rfc7515#section-2

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

/// Decodes `text`, or `None` where it is not the one encoding of some bytes.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn only_one_text_stands_for_some_bytes() {
        assert_eq!(decode("").unwrap(), b"");
        assert_eq!(decode("-_8").unwrap(), [0xfb, 0xff]);
        for text in ["-_8=", "+/8", "-_9", "A", " AAA", "AAA\n", "AA AA", "AA==", "AAAä"] {
            assert_eq!(decode(text), None, "{text:?}");
        }
    }
}
