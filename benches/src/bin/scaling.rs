//! One verifier that threads share, beside an empty loop that shows what the machine itself gives
//! to as many threads.

use std::{
    fs,
    hint::black_box,
    sync::{
        Barrier,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use kube_oidc::Verifier;
use kube_oidc_benches::{
    harness::Quartiles,
    inputs::{pod_token, verifier, verify},
};
use kube_oidc_testing::TestIssuer;

/// How long threads run before it is the next ones' turn.
const SLICE: Duration = Duration::from_millis(150);

/// As many threads; the last more than there are cores.
const THREADS: [usize; 3] = [1, 2, 8];

/// What the threads do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Work {
    Nothing,
    Cold,
    Warm,
    WarmOneToken,
}

impl Work {
    const ALL: [Self; 4] = [Self::Nothing, Self::Cold, Self::Warm, Self::WarmOneToken];

    fn name(self) -> &'static str {
        match self {
            Self::Nothing => "an empty loop",
            Self::Cold => "cold, each with its own token",
            Self::Warm => "warm, each with its own token",
            Self::WarmOneToken => "warm, all with the same token",
        }
    }

    /// Which part of what the empty loop gains so many threads are to gain at least.
    fn bar(self, threads: usize) -> &'static str {
        match (self, threads) {
            (Self::Cold, 2) => "0.95, which is 1.9 of 2",
            (Self::Warm, 2) => "0.85, which is 1.7 of 2",
            _ => "",
        }
    }
}

/// What the threads share.
struct Shared {
    cold: Verifier,
    warm: Verifier,
    /// One for each thread.
    tokens: Vec<String>,
}

impl Shared {
    async fn new(issuer: &TestIssuer) -> Self {
        let most = THREADS.into_iter().max().expect("some threads");
        Self {
            cold: verifier(issuer, 0).await,
            warm: verifier(issuer, 1_000).await,
            tokens: (0..most)
                .map(|thread| pod_token(issuer).claim("jti", thread.to_string()).mint())
                .collect(),
        }
    }

    fn run(&self, work: Work, threads: usize) -> Slice {
        let token = |thread: usize| &*self.tokens[thread];
        match work {
            Work::Nothing => run(threads, |_| spin()),
            Work::Cold => run(threads, |thread| verify(&self.cold, token(thread))),
            Work::Warm => run(threads, |thread| verify(&self.warm, token(thread))),
            Work::WarmOneToken => run(threads, |_| verify(&self.warm, token(0))),
        }
    }
}

/// As long as a warm check, about, and touches no memory.
fn spin() -> u64 {
    (0..256_u64).fold(1, |sum, number| black_box(sum.wrapping_mul(31).wrapping_add(number)))
}

/// What came of some threads in a slice.
struct Slice {
    /// Calls in a second, of all threads together.
    rate: f64,
    /// Calls in a second that a thread is on a CPU, and not waiting for one.
    pace: f64,
}

/// Lets threads that start together call `once`, which is told which of them calls.
fn run<R>(threads: usize, once: impl Fn(usize) -> R + Sync) -> Slice {
    let (start, stop) = (Barrier::new(threads + 1), AtomicBool::new(false));
    let work = &|thread: usize| {
        // whatever a thread does only once
        black_box(once(thread));
        start.wait();
        let (began, unused) = (Instant::now(), on_cpu());
        let mut calls = 0_u64;
        while !stop.load(Ordering::Relaxed) {
            black_box(once(thread));
            calls += 1;
        }
        (began, calls, on_cpu() - unused)
    };
    thread::scope(|scope| {
        let running: Vec<_> =
            (0..threads).map(|thread| scope.spawn(move || work(thread))).collect();
        start.wait();
        thread::sleep(SLICE);
        let end = Instant::now();
        stop.store(true, Ordering::Relaxed);
        let (mut first, mut calls, mut used) = (end, 0, Duration::ZERO);
        for thread in running {
            let (began, more, time) = thread.join().expect("a thread that ends");
            first = first.min(began);
            calls += more;
            used += time;
        }
        let calls = calls as f64;
        Slice { rate: calls / (end - first).as_secs_f64(), pace: calls / used.as_secs_f64() }
    })
}

/// How long this thread was on a CPU.
fn on_cpu() -> Duration {
    // the system brings it up to date
    thread::yield_now();
    let line = fs::read_to_string("/proc/thread-self/schedstat").expect("a kernel that tells");
    let nanoseconds = line.split(' ').next().and_then(|number| number.parse().ok());
    Duration::from_nanos(nanoseconds.expect("a number"))
}

/// Some work on some threads, and what came of it in each round.
struct Configuration {
    work: Work,
    threads: usize,
    slices: Vec<Slice>,
}

impl Configuration {
    fn all(&self, value: fn(&Slice) -> f64) -> Vec<f64> {
        self.slices.iter().map(value).collect()
    }
}

fn find(all: &[Configuration], work: Work, threads: usize) -> &Configuration {
    let found = all.iter().find(|one| one.work == work && one.threads == threads);
    found.expect("a configuration that is measured")
}

/// Compares with one thread that does the same, round by round.
fn to_one(
    all: &[Configuration],
    configuration: &Configuration,
    value: fn(&Slice) -> f64,
) -> Vec<f64> {
    // one thread has its own token anyway
    let alone = match configuration.work {
        Work::WarmOneToken => Work::Warm,
        work => work,
    };
    quotients(&configuration.all(value), &find(all, alone, 1).all(value))
}

fn quotients(values: &[f64], of: &[f64]) -> Vec<f64> {
    values.iter().zip(of).map(|(value, of)| value / of).collect()
}

fn print(all: &[Configuration]) {
    println!(
        "| what | threads | calls/s to one thread | quartiles | that to the empty loop's | \
         quartiles | bar | calls in a second of CPU to one thread | quartiles |"
    );
    println!("| --- | ---: | ---: | --- | ---: | --- | --- | ---: | --- |");
    for configuration in all {
        let Configuration { work, threads, .. } = *configuration;
        let gains = to_one(all, configuration, |slice| slice.rate);
        let given = to_one(all, find(all, Work::Nothing, threads), |slice| slice.rate);
        let relative = quotients(&gains, &given);
        let pace = to_one(all, configuration, |slice| slice.pace);
        println!(
            "| {} | {threads} | {} | {} | {} | {} |",
            work.name(),
            cells(gains),
            cells(relative),
            work.bar(threads),
            cells(pace)
        );
    }
    println!();
    for configuration in all.iter().filter(|one| one.threads == 1) {
        let pace = Quartiles::of(configuration.all(|slice| slice.pace)).median;
        println!("- one call, {}: {:.0} ns of CPU", configuration.work.name(), 1e9 / pace);
    }
}

/// The median in a cell, and the quartiles in the next.
fn cells(values: Vec<f64>) -> String {
    let Quartiles { low, median, high } = Quartiles::of(values);
    format!("{median:.3} | {low:.3} to {high:.3}")
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let rounds = std::env::args().nth(1).and_then(|rounds| rounds.parse().ok()).unwrap_or(15);
    let issuer = TestIssuer::start();
    let shared = Shared::new(&issuer).await;
    let mut all = Vec::new();
    for threads in THREADS {
        for work in Work::ALL {
            if threads > 1 || work != Work::WarmOneToken {
                all.push(Configuration { work, threads, slices: Vec::new() });
            }
        }
    }
    for round in 0..rounds {
        for place in 0..all.len() {
            // not always behind the same one
            let index = (place + round) % all.len();
            let Configuration { work, threads, .. } = all[index];
            all[index].slices.push(shared.run(work, threads));
        }
    }
    print(&all);
}
