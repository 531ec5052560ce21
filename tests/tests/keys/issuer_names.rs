//! Issuers whose names change, or are those of other issuers too. Every issuer is a server of its own.

use std::{
    convert::Infallible,
    time::{Duration, SystemTime},
};

use axum::{Router, body::Body, extract::Request, routing::get};
use kube_oidc::{
    Issuer, KeySource, KeyState, Reason, Verifier, VerifierBuilder, clock::ManualClock,
    source::HttpFetcher,
};
use kube_oidc_testing::{
    Endpoint, MockResponse, SigningAlgorithm, SigningKey, TestIssuer, TokenBuilder,
};
use kube_oidc_tests::{
    HttpServer, Judge as _, Log, TempFolder, api_server_issuer, builder_for, issuer_at,
    issuer_at_with, issuer_for, verifier_for,
};
use reqwest::Client;
use tokio_stream::StreamExt as _;
use tower::ServiceExt as _;
use tower_kube_oidc::{OidcAuthLayer, Readiness, ReadinessProbe};

const OLD: &str = "https://old.example";
const NEW: &str = "https://new.example";
const DEFAULT: &str = "https://kubernetes.default.svc.cluster.local";
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const SECOND: Duration = Duration::from_secs(1);
const A_DAY_BUT_AN_HOUR: Duration = Duration::from_secs(23 * 3600);

/// An API server, and the files of a pod of its cluster.
struct Cluster {
    api_server: TestIssuer,
    folder: TempFolder,
}

impl Cluster {
    fn named(name: &str) -> Self {
        let api_server = TestIssuer::builder().tls().origin(name).start();
        let folder = TempFolder::with_service_account(api_server.ca_pem(), "token-of-the-pod");
        Self { api_server, folder }
    }

    /// The issuer as a pod of the cluster sees it.
    fn in_cluster(&self) -> Issuer {
        api_server_issuer(self.api_server.base_url(), &self.folder)
    }

    /// The issuer as it is configured elsewhere.
    fn configured(&self, name: &str) -> Issuer {
        issuer_at_with(
            name,
            KeySource::jwks(format!("{}/openid/v1/jwks", self.api_server.base_url())).via(
                HttpFetcher::new().with_root_certificates_pem(self.api_server.ca_pem()).unwrap(),
            ),
        )
    }

