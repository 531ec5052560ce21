//! Why a rule is no policy, and why a policy does not allow a caller.

use super::condition::DenyReason;
use crate::{claims::Claims, observe::display::Shown, verified::Verified};

/// A rule is invalid, because a part of it could never allow a caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// Several parts of the rule are invalid. None of these errors is `Multiple`.
    #[error("{}", joined(.0))]
    Multiple(Vec<Self>),
    /// The list of [`Rule::any`](crate::Rule::any) or [`Rule::all`](crate::Rule::all) is empty.
    #[error("missing rules; `any` and `all` need at least one")]
    Empty,
    /// A name is blank, or cannot be the name of such an object.
    #[error("invalid {of} {}; expected {expected}", Shown(.name))]
    #[non_exhaustive]
    InvalidName {
        /// The kind of the object.
        of: &'static str,
        /// The name.
        name: String,
        /// The form of a valid name.
        expected: &'static str,
    },
    /// A rule names two namespaces, service accounts, or nodes. No caller has both.
    #[error("conflicting {of} names {} and {}; use `or` to allow both", Shown(&.names[0]), Shown(&.names[1]))]
    #[non_exhaustive]
    Conflict {
        /// The kind of the object.
        of: &'static str,
        /// Both names.
        names: [String; 2],
    },
    /// A service account is named without its namespace.
    #[error("missing namespace of the service account {}; use `namespace(\"*\")` for any", Shown(.0))]
    MissingNamespace(String),
}

impl PolicyError {
    /// Fails if there are faults.
    pub(super) fn check(mut faults: Vec<Self>) -> Result<(), Self> {
        match faults.len() {
            0 => Ok(()),
            1 => Err(faults.swap_remove(0)),
            _ => Err(Self::Multiple(faults)),
        }
    }
}

fn joined(errors: &[PolicyError]) -> String {
    let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
    errors.join("; ")
}

/// A caller is not allowed. The token is valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{caller} is not allowed: only {reason}")]
pub struct Denied {
    caller: String,
    reason: DenyReason,
}

impl Denied {
    pub(super) fn new<C: Claims>(reason: DenyReason, caller: &Verified<C>) -> Self {
        let subject = caller.registered().subject().unwrap_or_default();
        let caller = match caller.cluster() {
            None => Shown(subject).to_string(),
            Some(cluster) => format!("{} of the cluster {}", Shown(subject), Shown(cluster)),
        };
        Self { caller, reason: reason.truncated() }
    }

    /// The rule that does not allow the caller, in words.
    #[must_use]
    pub fn rule(&self) -> &str {
        &self.reason.rule
    }
}
