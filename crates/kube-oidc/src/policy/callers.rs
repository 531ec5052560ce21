//! [`Callers`]: workloads, by the names that their cluster gives them.

use std::fmt;

use super::{
    Policy, PolicyError,
    rule::{Plain, Truth, not_blank},
};
use crate::{
    claims::{ServiceAccountClaims, is_dns_label, is_dns_subdomain},
    observe::display::Shown,
    verified::Verified,
};

/// Workloads by cluster, namespace and service account: the plainest [`Policy`].
///
/// Names are compared whole, letter by letter; `*` alone is any name.
///
/// ```
/// use kube_oidc::{Callers, in_namespace};
///
/// // a verifier of one cluster, which has no name
/// let refunds = in_namespace("payments").service_account("refunds");
/// // one of several clusters
/// let batch = Callers::cluster("green").namespace("batch").bound_to_pod();
/// ```
///
/// A namespace and a service account of the same names exist in every cluster. So a rule that
/// begins with [`in_namespace`] is for a verifier whose only cluster has no name: callers of a
/// cluster with a name it does not allow, and the log says that the name is missing.
#[derive(Clone, Debug)]
#[must_use]
pub struct Callers {
    cluster: Scope,
    namespace: Option<String>,
    service_account: Option<String>,
    pod: bool,
    node: bool,
    node_name: Option<String>,
    /// What was said twice, and differently.
    twice: Option<&'static str>,
}

#[derive(Clone, Debug)]
enum Scope {
    /// The only cluster of a verifier.
    Unnamed,
    Named(String),
    Any,
}

/// Workloads of a namespace, for a verifier of one cluster that has no name.
pub fn in_namespace(namespace: impl Into<String>) -> Callers {
    Callers::of(Scope::Unnamed).namespace(namespace)
}

/// Workloads of every cluster that the verifier trusts: whoever may name things in one of them can
/// be allowed by a name.
pub fn in_any_cluster() -> Callers {
    Callers::of(Scope::Any)
}

impl Callers {
    /// Workloads of the cluster with this name:
    /// [`Issuer::with_cluster`](crate::Issuer::with_cluster).
    pub fn cluster(name: impl Into<String>) -> Self {
        Self::of(Scope::Named(name.into()))
    }

    fn of(cluster: Scope) -> Self {
        Self {
            cluster,
            namespace: None,
            service_account: None,
            pod: false,
            node: false,
            node_name: None,
            twice: None,
        }
    }

    /// Only those of this namespace.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        let before = self.namespace.replace(namespace.into());
        if before.is_some() && before != self.namespace {
            self.twice = Some("namespace");
        }
        self
    }

    /// Only those of this service account of the namespace.
    pub fn service_account(mut self, name: impl Into<String>) -> Self {
        let before = self.service_account.replace(name.into());
        if before.is_some() && before != self.service_account {
            self.twice = Some("service account");
        }
        self
    }

    /// Only tokens that are bound to a pod. That it still lives is not known here.
    pub fn bound_to_pod(mut self) -> Self {
        self.pod = true;
        self
    }

    /// Only tokens that name a node: see [`on_node`](Self::on_node) for one node, and for the API
    /// servers that write it.
    pub fn bound_to_node(mut self) -> Self {
        self.node = true;
        self
    }

    /// Allows only callers on the node with this name, compared letter by letter.
    ///
    /// It is for daemons that act for their own node only, such as the agent of a `DaemonSet` that
    /// serves the pods beside it. The downward API gives the agent the name of its node:
    ///
    /// ```yaml
    /// env:
    ///   - name: NODE_NAME
    ///     valueFrom:
    ///       fieldRef:
    ///         fieldPath: spec.nodeName
    /// ```
    ///
    /// ```
    /// use kube_oidc::{Policy, in_namespace};
    ///
    /// fn neighbors() -> Result<Policy, Box<dyn std::error::Error>> {
    ///     let node = std::env::var("NODE_NAME")?;
    ///     let policy = Policy::from(in_namespace("*").bound_to_pod().on_node(node));
    ///     policy.validate()?;
    ///     Ok(policy)
    /// }
    /// ```
    ///
    /// A central service compares [`ServiceAccountClaims::node`] with the node that a request names.
    ///
    /// A token without a node is undecided: neither this rule nor its [`not`](Self::not) allows its
    /// caller. Kube-apiservers write the node of a pod into tokens by default from 1.30 on
    /// ([`ServiceAccountTokenPodNodeInfo`][gates]: alpha in 1.29, beta in 1.30, stable in 1.32). Tokens
    /// for no pod and no node have none.
    ///
    /// # Who sets the node
    ///
    /// The node of a token is the `spec.nodeName` of its pod when the token was issued. It is as
    /// trustworthy as the permissions of the cluster:
    ///
    /// - The scheduler sets it, through the subresource `pods/binding`. So can each subject that may
    ///   create `pods/binding`.
    /// - Each subject that may create pods can set it in the pod ([assigning pods to nodes][assign]), for
    ///   the service accounts of the namespace. Name the service account in the rule as well.
    /// - A kubelet can create mirror pods on its own node only, and none with a service account. It can
    ///   request tokens only for pods on its own node ([NodeRestriction][restriction]). So the
    ///   credentials of one node yield no token of another node.
    /// - Each subject that may create `serviceaccounts/token` can request a token for every pod of the
    ///   service account, or for a node without a pod. [`bound_to_pod`](Self::bound_to_pod) excludes the
    ///   latter.
    ///
    /// [gates]: https://kubernetes.io/docs/reference/command-line-tools-reference/feature-gates/
    /// [assign]: https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#nodename
    /// [restriction]: https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction
    pub fn on_node(mut self, name: impl Into<String>) -> Self {
        let before = self.node_name.replace(name.into());
        if before.is_some() && before != self.node_name {
            self.twice = Some("node");
        }
        self
    }

    /// These and the callers that another policy allows.
    pub fn or(self, other: impl Into<Policy>) -> Policy {
        Policy::from(self).or(other)
    }

    /// Those of these that another policy allows too.
    pub fn and(self, other: impl Into<Policy>) -> Policy {
        Policy::from(self).and(other)
    }

    /// Everybody else.
    #[expect(clippy::should_implement_trait, reason = "`!` would be read over")]
    pub fn not(self) -> Policy {
        Policy::from(self).not()
    }

    /// Whether only one of rule and caller names a cluster, so that nobody knows whether it is the
    /// same.
    fn lacks_cluster(&self, caller: &Verified) -> bool {
        match self.cluster {
            Scope::Unnamed => caller.cluster().is_some(),
            Scope::Named(_) => caller.cluster().is_none(),
            Scope::Any => false,
        }
    }

    /// Whether the rule names a node, and the token names none.
    fn lacks_node(&self, caller: &Verified) -> bool {
        self.node_name.is_some() && caller.node().is_none()
    }

    fn include(&self, caller: &Verified) -> bool {
        let in_cluster = match &self.cluster {
            Scope::Unnamed => caller.cluster().is_none(),
            Scope::Named(name) => caller.cluster() == Some(name),
            Scope::Any => true,
        };
        in_cluster
            && matches(self.namespace.as_deref(), caller.namespace())
            && matches(self.service_account.as_deref(), caller.service_account().name())
            && (!self.pod || caller.pod().is_some())
            && (!self.node || caller.node().is_some())
            && self
                .node_name
                .as_deref()
                .is_none_or(|name| caller.node().is_some_and(|node| node.name() == name))
    }
}

