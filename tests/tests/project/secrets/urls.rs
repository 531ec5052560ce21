//! Passwords and queries of URLs, and the words of a server that keys are fetched from.

use std::{error::Error, fmt::Debug};

use kube_client::Config;
use kube_oidc::{
    BuildError, Issuer, IssuerUrl, KeySource,
    source::{Fetch as _, FetchRequest, FetchResponse, HttpFetcher},
};
use kube_oidc_testing::{Endpoint, MockResponse, TestIssuer};
use kube_oidc_tests::{Log, builder_for, issuer_at_with, issuer_for, verifier_for};
use kube_oidc_token_review::KubeReviewer;
use tower_kube_oidc::{OidcAuthLayer, Origin};

/// A part of every secret here.
const SECRET: &str = "5ecre7";

fn shown(value: &impl Debug) -> String {
    format!("{value:?} {value:#?}")
}

/// An error and its sources, by `Display` and `Debug`.
fn shown_error(error: &(dyn Error + 'static)) -> String {
    let own = format!("{error} {error:?} {error:#?}\n");
    error.source().map_or(own.clone(), |source| own + &shown_error(source))
}

const ISSUER: &str = "https://issuer.example";

/// A fetcher, and what is built with it.
fn fetcher(made: Result<HttpFetcher, BuildError>) -> String {
    match made {
        Ok(fetcher) => {
            let shown = shown(&fetcher);
            shown + &built(&issuer_at_with(ISSUER, KeySource::discovery().via(fetcher)))
        }
        Err(error) => shown_error(&error),
    }
}

fn built(issuer: &Issuer) -> String {
    let builder = builder_for(issuer.clone());
    let settings = shown(&(issuer, &builder));
    match builder.build() {
        Ok(verifier) => settings + &shown(&verifier) + &shown(&OidcAuthLayer::from(verifier)),
        Err(error) => settings + &shown_error(&error),
    }
}

/// The text of a setting, good or bad.
fn set<T: Debug, E: Error + 'static>(made: Result<T, E>) -> String {
    match made {
        Ok(made) => shown(&made),
        Err(error) => shown_error(&error),
    }
}

// rule: logs-without-secrets
#[test]
fn no_setting_shows_a_password_or_a_query() {
    for (url, is_shown) in [
        ("https://me:5ecre7@keys.example/k", true),
        ("https://5ecre7@keys.example/k", true),
        ("https://keys.example/k?sig=5ecre7", true),
        ("http://keys.example/k?sig=5ecre7", true),
        ("http://keys.example/k#5ecre7", true),
        ("http://keys.example/k?me=x@5ecre7", true),
        ("https://me:5ecre7@keys.example:8443/k?5ecre7#5ecre7", true),
        // none of these is a URL
        ("https://me:5ecre7/5ecre7@keys.example/k", false),
        ("https://me:x?5ecre7@keys.example/k", false),
        ("https://me:x#5ecre7@keys.example/k", false),
        ("https://me:5ecre7@5ecre7@keys.example:port/k", false),
        ("https://me:5ecre7@keys.example:99999/k", false),
        ("me:5ecre7@keys.example/k", false),
        ("5ecre7@keys.example/k", false),
        ("https://[keys.example?sig=5ecre7", true),
        ("keys.example/k?sig=5ecre7", true),
    ] {
        let fetcher = HttpFetcher::new;
        let with_token = || fetcher().with_bearer_token("5ecre7").unwrap();
        let mut kube = Config::new("https://me:5ecre7@keys.example/?5ecre7".parse().unwrap());
        kube.proxy_url = url.parse().ok();
        for (what, text) in [
            ("jwks_uri", built(&issuer_at_with(ISSUER, KeySource::jwks(url)))),
            ("discovery", built(&issuer_at_with(ISSUER, KeySource::discovery_at(url)))),
            ("opaque name", built(&Issuer::opaque("rke", KeySource::jwks(url)))),
            ("request", shown(&FetchRequest::new(url))),
        ] {
            assert!(!text.contains(SECRET), "{what}: {text}");
            let has_host = text.contains("keys.example");
            assert_eq!(has_host, is_shown, "{what}, {url}: {text}");
        }
        for (what, text) in [
            ("issuer", set(url.parse::<IssuerUrl>())),
            ("origin", set(url.parse::<Origin>())),
            ("proxy", set(fetcher().with_proxy(url))),
            ("credentials", set(with_token().add_credential_origin(url))),
            ("API server", set(KubeReviewer::from_config(kube))),
        ] {
            assert!(!text.contains(SECRET), "{what}: {text}");
        }
    }
}

// rule: logs-without-secrets
#[test]
fn no_setting_shows_a_credential_or_a_bundle() {
    let http = HttpFetcher::new;
    for (text, words) in [
        (fetcher(http().with_bearer_token("5ecre7\n")), "authorization"),
        (fetcher(http().with_bearer_token("5ecre7")), "issuer.example"),
        (fetcher(http().with_header("x-key", "5ecre7")), "issuer.example"),
        (fetcher(http().with_header("x-key", "5ecre7\n")), "x-key"),
        (fetcher(http().with_header("x-key: 5ecre7", "x")), "invalid name"),
        (fetcher(http().with_root_certificates_pem("-----BEGIN 5ecre7\n")), "certificate"),
        (fetcher(http().with_root_certificates_pem("5ecre7")), "certificate"),
        (shown(&FetchResponse::new(200, "5ecre7").with_header("5ecre7", "5ecre7")), "200"),
    ] {
        assert!(!text.contains(SECRET), "{text}");
        assert!(text.contains(words), "{text}");
    }
}

