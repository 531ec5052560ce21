//! The span of one decision, at debug level, and what is noted in it.

use kube_oidc::{Claims, Verified};
use tracing::{Span, field};

use super::outcome::Outcome;

/// As many characters of a subject as are noted: `system:serviceaccount:`, a namespace of 63, a
/// name of 253 and the colon between.
const MAX_SUBJECT: usize = 22 + 63 + 1 + 253;

/// Around everything that is done to decide about a request.
pub(crate) fn of_decision() -> Span {
    tracing::debug_span!(
        "authenticate",
        outcome = field::Empty,
        reason = field::Empty,
        iss = field::Empty,
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
    span.record("iss", registered.issuer());
    span.record("cluster", caller.cluster());
    span.record("subject", registered.subject().map(shown));
}

/// A subject, escaped and cut: a service account's never is, one of other claims is whatever its
/// issuer lets it be.
fn shown(subject: &str) -> String {
    let mut shown = String::with_capacity(subject.len().min(MAX_SUBJECT));
    for c in subject.chars().take(MAX_SUBJECT) {
        match c {
            '"' | '\'' => shown.push(c),
            _ => shown.extend(c.escape_debug()),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_escaped_and_cut_if_it_is_no_service_accounts() {
        let longest =
            format!("system:serviceaccount:{}:{}", "n".repeat(63), "a.b-".repeat(63) + "c");
        assert_eq!(shown(&longest), longest);
        assert_eq!(shown(&(longest.clone() + "d")), longest);
        assert_eq!(shown("a\nb\u{202e}c\u{1b}[31m"), r"a\nb\u{202e}c\u{1b}[31m");
        assert_eq!(shown("o'brien \"b\" ä"), "o'brien \"b\" ä");
        assert!(shown(&"\u{202e}".repeat(1 << 16)).len() <= 8 * MAX_SUBJECT);
    }
}
