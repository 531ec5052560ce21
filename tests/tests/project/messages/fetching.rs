//! Fetches of keys and discovery documents, over the network.

use std::{net::TcpListener, time::Duration};

use kube_oidc::{Issuer, IssuerUrl, KeySource, source::HttpFetcher};
use kube_oidc_testing::{Endpoint, MockResponse, TestIssuer};
use kube_oidc_tests::{
    DeadPort, Log, Proxy, TempFolder, api_server_issuer, builder_for, is_child, issuer_at,
    issuer_at_with, issuer_for, issuer_via, output_of_child,
    tls::{Authority, LOOPBACK, acceptor, authority, certificate},
    verifier_for,
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use serde_json::{Value, json};
use tokio_rustls::rustls::pki_types::CertificateDer;

use super::{Case, chain};

const PASSWORD: &str = "s3cr3t-pw";
const TOKEN: &str = "t0k3n-of-the-reader";
const BODY: &str = "b0dy-of-the-response";

pub(super) async fn cases() -> Vec<Case> {
    let mut cases = parsed();
    cases.extend(proxies_of_the_environment().await);
    cases.extend(configured_proxies().await);
    cases.extend(certificates().await);
    cases.extend(statuses().await);
    cases.extend(slow_and_unreachable().await);
    cases.push(skipped_keys().await);
    cases
}

/// The error of the first fetch.
async fn error_of(issuer: Issuer, fetch_timeout: Duration) -> String {
    let builder = builder_for(issuer).fetch_timeout(fetch_timeout);
    let verifier = builder.build().unwrap();
    verifier.refresh_keys().await.unwrap_err();
    verifier.status().remove(0).last_error.unwrap().error
}

const PATIENT: Duration = Duration::from_secs(30);
const IMPATIENT: Duration = Duration::from_millis(500);

fn message<T>(result: Result<T, impl std::error::Error + 'static>) -> String {
    result.err().map_or_else(|| "no error".to_owned(), |error| chain(&error))
}

/// Names and URLs that are no issuer, and URLs of keys that are not allowed.
fn parsed() -> Vec<Case> {
    const ISSUER: &str = "https://issuer.example";
    let issuer = |url: &str| message(url.parse::<IssuerUrl>());
    let built = |issuer: Issuer| message(builder_for(issuer).build());
    let named = |name: &str| built(Issuer::opaque(name, KeySource::jwks("https://keys.example")));
    let document = "https://issuer.example/.well-known/openid-configuration";
    let list = "https://a.example,https://b.example";
    let is_document = ["discovery document", "/.well-known/", "give the issuer"];
    let is_list = ["comma", "list", "one issuer"];
    let loopback = "http://127.0.0.1:8001/openid/v1/jwks";
    let is_loopback = ["plain http on loopback", "kubectl get --raw", "KeySource::file(..)"];
    [
        ("discovery URL as issuer", issuer(document), is_document),
        ("discovery URL with a slash", issuer(&format!("{document}/")), is_document),
        ("key set URL as issuer", issuer("https://issuer.example/openid/v1/jwks"), is_document),
        ("discovery URL as opaque name", named(document), is_document),
        (
            "discovery URL as additional name",
            built(issuer_at(ISSUER).add_alias(document)),
            is_document,
        ),
        ("list of issuers", issuer(list), is_list),
        ("list with a space", issuer("https://a.example, https://b.example"), is_list),
        ("list of hosts", issuer("https://a.example,b.example"), is_list),
        ("list as opaque name", named("rke,https://b.example"), is_list),
        ("kubectl proxy", built(issuer_at_with(ISSUER, KeySource::jwks(loopback))), is_loopback),
        (
            "kubectl proxy with an opaque name",
            built(Issuer::opaque("rke", KeySource::jwks(loopback))),
            is_loopback,
        ),
    ]
    .map(|(input, message, words)| Case { input, message, words, secrets: vec![] })
    .into()
}

/// Prints the error of a fetch in a process with the variables of [`proxies_of_the_environment`].
#[tokio::test]
async fn fetch_without_a_proxy_mentions_none() {
    let dead = DeadPort::new();
    let issuer = if is_child() {
        "https://issuer.invalid".to_owned()
    } else {
        format!("https://{}", dead.address())
    };
    let error = error_of(issuer_at(issuer), PATIENT).await;
    println!("{error}");
    assert_eq!(error.contains("proxy"), is_child(), "{error}");
}

async fn proxies_of_the_environment() -> Vec<Case> {
    let forbidding = Proxy::start(None, "HTTP/1.1 403 Forbidden\r\n\r\nb0dy-of-the-response").await;
    let guarded = Proxy::start(None, "HTTP/1.1 407 Authenticate\r\n\r\nb0dy-of-the-response").await;
    let dead = DeadPort::new();
    let of = |address: &str| format!("http://me:{PASSWORD}@{address}");
    let cases = [
        (
            "proxy with 403",
            vec![("HTTPS_PROXY", of(forbidding.address()))],
            ["environment variable HTTPS_PROXY", "tunnel error: unsuccessful", "NO_PROXY"],
        ),
        (
            "proxy with 407",
            vec![("https_proxy", of(guarded.address()))],
            ["environment variable https_proxy", "authorization required", "credentials"],
        ),
        (
            "unreachable proxy",
            vec![("ALL_PROXY", of(&dead.address().to_string()))],
            ["environment variable ALL_PROXY", "Connection refused", "NO_PROXY"],
        ),
        (
            "socks5 proxy",
            vec![("all_proxy", format!("socks5://me:{PASSWORD}@127.0.0.1:1080"))],
            ["environment variable all_proxy", "unsupported scheme", "http and https"],
        ),
        (
            "proxy beside an empty variable",
            vec![("HTTPS_PROXY", String::new()), ("ALL_PROXY", of(forbidding.address()))],
            ["environment variable ALL_PROXY", "through the proxy http://127.0.0.1:", "CONNECT"],
        ),
    ];
    let test = "messages::fetching::fetch_without_a_proxy_mentions_none";
    let cases = cases.map(|(input, variables, words)| {
        // in a thread, since the proxies run in this one
        let child = tokio::task::spawn_blocking(move || {
            let variables: Vec<_> = variables.iter().map(|(name, url)| (*name, &**url)).collect();
            output_of_child(test, &variables)
        });
        (input, child, words)
    });
    let mut done = Vec::new();
    for (input, child, words) in cases {
        let message = child.await.unwrap();
        let secrets = vec![PASSWORD.to_owned(), BODY.to_owned()];
        done.push(Case { input, message, words, secrets });
    }
    done
}

async fn configured_proxies() -> Vec<Case> {
    let forbidding = Proxy::start(None, "HTTP/1.1 403 Forbidden\r\n\r\nb0dy-of-the-response").await;
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().unwrap().to_string();
    let mut cases = Vec::new();
    for (input, address, fetch_timeout, words) in [
        (
            "configured proxy with 403",
            forbidding.address(),
            PATIENT,
            ["through the proxy http://127.0.0.1:", "tunnel error", "with_proxy(..)"],
        ),
        (
            "silent proxy",
            &silent,
            IMPATIENT,
            ["through the proxy http://127.0.0.1:", "no answer within", "fetch_timeout(..)"],
        ),
    ] {
        let proxy = format!("http://me:{PASSWORD}@{address}");
        let keys = KeySource::discovery().via(HttpFetcher::new().with_proxy(&proxy).unwrap());
        let message = error_of(issuer_at_with("https://issuer.invalid", keys), fetch_timeout).await;
        let secrets = vec![PASSWORD.to_owned(), BODY.to_owned()];
        cases.push(Case { input, message, words, secrets });
    }
    cases
}

/// Certificates that curl accepts, at least the first two.
async fn certificates() -> Vec<Case> {
    let root = authority(|_| ());
    // as `openssl req -x509` makes it
    let own = {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = LOOPBACK.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        (vec![params.self_signed(&key).unwrap().der().clone()], key)
    };
    let leaf = certificate(LOOPBACK, &root, |_| ());
    let between = {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority::signed_by(params, KeyPair::generate().unwrap(), &root).unwrap()
    };
    let incomplete = certificate(LOOPBACK, &between, |_| ());
    let stranger = certificate(LOOPBACK, &authority(|_| ()), |_| ());
    let (own_pem, leaf_pem) = (pem(&own.0), pem(&leaf.0));
    let mut cases = Vec::new();
    for (input, chain, roots, words) in [
        (
            "certificate of an authority that serves itself",
            own,
            own_pem,
            ["invalid peer certificate", "CaUsedAsEndEntity", "basicConstraints=CA:FALSE"],
        ),
        (
            "certificate of the server as root",
            leaf,
            leaf_pem,
            ["UnknownIssuer", "the root certificates contain the server's own", "CA that signed"],
        ),
        (
            "missing intermediate certificate",
            incomplete,
            root.pem(),
            ["UnknownIssuer", "sent no intermediate certificate", "full chain"],
        ),
        (
            "certificate of another authority",
            stranger,
            root.pem(),
            ["invalid peer certificate", "signed", "CA"],
        ),
    ] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let acceptor = acceptor(chain, &[]);
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // the client ends the handshake
                let _ = acceptor.accept(stream).await;
            }
        });
        for fetcher in [
            HttpFetcher::new().with_root_certificates_pem(&roots),
            HttpFetcher::new().with_additional_root_certificates_pem(&roots),
        ] {
            let keys = KeySource::discovery().via(fetcher.unwrap());
            let message = error_of(issuer_at_with(&url, keys), PATIENT).await;
            cases.push(Case { input, message, words, secrets: vec![] });
        }
        server.abort();
    }
    cases
}

