//! [`Policy`]: which callers are allowed, by verified claims.

mod callers;
mod condition;
mod error;
mod rule;
#[cfg(test)]
mod tests;

use std::fmt;

use self::condition::Truth;
pub use self::{
    callers::{Callers, in_any_cluster, in_namespace},
    error::{Denied, PolicyError},
    rule::Rule,
};
use crate::{
    claims::{Claims, ServiceAccountClaims},
    verified::Verified,
};

/// A valid [`Rule`] that decides which callers are allowed.
///
/// ```
/// use kube_oidc::{Callers, Policy, Rule};
///
/// let payments = Callers::cluster("blue").namespace("payments");
/// let batch = Callers::cluster("green").namespace("batch").service_account("nightly");
/// let policy = Policy::new(payments.or(batch).and(Rule::audience("refunds")))?;
/// # Ok::<(), kube_oidc::PolicyError>(())
/// ```
///
/// A rule can be undecided for a caller. Then neither the rule nor its negation allows the caller.
/// Undecided is a rule
///
/// - without a cluster, if the caller's cluster has a name,
/// - with a cluster, if the caller's cluster has no name,
/// - with a node, if the token has none.
#[must_use]
pub struct Policy<C: Claims = ServiceAccountClaims>(Rule<C>);

impl Policy {
    /// Checks a rule, and makes a policy of it. For custom claims use `Policy::try_from`.
    ///
    /// # Errors
    ///
    /// Every part of the rule that could never allow a caller: see [`PolicyError`].
    pub fn new(rule: impl Into<Rule>) -> Result<Self, PolicyError> {
        Self::try_from(rule.into())
    }
}

impl<C: Claims> Policy<C> {
    /// Checks whether a caller is allowed.
    ///
    /// # Errors
    ///
    /// The rule that does not allow the caller, for the log.
    pub fn check(&self, caller: &Verified<C>) -> Result<(), Denied> {
        let condition = &self.0.0;
        match condition.holds_for(caller) {
            Truth::Yes => Ok(()),
            Truth::No | Truth::Unknown => Err(Denied::new(condition.deny_reason(caller), caller)),
        }
    }
}

impl<C: Claims> TryFrom<Rule<C>> for Policy<C> {
    type Error = PolicyError;

    fn try_from(rule: Rule<C>) -> Result<Self, PolicyError> {
        let mut faults = Vec::new();
        rule.0.find_faults(&mut faults);
        PolicyError::check(faults)?;
        Ok(Self(rule))
    }
}

impl<C: Claims> Clone for Policy<C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// As the log shows it.
impl<C: Claims> fmt::Display for Policy<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<C: Claims> fmt::Debug for Policy<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Policy({self})")
    }
}
