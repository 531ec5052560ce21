//! A fleet of key caches and one issuer under a simulated clock: see `examples/fleet.rs`.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    fmt,
    time::{Duration, Instant, SystemTime},
};

use crate::{
    clock::Moment,
    key_cache::{
        Settings,
        machine::{Answer, Arrival, Due, Flight, Landing, Machine},
        missed::KeyIdHash,
    },
};

/// What is simulated. All times are in seconds.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Plan {
    /// Where the dice begin.
    pub seed: u64,
    /// How many verifiers there are.
    pub instances: usize,
    /// For how long.
    pub seconds: u64,
    /// Within which time all of them start.
    pub starts_within_seconds: u64,
    /// How often a new key is published.
    pub rotates_every_seconds: u64,
    /// How long after that it signs.
    pub signs_after_seconds: u64,
    /// As many requests in a second as the issuer answers; the others get 429.
    pub issuer_limit: u64,
    /// The `Retry-After` of a 429.
    pub retry_after_seconds: u64,
    /// When the issuer is away.
    pub outage: std::ops::Range<u64>,
    /// How often each instance is asked to verify a token.
    pub asked_every_seconds: u64,
}

impl Default for Plan {
    fn default() -> Self {
        const HOUR: u64 = 3600;
        Self {
            seed: 1,
            instances: 10_000,
            seconds: 7 * 24 * HOUR,
            starts_within_seconds: 60,
            rotates_every_seconds: 24 * HOUR,
            signs_after_seconds: 2 * HOUR,
            issuer_limit: 100,
            retry_after_seconds: 7,
            outage: 84 * HOUR..86 * HOUR,
            asked_every_seconds: HOUR / 2,
        }
    }
}

/// What came of it.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// Requests at the issuer, for key sets and for discovery documents.
    pub requests: u64,
    /// Those for discovery documents.
    pub for_documents: u64,
    /// The most of them in one second.
    pub peak_per_second: u64,
    /// Those that were answered with 429.
    pub throttled: u64,
    /// Those that came while the issuer was away.
    pub during_outage: u64,
    /// Good tokens that were verified.
    pub accepted: u64,
    /// Good tokens of which the caller heard 503 twice, or 401, in the first ten minutes.
    pub refused_at_start: Refused,
    /// The same, later.
    pub refused_later: Refused,
    /// How often an instance got a new key: at each rotation, each of them does.
    pub new_keys_had: u64,
    /// The longest time in seconds from when a key began to sign until the last instance had it.
    pub slowest_rotation: f64,
    seconds: u64,
}

/// Good tokens that were not accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refused {
    /// With 401.
    pub unauthorized: u64,
    /// With 503, and again after the `Retry-After` that the caller heeded.
    pub unavailable: u64,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with 401, {} with 503 twice", self.unauthorized, self.unavailable)
    }
}

impl fmt::Display for Report {
    #[expect(clippy::cast_precision_loss, reason = "a mean for people")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mean = self.requests as f64 / self.seconds as f64;
        writeln!(f, "| what | number |")?;
        writeln!(f, "| --- | --- |")?;
        writeln!(f, "| requests at the issuer | {} |", self.requests)?;
        writeln!(f, "| for its discovery document | {} |", self.for_documents)?;
        writeln!(f, "| mean per second | {mean:.2} |")?;
        writeln!(f, "| peak in one second | {} |", self.peak_per_second)?;
        writeln!(f, "| answered with 429 | {} |", self.throttled)?;
        writeln!(f, "| while the issuer was away | {} |", self.during_outage)?;
        writeln!(f, "| good tokens accepted | {} |", self.accepted)?;
        writeln!(f, "| good tokens refused in the first 10 min | {} |", self.refused_at_start)?;
        writeln!(f, "| good tokens refused later | {} |", self.refused_later)?;
        writeln!(f, "| last to have a new key, after it signs | {:.0} s |", self.slowest_rotation)
    }
}

/// Of key sets and discovery documents: the longest that the key cache believes.
const LIFETIME: Duration = Duration::from_secs(3600);

/// Milliseconds since the start.
type Millis = u64;

