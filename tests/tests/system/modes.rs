//! What a layer can be told beside what it expects of tokens: whom it lets pass, where the token
//! is, and who hears of it.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    Json, Router,
    body::Body,
    extract::Request,
    middleware::{self, Next},
    response::Response,
    routing::{any, get},
};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER, TE, WWW_AUTHENTICATE},
};
use http_body_util::BodyExt as _;
use kube_oidc::clock::ManualClock;
use kube_oidc_testing::{Answer, Endpoint, SigningAlgorithm, SigningKey, TestIssuer};
use kube_oidc_tests::{HttpServer, Log};
use serde_json::{Value, json};
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_kube_oidc::{
    Allow, Caller, Issuer, OidcAuthLayer, Outcome, Passed, Policy, Rejection, ServiceAccountClaims,
    Verified, Verifier, VerifierBuilder, VerifyError, in_namespace,
};
use tracing::Instrument as _;

/// An issuer that is quick to start.
fn start_issuer() -> TestIssuer {
    TestIssuer::builder().algorithm(SigningAlgorithm::Es256).start()
}

fn builder(issuer: &TestIssuer) -> VerifierBuilder {
    Verifier::builder(Issuer::new(issuer.url().parse().unwrap())).audience("orders")
}

/// A layer with keys of its own, which are still to be fetched.
fn layer(issuer: &TestIssuer) -> OidcAuthLayer {
    OidcAuthLayer::from(builder(issuer).build().unwrap()).realm("shop")
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

fn good(issuer: &TestIssuer) -> String {
    bearer(&issuer.token().audience("orders").service_account("payments", "checkout").mint())
}

const BASIC: &str = "Basic dXNlcjpwYXNz";

/// Says what a handler finds.
async fn look(request: Request) -> Json<Value> {
    let extensions = request.extensions();
    let passed = extensions.get::<Passed>();
    let how = |passed: &Passed| {
        let flags = [passed.is_open_path(), passed.is_anonymous(), passed.is_report_only()];
        match flags {
            [true, false, _] => "open path",
            [false, true, false] => "anonymous",
            [false, false, true] => "report only",
            other => panic!("it passed in one way: {other:?}"),
        }
    };
    let values = |name: &str| -> Vec<String> {
        let values = request.headers().get_all(name).iter();
        values.map(|value| value.to_str().unwrap().to_owned()).collect()
    };
    let shown = request.headers().iter();
    let shown: Value = shown.map(|(name, value)| (name.as_str(), format!("{value:?}"))).collect();
    Json(json!({
        "caller": extensions.get::<Verified>().map(|who| who.subject().to_owned()),
        "passed": passed.map(how),
        "would be": passed.and_then(Passed::would_be_rejected).map(Rejection::reason),
        "authorization": values("authorization"),
        "x-workload-token": values("x-workload-token"),
        "shown": shown,
    }))
}

async fn subject(Caller(who): Caller) -> String {
    who.subject().to_owned()
}

async fn perhaps(caller: Option<Caller>) -> String {
    caller.map_or("nobody".to_owned(), |Caller(who)| who.subject().to_owned())
}

fn routes() -> Router {
    Router::new()
        .route("/look", any(look))
        .route("/caller", get(subject))
        .route("/maybe", get(perhaps))
}

fn app(layer: OidcAuthLayer) -> Router {
    routes().layer(layer)
}

#[derive(Debug)]
struct Answered {
    status: u16,
    headers: HeaderMap,
    /// What a layer outside learns.
    rejection: Option<Rejection>,
    body: String,
}

impl Answered {
    fn header(&self, name: impl AsRef<str>) -> Option<&str> {
        self.headers.get(name.as_ref()).map(|value| value.to_str().unwrap())
    }

    fn reason(&self) -> Option<&'static str> {
        self.rejection.as_ref().map(Rejection::reason)
    }

    /// What the handler found.
    fn found(&self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        serde_json::from_str(&self.body).unwrap()
    }
}

type Headers<'a> = &'a [(&'a str, &'a str)];

fn request(path: &str, headers: Headers<'_>) -> Request {
    let mut request = Request::get(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::empty()).unwrap()
}

async fn send(app: &Router, request: Request) -> Answered {
    let response = app.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answered {
        status: parts.status.as_u16(),
        headers: parts.headers,
        rejection: parts.extensions.get::<Rejection>().cloned(),
        body: String::from_utf8(body.to_vec()).unwrap(),
    }
}

async fn ask(app: &Router, path: &str, headers: Headers<'_>) -> Answered {
    send(app, request(path, headers)).await
}

async fn with(app: &Router, path: &str, authorization: &[&str]) -> Answered {
    let headers: Vec<_> = authorization.iter().map(|value| ("authorization", *value)).collect();
    ask(app, path, &headers).await
}

const CHECKOUT: &str = "system:serviceaccount:payments:checkout";

/// Values of `Authorization` that are refused wherever a token counts, with status and reason.
fn broken(issuer: &TestIssuer) -> Vec<(Vec<String>, u16, &'static str)> {
    let minted = || issuer.token().audience("orders");
    let stranger = SigningKey::generate(SigningAlgorithm::Es256).with_kid("stranger");
    let (one, basic) = (|value: &str| vec![value.to_owned()], BASIC.to_owned());
    vec![
        (one("Bearer"), 400, "invalid_request"),
        (one("bearer"), 400, "invalid_request"),
        (one("Bearer "), 400, "invalid_request"),
        (one("Bearer a b"), 400, "invalid_request"),
        (one("Bearer a, Bearer b"), 400, "invalid_request"),
        (one("Bearer \"a\""), 400, "invalid_request"),
        (vec![good(issuer), good(issuer)], 400, "invalid_request"),
        (vec![good(issuer), basic.clone()], 400, "invalid_request"),
        (vec![basic.clone(), good(issuer)], 400, "invalid_request"),
        // none of the two is ours; of two headers nobody says which one counts
        (vec![basic.clone(), basic], 400, "invalid_request"),
        (one("Bearer garbage"), 401, "malformed"),
        (one(&format!("{}x", good(issuer))), 401, "malformed"),
        (one(&bearer(&minted().expired().mint())), 401, "expired"),
        (one(&bearer(&issuer.token().audience("vault").mint())), 401, "audience"),
        (one(&bearer(&issuer.token().mint())), 401, "audience"),
        (one(&bearer(&minted().claim("iss", "https://b.example").mint())), 401, "unknown_issuer"),
        (one(&bearer(&minted().header("alg", "none").mint())), 401, "algorithm"),
        (one(&bearer(&minted().signature("x").mint())), 401, "signature"),
        (one(&bearer(&minted().forged_by(&stranger).mint())), 401, "signature"),
        (one(&bearer(&minted().signed_by(&stranger).mint())), 401, "unknown_key"),
    ]
}

fn borrowed(values: &[String]) -> Vec<&str> {
    values.iter().map(String::as_str).collect()
}

/// Without keys, and never to get any.
fn go_silent(issuer: &TestIssuer) {
    issuer.answer(Endpoint::Keys, Answer::new(500, ""));
}

