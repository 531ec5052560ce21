//! What an API server can do wrong: nobody is let through by it.

use super::*;
use kube_oidc::{ReviewUnavailableCause, VerifyError};
use kube_oidc_testing::{Endpoint, MockResponse};
use kube_oidc_tests::fast_issuer;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    time::{sleep, timeout},
};

/// A cluster whose API server answers so, in front of a server that asks about every token.
struct Bad {
    cluster: TestIssuer,
    clock: ManualClock,
    server: HttpServer,
    token: String,
}

impl Bad {
    async fn answering(answer: MockResponse) -> Self {
        let (cluster, clock) = (fast_issuer(), clock());
        cluster.respond_with(Endpoint::TokenReview, answer);
        let review = review(reviewer(&cluster));
        let verifier = builder(&cluster, review, &clock).require_token_review().build().unwrap();
        let server = serve(&verifier).await;
        let token = minted(&cluster).mint();
        Self { cluster, clock, server, token }
    }

    async fn ask(&self) -> TestResponse {
        ask(&self.server, "/", &self.token).await
    }

    /// Once the API server answers as it should, all is well.
    async fn heals(&self) {
        self.cluster.reset_response(Endpoint::TokenReview);
        self.clock.advance(SECOND);
        assert_eq!(self.ask().await.outcome(), GOOD);
        let elsewhere = |path: &str| path != REVIEWS && path.contains("elsewhere");
        assert!(!self.cluster.received_requests().iter().any(|request| elsewhere(&request.path)));
    }
}

fn assert_unavailable(answered: &TestResponse, label: &str) {
    assert_eq!(answered.outcome(), UNAVAILABLE, "{label}");
    assert_eq!(answered.header("retry-after"), Some("1"), "{label}");
    assert_eq!(answered.header("www-authenticate"), None, "{label}");
    let problem: Value = serde_json::from_str(&answered.body).unwrap();
    assert_eq!(problem["detail"], "the token cannot be reviewed now", "{label}");
}

/// What confirms the token, and can be changed.
fn confirmation(cluster: &TestIssuer) -> Value {
    let uid = |token: &str| {
        let payload = token.split('.').nth(1).unwrap();
        let payload = base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap();
        serde_json::from_slice::<Value>(&payload).unwrap()["kubernetes.io"]["serviceaccount"]["uid"]
            .clone()
    };
    json!({
        "kind": "TokenReview",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": {},
        "spec": {},
        "status": {
            "authenticated": true,
            "user": {
                "username": "system:serviceaccount:payments:checkout",
                "uid": uid(&minted(cluster).mint()),
            },
            "audiences": ["orders"],
        },
    })
}

fn json_of(value: &Value) -> MockResponse {
    MockResponse::new(201, value.to_string()).with_header("content-type", "application/json")
}

