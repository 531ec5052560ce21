//! What Kubernetes lets its objects be called.

/// `IsDNS1123Label` of `k8s.io/apimachinery/pkg/util/validation`: what a namespace may be.
pub(crate) fn is_dns_label(text: &str) -> bool {
    let classes = Classes::of(text);
    text.len() <= 63
        && !classes.hold(NOT_IN_NAME)
        && !classes.hold(DOT)
        && has_alphanumeric_ends(text)
}

/// `IsDNS1123Subdomain`: what the name of a service account, pod, node or secret may be. Its
/// labels have no length limit of their own.
pub(crate) fn is_dns_subdomain(text: &str) -> bool {
    let classes = Classes::of(text);
    text.len() <= 253
        && !classes.hold(NOT_IN_NAME)
        && has_alphanumeric_ends(text)
        && (!classes.hold(DOT) || text.as_bytes().windows(2).all(|pair| !is_edge(pair)))
}

/// Whether a dot and a hyphen, or two dots, are neighbours.
fn is_edge(pair: &[u8]) -> bool {
    pair.contains(&b'.') && pair.iter().all(|byte| matches!(byte, b'.' | b'-'))
}

/// For a text of which the rest is known: it neither begins nor ends with a hyphen or a dot, nor
/// is empty.
fn has_alphanumeric_ends(text: &str) -> bool {
    let is_inner = |byte: &u8| matches!(byte, b'-' | b'.');
    let bytes = text.as_bytes();
    bytes.first().is_some_and(|first| !is_inner(first)) && !bytes.last().is_some_and(is_inner)
}

/// A uid is opaque: Kubernetes makes UUIDs, and promises no form.
pub(super) fn is_uid(text: &str) -> bool {
    (1..=128).contains(&text.len()) && !Classes::of(text).hold(NOT_IN_UID)
}

/// What no label and no subdomain holds, a hyphen and a dot aside.
const NOT_IN_NAME: u8 = 1;
const DOT: u8 = 2;
/// What is no visible ASCII.
const NOT_IN_UID: u8 = 4;

static CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "it is below 256")]
        let character = byte as u8;
        if !matches!(character, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.') {
            classes[byte] |= NOT_IN_NAME;
        }
        if character == b'.' {
            classes[byte] |= DOT;
        }
        if !character.is_ascii_graphic() {
            classes[byte] |= NOT_IN_UID;
        }
        byte += 1;
    }
    classes
};

/// The classes of all bytes of a text together.
struct Classes(u8);

impl Classes {
    fn of(text: &str) -> Self {
        Self(text.bytes().fold(0, |classes, byte| classes | CLASSES[usize::from(byte)]))
    }

    fn hold(&self, class: u8) -> bool {
        self.0 & class != 0
    }
}