#[tokio::test]
async fn optional_lets_those_pass_who_bring_no_token() {
    let issuer = start_issuer();
    let app = app(layer(&issuer).optional());
    let nothing: [&[&str]; 6] =
        [&[], &[BASIC], &["Negotiate YII="], &["Bearerx a"], &["Bear"], &[""]];
    for sent in nothing {
        let found = with(&app, "/look", sent).await.found();
        assert_eq!(found["caller"], Value::Null);
        assert_eq!(found["passed"], "anonymous");
        assert_eq!(found["would be"], Value::Null);
        assert_eq!(found["authorization"], json!(sent), "it is left to the handler");
        assert_eq!(with(&app, "/maybe", sent).await.body, "nobody");
        // a handler that insists on a caller answers as the layer would
        let refused = with(&app, "/caller", sent).await;
        assert_eq!(refused.status, 401);
        assert_eq!(refused.header(WWW_AUTHENTICATE), Some("Bearer realm=\"shop\""));
        assert_eq!(refused.header(CONTENT_TYPE), Some("application/problem+json"));
        assert_eq!(refused.reason(), Some("no_credentials"));
    }
    assert_eq!(issuer.requests().len(), 0, "nobody asked for keys");
    // what another header holds is not looked at
    let elsewhere = ask(&app, "/maybe", &[("x-workload-token", &good(&issuer))]).await;
    assert_eq!(elsewhere.body, "nobody");
    // the first one waits for keys, the second does not
    for _ in 0..2 {
        let found = with(&app, "/look", &[&good(&issuer)]).await.found();
        assert_eq!((found["caller"].as_str(), &found["passed"]), (Some(CHECKOUT), &Value::Null));
        assert_eq!(with(&app, "/maybe", &[&good(&issuer)]).await.body, CHECKOUT);
        assert_eq!(with(&app, "/caller", &[&good(&issuer)]).await.body, CHECKOUT);
    }
}

#[tokio::test]
async fn optional_refuses_every_token_that_is_not_good() {
    let issuer = start_issuer();
    for (sent, status, reason) in broken(&issuer) {
        let required = app(layer(&issuer));
        let optional = app(layer(&issuer).optional());
        // without keys at first, then with them
        for _ in 0..2 {
            let expected = with(&required, "/look", &borrowed(&sent)).await;
            let answered = with(&optional, "/look", &borrowed(&sent)).await;
            assert_eq!((answered.status, answered.reason()), (status, Some(reason)));
            assert_eq!(answered.header(WWW_AUTHENTICATE), expected.header(WWW_AUTHENTICATE));
            assert_eq!(answered.body, expected.body, "as if it were required");
            assert_eq!(with(&optional, "/maybe", &[&good(&issuer)]).await.body, CHECKOUT);
            assert_eq!(with(&required, "/maybe", &[&good(&issuer)]).await.body, CHECKOUT);
        }
    }
}

#[tokio::test]
async fn optional_without_keys_serves_those_who_need_none() {
    let issuer = start_issuer();
    go_silent(&issuer);
    let app = app(layer(&issuer).optional());
    for _ in 0..2 {
        let answered = with(&app, "/look", &[&good(&issuer)]).await;
        assert_eq!((answered.status, answered.reason()), (503, Some("keys_unavailable")));
        let retry_after: u64 = answered.header(RETRY_AFTER).unwrap().parse().unwrap();
        assert!((1..=60).contains(&retry_after));
        assert_eq!(with(&app, "/maybe", &[]).await.body, "nobody");
        assert_eq!(with(&app, "/maybe", &[BASIC]).await.body, "nobody");
        assert_eq!(with(&app, "/maybe", &["Bearer"]).await.status, 400);
        assert_eq!(with(&app, "/maybe", &["Bearer x"]).await.status, 401);
    }
}

/// The marks that layers leave on requests, one of each kind.
async fn marks(issuer: &TestIssuer) -> Vec<Passed> {
    let hand_out = service_fn(async |request: Request| {
        let mut response = Response::new(Body::empty());
        let mark = request.extensions().get::<Passed>().unwrap().clone();
        response.extensions_mut().insert(mark);
        Ok::<_, std::convert::Infallible>(response)
    });
    let mut marks = Vec::new();
    for (layer, sent) in [
        (layer(issuer).open_path("/"), vec![]),
        (layer(issuer).optional(), vec![]),
        (layer(issuer).dangerous_report_only(), vec![]),
        (layer(issuer).dangerous_report_only(), vec![good(issuer)]),
    ] {
        let headers: Vec<_> = sent.iter().map(|value| ("authorization", value.as_str())).collect();
        let response = layer.layer(hand_out).oneshot(request("/", &headers)).await.unwrap();
        marks.push(response.extensions().get::<Passed>().unwrap().clone());
    }
    marks
}

#[tokio::test]
async fn what_was_there_before_is_gone_before_any_decision() {
    let issuer = start_issuer();
    let admin = ServiceAccountClaims::for_test("kube-system", "admin");
    let admin = Verified::dangerous_without_verification(admin);
    let admins_only = || Allow::only(in_namespace("kube-system"));
    let garbage = "Bearer garbage".to_owned();
    for mark in marks(&issuer).await {
        let forged = |path, sent: &[String]| {
            let sent: Vec<_> = sent.iter().map(|value| ("authorization", value.as_str())).collect();
            let mut request = request(path, &sent);
            request.extensions_mut().insert(admin.clone());
            request.extensions_mut().insert(mark.clone());
            request
        };
        let good = || vec![good(&issuer)];
        let is = |caller: Option<&str>, passed: Option<&str>, would_be: Option<&str>| {
            Some(json!([caller, passed, would_be]))
        };
        let open = || layer(&issuer).open_path("/look").open_path("/caller");
        // what the handler finds, if it is called; and what a policy for the forged caller says
        for (layer, sent, found, allowed) in [
            (layer(&issuer), vec![], None, 401),
            (layer(&issuer), vec![garbage.clone()], None, 401),
            (layer(&issuer), good(), is(Some(CHECKOUT), None, None), 403),
            (layer(&issuer).optional(), vec![], is(None, Some("anonymous"), None), 401),
            (layer(&issuer).optional(), vec![garbage.clone()], None, 401),
            (layer(&issuer).optional(), good(), is(Some(CHECKOUT), None, None), 403),
            (open(), vec![], is(None, Some("open path"), None), 401),
            (open(), good(), is(None, Some("open path"), None), 401),
            (
                layer(&issuer).dangerous_report_only(),
                vec![],
                is(None, Some("report only"), Some("no_credentials")),
                200,
            ),
            (
                layer(&issuer).dangerous_report_only(),
                vec![garbage.clone()],
                is(None, Some("report only"), Some("malformed")),
                200,
            ),
            (
                layer(&issuer).dangerous_report_only(),
                good(),
                is(Some(CHECKOUT), Some("report only"), None),
                200,
            ),
        ] {
            let shown = format!("{layer:?} {mark:?}");
            let (bare, held) = (app(layer.clone()), routes().layer(admins_only()).layer(layer));
            // waits for keys the first time, where a token is looked at
            for _ in 0..2 {
                let answered = send(&bare, forged("/look", &sent)).await;
                let seen = (answered.status == 200).then(|| answered.found());
                let seen =
                    seen.map(|seen| json!([seen["caller"], seen["passed"], seen["would be"]]));
                assert_eq!(seen, found, "{shown}");
                let caller = send(&bare, forged("/caller", &sent)).await.body;
                assert!(!caller.contains("admin"), "{shown}");
                assert_eq!(send(&held, forged("/look", &sent)).await.status, allowed, "{shown}");
            }
        }
    }
}

