//! Every bit of a token, and any claims.
//!
//! RFC 7515, 5.2: the signature is over every byte that is sent, and RFC 7515, 2 and RFC 4648, 3.5
//! leave these bytes one spelling. RFC 7519, 7.2: what is read is what was signed.

use std::time::{Duration, SystemTime};

use kube_oidc_testing::SigningAlgorithm;
use proptest::prelude::*;
use serde_json::json;

use super::{Lock, is_rsa, verdict};

/// No bit of a token is free, in none of its parts and between them: two texts are never one
/// token, and no other text is one. Where a signature costs little, every bit is tried.
// rule: cache-key
#[test]
fn no_bit_of_a_token_is_free() {
    for algorithm in [SigningAlgorithm::Es256, SigningAlgorithm::EdDsa] {
        assert_no_bit_is_free(algorithm, 1);
    }
}

/// The same for the others, of which some bits are tried, others in each run.
#[test]
fn no_bit_of_a_costly_token_is_free() {
    for algorithm in SigningAlgorithm::ALL {
        if !matches!(algorithm, SigningAlgorithm::Es256 | SigningAlgorithm::EdDsa) {
            assert_no_bit_is_free(algorithm, 23);
        }
    }
}

fn assert_no_bit_is_free(algorithm: SigningAlgorithm, step: usize) {
    let lock = Lock::of(algorithm);
    let token = lock.forge().mint().into_bytes();
    let mut changed = token.clone();
    for bit in (fastrand::usize(..step)..token.len() * 8).step_by(step) {
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(verdict(&lock.verifier, &changed).is_err(), "{algorithm:?}: bit {bit}");
        changed[bit / 8] = token[bit / 8];
    }
    lock.accepts(algorithm, token);
}

/// The same of what the parts stand for, signed anew by nobody.
#[test]
fn no_bit_of_what_was_signed_is_free() {
    for algorithm in SigningAlgorithm::ALL {
        let lock = Lock::of(algorithm);
        let forge = lock.forge();
        let signature = forge.signature();
        let step = if is_rsa(algorithm) { 19 } else { 7 };
        for bit in (fastrand::usize(..step)..forge.payload.len() * 8).step_by(step) {
            let mut forged = forge.clone();
            forged.payload[bit / 8] ^= 1 << (bit % 8);
            let token = forged.mint_with(&signature);
            assert!(verdict(&lock.verifier, token.as_bytes()).is_err(), "{algorithm:?}: {bit}");
        }
        for bit in (fastrand::usize(..step)..signature.len() * 8).step_by(step) {
            let mut signature = signature.clone();
            signature[bit / 8] ^= 1 << (bit % 8);
            let token = forge.mint_with(&signature);
            assert!(verdict(&lock.verifier, token.as_bytes()).is_err(), "{algorithm:?}: {bit}");
        }
        lock.accepts(algorithm, forge.mint_with(&signature));
    }
}

fn label() -> impl Strategy<Value = String> {
    "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
}

fn name() -> impl Strategy<Value = String> {
    proptest::collection::vec(label(), 1..4).prop_map(|labels| labels.join("."))
}

fn uid() -> impl Strategy<Value = String> {
    "[!-~]{1,128}"
}

/// Any text, with all that JSON has to escape.
fn text() -> impl Strategy<Value = String> {
    prop_oneof!["\\PC{0,40}", "[\\x00-\\x7f]{0,40}", ".{0,10}"]
}

/// What a token may say, of which a part may be missing.
#[derive(Clone, Debug)]
struct Said {
    namespace: String,
    account: (String, String),
    pod: Option<(String, String)>,
    node: Option<(String, String)>,
    secret: Option<(String, String)>,
    audiences: Vec<String>,
    jti: Option<String>,
    lifetime: u64,
    warn_after: Option<u64>,
    unknown: Vec<(String, String)>,
}

fn said() -> impl Strategy<Value = Said> {
    let object = || (name(), uid());
    let objects = (
        label(),
        object(),
        proptest::option::of(object()),
        proptest::option::of(object()),
        proptest::option::of(object()),
    );
    let rest = (
        proptest::collection::vec(text(), 0..4),
        proptest::option::of(text()),
        1..31_536_000_u64,
        proptest::option::of(0..253_402_300_799_u64),
        proptest::collection::vec(("[x-z][a-z\u{e4}]{0,9}", text()), 0..3),
    );
    (objects, rest).prop_map(|(objects, rest)| {
        let (namespace, account, pod, node, secret) = objects;
        let (audiences, jti, lifetime, warn_after, unknown) = rest;
        Said {
            namespace,
            account,
            pod,
            node,
            secret,
            audiences,
            jti,
            lifetime,
            warn_after,
            unknown,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever an issuer says is read back as it was said.
    #[test]
    fn what_was_minted_is_what_is_read(said in said(), ours in 0..5_usize) {
        let lock = Lock::of(SigningAlgorithm::EdDsa);
        let mut audiences = said.audiences.clone();
        audiences.insert(ours.min(audiences.len()), "orders".to_owned());
        let object = |(name, uid): &(String, String)| json!({ "name": name, "uid": uid });
        let now = SystemTime::now();
        let mut token = lock
            .token()
            .service_account(&said.namespace, &said.account.0)
            .kubernetes_claim("serviceaccount", object(&said.account))
            .claim("aud", json!(audiences))
            .issued_at(now)
            .expires_at(now + Duration::from_secs(said.lifetime));
        let bound = [("pod", &said.pod), ("node", &said.node), ("secret", &said.secret)];
        for (kind, bound) in bound {
            if let Some(bound) = bound {
                token = token.kubernetes_claim(kind, object(bound));
            }
        }
        token = token.claim("jti", said.jti.clone());
        if let Some(warn_after) = said.warn_after {
            token = token.kubernetes_claim("warnafter", warn_after);
        }
        for (name, value) in &said.unknown {
            token = token.claim(name, value.as_str()).header(name, value.as_str());
        }
        let token = token.mint();
        let judge = || lock.verifier.verify_with_cached_keys(&token);
        // the second time it is remembered
        for _ in 0..2 {
            let Some(verdict) = judge() else { panic!("a set that was given") };
            let caller = verdict.map_err(|error| TestCaseError::fail(error.to_string()))?;
            let seconds = |time: SystemTime| {
                time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
            };
            let pair = |object: kube_oidc::ObjectRef<'_>| {
                (object.name().to_owned(), object.uid().to_owned())
            };
            prop_assert_eq!(caller.namespace(), &said.namespace);
            prop_assert_eq!(pair(caller.service_account()), said.account.clone());
            prop_assert_eq!(caller.pod().map(pair), said.pod.clone());
            prop_assert_eq!(caller.secret().map(pair), said.secret.clone());
            let node = caller.node();
            let node = node.map(|node| (node.name().to_owned(), node.uid().unwrap().to_owned()));
            prop_assert_eq!(node, said.node.clone());
            prop_assert_eq!(caller.issuer(), super::ISSUER);
            prop_assert!(caller.audiences().eq(audiences.iter().map(String::as_str)));
            prop_assert_eq!(caller.jti(), said.jti.as_deref());
            prop_assert_eq!(caller.warn_after().map(seconds), said.warn_after);
            prop_assert_eq!(caller.issued_at().map(seconds), Some(seconds(now)));
            prop_assert_eq!(seconds(caller.expires_at()), seconds(now) + said.lifetime);
            let (namespace, name) = (&said.namespace, &said.account.0);
            let subject = format!("system:serviceaccount:{namespace}:{name}");
            prop_assert_eq!(caller.subject(), subject);
        }
    }
}
