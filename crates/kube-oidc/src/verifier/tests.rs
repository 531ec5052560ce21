//! What is remembered is never more than what would be found out: for any history, a verifier
//! that remembers and one that does not say the same of every token. And what both accept is
//! held against a model of what the issuers published, as both read the same keys.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use proptest::prelude::*;
use serde_json::json;
use tokio::runtime::{Builder, Runtime};

use super::*;
use crate::{
    clock::{ManualClock, Moment},
    error::Reason,
    issuer::KeySource,
    keys::source::FetchResponse,
    testing::{FetchReply, ScriptedFetcher, Signer, at, clock, key_set, secs},
};

const AUDIENCE: &str = "orders";

/// Two of them share a name, and one learns its names.
const ISSUERS: [(&str, &str); 4] = [
    ("https://shared.test", "blue"),
    ("https://shared.test", "green"),
    ("https://own.test", "red"),
    (API_SERVER, "pod"),
];

const API_SERVER: &str = "https://10.0.0.1";

/// The document with the name that the API server reports.
const NAMES: &str = "https://10.0.0.1/.well-known/openid-configuration";

/// The issuer that learns its names.
const POD: usize = 3;

/// The names that its API server reports.
const REPORTED: [&str; 4] =
    ["https://pod.test", "https://moved.test", "https://own.test", "https://shared.test"];

const FORMER_FOR: Duration = secs(700);

/// The lifetimes that the issuers send with their sets, in seconds: none, long and short.
const LIFETIMES: [Option<u64>; 4] = [None, Some(3_000), Some(60), Some(60)];

const MAX_STALE: Duration = secs(1_000);

/// Names of keys: each is used for two different ones.
const KIDS: [&str; 4] = ["one", "one", "two", "two"];

/// The private keys that `KIDS` names.
fn signers() -> &'static [Signer; 4] {
    static SIGNERS: OnceLock<[Signer; 4]> = OnceLock::new();
    SIGNERS.get_or_init(|| [(); 4].map(|()| Signer::ed25519()))
}

const TOKENS: usize = 64;

const NO_KID: &str = "no kid";

/// A token, and what it was made of.
struct Minted {
    text: String,
    iss: &'static str,
    key: usize,
    jti: String,
}

/// Tokens of every key for each configured name: one that lives long, one that ends soon, one that
/// begins later, and one that does not name its key. For each learned name, one that lives long,
/// and one that is for the API server too, by another of its names.
fn tokens() -> &'static [Minted] {
    static MINTED: OnceLock<Vec<Minted>> = OnceLock::new();
    MINTED.get_or_init(|| {
        let mut tokens = Vec::new();
        for iss in ["https://shared.test", "https://own.test", "https://nobody.test"] {
            for (key, kid) in KIDS.into_iter().enumerate() {
                let mut add = |kid, from, until, jti: String| {
                    let text = mint(iss, &[AUDIENCE], key, kid, (from, until), &jti);
                    tokens.push(Minted { text, iss, key, jti });
                };
                for (from, until) in [(0, 1_000_000), (0, 300), (200, 5_000)] {
                    add(Some(kid), from, until, format!("{iss} {key} {until}"));
                }
                // whether the only key that fits may be taken changes with the others
                add(None, 0, 1_000_000, NO_KID.to_owned());
            }
        }
        for (iss, other) in [(REPORTED[0], REPORTED[1]), (REPORTED[1], REPORTED[0])] {
            for (key, kid) in KIDS.into_iter().enumerate() {
                for audiences in [&[AUDIENCE][..], &[AUDIENCE, other]] {
                    let jti = format!("{iss} {key} {}", audiences.len());
                    let text = mint(iss, audiences, key, Some(kid), (0, 1_000_000), &jti);
                    tokens.push(Minted { text, iss, key, jti });
                }
            }
        }
        assert_eq!(tokens.len(), TOKENS);
        tokens
    })
}

