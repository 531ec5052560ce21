//! [`ServiceAccountClaims`]: which workload of a cluster a token speaks of.

use std::{borrow::Cow, fmt, ops::Deref, time::SystemTime};

use serde::de::MapAccess;

#[cfg(any(test, feature = "test-util"))]
use super::registered::Audiences;
use super::{
    NumericDate, Payload, RegisteredClaims,
    invalid_claim::{invalid, missing},
    object_name::{is_dns_label, is_dns_subdomain, is_uid},
    packed::{Packed, Span},
    sealed,
};
use crate::{
    encoding::json::{Members, Value, names},
    error::InvalidToken,
};

/// The claims of a Kubernetes `ServiceAccount` token, as the API server's `TokenRequest` makes them
/// (`pkg/serviceaccount/claims.go`).
///
/// The registered claims are here too: `claims.expires_at()`, `claims.audiences()`.
#[derive(Clone)]
pub struct ServiceAccountClaims {
    /// The texts of all claims are with these.
    registered: RegisteredClaims,
    namespace: Span,
    service_account: Object,
    pod: Option<Object>,
    node: Option<Node>,
    secret: Option<Object>,
    warn_after: Option<NumericDate>,
}

#[derive(Clone, Copy)]
struct Node {
    name: Span,
    uid: Option<Span>,
}

/// A name and a uid.
#[derive(Clone, Copy)]
struct Object {
    name: Span,
    uid: Span,
}

/// A Kubernetes object that a token names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ObjectRef<'a> {
    name: &'a str,
    uid: &'a str,
}

impl<'a> ObjectRef<'a> {
    /// The object's name: a DNS-1123 subdomain.
    #[must_use]
    pub fn name(self) -> &'a str {
        self.name
    }

    /// The object's uid, which a new object of the same name does not share.
    #[must_use]
    pub fn uid(self) -> &'a str {
        self.uid
    }
}

/// A node that a token names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct NodeRef<'a> {
    name: &'a str,
    uid: Option<&'a str>,
}

impl<'a> NodeRef<'a> {
    /// The node's name: a DNS-1123 subdomain.
    #[must_use]
    pub fn name(self) -> &'a str {
        self.name
    }

    /// The node's uid. An API server that did not find the pod's node when it made the token
    /// leaves it out (`pkg/registry/core/serviceaccount/storage/token.go`).
    #[must_use]
    pub fn uid(self) -> Option<&'a str> {
        self.uid
    }
}

impl ServiceAccountClaims {
    /// The namespace of the service account, and of the pod or secret.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.text(self.namespace)
    }

    /// The service account.
    #[must_use]
    pub fn service_account(&self) -> ObjectRef<'_> {
        self.object(self.service_account)
    }

    /// The pod that the token is bound to, if it is bound to one.
    #[must_use]
    pub fn pod(&self) -> Option<ObjectRef<'_>> {
        self.pod.map(|pod| self.object(pod))
    }

    /// The node that the pod runs on, or that the token is bound to. Kube-apiservers from 1.29
    /// or 1.30 on say so.
    #[must_use]
    pub fn node(&self) -> Option<NodeRef<'_>> {
        let Node { name, uid } = self.node?;
        Some(NodeRef { name: self.text(name), uid: uid.map(|uid| self.text(uid)) })
    }

    /// The secret that the token is bound to, if it is bound to one.
    #[must_use]
    pub fn secret(&self) -> Option<ObjectRef<'_>> {
        self.secret.map(|secret| self.object(secret))
    }

    fn object(&self, Object { name, uid }: Object) -> ObjectRef<'_> {
        ObjectRef { name: self.text(name), uid: self.text(uid) }
    }

    fn text(&self, span: Span) -> &str {
        self.registered.texts.get(span)
    }

    /// `sub`: `system:serviceaccount:<namespace>:<name>`.
    #[must_use]
    pub fn subject(&self) -> &str {
        self.registered.subject().unwrap_or_default()
    }

    /// `warnafter`: when the token should have been replaced. Where the API server extends
    /// expiry, `exp` is a year ahead, and this is the time that was asked for.
    #[must_use]
    pub fn warn_after(&self) -> Option<SystemTime> {
        self.warn_after.map(NumericDate::time)
    }
}

impl PartialEq for ServiceAccountClaims {
    fn eq(&self, other: &Self) -> bool {
        self.registered == other.registered
            && self.namespace() == other.namespace()
            && self.service_account() == other.service_account()
            && self.pod() == other.pod()
            && self.node() == other.node()
            && self.secret() == other.secret()
            && self.warn_after == other.warn_after
    }
}

impl Eq for ServiceAccountClaims {}

impl fmt::Debug for ServiceAccountClaims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceAccountClaims")
            .field("registered", &self.registered)
            .field("namespace", &self.namespace())
            .field("service_account", &self.service_account())
            .field("pod", &self.pod())
            .field("node", &self.node())
            .field("secret", &self.secret())
            .field("warn_after", &self.warn_after())
            .finish()
    }
}

impl Deref for ServiceAccountClaims {
    type Target = RegisteredClaims;

    fn deref(&self) -> &RegisteredClaims {
        &self.registered
    }
}

