//! The parts of tokens.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use fastrand::Rng;
use kube_oidc_testing::SigningKey;
use serde_json::{Value, json};

pub(crate) const USER: &str = "system:serviceaccount:payments:checkout";
pub(crate) const UID: &str = "1c6e";

/// The claims of a good token, with a `jti` of its own.
pub(crate) fn claims(iss: &str, exp: u64, rng: &mut Rng) -> Value {
    json!({
        "iss": iss,
        "aud": ["orders"],
        "exp": exp,
        "jti": format!("{:x}", rng.u64(..)),
        "sub": USER,
        "kubernetes.io": {
            "namespace": "payments",
            "serviceaccount": { "name": "checkout", "uid": UID },
        },
    })
}

/// The part of a token that is signed.
pub(crate) fn signing_input(key: &SigningKey, kid: &str, claims: &Value) -> String {
    let header = json!({ "alg": key.algorithm().name(), "kid": kid });
    let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    format!("{}.{}", encode(&header), encode(claims))
}

pub(crate) fn with_signature(input: &str, signature: &[u8]) -> String {
    format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
}

pub(crate) fn sign(key: &SigningKey, claims: &Value) -> String {
    let input = signing_input(key, key.kid(), claims);
    with_signature(&input, &key.sign(input.as_bytes()))
}
