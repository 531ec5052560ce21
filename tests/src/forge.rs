//! Tokens that no honest issuer makes, put together by hand.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use kube_oidc_testing::SigningKey;

/// Header and payload of a token as bytes, to be changed and signed again: by the issuer's own
/// key, so that nothing but the change can be why the token is refused.
#[derive(Clone, Debug)]
pub struct Forge {
    /// The header, decoded.
    pub header: Vec<u8>,
    /// The payload, decoded.
    pub payload: Vec<u8>,
    key: SigningKey,
}

impl Forge {
    /// Takes a token apart, to sign what becomes of it by this key.
    #[must_use]
    pub fn new(token: &str, key: &SigningKey) -> Self {
        let mut parts = token.split('.').map(decode);
        let (header, payload) = (parts.next().expect("a header"), parts.next().expect("a payload"));
        Self { header, payload, key: key.clone() }
    }

    /// Puts `new` in the place of the one `old` in the header.
    #[must_use]
    pub fn header(mut self, old: &str, new: impl AsRef<[u8]>) -> Self {
        self.header = replaced(&self.header, old, new.as_ref());
        self
    }

    /// Puts `new` in the place of the one `old` in the payload.
    #[must_use]
    pub fn payload(mut self, old: &str, new: impl AsRef<[u8]>) -> Self {
        self.payload = replaced(&self.payload, old, new.as_ref());
        self
    }

    /// Puts a member before all others of the header.
    #[must_use]
    pub fn with_header(mut self, member: impl AsRef<[u8]>) -> Self {
        self.header = [b"{", member.as_ref(), b",", &self.header[1..]].concat();
        self
    }

    /// Puts a member before all others of the payload.
    #[must_use]
    pub fn with_payload(mut self, member: impl AsRef<[u8]>) -> Self {
        self.payload = [b"{", member.as_ref(), b",", &self.payload[1..]].concat();
        self
    }

    /// The token.
    #[must_use]
    pub fn mint(&self) -> String {
        signed(&encode(&self.header), &encode(&self.payload), &self.key)
    }

    /// The token, with another signature.
    #[must_use]
    pub fn mint_with(&self, signature: impl AsRef<[u8]>) -> String {
        format!("{}.{}", self.signing_input(), encode(signature))
    }

    /// What is signed.
    #[must_use]
    pub fn signing_input(&self) -> String {
        format!("{}.{}", encode(&self.header), encode(&self.payload))
    }

    /// The signature of the key.
    #[must_use]
    pub fn signature(&self) -> Vec<u8> {
        self.key.sign(self.signing_input().as_bytes())
    }
}

/// Two parts as they stand, be they base64url or not, and the signature over them.
#[must_use]
pub fn signed(header: &str, payload: &str, key: &SigningKey) -> String {
    let signing_input = format!("{header}.{payload}");
    let signature = encode(key.sign(signing_input.as_bytes()));
    format!("{signing_input}.{signature}")
}

/// base64url without padding.
#[must_use]
pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn decode(part: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(part).expect("base64url")
}

fn replaced(bytes: &[u8], old: &str, new: &[u8]) -> Vec<u8> {
    let at = |bytes: &[u8]| bytes.windows(old.len()).position(|part| part == old.as_bytes());
    let first = at(bytes).unwrap_or_else(|| panic!("{old} is nowhere"));
    let (before, after) = (&bytes[..first], &bytes[first + old.len()..]);
    assert_eq!(at(after), None, "{old} is there twice");
    [before, new, after].concat()
}
