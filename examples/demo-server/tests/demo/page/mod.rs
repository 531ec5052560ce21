//! The page for people: who sees it, and what it says of tokens.

mod access;
mod files;
mod keys;
mod tokens;

use serde_json::{Value, json};

use crate::process::{Demo, Response};

/// What its script does.
pub(crate) trait Page {
    /// Loads something of the page.
    fn load(&self, path: &str) -> Response;

    /// Sends a body as its script does.
    fn post(&self, path: &str, body: &[u8]) -> Response;

    fn post_json(&self, path: &str, body: &Value) -> Value {
        let response = self.post(path, body.to_string().as_bytes());
        assert_eq!(response.status, 200, "{}", response.body);
        response.json()
    }

    fn explain(&self, token: &str) -> Value {
        self.post_json("/api/explain", &json!({ "token": token }))
    }

    fn mint(&self, kind: &str) -> String {
        let minted = self.post_json("/api/mint", &wanted(kind));
        minted["token"].as_str().unwrap().to_owned()
    }

    /// A good token of another pod.
    fn mint_for_pod(&self, pod: &str) -> String {
        let mut wanted = wanted("good");
        wanted["pod"] = pod.into();
        let minted = self.post_json("/api/mint", &wanted);
        minted["token"].as_str().unwrap().to_owned()
    }

    fn status(&self) -> Value {
        self.load("/api/status").json()
    }

    fn change(&self, change: &str) -> Value {
        self.post_json("/api/issuer", &json!({ "change": change }))
    }
}

impl Page for Demo {
    fn load(&self, path: &str) -> Response {
        self.ask(&format!("GET {path}"), &[&format!("host: {}", self.address)], b"")
    }

    fn post(&self, path: &str, body: &[u8]) -> Response {
        let (host, origin) =
            (format!("host: {}", self.address), format!("origin: http://{}", self.address));
        let headers = [&host, &origin, "sec-fetch-site: same-origin", JSON];
        self.ask(&format!("POST {path}"), &headers, body)
    }
}

const JSON: &str = "content-type: application/json";

/// What is asked for in a form that nobody touched.
fn wanted(kind: &str) -> Value {
    json!({
        "namespace": "payments",
        "service_account": "checkout",
        "pod": "checkout-7d9f8b6c5d-x2x4z",
        "node": "node-1",
        "audience": "demo",
        "lifetime_seconds": 3600,
        "kind": kind,
    })
}

/// A demo whose verifier has its keys.
pub(crate) fn started() -> Demo {
    let demo = Demo::start(&[]);
    demo.log_line_with("the keys of the issuer are here");
    demo
}
