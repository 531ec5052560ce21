//! The claims of a pod's token, as one would write them by hand.

use serde::Deserialize;

/// All of them. Some crates hand out a clone.
#[derive(Clone, Debug, Deserialize)]
pub struct PodClaims {
    /// `iss`.
    pub iss: String,
    /// `sub`.
    pub sub: String,
    /// `aud`.
    pub aud: Vec<String>,
    /// `exp`.
    pub exp: u64,
    /// `iat`.
    pub iat: u64,
    /// `nbf`.
    pub nbf: u64,
    /// `jti`.
    pub jti: Option<String>,
    /// `kubernetes.io`.
    #[serde(rename = "kubernetes.io")]
    pub kubernetes: Kubernetes,
}

/// What stands in `kubernetes.io`.
#[derive(Clone, Debug, Deserialize)]
pub struct Kubernetes {
    /// `namespace`.
    pub namespace: String,
    /// `serviceaccount`.
    pub serviceaccount: Object,
    /// `pod`.
    pub pod: Option<Object>,
    /// `node`.
    pub node: Option<Object>,
    /// `warnafter`.
    pub warnafter: Option<u64>,
}

/// A name and a uid.
#[derive(Clone, Debug, Deserialize)]
pub struct Object {
    /// `name`.
    pub name: String,
    /// `uid`.
    pub uid: String,
}
