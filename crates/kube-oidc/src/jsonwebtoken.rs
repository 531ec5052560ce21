//! Between this crate and `jsonwebtoken`: its key sets in, its `TokenData` out.
//!
//! It is not in the path of a request: it reads `ES512`, `ML-DSA-65` and nonsense alike as one
//! unknown algorithm, takes a key with two `n` members, and its process-wide provider panics where
//! an application's other dependencies switch on both of its backends.

use jsonwebtoken::{TokenData, decode_header, jwk::JwkSet};

use crate::{
    claims::Claims,
    error::{InvalidToken, VerifyError},
    issuer::KeySource,
    verifier::Verifier,
};

impl KeySource {
    /// Uses the keys of a `JwkSet`, as [`fixed`](Self::fixed) does.
    ///
    /// # Errors
    ///
    /// The set cannot be written as JSON.
    pub fn from_jwk_set(keys: &JwkSet) -> Result<Self, serde_json::Error> {
        Ok(Self::fixed(serde_json::to_vec(keys)?))
    }
}

impl<C: Claims + Clone> Verifier<C> {
    /// Checks a token as [`verify`](Self::verify) does, and gives what `jsonwebtoken::decode`
    /// would have given: for code that is moving from one to the other.
    ///
    /// # Errors
    ///
    /// Those of `verify`, and [`InvalidToken::AlgorithmNotAllowed`] for an algorithm that a `Header`
    /// cannot name, such as ES512.
    pub async fn verify_to_token_data(&self, token: &str) -> Result<TokenData<C>, VerifyError> {
        let verified = self.verify(token).await?;
        let header = decode_header(token).map_err(|_| InvalidToken::AlgorithmNotAllowed)?;
        Ok(TokenData { header, claims: verified.claims().clone() })
    }
}
