//! The layer in front of a real axum server, asked by a real client.

use std::time::Duration;

use axum::{
    Router,
    extract::Request,
    middleware::{self, Next},
    response::Response,
    routing::get,
};
use http::{HeaderMap, StatusCode, header::AUTHORIZATION};
use kube_oidc_testing::{Endpoint, MockResponse, TestIssuer};
use kube_oidc_tests::{
    HttpServer, Log, TestResponse, caller_name, http_client, issuer_for, layer_builder_for,
    layer_for, token_for,
};
use reqwest::RequestBuilder;
use serde_json::json;
use tower_kube_oidc::{
    BuildError, Caller, IssuerUrl, OidcAuthLayer, OidcAuthLayerError, ServiceAccountClaims,
    Verified, Verifier,
};

fn url(issuer: &TestIssuer) -> IssuerUrl {
    issuer.url().parse().unwrap()
}

async fn serve(layer: OidcAuthLayer) -> HttpServer {
    HttpServer::start(Router::new().route("/", get(caller_name)).layer(layer)).await
}

async fn ask(server: &HttpServer, authorization: &[&str]) -> TestResponse {
    let request = http_client().get(server.url());
    let add = |request: RequestBuilder, value: &&str| request.header(AUTHORIZATION, *value);
    TestResponse::to(authorization.iter().fold(request, add)).await
}

#[tokio::test]
async fn the_one_line_compiles_and_works() {
    let issuer_of_tests = TestIssuer::start();
    let issuer: IssuerUrl = url(&issuer_of_tests);
    let app = Router::new().route("/", get(caller_name)).layer(OidcAuthLayer::new(issuer));
    let server = HttpServer::start(app).await;
    // the default audience is the issuer
    let token = issuer_of_tests.token().service_account("payments", "checkout").mint();
    let answered = ask(&server, &[&format!("Bearer {token}")]).await;
    assert_eq!((answered.status, answered.body.as_str()), (200, "payments/checkout"));
}

#[tokio::test]
async fn the_table_of_answers() {
    let issuer = TestIssuer::start();
    let server = serve(layer_for(&issuer)).await;
    let minted = || issuer.token().audience("orders");
    let good = minted().mint();
    for scheme in ["Bearer", "bearer", "BEARER"] {
        assert_eq!(ask(&server, &[&format!("{scheme} {good}")]).await.status, StatusCode::OK);
    }

    let nothing = "Bearer realm=\"kubernetes\"";
    let request = "Bearer realm=\"kubernetes\", error=\"invalid_request\", error_description=\"there is not exactly one readable bearer token\"";
    let token = |text: &str| {
        format!(
            "Bearer realm=\"kubernetes\", error=\"invalid_token\", error_description=\"{text}\""
        )
    };
    let (not_accepted, expired, audience) = (
        token("the token was not accepted"),
        token("the token has expired"),
        token("the token is for another audience"),
    );
    let bearer = |token: String| format!("Bearer {token}");
    let two = bearer(good.clone());
    for (sent, status, challenge) in [
        (vec![], 401, nothing),
        (vec!["Basic dXNlcjpwYXNz".to_owned()], 401, nothing),
        (vec!["Bearer".to_owned()], 400, request),
        (vec!["Bearer ".to_owned()], 400, request),
        (vec!["Bearer a b".to_owned()], 400, request),
        (vec!["Bearer \"a\"".to_owned()], 400, request),
        (vec![two.clone(), two.clone()], 400, request),
        (vec![two, "Basic dXNlcjpwYXNz".to_owned()], 400, request),
        (vec![bearer("garbage".to_owned())], 401, &not_accepted),
        (vec![bearer("a".repeat(100_000))], 401, &not_accepted),
        (vec![bearer(format!("{good}x"))], 401, &not_accepted),
        (vec![bearer(minted().header("alg", "none").mint())], 401, &not_accepted),
        (vec![bearer(minted().claim("iss", "https://evil.example").mint())], 401, &not_accepted),
        (vec![bearer(minted().claim("nbf", 9_999_999_999_u64).mint())], 401, &not_accepted),
        (vec![bearer(minted().claim("sub", "system:admin").mint())], 401, &not_accepted),
        (vec![bearer(minted().expired().mint())], 401, &expired),
        (vec![bearer(issuer.token().audience("vault").mint())], 401, &audience),
        // what is said of a token needs its signature to be good
        (vec![bearer(minted().expired().signature("x").mint())], 401, &not_accepted),
        (vec![bearer(issuer.token().audience("v").signature("x").mint())], 401, &not_accepted),
    ] {
        let sent: Vec<&str> = sent.iter().map(String::as_str).collect();
        let answered = ask(&server, &sent).await;
        assert_eq!(answered.status, status, "{challenge}");
        assert_eq!(answered.header("www-authenticate"), Some(challenge));
        assert_eq!(answered.header("content-type"), Some("application/problem+json"));
        let problem = answered.json();
        assert_eq!(problem["status"], json!(status));
        assert_eq!(problem["type"], json!("about:blank"));
        assert!(problem["title"].is_string() && problem["detail"].is_string());
    }
}

