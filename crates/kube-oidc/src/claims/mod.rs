//! The claims of a token: read once, borrowed, before anything is believed.

mod custom;
mod fault;
mod invalid_claim;
mod misfit;
mod numeric_date;
mod object_name;
mod packed;
mod registered;
mod service_account;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use serde::de::MapAccess;

use self::{invalid_claim::missing, service_account::KubernetesClaim};
pub(crate) use self::{
    numeric_date::NumericDate,
    object_name::{is_dns_label, is_dns_subdomain},
};
pub use self::{
    registered::RegisteredClaims,
    service_account::{NodeRef, ObjectRef, ServiceAccountClaims},
};
use crate::{
    encoding::json::{self, Members, TextOrList, Texts, Value, names},
    error::InvalidToken,
};

/// What a [`Verifier`](crate::Verifier) can make of a token.
///
/// [`ServiceAccountClaims`] is one; so is every type of your own that implements
/// [`serde::de::DeserializeOwned`], for issuers with other claims.
///
/// The verifier reads the registered claims itself, whatever the type:
///
/// | claim | requirement |
/// | --- | --- |
/// | `iss` | required: a string, the name of an issuer of the verifier |
/// | `aud` | required: a string or a list of strings, with an audience of the verifier |
/// | `exp` | required: seconds since 1970, in the future |
/// | `nbf`, `iat` | optional: seconds since 1970, not in the future |
/// | `sub`, `jti` | optional: a string. [`ServiceAccountClaims`] require `sub` |
/// | `cnf` | absent, or see [`dangerous_accept_sender_constrained_tokens`] |
///
/// Times are numbers before the year 10000, with or without a fraction. `null` is not an absent
/// claim. A token with another type of one of these claims is rejected as
/// [`Reason::Claims`](crate::Reason::Claims).
///
/// Your type never sees a payload with a duplicate member name, or with a name that `serde_json`
/// reserves (`$serde_json::private::`), at any depth: such tokens are rejected.
///
/// [`dangerous_accept_sender_constrained_tokens`]: crate::VerifierBuilder::dangerous_accept_sender_constrained_tokens
///
/// This trait is sealed.
pub trait Claims: sealed::FromPayload {}

impl<C: sealed::FromPayload> Claims for C {}

pub(crate) mod sealed {
    use super::{InvalidToken, Payload, RegisteredClaims};

    #[expect(unnameable_types, reason = "it seals a trait")]
    pub trait FromPayload: Sized + Send + Sync + 'static {
        /// Whether the `kubernetes.io` claim is read, and `sub` must agree with it.
        const KUBERNETES: bool;

        /// What is kept of a verified token: the claims, and the registered ones if they are not
        /// among them.
        type Kept: Send + Sync + 'static;

        /// Makes the claims of a payload that passed every other check.
        fn keep(payload: &Payload<'_>, text: &str) -> Result<Self::Kept, InvalidToken>;

        fn claims(kept: &Self::Kept) -> &Self;

        fn registered(kept: &Self::Kept) -> &RegisteredClaims;

        /// How much memory is held beside the value itself, in bytes.
        fn bytes(kept: &Self::Kept) -> usize;

        /// The name and the uid by which the API server knows the user, of a service account.
        fn user(kept: &Self::Kept) -> Option<(&str, &str)>;
    }
}

/// The issuer of tokens that live in Secrets and never expire (`LegacyIssuer` of Kubernetes'
/// `pkg/serviceaccount`).
const LEGACY_ISSUER: &str = "kubernetes/serviceaccount";

/// A payload as read, of which nothing is believed yet.
#[doc(hidden)]
#[derive(Debug)]
#[expect(unnameable_types, reason = "a part of a sealed trait")]
pub struct Payload<'p> {
    pub(crate) iss: Cow<'p, str>,
    pub(crate) aud: Texts<'p>,
    pub(crate) exp: NumericDate,
    pub(crate) nbf: Option<NumericDate>,
    pub(crate) iat: Option<NumericDate>,
    pub(crate) sub: Option<Cow<'p, str>>,
    pub(crate) jti: Option<Cow<'p, str>>,
    /// Whether the token is bound to a key of its sender (`cnf`), so that it is no bearer token.
    pub(crate) is_sender_constrained: bool,
    kubernetes: Option<KubernetesClaim<'p>>,
}

