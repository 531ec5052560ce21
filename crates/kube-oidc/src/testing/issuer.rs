use std::sync::Arc;

use serde_json::{Value, json};

use crate::observe::Observed;

/// A key set as an issuer publishes it.
pub(crate) fn key_set(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

/// A public key whose signatures no test needs: the one of RFC 8037, A.2.
pub(crate) fn public_key(kid: &str) -> Value {
    let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid, "x": x })
}

/// The names of an issuer in logs and metrics.
pub(crate) fn observed() -> Arc<Observed> {
    Arc::new(Observed::new("https://issuer.test".into(), None))
}
