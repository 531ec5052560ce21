//! A machine under random sequences of events, held against a model.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// What may happen to a machine.
#[derive(Clone, Debug)]
enum Event {
    /// A request with this key ID comes, and waits where it has to.
    Come(u64),
    /// A request comes whose token a rotation would explain.
    Suspect,
    /// One of those who came asks again.
    AskAgain(prop::sample::Index),
    /// An operator wants a new set.
    Operator,
    /// One of them who waits looks again.
    OperatorAgain(prop::sample::Index),
    Timer,
    /// A probe finds no usable set, or looks just before one came.
    Probe,
    LandGood {
        lifetime: u64,
        dice: f64,
    },
    LandFailed {
        retry_after: Option<u64>,
        dice: f64,
    },
    /// Something lands that was given up or replaced.
    LandLate(prop::sample::Index),
    GiveUp,
    Pass {
        millis: u64,
    },
    /// Somebody sets the clock, forth or back.
    SetWall {
        by: i64,
    },
}

fn calm_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => prop_oneof![0..4_u64, any::<u64>()].prop_map(Event::Come),
        2 => Just(Event::Suspect),
        4 => any::<prop::sample::Index>().prop_map(Event::AskAgain),
        3 => Just(Event::Timer),
        1 => Just(Event::Probe),
        3 => (60..=3_600_u64, 0.0..1.0).prop_map(|(lifetime, dice)| Event::LandGood { lifetime, dice }),
        6 => prop_oneof![0..2_000_u64, 0..40_000_u64, 0..2_000_000_u64]
            .prop_map(|millis| Event::Pass { millis }),
    ]
}

fn operator_event() -> impl Strategy<Value = Event> {
    prop_oneof![Just(Event::Operator), any::<prop::sample::Index>().prop_map(Event::OperatorAgain),]
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        20 => calm_event(),
        4 => operator_event(),
        3 => (prop::option::of(0..5_000_u64), 0.0..1.0)
            .prop_map(|(retry_after, dice)| Event::LandFailed { retry_after, dice }),
        1 => any::<prop::sample::Index>().prop_map(Event::LandLate),
        1 => Just(Event::GiveUp),
        1 => prop_oneof![-100..100_i64, -200_000..200_000_i64].prop_map(|by| Event::SetWall { by }),
    ]
}

/// What is known of a flight from outside.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    InTheAir,
    Good,
    Failed,
    Lost,
}

/// Who began a flight.
#[derive(Clone, Copy, PartialEq)]
enum Cause {
    /// With a usable set: for a kid that is not in it.
    UnknownKid,
    /// With a usable set: for a token that a rotation would explain.
    Suspect,
    /// Without one.
    NoSet,
    /// At the end of a lifetime, or for a kid that was rejected without a fetch.
    Timer {
        wanted: bool,
    },
    Operator,
}

/// What a failed flight asks of those after it.
struct Failure {
    index: usize,
    at: Moment,
    /// By the issuer.
    asked: Duration,
    dice: f64,
    /// Whether a request came since.
    hurried: bool,
}

/// A machine, and a model of all that happened to it.
struct MachineModel {
    cache: ClockedMachine,
    /// Each flight, when it began, why, and its fate.
    flights: Vec<(Flight, Moment, Cause, Fate)>,
    /// Requests that came, and how many flights had begun by then.
    came: Vec<(Arrival, usize, u64)>,
    /// And operators.
    operators: Vec<(Arrival, usize)>,
    /// The last flight that brought a set, and how long that lives.
    set: Option<(usize, Duration)>,
    /// The last flight after that, if it failed, and how many did.
    failure: Option<Failure>,
    failures: u32,
    /// The key IDs that any request had.
    seen: BTreeSet<u64>,
    /// How many fetches may begin, as of a moment.
    budget: (f64, Moment),
    suspected: Option<Moment>,
    /// A kid was rejected since the last set came, without a fetch of its own.
    wanted: bool,
}

impl MachineModel {
    fn new() -> Self {
        let cache = ClockedMachine::new();
        let budget = (3.0, cache.now());
        Self {
            cache,
            flights: Vec::new(),
            came: Vec::new(),
            operators: Vec::new(),
            set: None,
            failure: None,
            failures: 0,
            seen: BTreeSet::new(),
            budget,
            suspected: None,
            wanted: false,
        }
    }

    /// One fetch comes back in ten seconds, up to three.
    fn budget(&self) -> f64 {
        let (left, at) = self.budget;
        (left + self.cache.now().since(at).as_secs_f64() / 10.0).min(3.0)
    }

    fn in_the_air(&self) -> Option<usize> {
        self.flights.iter().position(|(.., fate)| *fate == Fate::InTheAir)
    }

    /// How old the set is, and how long it lives.
    fn age(&self) -> Option<(Duration, Duration)> {
        let (index, lifetime) = self.set?;
        Some((self.cache.now().since(self.flights[index].1), lifetime))
    }

    /// A set is used for its lifetime and a day.
    fn usable(&self) -> bool {
        self.age().is_some_and(|(age, lifetime)| age < lifetime + DAY)
    }

