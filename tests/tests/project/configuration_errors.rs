//! The page of configuration errors has the errors of the code.

use std::{fs, path::Path, time::Duration};

use http::Method;
use kube_oidc_testing::{SigningAlgorithm, SigningKey};
use kube_oidc_tests::{is_child, run_in_child};
use serde_json::json;
use tower_kube_oidc::{
    AuthorizeLayer, BuildError, Callers, InClusterError, Issuer, IssuerUrl, KeySource,
    OidcAuthLayer, OidcAuthLayerBuilder, Policy, RequireTokenReviewLayer, Rule, Verifier,
    VerifierBuilder, in_namespace,
    source::HttpFetcher,
    token_review::{ReviewFuture, ReviewRequest, Reviewer, TokenReviewConfig},
};

/// A setting, and the text of its error.
type Row = (&'static str, String);

type SetDuration = fn(VerifierBuilder, Duration) -> VerifierBuilder;

#[derive(Debug)]
struct Unused;

impl Reviewer for Unused {
    fn review<'a>(&'a self, _: ReviewRequest<'a>) -> ReviewFuture<'a> {
        unreachable!("nothing is reviewed")
    }
}

fn text<T>(result: Result<T, impl ToString>) -> String {
    result.err().expect("an error").to_string()
}

fn url() -> IssuerUrl {
    "https://issuer.example".parse().unwrap()
}

fn issuer_url(text_of_url: &str) -> String {
    text(text_of_url.parse::<IssuerUrl>())
}

fn keys(source: impl Into<KeySource>) -> String {
    built(Issuer::with_key_source(url(), source))
}

fn built(issuer: impl Into<Issuer>) -> String {
    verifier(issuer, |builder| builder)
}

fn verifier(
    issuer: impl Into<Issuer>,
    settings: impl Fn(VerifierBuilder) -> VerifierBuilder,
) -> String {
    text(settings(Verifier::builder(issuer).audience("orders")).build())
}

fn beside(one: Issuer, other: &Issuer) -> String {
    verifier(one, |builder| builder.add_issuer(other.clone()))
}

fn layer(settings: impl Fn(OidcAuthLayerBuilder) -> OidcAuthLayerBuilder) -> String {
    text(settings(OidcAuthLayer::builder(url()).audience("orders")).build())
}

fn narrowed(audiences: &[&str]) -> String {
    let verifier = Verifier::builder(url()).audience("orders").build().unwrap();
    text(OidcAuthLayer::builder_for(verifier).narrow_audiences(audiences.iter().copied()).build())
}

fn issuer_urls() -> Vec<Row> {
    [
        "\"\"",
        "\"issuer.example\"",
        "\"http://issuer.example\"",
        "\"https://a.example,https://b.example\"",
        "\"https://issuer.example/.well-known/openid-configuration\"",
        "\"https:///tenant\"",
        "\"https://user:password@issuer.example\"",
        "\"https://issuer.example?tenant=1\"",
        "\"https://issuer .example\"",
        "\"https://issuer.example:99999\"",
    ]
    .map(|setting| (setting, issuer_url(setting.trim_matches('"'))))
    .to_vec()
}

fn issuers() -> Vec<Row> {
    let with_token = || HttpFetcher::new().with_bearer_token_file("token");
    let http = IssuerUrl::dangerous_allow_http("http://issuer.example").unwrap();
    let from_http = Issuer::with_key_source(http, KeySource::discovery().via(with_token()));
    let too_long = format!("https://keys.example/{}", "z".repeat(2048));
    let too_long = keys(KeySource::jwks(&*too_long)).replace('z', "");
    let reviewed = |config: TokenReviewConfig| built(Issuer::new(url()).with_token_review(config));
    let config = || TokenReviewConfig::new(Unused);
    let (second, day) = (Duration::from_secs(1), Duration::from_secs(24 * 3600));
    vec![
        ("`KeySource::jwks(\"keys.example\")`", keys(KeySource::jwks("keys.example"))),
        (
            "`KeySource::jwks(\"http://keys.example\")`",
            keys(KeySource::jwks("http://keys.example")),
        ),
        (
            "`KeySource::jwks(\"http://127.0.0.1:8001/openid/v1/jwks\")`",
            keys(KeySource::jwks("http://127.0.0.1:8001/openid/v1/jwks")),
        ),
        ("`KeySource::jwks(..)` of over 2,048 bytes", too_long),
        (
            "`KeySource::discovery_at(\"http://keys.example\")`",
            keys(KeySource::discovery_at("http://keys.example")),
        ),
        ("`KeySource::fixed(\"\")`", keys(KeySource::fixed(""))),
        ("`KeySource::fixed(\"{}\")`", keys(KeySource::fixed("{}"))),
        ("`KeySource::fixed(\"{\\\"keys\\\": []}\")`", keys(KeySource::fixed("{\"keys\": []}"))),
        ("`KeySource::fixed([0xff])`", keys(KeySource::fixed([0xff]))),
        (
            "`Issuer::opaque(\"rke\", KeySource::discovery())`",
            built(Issuer::opaque("rke", KeySource::discovery())),
        ),
        ("`Issuer::opaque(\" \", ..)`", built(Issuer::opaque(" ", KeySource::file("keys.json")))),
        (
            "`add_alias(\"https://a.example,https://b.example\")`",
            built(Issuer::new(url()).add_alias("https://a.example,https://b.example")),
        ),
        ("credentials for an issuer of `IssuerUrl::dangerous_allow_http(..)`", built(from_http)),
        (
            "a `RemoteKeySource` without `via(..)`, without the feature `remote`",
            BuildError::NoFetcher.to_string(),
        ),
        ("`TokenReviewConfig::cache_ttl(..)` of 2 h", reviewed(config().cache_ttl(7200 * second))),
        ("`TokenReviewConfig::timeout(..)` of 2 min", reviewed(config().timeout(120 * second))),
        (
            "`TokenReviewConfig::stale_if_error(..)` of 2 days",
            reviewed(config().stale_if_error(2 * day)),
        ),
    ]
}

fn several_issuers() -> Vec<Row> {
    let named = |name: &'static str| Issuer::new(url()).with_cluster(name);
    let other: IssuerUrl = "https://other.example".parse().unwrap();
    let key = SigningKey::generate(SigningAlgorithm::Es256).with_kid("key-1");
    let document = json!({ "keys": [key.jwk()] }).to_string();
    let fixed = |name: &'static str| {
        Issuer::with_key_source(url(), KeySource::fixed(&*document)).with_cluster(name)
    };
    vec![
        ("an issuer without `with_cluster(..)`", beside(named("blue"), &Issuer::new(other))),
        ("one issuer twice, for one cluster", beside(named("blue"), &named("blue"))),
        (
            "two clusters, one issuer name, one place of keys",
            beside(named("blue"), &named("green")),
        ),
        (
            "two clusters, one issuer name, one key in fixed key sets",
            beside(fixed("blue"), &fixed("green")),
        ),
    ]
}

