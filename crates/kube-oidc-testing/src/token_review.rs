//! What the API server of the issuer's cluster says of a token.

use std::{
    collections::HashSet,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::server::MockResponse;

/// Where an API server is asked.
pub(crate) const PATH: &str = "/apis/authentication.k8s.io/v1/tokenreviews";

/// What is not in the cluster any more.
#[derive(Debug, Default)]
pub(crate) struct Deleted {
    pods: HashSet<String>,
    users: HashSet<String>,
}

impl Deleted {
    pub(crate) fn pod(&mut self, name: &str) {
        self.pods.insert(name.to_owned());
    }

    pub(crate) fn service_account(&mut self, namespace: &str, name: &str) {
        self.users.insert(format!("system:serviceaccount:{namespace}:{name}"));
    }

    /// Answers a `TokenReview` in the words of a real kube-apiserver. It goes by what the token
    /// says: that the signature is good was found out before anybody asked.
    pub(crate) fn review(&self, asked: &[u8]) -> MockResponse {
        let mut review = match serde_json::from_slice::<Value>(asked) {
            Ok(review) if review.is_object() => review,
            _ => return MockResponse::new(400, r#"{"kind":"Status","code":400}"#),
        };
        let wanted: Vec<&str> = review["spec"]["audiences"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let claims = review["spec"]["token"].as_str().and_then(claims_of).unwrap_or_default();
        let status = self.status(&claims, &wanted);
        review["status"] = status;
        MockResponse::new(201, review.to_string()).with_header("content-type", "application/json")
    }

    fn status(&self, claims: &Value, wanted: &[&str]) -> Value {
        let refused =
            |why: &str| json!({ "user": {}, "error": format!("[invalid bearer token, {why}]") });
        let user = claims["sub"].as_str().unwrap_or_default();
        let cluster = &claims["kubernetes.io"];
        let has: Vec<&str> = match &claims["aud"] {
            Value::String(one) => vec![one],
            several => several.as_array().into_iter().flatten().filter_map(Value::as_str).collect(),
        };
        let shared: Vec<&str> =
            wanted.iter().copied().filter(|audience| has.contains(audience)).collect();
        let pod = cluster["pod"]["name"].as_str();
        let exp = Duration::from_secs(claims["exp"].as_u64().unwrap_or_default());
        // a time that cannot be represented is far away
        if UNIX_EPOCH.checked_add(exp).is_some_and(|exp| exp < SystemTime::now()) {
            refused("service account token has expired")
        } else if self.users.contains(user) || pod.is_some_and(|pod| self.pods.contains(pod)) {
            refused("Token has been invalidated")
        } else if shared.is_empty() {
            refused(&format!(
                "token audiences {has:?} is invalid for the target audiences {wanted:?}"
            ))
        } else {
            let namespace = cluster["namespace"].as_str().unwrap_or_default();
            json!({
                "authenticated": true,
                "user": {
                    "username": user,
                    "uid": cluster["serviceaccount"]["uid"],
                    "groups": [
                        "system:serviceaccounts",
                        format!("system:serviceaccounts:{namespace}"),
                        "system:authenticated",
                    ],
                },
                "audiences": shared,
            })
        }
    }
}

fn claims_of(token: &str) -> Option<Value> {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    serde_json::from_slice(&payload).ok()
}
