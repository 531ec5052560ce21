//! Who may call what: [`Policy`], a check on claims that were verified.

mod callers;
mod rule;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc};

pub use self::callers::{Callers, in_any_cluster, in_namespace};
use self::rule::{All, Any, Audience, DenyReason, Looked, Not, Plain, Rule, Truth, When};
use crate::{
    claims::{Claims, ServiceAccountClaims},
    observe::display::Shown,
    verified::Verified,
};

/// Says which callers are allowed.
///
/// It begins with [`in_namespace`], [`Callers::cluster`] or [`in_any_cluster`], which name
/// workloads, or with [`Policy::audience`] or [`Policy::when`]. Rules are joined with [`or`](Policy::or), [`and`](Policy::and) and
/// [`not`](Policy::not):
///
/// ```
/// use kube_oidc::{Callers, Policy};
///
/// let payments = Callers::cluster("blue").namespace("payments");
/// let batch = Callers::cluster("green").namespace("batch").service_account("nightly");
/// let policy = Policy::from(payments.or(batch)).and(Policy::audience("refunds"));
/// policy.validate()?;
/// # Ok::<(), kube_oidc::PolicyError>(())
/// ```
///
/// A rule that cannot be decided allows nobody, and nobody by its negation either: one with a name
/// that is blank, one that names no cluster where the caller's has a name, or one that names a node
/// where the token has none.
#[must_use]
pub struct Policy<C: Claims = ServiceAccountClaims>(Arc<dyn Rule<C>>);

impl Policy {
    /// Tokens that are for this audience; they may be for others as well.
    pub fn audience(audience: impl Into<String>) -> Self {
        Self::plain(Audience(audience.into()))
    }

    /// Tokens of this cluster, by the operator's name for it: all of its workloads.
    pub fn cluster(name: impl Into<String>) -> Self {
        Callers::cluster(name).into()
    }

    /// Callers that a check of your own allows. The log calls it by the name.
    ///
    /// ```
    /// use kube_oidc::{Policy, in_namespace};
    ///
    /// let on_spot_nodes = Policy::when("the node is a spot node", |who| {
    ///     who.node().is_some_and(|node| node.name().starts_with("spot-"))
    /// });
    /// let policy = in_namespace("payments").and(on_spot_nodes.not());
    /// ```
    pub fn when(
        name: impl Into<String>,
        check: impl Fn(&Verified) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self::when_claims(name, check)
    }

    /// Callers that at least one of these allows. Of none, nobody: that is an error.
    pub fn any(policies: impl IntoIterator<Item = impl Into<Self>>) -> Self {
        Self::of(Any(policies.into_iter().map(Into::into).collect()))
    }

    /// Callers that each of these allows. Of none, nobody: that is an error.
    pub fn all(policies: impl IntoIterator<Item = impl Into<Self>>) -> Self {
        Self::of(All(policies.into_iter().map(Into::into).collect()))
    }
}

impl<C: Claims> Policy<C> {
    fn of(rule: impl Rule<C>) -> Self {
        Self(Arc::new(rule))
    }

    fn plain(rule: impl Plain<C>) -> Self {
        Self::of(Looked::at(rule))
    }

    /// [`when`](Policy::when) for claims of your own.
    ///
    /// ```
    /// use kube_oidc::{Policy, Verified};
    ///
    /// #[derive(serde::Deserialize)]
    /// struct WorkerClaims {
    ///     client_id: String,
    /// }
    ///
    /// let policy = Policy::when_claims("client 7", |who: &Verified<WorkerClaims>| who.client_id == "7");
    /// ```
    pub fn when_claims(
        name: impl Into<String>,
        check: impl Fn(&Verified<C>) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self::plain(When { name: name.into(), check: Box::new(check) })
    }

    /// Callers that this or the other allows.
    pub fn or(self, other: impl Into<Self>) -> Self {
        Self::of(Any(vec![self, other.into()]))
    }

    /// Callers that this and the other allows.
    pub fn and(self, other: impl Into<Self>) -> Self {
        Self::of(All(vec![self, other.into()]))
    }

    /// Callers that this does not allow: everybody else.
    #[expect(clippy::should_implement_trait, reason = "`!` would be read over")]
    pub fn not(self) -> Self {
        Self::of(Not(self))
    }

    /// Whether the caller is allowed.
    ///
    /// # Errors
    ///
    /// Why not, for the log.
    pub fn check(&self, caller: &Verified<C>) -> Result<(), Denied> {
        match self.0.holds_for(caller) {
            Truth::Yes => Ok(()),
            Truth::No | Truth::Unknown => Err(Denied::new(self.0.refusal(caller), caller)),
        }
    }

    /// Whether every part of it can allow somebody: for the start of a service, so that one with a
    /// slip in its policy does not start.
    ///
    /// # Errors
    ///
    /// The first part that cannot.
    pub fn validate(&self) -> Result<(), PolicyError> {
        self.0.validate()
    }
}

impl<C: Claims> Clone for Policy<C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
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

/// A caller is not allowed. The token was good.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{caller} is not allowed: only {refusal}")]
pub struct Denied {
    caller: String,
    refusal: DenyReason,
}

impl Denied {
    fn new<C: Claims>(refusal: DenyReason, caller: &Verified<C>) -> Self {
        let subject = caller.registered().subject().unwrap_or_default();
        let caller = match caller.cluster() {
            None => Shown(subject).to_string(),
            Some(cluster) => format!("{} of the cluster {}", Shown(subject), Shown(cluster)),
        };
        Self { caller, refusal: refusal.cut() }
    }

    /// The rule that refused, in words.
    #[must_use]
    pub fn rule(&self) -> &str {
        &self.refusal.rule
    }
}

/// A policy has a part that can allow nobody, which nobody wants.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// There is nothing in it.
    #[error("a policy of no rules allows nobody")]
    Empty,
    /// What should be a name is blank, has a `*` beside other letters, or could not be the name of
    /// such a thing.
    #[error("{} cannot be the name of a {of}", Shown(.name))]
    #[non_exhaustive]
    InvalidName {
        /// What it should be the name of.
        of: &'static str,
        /// The name.
        name: String,
    },
    /// A rule names two namespaces, service accounts, or nodes: no caller has both.
    #[error("the {0} is named twice, and differently: or() allows both")]
    Conflict(&'static str),
    /// A service account is named without its namespace.
    #[error("the service account {} needs a namespace: namespace(\"*\") is any", Shown(.0))]
    MissingNamespace(String),
}
