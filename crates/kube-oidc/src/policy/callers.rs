//! [`Callers`]: workloads, by the names that their cluster gives them.

use std::fmt;

use super::{
    PolicyError, Rule,
    condition::{Condition, Truth, check_exact},
};
use crate::{
    claims::{ServiceAccountClaims, is_dns_label, is_dns_subdomain},
    observe::display::Shown,
    verified::Verified,
};

/// Workloads by cluster, namespace, and service account: the simplest [`Rule`].
///
/// Names are compared byte for byte. `*` alone is any name.
///
/// ```
/// use kube_oidc::{Callers, in_namespace};
///
/// // a verifier of one cluster without a name
/// let refunds = in_namespace("payments").service_account("refunds");
/// // one of several clusters
/// let batch = Callers::cluster("green").namespace("batch").bound_to_pod();
/// ```
///
/// Each cluster can have a namespace and a service account with the same names. So a rule that
/// begins with [`in_namespace`] is for a verifier whose only cluster has no name. It does not allow
/// callers of a cluster with a name, and the log shows that the rule names no cluster.
#[derive(Clone, Debug)]
#[must_use]
pub struct Callers {
    cluster: Scope,
    namespace: Option<String>,
    service_account: Option<String>,
    pod: bool,
    node: bool,
    node_name: Option<String>,
    /// Names that replaced other names.
    conflicts: Vec<PolicyError>,
}

#[derive(Clone, Debug)]
enum Scope {
    /// The only cluster of a verifier.
    Unnamed,
    Named(String),
    Any,
}

/// Allows workloads of a namespace, for a verifier of one cluster without a name.
pub fn in_namespace(namespace: impl Into<String>) -> Callers {
    Callers::of(Scope::Unnamed).namespace(namespace)
}

/// Allows workloads of every cluster that the verifier trusts.
///
/// Each subject that may create namespaces or service accounts in one of these clusters can take a
/// name that the rule allows.
pub fn in_any_cluster() -> Callers {
    Callers::of(Scope::Any)
}

impl Callers {
    /// Allows workloads of the cluster with this name:
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
            conflicts: Vec::new(),
        }
    }

    /// Allows only workloads of this namespace.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        set("namespace", &mut self.namespace, namespace.into(), &mut self.conflicts);
        self
    }

    /// Allows only workloads of this service account of the namespace.
    pub fn service_account(mut self, name: impl Into<String>) -> Self {
        set("service account", &mut self.service_account, name.into(), &mut self.conflicts);
        self
    }

    /// Allows only tokens that are bound to a pod. The pod may have been deleted since.
    pub fn bound_to_pod(mut self) -> Self {
        self.pod = true;
        self
    }

    /// Allows only tokens that name a node. See [`on_node`](Self::on_node) for one node, and for the
    /// API servers that write the node.
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
    ///     Ok(Policy::new(in_namespace("*").bound_to_pod().on_node(node))?)
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
        set("node", &mut self.node_name, name.into(), &mut self.conflicts);
        self
    }

    /// Allows these callers, and those that the other rule allows.
    pub fn or(self, other: impl Into<Rule>) -> Rule {
        Rule::from(self).or(other)
    }

    /// Allows those of these callers that the other rule allows too.
    pub fn and(self, other: impl Into<Rule>) -> Rule {
        Rule::from(self).and(other)
    }

    /// Allows all other callers: see [`Rule::not`].
    #[expect(clippy::should_implement_trait, reason = "`!` is easily overlooked")]
    pub fn not(self) -> Rule {
        Rule::from(self).not()
    }
}

/// Sets a name, and notes a different one that it replaces.
fn set(
    of: &'static str,
    slot: &mut Option<String>,
    name: String,
    conflicts: &mut Vec<PolicyError>,
) {
    if let Some(before) = slot.take().filter(|before| *before != name) {
        conflicts.push(PolicyError::Conflict { of, names: [before, name.clone()] });
    }
    *slot = Some(name);
}

const ANY_NAME: &str = "*";

fn matches(pattern: Option<&str>, name: &str) -> bool {
    pattern.is_none_or(|pattern| pattern == ANY_NAME || pattern == name)
}

impl Condition<ServiceAccountClaims> for Callers {
    fn holds_for(&self, caller: &Verified) -> Truth {
        if self.hint(caller).is_some() {
            return Truth::Unknown;
        }
        let in_cluster = match &self.cluster {
            Scope::Named(name) => caller.cluster() == Some(name),
            Scope::Unnamed | Scope::Any => true,
        };
        let holds = in_cluster
            && matches(self.namespace.as_deref(), caller.namespace())
            && matches(self.service_account.as_deref(), caller.service_account().name())
            && (!self.pod || caller.pod().is_some())
            && (!self.node || caller.node().is_some())
            && self
                .node_name
                .as_deref()
                .is_none_or(|name| caller.node().is_some_and(|node| node.name() == name));
        holds.into()
    }

    fn find_faults(&self, faults: &mut Vec<PolicyError>) {
        if let Scope::Named(name) = &self.cluster {
            check_exact("cluster", name, faults);
        }
        faults.extend(self.conflicts.iter().cloned());
        let is_label = |name: &str| name == ANY_NAME || is_dns_label(name);
        let is_subdomain = |name: &str| name == ANY_NAME || is_dns_subdomain(name);
        let mut check = |of, name: &Option<String>, is_valid: fn(&str) -> bool, expected| {
            if let Some(name) = name.as_ref().filter(|name| !is_valid(name)) {
                faults.push(PolicyError::InvalidName { of, name: name.clone(), expected });
            }
        };
        let subdomain_or_any = "a DNS subdomain, or `*` for any";
        check("namespace", &self.namespace, is_label, "a DNS label, or `*` for any");
        check("service account", &self.service_account, is_subdomain, subdomain_or_any);
        check("node", &self.node_name, is_dns_subdomain, "a DNS subdomain");
        if let (None, Some(name)) = (&self.namespace, &self.service_account) {
            faults.push(PolicyError::MissingNamespace(name.clone()));
        }
    }

    fn hint(&self, caller: &Verified) -> Option<&'static str> {
        match (&self.cluster, caller.cluster()) {
            (Scope::Unnamed, Some(_)) => Some(
                "the rule names no cluster, but the caller's cluster has a name; use \
                 `Callers::cluster` or `in_any_cluster`",
            ),
            (Scope::Named(_), None) => {
                Some("the caller's cluster has no name; call `Issuer::with_cluster`")
            }
            _ if self.node_name.is_some() && caller.node().is_none() => Some(
                "the token names no node: it is bound to no pod, or the API server is older than \
                 1.30",
            ),
            _ => None,
        }
    }
}

impl From<Callers> for Rule {
    fn from(callers: Callers) -> Self {
        Self::of(callers)
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