/// Asks, and finds the lines that were logged for it, by a span of its own.
async fn logged(
    log: &Log,
    app: &Router,
    path: &str,
    authorization: &[&str],
) -> (Answered, Vec<String>) {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let id = NUMBER.fetch_add(1, Ordering::Relaxed);
    let answered = with(app, path, authorization).instrument(tracing::info_span!("mode", id)).await;
    (answered, log.lines_with(&[&format!("mode{{id={id}}}")]))
}

fn reported<'a>(lines: &'a [String], reason: &str) -> Vec<&'a String> {
    let reason = format!("reason=\"{reason}\"");
    lines.iter().filter(|l| l.contains("would be refused") && l.contains(&reason)).collect()
}

#[tokio::test]
async fn report_only_refuses_nobody_and_says_what_would_have_been() {
    let log = Log::catch();
    let issuer = start_issuer();
    let mut sent = broken(&issuer);
    sent.push((vec![], 401, "no_credentials"));
    sent.push((vec![BASIC.to_owned()], 401, "no_credentials"));
    for (sent, status, reason) in sent {
        let required = app(layer(&issuer));
        let reporting = app(layer(&issuer).dangerous_report_only());
        for _ in 0..2 {
            let (answered, lines) = logged(&log, &reporting, "/look", &borrowed(&sent)).await;
            let found = answered.found();
            assert_eq!(found["caller"], Value::Null, "{reason}");
            assert_eq!(found["passed"], "report only");
            assert_eq!(found["would be"], reason);
            assert_eq!(reported(&lines, reason).len(), 1, "{lines:?}");
            assert!(lines.iter().all(|line| !line.contains(": refused ")), "{lines:?}");
            assert_eq!(answered.reason(), None);
            assert_eq!(with(&reporting, "/maybe", &borrowed(&sent)).await.body, "nobody");
            // a handler that insists on a caller answers as the layer would have
            let refused = with(&reporting, "/caller", &borrowed(&sent)).await;
            let would_be = with(&required, "/caller", &borrowed(&sent)).await;
            assert_eq!((refused.status, refused.reason()), (status, Some(reason)));
            assert_eq!(refused.headers, would_be.headers);
            assert_eq!(refused.body, would_be.body);
            // from here on the keys are here
            assert_eq!(with(&required, "/look", &[&good(&issuer)]).await.status, 200);
            let (answered, lines) = logged(&log, &reporting, "/look", &[&good(&issuer)]).await;
            let found = answered.found();
            assert_eq!(
                (&found["caller"], &found["passed"]),
                (&json!(CHECKOUT), &json!("report only"))
            );
            assert_eq!(found["would be"], Value::Null);
            assert!(lines.iter().all(|line| !line.contains("refused")), "{lines:?}");
        }
    }
}

#[tokio::test]
async fn report_only_without_keys_refuses_nobody() {
    let log = Log::catch();
    let issuer = start_issuer();
    go_silent(&issuer);
    let app = app(layer(&issuer).dangerous_report_only());
    for _ in 0..2 {
        let (answered, lines) = logged(&log, &app, "/look", &[&good(&issuer)]).await;
        let found = answered.found();
        assert_eq!(
            (&found["caller"], &found["would be"]),
            (&Value::Null, &json!("keys_unavailable"))
        );
        assert_eq!(reported(&lines, "keys_unavailable").len(), 1, "{lines:?}");
        let (refused, lines) = logged(&log, &app, "/caller", &[&good(&issuer)]).await;
        assert_eq!((refused.status, refused.reason()), (503, Some("keys_unavailable")));
        assert!(lines.iter().any(|line| line.contains(": refused ")), "{lines:?}");
        assert!(refused.header(RETRY_AFTER).is_some());
    }
}

#[tokio::test]
async fn report_only_takes_the_policies_below_along() {
    let log = Log::catch();
    let issuer = start_issuer();
    let admins = Allow::only(in_namespace("kube-system"));
    let reporting = layer(&issuer).dangerous_report_only();
    let app = routes().layer(admins.clone()).layer(admins).layer(reporting.clone());
    for _ in 0..2 {
        for (sent, reason, lines_told) in [
            // the layer is told of once, and the policies have nobody to look at
            (vec![], "no_credentials", 1),
            (vec!["Bearer".to_owned()], "invalid_request", 1),
            (vec![bearer(&issuer.token().audience("vault").mint())], "audience", 1),
            // two policies deny a caller whose token is good
            (vec![good(&issuer)], "policy", 2),
        ] {
            let (answered, lines) = logged(&log, &app, "/look", &borrowed(&sent)).await;
            assert_eq!(answered.found()["passed"], "report only");
            assert_eq!(reported(&lines, reason).len(), lines_told, "{lines:?}");
            assert!(lines.iter().all(|line| !line.contains(": refused ")), "{lines:?}");
        }
    }
    // a policy that allows the caller has nothing to say
    let payments = Allow::only(in_namespace("payments"));
    let app = routes().layer(payments).layer(reporting);
    let (answered, lines) = logged(&log, &app, "/look", &[&good(&issuer)]).await;
    assert_eq!(answered.found()["caller"], CHECKOUT);
    assert!(lines.iter().all(|line| !line.contains("refused")), "{lines:?}");
}

#[tokio::test]
async fn report_only_refuses_nobody_on_an_open_path_either() {
    let issuer = start_issuer();
    let payments = Allow::only(in_namespace("payments"));
    let reporting = layer(&issuer).dangerous_report_only().open_path("/look");
    let app = routes().layer(payments).layer(reporting);
    for sent in [vec![], vec![good(&issuer)]] {
        // another path passes the policy, since it is only reported
        assert_eq!(with(&app, "/maybe", &borrowed(&sent)).await.status, 200);
        // so one that was opened on top of that must pass as well
        assert_eq!(with(&app, "/look", &borrowed(&sent)).await.status, 200);
    }
}

/// A layer of which a good token is over by the time that the service has been called.
fn ending(issuer: &TestIssuer) -> (OidcAuthLayer, String, ManualClock) {
    let end = SystemTime::now() + Duration::from_secs(3600);
    let end = end.duration_since(UNIX_EPOCH).unwrap().as_secs();
    let end = UNIX_EPOCH + Duration::from_secs(end);
    let clock = ManualClock::at(end - Duration::from_secs(1));
    let verifier = builder(issuer).leeway(Duration::ZERO).clock(clock.clone()).build().unwrap();
    let token = issuer.token().audience("orders").expires_at(end).mint();
    (OidcAuthLayer::from(verifier).realm("shop").end_streams_at_expiry(), bearer(&token), clock)
}