impl sealed::FromPayload for ServiceAccountClaims {
    const KUBERNETES: bool = true;

    type Kept = Self;

    fn keep(payload: &Payload<'_>, text: &str) -> Result<Self, InvalidToken> {
        let claim = payload.kubernetes.as_ref();
        let claim = claim.ok_or_else(|| missing("kubernetes.io"))?;
        let namespace = claim.namespace.as_deref();
        let namespace = namespace.ok_or_else(|| missing("kubernetes.io.namespace"))?;
        if !is_dns_label(namespace) {
            return Err(invalid("kubernetes.io.namespace", "a DNS label"));
        }
        let service_account = claim
            .service_account
            .as_ref()
            .ok_or_else(|| missing("kubernetes.io.serviceaccount"))?
            .check("serviceaccount")?;
        let agrees = payload
            .sub
            .as_deref()
            .and_then(|subject| subject.strip_prefix("system:serviceaccount:"))
            .and_then(|rest| rest.split_once(':'))
            == Some((namespace, service_account.name));
        if !agrees {
            return Err(InvalidToken::SubjectMismatch);
        }
        let pod = bound(claim.pod.as_ref(), "pod")?;
        let secret = bound(claim.secret.as_ref(), "secret")?;
        let node = claim.node.as_ref().map(|node| node.check_node(pod.is_some())).transpose()?;

        let mut registered = RegisteredClaims::from_payload(payload, text);
        let texts = &mut registered.texts;
        Ok(Self {
            namespace: texts.push(namespace),
            service_account: Object::keep(service_account, texts),
            pod: pod.map(|pod| Object::keep(pod, texts)),
            node: node.map(|node| Node::keep(node, texts)),
            secret: secret.map(|secret| Object::keep(secret, texts)),
            warn_after: claim.warn_after,
            registered,
        })
    }

    fn bytes(kept: &Self) -> usize {
        kept.registered.bytes()
    }

    fn claims(kept: &Self) -> &Self {
        kept
    }

    fn registered(kept: &Self) -> &RegisteredClaims {
        &kept.registered
    }

    fn user(kept: &Self) -> Option<(&str, &str)> {
        Some((kept.subject(), kept.service_account().uid()))
    }
}

fn bound<'p>(
    object: Option<&'p ObjectClaim<'_>>,
    kind: &str,
) -> Result<Option<ObjectRef<'p>>, InvalidToken> {
    object.map(|object| object.check(kind)).transpose()
}

/// The `kubernetes.io` claim as read.
#[derive(Debug, Default)]
pub(super) struct KubernetesClaim<'p> {
    namespace: Option<Cow<'p, str>>,
    pub(super) service_account: Option<ObjectClaim<'p>>,
    pub(super) pod: Option<ObjectClaim<'p>>,
    pub(super) node: Option<ObjectClaim<'p>>,
    pub(super) secret: Option<ObjectClaim<'p>>,
    warn_after: Option<NumericDate>,
    pub(super) fault: Option<KubernetesName>,
}

impl KubernetesClaim<'_> {
    pub(super) fn warn_after(&self) -> Option<NumericDate> {
        self.warn_after
    }

    pub(super) fn bound_to(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [("pod", &self.pod), ("secret", &self.secret), ("node", &self.node)]
            .into_iter()
            .filter_map(|(kind, object)| Some((kind, object.as_ref()?.name.as_deref()?)))
    }
}

#[derive(Debug, Default)]
pub(super) struct ObjectClaim<'p> {
    name: Option<Cow<'p, str>>,
    uid: Option<Cow<'p, str>>,
    pub(super) fault: Option<ObjectName>,
}

impl ObjectClaim<'_> {
    fn check(&self, kind: &str) -> Result<ObjectRef<'_>, InvalidToken> {
        let claim = |member: &str| format!("kubernetes.io.{kind}.{member}");
        let name = self.name.as_deref().ok_or_else(|| missing(&claim("name")))?;
        let uid = self.uid.as_deref().ok_or_else(|| missing(&claim("uid")))?;
        if !is_dns_subdomain(name) {
            return Err(invalid(&claim("name"), "a DNS subdomain"));
        }
        if !is_uid(uid) {
            return Err(invalid(&claim("uid"), "1 to 128 visible ASCII characters"));
        }
        Ok(ObjectRef { name, uid })
    }

    /// Beside a pod a node may lack its uid: see [`NodeRef::uid`].
    fn check_node(&self, beside_pod: bool) -> Result<NodeRef<'_>, InvalidToken> {
        match (&self.name, &self.uid) {
            (Some(name), None) if beside_pod && is_dns_subdomain(name) => {
                Ok(NodeRef { name, uid: None })
            }
            _ => {
                let ObjectRef { name, uid } = self.check("node")?;
                Ok(NodeRef { name, uid: Some(uid) })
            }
        }
    }
}

impl Object {
    fn keep(object: ObjectRef<'_>, texts: &mut Packed) -> Self {
        Self { name: texts.push(object.name), uid: texts.push(object.uid) }
    }
}