    /// The API server reports this name from now on.
    fn report(&self, name: &str) {
        let document = format!(r#"{{"issuer":"{name}"}}"#);
        self.api_server.respond_with(Endpoint::Discovery, MockResponse::new(200, document));
    }

    fn minted(&self, iss: &str) -> TokenBuilder {
        self.api_server.token().audience("orders").claim("iss", iss)
    }

    fn token(&self, iss: &str) -> String {
        self.minted(iss).mint()
    }

    fn address(&self) -> &str {
        self.api_server.base_url()
    }
}

fn build(issuer: Issuer) -> Verifier {
    builder(issuer).build().unwrap()
}

fn builder(issuer: Issuer) -> VerifierBuilder {
    builder_for(issuer).dangerous_no_unknown_kid_cooldown()
}

/// The cluster that a token counts for, or the reason of its rejection.
async fn verdict(verifier: &Verifier, token: &str) -> Result<Option<String>, Reason> {
    let verdict = verifier.judge(token).await;
    verdict.map(|who| who.cluster().map(str::to_owned)).map_err(|error| error.reason())
}

async fn is_accepted(verifier: &Verifier, token: &str) -> bool {
    verdict(verifier, token).await.is_ok()
}

fn names_of(verifier: &Verifier) -> Vec<String> {
    let status = verifier.status().remove(0);
    let current = status.reported_name.unwrap_or(status.issuer);
    [current].into_iter().chain(status.aliases.into_iter().map(|one| one.name)).collect()
}

// rule: issuer-migration
#[tokio::test]
async fn document_that_names_any_configured_name_is_the_issuers() {
    // one cluster at two addresses, each of which is a name of its issuer
    let (old, new) = (TestIssuer::start(), TestIssuer::start());
    old.rotate_to(new.signing_key());
    old.drop_old_keys();
    let urls = [old.url(), new.url()];
    for (first, second) in [(0, 1), (1, 0)] {
        for named in urls {
            for server in [&old, &new] {
                let document =
                    format!(r#"{{"issuer":"{named}","jwks_uri":"{}"}}"#, server.jwks_uri());
                server.respond_with(Endpoint::Discovery, MockResponse::new(200, document));
            }
            let issuer = issuer_at(urls[first]).add_alias(urls[second]);
            let often = Duration::from_millis(100);
            let verifier = builder(issuer)
                .min_key_set_lifetime(often)
                .max_key_set_lifetime(often)
                .build()
                .unwrap();
            for iss in urls {
                let token = new.token().audience("orders").claim("iss", iss).mint();
                assert!(is_accepted(&verifier, &token).await, "{first} {named} {iss}");
            }
            verifier.refresh_keys().await.unwrap();
            assert_eq!(verifier.status()[0].state, KeyState::Fresh);
        }
    }
    // and no other name
    let other = format!(r#"{{"issuer":"{OLD}","jwks_uri":"{}"}}"#, new.jwks_uri());
    new.respond_with(Endpoint::Discovery, MockResponse::new(200, other));
    let verifier = build(issuer_for(&new).add_alias(old.url()));
    let token = new.token().audience("orders").mint();
    assert_eq!(verdict(&verifier, &token).await, Err(Reason::KeysUnavailable));
}

// rule: issuer-migration
#[tokio::test]
async fn changed_name_is_followed_with_one_warning() {
    let log = Log::catch();
    let cluster = Cluster::named(OLD);
    let clock = ManualClock::at(SystemTime::now());
    let verifier = builder(cluster.in_cluster()).clock(clock.clone()).build().unwrap();
    let minted = |iss: &str| cluster.minted(iss).expires_in(10 * DAY).mint();
    let (old, new) = (minted(OLD), minted(NEW));
    let caller = verifier.judge(&old).await.unwrap();
    assert!(verifier.time_left(&caller) > 9 * DAY);
    assert_eq!(verdict(&verifier, &new).await, Err(Reason::UnknownIssuer));

    cluster.report(NEW);
    clock.advance(HOUR);
    verifier.refresh_keys().await.unwrap();
    assert!(is_accepted(&verifier, &new).await);
    assert!(is_accepted(&verifier, &old).await);
    assert_eq!(verifier.time_left(&caller), A_DAY_BUT_AN_HOUR);
    let status = verifier.status().remove(0);
    assert_eq!((status.reported_name.as_deref(), status.state), (Some(NEW), KeyState::Fresh));
    assert_eq!(status.aliases[0].name, OLD);
    assert_eq!(status.aliases[0].valid_for, Some(A_DAY_BUT_AN_HOUR));
    assert!(status.last_seen.is_some() && status.aliases[0].last_seen.is_some());
    assert!(status.to_string().contains(&format!("formerly {OLD} (for 23 h)")), "{status}");
    // keys go on as ever: a new key of the new name counts
    cluster.api_server.rotate();
    assert!(is_accepted(&verifier, &minted(NEW)).await);

    // to the second, for cached tokens and open streams as well
    clock.advance(Duration::from_secs(23 * 3600 - 1));
    assert!(is_accepted(&verifier, &old).await);
    assert_eq!(verifier.time_left(&caller), SECOND);
    clock.advance(SECOND);
    assert_eq!(verdict(&verifier, &old).await, Err(Reason::UnknownIssuer));
    assert_eq!(verifier.time_left(&caller), Duration::ZERO);
    assert!(is_accepted(&verifier, &new).await);
    assert_eq!(names_of(&verifier), [NEW]);
    assert!(verifier.is_ready());
    let changes = log.lines_with(&[" WARN ", "the issuer's name changed", cluster.address()]);
    assert_eq!(changes.len(), 1, "{changes:?}");
    assert!(changes[0].contains(OLD) && changes[0].contains(NEW), "{changes:?}");
}

// rule: issuer-label
#[tokio::test]
async fn issuer_has_one_label_before_and_after_its_name_is_learned() {
    let log = Log::catch();
    let cluster = Cluster::named(OLD);
    let label = cluster.address();
    let verifier = builder(cluster.in_cluster().with_cluster("one-label")).build().unwrap();
    let probe = ReadinessProbe::new(Readiness::any(&verifier));
    let shown = async || {
        let response = probe.clone().oneshot(Request::new(Body::empty())).await.unwrap();
        let status = verifier.status().remove(0);
        (status.issuer.clone(), status.to_string(), response.into_body())
    };
    let (issuer, line, probed) = shown().await;
    assert_eq!(issuer, label);
    assert_eq!(line, format!("{label} (one-label): unavailable, 0 keys"));
    assert_eq!(probed, format!("{label} (one-label): unavailable\n"));
    for name in [OLD, NEW] {
        cluster.report(name);
        verifier.refresh_keys().await.unwrap();
        let (issuer, line, probed) = shown().await;
        assert_eq!(issuer, label);
        assert!(line.starts_with(&format!("{label} (one-label): fresh, ")), "{line}");
        assert!(line.contains(&format!(", named {name}")), "{line}");
        assert_eq!(probed, format!("{label} (one-label): fresh\n"));
    }
    let extended = cluster.minted(NEW).warn_after(SystemTime::now()).mint();
    assert!(is_accepted(&verifier, &extended).await);
    cluster.api_server.stop();
    verifier.refresh_keys().await.unwrap_err();
    let lines = log.lines_with(&["one-label"]);
    for event in [
        "learned the issuer's name",
        "the issuer's name changed",
        "the keys of the issuer are here",
        "a token is used that should have been replaced",
        "could not be refreshed",
    ] {
        assert!(lines.iter().any(|line| line.contains(event)), "{event}: {lines:?}");
    }
    let field = format!("issuer=\"{label}\"");
    let others: Vec<_> = lines.iter().filter(|line| !line.contains(&field)).collect();
    assert!(others.is_empty(), "{others:?}");
}

// rule: issuer-migration
#[tokio::test]
async fn first_token_of_a_new_name_is_accepted() {
    let cluster = Cluster::named(OLD);
    let verifier = verifier_for(cluster.in_cluster());
    assert!(is_accepted(&verifier, &cluster.token(OLD)).await);
    cluster.report(NEW);
    assert!(is_accepted(&verifier, &cluster.token(NEW)).await);
    assert_eq!(cluster.api_server.key_fetches(), 2);
    assert_eq!(names_of(&verifier), [NEW, OLD]);
}

// rule: issuer-migration
#[tokio::test]
async fn token_of_a_name_that_is_never_reported_starts_few_fetches() {
    let cluster = Cluster::named(OLD);
    let verifier = verifier_for(cluster.in_cluster());
    assert!(is_accepted(&verifier, &cluster.token(OLD)).await);
    // not signed by the cluster, not for us, expired, or of a key that is distrusted
    let stranger = SigningKey::generate(SigningAlgorithm::Rs256);
    let minted = || cluster.minted(NEW);
    let distrusted = cluster.api_server.signing_key();
    for token in [
        minted().signed_by(&stranger).mint(),
        minted().forged_by(&stranger).mint(),
        minted().expired().mint(),
        cluster.api_server.token().claim("iss", NEW).audience("vault").mint(),
    ] {
        assert_eq!(verdict(&verifier, &token).await, Err(Reason::UnknownIssuer));
    }
    assert_eq!(cluster.api_server.key_fetches(), 1);
    for index in 0..50 {
        let token = minted().claim("iss", format!("https://{index}.example")).mint();
        assert_eq!(verdict(&verifier, &token).await, Err(Reason::UnknownIssuer));
    }
    assert_eq!(cluster.api_server.key_fetches(), 2);
    verifier.distrust_key(OLD, distrusted.kid());
    cluster.report(NEW);
    let token = minted().mint();
    assert_eq!(verdict(&verifier, &token).await, Err(Reason::UnknownIssuer));
    assert_eq!(cluster.api_server.key_fetches(), 2);
}

// rule: issuer-migration
#[tokio::test]
async fn stream_ends_with_the_former_name_of_its_token() {
    let cluster = Cluster::named(OLD);
    let clock = ManualClock::at(SystemTime::now());
    let verifier = builder(cluster.in_cluster()).clock(clock.clone()).build().unwrap();
    let token = cluster.minted(OLD).expires_in(10 * DAY).mint();
    assert!(is_accepted(&verifier, &token).await);
    cluster.report(NEW);
    verifier.refresh_keys().await.unwrap();
    clock.advance(Duration::from_secs(24 * 3600 - 1));
    let endless = async || {
        let begun = tokio_stream::once(Ok::<_, Infallible>("begun"));
        Body::from_stream(begun.chain(tokio_stream::pending()))
    };
    let layer = OidcAuthLayer::builder_for(verifier).end_streams_at_expiry().build().unwrap();
    let server = HttpServer::start(Router::new().route("/", get(endless)).layer(layer)).await;
    let request = Client::new().get(server.url()).bearer_auth(&token);
    let mut response = request.send().await.unwrap();
    assert_eq!(response.chunk().await.unwrap().unwrap(), "begun");
    clock.advance(SECOND);
    let ended = tokio::time::timeout(Duration::from_secs(30), response.chunk()).await;
    assert!(ended.unwrap().is_err());
}

// rule: issuer-migration
#[tokio::test]
async fn former_name_lasts_as_long_as_set() {
    for (set, after) in [(Duration::ZERO, false), (HOUR, true)] {
        let cluster = Cluster::named(OLD);
        let verifier = build(cluster.in_cluster().accept_former_names_for(set));
        let (old, new) = (cluster.token(OLD), cluster.token(NEW));
        let caller = verifier.judge(&old).await.unwrap();
        cluster.report(NEW);
        verifier.refresh_keys().await.unwrap();
        assert_eq!(is_accepted(&verifier, &old).await, after);
        assert_eq!(!verifier.time_left(&caller).is_zero(), after);
        assert!(is_accepted(&verifier, &new).await);
    }
}

// rule: issuer-migration
#[tokio::test]
async fn restart_in_mid_migration_accepts_configured_names_and_the_reported_one() {
    let cluster = Cluster::named(OLD);
    cluster.report(NEW);
    let (old, new) = (cluster.token(OLD), cluster.token(NEW));
    // nothing names the old name any more
    let unprepared = build(cluster.in_cluster());
    assert!(is_accepted(&unprepared, &new).await);
    assert_eq!(verdict(&unprepared, &old).await, Err(Reason::UnknownIssuer));
    // before the change, during it, and after it
    for reported in [OLD, NEW] {
        for also in [OLD, NEW] {
            cluster.report(reported);
            let verifier = build(cluster.in_cluster().add_alias(also));
            verifier.refresh_keys().await.unwrap();
            for (name, token) in [(OLD, &old), (NEW, &new)] {
                let expected = name == reported || name == also;
                assert_eq!(is_accepted(&verifier, token).await, expected, "{reported} {also}");
            }
            assert_eq!(names_of(&verifier)[0], reported);
        }
    }
}

// rule: issuer-migration
#[tokio::test]
async fn api_servers_that_report_old_and_new_in_turn_keep_both() {
    let log = Log::catch();
    let cluster = Cluster::named(OLD);
    let clock = ManualClock::at(SystemTime::now());
    let verifier = builder(cluster.in_cluster()).clock(clock.clone()).build().unwrap();
    let minted = |iss: &str| cluster.minted(iss).expires_in(30 * DAY).mint();
    let (old, new) = (minted(OLD), minted(NEW));
    assert!(is_accepted(&verifier, &old).await);
    for index in 0..10 {
        cluster.report([NEW, OLD][index % 2]);
        clock.advance(DAY / 4);
        verifier.refresh_keys().await.unwrap();
        assert!(is_accepted(&verifier, &old).await, "{index}");
        assert!(is_accepted(&verifier, &new).await, "{index}");
        assert_eq!(verifier.status()[0].state, KeyState::Fresh);
    }
    assert_eq!(log.lines_with(&[" WARN ", cluster.address()]).len(), 1);
}

// rule: name-flood
#[tokio::test]
async fn api_server_that_reports_a_new_name_each_time_fills_neither_memory_nor_log() {
    let log = Log::catch();
    let cluster = Cluster::named(OLD);
    let verifier = build(cluster.in_cluster());
    let token = cluster.token(OLD);
    assert!(is_accepted(&verifier, &token).await);
    for index in 0..40 {
        cluster.report(&format!("https://{index}.example/\\u001b[31m{}", "n".repeat(1_900)));
        verifier.refresh_keys().await.unwrap();
    }
    assert_eq!(names_of(&verifier).len(), 8);
    assert!(verifier.is_ready());
    assert!(!verifier.status()[0].to_string().contains('\u{1b}'));
    let lines = log.lines_with(&["the issuer's name changed", cluster.address()]);
    assert_eq!(lines.len(), 7);
    assert!(lines.iter().all(|line| line.len() < 600 && !line.contains('\u{1b}')), "{lines:?}");
}

// rule: name-flood
#[tokio::test]
async fn clones_of_an_issuer_share_no_names() {
    let cluster = Cluster::named(OLD);
    let issuer = cluster.in_cluster();
    let (orders, refunds) = (build(issuer.clone()), build(issuer.clone()));
    let (old, new) = (cluster.token(OLD), cluster.token(NEW));
    for verifier in [&orders, &refunds] {
        assert!(is_accepted(verifier, &old).await);
    }
    cluster.report(NEW);
    orders.refresh_keys().await.unwrap();
    assert!(is_accepted(&orders, &new).await);
    assert_eq!(names_of(&orders), [NEW, OLD]);
    assert_eq!(names_of(&refunds), [OLD]);
    // an issuer that is removed and added again learns anew
    assert!(orders.remove_issuer(NEW));
    orders.add_issuer(issuer).unwrap();
    assert_eq!(names_of(&orders), [cluster.address()]);
    assert!(is_accepted(&orders, &new).await);
    assert_eq!(verdict(&orders, &old).await, Err(Reason::UnknownIssuer));
}

#[tokio::test]
async fn each_of_several_clusters_has_the_name_that_its_own_api_server_reports() {
    let (blue, green) = (Cluster::named(OLD), Cluster::named(OLD));
    let verifier = builder(blue.in_cluster().with_cluster("blue"))
        .add_issuer(green.in_cluster().with_cluster("green"))
        .build()
        .unwrap();
    verifier.refresh_keys().await.unwrap();
    green.report(NEW);
    verifier.refresh_keys().await.unwrap();
    assert_eq!(verdict(&verifier, &green.token(NEW)).await, Ok(Some("green".to_owned())));
    assert_eq!(verdict(&verifier, &blue.token(OLD)).await, Ok(Some("blue".to_owned())));
    assert!(!is_accepted(&verifier, &blue.token(NEW)).await);
}

/// Green is configured with a name that the API server of blue reports as well. In both orders, and
/// whichever responds first, green's tokens stay green's, and blue's own keys sign for blue.
// rule: learned-name-rank
#[tokio::test]
async fn learned_name_never_outranks_a_configured_one() {
    for is_blue_first in [true, false] {
        for is_named_in_the_order_of_responses in [true, false] {
            let log = Log::catch();
            let (blue, green) = (Cluster::named(DEFAULT), Cluster::named(DEFAULT));
            // the API server of blue lists green's public key beside its own
            let own_key = blue.api_server.signing_key();
            blue.api_server.rotate_to(green.api_server.signing_key());
            let issuers = [
                blue.in_cluster().with_cluster("blue"),
                green.configured(DEFAULT).with_cluster("green"),
            ];
            let [first, second] = issuers;
            let verifier = if is_blue_first == is_named_in_the_order_of_responses {
                builder(first).add_issuer(second)
            } else {
                builder(second).add_issuer(first)
            };
            let verifier = verifier.build().unwrap();
            let (late, early) = if is_blue_first { (&green, &blue) } else { (&blue, &green) };
            late.api_server.stop();
            assert!(verifier.refresh_keys().await.is_err());
            late.api_server.restart();
            assert!(early.api_server.key_fetches() > 0);
            while verifier.refresh_keys().await.is_err() {}
            let greens = green.token(DEFAULT);
            let blues = green.minted(DEFAULT).signed_by(&own_key).mint();
            let expected = |cluster: &str| Ok(Some(cluster.to_owned()));
            for _ in 0..2 {
                assert_eq!(verdict(&verifier, &greens).await, expected("green"));
                assert_eq!(verdict(&verifier, &blues).await, expected("blue"));
            }
            let lines = log.lines_with(&[" WARN ", "list one key", blue.address()]);
            assert_eq!(lines.len(), 1, "{lines:?}");
            assert!(lines[0].contains("blue") && lines[0].contains("green"), "{lines:?}");
            // without green the key is blue's, and no caller of green stays one
            let caller = verifier.judge(&greens).await.unwrap();
            assert!(verifier.remove_cluster("green"));
            assert_eq!(verifier.time_left(&caller), Duration::ZERO);
            assert_eq!(verdict(&verifier, &greens).await, expected("blue"));
        }
    }
}

/// Nothing is known of green's keys yet when blue could take them for its own.
// rule: learned-name-rank
#[tokio::test]
async fn key_that_an_added_cluster_may_list_waits_for_its_first_answer() {
    let (blue, green) = (Cluster::named(DEFAULT), Cluster::named(DEFAULT));
    let own_key = blue.api_server.signing_key();
    blue.api_server.rotate_to(green.api_server.signing_key());
    let blues = blue.minted(DEFAULT).signed_by(&own_key).mint();
    let verifier = builder(blue.in_cluster().with_cluster("blue")).build().unwrap();
    assert_eq!(verdict(&verifier, &blues).await, Ok(Some("blue".to_owned())));
    verifier.add_issuer(green.configured(DEFAULT).with_cluster("green")).unwrap();
    let greens = green.token(DEFAULT);
    assert_eq!(verdict(&verifier, &greens).await, Ok(Some("green".to_owned())));
    assert_eq!(verdict(&verifier, &blues).await, Ok(Some("blue".to_owned())));
    // an answer is enough: a cluster that is down does not touch blue's own keys
    for is_cached in [true, false] {
        assert!(verifier.remove_cluster("green"));
        green.api_server.stop();
        verifier.add_issuer(green.configured(DEFAULT).with_cluster("green")).unwrap();
        let fresh = blue.minted(DEFAULT).signed_by(&own_key).claim("n", 1).mint();
        let token = if is_cached { &blues } else { &fresh };
        for _ in 0..2 {
            assert_eq!(verdict(&verifier, token).await, Ok(Some("blue".to_owned())));
        }
        assert!(matches!(verifier.verify_with_cached_keys(token), Some(Ok(_))));
        green.api_server.restart();
    }
}

// rule: learned-name-rank
#[tokio::test]
async fn caller_of_a_learned_name_has_no_time_left_once_the_key_is_another_clusters() {
    let (blue, green) = (Cluster::named(DEFAULT), Cluster::named(DEFAULT));
    let verifier = builder(blue.in_cluster().with_cluster("blue"))
        .add_issuer(green.configured(DEFAULT).with_cluster("green"))
        .build()
        .unwrap();
    verifier.refresh_keys().await.unwrap();
    let token = blue.token(DEFAULT);
    let caller = verifier.judge(&token).await.unwrap();
    assert_eq!(caller.cluster(), Some("blue"));
    assert!(!verifier.time_left(&caller).is_zero());
    green.api_server.rotate_to(blue.api_server.signing_key());
    verifier.refresh_keys().await.unwrap();
    assert_eq!(verifier.time_left(&caller), Duration::ZERO);
    assert_eq!(verdict(&verifier, &token).await, Ok(Some("green".to_owned())));
}

// rule: learned-name-rank
#[tokio::test]
async fn key_of_two_clusters_with_an_equal_claim_to_the_name_is_shared() {
    for learns in [true, false] {
        let (blue, green) = (Cluster::named(DEFAULT), Cluster::named(DEFAULT));
        let issuer = |cluster: &Cluster, name: &'static str| {
            let issuer = if learns { cluster.in_cluster() } else { cluster.configured(DEFAULT) };
            issuer.with_cluster(name)
        };
        let verifier =
            builder(issuer(&blue, "blue")).add_issuer(issuer(&green, "green")).build().unwrap();
        verifier.refresh_keys().await.unwrap();
        let token = blue.token(DEFAULT);
        let caller = verifier.judge(&token).await.unwrap();
        green.api_server.rotate_to(blue.api_server.signing_key());
        verifier.refresh_keys().await.unwrap();
        assert_eq!(verdict(&verifier, &token).await, Err(Reason::SharedKey));
        assert_eq!(verifier.time_left(&caller), Duration::ZERO);
        let own = green.minted(DEFAULT).signed_by(&SigningKey::generate(SigningAlgorithm::Es256));
        assert_eq!(verdict(&verifier, &own.mint()).await, Err(Reason::UnknownKey));
    }
}

// rule: other-audiences
#[tokio::test]
async fn every_name_of_an_issuer_is_an_audience_of_its_api_server() {
    let cluster = Cluster::named(OLD);
    let issuer = || cluster.in_cluster().add_alias("https://also.example");
    let issuer = || issuer().accept_former_names_for(Duration::ZERO);
    let token = |audience: &str| cluster.minted(OLD).audience(audience).mint();
    let tokens: Vec<String> = [OLD, "https://also.example", NEW].map(token).into();
    let (counts, rejects) =
        (build(issuer()), builder(issuer()).reject_api_server_audiences().build().unwrap());
    let accepts = builder(issuer()).dangerous_api_server_audiences().build().unwrap();
    let mut callers = Vec::new();
    for (token, expected) in tokens.iter().zip([true, true, false]) {
        let before = counts.status()[0].for_api_server;
        assert!(is_accepted(&counts, token).await);
        assert_eq!(counts.status()[0].for_api_server > before, expected);
        let verdict = rejects.judge(token).await;
        assert_eq!(verdict.is_err(), expected);
        callers.extend(verdict);
    }
    assert_eq!(callers.len(), 1);
    // a name that is learned later counts for tokens that are cached, and a former name for ever
    cluster.report(NEW);
    for verifier in [&counts, &rejects, &accepts] {
        verifier.refresh_keys().await.unwrap();
    }
    assert_eq!(rejects.time_left(&callers[0]), Duration::ZERO);
    let tokens: Vec<String> = [OLD, "https://also.example", NEW]
        .map(|audience| cluster.minted(NEW).audience(audience).mint())
        .into();
    for token in &tokens {
        let before = counts.status()[0].for_api_server;
        assert!(is_accepted(&counts, token).await);
        assert_eq!(counts.status()[0].for_api_server, before + 1);
        assert_eq!(verdict(&rejects, token).await, Err(Reason::ApiServerAudience));
    }
    // of these names only the token's own `iss` is ever an audience of ours
    for (audience, expected) in [(NEW, true), (OLD, false), ("https://also.example", false)] {
        let token = cluster.api_server.token().claim("iss", NEW).audience(audience).mint();
        assert_eq!(is_accepted(&accepts, &token).await, expected, "{audience}");
    }
}

// rule: other-audiences
#[tokio::test]
async fn cached_token_for_the_api_server_by_a_name_learned_later_is_counted_and_rejected() {
    let cluster = Cluster::named(OLD);
    let token = cluster.minted(OLD).audience(NEW).mint();
    let (counts, rejects) = (
        build(cluster.in_cluster()),
        builder(cluster.in_cluster()).reject_api_server_audiences().build().unwrap(),
    );
    for verifier in [&counts, &rejects] {
        assert!(is_accepted(verifier, &token).await);
    }
    assert_eq!(counts.status()[0].for_api_server, 0);
    cluster.report(NEW);
    for verifier in [&counts, &rejects] {
        verifier.refresh_keys().await.unwrap();
    }
    assert!(is_accepted(&counts, &token).await);
    assert_eq!(counts.status()[0].for_api_server, 1);
    assert_eq!(verdict(&rejects, &token).await, Err(Reason::ApiServerAudience));
}

// rule: other-audiences
#[tokio::test]
async fn extended_token_is_one_for_the_api_server() {
    let cluster = Cluster::named(OLD);
    let token = cluster.minted(OLD).warn_after(SystemTime::now() + HOUR).mint();
    let counts = build(cluster.in_cluster());
    assert!(is_accepted(&counts, &token).await);
    assert_eq!(counts.status()[0].for_api_server, 1);
    let rejects = builder(cluster.in_cluster()).reject_api_server_audiences().build().unwrap();
    assert_eq!(verdict(&rejects, &token).await, Err(Reason::ApiServerAudience));
}
