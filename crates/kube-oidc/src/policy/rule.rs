//! [`Rule`]: a description of the callers that a policy allows.

use std::{fmt, sync::Arc};

use super::{
    Callers,
    condition::{Audience, Condition, Join, Joined, Not, When},
};
use crate::{
    claims::{Claims, ServiceAccountClaims},
    verified::Verified,
};

/// A description of the callers that a [`Policy`](crate::Policy) allows.
///
/// Begin with [`in_namespace`](crate::in_namespace), [`Callers::cluster`], or
/// [`in_any_cluster`](crate::in_any_cluster), which name workloads, or with [`Rule::audience`] or
/// [`Rule::when`]. Rules are combined with [`or`](Rule::or), [`and`](Rule::and), and
/// [`not`](Rule::not). A rule is checked when a policy is made of it.
#[must_use]
pub struct Rule<C: Claims = ServiceAccountClaims>(pub(super) Arc<dyn Condition<C>>);

impl Rule {
    /// Allows callers whose token is intended for this audience, among others.
    pub fn audience(audience: impl Into<String>) -> Self {
        Self::of(Audience(audience.into()))
    }

    /// Allows all workloads of the cluster with this name.
    pub fn cluster(name: impl Into<String>) -> Self {
        Callers::cluster(name).into()
    }

    /// Allows callers for which your check returns `true`. The log shows the name of the check.
    ///
    /// ```
    /// use kube_oidc::{Rule, in_namespace};
    ///
    /// let on_spot_nodes = Rule::when("the node is a spot node", |caller| {
    ///     caller.node().is_some_and(|node| node.name().starts_with("spot-"))
    /// });
    /// let rule = in_namespace("payments").and(on_spot_nodes.not());
    /// ```
    pub fn when(
        name: impl Into<String>,
        check: impl Fn(&Verified) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self::when_claims(name, check)
    }

    /// Allows callers that at least one of these rules allows. An empty list is invalid.
    pub fn any(rules: impl IntoIterator<Item = impl Into<Self>>) -> Self {
        Self::joined(Join::Or, rules.into_iter().map(Into::into).collect())
    }

    /// Allows callers that each of these rules allows. An empty list is invalid.
    pub fn all(rules: impl IntoIterator<Item = impl Into<Self>>) -> Self {
        Self::joined(Join::And, rules.into_iter().map(Into::into).collect())
    }
}

impl<C: Claims> Rule<C> {
    pub(super) fn of(condition: impl Condition<C>) -> Self {
        Self(Arc::new(condition))
    }

    fn joined(by: Join, rules: Vec<Self>) -> Self {
        Self::of(Joined { by, rules })
    }

    /// [`when`](Rule::when) for custom claims.
    ///
    /// ```
    /// use kube_oidc::{Policy, Rule, Verified};
    ///
    /// #[derive(serde::Deserialize)]
    /// struct WorkerClaims {
    ///     client_id: String,
    /// }
    ///
    /// let rule = Rule::when_claims("client 7", |caller: &Verified<WorkerClaims>| caller.client_id == "7");
    /// let policy = Policy::try_from(rule)?;
    /// # Ok::<(), kube_oidc::PolicyError>(())
    /// ```
    pub fn when_claims(
        name: impl Into<String>,
        check: impl Fn(&Verified<C>) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self::of(When { name: name.into(), check })
    }

    /// Allows callers that this or the other rule allows.
    pub fn or(self, other: impl Into<Self>) -> Self {
        Self::joined(Join::Or, vec![self, other.into()])
    }

    /// Allows callers that this and the other rule allow.
    pub fn and(self, other: impl Into<Self>) -> Self {
        Self::joined(Join::And, vec![self, other.into()])
    }

    /// Allows callers that this rule does not allow. An undecided rule stays undecided.
    #[expect(clippy::should_implement_trait, reason = "`!` is easily overlooked")]
    pub fn not(self) -> Self {
        Self::of(Not(self))
    }
}

impl<C: Claims> Clone for Rule<C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// As the log shows it.
impl<C: Claims> fmt::Display for Rule<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<C: Claims> fmt::Debug for Rule<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rule({self})")
    }
}