impl Node {
    fn keep(node: NodeRef<'_>, texts: &mut Packed) -> Self {
        Self { name: texts.push(node.name), uid: node.uid.map(|uid| texts.push(uid)) }
    }
}

names!(KubernetesName {
    Namespace = "namespace",
    Node = "node",
    Pod = "pod",
    Secret = "secret",
    ServiceAccount = "serviceaccount",
    WarnAfter = "warnafter",
});

impl<'de> Members<'de> for KubernetesClaim<'de> {
    type Name = KubernetesName;

    fn member<A: MapAccess<'de>>(
        &mut self,
        name: KubernetesName,
        value: Value<'_, A>,
    ) -> Result<(), A::Error> {
        let object = match name {
            KubernetesName::Namespace => {
                self.namespace = Some(value.text()?);
                return Ok(());
            }
            KubernetesName::WarnAfter => {
                self.warn_after = Some(value.seed(NumericDate::SEED)?);
                return Ok(());
            }
            KubernetesName::ServiceAccount => &mut self.service_account,
            KubernetesName::Pod => &mut self.pod,
            KubernetesName::Node => &mut self.node,
            KubernetesName::Secret => &mut self.secret,
        };
        value.object(object.insert(ObjectClaim::default()))
    }

    fn note_fault(&mut self, name: KubernetesName) {
        self.fault = Some(name);
    }
}

names!(ObjectName { Name = "name", Uid = "uid" });

impl<'de> Members<'de> for ObjectClaim<'de> {
    type Name = ObjectName;

    fn member<A: MapAccess<'de>>(
        &mut self,
        name: ObjectName,
        value: Value<'_, A>,
    ) -> Result<(), A::Error> {
        let slot = match name {
            ObjectName::Name => &mut self.name,
            ObjectName::Uid => &mut self.uid,
        };
        *slot = Some(value.text()?);
        Ok(())
    }

    fn note_fault(&mut self, name: ObjectName) {
        self.fault = Some(name);
    }
}

/// Claims that no issuer signed, for unit tests of handlers and policies.
///
/// ```
/// use kube_oidc::{ServiceAccountClaims, Verified};
///
/// let claims = ServiceAccountClaims::for_test("payments", "checkout")
///     .with_pod("checkout-7f9c", "ab196201-1a7e-4df7-88b5-736e527013b4")
///     .with_audience("orders");
/// let caller = Verified::dangerous_without_verification(claims).with_cluster("blue");
/// assert_eq!(caller.cluster(), Some("blue"));
/// assert_eq!(caller.subject(), "system:serviceaccount:payments:checkout");
/// assert_eq!(caller.pod().unwrap().name(), "checkout-7f9c");
/// ```
#[cfg(any(test, feature = "test-util"))]
impl ServiceAccountClaims {
    /// Claims of a service account, with a fixed uid, no bound object, no audience, the issuer
    /// `https://issuer.test`, and an expiry at the end of the year 9999.
    #[must_use]
    pub fn for_test(namespace: &str, name: &str) -> Self {
        let mut texts = Packed::with_capacity(256);
        let uid = "00000000-0000-4000-8000-000000000000";
        Self {
            namespace: texts.push(namespace),
            service_account: Object::keep(ObjectRef { name, uid }, &mut texts),
            pod: None,
            node: None,
            secret: None,
            warn_after: None,
            registered: RegisteredClaims {
                issuer: texts.push("https://issuer.test"),
                subject: Some(texts.push(&format!("system:serviceaccount:{namespace}:{name}"))),
                audiences: Audiences::Several(Vec::new()),
                expires_at: NumericDate::LAST,
                not_before: None,
                issued_at: None,
                jti: None,
                texts,
            },
        }
    }

    fn texts(&mut self) -> &mut Packed {
        &mut self.registered.texts
    }

    /// The same claims, of another issuer.
    #[must_use]
    pub fn with_issuer(mut self, issuer: &str) -> Self {
        self.registered.issuer = self.texts().push(issuer);
        self
    }

    /// The same claims, for one more audience.
    #[must_use]
    pub fn with_audience(mut self, audience: &str) -> Self {
        let mut audiences = self.registered.audiences.spans().to_vec();
        audiences.push(self.texts().push(audience));
        self.registered.audiences = Audiences::Several(audiences);
        self
    }

    /// The same claims, bound to a pod.
    #[must_use]
    pub fn with_pod(mut self, name: &str, uid: &str) -> Self {
        self.pod = Some(Object::keep(ObjectRef { name, uid }, self.texts()));
        self
    }

    /// The same claims, bound to a node.
    #[must_use]
    pub fn with_node(mut self, name: &str, uid: &str) -> Self {
        self.node = Some(Node::keep(NodeRef { name, uid: Some(uid) }, self.texts()));
        self
    }

    /// The same claims, bound to a secret.
    #[must_use]
    pub fn with_secret(mut self, name: &str, uid: &str) -> Self {
        self.secret = Some(Object::keep(ObjectRef { name, uid }, self.texts()));
        self
    }

    /// The same claims, with another end.
    #[must_use]
    pub fn with_expiry(mut self, time: SystemTime) -> Self {
        self.registered.expires_at = NumericDate::of(time);
        self
    }
}
