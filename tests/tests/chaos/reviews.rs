//! Reviewed tokens: pods are deleted while the API server answers reviews, fails, or hangs.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use fastrand::Rng;
use kube_oidc::{
    Issuer, KeySource, Reason, Verifier, VerifyError,
    token_review::{
        ReviewError, ReviewFuture, ReviewRequest, ReviewStatus, Reviewer, TokenReviewConfig,
    },
};
use kube_oidc_testing::{SigningAlgorithm, SigningKey};
use serde_json::json;
use tokio::time;

use crate::{
    MILLI,
    run::Tally,
    token::{self, UID, USER},
    traffic::seconds,
};

const ISSUER: &str = "https://reviewed.test";

const INTERVAL: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_millis(200);
const KEEP: Duration = Duration::from_secs(10);
/// What a busy machine adds.
const SLACK: Duration = Duration::from_secs(1);
const CLIENTS: usize = 3;
/// The tokens of one client.
const TOKENS: usize = 24;
/// How long a token is sent after its pod was deleted.
const SENT_FOR: Duration = Duration::from_secs(15);

/// How an API server answers reviews.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Answers,
    Fails,
    Hangs,
}

/// An API server, and what it said.
#[derive(Debug)]
struct ApiServer(Mutex<ApiState>);

#[derive(Debug)]
struct ApiState {
    mood: Mood,
    /// Since when it answers, or does not.
    since: Instant,
    /// The calls since then.
    calls: u64,
    /// By token.
    pods: HashMap<String, Pod>,
    fault: Option<String>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Pod {
    confirmed: Option<Instant>,
    deleted: Option<Instant>,
}

impl ApiState {
    /// While calls fail: those that begin before that is known, then one per second.
    fn check_calls(&mut self) {
        self.calls += 1;
        let known_after = 2 * u64::try_from(CLIENTS).unwrap();
        let most = known_after + 1 + self.since.elapsed().as_secs();
        if self.mood != Mood::Answers && self.calls > most {
            let since = self.since.elapsed();
            self.fault = Some(format!("{} calls in {since:?} while reviews fail", self.calls));
        }
    }
}

impl ApiServer {
    fn state(&self) -> MutexGuard<'_, ApiState> {
        self.0.lock().unwrap()
    }

    fn turn(&self, mood: Mood) {
        let mut state = self.state();
        if (state.mood == Mood::Answers) != (mood == Mood::Answers) {
            state.since = Instant::now();
            state.calls = 0;
        }
        state.mood = mood;
    }
}

impl Reviewer for ApiServer {
    fn review<'a>(&'a self, request: ReviewRequest<'a>) -> ReviewFuture<'a> {
        Box::pin(async move {
            let mood = {
                let mut state = self.state();
                state.check_calls();
                let mood = state.mood;
                if mood == Mood::Answers {
                    let pod = state.pods.get_mut(request.token()).unwrap();
                    let mut status = ReviewStatus::default();
                    if pod.deleted.is_none() {
                        pod.confirmed = Some(Instant::now());
                        status.authenticated = true;
                        USER.clone_into(&mut status.username);
                        UID.clone_into(&mut status.uid);
                        status.audiences = request.audiences().to_vec();
                    }
                    return Ok(status);
                }
                mood
            };
            if mood == Mood::Hangs {
                std::future::pending::<()>().await;
            }
            Err(ReviewError::new("connection refused"))
        })
    }
}

/// An issuer whose tokens are reviewed.
pub(crate) struct Reviews {
    verifier: Verifier,
    key: SigningKey,
    api: Arc<ApiServer>,
    keep: Option<Duration>,
    disturbances: Arc<Tally>,
    duties: Arc<Tally>,
    stop: Arc<AtomicBool>,
}

struct Token {
    text: String,
    was_rejected: bool,
}

impl Reviews {
    pub(crate) fn new(
        keep: Option<Duration>,
        [disturbances, duties]: [&Arc<Tally>; 2],
        stop: &Arc<AtomicBool>,
    ) -> Arc<Self> {
        let key = SigningKey::generate(SigningAlgorithm::EdDsa);
        let state = ApiState {
            mood: Mood::Answers,
            since: Instant::now(),
            calls: 0,
            pods: HashMap::new(),
            fault: None,
        };
        let api = Arc::new(ApiServer(Mutex::new(state)));
        let review = TokenReviewConfig::new(Arc::clone(&api)).cache_ttl(INTERVAL).timeout(TIMEOUT);
        let review = match keep {
            Some(keep) => review.stale_if_error(keep),
            None => review.fail_closed(),
        };
        let issuer = Issuer::with_key_source(
            ISSUER.parse().unwrap(),
            KeySource::fixed(json!({ "keys": [key.jwk()] }).to_string()),
        )
        .with_token_review(review);
        let verifier = Verifier::builder(issuer).audience("orders").build().unwrap();
        let (disturbances, duties) = (Arc::clone(disturbances), Arc::clone(duties));
        Arc::new(Self { verifier, key, api, keep, disturbances, duties, stop: Arc::clone(stop) })
    }

    /// One that keeps answers, and one that does not.
    pub(crate) fn both(tallies: [&Arc<Tally>; 2], stop: &Arc<AtomicBool>) -> [Arc<Self>; 2] {
        [Some(KEEP), None].map(|keep| Self::new(keep, tallies, stop))
    }

