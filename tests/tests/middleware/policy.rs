//! Who may call what.

use axum::{
    Router,
    routing::{get, post},
};
use http::{StatusCode, header::WWW_AUTHENTICATE};
use kube_oidc_testing::TestIssuer;
use kube_oidc_tests::{
    HttpServer, Judge as _, Log, TestResponse, builder_for, http_client, issuer_for,
    layer_builder_for, layer_for, token_for,
};
use tower_kube_oidc::{
    AuthorizeLayer, Caller, Callers, OidcAuthLayer, Policy, ResponseFormat, Rule, Verified,
    Verifier, in_any_cluster, in_namespace,
};

fn token(issuer: &TestIssuer, namespace: &str, name: &str) -> String {
    issuer.token().audience("orders").service_account(namespace, name).mint()
}

async fn send(request: reqwest::RequestBuilder, token: Option<&str>) -> TestResponse {
    TestResponse::to(match token {
        Some(token) => request.bearer_auth(token),
        None => request,
    })
    .await
}

async fn status_of(app: Router, token: Option<&str>) -> u16 {
    let server = HttpServer::start(app).await;
    send(http_client().get(server.url()), token).await.status
}

async fn ok() -> &'static str {
    "ok"
}

/// The agent of a node serves the pods of its own node only.
// rule: policy-by-node
#[tokio::test]
async fn rule_by_node_allows_pods_of_that_node() {
    let log = Log::catch();
    let issuer = TestIssuer::start();
    let rule = || in_namespace("payments").bound_to_pod().on_node("worker-1");
    let app = |rule: Rule| {
        let allow = AuthorizeLayer::only(rule).unwrap();
        Router::new().route("/", get(ok)).layer(allow).layer(layer_for(&issuer))
    };
    let minted = || token_for(&issuer);
    for (token, on_node, elsewhere) in [
        (minted().pod("checkout-0").node("worker-1"), true, false),
        (minted().pod("checkout-0").node("worker-2"), false, true),
        // bound to the node, and to no pod
        (minted().node("worker-1"), false, true),
        // of an API server that writes no nodes
        (minted().pod("checkout-0"), false, false),
    ] {
        let token = token.mint();
        let status = |allowed| if allowed { StatusCode::OK } else { StatusCode::FORBIDDEN };
        assert_eq!(status_of(app(rule().into()), Some(&token)).await, status(on_node));
        assert_eq!(status_of(app(rule().not()), Some(&token)).await, status(elsewhere));
    }
    let denied = log.lines_with(&["on the node \"worker-1\"", "the token names no node"]);
    assert_eq!(denied.len(), 2, "{denied:?}");
    assert!(AuthorizeLayer::only(in_namespace("payments").on_node("")).is_err());
}

