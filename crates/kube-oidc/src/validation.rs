//! What a token must say: type, time, audience.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::{
    claims::{NumericDate, Payload},
    clock::seconds,
    error::{Reason, Refusal},
    jws::Header,
};

/// Audiences that API servers accept for themselves, beside their issuer's own name: the first is
/// EKS's, the second what kubeadm, k3s and kind have.
pub const API_SERVER_AUDIENCES: [&str; 2] =
    ["https://kubernetes.default.svc", "https://kubernetes.default.svc.cluster.local"];

/// What a verifier expects of every token, whoever its issuer is.
#[derive(Clone, Debug)]
pub(crate) struct Validation {
    pub(crate) audiences: Arc<[String]>,
    /// Whether a token for its own issuer is for us: the API server's default audience.
    pub(crate) issuer_is_audience: bool,
    /// Whether a token must be for one audience and nobody else.
    pub(crate) single_audience: bool,
    /// Whether a token that is for the API server too is refused.
    pub(crate) refuse_api_server_audiences: bool,
    pub(crate) leeway: Duration,
    /// The `typ` that a token must have; `None` is a service account's: absent or `JWT`.
    pub(crate) token_type: Option<String>,
}

impl Validation {
    /// RFC 8725, 3.11. Case does not count, and where a type is asked for, `application/` may be
    /// left out (RFC 7515, 4.1.9).
    pub(crate) fn check_type(&self, header: &Header<'_>) -> Result<(), Refusal> {
        let ok = match (&self.token_type, header.typ.as_deref()) {
            (None, None) => true,
            (None, Some(typ)) => typ.eq_ignore_ascii_case("JWT"),
            (Some(_), None) => false,
            (Some(wanted), Some(typ)) => same_type(typ, wanted),
        };
        if ok { Ok(()) } else { Err(Refusal::Type) }
    }

    /// The checks on times and audience, for a payload whose signature is good.
    pub(crate) fn check(&self, payload: &Payload<'_>, now: SystemTime) -> Result<(), Refusal> {
        let Some(problem) = self.problem(payload, now) else { return Ok(()) };
        let leeway = self.leeway;
        let time = NumericDate::time;
        let found = || payload.aud.iter().map(|audience| audience.clone().into_owned()).collect();
        let or_now = |date: Option<NumericDate>| date.map_or(now, time);
        Err(match problem {
            Problem::Expired => Refusal::Expired { expired_at: time(payload.exp), now, leeway },
            Problem::NotYetValid => {
                Refusal::NotYetValid { not_before: or_now(payload.nbf), now, leeway }
            }
            Problem::IssuedInFuture => {
                Refusal::IssuedInFuture { issued_at: or_now(payload.iat), now, leeway }
            }
            Problem::Audience => {
                Refusal::Audience { found: found(), expected: Arc::clone(&self.audiences) }
            }
            Problem::SeveralAudiences => Refusal::SeveralAudiences { found: found() },
            Problem::ApiServerAudience => Refusal::ApiServerAudience { found: found() },
        })
    }

    /// The same checks on a payload of which nothing is believed: whether it would be worth
    /// asking for keys.
    pub(crate) fn check_hope(&self, payload: &Payload<'_>, now: SystemTime) -> Result<(), Refusal> {
        match self.problem(payload, now) {
            None => Ok(()),
            Some(problem) => Err(Refusal::Hopeless(problem.reason())),
        }
    }

    /// The seconds in which a payload passes the checks on times: from the first on, and before
    /// the second.
    pub(crate) fn good_seconds(&self, payload: &Payload<'_>) -> (u64, u64) {
        let leeway = self.leeway.as_secs();
        let from = payload.nbf.max(payload.iat).map_or(0, NumericDate::seconds);
        (from.saturating_sub(leeway), payload.exp.seconds().saturating_add(leeway))
    }

    fn problem(&self, payload: &Payload<'_>, now: SystemTime) -> Option<Problem> {
        let (now, leeway) = (seconds(now), self.leeway.as_secs());
        let ahead = |date: Option<NumericDate>| {
            date.is_some_and(|date| date.seconds() > now.saturating_add(leeway))
        };
        // RFC 7519, 4.1.4: "on or after which the JWT MUST NOT be accepted"
        if now >= payload.exp.seconds().saturating_add(leeway) {
            Some(Problem::Expired)
        } else if ahead(payload.nbf) {
            Some(Problem::NotYetValid)
        } else if ahead(payload.iat) {
            Some(Problem::IssuedInFuture)
        } else if !self.is_for_us(payload) {
            Some(Problem::Audience)
        } else if self.single_audience && payload.aud.len() > 1 {
            Some(Problem::SeveralAudiences)
        } else if self.refuse_api_server_audiences && is_for_api_server(payload) {
            Some(Problem::ApiServerAudience)
        } else {
            None
        }
    }

    fn is_for_us(&self, payload: &Payload<'_>) -> bool {
        payload.aud.iter().any(|found| {
            self.audiences.iter().any(|ours| ours == found)
                || self.issuer_is_audience && *found == payload.iss
        })
    }
}

enum Problem {
    Expired,
    NotYetValid,
    IssuedInFuture,
    Audience,
    SeveralAudiences,
    ApiServerAudience,
}

impl Problem {
    fn reason(&self) -> Reason {
        match self {
            Self::Expired => Reason::Expired,
            Self::NotYetValid => Reason::NotYetValid,
            Self::IssuedInFuture => Reason::IssuedInFuture,
            Self::Audience => Reason::Audience,
            Self::SeveralAudiences => Reason::SeveralAudiences,
            Self::ApiServerAudience => Reason::ApiServerAudience,
        }
    }
}

/// The default audience of a token is its issuer.
fn is_for_api_server(payload: &Payload<'_>) -> bool {
    let known = |audience: &str| API_SERVER_AUDIENCES.contains(&audience);
    payload.aud.iter().any(|audience| *audience == payload.iss || known(audience))
}

fn same_type(typ: &str, wanted: &str) -> bool {
    bare_type(typ).eq_ignore_ascii_case(bare_type(wanted))
}

fn bare_type(typ: &str) -> &str {
    const PREFIX: &str = "application/";
    match typ.get(..PREFIX.len()) {
        Some(prefix) if prefix.eq_ignore_ascii_case(PREFIX) => &typ[PREFIX.len()..],
        _ => typ,
    }
}
