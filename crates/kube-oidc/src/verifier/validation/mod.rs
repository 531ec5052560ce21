//! What a token must say: type, time, audience.

#[cfg(test)]
mod tests;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::explanation::{Check, TokenTimes};
use crate::{
    claims::{NumericDate, Payload},
    clock::seconds,
    error::{InvalidToken, Reason},
    issuer_name::Names,
    jws::Header,
    observe::display::{ShownList, Span},
};

/// Audiences that API servers accept for themselves, beside their issuer's own name: the first is
/// EKS's, the second what kubeadm, k3s and kind have.
pub const API_SERVER_AUDIENCES: [&str; 2] =
    ["https://kubernetes.default.svc", "https://kubernetes.default.svc.cluster.local"];

/// What clocks may be apart, unless told otherwise: as much as for the API server itself, by go-jose.
const DEFAULT_LEEWAY: Duration = Duration::from_secs(60);

/// What a verifier expects of every token, whoever its issuer is.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
pub(crate) struct Validation {
    pub(crate) audiences: Arc<[String]>,
    /// Whether a token for its own issuer is for us: the API server's default audience.
    pub(crate) issuer_is_audience: bool,
    /// Whether a token must be for one audience and nobody else.
    pub(crate) require_single_audience: bool,
    /// Whether a token that is for the API server too is refused.
    pub(crate) reject_api_server_audiences: bool,
    /// Whether a token that should have been replaced is refused.
    pub(crate) reject_past_warn_after: bool,
    /// Whether a token that is bound to a key of its sender is accepted without a proof.
    pub(crate) accept_sender_constrained: bool,
    /// How old a token may be, by its `iat`.
    pub(crate) max_age: Option<Duration>,
    /// How long a token may be good, from its `iat` to its `exp`.
    pub(crate) max_lifetime: Option<Duration>,
    pub(crate) leeway: Duration,
    /// The `typ` that a token must have, one of these; none given is a service account's: absent or
    /// `JWT`.
    pub(crate) token_types: Vec<String>,
}

impl Default for Validation {
    /// Strict in nothing but what every token must be, and for no audience yet.
    fn default() -> Self {
        Self {
            audiences: Arc::new([]),
            issuer_is_audience: false,
            require_single_audience: false,
            reject_api_server_audiences: false,
            reject_past_warn_after: false,
            accept_sender_constrained: false,
            max_age: None,
            max_lifetime: None,
            leeway: DEFAULT_LEEWAY,
            token_types: Vec::new(),
        }
    }
}

impl Validation {
    /// RFC 8725, 3.11. Case does not count, and where a type is asked for, `application/` may be
    /// left out (RFC 7515, 4.1.9).
    pub(crate) fn check_type(&self, header: &Header<'_>) -> Result<(), InvalidToken> {
        const USUAL: &str = "JWT";
        let types = &self.token_types;
        let ok = match header.typ.as_deref() {
            None => types.is_empty() || types.iter().any(|wanted| same_type(USUAL, wanted)),
            Some(typ) if types.is_empty() => typ.eq_ignore_ascii_case(USUAL),
            Some(typ) => types.iter().any(|wanted| same_type(typ, wanted)),
        };
        if ok { Ok(()) } else { Err(InvalidToken::Type) }
    }

    /// Rejects a token that demands a proof of its sender's key, which is not verified here.
    pub(crate) fn check_bearer(&self, payload: &Payload<'_>) -> Result<(), InvalidToken> {
        if payload.is_sender_constrained && !self.accept_sender_constrained {
            return Err(InvalidToken::SenderConstrained);
        }
        Ok(())
    }

    /// The checks on times and audience, for a payload whose signature is good.
    pub(crate) fn check(
        &self,
        payload: &Payload<'_>,
        names: &Names,
        now: SystemTime,
    ) -> Result<(), InvalidToken> {
        self.problem(payload, Some(names), now)
            .map_or(Ok(()), |problem| Err(self.refusal(problem, payload, now)))
    }

    /// The same checks one by one, for people: what each has found, or what it refuses.
    pub(crate) fn explain(
        &self,
        payload: &Payload<'_>,
        names: Option<&Names>,
        now: SystemTime,
    ) -> [(Check, Result<String, InvalidToken>); 4] {
        let seconds = seconds(now);
        let from_now = |time: SystemTime| time.duration_since(now).unwrap_or_default();
        let ago = |time: SystemTime| now.duration_since(time).unwrap_or_default();
        let expires = || {
            let left = Span(from_now(payload.exp.time()));
            format!("expires in {left} (leeway {})", Span(self.leeway))
        };
        let begins = || match payload.iat {
            Some(iat) => format!("issued {} ago", Span(ago(iat.time()))),
            None => "it does not say when it was issued".to_owned(),
        };
        let lives = || match lifetime(payload) {
            Some(lifetime) => format!("good for {}{}", Span(lifetime), warned(payload, now)),
            None => format!("it does not say for how long it is good{}", warned(payload, now)),
        };
        let audience = || ShownList(&payload.aud).to_string();
        let finding = |problem: Option<Reason>, found: &dyn Fn() -> String| match problem {
            None => Ok(found()),
            Some(problem) => Err(self.refusal(problem, payload, now)),
        };
        [
            (Check::Expiry, finding(self.end_problem(payload, seconds), &expires)),
            (Check::NotBefore, finding(self.start_problem(payload, seconds), &begins)),
            (Check::Lifetime, finding(self.lifetime_problem(payload), &lives)),
            (Check::Audience, finding(self.audience_problem(payload, names), &audience)),
        ]
    }

