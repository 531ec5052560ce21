//! `RequireTokenReviewLayer` around single routes of axum.

use super::*;
use axum::{extract::Request as AxumRequest, middleware};
use http::{Extensions, HeaderName};
use kube_oidc_testing::{Endpoint, MockResponse};
use kube_oidc_tests::{Log, caller_name, fast_issuer, http_client, issuer_for, verifier_for};
use std::sync::Mutex;

/// A verifier that asks where it is told to.
fn asking(cluster: &TestIssuer) -> Verifier {
    builder(cluster, review(reviewer(cluster)), &clock()).build().unwrap()
}

#[tokio::test]
async fn only_the_route_that_demands_it_asks() {
    let cluster = fast_issuer();
    let server = serve(&asking(&cluster)).await;
    let token = minted(&cluster).mint();
    for path in ["/", "/anybody", "/", "/anybody"] {
        assert_eq!(ask(&server, path, &token).await.outcome(), GOOD);
    }
    assert_eq!(cluster.token_reviews(), 0);
    for path in ["/reviewed", "/reviewed-anybody", "/reviewed"] {
        assert_eq!(ask(&server, path, &token).await.outcome(), GOOD);
    }
    assert_eq!(asked_about(&cluster), [token.as_str()]);
    // who is gone is refused there, and only there
    cluster.delete_pod("checkout-7f9c");
    let gone = minted(&cluster).mint();
    assert_eq!(ask(&server, "/reviewed", &gone).await.outcome(), DENIED);
    assert_eq!(ask(&server, "/", &gone).await.outcome(), GOOD);
    // and a token that is bad anyway is nobody's question
    let bad = minted(&cluster).expired().mint();
    assert_eq!(ask(&server, "/reviewed", &bad).await.outcome(), (401, Some("expired")));
    assert_eq!(cluster.token_reviews(), 2);
}

#[tokio::test]
async fn refusals_are_those_of_the_layer() {
    let cluster = fast_issuer();
    let verifier = asking(&cluster);
    let server = serve_behind(layer_builder(verifier.clone()).realm("shop"), &verifier).await;
    cluster.respond_with(Endpoint::TokenReview, MockResponse::new(500, ""));
    let answered = ask(&server, "/reviewed", &minted(&cluster).mint()).await;
    assert_eq!(answered.outcome(), UNAVAILABLE);
    assert_eq!(answered.header("retry-after"), Some("1"));
    assert_eq!(answered.header("www-authenticate"), None);

    cluster.reset_response(Endpoint::TokenReview);
    cluster.delete_pod("checkout-7f9c");
    let answered = ask(&server, "/reviewed", &minted(&cluster).mint()).await;
    assert_eq!(answered.outcome(), DENIED);
    let challenge = answered.header("www-authenticate").unwrap();
    assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
    let problem: Value = serde_json::from_str(&answered.body).unwrap();
    // callers are not told what the API server said
    assert_eq!(problem["detail"], "the token was not accepted");
}

// rule: review-route
#[tokio::test]
async fn without_a_layer_around_it_nobody_passes() {
    let cluster = fast_issuer();
    let token = minted(&cluster).mint();
    let verifier = asking(&cluster);
    let missing = HttpServer::start(routes(&verifier)).await;
    let further_in = required(&verifier);
    let further_in = routes(&verifier).layer(layer(verifier)).layer(further_in);
    let further_in = HttpServer::start(further_in).await;
    for (server, path) in [(missing, "/reviewed-anybody"), (further_in, "/anybody")] {
        let answered = ask(&server, path, &token).await;
        assert_eq!(answered.outcome(), (500, Some("misconfigured")));
        assert!(!answered.body.contains("anybody"));
        let nobody = TestResponse::to(http_client().get(format!("{}{path}", server.url()))).await;
        assert_eq!(nobody.status, 500);
    }
    assert_eq!(cluster.token_reviews(), 0);
}

#[tokio::test]
async fn a_layer_for_other_claims_is_none() {
    #[derive(serde::Deserialize)]
    struct Own {}

    let cluster = fast_issuer();
    let verifier = Verifier::builder(issuer_for(&cluster)).claims::<Own>().audience("orders");
    let own = OidcAuthLayer::from(verifier.build().unwrap());
    let server = HttpServer::start(routes(&asking(&cluster)).layer(own)).await;
    let token = minted(&cluster).mint();
    assert_eq!(ask(&server, "/anybody", &token).await.outcome(), GOOD);
    let answered = ask(&server, "/reviewed-anybody", &token).await;
    assert_eq!(answered.outcome(), (500, Some("misconfigured")));
}