fn pem(chain: &[CertificateDer<'static>]) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let text = STANDARD.encode(&chain[0]);
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

async fn statuses() -> Vec<Case> {
    let mut cases = Vec::new();
    let issuer = TestIssuer::start();
    let below = TestIssuer::builder().path("/clusters/blue").start();
    let with_token = || issuer_via(&issuer, HttpFetcher::new().with_bearer_token(TOKEN).unwrap());
    let path = issuer_via(&below, HttpFetcher::new().with_bearer_token(TOKEN).unwrap());
    for (input, issuer, server, status, words) in [
        (
            "401 without a token",
            issuer_for(&issuer),
            &issuer,
            401,
            ["status 401", "no credentials were sent", "with_bearer_token_file(..)"],
        ),
        (
            "403 without a token",
            issuer_for(&issuer),
            &issuer,
            403,
            ["status 403", "no credentials were sent", "system:service-account-issuer-discovery"],
        ),
        (
            "401 with a token",
            with_token(),
            &issuer,
            401,
            ["status 401", "credentials were sent and not accepted", "expired"],
        ),
        (
            "403 with a token",
            with_token(),
            &issuer,
            403,
            ["status 403", "lack permission", "system:service-account-issuer-discovery"],
        ),
        (
            "403 of an issuer with a path",
            path,
            &below,
            403,
            ["/clusters/blue/.well-known/", "lack permission for this path", "KeySource::jwks(..)"],
        ),
    ] {
        server.respond_with(Endpoint::Discovery, MockResponse::new(status, BODY));
        let message = error_of(issuer, PATIENT).await;
        cases.push(Case { input, message, words, secrets: secrets() });
    }
    let moved = MockResponse::new(301, BODY)
        .with_header("location", "https://moved.example:8443/s3cr3t-pw?q=s3cr3t-pw");
    issuer.respond_with(Endpoint::Discovery, moved);
    cases.push(Case {
        input: "redirect",
        message: error_of(issuer_for(&issuer), PATIENT).await,
        words: ["status 301", "a redirect to https://moved.example:8443;", "KeySource::jwks(..)"],
        secrets: secrets(),
    });
    cases.push(Case {
        input: "in_cluster without discovery",
        message: in_cluster_without_discovery().await,
        words: ["status 404", "--service-account-issuer", "opaque(..)"],
        secrets: secrets(),
    });
    cases
}

fn secrets() -> Vec<String> {
    [PASSWORD, TOKEN, BODY].map(str::to_owned).into()
}

async fn in_cluster_without_discovery() -> String {
    let server = TestIssuer::builder().tls().start();
    let folder = TempFolder::with_service_account(server.ca_pem(), TOKEN);
    server.respond_with(Endpoint::Discovery, MockResponse::new(404, BODY));
    error_of(api_server_issuer(server.base_url(), &folder), PATIENT).await
}

async fn slow_and_unreachable() -> Vec<Case> {
    let (slow, elsewhere) = (TestIssuer::start(), TestIssuer::start());
    slow.respond_with(Endpoint::Discovery, MockResponse::hang());
    let dead = DeadPort::new();
    let document = format!(
        r#"{{"issuer":"{}","jwks_uri":"http://{}/s3cr3t-pw?q=s3cr3t-pw"}}"#,
        elsewhere.url(),
        dead.address()
    );
    elsewhere.respond_with(Endpoint::Discovery, MockResponse::new(200, document));
    vec![
        Case {
            input: "slow issuer",
            message: error_of(issuer_for(&slow), IMPATIENT).await,
            words: ["openid-configuration gave no answer", "within 500ms", "fetch_timeout(..)"],
            secrets: secrets(),
        },
        Case {
            input: "unreachable jwks_uri",
            message: error_of(issuer_for(&elsewhere), PATIENT).await,
            words: ["the jwks_uri of the discovery document", "refused", "KeySource::jwks(..)"],
            secrets: secrets(),
        },
    ]
}

/// 255 keys that are not usable, as a hostile issuer lists them.
async fn skipped_keys() -> Case {
    let log = Log::catch();
    let issuer = TestIssuer::start();
    let mut keys: Vec<Value> =
        (0..255).map(|index| json!({ "kty": "unknown", "kid": format!("k{index:03}") })).collect();
    keys.push(issuer.key_set()["keys"][0].clone());
    issuer
        .respond_with(Endpoint::Jwks, MockResponse::new(200, json!({ "keys": keys }).to_string()));
    let verifier = verifier_for(&issuer);
    verifier.refresh_keys().await.unwrap();
    Case {
        input: "key set with 255 unusable keys",
        message: log.lines_with(&[" WARN ", issuer.url()]).join("\n"),
        words: ["skipped=255", r"k000", "is not supported"],
        secrets: vec!["k254".to_owned()],
    }
}
