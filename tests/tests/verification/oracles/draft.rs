//! A token in the making.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use kube_oidc_testing::{SigningAlgorithm, SigningKey};
use serde_json::{Map, Value, json};

use super::{ISSUER, NOW};

/// A token in the making, and the key set that it is judged with.
pub(super) struct Draft<'k> {
    pub(super) keys: &'k [SigningKey],
    /// The key that signs; the first of the key set unless that was changed.
    pub(super) key: SigningKey,
    pub(super) header: Map<String, Value>,
    pub(super) payload: Map<String, Value>,
    pub(super) key_set: Vec<Value>,
    /// What becomes of the texts before they are encoded.
    pub(super) header_text: fn(String) -> Vec<u8>,
    pub(super) payload_text: fn(String) -> Vec<u8>,
    /// The signature of the first two parts.
    pub(super) sign: fn(&Self, &[u8]) -> Vec<u8>,
    /// What becomes of the finished token.
    pub(super) finish: fn(String) -> String,
}

impl<'k> Draft<'k> {
    pub(super) fn new(keys: &'k [SigningKey], index: usize) -> Self {
        let key = &keys[index];
        let in_set = (0..3).map(|step| keys[(index + step) % keys.len()].jwk()).collect();
        let Value::Object(header) = json!({ "alg": key.algorithm().name(), "kid": key.kid() })
        else {
            unreachable!("it is written above")
        };
        let Value::Object(payload) = json!({
            "iss": ISSUER,
            "sub": "system:serviceaccount:payments:checkout",
            "aud": ["orders"],
            "iat": NOW - 10,
            "nbf": NOW - 10,
            "exp": NOW + 3590,
            "jti": "3e8e4b5c-1f5a-4b73-9b6e-0d3a6c2f7e11",
            "kubernetes.io": {
                "namespace": "payments",
                "serviceaccount": { "name": "checkout", "uid": "6f0f2b0c-5b1c-4a57-8f0d-6c1f7d0f4a55" },
            },
        }) else {
            unreachable!("it is written above")
        };
        Self {
            keys,
            key: key.clone(),
            header,
            payload,
            key_set: in_set,
            header_text: String::into_bytes,
            payload_text: String::into_bytes,
            sign: |draft, message| draft.key.sign(message),
            finish: |token| token,
        }
    }

    pub(super) fn token(&self) -> String {
        let text = |members: &Map<String, Value>| Value::Object(members.clone()).to_string();
        let header = URL_SAFE_NO_PAD.encode((self.header_text)(text(&self.header)));
        let payload = URL_SAFE_NO_PAD.encode((self.payload_text)(text(&self.payload)));
        let signing_input = format!("{header}.{payload}");
        let signature = URL_SAFE_NO_PAD.encode((self.sign)(self, signing_input.as_bytes()));
        (self.finish)(format!("{signing_input}.{signature}"))
    }

    pub(super) fn algorithm(&self) -> SigningAlgorithm {
        self.key.algorithm()
    }

    pub(super) fn is(&self, prefix: &str) -> bool {
        self.algorithm().name().starts_with(prefix)
    }

    pub(super) fn is_rsa(&self) -> bool {
        self.is("RS") || self.is("PS")
    }

    /// A key that is not in the set.
    pub(super) fn stranger(&self) -> &SigningKey {
        let index = self.keys.iter().position(|key| key.public_bytes() == self.key.public_bytes());
        &self.keys[(index.unwrap() + 5) % self.keys.len()]
    }
}