struct Instance {
    machine: Machine,
    /// The newest key in its set.
    newest: u64,
    waiting: Vec<Request>,
    timer_at: Option<Millis>,
    /// Until when its discovery document need not be read again.
    document_until: Millis,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Request {
    key: u64,
    retried: bool,
    arrival: Option<Arrival>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Asked(Request),
    Fetched(Flight, Fetched),
    Timer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fetched {
    Set { newest: u64 },
    Throttled,
    Away,
}

struct Fleet<'a> {
    plan: &'a Plan,
    dice: fastrand::Rng,
    instances: Vec<Instance>,
    events: BinaryHeap<Reverse<(Millis, u64, usize, Event)>>,
    sequence: u64,
    start: Moment,
    now: Millis,
    in_this_second: (u64, u64),
    report: Report,
}

/// Lives through a plan.
#[must_use]
pub fn run(plan: &Plan) -> Report {
    let mut fleet = Fleet::new(plan);
    while let Some(Reverse((at, _, index, event))) = fleet.events.pop() {
        if at >= plan.seconds * 1000 {
            break;
        }
        fleet.now = at;
        match event {
            Event::Asked(request) => fleet.asked(index, request),
            Event::Fetched(flight, fetched) => fleet.fetched(index, flight, fetched),
            Event::Timer => fleet.timer(index),
        }
    }
    fleet.report
}

impl<'a> Fleet<'a> {
    fn new(plan: &'a Plan) -> Self {
        let instance = |_| Instance {
            machine: Machine::new(Settings::default()),
            newest: 0,
            waiting: Vec::new(),
            timer_at: None,
            document_until: 0,
        };
        let mut fleet = Self {
            plan,
            dice: fastrand::Rng::with_seed(plan.seed),
            instances: (0..plan.instances).map(instance).collect(),
            events: BinaryHeap::new(),
            sequence: 0,
            start: Moment { wall: SystemTime::UNIX_EPOCH, monotonic: Instant::now() },
            now: 0,
            in_this_second: (0, 0),
            report: Report { seconds: plan.seconds, ..Report::default() },
        };
        for index in 0..plan.instances {
            let start = fleet.dice.u64(..plan.starts_within_seconds * 1000);
            fleet.schedule_requests(index, start);
        }
        fleet
    }

    /// A request at the start, then as often as the plan says, and soon after each new key signs.
    fn schedule_requests(&mut self, index: usize, start: Millis) {
        let plan = self.plan;
        let mut at = start;
        while at < plan.seconds * 1000 {
            self.at(at, index, Event::Asked(self.request_at(at)));
            at += plan.asked_every_seconds * 1000;
        }
        let mut signs = (plan.rotates_every_seconds + plan.signs_after_seconds) * 1000;
        while signs < plan.seconds * 1000 {
            let at = signs + self.dice.u64(..60_000);
            self.at(at, index, Event::Asked(self.request_at(at)));
            signs += plan.rotates_every_seconds * 1000;
        }
    }

    /// A token of the key that signs then. Keys are numbered from 1.
    fn request_at(&self, at: Millis) -> Request {
        let since = (at / 1000).saturating_sub(self.plan.signs_after_seconds);
        Request { key: 1 + since / self.plan.rotates_every_seconds, retried: false, arrival: None }
    }

    fn at(&mut self, at: Millis, index: usize, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse((at, self.sequence, index, event)));
    }

    fn moment(&self) -> Moment {
        let passed = Duration::from_millis(self.now);
        Moment { wall: self.start.wall + passed, monotonic: self.start.monotonic + passed }
    }

    fn asked(&mut self, index: usize, mut request: Request) {
        let now = self.moment();
        let instance = &mut self.instances[index];
        if instance.newest >= request.key && instance.machine.usable(now) {
            self.report.accepted += 1;
            return;
        }
        let arrival = *request.arrival.get_or_insert_with(|| instance.machine.arrive());
        match instance.machine.ask(now, arrival, KeyIdHash(request.key)) {
            Answer::Start(flight) => {
                instance.waiting.push(request);
                self.fetch(index, flight);
            }
            Answer::Join => instance.waiting.push(request),
            Answer::UnknownKey => self.refused().unauthorized += 1,
            Answer::ComeBack(_) if request.retried => self.refused().unavailable += 1,
            Answer::ComeBack(wait) => {
                // whole seconds, as Retry-After has them
                let seconds = wait.as_secs() + 1;
                let again = Request { retried: true, arrival: None, ..request };
                self.at(self.now + seconds * 1000, index, Event::Asked(again));
            }
        }
        self.set_timer(index);
    }

    fn refused(&mut self) -> &mut Refused {
        if self.now < 600_000 {
            &mut self.report.refused_at_start
        } else {
            &mut self.report.refused_later
        }
    }

    /// The key set, and before it the discovery document where that is due.
    fn fetch(&mut self, index: usize, flight: Flight) {
        let mut fetched = Fetched::Set { newest: 0 };
        if self.instances[index].document_until <= self.now {
            self.report.for_documents += 1;
            fetched = self.request();
            if matches!(fetched, Fetched::Set { .. }) {
                self.instances[index].document_until = self.now + LIFETIME.as_secs() * 1000;
            }
        }
        if matches!(fetched, Fetched::Set { .. }) {
            fetched = self.request();
        }
        let latency = self.dice.u64(20..200);
        self.at(self.now + latency, index, Event::Fetched(flight, fetched));
    }