fn mint(
    iss: &str,
    audiences: &[&str],
    index: usize,
    kid: Option<&str>,
    (from, until): (u64, u64),
    jti: &str,
) -> String {
    let now = Moment::now(&clock()).seconds();
    let mut payload = json!({
        "iss": iss, "aud": audiences, "exp": now + until, "nbf": now + from, "jti": jti,
        "iat": now + from,
        "sub": "system:serviceaccount:payments:checkout",
        "kubernetes.io": {
            "namespace": "payments", "serviceaccount": { "name": "checkout", "uid": "1" },
        },
    });
    if until < 1_000_000 {
        payload["kubernetes.io"]["warnafter"] = json!(now + until / 2);
    }
    signers()[index].token(kid, &payload)
}

/// The keys of the last fetch that brought any.
#[derive(Clone, Copy, Debug)]
struct FetchedKeys {
    keys: u8,
    at: Moment,
}

/// The names that the API server reports.
#[derive(Debug, Default)]
struct ReportedNames {
    current: usize,
    /// The name that was read last, and when each was.
    read: Option<usize>,
    read_at: [Option<Moment>; 4],
}

/// A model of the issuers: what each publishes, and what verifiers have fetched of it.
struct Issuers {
    fetcher: Arc<ScriptedFetcher>,
    clock: ManualClock,
    /// The keys whose bits are set. `None`: the issuer is unreachable.
    published: [Option<u8>; 4],
    fetched: [Option<FetchedKeys>; 4],
    names: ReportedNames,
}

impl Issuers {
    fn new() -> Self {
        let mut issuers = Self {
            fetcher: Arc::default(),
            clock: clock(),
            published: [None; 4],
            fetched: [None; 4],
            names: ReportedNames::default(),
        };
        issuers.rename(0);
        issuers
    }

    fn now(&self) -> Moment {
        Moment::now(&self.clock)
    }

    fn publish(&mut self, issuer: usize, keys: Option<u8>) {
        self.published[issuer] = keys;
        let response = |keys: u8| {
            let listed = (0..4).filter(|index| keys & 1 << index != 0);
            let listed: Vec<_> = listed.map(|index| signers()[index].named(KIDS[index])).collect();
            let response = FetchResponse::new(200, key_set(&listed));
            match LIFETIMES[issuer] {
                Some(seconds) => {
                    response.with_header("cache-control", &format!("max-age={seconds}"))
                }
                None => response,
            }
        };
        let reply = keys.map_or(FetchReply::Unreachable, |keys| response(keys).into());
        self.fetcher.set(&jwks_uri(issuer), reply);
    }

    /// Has the API server report another name.
    fn rename(&mut self, name: usize) {
        self.names.current = name;
        let document = json!({ "issuer": REPORTED[name] }).to_string();
        self.fetcher.set(NAMES, FetchResponse::new(200, document));
    }

    /// Notes the fetches since the last time. Neither issuers nor clock have changed since then.
    fn note_fetches(&mut self) {
        let now = self.now();
        for (request, _) in self.fetcher.take_requests() {
            if request.url() == NAMES {
                self.names.read = Some(self.names.current);
                self.names.read_at[self.names.current] = Some(now);
                continue;
            }
            let issuer = (0..ISSUERS.len()).find(|issuer| jwks_uri(*issuer) == request.url());
            let issuer = issuer.expect("the URL of an issuer");
            if let Some(keys) = self.published[issuer].filter(|keys| *keys != 0) {
                self.fetched[issuer] = Some(FetchedKeys { keys, at: now });
            }
        }
    }

    /// Returns `true` if the pod's cluster has this name.
    fn is_pods(&self, name: &str) -> bool {
        let index = REPORTED.iter().position(|reported| *reported == name).unwrap();
        let since = self.names.read_at[index].map(|at| self.now().since(at));
        self.names.read == Some(index) || since.is_some_and(|since| since < FORMER_FOR)
    }