/// What a server can say in place of keys.
// rule: logs-without-secrets
#[tokio::test]
async fn no_byte_of_a_response_is_in_an_error_or_the_log() {
    let log = Log::catch();
    let issuer = TestIssuer::start();
    let with_header = |name: &str| MockResponse::new(200, "x").with_header(name, SECRET);
    let document = |jwks_uri: &str| {
        MockResponse::new(
            200,
            format!(r#"{{"issuer":"{}","jwks_uri":"{jwks_uri}"}}"#, issuer.url()),
        )
    };
    let of_issuer =
        |name: &str| MockResponse::new(200, format!(r#"{{"issuer":"{name}","jwks_uri":"x"}}"#));
    let to = |location: &str| MockResponse::new(302, SECRET).with_header("location", location);
    for (endpoints, answer, words) in [
        (2, MockResponse::new(403, SECRET).with_header("www-authenticate", SECRET), "status 403"),
        (2, MockResponse::new(500, SECRET), "status 500"),
        (
            2,
            to("https://me:5ecre7@x.example:8443/5ecre7?5ecre7#5ecre7"),
            "to https://x.example:8443",
        ),
        (2, to("/5ecre7?5ecre7"), issuer.url()),
        (2, to("data:5ecre7"), "redirect"),
        (2, to("5ecre7:5ecre7"), "redirect"),
        (2, to("https://[5ecre7"), "redirect"),
        (2, MockResponse::new(200, SECRET), "not well formed"),
        (2, MockResponse::new(200, "<html>5ecre7"), "not well formed"),
        (2, MockResponse::new(200, "5ecre7\u{0}\"'`"), "not well formed"),
        (2, MockResponse::new(200, r#""5ecre7""#), "not well formed"),
        (2, with_header("content-type"), "not well formed"),
        (2, with_header("retry-after"), "not well formed"),
        (1, MockResponse::new(200, r#"{"keys":"5ecre7"}"#), "not well formed"),
        (1, MockResponse::new(200, r#"{"keys":[{"kty":"5ecre7","kid":1}]}"#), "key"),
        (1, MockResponse::new(200, r#"{"keys":[{"kty":"RSA","n":"5ecre7","e":"AQAB"}]}"#), "key"),
        (
            1,
            MockResponse::new(200, r#"{"keys":[{"kty":"RSA","alg":"5ecre7","use":"5ecre7"}]}"#),
            "key",
        ),
        (1, MockResponse::new(200, r#"{"5ecre7":1,"5ecre7":2}"#), "not well formed"),
        (0, MockResponse::new(200, r#"{"issuer":"5ecre7"}"#), "another issuer"),
        (0, MockResponse::new(200, r#"{"issuer":["5ecre7"]}"#), "not well formed"),
        (0, of_issuer("https://me:5ecre7@other.example/5ecre7?5ecre7"), "https://other.example"),
        (0, document("https://me:5ecre7@keys.example/5ecre7?5ecre7"), "keys.example"),
        (0, document("http://keys.example/5ecre7?5ecre7"), "http://keys.example"),
        (0, document("5ecre7:5ecre7"), "jwks_uri"),
        (0, document("https://127.0.0.1:1/5ecre7?5ecre7"), "https://127.0.0.1:1"),
        (0, document(&format!("{}/5ecre7?5ecre7", issuer.base_url())), "status 404"),
    ] {
        for (index, endpoint) in [(0, Endpoint::Discovery), (1, Endpoint::Jwks)] {
            if endpoints != 2 && endpoints != index {
                continue;
            }
            issuer.respond_with(endpoint, answer.clone());
            let trusted = issuer_for(&issuer);
            let verifier = verifier_for(trusted);
            let refreshed = verifier.refresh_keys().await.unwrap_err();
            let status = verifier.status().remove(0);
            let text =
                shown_error(&refreshed) + &shown(&(&status, &verifier)) + &status.to_string();
            assert!(!text.contains(SECRET), "{endpoint:?}, {answer:?}: {text}");
            let error = status.last_error.unwrap().error;
            assert!(error.contains(words), "{endpoint:?}, {answer:?}: {error}");
            issuer.reset_response(endpoint);
        }
    }
    let numbers = [r#"{"keys":7355608}"#, r#"{"keys":[7355608]}"#, r#"{"keys":[{"kty":7355608}]}"#];
    for numbers in numbers {
        issuer.respond_with(Endpoint::Jwks, MockResponse::new(200, numbers));
        let trusted = issuer_for(&issuer);
        let verifier = verifier_for(trusted);
        verifier.refresh_keys().await.unwrap_err();
        let error = verifier.status().remove(0).last_error.unwrap().error;
        assert!(!error.contains("7355608"), "{error}");
    }
    let log = log.text();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(SECRET)).collect();
    assert!(lines.is_empty(), "{lines:?}");
    assert!(log.contains("status 403") && !log.contains("7355608"));
}

// rule: logs-without-secrets
#[tokio::test]
async fn unreachable_server_shows_no_query() {
    let log = Log::catch();
    let fetcher = HttpFetcher::new();
    for url in ["https://127.0.0.1:1/k?sig=5ecre7", "http://127.0.0.1:1/k?sig=5ecre7"] {
        let error = fetcher.fetch(FetchRequest::new(url)).await.unwrap_err();
        assert!(!shown_error(&error).contains(SECRET), "{error}");
        let known = issuer_at_with("http://localhost:1", KeySource::jwks(url));
        let verifier = verifier_for(known);
        verifier.refresh_keys().await.unwrap_err();
        let text = shown(&(&verifier, verifier.status()));
        assert!(text.contains("127.0.0.1:1/k") && !text.contains(SECRET), "{text}");
    }
    assert!(!log.text().contains(SECRET));
}
