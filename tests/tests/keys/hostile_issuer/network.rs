//! Nobody there, somebody who does not speak, and names that lead nowhere.

use std::{
    future::{Ready, pending, ready},
    net::{SocketAddr, TcpListener},
    time::{Duration, Instant},
};

use kube_oidc::{KeySource, KeysUnavailableCause, Verifier, VerifyError, source::FetchError};
use kube_oidc_tests::{
    DeadPort, Judge as _, ScriptedFetcher, builder_for, issuer_at, issuer_at_with,
};

use super::{
    DISCOVERY, Hostile, IMPATIENT, KEYS, PATIENT, Say, assert_said, assert_still_good, status,
};

/// A connection that ends at once, or that nobody ever serves.
#[tokio::test]
async fn connections_that_lead_to_nobody() {
    let hostile = Hostile::start().await;
    for (say, words, patience) in [
        (Say::Close, "could not be read", PATIENT),
        (Say::Bytes(vec![]), "could not be read", PATIENT),
        (Say::Hang, "no answer within", IMPATIENT),
        (Say::Open(vec![]), "no answer within", IMPATIENT),
    ] {
        let living = hostile.in_mid_life(patience).await;
        hostile.server.always_says(Some(say.clone()));
        let fresh = hostile.verifier(patience);
        for verifier in [&living, &fresh] {
            verifier.refresh_keys().await.unwrap_err();
            assert_said(verifier, &format!("{say:?}"), words);
        }
        assert_still_good(&living, &hostile.token(), "in mid-life");
        assert!(!fresh.is_ready());
        hostile.tell_the_truth();
        living.refresh_keys().await.unwrap();
        fresh.refresh_keys().await.unwrap();
    }
}

/// A listener that never accepts: the kernel shakes hands, and nobody reads.
#[tokio::test]
async fn a_listener_that_never_accepts() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    assert_unavailable(&url, IMPATIENT, "no answer within").await;
}

#[tokio::test]
async fn a_port_where_nobody_listens() {
    let dead = DeadPort::new();
    assert_unavailable(&format!("http://{}", dead.address()), PATIENT, "could not be read").await;
    // somebody who is there for another protocol is nobody, too
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address: SocketAddr = udp.local_addr().unwrap();
    assert_unavailable(&format!("http://{address}"), PATIENT, "could not be read").await;
}

/// A name of RFC 6761, 6.4, which nobody can have. Whether a resolver says so or nothing at all
/// depends on the machine; the answer does not. Names that resolve late are the fetcher's own tests.
#[test]
fn a_name_that_does_not_resolve() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let url = "https://issuer.invalid";
    let verifier = runtime.block_on(assert_unavailable(url, IMPATIENT, ""));
    let error = status(&verifier).last_error.unwrap().error;
    let said_no = error.starts_with(url) && error.contains("could not be read");
    assert!(said_no || error.contains(&format!("no answer within {IMPATIENT:?}")), "{error}");
    // a resolver that waits for an answer is not waited for
    runtime.shutdown_background();
}

async fn assert_unavailable(url: &str, patience: Duration, words: &str) -> Verifier {
    let verifier = builder_for(issuer_at(url)).fetch_timeout(patience).build().unwrap();
    assert_no_keys(&verifier, url, patience, words).await;
    verifier
}

async fn assert_no_keys(verifier: &Verifier, url: &str, patience: Duration, words: &str) {
    let mint = kube_oidc_testing::TestIssuer::start();
    let token = mint.token().claim("iss", url).audience("orders").mint();
    let start = Instant::now();
    match verifier.judge(&token).await {
        Err(VerifyError::Unavailable(unavailable)) => {
            assert!(unavailable.retry_after() >= Duration::from_secs(1));
            let causes = [KeysUnavailableCause::FetchFailed, KeysUnavailableCause::FetchTimedOut];
            assert!(causes.contains(&unavailable.cause()), "{url}: {unavailable}");
        }
        other => panic!("{url}: {other:?}"),
    }
    // not much longer than it has patience, however slow the machine
    assert!(start.elapsed() < patience + PATIENT, "{url}: {:?}", start.elapsed());
    while status(verifier).last_error.is_none() {
        assert!(start.elapsed() < patience + PATIENT, "{url}");
        tokio::task::yield_now().await;
    }
    assert_said(verifier, url, words);
}

#[tokio::test]
async fn fetchers_that_misbehave() {
    let url = "https://issuer.example";
    let hangs = ScriptedFetcher::new(|_| pending());
    let fails = ScriptedFetcher::new(|_| ready(Err(FetchError::new("a reason of its own"))));
    let panics = ScriptedFetcher::new(|_| -> Ready<_> { panic!("a custom fetcher") });
    for (issuer, words) in [
        (issuer_at_with(url, KeySource::discovery().via(hangs)), "no answer within"),
        (issuer_at_with(url, KeySource::discovery().via(fails)), "a reason of its own"),
        (issuer_at_with(url, KeySource::discovery().via(panics)), "panicked"),
    ] {
        let verifier = builder_for(issuer).fetch_timeout(IMPATIENT).build().unwrap();
        assert_no_keys(&verifier, url, IMPATIENT, words).await;
    }
}

/// One server away, and the other there: the document's and the keys' may be two.
#[tokio::test]
async fn keys_on_a_server_that_is_away() {
    let hostile = Hostile::start().await;
    let dead = DeadPort::new();
    let away = dead.address();
    let document = hostile
        .document()
        .to_string()
        .replace(&format!("{}{KEYS}", hostile.server.url()), &format!("http://{away}{KEYS}"));
    let living = hostile.in_mid_life(PATIENT).await;
    hostile.server.says(KEYS, Say::http("410 Gone", &[], ""));
    living.refresh_keys().await.unwrap_err();
    hostile.server.says(DISCOVERY, super::ok(document));
    for verifier in [&living, &hostile.verifier(PATIENT)] {
        verifier.refresh_keys().await.unwrap_err();
        assert_said(verifier, "the keys' server is away", &away.to_string());
    }
    assert_still_good(&living, &hostile.token(), "in mid-life");
    // it is believed once more, and then read anew
    hostile.tell_the_truth();
    living.refresh_keys().await.unwrap_err();
    living.refresh_keys().await.unwrap();
}
