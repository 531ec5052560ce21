//! What is read of an answer. No type of Kubernetes' own reads it, since those take one that leaves
//! out what it is, and of a thing that is said twice the last.

use kube_oidc::token_review::ReviewStatus;
use serde::Deserialize;

/// A `TokenReview` as an API server gives it back.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Answer {
    api_version: String,
    kind: String,
    status: Option<Status>,
}

#[derive(Default, Deserialize)]
struct Status {
    authenticated: Option<bool>,
    user: Option<User>,
    audiences: Option<Vec<String>>,
    error: Option<String>,
}

#[derive(Default, Deserialize)]
struct User {
    username: Option<String>,
    uid: Option<String>,
}

impl Answer {
    /// Why it is none is not said: that may show a part of it, and the token is in it.
    pub(crate) fn read(json: &[u8]) -> Option<ReviewStatus> {
        let answer: Self = serde_json::from_slice(json).ok()?;
        let is_review =
            answer.api_version == "authentication.k8s.io/v1" && answer.kind == "TokenReview";
        is_review.then(|| answer.status.unwrap_or_default().into())
    }
}

impl From<Status> for ReviewStatus {
    fn from(status: Status) -> Self {
        let user = status.user.unwrap_or_default();
        let mut found = Self::default();
        found.authenticated = status.authenticated.unwrap_or_default();
        found.username = user.username.unwrap_or_default();
        found.uid = user.uid.unwrap_or_default();
        found.audiences = status.audiences.unwrap_or_default();
        found.error = status.error.unwrap_or_default();
        found
    }
}
