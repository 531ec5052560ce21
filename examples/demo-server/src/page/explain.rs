//! What the verifier makes of a token: [`Verifier::explain`](tower_kube_oidc::Verifier::explain)
//! as JSON. It fetches no keys and remembers nothing.

use std::{sync::Arc, time::SystemTime};

use axum::{Json, body::Bytes, extract::State, extract::rejection::BytesRejection};
use serde::{Deserialize, Serialize};
use tower_kube_oidc::{
    Explanation, Reason,
    explanation::{CheckResult, CheckStatus, TokenTimes},
};

use super::{
    Page,
    exchange::{Problem, read},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    token: String,
}

#[derive(Serialize)]
pub(super) struct Answer {
    verdict: Verdict,
    steps: Vec<ShownStep>,
    times: Option<ShownTimes>,
}

#[derive(Serialize)]
struct Verdict {
    accepted: bool,
    reason: Option<&'static str>,
    advice: Option<&'static str>,
    /// Whether the token may yet be accepted, once keys are here.
    undecided: bool,
}

#[derive(Serialize)]
struct ShownStep {
    check: String,
    /// `ok`, `refused` or `undecided`.
    finding: &'static str,
    reason: Option<&'static str>,
    found: String,
    advice: Option<&'static str>,
}

/// In seconds since the epoch, as they stand in a token.
#[derive(Serialize)]
struct ShownTimes {
    issued_at: Option<u64>,
    not_before: Option<u64>,
    warn_after: Option<u64>,
    expires_at: u64,
    leeway: u64,
    checked_at: u64,
}

pub(super) async fn explain(
    State(page): State<Arc<Page>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Answer>, Problem> {
    let question: Question = read(body)?;
    Ok(Json(page.verifier.explain(question.token).into()))
}

impl From<Explanation> for Answer {
    fn from(explanation: Explanation) -> Self {
        let reason = explanation.verdict.err();
        Self {
            verdict: Verdict {
                accepted: explanation.is_accepted(),
                reason: reason.map(Reason::code),
                advice: reason.map(Reason::advice),
                undecided: reason == Some(Reason::KeysUnavailable),
            },
            steps: explanation.steps.into_iter().map(Into::into).collect(),
            times: explanation.times.map(Into::into),
        }
    }
}

impl From<CheckResult> for ShownStep {
    fn from(step: CheckResult) -> Self {
        let (finding, reason) = match step.status {
            CheckStatus::Passed => ("ok", None),
            CheckStatus::Failed(reason) => ("refused", Some(reason.code())),
            // a finding that is new to this page passes nothing
            _ => ("undecided", None),
        };
        let (check, advice) = (step.check.to_string(), step.advice());
        Self { check, finding, reason, found: step.detail, advice }
    }
}

impl From<TokenTimes> for ShownTimes {
    fn from(times: TokenTimes) -> Self {
        Self {
            issued_at: times.issued_at.map(seconds),
            not_before: times.not_before.map(seconds),
            warn_after: times.warn_after.map(seconds),
            expires_at: seconds(times.expires_at),
            leeway: times.leeway.as_secs(),
            checked_at: seconds(times.checked_at),
        }
    }
}

/// As JSON has times here.
pub(super) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}