#[tokio::test]
async fn what_cannot_be_known_without_keys_is_503_and_the_rest_is_not() {
    let issuer = TestIssuer::start();
    issuer.respond_with(Endpoint::Jwks, MockResponse::new(500, ""));
    let server = serve(layer_for(&issuer)).await;
    let minted = || issuer.token().audience("orders");
    for _ in 0..2 {
        let answered = ask(&server, &[&format!("Bearer {}", minted().mint())]).await;
        assert_eq!(answered.status, StatusCode::SERVICE_UNAVAILABLE);
        let retry_after: u64 = answered.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&retry_after));
        assert_eq!(answered.header("www-authenticate"), None);
        assert_eq!(answered.json()["status"], json!(503));
    }
    for (token, status) in [
        (minted().expired().mint(), 401),
        (issuer.token().audience("vault").mint(), 401),
        ("garbage".to_owned(), 401),
    ] {
        let answered = ask(&server, &[&format!("Bearer {token}")]).await;
        assert_eq!(answered.status, status);
        assert!(
            answered.header("www-authenticate").unwrap().contains("the token was not accepted")
        );
    }
    assert_eq!(ask(&server, &[]).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(ask(&server, &["Bearer"]).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_realm_of_ones_own() {
    let issuer = TestIssuer::start();
    let server = serve(layer_builder_for(&issuer).realm("shop, a").build().unwrap()).await;
    let answered = ask(&server, &[]).await;
    assert_eq!(answered.header("www-authenticate"), Some("Bearer realm=\"shop, a\""));
}

// rule: audience-required
#[tokio::test]
async fn the_default_audience_warns_once_whatever_the_number_of_routes() {
    let log = Log::catch();
    let issuer = TestIssuer::start();
    let layer = OidcAuthLayer::new(url(&issuer));
    let mut app = Router::new();
    for index in 0..10 {
        app = app.route(&format!("/{index}"), get(caller_name));
    }
    let server = HttpServer::start(app.layer(layer.clone()).layer(layer)).await;
    let warnings = log.lines_with(&["WARN", issuer.url(), "no audience is set"]);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("to the API server and to every other service"));
    drop(server);

    let silent = TestIssuer::start();
    let layer = OidcAuthLayer::builder(url(&silent)).audience("orders").build().unwrap();
    drop(serve(layer).await);
    assert!(log.lines_with(&["WARN", silent.url()]).is_empty());
}

#[tokio::test]
async fn an_audience_replaces_the_default() {
    let issuer = TestIssuer::start();
    let layer = OidcAuthLayer::builder(url(&issuer)).audiences(["orders", "refunds"]);
    let server = serve(layer.build().unwrap()).await;
    for (audience, status) in [("orders", 200), ("refunds", 200), (issuer.url(), 401)] {
        let token = issuer.token().audience(audience).mint();
        let answered = ask(&server, &[&format!("Bearer {token}")]).await;
        assert_eq!(answered.status, status, "{audience}");
    }
    let preset = OidcAuthLayer::builder(url(&issuer)).dangerous_api_server_audiences();
    let server = serve(preset.build().unwrap()).await;
    for (audience, status) in [
        (issuer.url(), 200),
        ("https://kubernetes.default.svc", 200),
        ("https://kubernetes.default.svc.cluster.local", 200),
        ("orders", 401),
    ] {
        let token = issuer.token().audience(audience).mint();
        let answered = ask(&server, &[&format!("Bearer {token}")]).await;
        assert_eq!(answered.status, status, "{audience}");
    }
}

// rule: layer-narrows
#[tokio::test]
async fn a_layer_narrows_its_verifier_and_never_loosens_it() {
    let issuer = TestIssuer::start();
    let verifier =
        Verifier::builder(issuer_for(&issuer)).audiences(["orders", "refunds"]).build().unwrap();
    let narrowed = |audiences: &[&str]| {
        OidcAuthLayer::builder_for(verifier.clone()).narrow_audiences(audiences.to_vec()).build()
    };
    let layer = |audiences: &[&str]| narrowed(audiences).unwrap();
    let app = Router::new()
        .route("/orders", get(caller_name).layer(layer(&["orders"])))
        .route("/refunds", get(caller_name).layer(layer(&["refunds"])))
        .route("/both", get(caller_name).layer(layer(&["refunds", "orders"])))
        .route("/any", get(caller_name).layer(OidcAuthLayer::from(verifier.clone())));
    let server = HttpServer::start(app).await;
    let client = http_client();
    let mut requests = Vec::new();
    for (audience, accepted_at) in [
        (&["orders"][..], &["/orders", "/both", "/any"][..]),
        (&["refunds"], &["/refunds", "/both", "/any"]),
        (&["orders", "refunds"], &["/orders", "/refunds", "/both", "/any"]),
        (&["other"], &[]),
        (&["other", "orders"], &["/orders", "/both", "/any"]),
    ] {
        let token = audience.iter().fold(issuer.token(), |t, audience| t.audience(audience)).mint();
        for path in ["/orders", "/refunds", "/both", "/any"] {
            requests.push((path, token.clone(), accepted_at.contains(&path)));
        }
    }
    // cold, warm, and in the other order
    let forth = requests.iter();
    let back = requests.iter().rev();
    for (path, token, accepted) in forth.chain(back) {
        let response =
            client.get(format!("{}{path}", server.url())).bearer_auth(token).send().await.unwrap();
        assert_eq!(response.status().is_success(), *accepted, "{path}");
    }
    assert_eq!(issuer.key_fetches(), 1, "the layers share one cache");

    // no layer accepts an audience that its verifier does not
    for audiences in [&["other"][..], &["orders", "other"]] {
        let error = narrowed(audiences).unwrap_err();
        assert!(
            matches!(&error, OidcAuthLayerError::UnknownAudience(name) if name == "other"),
            "{error:?}"
        );
    }
    let error = narrowed(&[]).unwrap_err();
    assert!(matches!(error, OidcAuthLayerError::NoAudience), "{error:?}");
}

#[tokio::test]
async fn the_routes_of_an_app_share_one_cache() {
    let issuer = TestIssuer::start();
    let app = Router::new()
        .route("/a", get(caller_name))
        .route("/b", get(caller_name))
        .layer(layer_for(&issuer));
    let server = HttpServer::start(app).await;
    let token = issuer.token().audience("orders").mint();
    let client = http_client();
    for path in ["/a", "/b", "/a", "/nowhere"] {
        let request = client.get(format!("{}{path}", server.url())).bearer_auth(&token);
        request.send().await.unwrap();
    }
    assert_eq!(issuer.key_fetches(), 1);
}

// rule: audience-required
#[test]
fn missing_or_blank_audience_is_a_build_error() {
    let builder = || OidcAuthLayer::builder("https://issuer.example".parse::<IssuerUrl>().unwrap());
    let error = builder().build().unwrap_err();
    assert!(matches!(error, OidcAuthLayerError::Verifier(BuildError::NoAudience)), "{error:?}");
    for builder in [
        builder().audience(""),
        builder().audience(" "),
        builder().audiences(["orders", " "]),
        builder().audience("orders").add_audience(""),
    ] {
        let error = builder.build().unwrap_err();
        let is_empty = matches!(error, OidcAuthLayerError::Verifier(BuildError::EmptyAudience));
        assert!(is_empty, "{error:?}");
    }
}

#[tokio::test]
async fn without_the_layer_there_is_no_caller() {
    let server = HttpServer::start(Router::new().route("/", get(caller_name))).await;
    let answered = ask(&server, &["Bearer whatever"]).await;
    assert_eq!(answered.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(answered.header("content-type"), Some("application/problem+json"));

    let whoever = async |caller: Option<Caller>| format!("{}", caller.is_some());
    let server = HttpServer::start(Router::new().route("/", get(whoever))).await;
    assert_eq!(ask(&server, &[]).await.status, StatusCode::INTERNAL_SERVER_ERROR);
}

// rule: layer-marks
#[tokio::test]
async fn a_caller_that_was_there_before_is_removed() {
    // something outside puts a made-up caller into the extensions
    async fn forge(mut request: Request, next: Next) -> Response {
        let claims = ServiceAccountClaims::for_test("kube-system", "admin");
        request.extensions_mut().insert(Verified::dangerous_without_verification(claims));
        next.run(request).await
    }
    let issuer = TestIssuer::start();
    let app = Router::new()
        .route("/", get(caller_name))
        .layer(layer_for(&issuer))
        .layer(middleware::from_fn(forge));
    let server = HttpServer::start(app).await;
    assert_eq!(ask(&server, &[]).await.status, StatusCode::UNAUTHORIZED);
    let token = token_for(&issuer).mint();
    let answered = ask(&server, &[&format!("Bearer {token}")]).await;
    assert_eq!(answered.body, "payments/checkout");
}

#[tokio::test]
async fn handlers_are_tested_without_an_issuer() {
    let claims = ServiceAccountClaims::for_test("payments", "checkout");
    let caller = Caller(Verified::dangerous_without_verification(claims));
    assert_eq!(caller_name(caller).await, "payments/checkout");
}

#[tokio::test]
async fn the_authorization_value_is_hidden_from_what_comes_after() {
    async fn show(headers: HeaderMap) -> String {
        format!("{:?}", headers.get(AUTHORIZATION))
    }
    let issuer = TestIssuer::start();
    let layer = layer_for(&issuer);
    let server = HttpServer::start(Router::new().route("/", get(show)).layer(layer)).await;
    let token = issuer.token().audience("orders").mint();
    let answered = ask(&server, &[&format!("Bearer {token}")]).await;
    assert_eq!(answered.body, "Some(Sensitive)");
}

#[tokio::test]
async fn own_claims_have_their_own_caller() {
    #[derive(serde::Deserialize)]
    struct Worker {
        client_id: String,
    }
    async fn id(Caller(who): Caller<Worker>) -> String {
        format!("{} of {}", who.client_id, who.registered().issuer())
    }
    let issuer = TestIssuer::start();
    let verifier = Verifier::builder(issuer_for(&issuer))
        .claims::<Worker>()
        .audience("orders")
        .build()
        .unwrap();
    let app = Router::new().route("/", get(id)).route_layer(OidcAuthLayer::from(verifier));
    let server = HttpServer::start(app).await;
    let token = issuer
        .token()
        .bare()
        .audience("orders")
        .claim("client_id", "worker-7")
        .expires_in(Duration::from_secs(60))
        .mint();
    let answered = ask(&server, &[&format!("Bearer {token}")]).await;
    assert_eq!(answered.body, format!("worker-7 of {}", issuer.url()));
}
