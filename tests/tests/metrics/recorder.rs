//! The recorder of this process, and what happens before it is there.

use std::{sync::OnceLock, thread};

use kube_oidc::Verifier;
use kube_oidc_testing::TestIssuer;
use kube_oidc_tests::{issuer_for, verifier_for};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::{
    deployment::{Deployment, turn},
    scrape::Scrape,
};

/// What was used while nobody recorded.
struct Before {
    issuer: TestIssuer,
    verifier: Verifier,
    /// The exporter's text right after it was installed.
    text: String,
}

static RECORDER: OnceLock<(PrometheusHandle, Before)> = OnceLock::new();

/// The recorder, which is installed at the first call, after somebody has used everything without.
pub(crate) fn recorder() -> &'static PrometheusHandle {
    &both().0
}

fn both() -> &'static (PrometheusHandle, Before) {
    RECORDER.get_or_init(|| {
        // a runtime may not be made inside of another
        let (issuer, verifier) = thread::spawn(without).join().unwrap();
        let buckets = [0.01, 0.1, 1.0];
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &buckets)
            .unwrap()
            .install_recorder()
            .unwrap();
        let text = recorder.render();
        (recorder, Before { issuer, verifier, text })
    })
}

#[tokio::main(flavor = "current_thread")]
async fn without() -> (TestIssuer, Verifier) {
    let issuer = TestIssuer::start();
    let trusted = issuer_for(&issuer).with_cluster("early");
    let verifier = verifier_for(trusted);
    verifier.record_metrics();
    for token in [issuer.token().audience("orders"), issuer.token().expired()] {
        let _ = verifier.verify(token.mint()).await;
    }
    verifier.record_metrics();
    let deployment = Deployment::without_recorder().await;
    deployment.ask("/whoami", Some(&deployment.good().mint())).await;
    deployment.ask("/policy", Some(&deployment.good().mint())).await;
    deployment.ask("/reviewed", Some(&deployment.good().mint())).await;
    deployment.ask("/whoami", None).await;
    // what was recorded by nobody is forgotten in the same way
    drop(deployment);
    (issuer, verifier)
}

#[tokio::test]
async fn without_a_recorder_nothing_happens_and_nothing_breaks() {
    let _turn = turn().await;
    let (_, Before { issuer, verifier, text }) = both();
    assert_eq!(text, "");
    // one that came too early works on, and what is looked up anew is recorded
    let token = issuer.token().audience("orders").service_account("payments", "late").mint();
    for _ in 0..2 {
        verifier.verify(&token).await.unwrap();
    }
    let scrape = Scrape::of(&[verifier]);
    let labels = [("issuer", issuer.url()), ("cluster", "early")];
    assert_eq!(scrape.value("kube_oidc_keys", &labels), Some(1.0));
    let fetches = |scrape: &Scrape, outcome| {
        let labels = [labels[0], labels[1], ("outcome", outcome)];
        scrape.value("kube_oidc_key_fetches_total", &labels)
    };
    assert_eq!(fetches(&scrape, "updated"), Some(0.0));
    verifier.refresh_keys().await.unwrap();
    let scrape = Scrape::of(&[verifier]);
    assert_eq!(fetches(&scrape, "updated"), Some(1.0));
}