#[tokio::test]
async fn what_is_no_answer_is_503() {
    let whole = confirmation(&fast_issuer()).to_string();
    let redirect = |status| MockResponse::new(status, "").with_header("location", "/elsewhere");
    for answer in [
        MockResponse::new(401, r#"{"kind":"Status","code":401}"#),
        MockResponse::new(403, r#"{"kind":"Status","code":403}"#),
        MockResponse::new(404, ""),
        MockResponse::new(409, ""),
        MockResponse::new(500, "oops"),
        MockResponse::new(500, whole.clone()),
        // as it says in answers to watches; a review knows no such thing
        MockResponse::new(202, whole.clone()),
        MockResponse::new(204, ""),
        MockResponse::new(304, ""),
        redirect(301),
        redirect(302),
        redirect(307),
        redirect(308),
        MockResponse::new(200, ""),
        MockResponse::new(200, "garbage"),
        MockResponse::new(200, "null"),
        MockResponse::new(200, "[]"),
        MockResponse::new(200, format!("{whole} and more")),
        MockResponse::truncated(whole[..whole.len() / 2].to_owned()),
        MockResponse::new(200, "<html><body>Please sign in</body></html>")
            .with_header("content-type", "text/html"),
        // all of it came, and it still breaks off
        MockResponse::truncated(whole.clone()),
        MockResponse::endless(),
        MockResponse::new(200, vec![b' '; 1 << 20]),
        // its end is well formed, and too far away
        MockResponse::new(200, format!("{}{whole}", " ".repeat(1 << 20))),
    ] {
        let label = format!("{answer:.90?}");
        let bad = Bad::answering(answer).await;
        assert_unavailable(&bad.ask().await, &label);
        assert_eq!(bad.cluster.token_reviews(), 1, "{label}");
        bad.heals().await;
    }
}

#[tokio::test]
async fn one_that_is_busy_is_not_asked_again_and_again() {
    for status in [429, 503, 504] {
        for retry_after in [None, Some("0"), Some("3600")] {
            let mut answer = MockResponse::new(status, r#"{"kind":"Status"}"#);
            if let Some(seconds) = retry_after {
                answer = answer.with_header("retry-after", seconds);
            }
            let bad = Bad::answering(answer).await;
            for _ in 0..3 {
                assert_unavailable(&bad.ask().await, &format!("{status} {retry_after:?}"));
            }
            assert_eq!(bad.cluster.token_reviews(), 1, "{status} {retry_after:?}");
            bad.heals().await;
        }
    }
}

#[tokio::test]
async fn an_answer_that_is_no_review_of_this_version_is_503() {
    let good = confirmation(&fast_issuer());
    let changed = |pointer: &str, value: Value| {
        let mut answer = good.clone();
        *answer.pointer_mut(pointer).unwrap() = value;
        answer
    };
    let without = |member: &str| {
        let mut answer = good.clone();
        answer.as_object_mut().unwrap().remove(member);
        answer
    };
    for answer in [
        changed("/kind", json!("Status")),
        changed("/kind", json!("SubjectAccessReview")),
        changed("/kind", json!("tokenreview")),
        changed("/apiVersion", json!("authentication.k8s.io/v1beta1")),
        changed("/apiVersion", json!("v1")),
        changed("/status/authenticated", json!("true")),
        changed("/status/authenticated", json!(1)),
        changed("/status/authenticated", json!(["true"])),
        changed("/status/user/uid", json!(7)),
        changed("/status/audiences", json!("orders")),
        changed("/status", json!([])),
        without("kind"),
        without("apiVersion"),
        // which no cluster says, but something in between might
        json!({}),
        json!({ "status": good["status"] }),
        json!({ "kind": "Status", "apiVersion": "v1", "status": "Success", "code": 201 }),
    ] {
        let bad = Bad::answering(json_of(&answer)).await;
        assert_unavailable(&bad.ask().await, &answer.to_string());
        bad.heals().await;
    }
}

#[tokio::test]
async fn an_answer_that_says_a_thing_twice_is_503() {
    let good = confirmation(&fast_issuer()).to_string();
    // whichever of the two a reader takes, another one would have taken the other
    for (first, second) in [
        (r#""kind":"TokenReview""#, r#""kind":"TokenReview","kind":"TokenReview""#),
        (r#""status":{"#, r#""status":{},"status":{"#),
        (r#""status":{"#, r#""status":{"authenticated":false},"st\u0061tus":{"#),
        (r#""authenticated":true"#, r#""authenticated":false,"authenticated":true"#),
        (r#""authenticated":true"#, r#""authenticated":true,"error":"gone","error":"""#),
        (r#""username":"#, r#""username":"somebody","username":"#),
        (r#""uid":"#, r#""uid":"of-another","uid":"#),
        (r#""audiences":["#, r#""audiences":["vault"],"audiences":["#),
        (r#""user":{"#, r#""user":{},"user":{"#),
    ] {
        assert_eq!(good.matches(first).count(), 1, "{first}");
        let bad = Bad::answering(MockResponse::new(201, good.replace(first, second))).await;
        assert_unavailable(&bad.ask().await, second);
        bad.heals().await;
    }
}

#[tokio::test]
async fn an_answer_that_does_not_confirm_this_token_is_401() {
    let good = confirmation(&fast_issuer());
    let status = |pointer: &str, value: Value| {
        let mut answer = good.clone();
        *answer["status"].pointer_mut(pointer).unwrap() = value;
        answer
    };
    let without = |pointer: &str, member: &str| {
        let mut answer = good.clone();
        answer["status"].pointer_mut(pointer).unwrap().as_object_mut().unwrap().remove(member);
        answer
    };
    let and_error = |error: &str| {
        let mut answer = good.clone();
        answer["status"]["error"] = json!(error);
        answer
    };
    for (answer, expected) in [
        (status("/authenticated", json!(false)), DENIED),
        (status("/authenticated", json!(null)), DENIED),
        (without("", "authenticated"), DENIED),
        (status("", json!(null)), DENIED),
        (status("", json!({})), DENIED),
        (and_error("unable to look"), DENIED),
        (and_error(" "), DENIED),
        (status("/user/username", json!("system:serviceaccount:payments:refunds")), MISMATCH),
        (status("/user/username", json!("System:serviceaccount:payments:checkout")), MISMATCH),
        (status("/user/username", json!("system:serviceaccount:payments:checkout ")), MISMATCH),
        (status("/user/username", json!("")), MISMATCH),
        (without("/user", "username"), MISMATCH),
        (status("/user/uid", json!("of-one-that-was-made-anew")), MISMATCH),
        (status("/user/uid", json!("")), MISMATCH),
        (without("/user", "uid"), MISMATCH),
        (without("", "user"), MISMATCH),
        (status("/audiences", json!(["vault"])), MISMATCH),
        (status("/audiences", json!(["Orders", "orders ", ""])), MISMATCH),
        (status("/audiences", json!([])), MISMATCH),
        // one that knows of no audiences took it for itself
        (without("", "audiences"), MISMATCH),
    ] {
        let bad = Bad::answering(json_of(&answer)).await;
        let answered = bad.ask().await;
        assert_eq!(answered.outcome(), expected, "{answer}");
        assert_eq!(answered.header("retry-after"), None, "{answer}");
        bad.cluster.reset_response(Endpoint::TokenReview);
        bad.clock.advance(5 * SECOND);
        bad.heals().await;
    }
    // what else it says is no matter
    let bad = Bad::answering(json_of(&status("/audiences", json!(["vault", "orders"])))).await;
    assert_eq!(bad.ask().await.outcome(), GOOD);
    let bad = Bad::answering(json_of(&and_error(""))).await;
    assert_eq!(bad.ask().await.outcome(), GOOD);
}

#[tokio::test]
async fn one_that_is_down_or_hangs_up_is_503() {
    let bad = Bad::answering(MockResponse::new(200, "")).await;
    bad.cluster.reset_response(Endpoint::TokenReview);
    let other = minted(&bad.cluster).service_account("batch", "nightly").mint();
    // so that the keys are here
    assert_eq!(bad.ask().await.outcome(), GOOD);
    bad.cluster.stop();
    assert_unavailable(&ask(&bad.server, "/", &other).await, "down");
    bad.cluster.restart();
    bad.clock.advance(SECOND);
    assert_eq!(ask(&bad.server, "/", &other).await.outcome(), GOOD);

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = Config::new(format!("http://{}", listener.local_addr().unwrap()).parse().unwrap());
    tokio::spawn(async move {
        loop {
            // it reads the question, and says nothing
            let (mut stream, _) = listener.accept().await.unwrap();
            assert!(stream.read(&mut [0; 1 << 12]).await.unwrap() > 0);
        }
    });
    let review = review(KubeReviewer::from_config(config).unwrap());
    let verifier =
        builder(&bad.cluster, review, &bad.clock).require_token_review().build().unwrap();
    let server = serve(&verifier).await;
    assert_unavailable(&ask(&server, "/", &other).await, "hangs up");
}

#[tokio::test]
async fn one_that_hangs_is_503_in_time() {
    let (cluster, clock) = (fast_issuer(), clock());
    cluster.respond_with(Endpoint::TokenReview, MockResponse::hang());
    let hasty = TokenReviewConfig::new(reviewer(&cluster)).timeout(SECOND);
    let verifier = builder(&cluster, hasty, &clock).require_token_review().build().unwrap();
    let server = serve(&verifier).await;
    let token = minted(&cluster).mint();
    for _ in 0..3 {
        assert_unavailable(&ask(&server, "/", &token).await, "it hangs");
        clock.advance(SECOND);
    }
    assert!((1..=3).contains(&cluster.token_reviews()));
}

/// A proxy's `localhost` would be another machine's, and the token in clear on the way there.
#[tokio::test]
async fn one_on_this_machine_is_asked_through_no_proxy() {
    let (cluster, clock) = (fast_issuer(), clock());
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = Config::new(cluster.base_url().parse().unwrap());
    config.proxy_url = Some(format!("http://{}", proxy.local_addr().unwrap()).parse().unwrap());
    let review = review(KubeReviewer::from_config(config).unwrap());
    let verifier = builder(&cluster, review, &clock).require_token_review().build().unwrap();
    let server = serve(&verifier).await;
    let token = minted(&cluster).mint();
    assert_eq!(ask(&server, "/", &token).await.outcome(), GOOD);
    assert_eq!(asked_about(&cluster), [token]);
    assert!(timeout(Duration::ZERO, proxy.accept()).await.is_err(), "nobody came");
}

/// However far it came before it fell silent.
#[tokio::test]
async fn one_that_falls_silent_is_503_in_time() {
    let (cluster, clock) = (fast_issuer(), clock());
    let with_tls = TestIssuer::builder().tls().start();
    let pem = with_tls.ca_pem().lines().filter(|line| !line.starts_with('-')).collect::<String>();
    let root = BASE64_STANDARD.decode(pem).unwrap();
    let token = minted(&cluster).mint();
    // it says nothing in the handshake; or a head, and a body that does not come, or byte by byte
    let head = "HTTP/1.1 201 Created\r\ncontent-length: 300\r\n\r\n";
    for (scheme, head, drips) in [
        ("https", "", false),
        ("http", &head[..30], false),
        ("http", head, false),
        ("http", head, true),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            assert!(stream.read(&mut [0; 1 << 12]).await.unwrap() > 0);
            stream.write_all(head.as_bytes()).await.unwrap();
            while drips && stream.write_all(b" ").await.is_ok() {
                sleep(SECOND / 50).await;
            }
            std::future::pending::<()>().await;
        });
        let mut config = Config::new(url.parse().unwrap());
        config.root_cert = Some(vec![root.clone()]);
        let hasty =
            TokenReviewConfig::new(KubeReviewer::from_config(config).unwrap()).timeout(SECOND / 2);
        let verifier = builder(&cluster, hasty, &clock).require_token_review().build().unwrap();
        verifier.ready().await;
        let verdict = timeout(60 * SECOND, verifier.verify(&token)).await.unwrap();
        let Err(VerifyError::ReviewUnavailable(why)) = verdict else { panic!("{verdict:?}") };
        assert_eq!(why.cause(), ReviewUnavailableCause::TimedOut, "{url} {head:?} {drips}");
    }
}

#[tokio::test]
async fn an_answer_as_large_as_a_real_one_may_be_is_read() {
    // the longest token that is taken at all, in an answer that repeats it
    let (cluster, clock) = (fast_issuer(), clock());
    let review = review(reviewer(&cluster));
    let verifier = builder(&cluster, review, &clock).require_token_review().build().unwrap();
    let server = serve(&verifier).await;
    let token = minted(&cluster).claim("padding", "x".repeat(11 * 1024)).mint();
    assert!(token.len() > 15 * 1024);
    assert_eq!(ask(&server, "/", &token).await.outcome(), GOOD);
    assert_eq!(asked_about(&cluster), [token]);
}

/// As behind Rancher, whose address is that of many clusters.
#[tokio::test]
async fn one_below_a_path_is_asked_there() {
    let (cluster, clock) = (fast_issuer(), clock());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/k8s/clusters/c-xyz", listener.local_addr().unwrap());
    let head = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = [0; 1 << 12];
        let read = stream.read(&mut head).await.unwrap();
        String::from_utf8_lossy(&head[..read]).into_owned()
    });
    let review = review(KubeReviewer::from_config(Config::new(url.parse().unwrap())).unwrap());
    let verifier = builder(&cluster, review, &clock).require_token_review().build().unwrap();
    verifier.verify(minted(&cluster).mint()).await.unwrap_err();
    let head = head.await.unwrap();
    let expected =
        "POST /k8s/clusters/c-xyz/apis/authentication.k8s.io/v1/tokenreviews HTTP/1.1\r\n";
    assert!(head.starts_with(expected), "{head}");
}
