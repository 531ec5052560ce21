//! Tokens as a kube-apiserver mints them, and as nobody should.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use aws_lc_rs::digest::{self, SHA256};
use serde_json::{Map, Value, json};

use crate::key::{SigningKey, encode};

/// A token in the making. Everything about it can be set, the wrong way too.
///
/// Unless set it speaks of the service account `default/default`, bound to nothing, for the
/// issuer itself as audience, and is good from now for an hour.
#[derive(Clone)]
#[must_use]
pub struct TokenBuilder {
    key: SigningKey,
    header: Map<String, Value>,
    payload: Map<String, Value>,
    audiences: Vec<String>,
    header_text: Option<String>,
    payload_text: Option<String>,
    signature: Option<Vec<u8>>,
}

impl TokenBuilder {
    pub(crate) fn new(issuer: &str, key: SigningKey) -> Self {
        let now = seconds(SystemTime::now());
        let mut header = Map::new();
        header.insert("alg".to_owned(), key.algorithm().name().into());
        header.insert("kid".to_owned(), key.kid().into());
        let mut payload = Map::new();
        payload.insert("iss".to_owned(), issuer.into());
        payload.insert("iat".to_owned(), now.into());
        payload.insert("nbf".to_owned(), now.into());
        payload.insert("exp".to_owned(), (now + 3600).into());
        payload.insert("jti".to_owned(), uid("token", issuer, &now.to_string()).into());
        let token = Self {
            key,
            header,
            payload,
            audiences: Vec::new(),
            header_text: None,
            payload_text: None,
            signature: None,
        };
        token.service_account("default", "default")
    }

    /// For this audience, beside others that were given.
    pub fn audience(mut self, audience: &str) -> Self {
        self.audiences.push(audience.to_owned());
        self
    }

    /// Of this service account. What the token is bound to is forgotten.
    pub fn service_account(self, namespace: &str, name: &str) -> Self {
        let claim = json!({
            "namespace": namespace,
            "serviceaccount": { "name": name, "uid": uid("serviceaccount", namespace, name) },
        });
        self.claim("sub", format!("system:serviceaccount:{namespace}:{name}"))
            .claim("kubernetes.io", claim)
    }

    /// Bound to this pod.
    pub fn pod(self, name: &str) -> Self {
        self.bound("pod", name)
    }

    /// Bound to this node, or to a pod on it.
    pub fn node(self, name: &str) -> Self {
        self.bound("node", name)
    }

    /// Bound to this secret.
    pub fn secret(self, name: &str) -> Self {
        self.bound("secret", name)
    }

    fn bound(self, kind: &str, name: &str) -> Self {
        let object = json!({ "name": name, "uid": uid(kind, "", name) });
        self.kubernetes_claim(kind, object)
    }

