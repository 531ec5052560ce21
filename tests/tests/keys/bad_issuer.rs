//! What an issuer can do wrong in mid-life, and that requests with known keys feel nothing of it.

use std::{
    path::PathBuf,
    time::{Duration, Instant, SystemTime},
};

use kube_oidc::{KeyState, Verifier, VerifyError, clock::ManualClock, source::HttpFetcher};
use kube_oidc_testing::{Endpoint, MockResponse, SigningKey, TestIssuer};
use kube_oidc_tests::{Judge as _, Log, builder_for, issuer_via, token_for, verifier_for};
use tokio::task::JoinSet;

/// What happens to an issuer.
#[derive(Clone, Debug)]
enum Trouble {
    Answers(MockResponse),
    RefusesConnections,
    /// Its certificate is of another authority than the one that is trusted.
    WrongAuthority,
}

/// An https issuer, and the file with the authority that is trusted.
struct Life {
    issuer: TestIssuer,
    authority: PathBuf,
    verifier: Verifier,
    good: String,
}

impl Life {
    async fn begin(fetch_timeout: Duration) -> Self {
        let issuer = TestIssuer::builder().tls().start();
        let authority = std::env::temp_dir().join(format!("kube-oidc-ca-{}", fastrand::u64(..)));
        std::fs::write(&authority, issuer.ca_pem()).unwrap();
        let fetcher = HttpFetcher::new().with_root_certificates_file(&authority);
        let often = Duration::from_millis(100);
        let verifier = builder_for(issuer_via(&issuer, fetcher))
            .min_key_set_lifetime(often)
            .max_key_set_lifetime(often)
            .backoff(often..=often)
            .fetch_timeout(fetch_timeout)
            .build()
            .unwrap();
        let good = token_for(&issuer).mint();
        verifier.ready().await;
        Self { issuer, authority, verifier, good }
    }

    fn suffer(&self, trouble: &Trouble) {
        match trouble {
            Trouble::Answers(answer) => self.issuer.respond_with(Endpoint::Jwks, answer.clone()),
            Trouble::RefusesConnections => self.issuer.stop(),
            Trouble::WrongAuthority => {
                let other = TestIssuer::builder().tls().start();
                std::fs::write(&self.authority, other.ca_pem()).unwrap();
            }
        }
    }

    fn heal(&self, trouble: &Trouble) {
        match trouble {
            Trouble::Answers(_) => self.issuer.reset_response(Endpoint::Jwks),
            Trouble::RefusesConnections => self.issuer.restart(),
            Trouble::WrongAuthority => {
                std::fs::write(&self.authority, self.issuer.ca_pem()).unwrap();
            }
        }
    }

