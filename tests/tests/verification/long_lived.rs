//! Tokens that live longer than they should: `warnafter`, age and lifetime.

use std::time::{Duration, SystemTime};

use kube_oidc::{BuildError, Issuer, Reason, Verifier, VerifierBuilder, clock::ManualClock};
use kube_oidc_testing::{TestIssuer, TokenBuilder};
use kube_oidc_tests::{Judge as _, Log, pinned_time};

const HOUR: Duration = Duration::from_secs(3600);
const JUST_UNDER_AN_HOUR: Duration = Duration::from_secs(3599);
const YEAR: Duration = Duration::from_secs(365 * 86_400);

struct World {
    issuer: TestIssuer,
    verifier: Verifier,
    clock: ManualClock,
}

impl World {
    fn new(set: impl FnOnce(VerifierBuilder) -> VerifierBuilder) -> Self {
        let (issuer, clock) = (TestIssuer::start(), ManualClock::at(pinned_time()));
        let trusted = Issuer::new(issuer.url().parse().unwrap());
        let keys = trusted.with_key_set(issuer.key_set().to_string());
        let builder = Verifier::builder(keys).audience("orders").clock(clock.clone());
        Self { issuer, verifier: set(builder).build().unwrap(), clock }
    }

    /// As a kube-apiserver extends it: good for a year, to be replaced after an hour.
    fn extended(&self) -> TokenBuilder {
        let minted = self.minted(YEAR).service_account("payments", "reads-it-once");
        minted.warn_after(pinned_time() + HOUR)
    }

    fn minted(&self, lifetime: Duration) -> TokenBuilder {
        let now = pinned_time();
        let minted = self.issuer.token().audience("orders");
        minted.issued_at(now).expires_at(now + lifetime)
    }

    /// What is said of a token, which is asked for twice: the second time it is remembered.
    async fn judge(&self, token: &str) -> Result<(), Reason> {
        let mut verdicts = Vec::new();
        for _ in 0..2 {
            let verdict = self.verifier.judge(token).await;
            verdicts.push(verdict.map(|_| ()).map_err(|error| error.reason()));
        }
        assert_eq!(verdicts[0], verdicts[1]);
        verdicts[0]
    }
}

#[tokio::test]
async fn a_token_past_its_warning_is_accepted_counted_and_logged() {
    let log = Log::catch();
    let world = World::new(|builder| builder);
    let token = world.extended().mint();
    let count = || world.verifier.status()[0].past_warn_after;
    assert_eq!(world.judge(&token).await, Ok(()));
    assert_eq!(count(), 0);
    world.clock.advance(JUST_UNDER_AN_HOUR);
    assert_eq!(world.judge(&token).await, Ok(()));
    assert_eq!(count(), 0);
    world.clock.advance(Duration::from_secs(1));
    // remembered or not, each use counts
    assert_eq!(world.judge(&token).await, Ok(()));
    assert_eq!(count(), 2);
    world.clock.advance(HOUR);
    assert_eq!(world.judge(&token).await, Ok(()));
    assert_eq!(count(), 4);
    let lines = log.lines_with(&["reads-it-once", "should have been replaced"]);
    assert!(!lines.is_empty());
    assert!(!log.text().contains(&token));
}

#[tokio::test]
async fn it_can_be_refused() {
    let world = World::new(VerifierBuilder::reject_past_warn_after);
    let token = world.extended().mint();
    world.clock.advance(JUST_UNDER_AN_HOUR);
    assert_eq!(world.judge(&token).await, Ok(()));
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(world.judge(&token).await, Err(Reason::PastWarnAfter));
    // one that says nothing is as good as its expiry
    assert_eq!(world.judge(&world.minted(YEAR).mint()).await, Ok(()));
    assert_eq!(world.verifier.status()[0].past_warn_after, 0);
}

#[tokio::test]
async fn age_is_limited() {
    let world = World::new(|builder| builder.max_token_age(2 * HOUR));
    let token = world.extended().mint();
    world.clock.advance(HOUR + JUST_UNDER_AN_HOUR);
    assert_eq!(world.judge(&token).await, Ok(()));
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(world.judge(&token).await, Err(Reason::TooOld));
    let ageless = world.minted(YEAR).without_claim("iat").mint();
    assert_eq!(world.judge(&ageless).await, Err(Reason::MissingIssuedAt));
    // that it expired says more
    let old = world.minted(HOUR / 2).mint();
    assert_eq!(world.judge(&old).await, Err(Reason::Expired));
}

#[tokio::test]
async fn lifetime_is_limited() {
    let world = World::new(|builder| builder.max_token_lifetime(HOUR));
    assert_eq!(world.judge(&world.minted(HOUR).mint()).await, Ok(()));
    let longer = world.minted(HOUR + Duration::from_secs(1)).mint();
    assert_eq!(world.judge(&longer).await, Err(Reason::LifetimeTooLong));
    assert_eq!(world.judge(&world.extended().mint()).await, Err(Reason::LifetimeTooLong));
    let ageless = world.minted(HOUR).without_claim("iat").mint();
    assert_eq!(world.judge(&ageless).await, Err(Reason::MissingIssuedAt));
    let endless = world.minted(HOUR).claim("exp", 253_402_300_799_u64).mint();
    assert_eq!(world.judge(&endless).await, Err(Reason::LifetimeTooLong));
}

#[test]
fn limits_of_nothing_are_errors() {
    let issuer = || Issuer::new("https://issuer.example".parse().unwrap());
    let builder = || Verifier::builder(issuer()).audience("orders");
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
    let world = World::new(|builder| builder);
    let url = world.issuer.url().to_owned();
    let both = world.minted(HOUR).audience(&url).mint();
    assert_eq!(world.judge(&world.minted(HOUR).mint()).await, Ok(()));
    assert_eq!(world.verifier.status()[0].for_api_server, 0);
    assert_eq!(world.judge(&both).await, Ok(()));
    assert_eq!(world.verifier.status()[0].for_api_server, 2);
    let before: SystemTime = pinned_time();
    assert!(world.verifier.status()[0].last_seen.unwrap() >= before);
}
