use std::sync::OnceLock;

#[cfg(feature = "ml-dsa")]
use aws_lc_rs::signature::PqdsaKeyPair;
use aws_lc_rs::{
    rand::SystemRandom,
    rsa::{self, KeySize},
    signature::{
        self, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RsaEncoding,
    },
};
use serde_json::{Value, json};

use super::b64;
use crate::algorithm::Algorithm;

/// A private key of an issuer.
pub(crate) enum Signer {
    Rsa(rsa::KeyPair),
    Ec(&'static str, EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    #[cfg(feature = "ml-dsa")]
    MlDsa(PqdsaKeyPair),
}

impl Signer {
    /// One for all tests: an RSA key takes long to find.
    pub(crate) fn rsa() -> &'static Self {
        static KEY: OnceLock<Signer> = OnceLock::new();
        KEY.get_or_init(|| Self::Rsa(rsa::KeyPair::generate(KeySize::Rsa2048).unwrap()))
    }

    pub(crate) fn ec(algorithm: Algorithm) -> Self {
        let (crv, signing): (_, &'static EcdsaSigningAlgorithm) = match algorithm {
            Algorithm::Es256 => ("P-256", &signature::ECDSA_P256_SHA256_FIXED_SIGNING),
            Algorithm::Es384 => ("P-384", &signature::ECDSA_P384_SHA384_FIXED_SIGNING),
            Algorithm::Es512 => ("P-521", &signature::ECDSA_P521_SHA512_FIXED_SIGNING),
            other => panic!("{other} is not ECDSA"),
        };
        Self::Ec(crv, EcdsaKeyPair::generate(signing).unwrap())
    }

    pub(crate) fn ed25519() -> Self {
        Self::Ed25519(Ed25519KeyPair::generate().unwrap())
    }

    #[cfg(feature = "ml-dsa")]
    pub(crate) fn ml_dsa(algorithm: Algorithm) -> Self {
        let signing = match algorithm {
            Algorithm::MlDsa44 => &signature::ML_DSA_44_SIGNING,
            Algorithm::MlDsa65 => &signature::ML_DSA_65_SIGNING,
            Algorithm::MlDsa87 => &signature::ML_DSA_87_SIGNING,
            other => panic!("{other} is not ML-DSA"),
        };
        Self::MlDsa(PqdsaKeyPair::generate(signing).unwrap())
    }

    /// The public key, without `kid` and `alg`.
    pub(crate) fn jwk(&self) -> Value {
        match self {
            Self::Rsa(key) => {
                let n = modulus(key);
                json!({ "kty": "RSA", "n": b64(&n), "e": "AQAB" })
            }
            Self::Ec(crv, key) => {
                // an uncompressed point: 4, x, y
                let (x, y) = key.public_key().as_ref()[1..].split_at(coordinate_length(crv));
                json!({ "kty": "EC", "crv": crv, "x": b64(x), "y": b64(y) })
            }
            Self::Ed25519(key) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": b64(key.public_key().as_ref()) })
            }
            #[cfg(feature = "ml-dsa")]
            Self::MlDsa(key) => json!({ "kty": "AKP", "pub": b64(key.public_key().as_ref()) }),
        }
    }

    /// The public key, without `alg`.
    pub(crate) fn named(&self, kid: &str) -> Value {
        let mut jwk = self.jwk();
        jwk["kid"] = json!(kid);
        jwk
    }

    pub(crate) fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(key) => {
                let encoding: &'static dyn RsaEncoding = match algorithm {
                    Algorithm::Rs256 => &signature::RSA_PKCS1_SHA256,
                    Algorithm::Rs384 => &signature::RSA_PKCS1_SHA384,
                    Algorithm::Rs512 => &signature::RSA_PKCS1_SHA512,
                    Algorithm::Ps256 => &signature::RSA_PSS_SHA256,
                    Algorithm::Ps384 => &signature::RSA_PSS_SHA384,
                    Algorithm::Ps512 => &signature::RSA_PSS_SHA512,
                    other => panic!("{other} is not RSA"),
                };
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(encoding, &random, message, &mut signature).unwrap();
                signature
            }
            Self::Ec(_, key) => key.sign(&random, message).unwrap().as_ref().to_vec(),
            Self::Ed25519(key) => key.sign(message).as_ref().to_vec(),
            #[cfg(feature = "ml-dsa")]
            Self::MlDsa(key) => {
                let mut signature = vec![0; key.algorithm().signature_len()];
                key.sign(message, &mut signature).unwrap();
                signature
            }
        }
    }

    /// A token that is signed with `EdDSA`.
    pub(crate) fn token(&self, kid: Option<&str>, payload: &Value) -> String {
        let mut header = json!({ "alg": Algorithm::EdDsa.name() });
        if let Some(kid) = kid {
            header["kid"] = json!(kid);
        }
        let encode = |part: &Value| b64(part.to_string().as_bytes());
        let message = format!("{}.{}", encode(&header), encode(payload));
        let signature = self.sign(Algorithm::EdDsa, message.as_bytes());
        format!("{message}.{}", b64(&signature))
    }
}

/// The bytes of a coordinate.
pub(crate) fn coordinate_length(crv: &str) -> usize {
    match crv {
        "P-256" => 32,
        "P-384" => 48,
        _ => 66,
    }
}

/// The modulus: in DER the last but the exponent, which is `02 03 01 00 01`.
pub(crate) fn modulus(key: &rsa::KeyPair) -> Vec<u8> {
    let der = key.public_key().as_ref();
    let (rest, exponent) = der.split_at(der.len() - 5);
    assert_eq!(exponent, [2, 3, 1, 0, 1]);
    rest[rest.len() - key.public_modulus_len()..].to_vec()
}