    pub(crate) fn start(self: &Arc<Self>, rng: &mut Rng) -> Vec<tokio::task::JoinHandle<()>> {
        let mut tasks = vec![tokio::spawn(Arc::clone(self).trouble(rng.u64(..)))];
        for _ in 0..CLIENTS {
            tasks.push(tokio::spawn(Arc::clone(self).client(rng.u64(..))));
        }
        tasks
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    async fn trouble(self: Arc<Self>, seed: u64) {
        let mut rng = Rng::with_seed(seed);
        while !self.is_over() {
            self.pause(MILLI * rng.u32(500..5_000)).await;
            self.disturbances.count("failing reviews");
            for _ in 0..rng.u8(1..3) {
                self.api.turn(if rng.bool() { Mood::Fails } else { Mood::Hangs });
                self.pause(MILLI * rng.u32(200..1_500)).await;
            }
            self.api.turn(Mood::Answers);
        }
    }

    /// Waits, but not beyond the end.
    async fn pause(&self, mut left: Duration) {
        while !left.is_zero() && !self.is_over() {
            let step = left.min(100 * MILLI);
            time::sleep(step).await;
            left -= step;
        }
    }

    fn mint(&self, rng: &mut Rng) -> Token {
        let in_an_hour = seconds(SystemTime::now()) + 60 * 60;
        let text = token::sign(&self.key, &token::claims(ISSUER, in_an_hour, rng));
        self.api.state().pods.insert(text.clone(), Pod::default());
        Token { text, was_rejected: false }
    }

    async fn client(self: Arc<Self>, seed: u64) {
        let mut rng = Rng::with_seed(seed);
        let mut tokens: Vec<_> = (0..TOKENS).map(|_| self.mint(&mut rng)).collect();
        while !self.is_over() {
            let token = &mut tokens[rng.usize(..TOKENS)];
            self.send(token).await;
            let was_deleted = {
                let mut state = self.api.state();
                let pod = state.pods.get_mut(&token.text).unwrap();
                let was_deleted = pod.deleted;
                if was_deleted.is_none() && rng.u16(..1_000) == 0 {
                    pod.deleted = Some(Instant::now());
                    self.disturbances.count("pods deleted");
                }
                was_deleted
            };
            let is_replaced = match was_deleted {
                Some(deleted) => deleted.elapsed() > SENT_FOR,
                None => rng.u16(..500) == 0,
            };
            if is_replaced {
                // the API server still knows the old one
                *token = self.mint(&mut rng);
            }
            time::sleep(MILLI * rng.u32(1..5)).await;
        }
    }

    async fn send(&self, token: &mut Token) {
        let look = || {
            let mut state = self.api.state();
            let fault = state.fault.take();
            let seen = (state.pods[&token.text], state.mood == Mood::Answers, state.since);
            drop(state);
            assert_eq!(fault, None);
            seen
        };
        let (before, (was, answered, answered_since)) = (Instant::now(), look());
        let verdict = self.verifier.verify_with_review(&token.text).await;
        let ((pod, answers, since), after) = (look(), Instant::now());
        let is_steady = (answered, answered_since) == (answers, since);

        let passed = |since: Instant| before.saturating_duration_since(since);
        let about = |is: &str| format!("{is}: {pod:?} in {:?} {verdict:?}", since.elapsed());
        match &verdict {
            Ok(_) => {
                assert!(pod.confirmed.is_some(), "{}", about("accepted without an answer"));
                assert!(!token.was_rejected, "{}", about("accepted after it was rejected"));
                let limit = self.keep.unwrap_or(INTERVAL) + SLACK;
                // after an outage, tokens are reviewed over one interval
                let is_recovered = answers && is_steady && passed(since) > 3 * INTERVAL + SLACK;
                let limit = if is_recovered { INTERVAL + SLACK } else { limit };
                let is_late = was.deleted.is_some_and(|deleted| passed(deleted) > limit);
                assert!(!is_late, "{}", about("accepted though it is deleted"));
            }
            Err(VerifyError::Invalid(refusal)) => {
                let is_rejected = refusal.reason() == Reason::ReviewDenied;
                assert!(is_rejected && pod.deleted.is_some(), "{}", about("wrongly rejected"));
                token.was_rejected = true;
                self.duties.count("deleted tokens rejected");
            }
            Err(VerifyError::ReviewUnavailable(_)) => {
                let is_healthy = answers && is_steady && passed(since) > 3 * INTERVAL + SLACK;
                assert!(!is_healthy, "{}", about("wrongly unavailable"));
            }
            Err(other) => panic!("{other}"),
        }
        let is_confirmed = |keep: Duration| {
            let has_answer = |at: Instant| {
                passed(at) > TIMEOUT && after.saturating_duration_since(at) + SLACK < keep
            };
            was.confirmed.is_some_and(has_answer) && pod.deleted.is_none()
        };
        if self.keep.is_some_and(is_confirmed) {
            assert!(verdict.is_ok(), "{}", about("a kept answer did not count"));
            if !answers && is_steady {
                self.duties.count("had to be accepted while reviews fail");
            }
        }
        if !answers && is_steady && pod.confirmed.is_none() {
            self.duties.count("had to wait for a first review");
        }
    }
}