    /// Judges a good token again and again until something is seen in the status: it is accepted
    /// each time, without waiting.
    async fn judge_until(&self, seen: impl Fn(&kube_oidc::IssuerStatus) -> bool) -> usize {
        let start = Instant::now();
        let mut judged = 0;
        while !seen(&self.verifier.status()[0]) {
            assert!(start.elapsed().as_secs() < 60, "{}", self.verifier.status()[0]);
            assert!(matches!(self.verifier.judge_now(&self.good), Some(Ok(_))));
            judged += 1;
            tokio::task::yield_now().await;
        }
        judged
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.authority);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_to_the_issuer_known_keys_never_fail_nor_wait() {
    let log = Log::catch();
    let throttled = MockResponse::new(429, "").with_header("retry-after", "7");
    let troubles = [
        ("no answer within", Trouble::Answers(MockResponse::hang())),
        ("status 500", Trouble::Answers(MockResponse::new(500, "oops"))),
        ("not well formed", Trouble::Answers(MockResponse::new(200, "garbage"))),
        ("could not be read", Trouble::Answers(MockResponse::truncated(r#"{"keys":["#))),
        ("could not be read", Trouble::Answers(MockResponse::new(200, vec![b' '; 64 << 20]))),
        ("no usable key", Trouble::Answers(MockResponse::new(200, r#"{"keys":[]}"#))),
        (
            "no usable key",
            Trouble::Answers(MockResponse::new(200, r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#)),
        ),
        ("could not be read", Trouble::RefusesConnections),
        ("could not be read", Trouble::WrongAuthority),
    ];
    let mut lives = JoinSet::new();
    for (words, trouble) in troubles {
        let log = log.clone();
        lives.spawn(async move {
            // long, so that a busy machine is no trouble of its own
            let hangs = words == "no answer within";
            let life = Life::begin(Duration::from_secs(if hangs { 5 } else { 20 })).await;
            let url = life.issuer.url();
            life.suffer(&trouble);
            let judged = life.judge_until(|status| status.failures >= 3).await;
            let error = life.verifier.status()[0].last_error.clone().unwrap().error;
            assert!(error.contains(words), "{trouble:.60?}: {error}");
            assert_eq!(log.lines_with(&[" WARN ", url]).len(), 1, "{trouble:.60?}, {judged} times");
            life.heal(&trouble);
            let successes = |status: &kube_oidc::IssuerStatus| status.fetches - status.failures;
            let before = successes(&life.verifier.status()[0]);
            life.judge_until(|status| {
                successes(status) > before + 1 && status.state == KeyState::Fresh
            })
            .await;
            assert_eq!(
                log.lines_with(&[" INFO ", url, "answers again"]).len(),
                1,
                "{trouble:.60?}"
            );
            assert_eq!(log.lines_with(&[" WARN ", url]).len(), 1, "{trouble:.60?}");
            // what checks certificates has a line of its own for each
            let errors = log.lines_with(&["ERROR ", " kube_oidc::", url]);
            assert_eq!(errors.len(), 0, "{trouble:.60?}");
        });
    }
    lives.spawn(async move {
        let life = Life::begin(Duration::from_secs(20)).await;
        life.suffer(&Trouble::Answers(throttled));
        life.judge_until(|status| status.failures >= 1).await;
        // as long as it asked for, and up to as much again
        let next = life.verifier.status()[0].next_fetch.unwrap().as_secs();
        assert!((6..=14).contains(&next), "{next}");
        assert!(matches!(life.verifier.judge_now(&life.good), Some(Ok(_))));
    });
    while let Some(lived) = lives.join_next().await {
        lived.unwrap();
    }
}

// rule: backoff
#[tokio::test(flavor = "multi_thread")]
async fn retries_come_by_the_schedule() {
    let issuer = TestIssuer::start();
    let steps = [100, 200, 400, 400, 400].map(Duration::from_millis);
    let often = Duration::from_millis(100);
    let verifier = builder_for(&issuer)
        .min_key_set_lifetime(often)
        .max_key_set_lifetime(often)
        .backoff(steps[0]..=steps[4])
        .unknown_kid_cooldown(often)
        .build()
        .unwrap();
    verifier.ready().await;
    issuer.respond_with(Endpoint::Jwks, MockResponse::new(500, ""));
    let first = issuer.key_fetches() + 1;
    tokio::task::block_in_place(|| issuer.wait_for_key_fetches(first + steps.len()));
    let times: Vec<Instant> = issuer
        .received_requests()
        .into_iter()
        .filter(|request| request.path == "/openid/v1/jwks")
        .map(|request| request.at)
        .collect();
    // counted from the first that may have failed; the one before it may still have been good
    let gaps: Vec<Duration> =
        times[first - 1..].windows(2).take(steps.len()).map(|two| two[1] - two[0]).collect();
    for (gap, step) in gaps.iter().zip(steps) {
        // somewhere within the step, and a busy machine may be late
        let latest = step + Duration::from_secs(2);
        assert!((often / 2..latest).contains(gap), "{gaps:?} for {steps:?}");
    }
}

// rule: freshness
#[tokio::test]
async fn bad_answers_leave_the_last_good_set_in_use() {
    let issuer = TestIssuer::start();
    let verifier = builder_for(&issuer).dangerous_no_unknown_kid_cooldown().build().unwrap();
    let good = token_for(&issuer).mint();
    assert!(verifier.judge(&good).await.is_ok());
    let answers = [
        MockResponse::new(429, "").with_header("retry-after", "0"),
        MockResponse::new(500, "oops"),
        MockResponse::new(200, "garbage"),
        MockResponse::new(200, r#"{"keys":["#),
        MockResponse::new(200, r#"{"keys":[]}"#),
        MockResponse::new(200, r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#),
        MockResponse::new(200, vec![b' '; 2 * 1024 * 1024]),
        MockResponse::truncated(r#"{"keys":["#),
        MockResponse::endless(),
        MockResponse::new(304, ""),
        MockResponse::new(302, "").with_header("location", "/elsewhere"),
    ];
    let stranger = SigningKey::generate(kube_oidc_testing::SigningAlgorithm::EdDsa);
    let unknown = issuer.token().audience("orders").signed_by(&stranger).mint();
    for answer in answers {
        let label = format!("{answer:.60?}");
        issuer.respond_with(Endpoint::Jwks, answer);
        let before = issuer.key_fetches();
        // an unknown key asks for a refresh, which fails: so 503, not 401
        let retry_after = loop {
            match verifier.judge(&unknown).await.unwrap_err() {
                VerifyError::Unavailable(unavailable) if issuer.key_fetches() > before => {
                    break unavailable.retry_after();
                }
                VerifyError::Unavailable(unavailable) => {
                    // as a client does that honours Retry-After
                    tokio::time::sleep(unavailable.retry_after()).await;
                }
                error => panic!("{label}: {error}"),
            }
        };
        assert!(retry_after >= Duration::from_secs(1), "{label}");
        assert!(verifier.judge(&good).await.is_ok(), "{label}");
        // recovery, by itself
        issuer.reset_response(Endpoint::Jwks);
        loop {
            match verifier.judge(&unknown).await.unwrap_err() {
                VerifyError::Invalid(_) => break,
                VerifyError::Unavailable(unavailable) => {
                    tokio::time::sleep(unavailable.retry_after()).await;
                }
                error => panic!("{label}: {error}"),
            }
        }
    }
    assert!(
        !issuer.received_requests().iter().any(|request| request.path == "/elsewhere"),
        "a redirect is not followed"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_tells_each_change_of_state_once() {
    let log = Log::catch();
    let issuer = TestIssuer::start();
    let often = Duration::from_millis(100);
    let verifier = builder_for(&issuer)
        .min_key_set_lifetime(often)
        .max_key_set_lifetime(often)
        .backoff(often..=often)
        .unknown_kid_cooldown(often)
        .build()
        .unwrap();
    let good = token_for(&issuer).mint();
    let lines = |level: &str| log.lines_with(&[level, issuer.url()]).len();
    issuer.respond_with(Endpoint::Jwks, MockResponse::new(429, ""));
    for _ in 0..20 {
        assert!(verifier.judge(&good).await.is_err());
    }
    assert_eq!((lines("ERROR"), lines("WARN")), (1, 0), "not there at first");
    issuer.reset_response(Endpoint::Jwks);
    verifier.ready().await;
    assert_eq!(log.lines_with(&["INFO", issuer.url(), "are here"]).len(), 1);

    let some_fetches = || {
        let after = issuer.key_fetches() + 4;
        tokio::task::block_in_place(|| issuer.wait_for_key_fetches(after));
    };
    for answer in [MockResponse::new(500, ""), MockResponse::new(200, "garbage")] {
        issuer.respond_with(Endpoint::Jwks, answer);
        some_fetches();
    }
    assert!(verifier.judge(&good).await.is_ok());
    assert_eq!((lines("ERROR"), lines("WARN")), (1, 1), "then failing, however often");
    issuer.reset_response(Endpoint::Jwks);
    some_fetches();
    assert_eq!(log.lines_with(&["INFO", issuer.url(), "answers again"]).len(), 1);
    assert_eq!((lines("ERROR"), lines("WARN")), (1, 1));
}

// rule: key-changes
#[tokio::test]
async fn keys_that_come_and_go_are_logged_by_name() {
    let log = Log::catch();
    let issuer = TestIssuer::start();
    let clock = ManualClock::at(SystemTime::now());
    let verifier = builder_for(&issuer).clock(clock.clone()).build().unwrap();
    let refresh = async || {
        clock.advance(Duration::from_secs(61));
        verifier.refresh_keys().await.unwrap();
    };
    refresh().await;
    let (old, old_set) = (issuer.signing_key().kid().to_owned(), issuer.key_set().to_string());
    issuer.rotate();
    let new = issuer.signing_key().kid().to_owned();
    refresh().await;
    let changed = |texts: &[&str]| {
        log.lines_with(&[&[issuer.url(), "INFO", "keys changed"], texts].concat()).len()
    };
    assert_eq!(changed(&[&format!("added=\"\\\"{new}\\\"\" removed=\"\"")]), 1, "{}", log.text());
    issuer.drop_old_keys();
    refresh().await;
    assert_eq!(changed(&[&format!("added=\"\" removed=\"\\\"{old}\\\"\"")]), 1);
    refresh().await;
    assert_eq!(changed(&[]), 2);
    // an API server that is behind lists the old set again
    issuer.respond_with(Endpoint::Jwks, MockResponse::new(200, old_set));
    for _ in 0..2 {
        refresh().await;
        issuer.reset_response(Endpoint::Jwks);
    }
    let again = log.lines_with(&[issuer.url(), "WARN", "lists a removed key again", &old]);
    assert_eq!(again.len(), 1);
}

/// RFC 9111, 5.1: a response with an `Age` comes from a cache.
// rule: key-changes
#[tokio::test]
async fn forced_fetch_that_a_cache_answers_is_logged_once() {
    let log = Log::catch();
    let issuer = TestIssuer::start();
    let verifier = verifier_for(&issuer);
    let lines = || log.lines_with(&["WARN", issuer.base_url(), "a cache answered"]).len();
    verifier.refresh_keys().await.unwrap();
    assert_eq!(lines(), 0);
    let cached = MockResponse::new(200, issuer.key_set().to_string()).with_header("age", "61");
    issuer.respond_with(Endpoint::Jwks, cached);
    for _ in 0..3 {
        verifier.refresh_keys().await.unwrap();
        assert_eq!(lines(), 1);
    }
    issuer.reset_response(Endpoint::Jwks);
    verifier.refresh_keys().await.unwrap();
    assert_eq!(lines(), 1);
}