#[tokio::test]
async fn rules_for_a_route_and_for_a_router() {
    let issuer = TestIssuer::start();
    let payments = in_namespace("payments");
    let refunds = AuthorizeLayer::only(payments.clone().service_account("refunds")).unwrap();
    let anyone = AuthorizeLayer::only(payments.or(in_namespace("batch"))).unwrap();
    let app = Router::new()
        .route("/orders", get(ok))
        .route("/refunds", post(ok).layer(refunds))
        .layer(anyone)
        .layer(layer_for(&issuer));
    let server = HttpServer::start(app).await;
    let orders = || http_client().get(format!("{}/orders", server.url()));
    let refunds = || http_client().post(format!("{}/refunds", server.url()));
    for (namespace, name, may_order, may_refund) in [
        ("payments", "refunds", true, true),
        ("payments", "checkout", true, false),
        ("batch", "refunds", true, false),
        ("batch", "nightly", true, false),
        ("payments2", "refunds", false, false),
        ("payment", "refunds", false, false),
        ("kube-system", "refunds", false, false),
    ] {
        let token = token(&issuer, namespace, name);
        for (request, may) in [(orders(), may_order), (refunds(), may_refund)] {
            let answered = send(request, Some(&token)).await;
            let expected = if may { StatusCode::OK } else { StatusCode::FORBIDDEN };
            assert_eq!(answered.status, expected, "{namespace}/{name}");
        }
    }
    // who is not even known is not told that something is forbidden
    assert_eq!(send(refunds(), None).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(send(refunds(), Some("garbage")).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_refusal_says_little_to_the_caller_and_the_rule_to_the_log() {
    let log = Log::catch();
    let issuer = TestIssuer::start();
    let policy = Policy::new(in_namespace("ledger").service_account("audit")).unwrap();
    let allow = AuthorizeLayer::builder(policy).realm("orders").build().unwrap();
    let app = Router::new().route("/", get(ok)).layer(allow).layer(layer_for(&issuer));
    let server = HttpServer::start(app).await;
    let token = token(&issuer, "payments", "a-denied-one");
    let answered = send(http_client().get(server.url()), Some(&token)).await;
    assert_eq!(answered.status, StatusCode::FORBIDDEN);
    assert_eq!(
        answered.header(WWW_AUTHENTICATE).unwrap(),
        "Bearer realm=\"orders\", error=\"insufficient_scope\", \
         error_description=\"the caller is not allowed to do this\""
    );
    let problem = answered.json();
    assert_eq!(problem["status"], 403);
    assert!(!answered.body.contains("audit") && !answered.body.contains("a-denied-one"));

    let line = log.lines_with(&["refused", "a-denied-one"]).pop().unwrap();
    for text in [
        "reason=\"policy\"",
        "system:serviceaccount:payments:a-denied-one",
        "callers of the service account \"audit\" in the namespace \"ledger\"",
    ] {
        assert!(line.contains(text), "{line}");
    }
    assert!(!log.text().contains(&token));
}

/// Two clusters that have a namespace, a service account and a uid of the same names.
// rule: cluster-names
#[tokio::test]
async fn a_name_belongs_to_a_cluster() {
    let log = Log::catch();
    let (blue, green) = (TestIssuer::start(), TestIssuer::start());
    let of = |issuer: &TestIssuer, name: &'static str| issuer_for(issuer).with_cluster(name);
    let verifier = builder_for(of(&blue, "blue")).add_issuer(of(&green, "green")).build().unwrap();
    let mint = |issuer: &TestIssuer| token(issuer, "payments", "twin-of-two");
    let (from_blue, from_green) = (mint(&blue), mint(&green));
    let blue_claims = verifier.judge(&from_blue).await.unwrap();
    let green_claims = verifier.judge(&from_green).await.unwrap();
    assert_eq!(blue_claims.service_account(), green_claims.service_account(), "uid and all");

    let named = || Callers::cluster("blue").namespace("payments").service_account("twin-of-two");
    let unnamed = || in_namespace("payments").service_account("twin-of-two");
    let any = || in_any_cluster().namespace("payments").service_account("twin-of-two");
    let yes = StatusCode::OK;
    let no = StatusCode::FORBIDDEN;
    for (rule, blue, green) in [
        (Rule::from(named()), yes, no),
        (unnamed().into(), no, no),
        // what matches nothing is not turned into everything
        (unnamed().not(), no, no),
        (any().into(), yes, yes),
        (Rule::cluster("green"), no, yes),
        (named().or(Rule::cluster("green")), yes, yes),
        (any().and(named().not()), no, yes),
    ] {
        let app = || {
            let allow = AuthorizeLayer::only(rule.clone()).unwrap();
            let layer = OidcAuthLayer::from(verifier.clone());
            Router::new().route("/", get(ok)).layer(allow).layer(layer)
        };
        // cold or warm, it is the same
        for _ in 0..2 {
            assert_eq!(status_of(app(), Some(&from_blue)).await, blue, "{rule}");
            assert_eq!(status_of(app(), Some(&from_green)).await, green, "{rule}");
        }
    }
    let lines = log.lines_with(&["twin-of-two", "the rule names no cluster"]);
    assert!(!lines.is_empty());
}

#[tokio::test]
async fn without_a_layer_around_it_nobody_is_let_through() {
    let log = Log::catch();
    let issuer = TestIssuer::start();
    let token = token(&issuer, "payments", "checkout");
    let allow = || AuthorizeLayer::only(in_namespace("payments")).unwrap();
    let none = Router::new().route("/", get(ok)).layer(allow());
    let wrong_order = Router::new().route("/", get(ok)).layer(layer_for(&issuer)).layer(allow());
    let right_order = Router::new().route("/", get(ok)).layer(allow()).layer(layer_for(&issuer));
    for (app, expected) in [
        (none, StatusCode::INTERNAL_SERVER_ERROR),
        (wrong_order, StatusCode::INTERNAL_SERVER_ERROR),
        (right_order, StatusCode::OK),
    ] {
        assert_eq!(status_of(app, Some(&token)).await, expected);
    }
    let told = log.lines_with(&["ERROR", "no OidcAuthLayer for its type of claims is around it"]);
    assert!(told.len() >= 2);
}

#[tokio::test]
async fn nobody_is_not_somebody() {
    let issuer = TestIssuer::start();
    let anyone = || {
        let policy = Policy::new(Rule::when("anyone", |_| true)).unwrap();
        AuthorizeLayer::builder(policy).realm("inner").build().unwrap()
    };
    let anonymous = layer_builder_for(&issuer).optional().realm("outer").build().unwrap();
    let app = Router::new().route("/", get(ok)).layer(anyone()).layer(anonymous);
    let server = HttpServer::start(app).await;
    let answered = send(http_client().get(server.url()), None).await;
    assert_eq!(answered.status, StatusCode::UNAUTHORIZED);
    // it is the layer's token that is asked for
    assert_eq!(answered.header(WWW_AUTHENTICATE).unwrap(), "Bearer realm=\"outer\"");
    let token = token(&issuer, "payments", "checkout");
    assert_eq!(send(http_client().get(server.url()), Some(&token)).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_policy_is_a_check_on_claims_too() {
    let issuer = TestIssuer::start();
    let verifier = builder_for(&issuer).build();
    let verifier = verifier.unwrap();
    let with_pod = issuer.token().audience("orders").pod("p-1").node("n-1").mint();
    let caller = verifier.judge(&with_pod).await.unwrap();
    let allows = |rule: Rule| Policy::new(rule).unwrap().check(&caller).is_ok();
    assert!(allows(in_namespace("*").bound_to_pod().bound_to_node().into()));
    assert!(allows(Rule::audience("orders")));
    assert!(!allows(Rule::audience("order")));
    assert!(allows(Rule::when("its pod", |who| who.pod().is_some_and(|pod| pod.name() == "p-1"))));
    let bare = verifier.judge(issuer.token().audience("orders").mint()).await.unwrap();
    assert!(Policy::new(in_namespace("*").bound_to_pod()).unwrap().check(&bare).is_err());
}

#[tokio::test]
async fn claims_of_ones_own_have_policies_too() {
    #[derive(serde::Deserialize)]
    struct Worker {
        client_id: String,
    }
    let issuer = TestIssuer::start();
    let verifier = Verifier::builder(issuer_for(&issuer))
        .claims::<Worker>()
        .audience("orders")
        .build()
        .unwrap();
    let rule = Rule::when_claims("client 7", |who: &Verified<Worker>| who.client_id == "7");
    let greet = |Caller(who): Caller<Worker>| async move { who.client_id.clone() };
    let app = Router::new()
        .route("/", get(greet))
        .layer(AuthorizeLayer::from(Policy::try_from(rule).unwrap()))
        .layer(OidcAuthLayer::from(verifier));
    for (client_id, expected) in [("7", StatusCode::OK), ("8", StatusCode::FORBIDDEN)] {
        let token = issuer.token().bare().audience("orders").claim("client_id", client_id).mint();
        assert_eq!(status_of(app.clone(), Some(&token)).await, expected);
    }
}

/// Behind a proxy that goes by the HTTP status, a caller could choose gRPC's 200.
// rule: response-format
#[tokio::test]
async fn a_policy_answers_in_the_form_that_the_layer_was_told() {
    let issuer = TestIssuer::start();
    let token = token(&issuer, "payments", "checkout");
    let builder = || AuthorizeLayer::builder(Policy::new(in_namespace("ledger")).unwrap());
    let denying = || builder().build().unwrap();
    let denying_in = |format| builder().response_format(format).build().unwrap();
    let app = |allow: AuthorizeLayer, layer: OidcAuthLayer| {
        Router::new().route("/", post(ok)).layer(allow).layer(layer)
    };
    let builder = || layer_builder_for(&issuer).response_format(ResponseFormat::Http);
    let http = || builder().build().unwrap();
    let open = || builder().add_open_path_for([http::Method::POST], "/").build().unwrap();
    let bare = Router::new().route("/", post(ok)).layer(denying());
    // a layer further in, whose refusal counts as much
    let inner = |outer: OidcAuthLayer| {
        let stranger = TestIssuer::start();
        Router::new().route("/", post(ok)).layer(layer_for(&stranger)).layer(outer)
    };
    // and an extractor below one that lets pass who has no token of its own issuer
    let extracting = |inner: OidcAuthLayer| {
        let handler = post(|_: Caller| async { "ok" });
        Router::new().route("/", handler).layer(inner).layer(open())
    };
    let stranger = TestIssuer::start();
    for (app, expected) in [
        (
            extracting(layer_builder_for(&stranger).dangerous_report_only().build().unwrap()),
            StatusCode::UNAUTHORIZED,
        ),
        (app(denying(), http()), StatusCode::FORBIDDEN),
        (app(denying(), builder().dangerous_report_only().build().unwrap()), StatusCode::OK),
        // gRPC has its own status
        (app(denying(), layer_for(&issuer)), StatusCode::OK),
        (app(denying_in(ResponseFormat::Http), layer_for(&issuer)), StatusCode::FORBIDDEN),
        (app(denying_in(ResponseFormat::Auto), http()), StatusCode::OK),
        (bare, StatusCode::INTERNAL_SERVER_ERROR),
        (inner(http()), StatusCode::UNAUTHORIZED),
        (inner(open()), StatusCode::UNAUTHORIZED),
        (inner(layer_for(&issuer)), StatusCode::OK),
    ] {
        let server = HttpServer::start(app).await;
        let request = http_client().post(server.url()).header("te", "trailers");
        let request = request.header("content-type", "application/grpc");
        assert_eq!(send(request, Some(&token)).await.status, expected);
    }
}
