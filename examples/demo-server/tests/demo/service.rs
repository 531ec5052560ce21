//! The service as it is without its page.

use std::net::TcpListener;

use kube_oidc_testing::{Endpoint, MockResponse, TestIssuer};
use serde_json::{Value, json};

use crate::process::{Demo, command};

fn with_issuer(issuer: &TestIssuer) -> Demo {
    Demo::start(&["--issuer", issuer.url(), "--audience", "orders"])
}

#[test]
fn alone_it_prints_two_lines_that_do_what_they_say() {
    let mut demo = Demo::start(&[]);
    let mut curls = Vec::new();
    while curls.len() < 2 {
        if let Some(curl) = demo.line().strip_prefix("curl -i ") {
            curls.push(curl.to_owned());
        }
    }
    let statuses: Vec<u16> = curls
        .iter()
        .map(|curl| {
            let (url, header) = curl.split_once(" -H ").unwrap();
            assert_eq!(url, format!("http://{}/whoami", demo.address));
            demo.get("/whoami", &[header.trim_matches('\'')]).status
        })
        .collect();
    assert_eq!(statuses, [200, 401]);
    assert_eq!(demo.get("/healthz", &[]).status, 200);
}

#[test]
fn a_good_token_is_told_who_it_is() {
    let issuer = TestIssuer::start();
    let demo = with_issuer(&issuer);
    let token = issuer
        .token()
        .audience("vault")
        .audience("orders")
        .service_account("payments", "checkout")
        .pod("checkout-7d9f8b6c5d-x2x4z")
        .node("node-1");
    let response = demo.whoami(&token.clone().mint());
    assert_eq!(response.status, 200);
    let answer = response.json();
    let uid = |object: &str| answer[object]["uid"].clone();
    let expected = json!({
        "subject": "system:serviceaccount:payments:checkout",
        "namespace": "payments",
        "service_account": { "name": "checkout", "uid": uid("service_account") },
        "pod": { "name": "checkout-7d9f8b6c5d-x2x4z", "uid": uid("pod") },
        "node": { "name": "node-1", "uid": uid("node") },
        "secret": null,
        "audiences": ["vault", "orders"],
        "expires_at": answer["expires_at"],
    });
    assert_eq!(answer, expected);
    assert!(answer["expires_at"].is_u64() && uid("pod").is_string());

    let plain = issuer.token().audience("orders").secret("s").mint();
    let answer = demo.whoami(&plain).json();
    assert_eq!((&answer["pod"], &answer["node"]), (&Value::Null, &Value::Null));
    assert_eq!(answer["secret"]["name"], "s");
}

#[test]
fn every_other_request_is_refused_as_it_deserves() {
    let issuer = TestIssuer::start();
    let demo = with_issuer(&issuer);
    let minted = || issuer.token().audience("orders");
    let good = minted().mint();
    let header = |value: &str| format!("Authorization: {value}");
    let bearer = |token: &str| header(&format!("Bearer {token}"));
    for (headers, status) in [
        (vec![bearer(&good)], 200),
        (vec![header(&format!("bearer {good}"))], 200),
        (vec![], 401),
        (vec![bearer("garbage")], 401),
        (vec![bearer(&good), bearer(&good)], 400),
        (vec![header("Basic dXNlcjpwYXNz")], 401),
        (vec![header("Bearer")], 400),
        (vec![bearer(&"a".repeat(100_000))], 401),
        (vec![bearer(&minted().expired().mint())], 401),
        (vec![bearer(&issuer.token().audience("vault").mint())], 401),
    ] {
        let lines: Vec<&str> = headers.iter().map(String::as_str).collect();
        let response = demo.get("/whoami", &lines);
        assert_eq!(response.status, status, "{headers:.80?}");
        if status != 200 {
            assert!(response.head.contains("www-authenticate: Bearer realm=\"kubernetes\""));
            assert!(response.head.contains("content-type: application/problem+json"));
        }
    }
    // the server is none the worse for it
    assert_eq!(demo.whoami(&good).status, 200);
}

