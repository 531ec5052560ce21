//! A limit on the calls that are in flight, shared fairly between subjects.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, PoisonError},
};

use crate::sync::{Mutex, MutexGuard};

/// The permits for calls about the tokens of one issuer.
pub(super) struct Permits {
    max: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    by_subject: HashMap<Arc<str>, usize>,
}

/// One call. Requests that wait for it need none of their own.
pub(super) struct Permit {
    permits: Arc<Permits>,
    subject: Arc<str>,
}

impl Permits {
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, taken: Mutex::default() })
    }

    /// Takes a permit, unless all are taken or this subject has a quarter of them.
    pub(super) fn try_acquire(self: &Arc<Self>, subject: &str) -> Option<Permit> {
        let mut taken = self.taken();
        let of_subject = taken.by_subject.get(subject).copied().unwrap_or_default();
        if taken.all >= self.max || of_subject >= self.max / 4 {
            return None;
        }
        let subject = Arc::from(subject);
        taken.all += 1;
        *taken.by_subject.entry(Arc::clone(&subject)).or_default() += 1;
        Some(Permit { permits: Arc::clone(self), subject })
    }

    #[cfg(test)]
    pub(super) fn take_all(self: &Arc<Self>) -> Vec<Permit> {
        let permits = 0..self.max - self.in_use();
        permits.map(|number| self.try_acquire(&number.to_string()).unwrap()).collect()
    }

    #[cfg(test)]
    pub(super) fn in_use(&self) -> usize {
        self.taken().all
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        // nothing panics while it is held
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut taken = self.permits.taken();
        taken.all -= 1;
        if let Entry::Occupied(mut of_subject) = taken.by_subject.entry(Arc::clone(&self.subject)) {
            *of_subject.get_mut() -= 1;
            if *of_subject.get() == 0 {
                of_subject.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subject_takes_at_most_a_quarter() {
        let permits = Permits::new(8);
        let held = [(); 2].map(|()| permits.try_acquire("checkout").unwrap());
        assert!(permits.try_acquire("checkout").is_none());
        let other = permits.try_acquire("nightly").unwrap();
        drop(held);
        assert!(permits.try_acquire("checkout").is_some());
        drop(other);
        assert_eq!(permits.in_use(), 0);
        assert!(permits.taken().by_subject.is_empty());
    }

    #[test]
    fn all_subjects_take_at_most_all_permits() {
        let permits = Permits::new(8);
        let mut held: Vec<_> =
            (0..8).map(|subject| permits.try_acquire(&subject.to_string()).unwrap()).collect();
        assert!(permits.try_acquire("another").is_none());
        held.pop();
        assert!(permits.try_acquire("another").is_some());
    }
}
