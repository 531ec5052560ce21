//! Lines of the log that no request causes by itself.

use std::time::{Duration, SystemTime};

use kube_client::Config;
use kube_oidc::{
    Issuer, Verifier, clock::ManualClock, source::HttpFetcher, token_review::TokenReviewConfig,
};
use kube_oidc_testing::{Endpoint, MockResponse, TestIssuer};
use kube_oidc_tests::{Log, builder_for, issuer_for, issuer_via, verifier_for};
use kube_oidc_token_review::KubeReviewer;

use super::Case;

const BAD_BLOCK: &str = "-----BEGIN CERTIFICATE-----\nh1dden-block\n-----END CERTIFICATE-----\n";
const BODY: &str = "b0dy-of-the-response";

pub(super) async fn cases() -> Vec<Case> {
    vec![
        bad_root_certificate().await,
        changed_keys().await,
        failed_review("review with 401", 401, "does not accept the credentials of this service")
            .await,
        failed_review("review with 403", 403, "no permission to create tokenreviews").await,
    ]
}

fn build(issuer: Issuer) -> Verifier {
    verifier_for(issuer)
}

async fn bad_root_certificate() -> Case {
    let log = Log::catch();
    let issuer = TestIssuer::builder().tls().start();
    let file = std::env::temp_dir().join(format!("kube-oidc-roots-{}.pem", fastrand::u64(..)));
    std::fs::write(&file, [BAD_BLOCK, issuer.ca_pem()].concat()).unwrap();
    let verifier =
        build(issuer_via(&issuer, HttpFetcher::new().with_root_certificates_file(&file)));
    verifier.refresh_keys().await.unwrap();
    std::fs::remove_file(&file).unwrap();
    Case {
        input: "one bad root certificate in a file",
        message: log.lines_with(&[" WARN ", file.to_str().unwrap()]).join("\n"),
        words: ["skipped invalid root certificates", "kube-oidc-roots-", "skipped=1"],
        secrets: vec!["h1dden".to_owned()],
    }
}

async fn changed_keys() -> Case {
    let log = Log::catch();
    let issuer = TestIssuer::start();
    let clock = ManualClock::at(SystemTime::now());
    let builder = builder_for(&issuer);
    let verifier = builder.clock(clock.clone()).build().unwrap();
    verifier.refresh_keys().await.unwrap();
    issuer.rotate();
    issuer.drop_old_keys();
    // one such line is logged in a minute
    clock.advance(Duration::from_secs(61));
    verifier.refresh_keys().await.unwrap();
    Case {
        input: "rotated key",
        message: log.lines_with(&[" INFO ", issuer.url()]).join("\n"),
        words: ["the issuer's keys changed", "added=\"", "removed=\""],
        secrets: vec![],
    }
}

async fn failed_review(input: &'static str, status: u16, cause: &'static str) -> Case {
    let log = Log::catch();
    let issuer = TestIssuer::start();
    issuer.respond_with(Endpoint::TokenReview, MockResponse::new(status, BODY));
    let reviewer = KubeReviewer::from_config(Config::new(issuer.base_url().parse().unwrap()));
    let review = TokenReviewConfig::new(reviewer.unwrap());
    let verifier = build(issuer_for(&issuer).with_token_review(review));
    let token = issuer.token().audience("orders").mint();
    verifier.verify_with_review(&token).await.unwrap_err();
    Case {
        input,
        message: log.lines_with(&[" ERROR ", issuer.url()]).join("\n"),
        words: ["failed to review tokens", cause, "issuer="],
        secrets: [token.split('.').map(str::to_owned).collect(), vec![BODY.to_owned()]].concat(),
    }
}
