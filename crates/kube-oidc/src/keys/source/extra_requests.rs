//! Requests beyond the two of an ordinary fetch, for document and key set.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::clock::Moment;

/// The number of extra requests in a window, in which five fetches may begin: with two requests
/// each, an issuer gets at most twelve.
const MAX_EXTRA: usize = 2;

/// When the last extra requests were sent.
#[derive(Debug, Default)]
pub(super) struct ExtraRequests(Mutex<VecDeque<Moment>>);

impl ExtraRequests {
    /// Takes one extra request, if it may be sent. Without a window there is no limit.
    pub(super) fn take(&self, window: Option<Duration>, now: Moment) -> bool {
        let Some(window) = window else { return true };
        let mut sent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sent.retain(|at| now.since(*at) < window);
        let may_send = sent.len() < MAX_EXTRA;
        if may_send {
            sent.push_back(now);
        }
        may_send
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{clock, secs};

    // rule: fetch-budget
    #[test]
    fn two_extra_requests_in_a_window() {
        let clock = clock();
        let window = secs(30);
        let extra = ExtraRequests::default();
        let take = |window| extra.take(window, Moment::now(&clock));
        assert!(take(Some(window)));
        clock.advance(window / 2);
        assert!(take(Some(window)));
        assert!(!take(Some(window)));
        assert!(take(None));
        clock.advance(window / 2);
        assert!(take(Some(window)));
        assert!(!take(Some(window)));
    }
}
