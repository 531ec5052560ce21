//! Keys to sign with, of every algorithm that a verifier may meet.

use std::{fmt, sync::Arc};

use aws_lc_rs::{
    digest::{self, SHA256},
    rand::SystemRandom,
    rsa::{self, KeySize},
    signature::{
        self, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, PqdsaKeyPair,
        PqdsaSigningAlgorithm, RsaEncoding,
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// What a key signs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SigningAlgorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256, and a key of 2048 bits: what most clusters use.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PSS with SHA-384.
    Ps384,
    /// RSASSA-PSS with SHA-512.
    Ps512,
    /// ECDSA on P-256.
    Es256,
    /// ECDSA on P-384.
    Es384,
    /// ECDSA on P-521.
    Es512,
    /// Ed25519.
    EdDsa,
    /// ML-DSA-44 ([RFC 9964](https://www.rfc-editor.org/rfc/rfc9964)).
    MlDsa44,
    /// ML-DSA-65.
    MlDsa65,
    /// ML-DSA-87.
    MlDsa87,
}

enum Scheme {
    Rsa(&'static dyn RsaEncoding),
    Ec(&'static EcdsaSigningAlgorithm, &'static str),
    Ed25519,
    MlDsa(&'static PqdsaSigningAlgorithm),
}

impl SigningAlgorithm {
    /// Every algorithm but those of ML-DSA, which few verifiers know.
    pub const ALL: [Self; 10] = [
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::Es512,
        Self::EdDsa,
    ];

    /// Those of ML-DSA.
    pub const ML_DSA: [Self; 3] = [Self::MlDsa44, Self::MlDsa65, Self::MlDsa87];

    /// The name in `alg`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
            Self::EdDsa => "EdDSA",
            Self::MlDsa44 => "ML-DSA-44",
            Self::MlDsa65 => "ML-DSA-65",
            Self::MlDsa87 => "ML-DSA-87",
        }
    }

    fn scheme(self) -> Scheme {
        match self {
            Self::Rs256 => Scheme::Rsa(&signature::RSA_PKCS1_SHA256),
            Self::Rs384 => Scheme::Rsa(&signature::RSA_PKCS1_SHA384),
            Self::Rs512 => Scheme::Rsa(&signature::RSA_PKCS1_SHA512),
            Self::Ps256 => Scheme::Rsa(&signature::RSA_PSS_SHA256),
            Self::Ps384 => Scheme::Rsa(&signature::RSA_PSS_SHA384),
            Self::Ps512 => Scheme::Rsa(&signature::RSA_PSS_SHA512),
            Self::Es256 => Scheme::Ec(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, "P-256"),
            Self::Es384 => Scheme::Ec(&signature::ECDSA_P384_SHA384_FIXED_SIGNING, "P-384"),
            Self::Es512 => Scheme::Ec(&signature::ECDSA_P521_SHA512_FIXED_SIGNING, "P-521"),
            Self::EdDsa => Scheme::Ed25519,
            Self::MlDsa44 => Scheme::MlDsa(&signature::ML_DSA_44_SIGNING),
            Self::MlDsa65 => Scheme::MlDsa(&signature::ML_DSA_65_SIGNING),
            Self::MlDsa87 => Scheme::MlDsa(&signature::ML_DSA_87_SIGNING),
        }
    }
}

/// A key pair with a name. A clone is another handle to the same key.
#[derive(Clone)]
pub struct SigningKey {
    kid: String,
    algorithm: SigningAlgorithm,
    pair: Arc<Pair>,
}

enum Pair {
    Rsa(rsa::KeyPair),
    Ec(EcdsaKeyPair, &'static str),
    Ed25519(Ed25519KeyPair),
    MlDsa(PqdsaKeyPair),
}

impl SigningKey {
    /// A new key. Its `kid` is a digest of its public part, as a kube-apiserver has it.
    #[must_use]
    pub fn generate(algorithm: SigningAlgorithm) -> Self {
        let pair = match algorithm.scheme() {
            Scheme::Rsa(_) => {
                Pair::Rsa(rsa::KeyPair::generate(KeySize::Rsa2048).expect("an RSA key"))
            }
            Scheme::Ec(signing, curve) => {
                Pair::Ec(EcdsaKeyPair::generate(signing).expect("an ECDSA key"), curve)
            }
            Scheme::Ed25519 => Pair::Ed25519(Ed25519KeyPair::generate().expect("an Ed25519 key")),
            Scheme::MlDsa(signing) => {
                Pair::MlDsa(PqdsaKeyPair::generate(signing).expect("an ML-DSA key"))
            }
        };
        Self::of(algorithm, pair)
    }

    /// A new RSA key of 4096 bits, which signs RS256.
    #[must_use]
    pub fn generate_rsa_4096() -> Self {
        let pair = rsa::KeyPair::generate(KeySize::Rsa4096).expect("an RSA key");
        Self::of(SigningAlgorithm::Rs256, Pair::Rsa(pair))
    }

    fn of(algorithm: SigningAlgorithm, pair: Pair) -> Self {
        let kid = encode(digest::digest(&SHA256, pair.public_bytes()));
        Self { kid, algorithm, pair: Arc::new(pair) }
    }

    /// The same key under another `kid`.
    #[must_use]
    pub fn with_kid(mut self, kid: &str) -> Self {
        kid.clone_into(&mut self.kid);
        self
    }

    /// The same key, signing with another algorithm of its family.
    #[must_use]
    pub fn with_algorithm(mut self, algorithm: SigningAlgorithm) -> Self {
        self.algorithm = algorithm;
        self
    }

    /// The name of the key.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// What it signs with.
    #[must_use]
    pub fn algorithm(&self) -> SigningAlgorithm {
        self.algorithm
    }

    /// The public part as a JSON Web Key, with the members that a kube-apiserver gives.
    #[must_use]
    pub fn jwk(&self) -> Value {
        let mut jwk = json!({ "use": "sig", "kid": self.kid, "alg": self.algorithm.name() });
        let parameters = match &*self.pair {
            Pair::Rsa(pair) => {
                let public = pair.public_key();
                let n = encode(public.modulus().big_endian_without_leading_zero());
                let e = encode(public.exponent().big_endian_without_leading_zero());
                json!({ "kty": "RSA", "n": n, "e": e })
            }
            Pair::Ec(pair, curve) => {
                // an uncompressed point: a 4, then both coordinates
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                json!({ "kty": "EC", "crv": curve, "x": encode(x), "y": encode(y) })
            }
            Pair::Ed25519(pair) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": encode(pair.public_key()) })
            }
            Pair::MlDsa(pair) => json!({ "kty": "AKP", "pub": encode(pair.public_key()) }),
        };
        if let (Value::Object(jwk), Value::Object(parameters)) = (&mut jwk, parameters) {
            jwk.extend(parameters);
        }
        jwk
    }

    /// The public part as bytes: DER of PKCS#1 for RSA, a point for ECDSA, the key itself else.
    #[must_use]
    pub fn public_bytes(&self) -> &[u8] {
        self.pair.public_bytes()
    }

    /// Signs.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match (&*self.pair, self.algorithm.scheme()) {
            (Pair::Rsa(pair), Scheme::Rsa(encoding)) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(encoding, &random, message, &mut signature).expect("an RSA signature");
                signature
            }
            (Pair::Ec(pair, _), _) => {
                pair.sign(&random, message).expect("an ECDSA signature").as_ref().to_vec()
            }
            (Pair::Ed25519(pair), _) => pair.sign(message).as_ref().to_vec(),
            (Pair::MlDsa(pair), _) => {
                let mut signature = vec![0; pair.algorithm().signature_len()];
                pair.sign(message, &mut signature).expect("an ML-DSA signature");
                signature
            }
            (Pair::Rsa(_), _) => panic!("an RSA key cannot sign {}", self.algorithm.name()),
        }
    }
}

impl Pair {
    fn public_bytes(&self) -> &[u8] {
        match self {
            Self::Rsa(pair) => pair.public_key().as_ref(),
            Self::Ec(pair, _) => pair.public_key().as_ref(),
            Self::Ed25519(pair) => pair.public_key().as_ref(),
            Self::MlDsa(pair) => pair.public_key().as_ref(),
        }
    }
}

pub(crate) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("kid", &self.kid)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}
