//! The span of one decision, at debug level, and what is noted in it.

use kube_oidc::{Claims, Verified};
use tracing::{Span, field};

use crate::outcome::Outcome;

/// As many characters of a subject as are noted: `system:serviceaccount:`, a namespace of 63, a
/// name of 253 and the colon between.
const MAX_SUBJECT: usize = 22 + 63 + 1 + 253;

/// Around everything that is done to decide about a request.
pub(crate) fn of_decision() -> Span {
    tracing::debug_span!(
        "authenticate",
        outcome = field::Empty,
        reason = field::Empty,
        issuer = field::Empty,
        cluster = field::Empty,
        subject = field::Empty,
    )
}

/// Notes what was decided in the span that is entered.
pub(crate) fn note<C: Claims>(outcome: Outcome<'_, C>) {
    if tracing::span_enabled!(tracing::Level::DEBUG) {
        let span = Span::current();
        span.record("outcome", outcome.name());
        span.record("reason", outcome.reason());
        if let Outcome::Verified(caller) = outcome {
            note_caller(&span, caller);
        }
    }
}

fn note_caller<C: Claims>(span: &Span, caller: &Verified<C>) {
    let registered = caller.registered();
    span.record("issuer", registered.issuer());
    span.record("cluster", caller.cluster());
    // a service account's is never cut; one of other claims is as long as its token lets it be
    let cut = |subject: &str| subject.chars().take(MAX_SUBJECT).collect::<String>();
    span.record("subject", registered.subject().map(cut));
}
