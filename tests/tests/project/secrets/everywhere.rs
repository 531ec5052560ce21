//! Everything at once, at the finest level of the log, and nothing of a token to be seen.

use kube_oidc::{KeySource, source::HttpFetcher};
use std::{
    fmt::Debug,
    panic,
    sync::{Mutex, MutexGuard, Once, PoisonError},
};

use axum::{extract::Request, routing::any};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use http_body_util::{BodyExt as _, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use kube_oidc_testing::{Endpoint, MockResponse, TokenBuilder};
use kube_oidc_tests::{
    GrpcServer, WhoAmI, builder_for, fast_issuer, issuer_for, issuer_via, issuer_with, token_for,
    verifier_for,
};
use kube_oidc_token_review::KubeReviewer;
use tonic::transport::{Endpoint as Channel, Server};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tower::{Layer as _, ServiceExt as _};
use tower_kube_oidc::{
    AuthorizeLayer, OidcAuthLayerBuilder, Passed, Policy, Readiness, ReadinessProbe,
    RequireTokenReviewLayer, ServiceAccountTokenLayer, Verified, in_namespace,
    token_review::TokenReviewConfig,
};

use super::*;

/// What is seen of tokens: the log from now on, and whatever else is told.
struct Seen {
    log: Log,
    told: Vec<String>,
}

impl Seen {
    fn new() -> Self {
        Self { log: Log::catch(), told: Vec::new() }
    }

    fn tell(&mut self, text: impl Into<String>) {
        self.told.push(text.into());
    }

    fn show(&mut self, value: &impl Debug) {
        self.tell(format!("{value:?} {value:#?}"));
    }

    fn show_error(&mut self, error: &(impl std::error::Error + 'static)) {
        let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
        while let Some(error) = next {
            self.tell(format!("{error} {error:?}"));
            next = error.source();
        }
    }

    fn log(&self) -> String {
        self.log.text()
    }

    /// All of it, and it has these words: so it was looked for where it could be.
    #[track_caller]
    fn assert_hides(&self, hidden: &Hidden, words: &[&str]) {
        let (log, told) = (self.log(), self.told.join("\n"));
        hidden.assert_hidden_in("the log", &log);
        hidden.assert_hidden_in("what was told", &told);
        for word in words {
            assert!(log.contains(word) || told.contains(word), "{word} is nowhere");
        }
    }
}

/// What panics of this process said, those of other tests too.
static PANICS: Mutex<String> = Mutex::new(String::new());

fn panics() -> MutexGuard<'static, String> {
    PANICS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Listens to panics from now on. Those on purpose are told to nobody else.
fn catch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let text = info.to_string();
            panics().push_str(&text);
            if !text.contains(ON_PURPOSE) {
                before(info);
            }
        }));
    });
}

const ON_PURPOSE: &str = WhoAmI::PANICS;

fn start_issuer() -> TestIssuer {
    let issuer = fast_issuer();
    issuer.delete_pod("deleted");
    issuer
}

fn minted(issuer: &TestIssuer) -> TokenBuilder {
    token_for(issuer).pod("checkout-7d9f")
}

fn trusted(issuer: &TestIssuer) -> Issuer {
    issuer_for(issuer).with_cluster("blue")
}

/// Asks the API server of the issuer's cluster.
fn reviewer(issuer: &TestIssuer) -> KubeReviewer {
    KubeReviewer::from_config(kube_client::Config::new(issuer.base_url().parse().unwrap())).unwrap()
}

