//! Functions that see what a layer does, and change what it answers.

use super::*;
use kube_oidc_tests::{bearer, fast_issuer, http_client};

/// Which of the kinds of rejection it is.
fn kind(rejection: &Rejection) -> &'static str {
    match rejection {
        Rejection::NoCredentials => "no credentials",
        Rejection::InvalidRequest(_) => "invalid request",
        Rejection::Token(VerifyError::Invalid(_)) => "refused",
        Rejection::Token(VerifyError::Unavailable(_)) => "unavailable",
        Rejection::LayerAudience => "narrower audience",
        Rejection::Policy(_) => "policy",
        _ => "another",
    }
}

/// A layer of each kind of setting, what is sent to it, and how it refuses that.
type Refused = (Builder, Vec<String>, &'static str, u16);

/// One refusal of each kind. The one without keys comes last, and takes the issuer's away.
fn refusals(issuer: &TestIssuer) -> Vec<Refused> {
    let silent = fast_issuer();
    go_silent(&silent);
    let (garbage, expired) =
        ("Bearer garbage".to_owned(), bearer(issuer.token().audience("orders").expired().mint()));
    vec![
        (builder(issuer), vec![], "no credentials", 401),
        (builder(issuer), vec![BASIC.to_owned()], "no credentials", 401),
        (builder(issuer), vec!["Bearer".to_owned()], "invalid request", 400),
        (builder(issuer), vec![good(issuer), good(issuer)], "invalid request", 400),
        (builder(issuer), vec![garbage.clone()], "refused", 401),
        (builder(issuer), vec![expired], "refused", 401),
        (builder(issuer).optional(), vec![garbage], "refused", 401),
        (narrowed(issuer), vec![good(issuer)], "narrower audience", 401),
        (builder(&silent), vec![good(&silent)], "unavailable", 503),
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
    let issuer = fast_issuer();
    for (builder, sent, expected, status) in refusals(&issuer) {
        let mapped = builder.map_rejection(|rejection, request, answer| {
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
        let nested = Router::new().route("/{id}", handler).layer(mapped.build().unwrap());
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
    let issuer = fast_issuer();
    for (builder, sent, expected, _) in refusals(&issuer) {
        let mapped = builder.map_rejection(|rejection, request, mut answer| {
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
    let issuer = fast_issuer();
    let mapped = |builder: Builder| {
        let builder = builder.map_rejection(|_, _, mut answer| {
            answer.headers_mut().insert("x-mapped", HeaderValue::from_static("yes"));
            answer
        });
        builder.build().unwrap()
    };
    let reporting = builder(&issuer).dangerous_report_only();
    let app = Router::new()
        .route("/policy", get(look).layer(AuthorizeLayer::only(in_namespace("batch")).unwrap()))
        .route("/caller", get(subject))
        .route("/ok", get(look))
        .layer(mapped(builder(&issuer)))
        .route("/optional", get(subject).layer(mapped(builder(&issuer).optional())))
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
    let client = http_client();
    let response = client.get(format!("{}/report", server.url())).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(response.headers()["x-outside"], "no_credentials");
}

type Told = Arc<Mutex<Vec<String>>>;

/// The same layer, and what it tells of requests.
fn telling(builder: Builder) -> (Builder, Told) {
    let told = Told::default();
    let tell = Arc::clone(&told);
    let builder = builder.on_outcome(move |outcome, request| {
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
    (builder, told)
}

/// What was told since the last time.
fn take(told: &Told) -> Vec<String> {
    std::mem::take(&mut told.lock().unwrap())
}

#[tokio::test]
async fn each_outcome_is_told_once_and_before_anything_comes_of_it() {
    let issuer = fast_issuer();
    let silent = fast_issuer();
    go_silent(&silent);
    let reporting = || builder(&issuer).dangerous_report_only();
    let verified = format!("verified /look {CHECKOUT}");
    let (good, of_silent) = (good(&issuer), good(&silent));
    let expired = bearer(issuer.token().audience("orders").expired().mint());
    for (builder, sent, expected) in [
        (builder(&issuer), vec![good.as_str()], verified.as_str()),
        (builder(&issuer).optional(), vec![&good], &verified),
        (reporting(), vec![&good], &verified),
        (builder(&issuer).remove_token_header(), vec![&good], &verified),
        (builder(&issuer).optional(), vec![], "anonymous /look nobody"),
        (builder(&issuer).optional(), vec![BASIC], "anonymous /look nobody"),
        (builder(&issuer).add_open_path("/look"), vec![], "open_path /look nobody"),
        (reporting().add_open_path("/look"), vec!["Bearer"], "open_path /look nobody"),
        (builder(&issuer).add_open_when(|_| true), vec![&good], "open_path /look nobody"),
        (builder(&issuer), vec![], "rejected /look no_credentials"),
        (builder(&issuer), vec!["Bearer"], "rejected /look invalid_request"),
        (builder(&issuer), vec![&expired], "rejected /look expired"),
        (builder(&issuer).optional(), vec!["Bearer x"], "rejected /look malformed"),
        (narrowed(&issuer), vec![&good], "rejected /look audience"),
        (builder(&silent), vec![&of_silent], "rejected /look keys_unavailable"),
        (reporting(), vec![], "would_be_rejected /look no_credentials"),
        (reporting(), vec!["Bearer"], "would_be_rejected /look invalid_request"),
        (reporting(), vec![&expired], "would_be_rejected /look expired"),
        (
            narrowed(&issuer).dangerous_report_only(),
            vec![&good],
            "would_be_rejected /look audience",
        ),
        (
            builder(&silent).dangerous_report_only(),
            vec![&of_silent],
            "would_be_rejected /look keys_unavailable",
        ),
    ] {
        let (builder, told) = telling(builder);
        let before = Arc::clone(&told);
        // the handler adds a line of its own
        let handler = move || {
            before.lock().unwrap().push("called".to_owned());
            std::future::ready(())
        };
        let app = Router::new().route("/look", get(handler)).layer(builder.build().unwrap());
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
    let issuer = fast_issuer();
    let (builder, told) = telling(builder(&issuer).optional());
    let held = get(look).layer(AuthorizeLayer::only(in_namespace("kube-system")).unwrap());
    let app = Router::new()
        .route("/held", held)
        .route("/caller", get(subject))
        .layer(builder.build().unwrap());
    assert_eq!(with(&app, "/held", &[&good(&issuer)]).await.status, 403);
    assert_eq!(take(&told), [format!("verified /held {CHECKOUT}")]);
    assert_eq!(with(&app, "/caller", &[]).await.status, 401);
    assert_eq!(take(&told), ["anonymous /caller nobody"]);
    // a request that is given up while it waits came to nothing
    let silent = fast_issuer();
    silent.respond_with(Endpoint::Jwks, MockResponse::hang());
    let (waiting, told) = telling(self::builder(&silent));
    let waiting = self::app(waiting);
    let of_silent = good(&silent);
    let of_silent = [of_silent.as_str()];
    let mut asks = Box::pin(with(&waiting, "/look", &of_silent));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(asks.as_mut().poll(&mut context).is_pending());
    drop(asks);
    assert_eq!(take(&told), [""; 0]);
}