    /// Forgets the fetches of an issuer that is removed.
    fn forget(&mut self, issuer: usize) {
        self.fetched[issuer] = None;
        if issuer == POD {
            let current = self.names.current;
            self.names = ReportedNames { current, ..ReportedNames::default() };
        }
    }
}

fn jwks_uri(issuer: usize) -> String {
    match issuer {
        POD => format!("{API_SERVER}/openid/v1/jwks"),
        _ => format!("https://keys.test/{issuer}"),
    }
}

#[derive(Clone, Debug)]
enum Step {
    Publish(usize, Option<u8>),
    Rename(usize),
    Refresh,
    Advance(u64),
    SetClock(i64),
    Remove(usize),
    Add(usize),
    Distrust(usize, usize),
    Deny(usize),
    Verify(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let issuer = 0..ISSUERS.len();
    prop_oneof![
        3 => (0..REPORTED.len()).prop_map(Step::Rename),
        4 => (issuer.clone(), prop::option::weighted(0.8, 0..16_u8))
            .prop_map(|(issuer, keys)| Step::Publish(issuer, keys)),
        6 => Just(Step::Refresh),
        3 => prop_oneof![1..100_u64, 100..1_500_u64, 1_000..100_000_u64].prop_map(Step::Advance),
        2 => (-2_000..2_000_i64).prop_map(Step::SetClock),
        1 => issuer.clone().prop_map(Step::Remove),
        2 => issuer.clone().prop_map(Step::Add),
        1 => (issuer, 0..4_usize).prop_map(|(issuer, key)| Step::Distrust(issuer, key)),
        1 => (0..TOKENS).prop_map(Step::Deny),
        6 => (0..TOKENS).prop_map(Step::Verify),
    ]
}

/// Options of the verifiers.
#[derive(Clone, Copy, Debug, Default)]
struct Options {
    digests: bool,
    strict: bool,
    /// Whether tokens for the API server too are rejected.
    guarded: bool,
}

/// One verifier that remembers and one that does not, which share their issuers and keys.
struct WarmAndCold {
    warm: Verifier,
    cold: Verifier,
    issuers: Issuers,
    runtime: Runtime,
    /// The issuer's name, and the `kid`.
    distrusted: Vec<(&'static str, &'static str)>,
    denied: Vec<&'static str>,
    /// For each token, its caller when it was accepted last.
    callers: Vec<Option<Verified<ServiceAccountClaims>>>,
}

impl WarmAndCold {
    fn new(options: Options) -> Self {
        let Options { digests, strict, guarded } = options;
        let mut issuers = Issuers::new();
        for (issuer, keys) in [0b0001, 0b0010, 0b0101, 0b1000].into_iter().enumerate() {
            // no key in common at first
            issuers.publish(issuer, Some(keys));
        }
        let build = |tokens| {
            let builder = Verifier::builder(trusted(0, &issuers.fetcher))
                .add_issuer(trusted(1, &issuers.fetcher))
                .add_issuer(trusted(2, &issuers.fetcher))
                .add_issuer(trusted(POD, &issuers.fetcher))
                .audience(AUDIENCE)
                .max_stale(MAX_STALE)
                .token_cache(tokens)
                .clock(issuers.clock.clone());
            let builder = if digests { builder.token_cache_digests() } else { builder };
            let builder = if strict {
                builder.reject_past_warn_after().max_token_age(secs(4_000))
            } else {
                builder
            };
            let builder = if guarded { builder.reject_api_server_audiences() } else { builder };
            builder.build().unwrap()
        };
        let (warm, cold) = (build(1_000), build(0));
        cold.state.issuers.store(warm.state.issuers.load_full());
        let (distrusted, denied, callers) = (Vec::new(), Vec::new(), vec![None; TOKENS]);
        Self { warm, cold, issuers, runtime: paused_runtime(), distrusted, denied, callers }
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Publish(issuer, keys) => self.issuers.publish(issuer, keys),
            Step::Rename(name) => self.issuers.rename(name),
            Step::Refresh => {
                let _ = self.runtime.block_on(self.warm.refresh_keys());
                self.issuers.note_fetches();
            }
            Step::Advance(seconds) => self.issuers.clock.advance(secs(seconds)),
            Step::SetClock(by) => {
                let wall = self.issuers.now().seconds().saturating_add_signed(by);
                self.issuers.clock.set_wall(at(wall));
            }
            Step::Remove(issuer) => {
                let _ = self.warm.remove_cluster(ISSUERS[issuer].1);
                self.issuers.forget(issuer);
            }
            Step::Add(issuer) => {
                let _ = self.warm.add_issuer(trusted(issuer, &self.issuers.fetcher));
            }
            Step::Distrust(issuer, key) => {
                for verifier in [&self.warm, &self.cold] {
                    verifier.distrust_key(ISSUERS[issuer].0, KIDS[key]);
                }
                self.distrusted.push((ISSUERS[issuer].0, KIDS[key]));
            }
            Step::Deny(token) => {
                for verifier in [&self.warm, &self.cold] {
                    verifier.deny_jti(&tokens()[token].jti);
                }
                self.denied.push(&tokens()[token].jti);
            }
            Step::Verify(token) => {
                let token = &tokens()[token];
                let verdict = self.runtime.block_on(self.warm.verify(&token.text));
                self.issuers.note_fetches();
                self.check(token, &outcome(Some(verdict)));
            }
        }
        self.cold.state.issuers.store(self.warm.state.issuers.load_full());
    }