fn fetchers() -> Vec<Row> {
    let new = HttpFetcher::new;
    vec![
        ("`with_root_certificates_pem(b\"\")`", text(new().with_root_certificates_pem(b""))),
        (
            "`with_proxy(\"socks5://proxy.example\")`",
            text(new().with_proxy("socks5://proxy.example")),
        ),
        ("`with_proxy(\"http://\")`", text(new().with_proxy("http://"))),
        ("`with_bearer_token(\"two\\nlines\")`", text(new().with_bearer_token("two\nlines"))),
        (
            "`with_header(\"x-key\", \"two\\nlines\")`",
            text(new().with_header("x-key", "two\nlines")),
        ),
        ("`with_header(\"x key\", ..)`", text(new().with_header("x key", "secret"))),
        (
            "`add_credential_origin(\"http://keys.example\")`",
            text(new().add_credential_origin("http://keys.example")),
        ),
    ]
}

/// In a process with an invalid address of the API server.
fn in_cluster() -> Vec<Row> {
    vec![
        (
            "no pod: `Issuer::in_cluster()`, `OidcAuthLayer::in_cluster(..)`",
            InClusterError::NotInPod("KUBERNETES_SERVICE_HOST").to_string(),
        ),
        ("the variable is set to `no host`", text(Issuer::in_cluster_via(HttpFetcher::new()))),
        (
            "no files of a service account: `HttpFetcher::in_cluster_at(\"/no/such\")`",
            text(HttpFetcher::in_cluster_at("/no/such")),
        ),
    ]
}

fn verifiers() -> Vec<Row> {
    let set = |settings: fn(VerifierBuilder) -> VerifierBuilder| verifier(url(), settings);
    let custom = Verifier::builder(Issuer::new(url()).with_token_review(Unused))
        .claims::<serde_json::Value>()
        .audience("orders");
    let (short, long) = (Duration::ZERO, Duration::MAX);
    let durations: [(_, SetDuration, _); 9] = [
        ("`leeway(..)` of 10 min", VerifierBuilder::leeway, Duration::from_secs(600)),
        ("`max_token_age(..)` of 0 s", VerifierBuilder::max_token_age, short),
        ("`max_token_lifetime(..)` of 0 s", VerifierBuilder::max_token_lifetime, short),
        ("`fetch_timeout(..)` of 0 s", VerifierBuilder::fetch_timeout, short),
        ("`min_key_set_lifetime(..)` of 0 s", VerifierBuilder::min_key_set_lifetime, short),
        ("`max_key_set_lifetime(..)` of 2 days", VerifierBuilder::max_key_set_lifetime, long),
        ("`max_stale(..)` of 60 days", VerifierBuilder::max_stale, long),
        ("`unknown_kid_cooldown(..)` of 0 s", VerifierBuilder::unknown_kid_cooldown, short),
        ("`backoff(..)` up to 2 h", |builder, end| builder.backoff(HOUR / 60..=end), 2 * HOUR),
    ];
    let durations = durations
        .map(|(setting, set, value)| (setting, verifier(url(), |builder| set(builder, value))));
    let others = vec![
        ("no audience", set(|builder| builder.audiences([""; 0]))),
        ("`audience(\"\")`", set(|builder| builder.audience(""))),
        ("`algorithms([])`", set(|builder| builder.algorithms([]))),
        ("`backoff(..)` from 0 s", set(|builder| builder.backoff(Duration::ZERO..=HOUR))),
        ("`refresh_at_fraction(0.5..=1.0)`", set(|builder| builder.refresh_at_fraction(0.5..=1.0))),
        ("`token_cache_bytes(1024)`", set(|builder| builder.token_cache_bytes(1024))),
        ("`require_token_review()` without a reviewer", set(VerifierBuilder::require_token_review)),
        ("a reviewer with custom claims", text(custom.build())),
        ("two of these", set(|builder| builder.audience("").algorithms([]))),
    ];
    others.into_iter().chain(durations).collect()
}