#[test]
fn it_listens_while_the_issuer_is_down_and_recovers_when_it_is_up() {
    let issuer = TestIssuer::start();
    issuer.stop();
    let demo = Demo::start(&["--issuer", issuer.url(), "--audience", "orders"]);
    assert_eq!(demo.get("/healthz", &[]).status, 200);
    let token = issuer.token().audience("orders").mint();
    let response = demo.whoami(&token);
    assert_eq!(response.status, 503);
    assert!(response.head.contains("retry-after: "));
    assert!(demo.log_line_with("could not be fetched").contains("ERROR"));

    issuer.restart();
    // it says when it has found the issuer, without being asked
    demo.log_line_with("the keys of the issuer are here");
    assert_eq!(demo.whoami(&token).status, 200);
}

#[test]
fn an_issuer_with_another_issuers_document_is_a_503_whose_cause_is_in_the_log() {
    let issuer = TestIssuer::start();
    let other = TestIssuer::start();
    let document = format!(r#"{{"issuer":"{}","jwks_uri":"{}"}}"#, other.url(), other.jwks_uri());
    issuer.respond_with(Endpoint::Discovery, MockResponse::new(200, document));
    let demo = with_issuer(&issuer);
    assert_eq!(demo.whoami(&issuer.token().audience("orders").mint()).status, 503);
    let line = demo.log_line_with("another issuer");
    assert!(line.contains(other.url()), "{line}");
}

// rule: fetch-credentials
#[test]
fn a_proxy_of_the_environment_is_not_used_for_plain_http() {
    let proxy = TestIssuer::start();
    let issuer = TestIssuer::start();
    let mut command = command(&["--issuer", issuer.url(), "--audience", "orders"]);
    command.args(["--listen", "127.0.0.1:0"]);
    for variable in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
        command.env(variable, proxy.base_url());
    }
    let demo = Demo::spawn(command);
    assert_eq!(demo.whoami(&issuer.token().audience("orders").mint()).status, 200);
    assert_eq!(proxy.received_requests().len(), 0);
}

#[test]
fn settings_come_from_the_environment_too() {
    let issuer = TestIssuer::start();
    let mut command = command(&[]);
    command
        .env("OIDC_ISSUER", issuer.url())
        .env("OIDC_AUDIENCE", "orders")
        .env("LISTEN_ADDR", "127.0.0.1:0");
    let demo = Demo::spawn(command);
    assert_eq!(demo.whoami(&issuer.token().audience("orders").mint()).status, 200);
}

#[test]
fn keys_may_be_somewhere_else_behind_a_private_authority() {
    let issuer = TestIssuer::builder().tls().start();
    let ca_file = std::env::temp_dir().join(format!("demo-ca-{}.pem", std::process::id()));
    std::fs::write(&ca_file, issuer.ca_pem()).unwrap();
    let demo = Demo::start(&[
        "--issuer",
        issuer.url(),
        "--audience",
        "orders",
        "--jwks-uri",
        issuer.jwks_uri(),
        "--ca-file",
        ca_file.to_str().unwrap(),
    ]);
    assert_eq!(demo.whoami(&issuer.token().audience("orders").mint()).status, 200);
    assert_eq!(issuer.discovery_fetches(), 0);
    std::fs::remove_file(ca_file).unwrap();
}

#[test]
fn it_is_ready_when_keys_are_there_and_says_how_they_are() {
    let issuer = TestIssuer::start();
    issuer.stop();
    let demo = with_issuer(&issuer);
    let answer = demo.get("/readyz", &[]);
    assert_eq!(answer.status, 503);
    demo.log_line_with("could not be fetched");
    assert!(demo.get("/readyz", &[]).body.contains(": unavailable"));
    issuer.restart();
    demo.log_line_with("the keys of the issuer are here");
    let answer = demo.get("/readyz", &[]);
    assert_eq!(answer.status, 200);
    assert!(answer.body.starts_with(issuer.url()), "{}", answer.body);
    assert!(answer.body.ends_with(": fresh\n"), "{}", answer.body);
    // no request with a token was needed for it
    assert_eq!(issuer.key_fetches(), 1);
}