    /// Whoever is accepted was signed by a key that the last good fetch of its cluster's issuer
    /// brought, not too long ago, and that nobody took back.
    fn check(&self, token: &Minted, verdict: &Outcome) {
        let Some(Ok((cluster, _))) = verdict else { return };
        let issuer = ISSUERS.iter().position(|(_, name)| cluster.as_deref() == Some(name));
        let issuer = issuer.unwrap();
        if issuer == POD {
            assert!(self.issuers.is_pods(token.iss), "a name that the cluster does not have");
        } else {
            assert_eq!(ISSUERS[issuer].0, token.iss);
        }
        for (other, (name, _)) in ISSUERS.iter().enumerate() {
            let lists = |fetched: FetchedKeys| fetched.keys & 1 << token.key != 0;
            let has_better_claim = issuer == POD && *name == token.iss;
            let is_listed = self.issuers.fetched[other].is_some_and(lists);
            assert!(!(has_better_claim && is_listed), "a key of the configured cluster");
        }
        let fetched = self.issuers.fetched[issuer].expect("keys of an issuer without any");
        assert!(fetched.keys & 1 << token.key != 0, "a key that was withdrawn: {fetched:?}");
        let lifetime = secs(LIFETIMES[issuer].unwrap_or(600));
        // as of the clock that went further
        let age = self.issuers.now().since(fetched.at);
        assert!(age < lifetime + MAX_STALE, "a set of {age:?} ago");
        assert!(!self.distrusted.contains(&(token.iss, KIDS[token.key])), "a distrusted key");
        assert!(!self.denied.contains(&&*token.jti), "a denied token");
    }

    /// Compares what both say with each other and with the model, and counts what was
    /// remembered.
    fn compare(&mut self) -> Result<usize, TestCaseError> {
        let mut remembered = 0;
        for (index, minted) in tokens().iter().enumerate() {
            let token = &minted.text;
            let now = self.issuers.now();
            let cold = self.cold.state.verify_now(token.as_bytes(), now);
            // without a kid, another key of the set decides whether the only one that fits counts
            if let Some(caller) = self.callers[index].as_ref().filter(|_| minted.jti != NO_KID) {
                self.compare_time_left(caller, cold.as_ref())?;
            }
            if let Some(Ok(caller)) = &cold {
                self.callers[index] = Some(caller.clone());
            }
            let cold = outcome(cold);
            if let Some(recalled) = self.warm.state.recall(token.as_bytes(), now) {
                prop_assert_eq!(outcome(Some(Ok(recalled))), cold.clone());
                remembered += 1;
            }
            let explained = self.warm.explain(token).verdict;
            match &cold {
                Some(said) => {
                    prop_assert_eq!(explained, said.as_ref().map(|_| ()).map_err(|reason| *reason));
                }
                None => prop_assert!(explained.is_err()),
            }
            let warm = outcome(self.warm.verify_with_cached_keys(token));
            self.check(minted, &warm);
            prop_assert_eq!(warm, cold);
        }
        Ok(remembered)
    }
}

