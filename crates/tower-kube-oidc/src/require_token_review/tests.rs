use std::{
    cell::Cell,
    convert::Infallible,
    future::{Future, Ready, ready},
    pin::Pin,
    rc::Rc,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Extensions, Request, Response};
use kube_oidc::{
    Issuer, KeySource, Verified, Verifier,
    token_review::{ReviewFuture, ReviewRequest, ReviewStatus, Reviewer},
};
use kube_oidc_testing::TestIssuer;
use tower::ServiceExt as _;
use tower_layer::Layer as _;
use tower_service::Service;

use super::{RequireTokenReviewLayer, RequireTokenReviewLayerError, decide::ReviewClaims};
use crate::{
    AuthorizeLayer, OidcAuthLayer, Passed, Rejection,
    context::{Reviewed, TokenToReview},
    in_namespace,
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

fn trusted(issuer: &TestIssuer) -> Issuer {
    Issuer::with_key_source(
        issuer.url().parse().unwrap(),
        KeySource::fixed(issuer.key_set().to_string()),
    )
}

fn verifier(issuer: &TestIssuer, reviewer: Option<Review>) -> Verifier {
    let trusted = match reviewer {
        Some(reviewer) => trusted(issuer).with_token_review(reviewer),
        None => trusted(issuer),
    };
    Verifier::builder(trusted).audience("orders").build().unwrap()
}

fn required(verifier: &Verifier) -> RequireTokenReviewLayer {
    RequireTokenReviewLayer::new(verifier).unwrap()
}

/// The status of a response, and the reason of a rejection.
fn result<B>(response: Result<Response<B>, Infallible>) -> (u16, Option<&'static str>) {
    let response = response.unwrap();
    let rejection = response.extensions().get::<Rejection>();
    (response.status().as_u16(), rejection.map(Rejection::reason))
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
    extensions.get::<TokenToReview<ReviewClaims>>().is_some()
}

fn is_reviewed(extensions: &Extensions) -> bool {
    extensions.get::<Reviewed>().is_some()
}

// rule: review-route
#[tokio::test]
async fn the_token_is_gone_once_it_was_reviewed() {
    let (issuer, inner) = (TestIssuer::start(), KeepExtensions::default());
    let verifier = verifier(&issuer, Some(Review::Authenticates));
    let reviewed = required(&verifier).layer(inner.clone());
    let layer = OidcAuthLayer::from(verifier);
    let reviewed = layer.layer(reviewed);
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
    let verifier = verifier(&issuer, Some(Review::Rejects));
    let reviewed = required(&verifier).layer(inner.clone());
    let reviewed = OidcAuthLayer::builder_for(verifier)
        .dangerous_report_only()
        .build()
        .unwrap()
        .layer(reviewed);
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
    let token = TokenToReview::<ReviewClaims>::new(&verifier(&issuer, None), b"of.another.request");
    let request = |with_token: bool| {
        let mut request = if with_token { request(&issuer) } else { Request::new(()) };
        request.extensions_mut().insert(token.clone());
        request.extensions_mut().insert(Reviewed);
        request
    };
    let open = || OidcAuthLayer::builder_for(verifier(&issuer, None)).add_open_path("/open");
    let reporting = OidcAuthLayer::builder_for(verifier(&issuer, None)).dangerous_report_only();
    for layer in [open(), open().optional(), reporting] {
        let layer = layer.build().unwrap();
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
        let reviewed = required(&verifier(&other, Some(Review::Authenticates)));
        let reviewed = reviewed.layer(inner.clone());
        let service = open().optional().build().unwrap().layer(reviewed);
        assert_eq!(service.oneshot(request(with_token)).await.unwrap().status(), 401);
    }
    assert_eq!(inner.count(), 0);
}

#[test]
fn nothing_of_it_is_shown() {
    let mut extensions = Extensions::new();
    extensions.insert(TokenToReview::<ReviewClaims>::new(
        &verifier(&TestIssuer::start(), None),
        b"secret.of.a.test",
    ));
    assert!(!format!("{extensions:?}").contains("secret"));
    assert!(extensions.get::<Passed>().is_none());
}

#[tokio::test]
async fn layer_with_another_verifier_than_the_outer_layer_rejects_each_request() {
    let issuer = TestIssuer::start();
    let [accepting, rejecting] =
        [Review::Authenticates, Review::Rejects].map(|reviewer| verifier(&issuer, Some(reviewer)));
    for (outer, own, expected) in [
        (&accepting, &accepting.clone(), (200, None)),
        (&accepting, &rejecting, (500, Some("misconfigured"))),
        (&rejecting, &accepting, (500, Some("misconfigured"))),
        // the outer layer leaves a token only where its verifier could have it reviewed
        (&verifier(&issuer, None), &accepting, (401, Some("no_reviewer"))),
    ] {
        let reviewed = required(own).layer(KeepExtensions::default());
        let service = OidcAuthLayer::from(outer.clone()).layer(reviewed);
        // the first request waits for its review, and the second one need not
        for _ in 0..2 {
            assert_eq!(result(service.clone().oneshot(request(&issuer)).await), expected);
        }
    }
}

// rule: review-scope
#[tokio::test]
async fn issuer_without_a_reviewer_is_an_error_of_the_layer() {
    let (blue, green, late) = (TestIssuer::start(), TestIssuer::start(), TestIssuer::start());
    let reviewed = trusted(&blue).with_cluster("blue").with_token_review(Review::Authenticates);
    let verifier = Verifier::builder(reviewed)
        .add_issuer(trusted(&green).with_cluster("green"))
        .audience("orders");
    let verifier = verifier.build().unwrap();
    let error = RequireTokenReviewLayer::new(&verifier).unwrap_err();
    let of_green =
        RequireTokenReviewLayerError::MissingReviewer(format!("{} (green)", green.url()));
    assert_eq!(error, of_green);
    assert_eq!(
        error.to_string(),
        format!(
            "missing reviewer of the issuer \"{} (green)\"; call `Issuer::with_token_review`",
            green.url()
        )
    );
    let error = RequireTokenReviewLayer::builder(&verifier).realm("a\"b").build().unwrap_err();
    let invalid_realm = RequireTokenReviewLayerError::InvalidRealm;
    assert_eq!(error, RequireTokenReviewLayerError::Multiple(vec![of_green, invalid_realm]));

    // an issuer that is added after the layer was built
    assert!(verifier.remove_issuer(green.url()));
    let reviewed = required(&verifier).layer(KeepExtensions::default());
    let service = OidcAuthLayer::from(verifier.clone()).layer(reviewed);
    verifier.add_issuer(trusted(&late).with_cluster("late")).unwrap();
    for (issuer, expected) in [(&blue, (200, None)), (&late, (401, Some("no_reviewer")))] {
        assert_eq!(result(service.clone().oneshot(request(issuer)).await), expected);
    }
}

#[test]
fn inner_service_is_accessible() {
    let verifier = verifier(&TestIssuer::start(), Some(Review::Authenticates));
    let mut service = required(&verifier).layer(7);
    *service.get_mut() += 1;
    assert_eq!((*service.get_ref(), service.into_inner()), (8, 8));
}

/// A service that counts its requests, and stays on its thread, as does its future.
#[derive(Clone, Default)]
struct LocalCount(Rc<Cell<usize>>);

impl Service<Request<()>> for LocalCount {
    type Response = Response<Bytes>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Bytes>, Infallible>>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        let count = Rc::clone(&self.0);
        Box::pin(async move {
            count.set(count.get() + 1);
            Ok(Response::default())
        })
    }
}

#[tokio::test]
async fn service_without_send_works_behind_every_layer() {
    let (issuer, inner) = (TestIssuer::start(), LocalCount::default());
    let verifier = verifier(&issuer, Some(Review::Authenticates));
    let allowed = AuthorizeLayer::only(in_namespace("payments")).unwrap().layer(inner.clone());
    let reviewed = required(&verifier).layer(allowed);
    let service = OidcAuthLayer::from(verifier).layer(reviewed);
    // the first request waits for its review, and the second one need not
    for count in [1, 2] {
        assert_eq!(result(service.clone().oneshot(request(&issuer)).await), (200, None));
        assert_eq!(inner.0.get(), count);
    }
}