const ANY_NAME: &str = "*";

fn matches(pattern: Option<&str>, name: &str) -> bool {
    pattern.is_none_or(|pattern| pattern == ANY_NAME || pattern == name)
}

/// A pattern that no name fits is a slip.
fn check_name(
    of: &'static str,
    pattern: Option<&String>,
    is_name: fn(&str) -> bool,
) -> Result<(), PolicyError> {
    match pattern {
        Some(name) if name != ANY_NAME && !is_name(name) => {
            Err(PolicyError::InvalidName { of, name: name.clone() })
        }
        _ => Ok(()),
    }
}

impl Plain<ServiceAccountClaims> for Callers {
    fn holds_for(&self, caller: &Verified) -> Truth {
        if self.lacks_cluster(caller) || self.lacks_node(caller) {
            return Truth::Unknown;
        }
        self.include(caller).into()
    }

    fn validate(&self) -> Result<(), PolicyError> {
        if let Scope::Named(name) = &self.cluster {
            not_blank("cluster", name)?;
        }
        if let Some(of) = self.twice {
            return Err(PolicyError::Conflict(of));
        }
        check_name("namespace", self.namespace.as_ref(), is_dns_label)?;
        check_name("service account", self.service_account.as_ref(), is_dns_subdomain)?;
        if let Some(name) = self.node_name.as_ref().filter(|name| !is_dns_subdomain(name)) {
            return Err(PolicyError::InvalidName { of: "node", name: name.clone() });
        }
        match (&self.namespace, &self.service_account) {
            (None, Some(name)) => Err(PolicyError::MissingNamespace(name.clone())),
            _ => Ok(()),
        }
    }

    fn hint(&self, caller: &Verified) -> Option<&'static str> {
        if self.lacks_cluster(caller) {
            return Some(match self.cluster {
                Scope::Named(_) => "the caller's cluster has no name: Issuer::with_cluster()",
                Scope::Unnamed | Scope::Any => {
                    "it names no cluster, and the caller's has a name: Callers::cluster() or \
                     in_any_cluster()"
                }
            });
        }
        self.lacks_node(caller).then_some(
            "the token names no node: it is bound to no pod, or the API server is older than 1.30",
        )
    }
}

impl From<Callers> for Policy {
    fn from(callers: Callers) -> Self {
        Self::plain(callers)
    }
}

impl fmt::Display for Callers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("callers")?;
        if let Some(name) = &self.service_account {
            write!(f, " of the service account {}", Shown(name))?;
        }
        if let Some(name) = &self.namespace {
            write!(f, " in the namespace {}", Shown(name))?;
        }
        match &self.cluster {
            Scope::Unnamed => {}
            Scope::Named(name) => write!(f, " of the cluster {}", Shown(name))?,
            Scope::Any => f.write_str(" of any cluster")?,
        }
        if self.pod {
            f.write_str(" with a pod")?;
        }
        if self.node {
            f.write_str(" with a node")?;
        }
        if let Some(name) = &self.node_name {
            write!(f, " on the node {}", Shown(name))?;
        }
        Ok(())
    }
}
