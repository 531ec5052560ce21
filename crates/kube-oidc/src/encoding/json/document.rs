//! Documents and files: bytes that should be JSON, and what they are instead.

/// A byte order mark, which a reader of documents may ignore (RFC 8259, 8.1).
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Why bytes are no JSON text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Foreign {
    NotUtf8,
    /// Another kind of content, in words of ours.
    Kind(&'static str),
}

/// Returns the text of a document without a byte order mark.
pub(crate) fn document_text(document: &[u8]) -> Result<&str, Foreign> {
    let document = document.strip_prefix(BYTE_ORDER_MARK).unwrap_or(document);
    if let Some(kind) = binary(document) {
        return Err(Foreign::Kind(kind));
    }
    let text = std::str::from_utf8(document).map_err(|_| Foreign::NotUtf8)?;
    match other_text(text.trim_start()) {
        Some(kind) => Err(Foreign::Kind(kind)),
        None => Ok(text),
    }
}

fn binary(document: &[u8]) -> Option<&'static str> {
    match document {
        [0x1f, 0x8b, ..] => Some(
            "found gzip, expected JSON; store the file unpacked, or have the server send no \
             content-encoding",
        ),
        // either byte order, with a byte order mark or an ASCII character first
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, _, ..] | [_, 0, ..] => Some(
            "found UTF-16, expected UTF-8; in Windows PowerShell write the file with `Out-File \
             -Encoding utf8`",
        ),
        _ => None,
    }
}

fn other_text(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        Some("found nothing, expected JSON")
    } else if text.starts_with('<') {
        Some(
            "found HTML or XML, expected JSON; is it a sign-in page, or the page of a proxy? Use a \
             URL that serves JSON without a sign-in",
        )
    } else if text.starts_with("-----BEGIN ") {
        Some(
            "found PEM, expected JSON; `kubectl get --raw /openid/v1/jwks` prints the keys of a \
             cluster as JSON",
        )
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // rule: not-a-key-set
    #[test]
    fn byte_order_mark_is_ignored_once_and_at_the_start_only() {
        assert_eq!(document_text("\u{feff}{}".as_bytes()), Ok("{}"));
        assert_eq!(document_text("\u{feff}\u{feff}{}".as_bytes()), Ok("\u{feff}{}"));
        assert_eq!(document_text("{\u{feff}}".as_bytes()), Ok("{\u{feff}}"));
    }

    #[test]
    fn other_kind_of_content_is_recognized() {
        let utf16 = |text: &str, to_bytes: fn(u16) -> [u8; 2]| -> Vec<u8> {
            text.encode_utf16().flat_map(to_bytes).collect()
        };
        for (document, kind) in [
            (b"".to_vec(), "found nothing"),
            (b" \r\n".to_vec(), "found nothing"),
            ("\u{feff}".into(), "found nothing"),
            (b"<!DOCTYPE html>".to_vec(), "found HTML or XML"),
            (b"\n\t<html>".to_vec(), "found HTML or XML"),
            ("\u{feff}<?xml version=\"1.0\"?>".into(), "found HTML or XML"),
            (b"-----BEGIN PUBLIC KEY-----\nMCow".to_vec(), "found PEM"),
            (b"\x1f\x8b\x08\0".to_vec(), "found gzip"),
            (utf16("{}", u16::to_le_bytes), "found UTF-16"),
            (utf16("{}", u16::to_be_bytes), "found UTF-16"),
            (utf16("\u{feff}{}", u16::to_le_bytes), "found UTF-16"),
            (utf16("\u{feff}{}", u16::to_be_bytes), "found UTF-16"),
        ] {
            let found = document_text(&document);
            let is_kind = matches!(found, Err(Foreign::Kind(found)) if found.starts_with(kind));
            assert!(is_kind, "{found:?} for {document:x?}");
        }
        assert_eq!(document_text(b"{\"a\":\"\xff\"}"), Err(Foreign::NotUtf8));
        for text in ["{\"keys\":[]}", "[]", "eyJ.eyJ.AA", "\"<html>\"", "null"] {
            assert_eq!(document_text(text.as_bytes()), Ok(text));
        }
    }
}
