//! Clients that mean harm, or are broken, and callers with good tokens beside them: these are
//! served all the while, and when the others are gone, so is what they took.

mod aborted;
mod crowd;
mod framing;
mod http2;
mod kids;
mod pipelining;
mod secrets;
mod sizes;
mod slow;
mod wire;

use std::{
    collections::BTreeMap,
    sync::{Condvar, Mutex},
    thread,
    time::{Duration, Instant},
};

use kube_oidc_testing::{SigningAlgorithm, TestIssuer, TokenBuilder};

use self::wire::Wire;
use crate::process::{Demo, PATIENCE, Response, command};

/// The slowest that a good request may be beside an attack, on a machine that is busy.
const SLOWEST: Duration = Duration::from_secs(10);

/// A connection without a request for so long may be closed: on a machine that is busy, its caller
/// may not have had its turn.
const UNUSED: Duration = Duration::from_millis(500);

/// What may stay in memory after an attack.
const KEPT_KIB: usize = 64 * 1024;

/// A server, its issuer, and what it held when it had served good callers only.
struct Siege {
    issuer: TestIssuer,
    demo: Demo,
    good: String,
    before: Held,
}

/// What a process has; nothing where that cannot be read.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    resident_kib: usize,
    descriptors: usize,
}

impl Held {
    fn by(demo: &Demo) -> Self {
        let folder = format!("/proc/{}", demo.id());
        let status = std::fs::read_to_string(format!("{folder}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
        let descriptors = std::fs::read_dir(format!("{folder}/fd")).map_or(0, Iterator::count);
        Self { resident_kib: resident.unwrap_or(0), descriptors }
    }
}

impl Siege {
    /// A server that has keys, and has answered a few.
    fn begin(flags: &[&str]) -> Self {
        let issuer = TestIssuer::builder().algorithm(SigningAlgorithm::Es256).start();
        let mut command = command(&["--issuer", issuer.url(), "--audience", "orders"]);
        command.args(["--listen", "127.0.0.1:0"]).args(flags);
        let demo = Demo::spawn(command);
        let good = named(&issuer, "checkout").mint();
        for _ in 0..20 {
            assert_good(&demo.whoami(&good));
        }
        let before = Held::by(&demo);
        Self { issuer, demo, good, before }
    }

    /// A token of a service account of this name.
    fn token_of(&self, name: &str) -> String {
        named(&self.issuer, name).mint()
    }

    /// Attacks, while good callers come: one on a connection that it keeps, and one with a new
    /// connection each time.
    fn besides(&self, what: &str, attack: impl FnOnce(&Served)) {
        self.with_callers(what, &[Caller::Keeps, Caller::Comes], attack);
    }

    fn with_callers(&self, what: &str, callers: &[Caller], attack: impl FnOnce(&Served)) {
        let served = Served::default();
        thread::scope(|scope| {
            for caller in callers {
                scope.spawn(|| self.call(*caller, &served));
            }
            // whether it ends or panics
            let _over = Over(&served);
            served.wait_for_more(10);
            attack(&served);
            served.wait_for_more(10);
        });
        let Progress { count, slowest, .. } = *served.progress.lock().unwrap();
        let now = Held::by(&self.demo);
        println!(
            "{what}: {count} good requests beside it, the slowest {slowest:?}; \
             {} KiB resident and {} descriptors at its end",
            now.resident_kib, now.descriptors,
        );
        assert!(slowest < SLOWEST, "{what}: a good request took {slowest:?}");
    }

    fn call(&self, caller: Caller, served: &Served) {
        let mut kept = Wire::to(&self.demo);
        let mut last = Instant::now();
        while !served.is_over() {
            let start = Instant::now();
            match caller {
                Caller::Comes => assert_good(&self.demo.whoami(&self.good)),
                Caller::Keeps => {
                    let sent = kept.try_send(whoami(&self.good));
                    if let Some(answer) = sent.ok().and_then(|()| kept.answer()) {
                        assert_good(&answer);
                    } else {
                        let unused = last.elapsed();
                        assert!(unused > UNUSED, "closed after {unused:?}");
                        kept = Wire::to(&self.demo);
                        continue;
                    }
                }
            }
            last = Instant::now();
            served.count(last - start);
        }
    }

    /// Waits until the server has closed what it need not have open, and meanwhile asks it, so
    /// that it is seen to live.
    fn wait_until_released(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert_good(&self.demo.whoami(&self.good));
            let now = Held::by(&self.demo);
            // a fetch of keys may have left a connection to the issuer
            if now.descriptors <= self.before.descriptors + 4 {
                return;
            }
            assert!(Instant::now() < deadline, "{now:?}, and before {:?}", self.before);
            thread::yield_now();
        }
    }

    /// All is as it was before, and nothing panicked.
    fn end(self, what: &str) {
        self.wait_until_released();
        let now = Held::by(&self.demo);
        let grown = now.resident_kib.saturating_sub(self.before.resident_kib);
        println!(
            "{what}: {} KiB resident before and {} KiB after; {} descriptors before and {} after",
            self.before.resident_kib, now.resident_kib, self.before.descriptors, now.descriptors,
        );
        assert!(grown < KEPT_KIB, "{what}: {grown} KiB were kept");
        let log = self.demo.log_to_the_end();
        assert!(!log.contains("panicked"), "{log}");
    }
}

#[derive(Clone, Copy)]
enum Caller {
    Keeps,
    Comes,
}

/// How many good requests were answered.
#[derive(Default)]
struct Served {
    progress: Mutex<Progress>,
    changed: Condvar,
}

#[derive(Clone, Copy, Default)]
struct Progress {
    count: usize,
    slowest: Duration,
    is_over: bool,
}

impl Served {
    fn count(&self, took: Duration) {
        let mut progress = self.progress.lock().unwrap();
        progress.count += 1;
        progress.slowest = progress.slowest.max(took);
        self.changed.notify_all();
    }

    fn is_over(&self) -> bool {
        self.progress.lock().unwrap().is_over
    }

    /// Waits until so many more were answered from now on.
    fn wait_for_more(&self, more: usize) {
        let progress = self.progress.lock().unwrap();
        let goal = progress.count + more;
        let is_short = |progress: &mut Progress| progress.count < goal;
        let waited = self.changed.wait_timeout_while(progress, PATIENCE, is_short).unwrap().1;
        assert!(!waited.timed_out(), "good callers are not served any more");
    }
}

/// Ends the good callers when it is dropped.
struct Over<'a>(&'a Served);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.progress.lock().unwrap().is_over = true;
    }
}

fn named(issuer: &TestIssuer, name: &str) -> TokenBuilder {
    issuer.token().audience("orders").service_account("payments", name)
}

/// A request with this token.
fn whoami(token: &str) -> String {
    format!("GET /whoami HTTP/1.1\r\nhost: demo\r\nauthorization: Bearer {token}\r\n\r\n")
}

fn assert_good(response: &Response) {
    assert_eq!(who(response), Ok("checkout".to_owned()));
}

/// Who was answered, or the status.
fn who(response: &Response) -> Result<String, u16> {
    if response.status != 200 {
        return Err(response.status);
    }
    match response.json()["service_account"]["name"].as_str() {
        Some(name) => Ok(name.to_owned()),
        None => panic!("{}", response.body),
    }
}

/// How often each came.
fn tally<T: Ord>(all: impl IntoIterator<Item = T>) -> BTreeMap<T, usize> {
    let mut counts = BTreeMap::new();
    for one in all {
        *counts.entry(one).or_default() += 1;
    }
    counts
}
