//! The words of these crates.

use std::collections::BTreeSet;

use kube_oidc::Reason;

/// What becomes of requests.
pub(crate) const OUTCOMES: [&str; 5] =
    ["verified", "anonymous", "open_path", "rejected", "would_be_rejected"];

/// The codes that a refusal may have: see `Rejection::reason`.
pub(crate) fn reasons() -> BTreeSet<&'static str> {
    let others = ["no_credentials", "invalid_request", "policy", "misconfigured"];
    Reason::ALL.iter().map(|reason| reason.code()).chain(others).collect()
}