#[tokio::test]
async fn who_brings_no_token_does_not_pass() {
    let cluster = fast_issuer();
    let verifier = asking(&cluster);
    let builder = || layer_builder(verifier.clone()).realm("shop");
    let optional = serve_behind(builder().optional(), &verifier).await;
    let open = builder().add_open_path("/reviewed-anybody").add_open_path("/anybody");
    let open = serve_behind(open, &verifier).await;
    let token = minted(&cluster).mint();
    for (server, label) in [(&optional, "optional"), (&open, "open")] {
        let get =
            |path: &str| TestResponse::to(http_client().get(format!("{}{path}", server.url())));
        assert_eq!(get("/anybody").await.outcome(), GOOD, "{label}");
        let answered = get("/reviewed-anybody").await;
        assert_eq!(answered.outcome(), (401, Some("no_credentials")), "{label}");
        assert_eq!(answered.header("www-authenticate"), Some("Bearer realm=\"shop\""), "{label}");
    }
    // a path that is open looks at no token, so there is nobody to ask about
    let answered = ask(&open, "/reviewed-anybody", &token).await;
    assert_eq!(answered.outcome(), (401, Some("no_credentials")));
    assert_eq!(cluster.token_reviews(), 0);
    assert_eq!(ask(&optional, "/reviewed-anybody", &token).await.outcome(), GOOD);
    assert_eq!(ask(&optional, "/reviewed-anybody", "garbage").await.status, 401);
    assert_eq!(cluster.token_reviews(), 1);
}

#[tokio::test]
async fn below_a_layer_that_only_reports_it_reports() {
    let log = Log::catch();
    let (blue, green) = (fast_issuer(), fast_issuer());
    let verifier =
        verifier_for(issuer_for(&blue).with_cluster("b").with_token_review(reviewer(&blue)));
    let reporting = layer_builder(verifier.clone()).dangerous_report_only();
    let server = serve_behind(reporting, &verifier).await;
    verifier.add_issuer(issuer_for(&green).with_cluster("g")).unwrap();
    let of = |cluster: &TestIssuer| minted(cluster).service_account("reported", "x");
    let log_size = || {
        ["review_denied", "review_unavailable", "no_reviewer"]
            .map(|reason| log.lines_with(&["would be refused", &format!("\"{reason}\"")]).len())
    };
    let before = log_size();
    blue.delete_pod("gone");
    let gone = of(&blue).pod("gone").mint();
    assert_eq!(ask(&server, "/reviewed-anybody", &gone).await.outcome(), GOOD);
    blue.respond_with(Endpoint::TokenReview, MockResponse::new(500, ""));
    assert_eq!(ask(&server, "/reviewed-anybody", &of(&blue).mint()).await.outcome(), GOOD);
    assert_eq!(ask(&server, "/reviewed-anybody", &of(&green).mint()).await.outcome(), GOOD);
    let after = log_size();
    // other tests may have logged such lines meanwhile
    assert!(before.iter().zip(after).all(|(before, after)| after > *before), "{after:?}");

    // those whom the layer has reported are reported once, and asked about by nobody
    let reviews = blue.token_reviews();
    let bad = minted(&blue).expired().mint();
    assert_eq!(ask(&server, "/reviewed-anybody", &bad).await.outcome(), GOOD);
    let nobody =
        TestResponse::to(http_client().get(format!("{}/reviewed-anybody", server.url()))).await;
    assert_eq!(nobody.outcome(), GOOD);
    assert_eq!(blue.token_reviews(), reviews);
}

#[tokio::test]
async fn two_of_them_ask_once() {
    let cluster = fast_issuer();
    let verifier = asking(&cluster);
    let required = || required(&verifier);
    let app = Router::new()
        .route("/", get(caller_name).layer(required()))
        .layer(required())
        .layer(required())
        .layer(layer(verifier.clone()));
    let server = HttpServer::start(app).await;
    assert_eq!(ask(&server, "/", &minted(&cluster).mint()).await.outcome(), GOOD);
    assert_eq!(cluster.token_reviews(), 1);
    cluster.delete_pod("checkout-7f9c");
    assert_eq!(ask(&server, "/", &minted(&cluster).mint()).await.outcome(), DENIED);
    assert_eq!(cluster.token_reviews(), 2);
}

