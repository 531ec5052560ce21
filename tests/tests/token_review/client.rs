//! The client of the API server: its credentials, its connections, and the lines that it causes.

use super::*;
use std::{
    fs, io,
    net::{SocketAddr, TcpListener, TcpStream},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use kube_oidc::{ReviewUnavailableCause, VerifyError};
use kube_oidc_testing::{Endpoint, MockResponse};
use kube_oidc_tests::{Log, fast_issuer};
use tokio::runtime::{Builder, Runtime};

const FAILED: &str = "failed to review tokens";
const RECOVERED: &str = "token reviews are answered again";

fn verifier_with(cluster: &TestIssuer, reviewer: impl Reviewer, clock: &ManualClock) -> Verifier {
    builder(cluster, review(reviewer), clock).require_token_review().build().unwrap()
}

/// Another token each time.
fn mint(cluster: &TestIssuer, number: usize) -> String {
    minted(cluster).claim("jti", format!("{number}")).mint()
}

/// Waits for the call that a request begins while reviews are failing.
async fn until_verified(verifier: &Verifier, token: &str) {
    while verifier.verify(token).await.is_err() {
        tokio::task::yield_now().await;
    }
}

async fn cause(verifier: &Verifier, token: &str) -> ReviewUnavailableCause {
    match verifier.verify(token).await {
        Err(VerifyError::ReviewUnavailable(unavailable)) => unavailable.cause(),
        other => panic!("{other:?}"),
    }
}

// rule: review-credentials
#[tokio::test]
async fn rejected_credentials_are_read_again_at_the_next_call() {
    let (log, cluster, clock) = (Log::catch(), fast_issuer(), clock());
    let file = std::env::temp_dir().join(format!("kube-oidc-own-token-{}", std::process::id()));
    fs::write(&file, "old").unwrap();
    let mut config = Config::new(cluster.base_url().parse().unwrap());
    config.auth_info.token_file = Some(file.to_str().unwrap().to_owned());
    let verifier = verifier_with(&cluster, KubeReviewer::from_config(config).unwrap(), &clock);
    // the keys are for anonymous readers
    verifier.ready().await;
    cluster.require_bearer_token("old");
    verifier.verify(mint(&cluster, 0)).await.unwrap();
    cluster.require_bearer_token("new");
    fs::write(&file, "new").unwrap();
    assert_eq!(cause(&verifier, &mint(&cluster, 1)).await, ReviewUnavailableCause::RequestFailed);
    verifier.verify(mint(&cluster, 2)).await.unwrap();
    fs::remove_file(&file).unwrap();
    let lines = log.lines_with(&[cluster.url(), FAILED]);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("401; it does not accept the credentials of this service"));
    assert!(!lines[0].contains("permission"), "{lines:?}");
}

// rule: review-credentials
#[tokio::test]
async fn missing_permission_is_what_a_403_says() {
    let (log, cluster, clock) = (Log::catch(), fast_issuer(), clock());
    let verifier = verifier_with(&cluster, reviewer(&cluster), &clock);
    cluster.respond_with(Endpoint::TokenReview, MockResponse::new(403, ""));
    assert_eq!(cause(&verifier, &mint(&cluster, 0)).await, ReviewUnavailableCause::RequestFailed);
    let lines = log.lines_with(&[cluster.url(), FAILED]);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("403; this service has no permission to create tokenreviews"));
}

// rule: review-credentials
#[tokio::test]
async fn outage_is_two_lines_in_the_log() {
    let (log, cluster, clock) = (Log::catch(), fast_issuer(), clock());
    let verifier = verifier_with(&cluster, reviewer(&cluster), &clock);
    verifier.verify(mint(&cluster, 0)).await.unwrap();
    cluster.stop();
    for number in 1..=200 {
        assert_eq!(
            cause(&verifier, &mint(&cluster, number)).await,
            ReviewUnavailableCause::RequestFailed
        );
        clock.advance(SECOND / 10);
    }
    cluster.restart();
    clock.advance(SECOND);
    until_verified(&verifier, &mint(&cluster, 201)).await;
    for (text, level) in [(FAILED, "ERROR"), (RECOVERED, "INFO")] {
        let lines = log.lines_with(&[cluster.url(), text]);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains(level), "{lines:?}");
    }
    // tests run beside each other, and none has any other line of kube's
    assert_eq!(log.lines_with(&["kube_client"]), [""; 0]);
}

