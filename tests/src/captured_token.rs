//! The captured tokens, each with the documents of its cluster.

use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::capture::{Capture, decoded, fixture, pinned_time};

const V1_20: &str = "kube-apiserver";
const V1_36: &str = "kube-apiserver-1.36";

/// A valid token that a real kube-apiserver issued, and the documents of its cluster.
#[derive(Clone, Copy, Debug)]
pub struct CapturedToken {
    folder: &'static str,
    name: &'static str,
    discovery: &'static str,
    keys: &'static str,
    review: Option<&'static str>,
}

/// All of them.
pub const CAPTURED_TOKENS: [CapturedToken; 19] = [
    old("plain").reviewed("valid-plain"),
    old("pod-bound").reviewed("valid-pod"),
    old("secret-bound"),
    old("aud-two"),
    old("ec256").with("discovery.ec256.http", "jwks.ec256.http"),
    old("aks-issuer").with("discovery.aks-issuer.http", "jwks.aks-issuer.http"),
    new("plain").reviewed("plain"),
    new("two-audiences").reviewed("two-audiences"),
    new("pod-bound").reviewed("pod-bound"),
    new("pod-bound-unscheduled"),
    new("pod-bound-node-without-uid").reviewed("pod-bound-node-without-uid"),
    new("pod-default-3607"),
    new("node-bound").reviewed("node-bound"),
    new("secret-bound").reviewed("secret-bound"),
    new("pod-bound-deleted").reviewed("pod-bound-deleted"),
    new("rotated-b").with("discovery.http", "jwks.rotation-ab.http"),
    new("ec256").with("discovery.http", "jwks.ec256.http"),
    new("v1.33-pod-bound").with("discovery.http", "v1.33-jwks.http").reviewed("v1.33-pod-bound"),
    new("v1.33-node-bound").with("discovery.http", "v1.33-jwks.http"),
];

const fn old(name: &'static str) -> CapturedToken {
    let (discovery, keys) = ("discovery.http", "jwks.http");
    CapturedToken { folder: V1_20, name, discovery, keys, review: None }
}

const fn new(name: &'static str) -> CapturedToken {
    CapturedToken { folder: V1_36, ..old(name) }
}

impl CapturedToken {
    const fn with(self, discovery: &'static str, keys: &'static str) -> Self {
        Self { discovery, keys, ..self }
    }

    const fn reviewed(self, review: &'static str) -> Self {
        Self { review: Some(review), ..self }
    }

    /// The name of the fixture.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.folder, self.name)
    }

    /// The token.
    #[must_use]
    pub fn jwt(&self) -> String {
        fixture(&format!("{}.jwt", self.name()))
    }

    /// Its header and payload, as they were decoded by another program.
    #[must_use]
    pub fn decoded(&self) -> Value {
        match self.folder {
            V1_20 => decoded(&format!("{}.decoded.json", self.name())),
            _ => decoded(&format!("{}/decoded.json", self.folder))[self.name].clone(),
        }
    }

    /// A claim.
    #[must_use]
    pub fn payload(&self, member: &str) -> Value {
        self.decoded()["payload"][member].clone()
    }

    /// The issuer.
    #[must_use]
    pub fn issuer(&self) -> String {
        self.payload("iss").as_str().expect("an issuer").to_owned()
    }

    /// The first audience.
    #[must_use]
    pub fn audience(&self) -> String {
        self.payload("aud")[0].as_str().expect("an audience").to_owned()
    }

    /// A time at which the token is valid.
    #[must_use]
    pub fn pinned_time(&self) -> SystemTime {
        match self.folder {
            V1_20 => pinned_time(),
            _ => SystemTime::UNIX_EPOCH + Duration::from_secs(1_796_086_800),
        }
    }

    /// The origin of the API server, by the discovery document.
    #[must_use]
    pub fn server(&self) -> &'static str {
        if self.folder == V1_20 { "https://127.0.0.1:26443" } else { "https://192.0.2.2:26900" }
    }

    /// The fixture of the discovery document.
    #[must_use]
    pub fn discovery(&self) -> String {
        format!("{}/{}", self.folder, self.discovery)
    }

    /// The fixture of the key set.
    #[must_use]
    pub fn keys(&self) -> String {
        format!("{}/{}", self.folder, self.keys)
    }

    /// The key set.
    #[must_use]
    pub fn key_set(&self) -> String {
        Capture::read(&self.keys()).body
    }

    /// The response to a token review, if it was captured.
    #[must_use]
    pub fn review(&self) -> Option<Value> {
        Some(decoded(&format!("{}/{}.tokenreview.json", self.folder, self.review?)))
    }
}