const HOUR: Duration = Duration::from_secs(3600);

fn layers() -> Vec<Row> {
    vec![
        (
            "`OidcAuthLayer::builder(issuer)` without an audience",
            text(OidcAuthLayer::builder(url()).build()),
        ),
        ("`OidcAuthLayer::in_cluster(\"\")`, in a pod", layer(|builder| builder.audience(""))),
        ("`narrow_audiences([\"ledger\"])`", narrowed(&["ledger"])),
        ("`narrow_audiences([])`", narrowed(&[])),
        ("`add_open_path(\"healthz\")`", layer(|builder| builder.add_open_path("healthz"))),
        (
            "`add_open_path(\"/orders/{id}\")`",
            layer(|builder| builder.add_open_path("/orders/{id}")),
        ),
        (
            "`add_open_path_for([], \"/healthz\")`",
            layer(|builder| builder.add_open_path_for([Method::GET; 0], "/healthz")),
        ),
        (
            "`add_open_grpc_method(\"grpc.health.v1.Health/Check\")`",
            layer(|builder| builder.add_open_grpc_method("grpc.health.v1.Health/Check")),
        ),
        ("`realm(\"a \\\"realm\\\"\")`", layer(|builder| builder.realm("a \"realm\""))),
        ("two of these", layer(|builder| builder.add_open_path("healthz").audience(""))),
    ]
}

fn policies() -> Vec<Row> {
    let invalid = |rule: Rule| text(Policy::new(rule));
    let verifier = Verifier::builder(url()).audience("orders").build().unwrap();
    let valid = || Policy::new(in_namespace("payments")).unwrap();
    vec![
        ("`Rule::any([])`, `Rule::all([])`", invalid(Rule::any([] as [Rule; 0]))),
        ("`in_namespace(\"Payments\")`", invalid(in_namespace("Payments").into())),
        (
            "`in_namespace(\"a\").service_account(\"a/b\")`",
            invalid(in_namespace("a").service_account("a/b").into()),
        ),
        ("`Callers::cluster(\"\")`", invalid(Callers::cluster("").into())),
        ("`Rule::audience(\"\")`", invalid(Rule::audience(""))),
        (
            "`in_namespace(\"a\").namespace(\"b\")`",
            invalid(in_namespace("a").namespace("b").into()),
        ),
        (
            "`Callers::cluster(\"blue\").service_account(\"a\")`",
            invalid(Callers::cluster("blue").service_account("a").into()),
        ),
        ("two of these", invalid(in_namespace("Payments").or(Rule::audience("")))),
        (
            "`AuthorizeLayer::builder(policy).realm(\"a \\\"realm\\\"\")`",
            text(AuthorizeLayer::builder(valid()).realm("a \"realm\"").build()),
        ),
        (
            "`RequireTokenReviewLayer::new(&verifier)` without a reviewer",
            text(RequireTokenReviewLayer::new(&verifier)),
        ),
    ]
}

fn table(rows: Vec<Row>) -> String {
    let rows = rows.into_iter().map(|(setting, text)| {
        let setting =
            if setting.starts_with('"') { format!("`{setting}`") } else { setting.into() };
        let text = if text.contains('`') { format!("`` {text} ``") } else { format!("`{text}`") };
        format!("| {setting} | {text} |\n")
    });
    format!("| setting | error |\n| --- | --- |\n{}", rows.collect::<String>())
}

#[test]
fn page_has_the_error_of_each_setting() {
    if !is_child() {
        let address = [("KUBERNETES_SERVICE_HOST", "no host"), ("KUBERNETES_SERVICE_PORT", "443")];
        return run_in_child("configuration_errors::page_has_the_error_of_each_setting", &address);
    }
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration-errors.md");
    let page = fs::read_to_string(page).unwrap();
    let tables = [
        issuer_urls(),
        issuers(),
        several_issuers(),
        fetchers(),
        in_cluster(),
        verifiers(),
        layers(),
        policies(),
    ];
    for table in tables.map(table) {
        assert!(page.contains(&table), "docs/configuration-errors.md needs this table:\n{table}");
    }
}
