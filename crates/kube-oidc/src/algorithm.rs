//! The signature algorithms: one row each. No row exists for `none` or for an HMAC.

use std::fmt;

#[cfg(feature = "ml-dsa")]
use aws_lc_rs::signature::PqdsaVerificationAlgorithm;
use aws_lc_rs::signature::{self, EcdsaVerificationAlgorithm, RsaParameters};

/// A signature algorithm that a verifier may allow.
///
/// RSA and ECDSA names are those of [RFC 7518, 3.1], Ed25519's of [RFC 8037] and [RFC 9864], and
/// with the feature `ml-dsa` ML-DSA's of [RFC 9964, 5]. A kube-apiserver signs with RS256, ES256,
/// ES384 or ES512. There is no value for `none` or for an algorithm with a shared secret, so neither
/// can be allowed.
///
/// [RFC 7518, 3.1]: https://www.rfc-editor.org/rfc/rfc7518#section-3.1
/// [RFC 8037]: https://www.rfc-editor.org/rfc/rfc8037
/// [RFC 9864]: https://www.rfc-editor.org/rfc/rfc9864
/// [RFC 9964, 5]: https://www.rfc-editor.org/rfc/rfc9964#section-5
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
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
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// ECDSA on P-521 with SHA-512.
    Es512,
    /// `EdDSA` with Ed25519, spelt `EdDSA` or `Ed25519` in tokens and keys.
    EdDsa,
    /// ML-DSA-44, pure and with an empty context string, as all of ML-DSA here.
    #[cfg(feature = "ml-dsa")]
    MlDsa44,
    /// ML-DSA-65.
    #[cfg(feature = "ml-dsa")]
    MlDsa65,
    /// ML-DSA-87.
    #[cfg(feature = "ml-dsa")]
    MlDsa87,
}

/// What a key must be to check a signature of an algorithm.
#[derive(Clone, Copy)]
pub(crate) enum Family {
    Rsa(&'static RsaParameters),
    /// With the `crv` of the key and the length of a coordinate in bytes.
    Ec(&'static EcdsaVerificationAlgorithm, &'static str, usize),
    Ed25519,
    /// With the length of the key in bytes.
    #[cfg(feature = "ml-dsa")]
    MlDsa(&'static PqdsaVerificationAlgorithm, usize),
}

struct Row {
    algorithm: Algorithm,
    names: &'static [&'static str],
    family: Family,
}

const fn row(algorithm: Algorithm, names: &'static [&'static str], family: Family) -> Row {
    Row { algorithm, names, family }
}

/// In the order of the variants.
static TABLE: [Row; Algorithm::ALL.len()] = {
    use Algorithm as A;
    #[cfg(feature = "ml-dsa")]
    use Family::MlDsa;
    use Family::{Ec, Ed25519, Rsa};
    [
        row(A::Rs256, &["RS256"], Rsa(&signature::RSA_PKCS1_2048_8192_SHA256)),
        row(A::Rs384, &["RS384"], Rsa(&signature::RSA_PKCS1_2048_8192_SHA384)),
        row(A::Rs512, &["RS512"], Rsa(&signature::RSA_PKCS1_2048_8192_SHA512)),
        row(A::Ps256, &["PS256"], Rsa(&signature::RSA_PSS_2048_8192_SHA256)),
        row(A::Ps384, &["PS384"], Rsa(&signature::RSA_PSS_2048_8192_SHA384)),
        row(A::Ps512, &["PS512"], Rsa(&signature::RSA_PSS_2048_8192_SHA512)),
        row(A::Es256, &["ES256"], Ec(&signature::ECDSA_P256_SHA256_FIXED, "P-256", 32)),
        row(A::Es384, &["ES384"], Ec(&signature::ECDSA_P384_SHA384_FIXED, "P-384", 48)),
        row(A::Es512, &["ES512"], Ec(&signature::ECDSA_P521_SHA512_FIXED, "P-521", 66)),
        row(A::EdDsa, &["EdDSA", "Ed25519"], Ed25519),
        // the lengths are those of RFC 9964, table 1
        #[cfg(feature = "ml-dsa")]
        row(A::MlDsa44, &["ML-DSA-44"], MlDsa(&signature::ML_DSA_44, 1312)),
        #[cfg(feature = "ml-dsa")]
        row(A::MlDsa65, &["ML-DSA-65"], MlDsa(&signature::ML_DSA_65, 1952)),
        #[cfg(feature = "ml-dsa")]
        row(A::MlDsa87, &["ML-DSA-87"], MlDsa(&signature::ML_DSA_87, 2592)),
    ]
};

impl Algorithm {
    /// Every algorithm there is: the default of a verifier.
    pub const ALL: &'static [Self] = &[
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
        #[cfg(feature = "ml-dsa")]
        Self::MlDsa44,
        #[cfg(feature = "ml-dsa")]
        Self::MlDsa65,
        #[cfg(feature = "ml-dsa")]
        Self::MlDsa87,
    ];

    /// The algorithm of a JOSE name, compared exactly: `rs256` is nobody's name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        TABLE.iter().find(|row| row.names.contains(&name)).map(|row| row.algorithm)
    }

    /// The name in a token's `alg`; for Ed25519 the older and commoner one, `EdDSA`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().names[0]
    }

    pub(crate) fn family(self) -> Family {
        self.row().family
    }

    fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_algorithm_has_its_own_row() {
        for &algorithm in Algorithm::ALL {
            assert_eq!(algorithm.row().algorithm, algorithm);
            assert_eq!(Algorithm::from_name(algorithm.name()), Some(algorithm));
        }
        assert_eq!(Algorithm::from_name("Ed25519"), Some(Algorithm::EdDsa));
    }

    #[test]
    fn nothing_else_has_a_name() {
        for name in [
            "",
            "none",
            "None",
            "NONE",
            "nOnE",
            "HS256",
            "HS384",
            "HS512",
            "rs256",
            "RS256 ",
            "RS1",
            "ES256K",
            "Ed448",
            "ml-dsa-65",
            "ML-DSA",
            "ML-DSA-65 ",
            "ML-DSA-65-ES256",
            "HashML-DSA-65",
            "SLH-DSA-SHA2-128s",
            "RSA-OAEP",
            "dir",
        ] {
            assert_eq!(Algorithm::from_name(name), None, "{name:?}");
        }
    }

    #[test]
    fn ml_dsa_has_names_with_its_feature_only() {
        for name in ["ML-DSA-44", "ML-DSA-65", "ML-DSA-87"] {
            assert_eq!(Algorithm::from_name(name).is_some(), cfg!(feature = "ml-dsa"), "{name}");
        }
        assert_eq!(Algorithm::ALL.len(), if cfg!(feature = "ml-dsa") { 13 } else { 10 });
    }
}