/// As one that takes few requests at a time.
// rule: review-credentials
#[tokio::test]
async fn throttling_api_server_does_not_fill_the_log() {
    let (log, cluster, clock) = (Log::catch(), fast_issuer(), clock());
    let verifier = verifier_with(&cluster, reviewer(&cluster), &clock);
    for round in 0..20 {
        cluster.respond_with(Endpoint::TokenReview, MockResponse::new(429, ""));
        for number in 0..5 {
            cause(&verifier, &mint(&cluster, 10 * round + number)).await;
        }
        cluster.reset_response(Endpoint::TokenReview);
        clock.advance(SECOND);
        until_verified(&verifier, &mint(&cluster, 10 * round + 9)).await;
    }
    assert_eq!(log.lines_with(&[cluster.url(), FAILED]).len(), 1);
    assert_eq!(log.lines_with(&[cluster.url(), RECOVERED]).len(), 1);
}

/// Counts connections on their way to the API server.
fn counting(to: SocketAddr) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, count) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let counter = Arc::clone(&count);
    let copy = |mut from: TcpStream, mut to: TcpStream| {
        thread::spawn(move || {
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(std::net::Shutdown::Both);
        });
    };
    thread::spawn(move || {
        for from in listener.incoming() {
            counter.fetch_add(1, Ordering::SeqCst);
            let (from, to) = (from.unwrap(), TcpStream::connect(to).unwrap());
            copy(from.try_clone().unwrap(), to.try_clone().unwrap());
            copy(to, from);
        }
    });
    (address, count)
}

// rule: review-runtimes
#[test]
fn runtimes_share_connections_whose_responses_are_bounded_one_by_one() {
    let (cluster, clock) = (fast_issuer(), clock());
    let (address, connections) = counting(cluster.address());
    let config = Config::new(format!("http://{address}").parse().unwrap());
    let verifier = verifier_with(&cluster, KubeReviewer::from_config(config).unwrap(), &clock);
    let runtime = || Builder::new_current_thread().enable_all().build().unwrap();
    let runtimes: Vec<Runtime> = (0..4).map(|_| runtime()).collect();
    for number in 0..40 {
        // of which all are more than one response may be
        let token = minted(&cluster)
            .claim("jti", format!("{number}"))
            .claim("x", "x".repeat(11 * 1024))
            .mint();
        runtimes[number % runtimes.len()].block_on(verifier.verify(token)).unwrap();
    }
    assert_eq!(cluster.token_reviews(), 40);
    assert!(connections.load(Ordering::SeqCst) <= 2, "{connections:?}");
}

// rule: review-runtimes
#[tokio::test]
async fn informational_responses_without_end_are_not_read() {
    let (cluster, clock) = (fast_issuer(), clock());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let hints = "HTTP/1.1 103 Early Hints\r\nlink: </x>; rel=preload\r\n\r\n".repeat(100);
        let (mut connection, _) = listener.accept().unwrap();
        let mut sent = 0;
        while io::Write::write_all(&mut connection, hints.as_bytes()).is_ok() {
            sent += hints.len();
        }
        sent
    });
    let config = Config::new(format!("http://{address}").parse().unwrap());
    let verifier = verifier_with(&cluster, KubeReviewer::from_config(config).unwrap(), &clock);
    assert_eq!(cause(&verifier, &mint(&cluster, 0)).await, ReviewUnavailableCause::RequestFailed);
    // and what the buffers of the system hold
    assert!(server.join().unwrap() < 1 << 24);
}
