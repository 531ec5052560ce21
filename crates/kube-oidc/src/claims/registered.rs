//! The registered claims ([RFC 7519, 4.1]) of a verified token.
//!
//! [RFC 7519, 4.1]: https://www.rfc-editor.org/rfc/rfc7519#section-4.1

use std::{borrow::Cow, fmt, time::SystemTime};

use super::{
    NumericDate, Payload,
    packed::{Packed, Span},
};

/// The registered claims of a token that was verified.
#[derive(Clone)]
pub struct RegisteredClaims {
    /// These and the claims of a service account.
    pub(super) texts: Packed,
    pub(super) issuer: Span,
    pub(super) subject: Option<Span>,
    pub(super) audiences: Audiences,
    pub(super) expires_at: NumericDate,
    pub(super) not_before: Option<NumericDate>,
    pub(super) issued_at: Option<NumericDate>,
    pub(super) jti: Option<Span>,
}

/// Nearly every token is for one.
#[derive(Clone)]
pub(super) enum Audiences {
    One([Span; 1]),
    Several(Vec<Span>),
}

impl Audiences {
    pub(super) fn spans(&self) -> &[Span] {
        match self {
            Self::One(one) => one,
            Self::Several(several) => several,
        }
    }
}

impl RegisteredClaims {
    /// `text` is the payload's: no text of a claim is longer than all of it.
    pub(super) fn from_payload(payload: &Payload<'_>, text: &str) -> Self {
        let mut texts = Packed::with_capacity(text.len());
        let mut keep = |text: &Option<Cow<'_, str>>| text.as_deref().map(|text| texts.push(text));
        let (subject, jti) = (keep(&payload.sub), keep(&payload.jti));
        let issuer = texts.push(&payload.iss);
        let audiences = match &payload.aud[..] {
            [one] => Audiences::One([texts.push(one)]),
            several => {
                Audiences::Several(several.iter().map(|audience| texts.push(audience)).collect())
            }
        };
        Self {
            texts,
            issuer,
            subject,
            audiences,
            expires_at: payload.exp,
            not_before: payload.nbf,
            issued_at: payload.iat,
            jti,
        }
    }

    /// How much memory its texts hold, and those of the claims beside it.
    pub(crate) fn bytes(&self) -> usize {
        self.texts.capacity() + size_of_val(self.audiences.spans())
    }

    /// `iss`: who made the token; one of the verifier's issuers, byte for byte.
    #[must_use]
    pub fn issuer(&self) -> &str {
        self.texts.get(self.issuer)
    }

    /// `sub`: whom the token speaks of.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        self.subject.map(|subject| self.texts.get(subject))
    }

    /// `aud`: whom the token is for, all of them; at least one is the verifier's.
    #[must_use]
    pub fn audiences(&self) -> impl ExactSizeIterator<Item = &str> + Clone {
        self.audiences.spans().iter().map(|audience| self.texts.get(*audience))
    }

    /// `exp`: when the token stops being good, without leeway.
    #[must_use]
    pub fn expires_at(&self) -> SystemTime {
        self.expires_at.time()
    }

    /// `nbf`: before when the token is not good yet.
    #[must_use]
    pub fn not_before(&self) -> Option<SystemTime> {
        self.not_before.map(NumericDate::time)
    }

    /// `iat`: when the token was made.
    #[must_use]
    pub fn issued_at(&self) -> Option<SystemTime> {
        self.issued_at.map(NumericDate::time)
    }

    /// `jti`: the token's own name; kube-apiservers from 1.30 on set it.
    #[must_use]
    pub fn jti(&self) -> Option<&str> {
        self.jti.map(|jti| self.texts.get(jti))
    }
}

impl PartialEq for RegisteredClaims {
    fn eq(&self, other: &Self) -> bool {
        self.issuer() == other.issuer()
            && self.subject() == other.subject()
            && self.audiences().eq(other.audiences())
            && self.expires_at == other.expires_at
            && self.not_before == other.not_before
            && self.issued_at == other.issued_at
            && self.jti() == other.jti()
    }
}

impl Eq for RegisteredClaims {}

impl fmt::Debug for RegisteredClaims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegisteredClaims")
            .field("issuer", &self.issuer())
            .field("subject", &self.subject())
            .field("audiences", &self.audiences().collect::<Vec<_>>())
            .field("expires_at", &self.expires_at())
            .field("not_before", &self.not_before())
            .field("issued_at", &self.issued_at())
            .field("jti", &self.jti())
            .finish()
    }
}
