//! Another verifier, of other parts: `serde_json`'s values, the base64 crate, and for Ed25519 a
//! signature check in pure Rust. The arithmetic of RSA and ECDSA is aws-lc's here too: what is
//! checked of these is which key, which algorithm and which bytes it is done with. It is slower and
//! more lenient than the real one, so what that accepts this has to accept too.

use std::collections::HashSet;

use aws_lc_rs::signature::{
    self, EcdsaVerificationAlgorithm, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ed25519_dalek::{Signature, VerifyingKey};
use serde_json::Value;

use crate::{
    json,
    world::{AUDIENCE, ISSUER, NOW},
};

const LEEWAY: f64 = 60.0;

/// What a good token says.
#[derive(Debug)]
pub(crate) struct Good {
    pub(crate) algorithm: &'static str,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// What a token says that is good by the keys of a set, or why it is not.
pub(crate) fn check(token: &[u8], key_set: &Value) -> Result<Good, String> {
    let text = str::from_utf8(token).map_err(|_| "it is no text")?;
    let parts: Vec<&str> = text.split('.').collect();
    let [header, payload, signature] = parts[..] else {
        return Err("it has no three parts".into());
    };
    let signing_input = &text[..header.len() + 1 + payload.len()];
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|error| error.to_string());
    let parse = |part: &str| -> Result<Value, String> {
        json::read(&decode(part)?).ok_or_else(|| "it is no JSON".to_owned())
    };
    let (header, payload, signature) = (parse(header)?, parse(payload)?, decode(signature)?);
    let alg = header["alg"].as_str().unwrap_or_default();
    let Some((algorithm, scheme)) = scheme(alg) else {
        return Err(format!("its alg is {}", header["alg"]));
    };
    // API servers before 1.16 write an empty name
    let has_no_kid = header["kid"].is_null() || header["kid"] == "";
    let may_sign = |jwk: &&Value| {
        (has_no_kid || jwk["kid"] == header["kid"])
            && (jwk["use"].is_null() || jwk["use"] == "sig")
            && is_for_verifying(&jwk["key_ops"])
            && jwk["alg"]
                .as_str()
                .is_none_or(|alg| self::scheme(alg).is_some_and(|(name, _)| name == algorithm))
    };
    let has_signed =
        |jwk| scheme.is_signed_by(jwk, signing_input.as_bytes(), &signature).unwrap_or(false);
    let mut keys = key_set["keys"].as_array().ok_or("there are no keys")?.iter().filter(may_sign);
    if !keys.any(has_signed) {
        return Err("no key has signed it".into());
    }
    check_claims(&payload)?;
    let account = &payload["kubernetes.io"];
    let name = |name: &Value| name.as_str().unwrap_or_default().to_owned();
    Ok(Good {
        algorithm,
        namespace: name(&account["namespace"]),
        name: name(&account["serviceaccount"]["name"]),
    })
}

/// Whether a list of operations allows to verify, or says nothing.
fn is_for_verifying(operations: &Value) -> bool {
    match operations {
        Value::Null => true,
        Value::Array(operations) => operations.is_empty() || operations.contains(&"verify".into()),
        operation => operation == "verify",
    }
}

enum Scheme {
    Ed25519,
    Rsa(&'static RsaParameters),
    Ec(&'static EcdsaVerificationAlgorithm, &'static str),
}

/// What a value of `alg` stands for.
fn scheme(alg: &str) -> Option<(&'static str, Scheme)> {
    Some(match alg {
        "EdDSA" | "Ed25519" => ("EdDSA", Scheme::Ed25519),
        "RS256" => ("RS256", Scheme::Rsa(&signature::RSA_PKCS1_2048_8192_SHA256)),
        "RS384" => ("RS384", Scheme::Rsa(&signature::RSA_PKCS1_2048_8192_SHA384)),
        "RS512" => ("RS512", Scheme::Rsa(&signature::RSA_PKCS1_2048_8192_SHA512)),
        "PS256" => ("PS256", Scheme::Rsa(&signature::RSA_PSS_2048_8192_SHA256)),
        "PS384" => ("PS384", Scheme::Rsa(&signature::RSA_PSS_2048_8192_SHA384)),
        "PS512" => ("PS512", Scheme::Rsa(&signature::RSA_PSS_2048_8192_SHA512)),
        "ES256" => ("ES256", Scheme::Ec(&signature::ECDSA_P256_SHA256_FIXED, "P-256")),
        "ES384" => ("ES384", Scheme::Ec(&signature::ECDSA_P384_SHA384_FIXED, "P-384")),
        "ES512" => ("ES512", Scheme::Ec(&signature::ECDSA_P521_SHA512_FIXED, "P-521")),
        _ => return None,
    })
}

impl Scheme {
    /// `None`: the key is of another kind.
    fn is_signed_by(&self, jwk: &Value, message: &[u8], signature: &[u8]) -> Option<bool> {
        let number = |member: &str| URL_SAFE_NO_PAD.decode(jwk[member].as_str()?).ok();
        match self {
            Self::Ed25519 if jwk["kty"] == "OKP" && jwk["crv"] == "Ed25519" => {
                let key =
                    VerifyingKey::from_bytes(number("x")?.as_slice().try_into().ok()?).ok()?;
                let signature = Signature::from_slice(signature).ok()?;
                Some(key.verify_strict(message, &signature).is_ok())
            }
            Self::Rsa(parameters) if jwk["kty"] == "RSA" => {
                let key = RsaPublicKeyComponents { n: number("n")?, e: number("e")? };
                Some(key.verify(parameters, message, signature).is_ok())
            }
            Self::Ec(algorithm, curve) if jwk["kty"] == "EC" && jwk["crv"] == *curve => {
                // an uncompressed point: a 4, then both coordinates
                let point = [vec![4], number("x")?, number("y")?].concat();
                let key = UnparsedPublicKey::new(*algorithm, point);
                Some(key.verify(message, signature).is_ok())
            }
            _ => None,
        }
    }
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

/// As long as a piece may be that is in a text by chance: libFuzzer tries words that it saw compared,
/// such as the names of headers.
const PIECE: usize = 24;

/// Fails where a text shows a piece of a part of a token, or of what was sent in its place. A claim
/// may say a piece of its own token, and is shown for what it says.
#[track_caller]
pub(crate) fn assert_hidden(token: &[u8], shown: &str) {
    let pieces: HashSet<&[u8]> = shown.as_bytes().windows(PIECE).collect();
    let is_of_no_part = |byte: &u8| !byte.is_ascii_alphanumeric() && !b"-_".contains(byte);
    let mut parts = token.split(is_of_no_part).flat_map(|part| part.windows(PIECE));
    let said =
        token.split(|byte| *byte == b'.').filter_map(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let said: Vec<_> = said.collect();
    let is_said = |piece| said.iter().any(|text| text.windows(PIECE).any(|said| said == piece));
    let found = parts.find(|piece| pieces.contains(piece) && !is_said(*piece));
    assert!(found.is_none(), "{:?} is shown: {shown}", found.map(String::from_utf8_lossy));
}
