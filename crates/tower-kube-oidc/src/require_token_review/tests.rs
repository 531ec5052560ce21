use std::{
    convert::Infallible,
    future::{Ready, ready},
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Extensions, Request, Response};
use kube_oidc::{
    Issuer, Verified, Verifier,
    token_review::{ReviewFuture, ReviewRequest, ReviewStatus, Reviewer},
};
use kube_oidc_testing::TestIssuer;
use tower::ServiceExt as _;
use tower_layer::Layer as _;
use tower_service::Service;

use super::{decide::Claimed, layer::RequireTokenReviewLayer};
use crate::{
    OidcAuthLayer, Passed,
    context::{Reviewed, TokenToReview},
};

/// Authenticates the tokens of [`request`], or rejects them.
#[derive(Clone, Copy, Debug)]
enum Review {
    Authenticates,
    Rejects,
}

impl Reviewer for Review {
    fn review<'a>(&'a self, request: ReviewRequest<'a>) -> ReviewFuture<'a> {
        let mut status = ReviewStatus::default();
        status.authenticated = matches!(self, Self::Authenticates);
        status.username = "system:serviceaccount:payments:checkout".to_owned();
        status.uid = "1c6e".to_owned();
        status.audiences = request.audiences().to_vec();
        Box::pin(ready(Ok(status)))
    }
}

fn verifier(issuer: &TestIssuer, reviewer: Option<Review>) -> Verifier {
    let trusted =
        Issuer::new(issuer.url().parse().unwrap()).with_key_set(issuer.key_set().to_string());
    let trusted = match reviewer {
        Some(reviewer) => trusted.with_token_review(reviewer),
        None => trusted,
    };
    Verifier::builder(trusted).audience("orders").build().unwrap()
}

fn request(issuer: &TestIssuer) -> Request<()> {
    let account = serde_json::json!({ "name": "checkout", "uid": "1c6e" });
    let token = issuer.token().audience("orders").service_account("payments", "checkout");
    let token = token.kubernetes_claim("serviceaccount", account).mint();
    Request::builder().header("authorization", format!("Bearer {token}")).body(()).unwrap()
}

/// A service that keeps the extensions of its requests.
#[derive(Clone, Default)]
struct KeepExtensions(Arc<Mutex<Vec<Extensions>>>);

impl Service<Request<()>> for KeepExtensions {
    type Response = Response<Bytes>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Bytes>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        self.0.lock().unwrap().push(request.into_parts().0.extensions);
        ready(Ok(Response::default()))
    }
}

impl KeepExtensions {
    fn last(&self) -> Extensions {
        self.0.lock().unwrap().pop().unwrap()
    }

    fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

fn has_token(extensions: &Extensions) -> bool {
    extensions.get::<TokenToReview<Claimed>>().is_some()
}

fn is_reviewed(extensions: &Extensions) -> bool {
    extensions.get::<Reviewed>().is_some()
}

// rule: review-route
#[tokio::test]
async fn the_token_is_gone_once_it_was_reviewed() {
    let (issuer, inner) = (TestIssuer::start(), KeepExtensions::default());
    let layer = OidcAuthLayer::from(verifier(&issuer, Some(Review::Authenticates)));
    let reviewed = layer.layer(RequireTokenReviewLayer::new().layer(inner.clone()));
    let request = request(&issuer);
    // one waits for its answer, the other one need not
    for _ in 0..2 {
        assert_eq!(reviewed.clone().oneshot(request.clone()).await.unwrap().status(), 200);
        let extensions = inner.last();
        assert!(!has_token(&extensions) && is_reviewed(&extensions));
        assert!(extensions.get::<Verified>().is_some());
    }
    // without a review it is there, for one further in
    let service = layer.layer(inner.clone());
    assert_eq!(service.oneshot(request).await.unwrap().status(), 200);
    let extensions = inner.last();
    assert!(has_token(&extensions) && !is_reviewed(&extensions));
}

#[tokio::test]
async fn the_token_is_gone_where_a_review_is_only_reported() {
    let (issuer, inner) = (TestIssuer::start(), KeepExtensions::default());
    let layer =
        OidcAuthLayer::from(verifier(&issuer, Some(Review::Rejects))).dangerous_report_only();
    let reviewed = layer.layer(RequireTokenReviewLayer::new().layer(inner.clone()));
    let request = request(&issuer);
    for _ in 0..2 {
        assert_eq!(reviewed.clone().oneshot(request.clone()).await.unwrap().status(), 200);
        assert!(!has_token(&inner.last()));
    }
}

#[tokio::test]
async fn where_nobody_can_review_no_token_is_left() {
    let (issuer, inner) = (TestIssuer::start(), KeepExtensions::default());
    let layer = OidcAuthLayer::from(verifier(&issuer, None));
    let service = layer.layer(inner.clone());
    assert_eq!(service.oneshot(request(&issuer)).await.unwrap().status(), 200);
    assert!(!has_token(&inner.last()));
}

// rule: review-route
#[tokio::test]
async fn what_an_earlier_layer_left_is_gone_before_a_layer_decides() {
    let (issuer, other) = (TestIssuer::start(), TestIssuer::start());
    let inner = KeepExtensions::default();
    let token =
        TokenToReview::new(&verifier(&other, Some(Review::Authenticates)), b"of.another.request");
    let request = |with_token: bool| {
        let mut request = if with_token { request(&issuer) } else { Request::new(()) };
        request.extensions_mut().insert(token.clone());
        request.extensions_mut().insert(Reviewed);
        request
    };
    let open = || OidcAuthLayer::from(verifier(&issuer, None)).open_path("/open");
    let reporting = OidcAuthLayer::from(verifier(&issuer, None)).dangerous_report_only();
    for layer in [open(), open().optional(), reporting] {
        for (path, with_token) in [("/open", false), ("/", true), ("/", false)] {
            let mut request = request(with_token);
            *request.uri_mut() = path.parse().unwrap();
            let before = inner.count();
            let _ = layer.layer(inner.clone()).oneshot(request).await.unwrap();
            if inner.count() > before {
                let extensions = inner.last();
                assert!(!has_token(&extensions) && !is_reviewed(&extensions), "{path}");
            }
        }
    }
    // so nobody is let in by it
    for with_token in [true, false] {
        let reviewed = RequireTokenReviewLayer::new().layer(inner.clone());
        let service = open().optional().layer(reviewed);
        assert_eq!(service.oneshot(request(with_token)).await.unwrap().status(), 401);
    }
    assert_eq!(inner.count(), 0);
}

#[test]
fn nothing_of_it_is_shown() {
    let issuer = TestIssuer::start();
    let token = TokenToReview::new(&verifier(&issuer, None), b"secret.of.a.test");
    let mut extensions = Extensions::new();
    extensions.insert(token);
    assert!(!format!("{extensions:?}").contains("secret"));
    let layer = RequireTokenReviewLayer::new();
    assert_eq!(format!("{layer:?}"), "RequireTokenReviewLayer { .. }");
    assert!(extensions.get::<Passed>().is_none());
}