impl<'p> Payload<'p> {
    /// Whether the issuer is named as the one of tokens from Secrets is.
    pub(crate) fn has_legacy_issuer(&self) -> bool {
        self.iss == LEGACY_ISSUER
    }

    /// When the token should have been replaced, if it says so.
    pub(crate) fn warn_after(&self) -> Option<NumericDate> {
        self.kubernetes.as_ref()?.warn_after()
    }

    /// The kinds and names of what a service account's token is bound to, and of where that is.
    pub(crate) fn bound_to(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.kubernetes.iter().flat_map(KubernetesClaim::bound_to)
    }

    /// Reads a payload. `kubernetes` says whether the `kubernetes.io` claim is read as well.
    pub(crate) fn parse(text: &'p str, kubernetes: bool) -> Result<Self, InvalidToken> {
        let mut members =
            PayloadMembers { read_kubernetes: kubernetes, ..PayloadMembers::default() };
        json::parse_object(text, &mut members)
            .map_err(|malformed| fault::malformed(&malformed, &members))?;
        let iss = members.iss.ok_or_else(|| missing("iss"))?;
        // a token from a Secret has no `exp`, and every other token of a cluster has one
        let exp = members.exp.ok_or_else(|| match &*iss {
            LEGACY_ISSUER => InvalidToken::LegacyToken,
            _ => InvalidToken::MissingExpiry,
        })?;
        Ok(Self {
            iss,
            aud: members.aud.unwrap_or_default(),
            exp,
            nbf: members.nbf,
            iat: members.iat,
            sub: members.sub,
            jti: members.jti,
            is_sender_constrained: members.is_sender_constrained,
            kubernetes: members.kubernetes,
        })
    }
}

#[derive(Debug, Default)]
struct PayloadMembers<'p> {
    read_kubernetes: bool,
    iss: Option<Cow<'p, str>>,
    aud: Option<Texts<'p>>,
    exp: Option<NumericDate>,
    nbf: Option<NumericDate>,
    iat: Option<NumericDate>,
    sub: Option<Cow<'p, str>>,
    jti: Option<Cow<'p, str>>,
    is_sender_constrained: bool,
    kubernetes: Option<KubernetesClaim<'p>>,
    fault: Option<PayloadName>,
}

names!(PayloadName {
    Aud = "aud",
    Cnf = "cnf",
    Exp = "exp",
    Iat = "iat",
    Iss = "iss",
    Jti = "jti",
    Kubernetes = "kubernetes.io",
    Nbf = "nbf",
    Sub = "sub",
});

impl<'de> Members<'de> for PayloadMembers<'de> {
    type Name = PayloadName;

    fn member<A: MapAccess<'de>>(
        &mut self,
        name: PayloadName,
        value: Value<'_, A>,
    ) -> Result<(), A::Error> {
        match name {
            PayloadName::Iss => self.iss = Some(value.text()?),
            PayloadName::Aud => self.aud = Some(value.seed(TextOrList)?),
            PayloadName::Exp => self.exp = Some(value.seed(NumericDate::SEED)?),
            PayloadName::Nbf => self.nbf = Some(value.seed(NumericDate::SEED)?),
            PayloadName::Iat => self.iat = Some(value.seed(NumericDate::SEED)?),
            PayloadName::Sub => self.sub = Some(value.text()?),
            PayloadName::Jti => self.jti = Some(value.text()?),
            PayloadName::Kubernetes if self.read_kubernetes => {
                value.object(self.kubernetes.insert(KubernetesClaim::default()))?;
            }
            PayloadName::Kubernetes => value.skip()?,
            PayloadName::Cnf => {
                value.skip_object()?;
                self.is_sender_constrained = true;
            }
        }
        Ok(())
    }

    fn note_fault(&mut self, name: PayloadName) {
        self.fault = Some(name);
    }
}
