//! The span of one decision, at debug level, and what is noted in it.

use kube_oidc::{Claims, Verified};
use tracing::{Span, field};

use crate::outcome::Outcome;

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
    span.record("subject", registered.subject());
}
