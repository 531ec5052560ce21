//! A fleet of key caches and one issuer under a simulated clock: see `examples/fleet.rs`.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
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
    /// How often each instance gets a token whose key its issuer does not have. `None`: never.
    pub foreign_every_seconds: Option<u64>,
    /// Whether each of those has a key ID of its own, instead of one for each instance.
    pub endless_foreign: bool,
    /// For how long one of two replicas of the issuer does not list a new key.
    pub behind_seconds: u64,
    /// When all instances restart, within `starts_within_seconds`. `None`: never.
    pub restart_at: Option<u64>,
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
            foreign_every_seconds: None,
            endless_foreign: false,
            behind_seconds: 0,
            restart_at: None,
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
    /// The most requests of one instance in any 30 seconds.
    pub peak_per_instance: usize,
    /// The most responses other than 429 in one second.
    pub peak_answered: u64,
    /// How long after the outage the last instance had keys, in seconds.
    pub slowest_start: f64,
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
        writeln!(f, "| last to have a new key, after it signs | {:.0} s |", self.slowest_rotation)?;
        writeln!(f, "| most requests of one verifier in 30 s | {} |", self.peak_per_instance)?;
        writeln!(f, "| most requests answered in one second | {} |", self.peak_answered)?;
        writeln!(f, "| last to have keys, after the outage | {:.0} s |", self.slowest_start)
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
    /// When the last requests were sent, and the last that an ordinary fetch does not need.
    sent: VecDeque<Millis>,
    extra: VecDeque<Millis>,
    /// Counts its restarts, so that a fetch of a former life is ignored.
    life: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Request {
    key: u64,
    /// What distinguishes its key ID.
    kid: u64,
    retried: bool,
    arrival: Option<Arrival>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Asked(Request),
    Fetched(Flight, u32, Fetched),
    Timer,
    Restart,
}

/// The key of a token that the issuer does not have.
const FOREIGN: u64 = u64::MAX;

/// The window of the budget, in milliseconds.
const WINDOW: Millis = 30_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fetched {
    Updated { newest: u64 },
    Throttled,
    Away,
}

impl Instance {
    fn new(life: u32) -> Self {
        Self {
            machine: Machine::new(Settings::default()),
            newest: 0,
            waiting: Vec::new(),
            timer_at: None,
            document_until: 0,
            sent: VecDeque::new(),
            extra: VecDeque::new(),
            life,
        }
    }
}

struct Fleet<'a> {
    plan: &'a Plan,
    dice: fastrand::Rng,
    instances: Vec<Instance>,
    events: BinaryHeap<Reverse<(Millis, u64, usize, Event)>>,
    sequence: u64,
    start: Moment,
    now: Millis,
    /// The second, the requests in it, and those that were not throttled.
    in_this_second: (u64, u64, u64),
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
            Event::Fetched(flight, life, fetched) => fleet.fetched(index, flight, life, fetched),
            Event::Timer => fleet.timer(index),
            Event::Restart => fleet.restart(index),
        }
    }
    fleet.report
}

