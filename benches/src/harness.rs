//! Contestants take turns in one run, so that noise hits all of them, and only ratios count.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

/// How long a contestant runs before it is the next one's turn.
const TURN: Duration = Duration::from_millis(4);

/// Something that is measured.
pub struct Contestant<'a> {
    name: String,
    once: Box<dyn FnMut() + 'a>,
}

impl<'a> Contestant<'a> {
    /// Measures one call of `once`. What it returns is kept from being optimised away.
    pub fn new<R>(name: impl Into<String>, mut once: impl FnMut() -> R + 'a) -> Self {
        Self { name: name.into(), once: Box::new(move || drop(black_box(once()))) }
    }

    fn times(&mut self, count: u32) -> Duration {
        let start = Instant::now();
        for _ in 0..count {
            (self.once)();
        }
        start.elapsed()
    }
}

/// What came of a contestant.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Who it was.
    pub name: String,
    /// Nanoseconds for one call, median.
    pub nanoseconds: f64,
    /// Against the first contestant of the same round.
    pub ratio: Quartiles,
    /// Nanoseconds for one call, of each round.
    pub rounds: Vec<f64>,
}

impl Measured {
    /// What is worked out in each round from the nanoseconds of some contestants of the same run.
    pub fn each_round<const N: usize>(
        contestants: [&Self; N],
        work_out: impl Fn([f64; N]) -> f64,
    ) -> Quartiles {
        let rounds = contestants.map(|contestant| contestant.rounds.len());
        let count = rounds.into_iter().min().unwrap_or_default();
        let at = |round: usize| work_out(contestants.map(|contestant| contestant.rounds[round]));
        Quartiles::of((0..count).map(at).collect())
    }
}

/// Median and interquartile range.
#[derive(Clone, Copy, Debug)]
pub struct Quartiles {
    /// A quarter is below.
    pub low: f64,
    /// The median.
    pub median: f64,
    /// A quarter is above.
    pub high: f64,
}

impl Quartiles {
    /// Of some values, at least one.
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |part: f64| values[((values.len() - 1) as f64 * part).round() as usize];
        Self { low: at(0.25), median: at(0.5), high: at(0.75) }
    }
}

/// Lets contestants take turns for so many rounds. The first one is what the others are compared
/// with.
pub fn measure(rounds: usize, contestants: &mut [Contestant<'_>]) -> Vec<Measured> {
    let turns: Vec<u32> = contestants.iter_mut().map(calls_in_a_turn).collect();
    let mut times = vec![Vec::with_capacity(rounds); contestants.len()];
    for round in 0..rounds {
        for place in 0..contestants.len() {
            // not always behind the same one
            let index = (place + round) % contestants.len();
            let taken = contestants[index].times(turns[index]);
            times[index].push(taken.as_nanos() as f64 / f64::from(turns[index]));
        }
    }
    let first = times[0].clone();
    let measured = contestants.iter_mut().zip(times).map(|(contestant, times)| {
        let ratios = times.iter().zip(&first).map(|(time, first)| time / first).collect();
        Measured {
            name: contestant.name.clone(),
            nanoseconds: Quartiles::of(times.clone()).median,
            ratio: Quartiles::of(ratios),
            rounds: times,
        }
    });
    measured.collect()
}

fn calls_in_a_turn(contestant: &mut Contestant<'_>) -> u32 {
    // warm up, and find out how long a call takes
    let mut count = 1;
    while contestant.times(count) < TURN {
        count *= 2;
    }
    count.max(4) / 2
}

/// Measures, and shows a table in Markdown. With the feature `allocations` it counts these and
/// nothing else: an allocator that counts would take its time of those who allocate.
pub fn report(
    title: &str,
    rounds: usize,
    contestants: &mut [Contestant<'_>],
) -> Option<Vec<Measured>> {
    println!("\n### {title}\n");
    if cfg!(feature = "allocations") {
        count_allocations(contestants);
        return None;
    }
    let measured = measure(rounds, contestants);
    println!("| what | ratio | quartiles | ns |");
    println!("| --- | ---: | --- | ---: |");
    for Measured { name, nanoseconds, ratio, .. } in &measured {
        let Quartiles { low, median, high } = ratio;
        println!("| {name} | {median:.4} | {low:.4} to {high:.4} | {nanoseconds:.0} |");
    }
    println!();
    Some(measured)
}

#[cfg(not(feature = "allocations"))]
fn count_allocations(_: &mut [Contestant<'_>]) {}

#[cfg(feature = "allocations")]
fn count_allocations(contestants: &mut [Contestant<'_>]) {
    println!("| what | allocations |");
    println!("| --- | ---: |");
    for Contestant { name, once } in contestants {
        // what is set up at first use does not count
        once();
        println!("| {name} | {} |", allocation_counter::measure(once).count_total);
    }
}

/// Shows one number in Markdown, as an item of a list.
pub fn print_quartiles(what: &str, Quartiles { low, median, high }: Quartiles) {
    println!("- {what}: {median:.4} ({low:.4} to {high:.4})");
}

/// Polls a future that is ready soon, without a runtime of its own.
///
/// # Panics
///
/// It is not ready after many polls.
pub fn now<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    for _ in 0..1_000 {
        if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
    }
    panic!("a future that waits")
}
