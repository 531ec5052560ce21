//! Many calls at once.

use std::{sync::Arc, time::SystemTime};

use super::*;
use tokio::{
    sync::{Barrier, Semaphore},
    task::JoinSet,
};
use tower_kube_oidc::clock::ManualClock;

/// Makes calls at once, all of which are answered.
pub(super) async fn storm(layer: &ServiceAccountTokenLayer, url: &str, calls: usize) {
    // there may be fewer connections than calls, but all calls come by the layer at once
    let (http, connections) = (http(), Arc::new(Semaphore::new(100)));
    let client = layer.layer(tower::service_fn(move |request| {
        let (http, connections) = (http.clone(), Arc::clone(&connections));
        async move {
            let _one = connections.acquire().await;
            http.request(request).await
        }
    }));
    let barrier = Arc::new(Barrier::new(calls));
    let mut storm = JoinSet::new();
    for _ in 0..calls {
        let (client, barrier, request) = (client.clone(), Arc::clone(&barrier), request(url));
        storm.spawn(async move {
            barrier.wait().await;
            client.oneshot(request).await.unwrap().status()
        });
    }
    assert!(storm.join_all().await.iter().all(StatusCode::is_success));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_call_fails_while_the_token_is_replaced() {
    let issuer = TestIssuer::start();
    let server = http_callee(&issuer).await;
    let token = |round| {
        let name = format!("checkout-{round}");
        issuer.token().audience("orders").service_account("payments", &name).mint()
    };
    let volume = Arc::new(Volume::holding(token(0)));
    let clock = ManualClock::at(SystemTime::now());
    let layer = volume.layer().clock(clock.clone()).for_origin(origin(&server.url()));
    let caller = async || text(get_url(&layer, server.url()).await).await;
    assert_eq!(caller().await, "system:serviceaccount:payments:checkout-0");
    for round in 1..=20 {
        clock.advance(MINUTE);
        let (volume, next) = (Arc::clone(&volume), token(round));
        let kubelet = tokio::task::spawn_blocking(move || volume.publish(next));
        storm(&layer, &server.url(), 100).await;
        kubelet.await.unwrap();
    }
    clock.advance(MINUTE);
    assert_eq!(caller().await, "system:serviceaccount:payments:checkout-20");
}
