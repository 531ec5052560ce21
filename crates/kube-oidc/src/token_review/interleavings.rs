//! Requests that ask about one token in the orders that threads seldom have: see `sync.rs`.

use std::sync::Arc;

use shuttle::future::{JoinHandle, block_on, spawn, yield_now};

use super::{
    cache::ReviewCache,
    tests::{Reviews, ask, good},
};
use crate::{
    error::Reason,
    sync::in_many_orders,
    testing::{ReviewReply, SECOND},
};

fn spawn_ask(answers: &Arc<ReviewCache>) -> JoinHandle<Result<(), Reason>> {
    let answers = Arc::clone(answers);
    spawn(async move { ask(&answers).await })
}

/// Four requests come at once, and one of them goes away.
async fn several_ask(answers: &Arc<ReviewCache>, expected: Result<(), Reason>) {
    let (gone, askers) = (spawn_ask(answers), [(); 3].map(|()| spawn_ask(answers)));
    gone.abort();
    for asker in askers {
        assert_eq!(asker.await.unwrap(), expected);
    }
}

#[test]
fn who_asks_at_the_same_time_shares_one_call() {
    in_many_orders(|| {
        block_on(async {
            let Reviews { reviewer, answers, .. } = Reviews::new();
            several_ask(&answers, Ok(())).await;
            assert_eq!(reviewer.calls(), 1);
        });
    });
}

#[test]
fn no_answer_is_shared_too_and_an_earlier_one_is_nobodys() {
    in_many_orders(|| {
        block_on(async {
            let Reviews { reviewer, clock, answers } = Reviews::new();
            assert_eq!(ask(&answers).await, Ok(()));
            clock.advance(60 * SECOND);
            reviewer.set(ReviewReply::Fail);
            several_ask(&answers, Err(Reason::ReviewUnavailable)).await;
            assert_eq!(reviewer.calls(), 2);
        });
    });
}

#[test]
fn probe_of_several_requests_is_one_call_and_ends_failing() {
    in_many_orders(|| {
        block_on(async {
            let Reviews { reviewer, clock, answers } = Reviews::new();
            reviewer.set(ReviewReply::Fail);
            for _ in 0..2 {
                assert_eq!(ask(&answers).await, Err(Reason::ReviewUnavailable));
                clock.advance(SECOND);
            }
            reviewer.set(good());
            let askers = [(); 3].map(|()| spawn_ask(&answers));
            for asker in askers {
                // by the failing state, or by the response that has come meanwhile
                let verdict = asker.await.unwrap();
                assert!(matches!(verdict, Ok(()) | Err(Reason::ReviewUnavailable)));
            }
            while ask(&answers).await.is_err() {
                yield_now().await;
            }
            assert_eq!(reviewer.calls(), 3);
        });
    });
}
