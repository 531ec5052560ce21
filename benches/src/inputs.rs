//! What is verified: tokens as a kube-apiserver issues them to a pod, minted at start.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey,
    RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, VerificationAlgorithm,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use kube_oidc::{Issuer, Verifier, VerifierBuilder};
use kube_oidc_testing::{SigningAlgorithm, SigningKey, TestIssuer, TokenBuilder};
use serde_json::Value;

/// The audience of every token.
pub const AUDIENCE: &str = "orders";

/// A token of a pod.
pub fn pod_token(issuer: &TestIssuer) -> TokenBuilder {
    issuer
        .token()
        .audience(AUDIENCE)
        .service_account("payments", "checkout")
        .pod("checkout-7d9f8b6c5d-x2x4z")
        .node("ip-10-0-1-2.eu-west-1.compute.internal")
}

/// A verifier of an issuer's tokens, whose keys were fetched.
pub async fn verifier(issuer: &TestIssuer, token_cache: usize) -> Verifier {
    let verifier = builder(issuer).token_cache(token_cache).build().expect("good settings");
    verifier.ready().await;
    verifier
}

/// The beginning of one.
pub fn builder(issuer: &TestIssuer) -> VerifierBuilder {
    let trusted = Issuer::new(issuer.url().parse().expect("a URL"));
    Verifier::builder(trusted).audience(AUDIENCE)
}

/// Verifies a token, which must be good and need no waiting.
pub fn verify(verifier: &Verifier, token: &str) -> kube_oidc::Verified {
    match verifier.verify_with_cached_keys(token) {
        Some(Ok(verified)) => verified,
        other => panic!("{other:?}"),
    }
}

/// The check of a signature and nothing else, with a key that was prepared before.
pub struct RawCheck {
    key: ParsedPublicKey,
    message: Vec<u8>,
    signature: Vec<u8>,
}

impl RawCheck {
    /// The check of a token's signature.
    pub fn of(token: &str, key: &SigningKey) -> Self {
        Self::by(token, prepared(key))
    }

    /// The check of a token's RS256 signature by a JWK.
    pub fn rs256(token: &str, jwk: &Value) -> Self {
        Self::by(token, rsa(jwk))
    }

    fn by(token: &str, key: ParsedPublicKey) -> Self {
        let (message, signature) = token.rsplit_once('.').expect("a token");
        Self {
            key,
            message: message.as_bytes().to_vec(),
            signature: URL_SAFE_NO_PAD.decode(signature).expect("base64url"),
        }
    }

    /// Checks it.
    pub fn check(&self) {
        self.key.verify_sig(&self.message, &self.signature).expect("a good signature");
    }
}

fn prepared(key: &SigningKey) -> ParsedPublicKey {
    let algorithm: &'static dyn VerificationAlgorithm = match key.algorithm().name() {
        "RS256" => return rsa(&key.jwk()),
        "ES256" => &ECDSA_P256_SHA256_FIXED,
        "ES384" => &ECDSA_P384_SHA384_FIXED,
        "EdDSA" => &ED25519,
        other => panic!("no raw check for {other}"),
    };
    ParsedPublicKey::new(algorithm, key.public_bytes()).expect("a good key")
}

fn rsa(jwk: &Value) -> ParsedPublicKey {
    let (n, e) = (bytes(&jwk["n"]), bytes(&jwk["e"]));
    let components = RsaPublicKeyComponents { n: &n, e: &e };
    components.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256).expect("a good key")
}

/// A number of a JWK.
pub fn bytes(value: &Value) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(value.as_str().expect("a text")).expect("base64url")
}

/// The algorithms that are measured.
pub const ALGORITHMS: [SigningAlgorithm; 4] = [
    SigningAlgorithm::Rs256,
    SigningAlgorithm::Es256,
    SigningAlgorithm::Es384,
    SigningAlgorithm::EdDsa,
];
