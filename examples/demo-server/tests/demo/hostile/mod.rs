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
    iter,
    net::{SocketAddr, TcpStream},
    sync::{Condvar, Mutex},
    thread,
    time::{Duration, Instant},
};

use kube_oidc_testing::{Endpoint, MockResponse, SigningAlgorithm, TestIssuer, TokenBuilder};

use self::wire::Wire;
use crate::{
    page::Page as _,
    process::{Demo, PATIENCE, Response, command},
};

/// The slowest that a good request may be beside an attack, on a machine that is busy.
const SLOWEST: Duration = Duration::from_secs(20);

/// A connection without a request for so long may be closed: on a machine that is busy, its caller
/// may not have had its turn.
const UNUSED: Duration = Duration::from_millis(500);

/// What an attack may add to memory for good when it comes again, as a part of what it may take.
/// What it leaves the first time is mostly the allocator's, which has it for the next one.
const KEPT_PART: usize = 4;

/// A server, its issuer, and what it held when it had served good callers only.
struct Siege<I = TestIssuer> {
    issuer: I,
    demo: Demo,
    good: String,
    before: Held,
}

/// The issuer that a demo starts for itself, and where it is.
struct Own(SocketAddr);

/// What a process has; nothing where that cannot be read.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    resident_kib: usize,
    /// The most that was resident so far.
    height_kib: usize,
    descriptors: usize,
}

impl Held {
    fn by(demo: &Demo) -> Self {
        let folder = format!("/proc/{}", demo.id());
        let status = std::fs::read_to_string(format!("{folder}/status")).unwrap_or_default();
        let kib = |name| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(0)
        };
        let descriptors = std::fs::read_dir(format!("{folder}/fd")).map_or(0, Iterator::count);
        Self { resident_kib: kib("VmRSS:"), height_kib: kib("VmHWM:"), descriptors }
    }
}

impl Siege {
    /// Of an issuer that may hang, and is waited for longer than a test takes.
    const PATIENT: [&str; 6] =
        ["--fetch-timeout", "60s", "--request-timeout", "60s", "--unknown-kid-cooldown", "100ms"];

    /// A server that has keys, and has answered a few.
    fn begin(flags: &[&str]) -> Self {
        let issuer = TestIssuer::builder().algorithm(SigningAlgorithm::Es256).start();
        let mut command = command(&["--issuer", issuer.url(), "--audience", "orders"]);
        command.args(["--listen", "127.0.0.1:0"]).args(flags);
        let demo = Demo::spawn(command);
        let good = named(&issuer, "checkout").mint();
        Self::of(issuer, demo, good)
    }

    /// A token of a service account of this name.
    fn token_of(&self, name: &str) -> String {
        named(&self.issuer, name).mint()
    }

    /// From now on the issuer does not answer who asks for keys, and this is a token of a key that
    /// it has and does not tell of: whoever comes with it waits until the issuer is
    /// [there again](Self::end_wait).
    fn begin_wait(&self) -> String {
        self.issuer.respond_with(Endpoint::Jwks, MockResponse::hang());
        self.issuer.rotate();
        self.token_of("late")
    }

    /// Breaks off what the issuer was asked for, so that whoever waits is answered.
    fn end_wait(&self) {
        self.issuer.stop();
    }

    /// Waits until all is well again, and another key may be waited for.
    fn recover(&self, served: &Served) {
        self.issuer.reset_response(Endpoint::Jwks);
        self.issuer.restart();
        let late = self.token_of("late");
        let deadline = Instant::now() + PATIENCE;
        while self.demo.whoami(&late).status != 200 {
            assert!(Instant::now() < deadline, "the keys are not fetched any more");
        }
        let there = Instant::now();
        // until the cooldown is over
        while there.elapsed() < Duration::from_millis(200) {
            served.wait_for_more(1);
        }
    }
}

impl Siege<Own> {
    /// A server with an issuer of its own, which is asked about tokens too.
    fn begin_alone(flags: &[&str]) -> Self {
        let mut demo = Demo::start(flags);
        demo.log_line_with("the keys of the issuer are here");
        let line = iter::repeat_with(|| demo.line()).find_map(|line| {
            Some(line.strip_prefix("an issuer of its own is at http://")?.to_owned())
        });
        let address = line.unwrap().parse().unwrap();
        let good = demo.mint("good");
        Self::of(Own(address), demo, good)
    }

    /// A good token that is like no other.
    fn fresh_token(&self) -> String {
        self.demo.mint_for_pod(&format!("{:016x}", fastrand::u64(..)))
    }
}

impl<I: Sync> Siege<I> {
    fn of(issuer: I, demo: Demo, good: String) -> Self {
        for _ in 0..20 {
            assert_good(&demo.whoami(&good));
        }
        let before = Held::by(&demo);
        Self { issuer, demo, good, before }
    }

    /// Attacks twice, while good callers come: one on a connection that it keeps, and one with a
    /// new connection each time. The server may take so many MiB for it.
    fn besides(&self, what: &str, most_mib: usize, attack: impl FnMut(&Served)) {
        self.with_callers(&[Caller::Keeps, Caller::Comes], what, most_mib, attack);
    }

    fn with_callers(
        &self,
        callers: &[Caller],
        what: &str,
        most_mib: usize,
        mut attack: impl FnMut(&Served),
    ) {
        let [first, second] = [(); 2].map(|()| {
            self.attack(callers, what, &mut attack);
            self.wait_until_released();
            Held::by(&self.demo)
        });
        let mib = |kib: usize| kib / 1024;
        let before = self.before.resident_kib;
        println!(
            "memory: {what}: {} MiB before, {} MiB at its height, {} MiB after, {} MiB after a \
             second time",
            mib(before),
            mib(second.height_kib),
            mib(first.resident_kib),
            mib(second.resident_kib),
        );
        let taken = mib(second.height_kib.saturating_sub(before));
        assert!(taken <= most_mib, "{what}: {taken} MiB were taken");
        let kept = mib(second.resident_kib.saturating_sub(first.resident_kib));
        assert!(kept <= most_mib / KEPT_PART, "{what}: {kept} MiB more were kept the second time");
    }

    fn attack(&self, callers: &[Caller], what: &str, attack: impl FnOnce(&Served)) {
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
        println!("{what}: {count} good requests beside it, the slowest {slowest:?}");
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
    fn end(self) {
        self.wait_until_released();
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