    /// What the issuer makes of one request.
    fn request(&mut self) -> Fetched {
        let second = self.now / 1000;
        if self.in_this_second.0 != second {
            self.in_this_second = (second, 0);
        }
        self.in_this_second.1 += 1;
        self.report.requests += 1;
        self.report.peak_per_second = self.report.peak_per_second.max(self.in_this_second.1);
        if self.plan.outage.contains(&second) {
            self.report.during_outage += 1;
            Fetched::Away
        } else if self.in_this_second.1 > self.plan.issuer_limit {
            self.report.throttled += 1;
            Fetched::Throttled
        } else {
            Fetched::Set { newest: 1 + second / self.plan.rotates_every_seconds }
        }
    }

    fn fetched(&mut self, index: usize, flight: Flight, fetched: Fetched) {
        let now = self.moment();
        let landing = match fetched {
            Fetched::Set { .. } => Landing::Good { lifetime: LIFETIME },
            Fetched::Throttled => Landing::Failed {
                retry_after: Some(Duration::from_secs(self.plan.retry_after_seconds)),
            },
            Fetched::Away => Landing::Failed { retry_after: None },
        };
        let dice = self.dice.f64();
        let instance = &mut self.instances[index];
        if instance.machine.land(now, flight, landing, dice)
            && let Fetched::Set { newest } = fetched
            && instance.newest < newest
        {
            instance.newest = newest;
            if newest > 1 {
                self.has_new_key(newest);
            }
        }
        for request in std::mem::take(&mut self.instances[index].waiting) {
            self.asked(index, request);
        }
        self.set_timer(index);
    }

    fn has_new_key(&mut self, key: u64) {
        let signs = (key - 1) * self.plan.rotates_every_seconds + self.plan.signs_after_seconds;
        #[expect(clippy::cast_precision_loss, reason = "seconds for people")]
        let late = self.now.saturating_sub(signs * 1000) as f64 / 1000.0;
        self.report.slowest_rotation = self.report.slowest_rotation.max(late);
        self.report.new_keys_had += 1;
    }

    fn timer(&mut self, index: usize) {
        let now = self.moment();
        let instance = &mut self.instances[index];
        // an event of a timer that was set anew since
        if instance.timer_at != Some(self.now) {
            return;
        }
        instance.timer_at = None;
        if let Due::Start(flight) = instance.machine.due(now) {
            self.fetch(index, flight);
        }
        self.set_timer(index);
    }

    fn set_timer(&mut self, index: usize) {
        let now = self.moment();
        let instance = &mut self.instances[index];
        let due = instance.machine.until_due(now);
        let at =
            due.map(|wait| self.now + u64::try_from(wait.as_millis()).unwrap_or(u64::MAX / 2) + 1);
        if instance.timer_at != at {
            instance.timer_at = at;
            if let Some(at) = at {
                self.at(at, index, Event::Timer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3600;

    /// A tenth of the fleet at an issuer that answers a tenth, for two days: as in
    /// `docs/fleet.md` otherwise.
    fn small() -> Plan {
        Plan {
            instances: 1_000,
            issuer_limit: 10,
            seconds: 48 * HOUR,
            rotates_every_seconds: 12 * HOUR,
            outage: 20 * HOUR..22 * HOUR,
            ..Plan::default()
        }
    }

    #[test]
    fn a_key_that_is_published_before_it_signs_is_never_missed() {
        for seed in 1..=3 {
            let report = run(&Plan { seed, ..small() });
            assert_eq!(report.refused_later, Refused::default(), "seed {seed}: {report}");
            assert_eq!(report.refused_at_start.unauthorized, 0, "seed {seed}: {report}");
            assert_eq!(report.new_keys_had, 3 * 1_000, "seed {seed}: {report}");
            assert!(report.accepted > 90_000, "seed {seed}: {report}");
            assert!(report.throttled > 0 && report.during_outage > 0, "seed {seed}: {report}");
        }
    }

    #[test]
    fn a_key_that_signs_at_once_is_everywhere_within_ten_minutes() {
        for seed in 1..=3 {
            let report = run(&Plan { seed, signs_after_seconds: 0, ..small() });
            assert_eq!(report.refused_later.unauthorized, 0, "seed {seed}: {report}");
            assert_eq!(report.new_keys_had, 3 * 1_000, "seed {seed}: {report}");
            assert!(report.slowest_rotation > 0.0, "seed {seed}: {report}");
            assert!(report.slowest_rotation < 600.0, "seed {seed}: {report}");
        }
    }
}
