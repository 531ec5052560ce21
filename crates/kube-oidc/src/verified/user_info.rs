//! [`UserInfo`]: a caller as the API server would call it.

use std::collections::BTreeMap;

use crate::{
    claims::{NodeRef, ServiceAccountClaims},
    verified::Verified,
};

/// A caller as the API server would call it: what a `TokenReview` answers as `status.user`
/// (`pkg/serviceaccount/util.go` of Kubernetes), for RBAC-like rules, `SubjectAccessReview`s and
/// audit logs.
///
/// ```
/// # use kube_oidc::Verified;
/// # fn f(caller: Verified) {
/// let user = caller.user_info();
/// println!("{} of {:?}", user.username, user.groups);
/// # }
/// ```
///
/// A service account of the same name exists in every cluster, so [`cluster`](Self::cluster)
/// belongs to the name; with [`with_prefix`](Self::with_prefix) it can be made a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UserInfo {
    /// `system:serviceaccount:<namespace>:<name>`.
    pub username: String,
    /// The service account's uid.
    pub uid: String,
    /// `system:serviceaccounts`, `system:serviceaccounts:<namespace>` and `system:authenticated`.
    pub groups: Vec<String>,
    /// `authentication.kubernetes.io/` and `pod-name`, `pod-uid`, `node-name`, `node-uid` or
    /// `credential-id`, where the token says so.
    pub extra: BTreeMap<String, Vec<String>>,
    /// The cluster, by the operator's name. A `TokenReview` does not say it.
    pub cluster: Option<String>,
}

/// Every authenticated caller is in it, by whichever way.
const AUTHENTICATED: &str = "system:authenticated";

impl UserInfo {
    fn of(claims: &ServiceAccountClaims, cluster: Option<&str>) -> Self {
        let pod = claims.pod();
        let node = claims.node();
        let extra = [
            ("pod-name", pod.map(|pod| pod.name().to_owned())),
            ("pod-uid", pod.map(|pod| pod.uid().to_owned())),
            ("node-name", node.map(|node| node.name().to_owned())),
            ("node-uid", node.and_then(NodeRef::uid).map(str::to_owned)),
            ("credential-id", claims.jti().map(|jti| format!("JTI={jti}"))),
        ];
        let key = |name: &str| format!("authentication.kubernetes.io/{name}");
        Self {
            username: claims.subject().to_owned(),
            uid: claims.service_account().uid().to_owned(),
            groups: vec![
                "system:serviceaccounts".to_owned(),
                format!("system:serviceaccounts:{}", claims.namespace()),
                AUTHENTICATED.to_owned(),
            ],
            extra: extra
                .into_iter()
                .filter_map(|(name, value)| Some((key(name), vec![value?])))
                .collect(),
            cluster: cluster.map(str::to_owned),
        }
    }

    /// The same caller, with a prefix before its name and its groups, so that those of several
    /// clusters can stand beside each other, as an API server has it with `--oidc-username-prefix`:
    /// `blue:system:serviceaccount:payments:checkout`. `system:authenticated` stays as it is.
    #[must_use]
    pub fn with_prefix(mut self, prefix: &str) -> Self {
        self.username.insert_str(0, prefix);
        for group in self.groups.iter_mut().filter(|group| *group != AUTHENTICATED) {
            group.insert_str(0, prefix);
        }
        self
    }
}

impl Verified<ServiceAccountClaims> {
    /// The caller as the API server would call it, with the prefix of its cluster:
    /// [`Issuer::with_user_prefix`](crate::Issuer::with_user_prefix).
    #[must_use]
    pub fn user_info(&self) -> UserInfo {
        let user = UserInfo::of(self.claims(), self.cluster());
        match self.user_prefix() {
            Some(prefix) => user.with_prefix(prefix),
            None => user,
        }
    }
}
