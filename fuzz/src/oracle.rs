//! Another verifier, of other parts: `serde_json`'s values, the base64 crate, a signature check in
//! pure Rust. It is slower and more lenient than the real one, so what that accepts this has to
//! accept too.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ed25519_dalek::{Signature, VerifyingKey};
use serde_json::Value;

use crate::world::{AUDIENCE, ISSUER, NOW};

const LEEWAY: f64 = 60.0;

/// Why a token is not good, or nothing.
pub(crate) fn check(token: &[u8], public_key: &[u8]) -> Result<(), String> {
    let text = str::from_utf8(token).map_err(|_| "it is no text")?;
    let parts: Vec<&str> = text.split('.').collect();
    let [header, payload, signature] = parts[..] else {
        return Err("it has no three parts".into());
    };
    let signing_input = &text[..header.len() + 1 + payload.len()];
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|error| error.to_string());
    let parse = |part: &str| -> Result<Value, String> {
        serde_json::from_slice(&decode(part)?).map_err(|error| error.to_string())
    };
    let (header, payload) = (parse(header)?, parse(payload)?);
    if !matches!(header["alg"].as_str(), Some("EdDSA" | "Ed25519")) {
        return Err(format!("its alg is {}", header["alg"]));
    }
    let key = public_key.try_into().map_err(|_| "the key has another length")?;
    let key = VerifyingKey::from_bytes(key).map_err(|error| error.to_string())?;
    let signature =
        Signature::from_slice(&decode(signature)?).map_err(|error| error.to_string())?;
    key.verify_strict(signing_input.as_bytes(), &signature).map_err(|error| error.to_string())?;
    check_claims(&payload)
}

#[expect(clippy::cast_precision_loss, reason = "seconds are far below what a float can hold")]
fn check_claims(payload: &Value) -> Result<(), String> {
    let is_ours = |audience: &Value| audience == AUDIENCE;
    let for_us = match &payload["aud"] {
        Value::Array(audiences) => audiences.iter().any(is_ours),
        audience => is_ours(audience),
    };
    let now = NOW as f64;
    let account = &payload["kubernetes.io"];
    let (namespace, name) = (&account["namespace"], &account["serviceaccount"]["name"]);
    let subject = format!(
        "system:serviceaccount:{}:{}",
        namespace.as_str().unwrap_or_default(),
        name.as_str().unwrap_or_default()
    );
    let holds = [
        ("iss", payload["iss"] == ISSUER),
        ("aud", for_us),
        ("exp", payload["exp"].as_f64().is_some_and(|exp| now < exp + LEEWAY)),
        ("nbf", is_past(&payload["nbf"], now)),
        ("iat", is_past(&payload["iat"], now)),
        ("sub", payload["sub"] == subject.as_str()),
        ("names", namespace.is_string() && name.is_string()),
        ("uid", account["serviceaccount"]["uid"].is_string()),
    ];
    match holds.into_iter().find(|(_, holds)| !holds) {
        Some((claim, _)) => Err(format!("{claim} is wrong")),
        None => Ok(()),
    }
}

fn is_past(time: &Value, now: f64) -> bool {
    // a member that is there must be a time
    time.is_null() || time.as_f64().is_some_and(|time| time <= now + LEEWAY + 1.0)
}