    /// What the checks on times go by.
    pub(crate) fn times(&self, payload: &Payload<'_>, now: SystemTime) -> TokenTimes {
        TokenTimes {
            issued_at: payload.iat.map(NumericDate::time),
            not_before: payload.nbf.map(NumericDate::time),
            warn_after: payload.warn_after().map(NumericDate::time),
            expires_at: payload.exp.time(),
            leeway: self.leeway,
            checked_at: now,
        }
    }

    fn refusal(&self, problem: Reason, payload: &Payload<'_>, now: SystemTime) -> InvalidToken {
        let leeway = self.leeway;
        let time = NumericDate::time;
        let found = || payload.aud.iter().map(|audience| audience.clone().into_owned()).collect();
        let or_now = |date: Option<NumericDate>| date.map_or(now, time);
        match problem {
            Reason::Expired => InvalidToken::Expired { expired_at: time(payload.exp), now, leeway },
            Reason::TooOld => InvalidToken::TooOld {
                issued_at: or_now(payload.iat),
                now,
                limit: self.max_age.unwrap_or_default(),
            },
            Reason::PastWarnAfter => {
                InvalidToken::PastWarnAfter { warn_after: or_now(payload.warn_after()), now }
            }
            Reason::LifetimeTooLong => InvalidToken::LifetimeTooLong {
                lifetime: lifetime(payload).unwrap_or_default(),
                limit: self.max_lifetime.unwrap_or_default(),
            },
            Reason::MissingIssuedAt => InvalidToken::MissingIssuedAt,
            Reason::NotYetValid => {
                InvalidToken::NotYetValid { not_before: or_now(payload.nbf), now, leeway }
            }
            Reason::IssuedInFuture => {
                InvalidToken::IssuedInFuture { issued_at: or_now(payload.iat), now, leeway }
            }
            Reason::Audience => {
                InvalidToken::Audience { found: found(), expected: Arc::clone(&self.audiences) }
            }
            Reason::MultipleAudiences => InvalidToken::MultipleAudiences { found: found() },
            Reason::ApiServerAudience => InvalidToken::ApiServerAudience { found: found() },
            other => InvalidToken::RejectedEarly(other),
        }
    }

