//! The events of a simulation, in the order of their times.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    time::{Duration, Instant, SystemTime},
};

use super::{
    super::{
        machine::{Answer, Arrival, Due, Flight, Landing, Machine},
        missed::KeyIdHash,
        settings::KeyCacheSettings,
    },
    plan::Plan,
    report::{Refused, Report},
};
use crate::clock::Moment;

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
            machine: Machine::new(KeyCacheSettings::default()),
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

/// Simulates a plan.
pub(super) fn run(plan: &Plan) -> Report {
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