#[test]
fn several_clusters_are_served_and_one_being_down_does_not_touch_the_other() {
    let (blue, green) = (TestIssuer::start(), TestIssuer::start());
    green.stop();
    let (one, two) = (format!("blue={}", blue.url()), format!("green={}", green.url()));
    let demo = Demo::start(&["--issuer", &one, "--issuer", &two, "--audience", "orders"]);
    assert_eq!(demo.whoami(&blue.token().audience("orders").mint()).status, 200);
    assert_eq!(demo.whoami(&green.token().audience("orders").mint()).status, 503);
    let answer = demo.get("/readyz", &[]);
    assert_eq!(answer.status, 200);
    assert!(answer.body.contains("(blue): fresh") && answer.body.contains("(green): unavailable"));
}

#[test]
fn keys_come_from_a_file_that_may_change() {
    let issuer = TestIssuer::start();
    let folder = std::env::temp_dir().join(format!("demo-keys-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    // as a mounted ConfigMap: a link that is swapped
    let publish = |version: &str| {
        let (file, next) = (folder.join(version), folder.join("next"));
        std::fs::write(&file, issuer.key_set().to_string()).unwrap();
        std::os::unix::fs::symlink(file, &next).unwrap();
        std::fs::rename(next, folder.join("jwks.json")).unwrap();
    };
    publish("v1");
    let path = folder.join("jwks.json");
    let demo = Demo::start(&[
        "--issuer",
        issuer.url(),
        "--audience",
        "orders",
        "--jwks-file",
        path.to_str().unwrap(),
    ]);
    let old = issuer.token().audience("orders").mint();
    assert_eq!(demo.whoami(&old).status, 200);
    issuer.rotate();
    issuer.drop_old_keys();
    publish("v2");
    // an unknown key id makes it look at once
    assert_eq!(demo.whoami(&issuer.token().audience("orders").mint()).status, 200);
    assert_eq!(demo.whoami(&old).status, 401);
    assert_eq!(issuer.received_requests().len(), 0);
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn durations_and_a_token_file_are_flags() {
    let issuer = TestIssuer::start();
    issuer.require_bearer_token("the-readers-token");
    let token_file = std::env::temp_dir().join(format!("demo-token-{}", std::process::id()));
    std::fs::write(&token_file, "the-readers-token\n").unwrap();
    let demo = Demo::start(&[
        "--issuer",
        issuer.url(),
        "--audience",
        "orders",
        "--jwks-bearer-token-file",
        token_file.to_str().unwrap(),
        "--unknown-kid-cooldown",
        "30s",
        "--min-key-set-lifetime",
        "200ms",
        "--max-key-set-lifetime",
        "200ms",
        "--fetch-timeout",
        "2s",
        "--max-stale",
        "1h",
    ]);
    assert_eq!(demo.whoami(&issuer.token().audience("orders").mint()).status, 200);
    // it refreshes as often as it was told to
    issuer.wait_for_key_fetches(4);
    std::fs::remove_file(token_file).unwrap();
}

#[test]
fn a_signal_ends_it_cleanly() {
    let issuer = TestIssuer::start();
    let demo = with_issuer(&issuer);
    assert_eq!(demo.whoami(&issuer.token().audience("orders").mint()).status, 200);
    assert!(demo.terminate().success());
}

// rule: audience-required, logs-without-secrets
#[test]
fn what_cannot_work_is_one_line_and_status_2() {
    let (issuer, page) = ("https://issuer.example", "--dangerous-expose-page");
    let with_password = "https://me:5ecre7@keys.example/k";
    let with_query = "http://keys.example/k?sig=5ecre7";
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let empty = std::env::temp_dir().join(format!("demo-empty-{}.pem", std::process::id()));
    std::fs::write(&empty, "").unwrap();
    let empty_path = empty.to_str().unwrap().to_owned();
    for (args, text) in [
        (vec!["--issuer", "not-a-url", "--audience", "a"], "--issuer"),
        (vec!["--issuer", "", "--audience", "a"], "--issuer"),
        (vec!["--issuer", "http://issuer.example", "--audience", "a"], "loopback"),
        (vec!["--issuer", issuer], "--audience"),
        (vec!["--issuer", issuer, "--audience", ""], "audience is empty"),
        (vec!["--issuer", issuer, "--audience", "  "], "audience is empty"),
        (vec!["--audience", ""], "audience is empty"),
        (vec!["--issuer", issuer, "--audience", "a", "--jwks-uri", "x"], "`x`"),
        (vec!["--issuer", issuer, "--audience", "a", "--jwks-uri", with_password], "keys.example"),
        (vec!["--issuer", issuer, "--audience", "a", "--jwks-uri", with_query], "keys.example"),
        (vec!["--issuer", with_password, "--audience", "a"], "credentials"),
        (vec!["--issuer", with_query, "--audience", "a"], "query"),
        (vec!["--issuer", issuer, "--audience", "a", "--ca-file", "/no/such.pem"], "/no/such.pem"),
        (vec!["--issuer", issuer, "--audience", "a", "--ca-file", "/"], "--ca-file /"),
        (vec!["--issuer", issuer, "--audience", "a", "--ca-file", &empty_path], "certificate"),
        (vec!["--jwks-uri", "https://k.example"], "--jwks-uri needs one --issuer"),
        (vec!["--ca-file", "/no/such.pem"], "--ca-file needs one --issuer"),
        (vec!["--jwks-file", "/k.json"], "--jwks-file needs one --issuer"),
        (
            vec!["--issuer", issuer, "--issuer", "b=https://b.example", "--ca-file", "/x"],
            "only one",
        ),
        (vec!["--issuer", issuer, "--issuer", issuer, "--audience", "a"], "twice"),
        (vec!["--issuer", "=https://b.example", "--audience", "a"], "cluster"),
        (
            vec!["--issuer", "=https://b.example", "--audience", ""],
            "audience is empty (an environment variable that is set to nothing?); each --issuer",
        ),
        (vec!["--in-cluster", "--audience", "a"], "KUBERNETES_SERVICE_HOST is not set"),
        (vec!["--in-cluster", "--issuer", issuer], "leave --issuer out"),
        (vec!["--in-cluster", "--jwks-file", "/k"], "--jwks-file needs one --issuer"),
        (
            vec![page, "--issuer", issuer, "--audience", "a", "--listen", &taken],
            "demo's own issuer",
        ),
        (vec![page, "--in-cluster", "--audience", "a", "--listen", &taken], "demo's own issuer"),
        (vec!["--alias", "https://old.example"], "--alias needs one --issuer"),
        (vec!["--token-review"], "--token-review is for --in-cluster"),
        (vec!["--issuer", issuer, "--audience", "a", "--token-review"], "--in-cluster"),
        (vec!["--in-cluster", "--token-review"], "KUBERNETES_SERVICE_HOST is not set"),
        (vec!["--max-stale", "soon"], "--max-stale soon"),
        (vec!["--min-key-set-lifetime", "0s"], "min_key_set_lifetime"),
        (vec!["--fetch-timeout", "2h"], "fetch_timeout"),
        (vec!["--listen", &taken], &taken),
        (vec!["--listen", "nowhere"], "nowhere"),
    ] {
        let output = command(&args).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
        assert_eq!(stderr.trim_end().lines().count(), 1, "{args:?}: {stderr}");
        assert!(stderr.starts_with("demo-server: ") && stderr.contains(text), "{args:?}: {stderr}");
        assert!(!stderr.contains("5ecre7"), "{args:?}: {stderr}");
        assert_eq!(output.stdout, b"", "{args:?}");
    }
    std::fs::remove_file(empty).unwrap();

    let mut unset = command(&["--issuer", issuer]);
    let output = unset.env("OIDC_AUDIENCE", "").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    // errors of the command line parser
    assert_eq!(command(&["--no-such-flag"]).output().unwrap().status.code(), Some(2));
    for flag in ["--jwks-uri", "--ca-file", "--jwks-bearer-token-file"] {
        let output = command(&["--jwks-file", "/k.json", flag, "x"]).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains("cannot be used with"), "{stderr}");
    }
}