impl WarmAndCold {
    /// A caller has time left if and only if its token would be accepted, for the same reasons.
    fn compare_time_left(
        &self,
        caller: &Verified<ServiceAccountClaims>,
        cold: Option<&Result<Verified<ServiceAccountClaims>, VerifyError>>,
    ) -> Result<(), TestCaseError> {
        let rests_on = |verified: &Verified<ServiceAccountClaims>| {
            verified.basis().map(|basis| (basis.issuer, basis.key))
        };
        let left = self.warm.time_left(caller);
        match cold {
            Some(Ok(verified)) if rests_on(verified) == rests_on(caller) => {
                prop_assert!(!left.is_zero(), "accepted: {:?}", caller);
            }
            Some(_) => prop_assert_eq!(left, Duration::ZERO, "rejected: {:?}", caller),
            // without keys, nothing is known
            None => {}
        }
        Ok(())
    }
}

fn paused_runtime() -> Runtime {
    Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

fn trusted(issuer: usize, fetcher: &Arc<ScriptedFetcher>) -> Issuer {
    let (name, cluster) = ISSUERS[issuer];
    let fetcher = Arc::clone(fetcher);
    let trusted = if issuer == POD {
        let api_server = Issuer::api_server(API_SERVER.parse().unwrap(), fetcher);
        api_server.accept_former_names_for(FORMER_FOR)
    } else {
        let keys = KeySource::jwks(jwks_uri(issuer)).via(fetcher);
        Issuer::with_key_source(name.parse().unwrap(), keys)
    };
    trusted.with_cluster(cluster)
}

type Outcome = Option<Result<(Option<String>, ServiceAccountClaims), Reason>>;

fn outcome(verdict: Option<Result<Verified<ServiceAccountClaims>, VerifyError>>) -> Outcome {
    verdict.map(|verdict| match verdict {
        Ok(verified) => Ok((verified.cluster().map(str::to_owned), verified.claims().clone())),
        Err(error) => Err(error.reason()),
    })
}

fn live(steps: &[Step], options: Options) -> Result<usize, TestCaseError> {
    let mut verifiers = WarmAndCold::new(options);
    let mut remembered = 0;
    verifiers.take(&Step::Refresh);
    for step in steps {
        verifiers.take(step);
        remembered += verifiers.compare()?;
    }
    Ok(remembered)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    // rule: cached-equals-uncached, learned-name-rank, removed-key
    #[test]
    fn warm_and_cold_say_the_same(
        steps in prop::collection::vec(step(), 1..40),
        (digests, strict, guarded) in any::<(bool, bool, bool)>(),
    ) {
        live(&steps, Options { digests, strict, guarded })?;
    }
}

#[test]
fn something_is_remembered_at_all() {
    let steps = [Step::Verify(0), Step::Advance(60), Step::Advance(60), Step::Advance(600)];
    let remembered: Vec<usize> = (1..=steps.len())
        .map(|length| live(&steps[..length], Options::default()).unwrap())
        .collect();
    // the comparison itself verifies every good token, so from the second step on all are there
    assert!(remembered[0] > 0 && remembered[1] > remembered[0] && remembered[2] > remembered[1]);
    // ten minutes later every signature is checked again
    assert_eq!(remembered[3], remembered[2]);
}

/// Tokens of the first issuer alone, verified once.
fn remembering(tokens: usize, bytes: usize, count: usize) -> Vec<bool> {
    let mut issuers = Issuers::new();
    issuers.publish(0, Some(1));
    let verifier = Verifier::builder(trusted(0, &issuers.fetcher))
        .audience(AUDIENCE)
        .token_cache(tokens)
        .token_cache_bytes(bytes)
        .clock(issuers.clock.clone())
        .build()
        .unwrap();
    paused_runtime().block_on(verifier.refresh_keys()).unwrap();
    let minted: Vec<String> = (0..count)
        .map(|number| {
            mint(ISSUERS[0].0, &[AUDIENCE], 0, Some(KIDS[0]), (0, 1_000), &number.to_string())
        })
        .collect();
    for token in &minted {
        assert!(matches!(verifier.verify_with_cached_keys(token), Some(Ok(_))));
        // often seen is not sooner forgotten
        assert!(matches!(verifier.verify_with_cached_keys(token), Some(Ok(_))));
    }
    let now = Moment::now(&*verifier.state.clock);
    minted.iter().map(|token| verifier.state.recall(token.as_bytes(), now).is_some()).collect()
}

#[test]
fn as_much_is_remembered_as_was_asked_for() {
    let count = |remembered: Vec<bool>| remembered.into_iter().filter(|yes| *yes).count();
    let plenty = 32 << 20;
    assert_eq!(count(remembering(0, plenty, 10)), 0);
    assert_eq!(count(remembering(10_000, plenty, 500)), 500);
    for limit in [1, 2, 10, 100] {
        let remembered = count(remembering(limit, plenty, 500));
        assert!(remembered <= limit, "{remembered} of {limit}");
        assert!(remembered * 10 >= limit * 8, "{remembered} of {limit}");
    }
    // a token of this kind takes more than half a kilobyte, and less than two
    let remembered = count(remembering(10_000, 64 << 10, 500));
    assert!((32..=128).contains(&remembered), "{remembered}");
}

/// One that should be replaced in 150 s is not taken after that, though it is remembered.
// rule: cached-equals-uncached
#[test]
fn what_a_verifier_limits_ends_remembered_tokens_too() {
    let steps = [Step::Verify(1), Step::Advance(149), Step::Advance(1)];
    let is_remembered = |steps: &[Step]| {
        let mut verifiers = WarmAndCold::new(Options { strict: true, ..Options::default() });
        verifiers.take(&Step::Refresh);
        for step in steps {
            verifiers.take(step);
        }
        let now = verifiers.issuers.now();
        verifiers.warm.state.recall(tokens()[1].text.as_bytes(), now).is_some()
    };
    assert!(is_remembered(&steps[..2]));
    assert!(!is_remembered(&steps));
}

// rule: cache-key
#[test]
fn a_token_that_is_nearly_one_that_is_remembered_is_another() {
    let mut verifiers = WarmAndCold::new(Options::default());
    verifiers.take(&Step::Refresh);
    let good = &tokens()[0].text;
    assert!(matches!(verifiers.warm.verify_with_cached_keys(good), Some(Ok(_))));
    let now = verifiers.issuers.now();
    assert!(verifiers.warm.state.recall(good.as_bytes(), now).is_some());
    for at in 0..good.len() {
        for other in [b'A', b'_', b'.', b'='] {
            let mut bytes = good.clone().into_bytes();
            if bytes[at] != other {
                bytes[at] = other;
                assert!(verifiers.warm.state.recall(&bytes, now).is_none(), "{at}");
            }
        }
        assert!(verifiers.warm.state.recall(&good.as_bytes()[at..], now).is_none() == (at > 0));
        assert!(verifiers.warm.state.recall(&good.as_bytes()[..at], now).is_none());
    }
    let longer = format!("{good}A");
    assert!(verifiers.warm.state.recall(longer.as_bytes(), now).is_none());
}