#[tokio::test]
async fn token_of_an_outer_layer_is_not_reviewed() {
    let (outer, inner) = (fast_issuer(), fast_issuer());
    let (without, asking) = (verifier_for(&inner), asking(&outer));
    let [outside, inside] = ["x-outer", "x-inner"].map(HeaderName::from_static);
    let app = routes(&asking)
        .layer(layer_builder(without).token_header(inside).build().unwrap())
        .layer(layer_builder(asking).token_header(outside).build().unwrap());
    let server = HttpServer::start(app).await;
    let send = |path: &str| {
        let request = http_client().get(format!("{}{path}", server.url()));
        let request = request.header("x-outer", minted(&outer).mint());
        TestResponse::to(request.header("x-inner", minted(&inner).mint()))
    };
    assert_eq!(send("/").await.outcome(), GOOD);
    // the outer one's token says nothing about the inner one's caller
    assert_eq!(send("/reviewed").await.outcome(), NO_REVIEWER);
    assert_eq!((outer.token_reviews(), inner.token_reviews()), (0, 0));
}

#[tokio::test]
async fn it_finds_the_token_wherever_the_layer_does() {
    let cluster = fast_issuer();
    let named = HeaderName::from_static("x-workload-token");
    let verifier = asking(&cluster);
    let builder = || layer_builder(verifier.clone());
    let builders: [(OidcAuthLayerBuilder<Verifier>, &str, &str); 5] = [
        (builder(), "authorization", "Bearer "),
        (builder().remove_token_header(), "authorization", "bearer   "),
        (builder().token_header(named.clone()), "x-workload-token", ""),
        (
            builder().token_header(named.clone()).remove_token_header(),
            "x-workload-token",
            "Bearer ",
        ),
        (builder().end_streams_at_expiry(), "authorization", "Bearer "),
    ];
    for (builder, header, scheme) in builders {
        let before = cluster.token_reviews();
        let server = serve_behind(builder, &verifier).await;
        let token = minted(&cluster).mint();
        let request = http_client().get(format!("{}/reviewed", server.url()));
        let request = request.header(header, format!("{scheme}{token}"));
        assert_eq!(TestResponse::to(request).await.outcome(), GOOD, "{header} {scheme:?}");
        assert_eq!(asked_about(&cluster)[before..], [token]);
    }
}

/// What a handler keeps of a request outlives it, and leaves no token behind that a later request
/// could be reviewed by.
#[tokio::test]
async fn what_a_handler_keeps_of_a_request_is_no_pass_for_another() {
    let cluster = fast_issuer();
    let kept: Arc<Mutex<Vec<Extensions>>> = Arc::default();
    let keep = Arc::clone(&kept);
    let keeping = async move |request: AxumRequest| {
        keep.lock().unwrap().push(request.extensions().clone());
        "kept"
    };
    let given = Arc::clone(&kept);
    // an outer layer that gives a request what an earlier one had
    let give = move |mut request: AxumRequest, next: middleware::Next| {
        if let Some(earlier) = given.lock().unwrap().last() {
            request.extensions_mut().extend(earlier.clone());
        }
        next.run(request)
    };
    let verifier = asking(&cluster);
    let app = Router::new()
        .route("/plain", get(keeping.clone()))
        .route("/reviewed", get(keeping).layer(required(&verifier)))
        .layer(layer(verifier))
        .layer(middleware::from_fn(give));
    let server = HttpServer::start(app).await;
    let token = minted(&cluster).mint();
    for path in ["/plain", "/reviewed"] {
        assert_eq!(ask(&server, path, &token).await.outcome(), GOOD);
        // the mark, the caller and the token of the earlier one are worth nothing
        cluster.delete_pod("gone");
        let gone = minted(&cluster).pod("gone").mint();
        assert_eq!(ask(&server, "/reviewed", &gone).await.outcome(), DENIED, "{path}");
        let nobody =
            TestResponse::to(http_client().get(format!("{}/reviewed", server.url()))).await;
        assert_eq!(nobody.status, 401, "{path}");
    }
    assert!(kept.lock().unwrap().len() == 2);
    let shown = format!("{:?}", kept.lock().unwrap());
    assert!(token.split('.').all(|part| !shown.contains(part)));
}