/// Tokens that come to every decision there is.
fn of_every_kind(issuer: &TestIssuer) -> Vec<String> {
    let minted = || minted(issuer);
    let stranger = SigningKey::generate(SigningAlgorithm::EdDsa);
    vec![
        minted().mint(),
        minted().service_account("elsewhere", "other").mint(),
        minted().pod("deleted").mint(),
        minted().expired().mint(),
        minted().claim("nbf", 9_999_999_999_u64).mint(),
        minted().claim("aud", "vault").mint(),
        minted().claim("iss", "https://unknown.example").mint(),
        minted().signed_by(&stranger).mint(),
        minted().forged_by(&stranger).mint(),
        minted().header("alg", "none").signature("").mint(),
        minted().header("typ", "at+jwt").mint(),
        minted().header("crit", vec!["x"]).mint(),
        minted().without_claim("exp").mint(),
        minted().claim("sub", "system:serviceaccount:payments:other").mint(),
        minted().payload_text(r#"{"iss":"not to its end"#).mint(),
        minted().header_text(r#"{"alg":"ES256","alg":"ES256"}"#).mint(),
        issuer.token().legacy("payments", "checkout").mint(),
        format!("{}.and-a-fourth-part-of-it", minted().mint()),
        format!("{}=", minted().mint()),
        minted().claim("padding", "x".repeat(20_000)).mint(),
    ]
}

#[tokio::test]
async fn explanations_errors_and_claims_show_nothing_of_a_token() {
    let mut seen = Seen::new();
    let issuer = start_issuer();
    let tokens = of_every_kind(&issuer);
    let hidden = Hidden::of(&tokens);
    let reviewed = TokenReviewConfig::new(reviewer(&issuer));
    let kinds = [
        builder_for(trusted(&issuer)),
        builder_for(trusted(&issuer)).token_cache(0),
        builder_for(trusted(&issuer)).token_cache_digests(),
        builder_for(trusted(&issuer)).require_single_audience().reject_past_warn_after(),
        builder_for(trusted(&issuer).with_token_review(reviewed)).require_token_review(),
        builder_for(issuer_with(&issuer, KeySource::fixed(issuer.key_set().to_string()))),
    ];
    for kind in kinds {
        let verifier = kind.clone().build().unwrap();
        // those whose keys are not here, then those that are remembered
        for round in 0..3 {
            for token in &tokens {
                let explanation = verifier.explain(token);
                seen.tell(format!("{explanation} {}", explanation.one_line()));
                seen.show(&explanation);
                seen.show(&verifier.verify_with_cached_keys(token));
                let verdicts =
                    [verifier.verify(token).await, verifier.verify_with_review(token).await];
                for verdict in verdicts {
                    match verdict {
                        Ok(caller) => {
                            seen.show(&caller);
                            seen.show(&(caller.claims(), caller.registered(), caller.user_info()));
                            seen.show(&(caller.service_account(), caller.pod(), caller.node()));
                            let denied = Policy::new(in_namespace("nowhere")).unwrap();
                            seen.show_error(&denied.check(&caller).unwrap_err());
                            if let (2, Some(jti)) = (round, caller.registered().jti()) {
                                verifier.deny_jti(jti);
                            }
                        }
                        Err(error) => {
                            seen.show_error(&error);
                            seen.tell(error.reason().to_string());
                        }
                    }
                }
                match verifier.verify_to_token_data(token).await {
                    Ok(data) => seen.show(&data),
                    Err(error) => seen.show_error(&error),
                }
            }
            seen.show(&(&verifier, verifier.status(), Readiness::any(&verifier)));
        }
        verifier.distrust_key(issuer.url(), issuer.signing_key().kid());
        verifier.refresh_keys().await.unwrap();
        seen.show(&verifier.verify(&tokens[0]).await);
        seen.show(&(&kind, &verifier, verifier.status()));
    }
    seen.assert_hides(
        &hidden,
        &["expired", "denied", "no_reviewer", "review_denied", "payments", "checkout-7d9f"],
    );
}

/// Shows all that a handler may.
async fn show(request: Request) -> impl axum::response::IntoResponse {
    let extensions = request.extensions();
    let (caller, passed) = (extensions.get::<Verified>(), extensions.get::<Passed>());
    let shown = format!("{request:?} {:?} {caller:?} {passed:?}", request.headers());
    tracing::trace!(?request, shown, "a handler");
    // as a header too, as far as one can be
    let header = HeaderValue::from_str(&shown).unwrap();
    ([(HeaderName::from_static("x-shown"), header)], shown)
}

async fn fail(request: Request) {
    panic!("{ON_PURPOSE}: {request:?} {:?}", request.headers());
}

/// Routes below every layer that looks at callers.
fn routes(
    layer: OidcAuthLayerBuilder<kube_oidc::Verifier>,
    review: RequireTokenReviewLayer,
) -> Router {
    let chatty = layer
        .on_outcome(|outcome, request| tracing::trace!(?outcome, ?request, "chatty"))
        .map_rejection(|rejection, request, answer| {
            tracing::trace!(?rejection, %rejection, ?request, ?answer, "chatty");
            answer
        });
    Router::new()
        .route("/", any(show))
        .route("/allowed", any(show).layer(AuthorizeLayer::only(in_namespace("payments")).unwrap()))
        .route("/reviewed", any(show).layer(review))
        .route("/panics", any(fail))
        .layer(chatty.build().unwrap())
}

// rule: logs-without-tokens
#[tokio::test]
async fn requests_of_every_kind_and_panics_show_nothing_of_a_token() {
    let mut seen = Seen::new();
    catch_panics();
    let issuer = start_issuer();
    let tokens = of_every_kind(&issuer);
    let mut hidden = Hidden::of(&tokens);
    let verifier = |issuer: Issuer| verifier_for(issuer);
    let reviewed = || trusted(&issuer).with_token_review(TokenReviewConfig::new(reviewer(&issuer)));
    let named = HeaderName::from_static("x-workload-token");
    let plain = [
        OidcAuthLayer::builder_for(verifier(reviewed())),
        OidcAuthLayer::builder_for(verifier(reviewed())).optional(),
        OidcAuthLayer::builder_for(verifier(reviewed())).dangerous_report_only(),
        OidcAuthLayer::builder_for(verifier(trusted(&issuer))).remove_token_header(),
        OidcAuthLayer::builder_for(verifier(reviewed()))
            .end_streams_at_expiry()
            .add_open_path("/panics"),
        OidcAuthLayer::builder_for(verifier(trusted(&issuer))).remove_token_header().optional(),
        OidcAuthLayer::builder_for(builder_for(reviewed()).require_token_review().build().unwrap()),
    ];
    let elsewhere = || OidcAuthLayer::builder_for(verifier(reviewed())).token_header(named.clone());
    let elsewhere = [elsewhere(), elsewhere().dangerous_report_only()];
    let layers = plain.map(|layer| (layer, AUTHORIZATION)).into_iter();
    let layers = layers.chain(elsewhere.map(|layer| (layer, named.clone())));
    let review = RequireTokenReviewLayer::new(&verifier(reviewed())).unwrap();
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    for (layer, header) in layers {
        let server = HttpServer::start(routes(layer, review.clone())).await;
        for token in &tokens {
            for path in ["/", "/allowed", "/reviewed", "/panics"] {
                let request = Request::post(format!("{}{path}", server.url()))
                    .header(&header, format!("Bearer {token}"))
                    .body(Full::default())
                    .unwrap();
                // a handler that panics ends the connection
                match client.request(request).await {
                    Ok(response) => {
                        seen.show(&response);
                        let body = response.into_body().collect().await.unwrap().to_bytes();
                        seen.tell(String::from_utf8(body.to_vec()).unwrap());
                    }
                    Err(error) => seen.show_error(&error),
                }
            }
        }
    }
    seen.tell(panics().clone());
    let words = [
        "a handler that panics: Request",
        "review_denied",
        "no_reviewer",
        "would be refused",
        "Sensitive",
    ];
    seen.assert_hides(&hidden, &words);
    // had one been shown in any of these ways, it would have been found. This one is shown to the
    // tests beside this one too, so only what no other token has in common with it
    let shown = minted(&issuer).mint();
    let signature = shown.rsplit('.').next().unwrap();
    hidden.add(&shown);
    tracing::trace!(signature, "of a token");
    assert!(hidden.shown_in(&seen.log()).is_some());
    let panicked = panic::catch_unwind(|| panic!("{ON_PURPOSE}: {:?}", signature.as_bytes()));
    assert!(panicked.is_err());
    assert!(hidden.shown_in(&panics()).is_some());
}

// rule: logs-without-tokens
#[tokio::test]
async fn fetching_keys_and_asking_an_api_server_show_nothing_of_their_tokens() {
    let mut seen = Seen::new();
    let issuer = TestIssuer::builder().tls().algorithm(SigningAlgorithm::Es256).start();
    let own = start_issuer();
    // the token that this service shows to its issuer, in a file
    let credential = own.token().audience("https://kubernetes.default.svc").mint();
    let token = minted(&issuer).mint();
    let hidden = Hidden::of([&credential, &token]);
    let ca = issuer.ca_pem().lines().filter(|line| !line.starts_with('-')).collect::<String>();
    let ca = STANDARD.decode(ca).unwrap();
    let file = std::env::temp_dir().join(format!("kube-oidc-fetch-{}", fastrand::u64(..)));
    let echo = |status| MockResponse::new(status, format!("who sent {credential} and {token}?"));
    let elsewhere = format!("http://localhost:1/?{credential}");
    let with_status = |status: &str| {
        let kind = r#""kind":"TokenReview","apiVersion":"authentication.k8s.io/v1""#;
        MockResponse::new(201, format!(r#"{{{kind},"status":{status}}}"#))
    };
    let answers = [
        MockResponse::new(200, issuer.key_set().to_string()),
        echo(200),
        echo(401),
        echo(403),
        echo(500),
        MockResponse::new(302, "").with_header("location", &elsewhere),
        MockResponse::new(200, "{}").with_header("cache-control", &credential),
        MockResponse::truncated(credential.clone()),
        MockResponse::new(200, format!(r#"{{"keys":"{credential}"}}"#)),
        with_status(&format!(r#"{{"error":"{token}"}}"#)),
        with_status(&format!(r#""{token}""#)),
        with_status(&format!(r#"{{"error":"no {}"}}"#, &token[40..80])),
        MockResponse::new(429, token.clone()).with_header("retry-after", &credential),
    ];
    for content in
        [credential.clone(), format!("{credential}\n"), format!("{credential}\0x"), String::new()]
    {
        std::fs::write(&file, &content).unwrap();
        let mut authenticated = kube_client::Config::new(issuer.base_url().parse().unwrap());
        authenticated.root_cert = Some(vec![ca.clone()]);
        authenticated.auth_info.token_file = Some(file.to_str().unwrap().to_owned());
        for answer in &answers {
            for endpoint in [Endpoint::Discovery, Endpoint::Jwks, Endpoint::TokenReview] {
                issuer.respond_with(endpoint, answer.clone());
                let reviewer = KubeReviewer::from_config(authenticated.clone()).unwrap();
                seen.show(&reviewer);
                let review = TokenReviewConfig::new(reviewer).fail_closed();
                let fetcher = HttpFetcher::new()
                    .with_root_certificates_pem(issuer.ca_pem())
                    .unwrap()
                    .with_bearer_token_file(&file)
                    .with_header("x-also", &credential)
                    .unwrap();
                seen.show(&fetcher);
                let issuer_of = issuer_via(&issuer, fetcher).with_token_review(review);
                let builder = builder_for(issuer_of.clone()).require_token_review();
                let verifier = builder.clone().build().unwrap();
                seen.show(&(issuer_of, builder));
                for _ in 0..2 {
                    match verifier.verify(&token).await {
                        Ok(caller) => seen.show(&caller),
                        Err(error) => seen.show_error(&error),
                    }
                    seen.show(&verifier.refresh_keys().await);
                    seen.show(&(verifier.status(), &verifier));
                    seen.tell(verifier.explain(&token).to_string());
                }
                let probe = ReadinessProbe::new(Readiness::any(&verifier));
                let request = http::Request::new(Full::<Bytes>::default());
                let ready = probe.oneshot(request).await.unwrap();
                let body = ready.into_body().collect().await.unwrap().to_bytes();
                seen.tell(String::from_utf8_lossy(&body));
                issuer.reset_response(endpoint);
            }
        }
    }
    std::fs::remove_file(file).unwrap();
    // by the libraries too, of which some log by another facade
    let words = [
        "could not be fetched",
        "failed to review tokens",
        " rustls::client::",
        " hyper_util::client::",
    ];
    seen.assert_hides(&hidden, &words);
}

// rule: logs-without-tokens
#[tokio::test]
async fn from_caller_to_callee_nothing_of_a_token_is_shown() {
    let mut seen = Seen::new();
    catch_panics();
    let issuer = start_issuer();
    let file = std::env::temp_dir().join(format!("kube-oidc-call-{}", fastrand::u64(..)));
    let tokens = of_every_kind(&issuer);
    let hidden = Hidden::of(&tokens);
    let verifier = verifier_for(trusted(&issuer).with_token_review(reviewer(&issuer)));
    let review = RequireTokenReviewLayer::new(&verifier).unwrap();
    let layer = OidcAuthLayer::builder_for(verifier.clone());
    let callee = HttpServer::start(routes(layer, review)).await;
    let protection = OidcAuthLayer::builder_for(verifier).end_streams_at_expiry().build().unwrap();
    let grpc = GrpcServer::start(|incoming| {
        let mut server = Server::builder().layer(protection);
        server.add_service(WhoAmI::server()).serve_with_incoming(incoming)
    })
    .await;
    for token in &tokens {
        std::fs::write(&file, token).unwrap();
        let from_file = || ServiceAccountTokenLayer::from_file(&file);
        let layer = from_file().for_origin(callee.url().parse().unwrap());
        let client = layer.layer(Client::builder(TokioExecutor::new()).build_http());
        let request = Request::get(callee.url()).body(Full::<Bytes>::default()).unwrap();
        let call = client.clone().oneshot(request);
        seen.show(&(&layer, &client, &call));
        match call.await {
            Ok(response) => seen.show(&response),
            Err(error) => seen.show_error(&error),
        }
        let layer = from_file().for_channel(grpc.url().parse().unwrap());
        let channel = Channel::from_shared(grpc.url()).unwrap().connect_lazy();
        let channel = layer.layer(channel);
        seen.show(&(&layer, &channel));
        let mut client = HealthClient::new(channel);
        match client.check(HealthCheckRequest::default()).await {
            Ok(answer) => seen.show(&answer),
            Err(status) => seen.show_error(&status),
        }
        let panics = HealthCheckRequest { service: WhoAmI::PANICS.to_owned() };
        match client.check(panics).await {
            Ok(answer) => seen.show(&answer),
            Err(status) => seen.show_error(&status),
        }
        if let Ok(stream) = client.watch(HealthCheckRequest::default()).await {
            seen.show(&stream);
        }
    }
    std::fs::remove_file(file).unwrap();
    seen.tell(panics().clone());
    let words = [
        "x-caller",
        "payments/checkout",
        "Unauthenticated",
        "Sensitive",
        "a handler that panics: Request { metadata: MetadataMap",
    ];
    seen.assert_hides(&hidden, &words);
}