    /// The same checks on a payload of which nothing is believed: whether fetching the keys of one
    /// of the issuers of these names could make the token valid.
    pub(crate) fn check_unverified<'n>(
        &self,
        payload: &Payload<'_>,
        mut candidates: impl Iterator<Item = &'n Names>,
        now: SystemTime,
    ) -> Result<(), InvalidToken> {
        let hopeless = match self.problem(payload, None, now) {
            Some(problem) => problem,
            None if self.reject_api_server_audiences
                && candidates.all(|names| is_for_api_server(payload, Some(names))) =>
            {
                Reason::ApiServerAudience
            }
            None => return Ok(()),
        };
        Err(InvalidToken::RejectedEarly(hopeless))
    }

    /// The seconds in which a payload passes the checks on times: from the first on, and before
    /// the second.
    pub(crate) fn good_seconds(&self, payload: &Payload<'_>) -> (u64, u64) {
        let from = payload.nbf.max(payload.iat).map_or(0, NumericDate::seconds);
        let ends = self.ends(payload).into_iter().flatten();
        let until = ends.map(|(end, _)| end).min().unwrap_or_default();
        (from.saturating_sub(self.leeway.as_secs()), until)
    }

    /// The seconds from which on a payload does not pass any more, each with its reason.
    fn ends(&self, payload: &Payload<'_>) -> [Option<(u64, Reason)>; 3] {
        // RFC 7519, 4.1.4: "on or after which the JWT MUST NOT be accepted"
        let expired = payload.exp.seconds().saturating_add(self.leeway.as_secs());
        let warned = payload.warn_after().filter(|_| self.reject_past_warn_after);
        let too_old = self.max_age.zip(payload.iat);
        [
            Some((expired, Reason::Expired)),
            too_old.map(|(age, iat)| (iat.seconds().saturating_add(age.as_secs()), Reason::TooOld)),
            warned.map(|warned| (warned.seconds(), Reason::PastWarnAfter)),
        ]
    }

    /// Without names, the issuer is not known yet.
    fn problem(
        &self,
        payload: &Payload<'_>,
        names: Option<&Names>,
        now: SystemTime,
    ) -> Option<Reason> {
        let now = seconds(now);
        self.end_problem(payload, now)
            .or_else(|| self.start_problem(payload, now))
            .or_else(|| self.lifetime_problem(payload))
            .or_else(|| self.audience_problem(payload, names))
    }

    fn end_problem(&self, payload: &Payload<'_>, now: u64) -> Option<Reason> {
        let mut ends = self.ends(payload).into_iter().flatten();
        ends.find(|(end, _)| now >= *end).map(|(_, problem)| problem)
    }

    fn start_problem(&self, payload: &Payload<'_>, now: u64) -> Option<Reason> {
        let latest = now.saturating_add(self.leeway.as_secs());
        let ahead = |date: Option<NumericDate>| date.is_some_and(|date| date.seconds() > latest);
        if ahead(payload.nbf) {
            Some(Reason::NotYetValid)
        } else {
            ahead(payload.iat).then_some(Reason::IssuedInFuture)
        }
    }

    fn lifetime_problem(&self, payload: &Payload<'_>) -> Option<Reason> {
        if payload.iat.is_none() && (self.max_age.is_some() || self.max_lifetime.is_some()) {
            return Some(Reason::MissingIssuedAt);
        }
        let too_long = self.max_lifetime.zip(lifetime(payload)).is_some_and(|(max, has)| has > max);
        too_long.then_some(Reason::LifetimeTooLong)
    }

    fn audience_problem(&self, payload: &Payload<'_>, names: Option<&Names>) -> Option<Reason> {
        if !self.is_for_us(payload) {
            Some(Reason::Audience)
        } else if self.require_single_audience && payload.aud.len() > 1 {
            Some(Reason::MultipleAudiences)
        } else {
            let refused = self.reject_api_server_audiences && is_for_api_server(payload, names);
            refused.then_some(Reason::ApiServerAudience)
        }
    }

    fn is_for_us(&self, payload: &Payload<'_>) -> bool {
        payload.aud.iter().any(|found| {
            self.audiences.iter().any(|ours| ours == found)
                || self.issuer_is_audience && *found == payload.iss
        })
    }
}

/// When the token becomes stale, although it stays valid.
fn warned(payload: &Payload<'_>, now: SystemTime) -> String {
    let Some(warn_after) = payload.warn_after().map(NumericDate::time) else {
        return String::new();
    };
    match now.duration_since(warn_after) {
        Ok(ago) => format!("; `warnafter` passed {} ago", Span(ago)),
        Err(ahead) => format!("; `warnafter` is in {}", Span(ahead.duration())),
    }
}

/// How long a token is good. It cannot be told of one that does not say when it was made.
fn lifetime(payload: &Payload<'_>) -> Option<Duration> {
    let seconds = payload.exp.seconds().saturating_sub(payload.iat?.seconds());
    Some(Duration::from_secs(seconds))
}

/// What API servers are known to be called in `aud`, beside their issuer's name:
/// [`API_SERVER_AUDIENCES`], and what kOps, k3s and RKE2 set (`--api-audiences`).
///
/// It is for telling a token that opens an API server; none of these is accepted for it.
///
/// ```
/// assert!(kube_oidc::is_api_server_audience("https://kubernetes.default.svc"));
/// assert!(!kube_oidc::is_api_server_audience("orders"));
/// ```
#[must_use]
pub fn is_api_server_audience(audience: &str) -> bool {
    const OTHERS: [&str; 4] =
        ["https://kubernetes.default", "kubernetes.svc.default", "k3s", "rke2"];
    API_SERVER_AUDIENCES.contains(&audience) || OTHERS.contains(&audience)
}

/// Whether a token is valid for the API server too. Without names, the issuer is not known yet.
pub(crate) fn is_for_api_server(payload: &Payload<'_>, names: Option<&Names>) -> bool {
    let audiences = payload.aud.iter().map(|audience| &**audience);
    opens_api_server(audiences, &payload.iss, payload.warn_after().is_some(), names)
}

/// The same by the facts: the default audience of a token is its issuer, by any of the issuer's
/// names, and only tokens for the API server are extended (`warnafter`).
pub(crate) fn opens_api_server<'a>(
    mut audiences: impl Iterator<Item = &'a str>,
    iss: &str,
    is_extended: bool,
    names: Option<&Names>,
) -> bool {
    let is_name = |audience: &str| {
        audience == iss || names.is_some_and(|names| names.ever_contained(audience))
    };
    is_extended || audiences.any(|audience| is_name(audience) || is_api_server_audience(audience))
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
