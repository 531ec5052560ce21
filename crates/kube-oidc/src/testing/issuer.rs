use std::{fs, sync::Arc};

use serde_json::{Value, json};

use crate::{issuer::Issuer, observe::Observed};

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

/// The API server of a pod. The files of the pod are empty and gone: a scripted fetcher reads none.
pub(crate) fn in_cluster_issuer(api_server: &str) -> Issuer {
    let folder = std::env::temp_dir().join(format!("kube-oidc-{}", fastrand::u64(..)));
    fs::create_dir_all(&folder).unwrap();
    for file in ["ca.crt", "token"] {
        fs::write(folder.join(file), "").unwrap();
    }
    let issuer = Issuer::in_cluster_at(api_server, &folder).unwrap();
    fs::remove_dir_all(&folder).unwrap();
    issuer
}
