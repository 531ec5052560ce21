//! A token file whose file system hangs.

use std::{
    convert::Infallible,
    time::{Instant, SystemTime},
};

use super::*;
use http::header::AUTHORIZATION;
use kube_oidc_tests::HungFile;
use tokio::task::JoinSet;
use tower_kube_oidc::{TokenFileError, clock::ManualClock};

const ORDERS: &str = "https://orders.shop.svc";

/// The token that a call sends, from a task of the only worker.
async fn sent(layer: &ServiceAccountTokenLayer) -> Result<String, CallError> {
    let echo = tower::service_fn(async |request: Request<()>| {
        Ok::<_, Infallible>(request.headers()[AUTHORIZATION].clone())
    });
    let client = layer.layer(echo);
    let call = async move { client.oneshot(Request::get(ORDERS).body(()).unwrap()).await };
    let value = tokio::spawn(call).await.unwrap()?;
    Ok(value.to_str().unwrap().strip_prefix("Bearer ").unwrap().to_owned())
}

/// The cause of an unreadable file.
fn cause(sent: Result<String, CallError>) -> String {
    match not_sent(sent) {
        TokenError::File(error @ TokenFileError::Read { .. }) => {
            error.source().unwrap().to_string()
        }
        other => panic!("{other:?}"),
    }
}

// rule: hung-file
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn hung_token_file_leaves_the_last_token_in_use_until_it_expires() {
    let issuer = TestIssuer::start();
    let clock = ManualClock::at(SystemTime::now());
    let volume = Volume::new();
    let layer = volume.layer().clock(clock.clone()).for_origin(origin(ORDERS));
    let old = minted(&issuer).expires_in(Duration::from_secs(600)).mint();
    volume.publish(&old);
    assert_eq!(sent(&layer).await.unwrap(), old);

    let hung = HungFile::at(&volume.token_file());
    clock.advance(MINUTE);
    // the call that reads the file, and those beside it
    let mut calls = JoinSet::new();
    for _ in 0..100 {
        let layer = layer.clone();
        calls.spawn(async move { sent(&layer).await.unwrap() });
    }
    assert!(calls.join_all().await.iter().all(|sent| *sent == old));
    let start = Instant::now();
    for _ in 0..100 {
        clock.advance(2 * SECOND);
        assert_eq!(sent(&layer).await.unwrap(), old);
    }
    assert!(start.elapsed() < 50 * SECOND, "they do not wait one after the other");

    clock.advance(Duration::from_secs(600));
    for _ in 0..100 {
        clock.advance(2 * SECOND);
        let cause = cause(sent(&layer).await);
        assert_eq!(cause, "an earlier read has not returned; the file system hangs");
    }

    let new = minted(&issuer).expires_in(Duration::from_secs(86_400)).mint();
    volume.held.lock().unwrap().push(new.clone().into());
    hung.recover(&new);
    let recovered = loop {
        clock.advance(2 * SECOND);
        if let Ok(sent) = sent(&layer).await {
            break sent;
        }
    };
    assert_eq!(recovered, new);
}

// rule: hung-file
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn calls_without_a_token_fail_together_while_the_file_hangs() {
    let volume = Volume::new();
    let layer = volume.layer().for_origin(origin(ORDERS));
    let _hung = HungFile::at(&volume.token_file());
    let mut calls = JoinSet::new();
    for _ in 0..100 {
        let layer = layer.clone();
        calls.spawn(async move { cause(sent(&layer).await) });
    }
    for cause in calls.join_all().await {
        assert_eq!(cause, "the file system did not answer within 5s");
    }
}
