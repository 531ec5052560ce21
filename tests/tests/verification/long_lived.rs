//! Tokens that live longer than they should: `warnafter`, age and lifetime.

use std::time::{Duration, SystemTime};

use kube_oidc::{BuildError, Reason, VerifierBuilder};
use kube_oidc_testing::TokenBuilder;
use kube_oidc_tests::{Log, PinnedVerifier, builder_for, issuer_at, pinned_time, rejection};

const HOUR: Duration = Duration::from_secs(3600);
const JUST_UNDER_AN_HOUR: Duration = Duration::from_secs(3599);
const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// A token as a kube-apiserver extends it: valid for a year, to be replaced after an hour.
fn extended(pinned: &PinnedVerifier) -> TokenBuilder {
    let token = pinned.token(YEAR).service_account("payments", "reads-it-once");
    token.warn_after(pinned_time() + HOUR)
}

/// Verifies a token twice. The second time, it is cached.
async fn judge(pinned: &PinnedVerifier, token: &str) -> Result<(), Reason> {
    let mut verdicts = Vec::new();
    for _ in 0..2 {
        verdicts.push(rejection(&pinned.verifier, token).await.map_or(Ok(()), Err));
    }
    assert_eq!(verdicts[0], verdicts[1]);
    verdicts[0]
}

#[tokio::test]
async fn a_token_past_its_warning_is_accepted_counted_and_logged() {
    let log = Log::catch();
    let pinned = PinnedVerifier::new(|builder| builder);
    let token = extended(&pinned).mint();
    let count = || pinned.verifier.status()[0].past_warn_after;
    assert_eq!(judge(&pinned, &token).await, Ok(()));
    assert_eq!(count(), 0);
    pinned.clock.advance(JUST_UNDER_AN_HOUR);
    assert_eq!(judge(&pinned, &token).await, Ok(()));
    assert_eq!(count(), 0);
    pinned.clock.advance(Duration::from_secs(1));
    // remembered or not, each use counts
    assert_eq!(judge(&pinned, &token).await, Ok(()));
    assert_eq!(count(), 2);
    pinned.clock.advance(HOUR);
    assert_eq!(judge(&pinned, &token).await, Ok(()));
    assert_eq!(count(), 4);
    let lines = log.lines_with(&["reads-it-once", "should have been replaced"]);
    assert!(!lines.is_empty());
    assert!(!log.text().contains(&token));
}

#[tokio::test]
async fn it_can_be_refused() {
    let pinned = PinnedVerifier::new(VerifierBuilder::reject_past_warn_after);
    let token = extended(&pinned).mint();
    pinned.clock.advance(JUST_UNDER_AN_HOUR);
    assert_eq!(judge(&pinned, &token).await, Ok(()));
    pinned.clock.advance(Duration::from_secs(1));
    assert_eq!(judge(&pinned, &token).await, Err(Reason::PastWarnAfter));
    // one that says nothing is as good as its expiry
    assert_eq!(judge(&pinned, &pinned.token(YEAR).mint()).await, Ok(()));
    assert_eq!(pinned.verifier.status()[0].past_warn_after, 0);
}

#[tokio::test]
async fn age_is_limited() {
    let pinned = PinnedVerifier::new(|builder| builder.max_token_age(2 * HOUR));
    let token = extended(&pinned).mint();
    pinned.clock.advance(HOUR + JUST_UNDER_AN_HOUR);
    assert_eq!(judge(&pinned, &token).await, Ok(()));
    pinned.clock.advance(Duration::from_secs(1));
    assert_eq!(judge(&pinned, &token).await, Err(Reason::TooOld));
    let ageless = pinned.token(YEAR).without_claim("iat").mint();
    assert_eq!(judge(&pinned, &ageless).await, Err(Reason::MissingIssuedAt));
    // that it expired says more
    let old = pinned.token(HOUR / 2).mint();
    assert_eq!(judge(&pinned, &old).await, Err(Reason::Expired));
}

#[tokio::test]
async fn lifetime_is_limited() {
    let pinned = PinnedVerifier::new(|builder| builder.max_token_lifetime(HOUR));
    assert_eq!(judge(&pinned, &pinned.token(HOUR).mint()).await, Ok(()));
    let longer = pinned.token(HOUR + Duration::from_secs(1)).mint();
    assert_eq!(judge(&pinned, &longer).await, Err(Reason::LifetimeTooLong));
    assert_eq!(judge(&pinned, &extended(&pinned).mint()).await, Err(Reason::LifetimeTooLong));
    let ageless = pinned.token(HOUR).without_claim("iat").mint();
    assert_eq!(judge(&pinned, &ageless).await, Err(Reason::MissingIssuedAt));
    let endless = pinned.token(HOUR).claim("exp", 253_402_300_799_u64).mint();
    assert_eq!(judge(&pinned, &endless).await, Err(Reason::LifetimeTooLong));
}

#[test]
fn limits_of_nothing_are_errors() {
    let issuer = || issuer_at("https://issuer.example");
    let builder = || builder_for(issuer());
    for builder in [
        builder().max_token_age(Duration::ZERO),
        builder().max_token_lifetime(Duration::from_millis(999)),
    ] {
        assert!(matches!(builder.build(), Err(BuildError::DurationOutOfRange { .. })));
    }
}

// rule: other-audiences
#[tokio::test]
async fn tokens_for_the_api_server_too_are_counted() {
    let pinned = PinnedVerifier::new(|builder| builder);
    let url = pinned.issuer.url().to_owned();
    let both = pinned.token(HOUR).audience(&url).mint();
    assert_eq!(judge(&pinned, &pinned.token(HOUR).mint()).await, Ok(()));
    assert_eq!(pinned.verifier.status()[0].for_api_server, 0);
    assert_eq!(judge(&pinned, &both).await, Ok(()));
    assert_eq!(pinned.verifier.status()[0].for_api_server, 2);
    let before: SystemTime = pinned_time();
    assert!(pinned.verifier.status()[0].last_seen.unwrap() >= before);
}