/// Reads a whole answer, or not all of it.
async fn read(app: Router, authorization: &str) -> Result<String, axum::Error> {
    let request = request("/", &[("authorization", authorization)]);
    let body = app.oneshot(request).await.unwrap().into_body().collect().await?.to_bytes();
    Ok(String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn report_only_ends_no_call_when_its_token_expires() {
    let issuer = start_issuer();
    let serve = |layer: OidcAuthLayer, clock: ManualClock| {
        let late = move || async move {
            clock.advance(Duration::from_secs(2));
            "whole"
        };
        Router::new().route("/", get(late)).layer(layer)
    };
    let (layer, token, clock) = ending(&issuer);
    read(serve(layer, clock), &token).await.unwrap_err();
    let (layer, token, clock) = ending(&issuer);
    let body = read(serve(layer.dangerous_report_only(), clock), &token).await;
    assert_eq!(body.unwrap(), "whole", "who brings no token is not cut off either");
}

#[tokio::test]
async fn a_call_that_ends_with_its_token_is_answered_like_every_refusal() {
    let issuer = start_issuer();
    let (layer, token, clock) = ending(&issuer);
    let app = |layer: OidcAuthLayer, clock: ManualClock| {
        let never = move || async move {
            clock.advance(Duration::from_secs(2));
            std::future::pending::<&str>().await
        };
        Router::new().route("/", get(never)).layer(layer)
    };
    let answered = with(&app(layer, clock), "/", &[&token]).await;
    assert_eq!(answered.status, 401);
    assert_eq!(answered.reason(), Some("expired"), "answers carry their rejection");

    let (layer, token, clock) = ending(&issuer);
    let mapped = layer.map_rejection(|_, _, mut answer| {
        answer.headers_mut().insert("x-mapped", HeaderValue::from_static("yes"));
        answer
    });
    let answered = with(&app(mapped, clock), "/", &[&token]).await;
    assert_eq!(answered.header("x-mapped"), Some("yes"), "each answer can be changed");
}

#[tokio::test]
async fn the_innermost_of_two_layers_decides_who_calls() {
    let (a, b) = (start_issuer(), start_issuer());
    let nested = |outer: OidcAuthLayer, inner: OidcAuthLayer| routes().layer(inner).layer(outer);
    let inner = |issuer: &TestIssuer| layer(issuer).realm("inner");
    let outer = |issuer: &TestIssuer| layer(issuer).realm("outer");
    let realm = |answered: &Answered| {
        let challenge = answered.header(WWW_AUTHENTICATE).unwrap_or_default();
        if challenge.contains("realm=\"inner\"") { "inner" } else { "outer" }
    };
    let (of_a, of_b) = (vec![good(&a)], vec![good(&b)]);
    let none: Vec<String> = vec![];
    for (app, sent, who_refuses) in [
        // each issuer's token is refused by the other's layer
        (nested(outer(&a), inner(&b)), &of_a, Some("inner")),
        (nested(outer(&a), inner(&b)), &of_b, Some("outer")),
        (nested(outer(&a), inner(&b)), &none, Some("outer")),
        (nested(outer(&a).optional(), inner(&a)), &none, Some("inner")),
        (nested(outer(&a).optional(), inner(&b)), &of_a, Some("inner")),
        (nested(outer(&a).optional(), inner(&b)), &of_b, Some("outer")),
        (nested(outer(&a).optional(), inner(&a)), &of_a, None),
        (nested(outer(&a).dangerous_report_only(), inner(&a)), &none, Some("inner")),
        (nested(outer(&a).dangerous_report_only(), inner(&b)), &of_a, Some("inner")),
        (nested(outer(&a).dangerous_report_only(), inner(&a)), &of_a, None),
        (nested(outer(&a), inner(&a).dangerous_report_only()), &none, Some("outer")),
        (nested(outer(&a).open_path("/look"), inner(&a)), &none, Some("inner")),
        (nested(outer(&a).open_path("/look"), inner(&a)), &of_a, None),
        // what the outer one took away, the inner one does not find
        (nested(outer(&a).remove_token_header(), inner(&a)), &of_a, Some("inner")),
    ] {
        for _ in 0..2 {
            let answered = with(&app, "/look", &borrowed(sent)).await;
            if let Some(layer) = who_refuses {
                assert_eq!((answered.status, realm(&answered)), (401, layer), "{answered:?}");
            } else {
                let found = answered.found();
                assert_eq!(found["caller"], CHECKOUT);
                assert_eq!(found["passed"], Value::Null, "the outer one's mark is gone");
            }
        }
    }
}

#[tokio::test]
async fn a_policy_goes_by_the_innermost_layer() {
    let (a, b) = (start_issuer(), start_issuer());
    let admins = || routes().layer(Allow::only(in_namespace("kube-system")));
    // the inner one enforces, and so does the policy, whatever the outer one did
    let app = admins().layer(layer(&a)).layer(layer(&a).dangerous_report_only());
    assert_eq!(with(&app, "/look", &[]).await.status, 401);
    assert_eq!(with(&app, "/look", &[&good(&a)]).await.status, 403);
    // between the two the policy only reports, and the inner layer still refuses
    let app = routes()
        .layer(layer(&a))
        .layer(Allow::only(in_namespace("kube-system")))
        .layer(layer(&a).dangerous_report_only());
    assert_eq!(with(&app, "/look", &[]).await.status, 401);
    assert_eq!(with(&app, "/look", &[&good(&a)]).await.found()["caller"], CHECKOUT);
    // an inner one that only reports forgets whom the outer one let in, and its policy reports
    let app = admins().layer(layer(&b).dangerous_report_only()).layer(layer(&a));
    assert_eq!(with(&app, "/look", &[]).await.status, 401);
    let found = with(&app, "/look", &[&good(&a)]).await.found();
    assert_eq!((&found["caller"], &found["would be"]), (&Value::Null, &json!("unknown_issuer")));
    assert_eq!(with(&app, "/caller", &[&good(&a)]).await.status, 401);
}

#[derive(Debug, serde::Deserialize)]
struct Worker {
    client_id: String,
}

#[tokio::test]
async fn layers_for_other_claims_say_nothing_about_these() {
    let issuer = start_issuer();
    let workers = || {
        let verifier = builder(&issuer).claims::<Worker>().build().unwrap();
        OidcAuthLayer::from(verifier).realm("workers")
    };
    let payments = || Allow::only(in_namespace("payments"));
    let admins = || Allow::only(in_namespace("kube-system"));
    let worker_7 = |realm: &str| {
        Allow::only(Policy::when_claims("7", |who: &Verified<Worker>| who.client_id == "7"))
            .realm(realm)
    };
    let both = |id: &str| {
        let token = issuer.token().audience("orders").claim("client_id", id);
        bearer(&token.service_account("payments", "checkout").mint())
    };
    // outside only reports for its claims, inside enforces for a service account's
    let outer = || workers().dangerous_report_only();
    let app = |allow: Allow| routes().layer(allow).layer(layer(&issuer)).layer(outer());
    for sent in [vec![], vec!["Bearer garbage".to_owned()], vec!["Bearer".to_owned()]] {
        let answered = with(&app(payments()), "/look", &borrowed(&sent)).await;
        assert!([400, 401].contains(&answered.status), "{answered:?}");
        assert!(answered.header(WWW_AUTHENTICATE).unwrap().contains("shop"));
    }
    // no worker, which the outer one only reports
    assert_eq!(with(&app(payments()), "/look", &[&good(&issuer)]).await.status, 200);
    assert_eq!(with(&app(admins()), "/look", &[&good(&issuer)]).await.status, 403);
    // the other way round: inside only reports, for its own claims
    let app = |allow: Allow| {
        routes().layer(worker_7("7")).layer(allow).layer(outer()).layer(layer(&issuer))
    };
    assert_eq!(with(&app(admins()), "/look", &[&good(&issuer)]).await.status, 403);
    assert_eq!(
        with(&app(payments()), "/look", &[&good(&issuer)]).await.found()["caller"],
        CHECKOUT
    );
    assert_eq!(with(&app(payments()), "/look", &[&both("8")]).await.found()["caller"], CHECKOUT);
    // both enforce
    let app =
        routes().layer(worker_7("7")).layer(payments()).layer(workers()).layer(layer(&issuer));
    assert_eq!(with(&app, "/look", &[&both("7")]).await.found()["caller"], CHECKOUT);
    assert_eq!(with(&app, "/look", &[&both("8")]).await.status, 403);
    assert_eq!(with(&app, "/look", &[&good(&issuer)]).await.status, 401, "no worker");
}

#[tokio::test]
async fn claims_that_no_layer_gives_are_nobodys() {
    let log = Log::catch();
    let issuer = start_issuer();
    let worker = || Allow::only(Policy::when_claims("anybody", |_: &Verified<Worker>| true));
    let id = |Caller(who): Caller<Worker>| async move { who.client_id.clone() };
    let perhaps = |who: Option<Caller<Worker>>| async move { format!("{}", who.is_some()) };
    let own = Router::new().route("/own", get(id)).route("/perhaps", get(perhaps));
    for layer in [
        layer(&issuer),
        layer(&issuer).optional(),
        layer(&issuer).dangerous_report_only(),
        layer(&issuer).open_path("/look").open_path("/own").open_path("/perhaps"),
    ] {
        let app = routes().layer(worker()).merge(own.clone()).layer(layer);
        for path in ["/look", "/own", "/perhaps"] {
            let (answered, lines) = logged(&log, &app, path, &[&good(&issuer)]).await;
            assert_eq!(
                (answered.status, answered.reason()),
                (500, Some("misconfigured")),
                "{path}"
            );
            assert_eq!(answered.header(WWW_AUTHENTICATE), None);
            let told =
                lines.iter().filter(|l| l.contains("ERROR") && l.contains("no OidcAuthLayer"));
            assert_eq!(told.count(), 1, "{lines:?}");
        }
    }
    // a policy outside of the layer has nobody to look at either
    let app = app(layer(&issuer)).layer(Allow::only(in_namespace("payments")));
    assert_eq!(with(&app, "/look", &[&good(&issuer)]).await.status, 500);
}

const NAMED: &str = "x-workload-token";

fn named(issuer: &TestIssuer) -> OidcAuthLayer {
    layer(issuer).token_header(HeaderName::from_static(NAMED))
}

#[tokio::test]
async fn a_header_that_is_named_is_the_only_one_that_is_read() {
    let issuer = start_issuer();
    let good = good(&issuer);
    let bare = good.strip_prefix("Bearer ").unwrap();
    let auth = "authorization";
    let sent: [(Headers<'_>, u16, &str); 20] = [
        (&[(NAMED, bare)], 200, ""),
        (&[(NAMED, &good)], 200, ""),
        (&[(NAMED, bare), (auth, BASIC)], 200, ""),
        (&[("X-Workload-Token", bare), (auth, "")], 200, ""),
        (&[], 401, "no_credentials"),
        (&[(auth, BASIC)], 401, "no_credentials"),
        (&[("x-workload-tokens", bare)], 401, "no_credentials"),
        // a token in the usual place, with the other header or without
        (&[(auth, &good)], 400, "invalid_request"),
        (&[(auth, "Bearer")], 400, "invalid_request"),
        (&[(auth, "bearer garbage")], 400, "invalid_request"),
        (&[(NAMED, bare), (auth, &good)], 400, "invalid_request"),
        (&[(NAMED, bare), (auth, "Bearer")], 400, "invalid_request"),
        (&[(NAMED, bare), (auth, BASIC), (auth, &good)], 400, "invalid_request"),
        // more than one, which nobody sends by intent, is not taken apart
        (&[(NAMED, bare), (auth, BASIC), (auth, BASIC)], 400, "invalid_request"),
        (&[(NAMED, bare), (NAMED, bare)], 400, "invalid_request"),
        (&[(NAMED, bare), (NAMED, "")], 400, "invalid_request"),
        (&[(NAMED, "")], 400, "invalid_request"),
        (&[(NAMED, BASIC)], 400, "invalid_request"),
        (&[(NAMED, "Bearer")], 400, "invalid_request"),
        (&[(NAMED, "garbage")], 401, "malformed"),
    ];
    let (required, optional, reporting) = (
        app(named(&issuer)),
        app(named(&issuer).optional()),
        app(named(&issuer).dangerous_report_only()),
    );
    for (headers, status, reason) in sent {
        for _ in 0..2 {
            let answered = ask(&required, "/maybe", headers).await;
            assert_eq!(answered.status, status, "{reason} {:?}", answered.reason());
            let optional = ask(&optional, "/look", headers).await;
            let found = ask(&reporting, "/look", headers).await.found();
            match reason {
                "" => {
                    assert_eq!(answered.body, CHECKOUT);
                    assert_eq!(optional.found()["caller"], CHECKOUT);
                    assert_eq!(
                        (&found["caller"], &found["would be"]),
                        (&json!(CHECKOUT), &Value::Null)
                    );
                    continue;
                }
                "no_credentials" => assert_eq!(optional.found()["passed"], "anonymous"),
                _ => assert_eq!((optional.status, optional.reason()), (status, Some(reason))),
            }
            assert_eq!(answered.reason(), Some(reason));
            assert_eq!((&found["caller"], &found["would be"]), (&Value::Null, &json!(reason)));
        }
    }
    // nor does a layer that names none read another than the usual one
    let usual = app(layer(&issuer));
    assert_eq!(ask(&usual, "/maybe", &[(NAMED, bare)]).await.status, 401);
    let same = app(layer(&issuer).token_header(AUTHORIZATION));
    assert_eq!(ask(&same, "/maybe", &[(auth, &good)]).await.body, CHECKOUT);
    assert_eq!(ask(&same, "/maybe", &[(auth, bare)]).await.status, 401);
}

#[tokio::test]
async fn the_named_header_is_hidden_and_removed_and_the_usual_one_stays() {
    let issuer = start_issuer();
    let good = good(&issuer);
    let bare = good.strip_prefix("Bearer ").unwrap();
    let sent = [(NAMED, bare), ("authorization", BASIC)];
    let open = |layer: OidcAuthLayer| layer.open_path("/look");
    for layer in [
        named(&issuer),
        named(&issuer).optional(),
        named(&issuer).dangerous_report_only(),
        open(named(&issuer)),
    ] {
        let (kept, removed) = (app(layer.clone()), app(layer.remove_token_header()));
        // the first time it waits for keys
        for _ in 0..2 {
            let found = ask(&removed, "/look", &sent).await.found();
            assert_eq!((&found[NAMED], &found["authorization"]), (&json!([]), &json!([BASIC])));
            let found = ask(&kept, "/look", &sent).await.found();
            assert_eq!((&found[NAMED], &found["authorization"]), (&json!([bare]), &json!([BASIC])));
            assert_eq!(found["shown"], json!({ NAMED: "Sensitive", "authorization": "Sensitive" }));
        }
    }
    assert_eq!(issuer.key_fetches(), 3, "wherever the token counts, the first request waited");
    let silent = start_issuer();
    go_silent(&silent);
    let app = |layer: OidcAuthLayer| app(layer.remove_token_header());
    let found = ask(&app(named(&silent).dangerous_report_only()), "/look", &sent).await.found();
    // it is of an issuer that this one does not know, which is known without its keys
    assert_eq!(found["would be"], "unknown_issuer");
    assert_eq!((&found[NAMED], &found["authorization"]), (&json!([]), &json!([BASIC])));
    let waits = self::good(&silent);
    let sent = [(NAMED, waits.as_str()), ("authorization", BASIC)];
    let found = ask(&app(named(&silent).dangerous_report_only()), "/look", &sent).await.found();
    assert_eq!(found["would be"], "keys_unavailable");
    assert_eq!((&found[NAMED], &found["authorization"]), (&json!([]), &json!([BASIC])));
    // a bearer token in the usual place, where the request passes all the same: it is not the
    // header that was named, so it stays, and is hidden
    for layer in [open(named(&issuer)), named(&issuer).dangerous_report_only()] {
        let sent = [(NAMED, bare), (NAMED, bare), ("authorization", good.as_str())];
        let found = ask(&app(layer), "/look", &sent).await.found();
        assert_eq!((&found[NAMED], &found["caller"]), (&json!([]), &Value::Null));
        assert_eq!(found["shown"], json!({ "authorization": "Sensitive" }));
    }
}

#[tokio::test]
async fn the_header_with_the_token_is_removed_in_every_mode() {
    let issuer = start_issuer();
    let good = good(&issuer);
    let others = [("proxy-authorization", "Basic cHJveHk="), ("cookie", "a=b")];
    let others_shown = json!({ "proxy-authorization": "\"Basic cHJveHk=\"", "cookie": "\"a=b\"" });
    for (layer, sent) in [
        (layer(&issuer), vec![good.as_str()]),
        (layer(&issuer).optional(), vec![&good]),
        (layer(&issuer).dangerous_report_only(), vec![&good]),
        (layer(&issuer).dangerous_report_only(), vec!["Bearer garbage"]),
        (layer(&issuer).dangerous_report_only(), vec![&good, BASIC, "Bearer"]),
        (layer(&issuer).open_path("/look"), vec![&good]),
        (layer(&issuer).open_path("/look"), vec![&good, BASIC, "Bearer"]),
        // other credentials of nobody's go with it: the header is removed, not the token
        (layer(&issuer).optional(), vec![BASIC]),
        (layer(&issuer).dangerous_report_only(), vec![BASIC]),
        (layer(&issuer).open_path("/look"), vec![BASIC]),
        (layer(&issuer).optional(), vec![]),
    ] {
        let (kept, removed) = (app(layer.clone()), app(layer.remove_token_header()));
        let headers: Vec<_> = sent.iter().map(|value| ("authorization", *value)).collect();
        let headers = [&headers[..], &others[..]].concat();
        // where a token counts, the first time it waits for keys
        for _ in 0..2 {
            let found = ask(&removed, "/look", &headers).await.found();
            assert_eq!(found["authorization"], json!([]));
            assert_eq!(found["shown"], others_shown, "and nothing else is");
            let found = ask(&kept, "/look", &headers).await.found();
            assert_eq!(found["authorization"], json!(sent));
        }
    }
    assert_eq!(issuer.key_fetches(), 3, "of the first three layers one request waited");
}

/// Which of the kinds of rejection it is.
fn kind(rejection: &Rejection) -> &'static str {
    match rejection {
        Rejection::NoCredentials => "no credentials",
        Rejection::InvalidRequest(_) => "invalid request",
        Rejection::Token(VerifyError::Refused(_)) => "refused",
        Rejection::Token(VerifyError::Unavailable(_)) => "unavailable",
        Rejection::NarrowerAudience => "narrower audience",
        Rejection::Policy(_) => "policy",
        Rejection::Misconfigured(_) => "misconfigured",
        _ => "another",
    }
}

/// A layer of each kind of setting, what is sent to it, and how it refuses that.
type Refused = (OidcAuthLayer, Vec<String>, &'static str, u16);

/// One refusal of each kind. The one without keys comes last, and takes the issuer's away.
fn refusals(issuer: &TestIssuer) -> Vec<Refused> {
    let silent = start_issuer();
    go_silent(&silent);
    let (garbage, expired) =
        ("Bearer garbage".to_owned(), bearer(&issuer.token().audience("orders").expired().mint()));
    vec![
        (layer(issuer), vec![], "no credentials", 401),
        (layer(issuer), vec![BASIC.to_owned()], "no credentials", 401),
        (layer(issuer), vec!["Bearer".to_owned()], "invalid request", 400),
        (layer(issuer), vec![good(issuer), good(issuer)], "invalid request", 400),
        (layer(issuer), vec![garbage.clone()], "refused", 401),
        (layer(issuer), vec![expired], "refused", 401),
        (layer(issuer).optional(), vec![garbage], "refused", 401),
        (layer(issuer).audience("refunds"), vec![good(issuer)], "narrower audience", 401),
        (layer(issuer).audience(" "), vec![good(issuer)], "misconfigured", 500),
        (layer(issuer).audience(" "), vec![], "misconfigured", 500),
        (layer(&silent), vec![good(&silent)], "unavailable", 503),
    ]
}

/// Notes for a test what a layer outside sees.
async fn note_rejection(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let reason = response.extensions().get::<Rejection>().map_or("none", Rejection::reason);
    response.headers_mut().insert("x-outside", HeaderValue::from_static(reason));
    response
}

#[tokio::test]
async fn an_answer_can_be_rewritten_and_the_service_is_never_called() {
    let issuer = start_issuer();
    for (layer, sent, expected, status) in refusals(&issuer) {
        let mapped = layer.map_rejection(|rejection, request, answer| {
            let mut rewritten = Response::new(Bytes::from("all is well"));
            let told = [
                kind(rejection).to_owned(),
                rejection.reason().to_owned(),
                answer.status().as_str().to_owned(),
                request.method.to_string(),
                request.uri.to_string(),
                format!("{:?}", request.headers.get(AUTHORIZATION)),
            ];
            let told = HeaderValue::try_from(told.join(" | ")).unwrap();
            rewritten.headers_mut().insert("x-told", told);
            rewritten
        });
        let called = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&called);
        let handler = any(move || {
            count.fetch_add(1, Ordering::Relaxed);
            std::future::ready("called")
        });
        let nested = Router::new().route("/{id}", handler).layer(mapped);
        let app = Router::new().nest("/api", nested).layer(middleware::from_fn(note_rejection));
        for _ in 0..2 {
            let answered = with(&app, "/api/7?a=b", &borrowed(&sent)).await;
            let reason = answered.reason().unwrap();
            assert_eq!(kind(answered.rejection.as_ref().unwrap()), expected);
            let shown = if sent.is_empty() { "None" } else { "Some(Sensitive)" };
            let told = format!("{expected} | {reason} | {status} | GET | /api/7?a=b | {shown}");
            assert_eq!(answered.header("x-told"), Some(told.as_str()));
            assert_eq!(answered.header("x-outside"), Some(reason));
            assert_eq!((answered.status, answered.body.as_str()), (200, "all is well"));
            assert_eq!(answered.header(WWW_AUTHENTICATE), None, "it is another answer");
        }
        assert_eq!(called.load(Ordering::Relaxed), 0);
    }
}

#[tokio::test]
async fn an_answer_can_be_changed_for_grpc_as_well() {
    let issuer = start_issuer();
    for (layer, sent, expected, _) in refusals(&issuer) {
        let mapped = layer.map_rejection(|rejection, request, mut answer| {
            let status = answer.status();
            let headers = answer.headers_mut();
            assert_eq!((request.method, status), (&Method::POST, StatusCode::OK));
            assert_eq!(headers["grpc-status"], rejection.grpc_code().to_string().as_str());
            headers.insert("grpc-message", HeaderValue::from_static("mapped"));
            headers.insert("x-path", request.uri.path().parse().unwrap());
            answer
        });
        let app = app(mapped).layer(middleware::from_fn(note_rejection));
        let mut request = Request::post("/orders.v1.Orders/List")
            .header(CONTENT_TYPE, "application/grpc")
            .header(TE, "trailers");
        for value in &sent {
            request = request.header(AUTHORIZATION, value);
        }
        let answered = send(&app, request.body(Body::empty()).unwrap()).await;
        let rejection = answered.rejection.as_ref().unwrap();
        assert_eq!((kind(rejection), answered.status), (expected, 200));
        assert_eq!(answered.header("grpc-status"), Some(&*rejection.grpc_code().to_string()));
        assert_eq!(answered.header("grpc-message"), Some("mapped"));
        assert_eq!(answered.header("x-path"), Some("/orders.v1.Orders/List"));
        assert_eq!(answered.header("x-outside"), Some(rejection.reason()));
        assert_eq!(answered.body, "");
    }
}

#[tokio::test]
async fn whoever_refuses_says_why_to_the_layers_outside() {
    let issuer = start_issuer();
    let mapped = |layer: OidcAuthLayer| {
        layer.map_rejection(|_, _, mut answer| {
            answer.headers_mut().insert("x-mapped", HeaderValue::from_static("yes"));
            answer
        })
    };
    let reporting = layer(&issuer).dangerous_report_only();
    let app = Router::new()
        .route("/policy", get(look).layer(Allow::only(in_namespace("batch"))))
        .route("/caller", get(subject))
        .route("/ok", get(look))
        .layer(mapped(layer(&issuer)))
        .route("/optional", get(subject).layer(mapped(layer(&issuer).optional())))
        .route("/report", get(subject).layer(mapped(reporting)))
        .layer(middleware::from_fn(note_rejection));
    let good = good(&issuer);
    for (path, sent, status, reason, is_mapped) in [
        ("/caller", vec![], 401, "no_credentials", true),
        ("/caller", vec![good.as_str()], 200, "none", false),
        ("/ok", vec![&good], 200, "none", false),
        // the policy has a function of its own, or none
        ("/policy", vec![&good], 403, "policy", false),
        // the extractor answers as its layer does
        ("/optional", vec![], 401, "no_credentials", true),
        ("/report", vec!["Bearer"], 400, "invalid_request", true),
        ("/report", vec!["Bearer x"], 401, "malformed", true),
        ("/report", vec![&good], 200, "none", false),
    ] {
        let answered = with(&app, path, &sent).await;
        assert_eq!(
            (answered.status, answered.header("x-outside")),
            (status, Some(reason)),
            "{path}"
        );
        assert_eq!(answered.header("x-mapped").is_some(), is_mapped, "{path}");
    }
    // over a wire too, where nothing but the answer itself is left of it
    let server = HttpServer::start(app).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let response = client.get(format!("{}/report", server.url())).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(response.headers()["x-outside"], "no_credentials");
}

type Told = Arc<Mutex<Vec<String>>>;

/// The same layer, and what it tells of requests.
fn telling(layer: OidcAuthLayer) -> (OidcAuthLayer, Told) {
    let told = Told::default();
    let tell = Arc::clone(&told);
    let layer = layer.on_outcome(move |outcome, request| {
        let more = match outcome {
            Outcome::Verified(who) => who.subject().to_owned(),
            Outcome::Rejected(why) | Outcome::WouldBeRejected(why) => why.reason().to_owned(),
            _ => "nobody".to_owned(),
        };
        let shown = format!("{:?}", request.headers.get(AUTHORIZATION));
        assert!(["None", "Some(Sensitive)"].contains(&shown.as_str()), "it is hidden");
        let line = format!("{} {} {more}", outcome.name(), request.uri.path());
        tell.lock().unwrap().push(line);
    });
    (layer, told)
}

/// What was told since the last time.
fn take(told: &Told) -> Vec<String> {
    std::mem::take(&mut told.lock().unwrap())
}

#[tokio::test]
async fn each_outcome_is_told_once_and_before_anything_comes_of_it() {
    let issuer = start_issuer();
    let silent = start_issuer();
    go_silent(&silent);
    let reporting = || layer(&issuer).dangerous_report_only();
    let verified = format!("verified /look {CHECKOUT}");
    let (good, of_silent) = (good(&issuer), good(&silent));
    let expired = bearer(&issuer.token().audience("orders").expired().mint());
    for (layer, sent, expected) in [
        (layer(&issuer), vec![good.as_str()], verified.as_str()),
        (layer(&issuer).optional(), vec![&good], &verified),
        (reporting(), vec![&good], &verified),
        (layer(&issuer).remove_token_header(), vec![&good], &verified),
        (layer(&issuer).optional(), vec![], "anonymous /look nobody"),
        (layer(&issuer).optional(), vec![BASIC], "anonymous /look nobody"),
        (layer(&issuer).open_path("/look"), vec![], "open_path /look nobody"),
        (reporting().open_path("/look"), vec!["Bearer"], "open_path /look nobody"),
        (layer(&issuer).open_when(|_| true), vec![&good], "open_path /look nobody"),
        (layer(&issuer), vec![], "rejected /look no_credentials"),
        (layer(&issuer), vec!["Bearer"], "rejected /look invalid_request"),
        (layer(&issuer), vec![&expired], "rejected /look expired"),
        (layer(&issuer).optional(), vec!["Bearer x"], "rejected /look malformed"),
        (layer(&issuer).audience("b"), vec![&good], "rejected /look audience"),
        (layer(&issuer).audience(" "), vec![&good], "rejected /look misconfigured"),
        (layer(&silent), vec![&of_silent], "rejected /look keys_unavailable"),
        (reporting(), vec![], "would_be_rejected /look no_credentials"),
        (reporting(), vec!["Bearer"], "would_be_rejected /look invalid_request"),
        (reporting(), vec![&expired], "would_be_rejected /look expired"),
        (reporting().audience("b"), vec![&good], "would_be_rejected /look audience"),
        (
            layer(&silent).dangerous_report_only(),
            vec![&of_silent],
            "would_be_rejected /look keys_unavailable",
        ),
    ] {
        let (layer, told) = telling(layer);
        let before = Arc::clone(&told);
        // the handler adds a line of its own
        let handler = move || {
            before.lock().unwrap().push("called".to_owned());
            std::future::ready(())
        };
        let app = Router::new().route("/look", get(handler)).layer(layer);
        let passes = !expected.starts_with("rejected");
        // the first one waits for keys if it has to, the second does not
        for _ in 0..2 {
            let answered = with(&app, "/look", &sent).await;
            assert_eq!(answered.status == 200, passes, "{expected}");
            let expected: &[&str] = if passes { &[expected, "called"] } else { &[expected] };
            assert_eq!(take(&told), expected);
        }
    }
    assert_eq!(issuer.key_fetches(), 6, "wherever a token was good, its first request waited");
}

#[tokio::test]
async fn what_comes_after_a_layer_is_not_told_as_its_outcome() {
    let issuer = start_issuer();
    let (layer, told) = telling(layer(&issuer).optional());
    let held = get(look).layer(Allow::only(in_namespace("kube-system")));
    let app = Router::new().route("/held", held).route("/caller", get(subject)).layer(layer);
    assert_eq!(with(&app, "/held", &[&good(&issuer)]).await.status, 403);
    assert_eq!(take(&told), [format!("verified /held {CHECKOUT}")]);
    assert_eq!(with(&app, "/caller", &[]).await.status, 401);
    assert_eq!(take(&told), ["anonymous /caller nobody"]);
    // a request that is given up while it waits came to nothing
    let silent = start_issuer();
    silent.answer(Endpoint::Keys, Answer::never());
    let (waiting, told) = telling(self::layer(&silent));
    let waiting = self::app(waiting);
    let of_silent = good(&silent);
    let of_silent = [of_silent.as_str()];
    let mut asks = Box::pin(with(&waiting, "/look", &of_silent));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(asks.as_mut().poll(&mut context).is_pending());
    drop(asks);
    assert_eq!(take(&told), [""; 0]);
}

#[tokio::test]
async fn two_layers_of_one_verifier_refuse_each_others_tokens() {
    let issuer = start_issuer();
    let mint = |audiences: &[&str]| {
        let token = issuer.token().service_account("payments", "checkout");
        bearer(&audiences.iter().fold(token, |token, audience| token.audience(audience)).mint())
    };
    let (orders, refunds, both) =
        (mint(&["orders"]), mint(&["refunds"]), mint(&["refunds", "orders"]));
    for reversed in [false, true] {
        for mode in ["required", "optional", "report only"] {
            // cold at first
            let verifier = builder(&issuer).audience("refunds").build().unwrap();
            let narrowed = |audience: &str| {
                let layer = OidcAuthLayer::from(verifier.clone()).audience(audience);
                match mode {
                    "required" => layer,
                    "optional" => layer.optional(),
                    _ => layer.dangerous_report_only(),
                }
            };
            let of_orders = app(narrowed("orders"));
            let of_refunds = app(narrowed("refunds"));
            let nested = app(narrowed("orders")).layer(narrowed("refunds"));
            let mut asked = vec![
                (&of_orders, &refunds, false),
                (&of_refunds, &orders, false),
                (&of_orders, &orders, true),
                (&of_refunds, &refunds, true),
                (&of_orders, &both, true),
                (&of_refunds, &both, true),
                (&nested, &both, true),
                (&nested, &refunds, false),
            ];
            if mode != "report only" {
                // there the outer one reports, and the inner one accepts
                asked.push((&nested, &orders, false));
            }
            if reversed {
                asked.reverse();
            }
            for _ in 0..2 {
                for (app, token, accepted) in &asked {
                    // twice in a row, so that the second one is remembered
                    for _ in 0..2 {
                        let answered = with(app, "/look", &[token.as_str()]).await;
                        if *accepted {
                            assert_eq!(answered.found()["caller"], CHECKOUT, "{mode}");
                        } else if mode == "report only" {
                            let found = answered.found();
                            assert_eq!(found["caller"], Value::Null);
                            assert_eq!(found["would be"], "audience");
                        } else {
                            assert_eq!(
                                (answered.status, answered.reason()),
                                (401, Some("audience"))
                            );
                        }
                    }
                }
            }
        }
    }
}

/// Whether a text holds a piece of the token's payload or signature, so long that it is not there
/// by chance.
fn leaks(text: &str, pieces: &HashSet<Vec<u8>>) -> bool {
    text.as_bytes().windows(PIECE).any(|piece| pieces.contains(piece))
}

const PIECE: usize = 16;

/// All pieces of tokens that no two of them have in common by their form.
fn pieces(tokens: &[String]) -> HashSet<Vec<u8>> {
    let parts = tokens.iter().flat_map(|token| token.split('.').skip(1));
    let windows = parts.flat_map(|part| part.as_bytes().windows(PIECE));
    windows.map(<[u8]>::to_vec).collect()
}

/// The layer with hooks that log all they are shown.
fn chatty(layer: OidcAuthLayer) -> OidcAuthLayer {
    layer
        .on_outcome(|outcome, request| tracing::info!(?outcome, ?request, "chatty outcome"))
        .map_rejection(|rejection, request, answer| {
            tracing::info!(?rejection, %rejection, ?request, ?answer, "chatty rejection");
            answer
        })
}

#[tokio::test]
async fn nothing_of_a_token_is_shown_in_any_mode() {
    async fn show(request: Request) -> String {
        let extensions = request.extensions();
        let caller = extensions.get::<Verified>();
        format!("{:?} {:?} {caller:?}", request.headers(), extensions.get::<Passed>())
    }
    let log = Log::catch();
    let issuer = start_issuer();
    let minted = || issuer.token().audience("orders").claim("x", "secret-of-a-mode");
    let stranger = SigningKey::generate(SigningAlgorithm::Es256).with_kid("secret-of-a-mode");
    let tokens = [
        minted().service_account("payments", "checkout").mint(),
        minted().service_account("batch", "nightly").mint(),
        minted().expired().mint(),
        minted().claim("aud", "secret-of-a-mode").signature("x").mint(),
        minted().claim("iss", "https://secret-of-a-mode.example").mint(),
        minted().signed_by(&stranger).mint(),
        minted().header("typ", "secret-of-a-mode").mint(),
        format!("{}.secret-of-a-mode", minted().mint()),
    ];
    let layers = || {
        [
            layer(&issuer),
            layer(&issuer).optional(),
            layer(&issuer).dangerous_report_only(),
            layer(&issuer).open_path("/"),
            layer(&issuer).remove_token_header(),
            layer(&issuer).audience("refunds"),
            layer(&issuer).audience(" "),
            layer(&issuer).end_streams_at_expiry(),
            named(&issuer),
            named(&issuer).optional(),
            named(&issuer).dangerous_report_only().remove_token_header(),
            named(&issuer).open_path("/"),
        ]
    };
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut answers = Vec::new();
    for (index, layer) in layers().into_iter().enumerate() {
        let shown = format!("{layer:?}");
        let allow = Allow::only(in_namespace("payments")).and_open_paths();
        let app = Router::new()
            .route("/", any(show).layer(allow))
            .route("/caller", any(subject))
            .layer(chatty(layer));
        let server = HttpServer::start(app).await;
        for token in &tokens {
            for (path, scheme) in [("", "Bearer "), ("/caller", "Bearer x "), ("", "Basic ")] {
                let value = format!("{scheme}{token}");
                let url = format!("{}{path}", server.url());
                let mut request = client.post(url).header(CONTENT_TYPE, "application/grpc");
                if path.is_empty() {
                    request = request.header(TE, "trailers");
                }
                // beside each other too, and twice
                request = match index {
                    0..8 => request.header(AUTHORIZATION, &value),
                    _ => request.header(NAMED, &value).header(AUTHORIZATION, &value),
                };
                let response = request.send().await.unwrap();
                answers.push(format!("{shown} {:?}", response.headers()));
                answers.push(response.text().await.unwrap());
            }
        }
    }
    let (log, answers, pieces) = (log.text(), answers.join("\n"), pieces(&tokens));
    assert!(leaks(&format!("x{}", tokens[0]), &pieces), "the search finds what it looks for");
    for text in [&answers, &log] {
        let found: Vec<_> = text.lines().filter(|line| leaks(line, &pieces)).collect();
        assert!(found.is_empty(), "{found:?}");
        let found: Vec<_> = text.lines().filter(|l| l.contains("secret-of-a-mode")).collect();
        assert!(found.is_empty(), "{found:?}");
    }
    // so it was looked for where these requests were told of
    for told in ["chatty outcome", "chatty rejection", "would be refused", "Sensitive"] {
        assert!(log.contains(told), "{told}");
    }
    assert!(answers.contains("payments") && answers.contains("Sensitive"));
}