    /// Of what an issuer asks for, an hour is obeyed, and a minute where nobody has keys.
    fn obeyed(&self, wait: Duration) -> Duration {
        wait.min(if self.usable() { secs(3_600) } else { secs(60) })
    }

    /// What a failed fetch asks of the next one.
    fn wait_after(&self, failure: &Failure) -> Duration {
        // anything up to a step that doubles, and a part of what was asked for
        let longest = if failure.hurried || !self.usable() { secs(10) } else { secs(60) };
        let step = secs(1 << (self.failures - 1).min(6)).min(longest);
        let jitter = step.max(failure.asked).mul_f64(failure.dice).max(Duration::from_millis(100));
        self.obeyed(failure.asked + jitter)
    }

    fn began(&mut self, flight: Flight, cause: Cause) {
        let now = self.cache.now();
        if let Some(index) = self.in_the_air() {
            let (_, began, _, fate) = &mut self.flights[index];
            assert!(now.since(*began) >= secs(6), "two flights in the air");
            *fate = Fate::Lost;
        }
        assert!(self.flights.iter().all(|(earlier, ..)| *earlier < flight));
        let left = self.budget();
        assert!(left > 0.999 || cause == Cause::Operator, "{left} of the budget is left");
        self.budget = ((left - 1.0).max(0.0), now);
        if let Some(failure) = &self.failure {
            let waited = now.since(failure.at);
            let wait = match cause {
                Cause::Operator => self.obeyed(failure.asked),
                _ => self.wait_after(failure),
            };
            assert!(waited >= wait, "{waited:?} after a failure, and not {wait:?}");
        } else {
            match cause {
                Cause::UnknownKid | Cause::Operator => {}
                Cause::Suspect => {
                    assert!(left > 1.999, "the last of the budget");
                    let is_over = |suspected| now.since(suspected) >= secs(10);
                    assert!(self.suspected.replace(now).is_none_or(is_over));
                }
                Cause::NoSet => assert!(!self.usable()),
                Cause::Timer { wanted } => {
                    let (age, lifetime) = self.age().expect("nobody asked for keys yet");
                    assert!(wanted || age >= lifetime.mul_f64(0.75), "nothing is due");
                }
            }
        }
        self.flights.push((flight, now, cause, Fate::InTheAir));
    }

    fn ask(&mut self, (arrival, flights_before, key): (Arrival, usize, u64)) {
        let usable = self.cache.usable();
        assert_eq!(usable, self.usable());
        let failing = self.cache.machine.is_failing();
        let left = self.budget();
        let is_new = !self.seen.contains(&key);
        let now = self.cache.now();
        let flies = self.in_the_air().map(|index| now.since(self.flights[index].1) < secs(6));
        let is_answered = usable && self.set.is_some_and(|(index, _)| index >= flights_before);
        if let Some(failure) = self.failure.as_mut() {
            failure.hurried |= !is_answered && flies != Some(true);
        }
        match self.cache.ask_for(key, arrival) {
            Answer::Start(flight) => {
                self.began(flight, if usable { Cause::UnknownKid } else { Cause::NoSet });
                self.seen.insert(key);
            }
            Answer::Join => assert!(self.in_the_air().is_some()),
            Answer::UnknownKey => {
                assert!(usable, "only a usable set can say so");
                self.seen.insert(key);
                // a failing issuer may have published the key; but what was fetched for this
                // very request has answered it
                if self.set.is_none_or(|(index, _)| index < flights_before) {
                    assert!(!failing, "a key is unknown while fetches fail");
                    assert!(!is_new || left < 1.0, "a new key ID starts a fetch");
                    self.wanted = true;
                }
            }
            Answer::ComeBack(wait) => {
                assert!(failing || !usable && left < 1.0);
                assert!(!wait.is_zero() && wait <= secs(3_600));
            }
        }
    }

    fn suspect(&mut self) {
        match self.cache.suspect() {
            Suspicion::Start(flight) => {
                assert!(self.usable());
                self.began(flight, Cause::Suspect);
            }
            Suspicion::Join => assert!(self.in_the_air().is_some()),
            Suspicion::Dismiss => {}
        }
    }

    /// Neither budget nor back-off count for an operator, who fetches once.
    fn refresh(&mut self, arrival: Arrival, flights_before: usize) {
        let fetched_since = self.set.is_some_and(|(index, _)| index >= flights_before);
        let failed_since = self.failure.as_ref().is_some_and(|last| last.index >= flights_before);
        match self.cache.machine.refresh(self.cache.now(), arrival) {
            Refresh::Start(flight) => {
                assert!(!fetched_since && !failed_since, "an operator who fetches twice");
                self.began(flight, Cause::Operator);
            }
            Refresh::Join => assert!(!fetched_since && self.in_the_air().is_some()),
            Refresh::Done => assert!(fetched_since),
            Refresh::ComeBack(wait) => {
                assert!(!fetched_since && wait <= secs(3_600));
                let failure = self.failure.as_ref().expect("a failure");
                let left = self.cache.now().left_of(self.obeyed(failure.asked), failure.at);
                assert!(failed_since || !left.is_zero() && wait >= left, "sent away for nothing");
            }
        }
    }

