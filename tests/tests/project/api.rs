//! What the types that users keep can do everywhere: be cloned, sent, shared and printed.

use std::{error::Error, fmt::Debug};

use kube_oidc::{
    Algorithm, BuildError, Callers, Denied, InvalidToken, Issuer, IssuerStatus, IssuerUrl,
    KeysUnavailable, Policy, PolicyError, Readiness, ReadinessError, Rule, ServiceAccountClaims,
    UserInfo, Verified, Verifier, VerifierBuilder, VerifyError, explanation::Explanation,
};
use tower_kube_oidc::{
    AuthorizeLayer, AuthorizeLayerError, CallError, Caller, CallerRejection, OidcAuth,
    OidcAuthLayer, OidcAuthLayerError, Origin, OriginError, Passed, ReadinessProbe, Rejection,
    ResponseBody, ServiceAccountToken, ServiceAccountTokenLayer, TokenError, TokenExpired,
    TokenFileError,
};

fn value<T: Clone + Debug + Send + Sync + Unpin + 'static>() {}
fn error<T: Error + Send + Sync + 'static>() {}

#[test]
fn values_can_be_cloned_sent_shared_and_printed() {
    value::<Verifier>();
    value::<VerifierBuilder>();
    value::<Verified>();
    value::<ServiceAccountClaims>();
    value::<UserInfo>();
    value::<Issuer>();
    value::<IssuerUrl>();
    value::<IssuerStatus>();
    value::<Algorithm>();
    value::<Policy>();
    value::<Rule>();
    value::<Callers>();
    value::<Readiness>();
    value::<Explanation>();
    value::<OidcAuthLayer>();
    value::<OidcAuth<()>>();
    value::<AuthorizeLayer>();
    value::<Caller>();
    value::<Passed>();
    value::<ReadinessProbe>();
    value::<Rejection>();
    value::<Origin>();
    value::<ServiceAccountTokenLayer>();
    value::<ServiceAccountToken<()>>();
}

#[test]
fn errors_can_be_boxed() {
    error::<VerifyError>();
    error::<InvalidToken>();
    error::<KeysUnavailable>();
    error::<BuildError>();
    error::<Denied>();
    error::<PolicyError>();
    error::<ReadinessError>();
    error::<OidcAuthLayerError>();
    error::<AuthorizeLayerError>();
    error::<CallerRejection>();
    error::<Rejection>();
    error::<CallError>();
    error::<TokenError>();
    error::<TokenFileError>();
    error::<OriginError>();
    error::<TokenExpired>();
}

#[test]
fn bodies_can_be_sent() {
    fn body<T: http_body::Body + Send + 'static>() {}
    body::<ResponseBody<axum::body::Body>>();
    body::<ResponseBody<tonic::body::Body>>();
}
