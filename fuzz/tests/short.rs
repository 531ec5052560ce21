//! The corpora, and some thousand mutations of each: a short run, without another program.

#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use fastrand::Rng;
use kube_oidc_fuzz::{TARGETS, Target};

/// As many mutations of a corpus.
const MUTATIONS: usize = 4_000;

/// Bytes that mean something to a parser.
const TELLING: &[u8] = b"\0\n \"\\.,:;=-_+/*{}[]0129eE\x7f\xc0\xff";

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let mut files: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

/// An input of a corpus with some wounds.
fn mutated(corpus: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let pick = |rng: &mut Rng| corpus[rng.usize(..corpus.len())].clone();
    let mut input = pick(rng);
    for _ in 0..=rng.usize(..4) {
        let at = rng.usize(..=input.len());
        let end = (at + rng.usize(..16)).min(input.len());
        match rng.u8(..6) {
            0 => drop(input.drain(at..end)),
            1 => input.insert(at, TELLING[rng.usize(..TELLING.len())]),
            2 => {
                let piece = input[at..end].to_vec();
                input.splice(at..at, piece);
            }
            3 if at < input.len() => input[at] = rng.u8(..),
            4 if at < input.len() => input[at] ^= 1 << rng.u8(..8),
            _ => {
                let other = pick(rng);
                let from = rng.usize(..=other.len());
                let to = (from + rng.usize(..64)).min(other.len());
                input.splice(at..end, other[from..to].iter().copied());
            }
        }
    }
    input
}

/// Runs a target, and counts the branches that inputs reach.
fn count(target: Target, seed: u64, input: &[u8], reached: &mut BTreeMap<&str, usize>) {
    let Target { name, run, .. } = target;
    let went = catch_unwind(AssertUnwindSafe(|| run(input))).ok();
    assert!(went.is_some(), "{name}, FUZZ_SEED={seed}: {}", input.escape_ascii());
    for branch in went.into_iter().flatten() {
        *reached.get_mut(branch).unwrap() += 1;
    }
}

// rule: cached-equals-uncached
#[test]
fn nothing_in_the_corpora_and_near_them_goes_wrong() {
    let seed = std::env::var("FUZZ_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    let mut rng = Rng::with_seed(seed);
    for target in TARGETS {
        let Target { name, branches, .. } = target;
        let corpus = corpus(name);
        let mut reached: BTreeMap<_, _> = branches.iter().map(|branch| (*branch, 0)).collect();
        for input in &corpus {
            count(target, seed, input, &mut reached);
        }
        assert!(reached.values().all(|count| *count > 0), "{name} reaches only {reached:?}");
        let by_corpus = reached.clone();
        for _ in 0..MUTATIONS {
            count(target, seed, &mutated(&corpus, &mut rng), &mut reached);
        }
        println!("{name}: {} inputs, {reached:?}", corpus.len() + MUTATIONS);
        let grown = reached.iter().filter(|(branch, count)| **count > by_corpus[*branch]).count();
        assert!(2 * grown > reached.len(), "{name}: mutations reach only {reached:?}");
    }
}