    fn land(&mut self, index: usize, landing: Landing, dice: f64) {
        let (flight, _, _, fate) = self.flights[index];
        let now = self.cache.now();
        let taken = self.cache.machine.land(now, flight, landing, dice);
        assert_eq!(taken, fate == Fate::InTheAir);
        if !taken {
            return;
        }
        match landing {
            Landing::Good { lifetime } => {
                self.flights[index].3 = Fate::Good;
                self.set = Some((index, lifetime));
                self.wanted = false;
                (self.failure, self.failures) = (None, 0);
            }
            Landing::Failed { retry_after } => {
                self.flights[index].3 = Fate::Failed;
                let asked = retry_after.unwrap_or_default().min(secs(3_600));
                let hurried = self.failure.as_ref().is_some_and(|last| last.hurried);
                self.failure = Some(Failure { index, at: now, asked, dice, hurried });
                self.failures += 1;
            }
        }
        assert_eq!(self.cache.machine.is_failing(), self.failure.is_some());
    }

    fn happen(&mut self, event: &Event) {
        match event {
            Event::Come(key) => {
                let came = (self.cache.machine.arrive(), self.flights.len(), *key);
                self.came.push(came);
                self.ask(came);
            }
            Event::Suspect => self.suspect(),
            Event::AskAgain(who) => {
                if !self.came.is_empty() {
                    self.ask(*who.get(&self.came));
                }
            }
            Event::Operator => {
                let came = (self.cache.machine.arrive(), self.flights.len());
                self.operators.push(came);
                self.refresh(came.0, came.1);
            }
            Event::OperatorAgain(who) => {
                if !self.operators.is_empty() {
                    let (arrival, flights_before) = *who.get(&self.operators);
                    self.refresh(arrival, flights_before);
                }
            }
            Event::Timer => match self.cache.due() {
                Due::Start(flight) => self.began(flight, Cause::Timer { wanted: self.wanted }),
                Due::In(wait) => assert!(!wait.is_zero()),
                Due::Never => assert!(self.in_the_air().is_some() || self.set.is_none()),
            },
            Event::Probe => {
                let cause = match self.set {
                    None => Cause::NoSet,
                    Some(_) => Cause::Timer { wanted: self.wanted },
                };
                match self.cache.probe() {
                    Due::Start(flight) => self.began(flight, cause),
                    Due::In(wait) => assert!(!wait.is_zero()),
                    Due::Never => assert!(self.in_the_air().is_some() || self.budget() < 1.0),
                }
            }
            Event::LandGood { lifetime, dice } => {
                if let Some(index) = self.in_the_air() {
                    self.land(index, Landing::Good { lifetime: secs(*lifetime) }, *dice);
                }
            }
            Event::LandFailed { retry_after, dice } => {
                if let Some(index) = self.in_the_air() {
                    let retry_after = retry_after.map(secs);
                    self.land(index, Landing::Failed { retry_after }, *dice);
                }
            }
            Event::LandLate(which) => {
                if !self.flights.is_empty() {
                    let index = which.index(self.flights.len());
                    if self.flights[index].3 != Fate::InTheAir {
                        self.land(index, Landing::Good { lifetime: LIFETIME }, 0.5);
                    }
                }
            }
            Event::GiveUp => {
                if let Some(index) = self.in_the_air() {
                    self.cache.machine.give_up(self.flights[index].0);
                    self.flights[index].3 = Fate::Lost;
                }
            }
            Event::Pass { millis } => self.cache.clock.advance(Duration::from_millis(*millis)),
            Event::SetWall { by } => {
                let wall = self.cache.clock.wall();
                let by_how_much = secs(by.unsigned_abs());
                let forth = *by >= 0;
                self.cache.clock.set_wall(if forth {
                    wall + by_how_much
                } else {
                    wall - by_how_much
                });
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    // rule: fetch-budget
    #[test]
    fn whatever_happens_fetches_keep_their_budget(
        events in prop::collection::vec(any_event(), 1..200),
    ) {
        let mut model = MachineModel::new();
        for event in &events {
            model.happen(event);
        }
    }

    // rule: fetch-budget
    #[test]
    fn fetches_for_callers_are_at_most_five_in_thirty_seconds(
        events in prop::collection::vec(any_event(), 1..300),
    ) {
        let mut model = MachineModel::new();
        let is_refresh = |event: &&Event| !matches!(event, Event::Operator | Event::OperatorAgain(_));
        for event in events.iter().filter(is_refresh) {
            model.happen(event);
        }
        for six in model.flights.windows(6) {
            // by the clock that passes sooner, as the budget has it
            let passed: Duration = six.windows(2).map(|two| two[1].1.since(two[0].1)).sum();
            prop_assert!(passed + Duration::from_millis(1) >= secs(30), "{passed:?}");
        }
    }
}