    /// A member inside the `kubernetes.io` claim.
    pub fn kubernetes_claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        let claim = self.payload.entry("kubernetes.io").or_insert_with(|| json!({}));
        claim[name] = value.into();
        self
    }

    /// Should have been replaced at this time, though it goes on (`warnafter`).
    pub fn warn_after(self, time: SystemTime) -> Self {
        self.kubernetes_claim("warnafter", seconds(time))
    }

    /// Good from this time on: sets `iat` and `nbf`, and leaves `exp`.
    pub fn issued_at(self, time: SystemTime) -> Self {
        self.claim("iat", seconds(time)).claim("nbf", seconds(time))
    }

    /// Good until this time.
    pub fn expires_at(self, time: SystemTime) -> Self {
        self.claim("exp", seconds(time))
    }

    /// Good for as long from now.
    pub fn expires_in(self, lifetime: Duration) -> Self {
        self.expires_at(SystemTime::now() + lifetime)
    }

    /// Expired an hour ago, after an hour.
    pub fn expired(self) -> Self {
        let now = SystemTime::now();
        let hour = Duration::from_secs(3600);
        self.issued_at(now - 2 * hour).expires_at(now - hour)
    }

    /// As the tokens in Secrets of old clusters are: of the issuer `kubernetes/serviceaccount`,
    /// for nobody in particular, and without an end.
    pub fn legacy(mut self, namespace: &str, name: &str) -> Self {
        self.payload.clear();
        self.without_header("typ")
            .claim("iss", "kubernetes/serviceaccount")
            .claim("kubernetes.io/serviceaccount/namespace", namespace)
            .claim("kubernetes.io/serviceaccount/secret.name", format!("{name}-token-x7x2z"))
            .claim("kubernetes.io/serviceaccount/service-account.name", name)
            .claim(
                "kubernetes.io/serviceaccount/service-account.uid",
                uid("serviceaccount", namespace, name),
            )
            .claim("sub", format!("system:serviceaccount:{namespace}:{name}"))
            .claim("aud", Value::Null)
    }

    /// Without the claims of a service account: for issuers that are no clusters.
    pub fn bare(self) -> Self {
        self.without_claim("sub").without_claim("kubernetes.io")
    }

    /// Sets a claim, whatever it is. `aud` wins over the audiences; `null` leaves it out.
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.payload.insert(name.to_owned(), value.into());
        self
    }

    /// Leaves a claim out.
    pub fn without_claim(self, name: &str) -> Self {
        self.claim(name, Value::Null)
    }

    /// Sets a member of the header.
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header.insert(name.to_owned(), value.into());
        self
    }

    /// Leaves a member of the header out.
    pub fn without_header(mut self, name: &str) -> Self {
        self.header.remove(name);
        self
    }

    /// Uses this text as header, as it is.
    pub fn header_text(mut self, text: &str) -> Self {
        self.header_text = Some(text.to_owned());
        self
    }

    /// Uses this text as payload, as it is.
    pub fn payload_text(mut self, text: &str) -> Self {
        self.payload_text = Some(text.to_owned());
        self
    }

    /// Signed by another key, whose `kid` and `alg` go into the header.
    pub fn signed_by(mut self, key: &SigningKey) -> Self {
        self.key = key.clone();
        self.header("alg", key.algorithm().name()).header("kid", key.kid())
    }

    /// Signed by another key, in the name of the first.
    pub fn forged_by(mut self, key: &SigningKey) -> Self {
        self.key = key.clone();
        self
    }

    /// With these bytes as signature.
    pub fn signature(mut self, signature: impl Into<Vec<u8>>) -> Self {
        self.signature = Some(signature.into());
        self
    }

    /// The token.
    #[must_use]
    pub fn mint(mut self) -> String {
        if !self.payload.contains_key("aud") {
            let audiences = match (self.audiences.is_empty(), self.payload.get("iss")) {
                (true, Some(issuer)) => json!([issuer]),
                _ => json!(self.audiences),
            };
            self.payload.insert("aud".to_owned(), audiences);
        }
        self.payload.retain(|_, value| !value.is_null());
        let text = |members: Map<String, Value>| Value::Object(members).to_string();
        let header = self.header_text.unwrap_or_else(|| text(self.header));
        let payload = self.payload_text.unwrap_or_else(|| text(self.payload));
        let signing_input = format!("{}.{}", encode(header), encode(payload));
        let signature = self.signature.unwrap_or_else(|| self.key.sign(signing_input.as_bytes()));
        format!("{signing_input}.{}", encode(signature))
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).expect("a time after 1970").as_secs()
}

/// A uid that an object of this kind and name always has.
fn uid(kind: &str, namespace: &str, name: &str) -> String {
    let digest = digest::digest(&SHA256, format!("{kind}/{namespace}/{name}").as_bytes());
    let number = digest.as_ref()[..16].iter().fold(0_u128, |n, byte| n << 8 | u128::from(*byte));
    let hex = format!("{number:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

impl fmt::Debug for TokenBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenBuilder")
            .field("key", &self.key)
            .field("header", &self.header)
            .field("payload", &self.payload)
            .finish_non_exhaustive()
    }
}