impl<'a> Fleet<'a> {
    fn new(plan: &'a Plan) -> Self {
        let mut fleet = Self {
            plan,
            dice: fastrand::Rng::with_seed(plan.seed),
            instances: (0..plan.instances).map(|_| Instance::new(0)).collect(),
            events: BinaryHeap::new(),
            sequence: 0,
            start: Moment { wall: SystemTime::UNIX_EPOCH, monotonic: Instant::now() },
            now: 0,
            in_this_second: (0, 0, 0),
            report: Report { seconds: plan.seconds, ..Report::default() },
        };
        for index in 0..plan.instances {
            let start = fleet.dice.u64(..plan.starts_within_seconds * 1000);
            fleet.schedule_requests(index, start);
            if let Some(restart) = plan.restart_at {
                fleet.at(restart * 1000 + start, index, Event::Restart);
            }
            if plan.foreign_every_seconds.is_some() {
                fleet.at(start, index, Event::Asked(fleet.foreign(index, start)));
            }
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
        let key = 1 + since / self.plan.rotates_every_seconds;
        Request { key, kid: key, retried: false, arrival: None }
    }

    fn foreign(&self, index: usize, at: Millis) -> Request {
        // apart from the numbers of keys
        let apart = 1 << 32;
        let kid = if self.plan.endless_foreign { apart + at } else { apart + index as u64 };
        Request { key: FOREIGN, kid, retried: false, arrival: None }
    }

    /// It begins anew, and is warmed up.
    fn restart(&mut self, index: usize) {
        let life = self.instances[index].life + 1;
        self.instances[index] = Instance::new(life);
        self.asked(index, self.request_at(self.now));
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
        if let (FOREIGN, None, Some(every)) =
            (request.key, request.arrival, self.plan.foreign_every_seconds)
        {
            let next = self.now + every * 1000;
            self.at(next, index, Event::Asked(self.foreign(index, next)));
        }
        let instance = &mut self.instances[index];
        if instance.newest >= request.key && instance.machine.usable(now) {
            self.report.accepted += 1;
            return;
        }
        let arrival = *request.arrival.get_or_insert_with(|| instance.machine.arrive());
        match instance.machine.ask(now, arrival, KeyIdHash(request.kid)) {
            Answer::Start(flight) => {
                instance.waiting.push(request);
                self.fetch(index, flight);
            }
            Answer::Join => instance.waiting.push(request),
            _ if request.key == FOREIGN => {}
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

    /// The key set, and before it the discovery document where that is due; and after it, where a
    /// key is looked for and nothing new came.
    fn fetch(&mut self, index: usize, flight: Flight) {
        let mut fetched = Fetched::Updated { newest: 0 };
        let is_due = self.instances[index].document_until <= self.now;
        if is_due {
            fetched = self.request_document(index);
        }
        if matches!(fetched, Fetched::Updated { .. }) {
            fetched = self.request(index);
        }
        let instance = &mut self.instances[index];
        let is_old = matches!(fetched, Fetched::Updated { newest } if newest <= instance.newest);
        if is_old && !is_due && instance.machine.is_forced(flight) {
            instance.extra.retain(|sent| self.now - sent < WINDOW);
            if instance.extra.len() < 2 {
                instance.extra.push_back(self.now);
                self.request_document(index);
            }
        }
        let (latency, life) = (self.dice.u64(20..200), self.instances[index].life);
        self.at(self.now + latency, index, Event::Fetched(flight, life, fetched));
    }

    fn request_document(&mut self, index: usize) -> Fetched {
        self.report.for_documents += 1;
        let fetched = self.request(index);
        if matches!(fetched, Fetched::Updated { .. }) {
            self.instances[index].document_until = self.now + LIFETIME.as_secs() * 1000;
        }
        fetched
    }

    /// What the issuer makes of one request.
    fn request(&mut self, index: usize) -> Fetched {
        let sent = &mut self.instances[index].sent;
        sent.retain(|sent| self.now - sent < WINDOW);
        sent.push_back(self.now);
        self.report.peak_per_instance = self.report.peak_per_instance.max(sent.len());
        let second = self.now / 1000;
        if self.in_this_second.0 != second {
            self.in_this_second = (second, 0, 0);
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
            self.in_this_second.2 += 1;
            self.report.peak_answered = self.report.peak_answered.max(self.in_this_second.2);
            let every = self.plan.rotates_every_seconds;
            let is_behind = second % every < self.plan.behind_seconds && self.dice.bool();
            Fetched::Updated { newest: (1 + second / every).saturating_sub(is_behind.into()) }
        }
    }

    fn fetched(&mut self, index: usize, flight: Flight, life: u32, fetched: Fetched) {
        let now = self.moment();
        if self.instances[index].life != life {
            return;
        }
        if matches!(fetched, Fetched::Updated { .. }) && !self.instances[index].machine.usable(now)
        {
            #[expect(clippy::cast_precision_loss, reason = "seconds for people")]
            let late = self.now.saturating_sub(self.plan.outage.end * 1000) as f64 / 1000.0;
            self.report.slowest_start = self.report.slowest_start.max(late);
        }
        let landing = match fetched {
            Fetched::Updated { .. } => Landing::Good { lifetime: LIFETIME },
            Fetched::Throttled => Landing::Failed {
                retry_after: Some(Duration::from_secs(self.plan.retry_after_seconds)),
            },
            Fetched::Away => Landing::Failed { retry_after: None },
        };
        let dice = self.dice.f64();
        let instance = &mut self.instances[index];
        if instance.machine.land(now, flight, landing, dice)
            && let Fetched::Updated { newest } = fetched
            && instance.newest != newest
        {
            // a replica that is behind takes the new key away again
            let last = std::mem::replace(&mut instance.newest, newest);
            // the first set after a start is no rotation
            if (1..newest).contains(&last) {
                self.has_new_key(newest);
            }
        }
        self.wake(index);
    }

    /// Whatever waits looks again.
    fn wake(&mut self, index: usize) {
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
