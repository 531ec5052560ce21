//! The guide, so that its examples are compiled.

#[doc = include_str!("../../docs/audience.md")]
mod audience {}
#[doc = include_str!("../../docs/migrating/hand-written-jsonwebtoken.md")]
mod migrating_hand_written_jsonwebtoken {}
#[doc = include_str!("../../docs/migrating/jwt-authorizer.md")]
mod migrating_jwt_authorizer {}
#[doc = include_str!("../../docs/migrating/tower-oauth2-resource-server.md")]
mod migrating_tower_oauth2_resource_server {}
#[doc = include_str!("../../docs/providers/aks.md")]
mod providers_aks {}
#[doc = include_str!("../../docs/providers/any-issuer.md")]
mod providers_any_issuer {}
#[doc = include_str!("../../docs/providers/eks.md")]
mod providers_eks {}
#[doc = include_str!("../../docs/providers/gke.md")]
mod providers_gke {}
#[doc = include_str!("../../docs/providers/k3s-kind-kubeadm.md")]
mod providers_k3s_kind_kubeadm {}
#[doc = include_str!("../../docs/providers/openshift.md")]
mod providers_openshift {}
#[doc = include_str!("../../docs/providers/pingone.md")]
mod providers_pingone {}
#[doc = include_str!("../../docs/tls-and-containers.md")]
mod tls_and_containers {}
