//! The registered claims ([RFC 7519, 4.1]) of a verified token.
//!
//! [RFC 7519, 4.1]: https://www.rfc-editor.org/rfc/rfc7519#section-4.1

use std::{borrow::Cow, time::SystemTime};

use super::{NumericDate, Payload};

/// The registered claims of a token that was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisteredClaims {
    pub(super) issuer: String,
    pub(super) subject: Option<String>,
    pub(super) audiences: Vec<String>,
    pub(super) expires_at: SystemTime,
    pub(super) not_before: Option<SystemTime>,
    pub(super) issued_at: Option<SystemTime>,
    pub(super) jti: Option<String>,
}

impl RegisteredClaims {
    pub(super) fn from_payload(payload: &Payload<'_>) -> Self {
        let owned = |text: &Option<Cow<'_, str>>| text.as_deref().map(str::to_owned);
        Self {
            issuer: payload.iss.clone().into_owned(),
            subject: owned(&payload.sub),
            audiences: payload.aud.iter().map(|audience| audience.clone().into_owned()).collect(),
            expires_at: payload.exp.time(),
            not_before: payload.nbf.map(NumericDate::time),
            issued_at: payload.iat.map(NumericDate::time),
            jti: owned(&payload.jti),
        }
    }

    /// `iss`: who made the token; one of the verifier's issuers, byte for byte.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// `sub`: whom the token speaks of.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        self.subject.as_deref()
    }

    /// `aud`: whom the token is for, all of them; at least one is the verifier's.
    pub fn audiences(&self) -> impl ExactSizeIterator<Item = &str> + Clone {
        self.audiences.iter().map(String::as_str)
    }

    /// `exp`: when the token stops being good, without leeway.
    #[must_use]
    pub fn expires_at(&self) -> SystemTime {
        self.expires_at
    }

    /// `nbf`: before when the token is not good yet.
    #[must_use]
    pub fn not_before(&self) -> Option<SystemTime> {
        self.not_before
    }

    /// `iat`: when the token was made.
    #[must_use]
    pub fn issued_at(&self) -> Option<SystemTime> {
        self.issued_at
    }

    /// `jti`: the token's own name; kube-apiservers from 1.30 on set it.
    #[must_use]
    pub fn jti(&self) -> Option<&str> {
        self.jti.as_deref()
    }
}
