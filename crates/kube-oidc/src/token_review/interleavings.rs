//! Requests that ask about one token in the orders that threads seldom have: see `sync.rs`.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use shuttle::future::{block_on, spawn, yield_now};

use super::{
    answers::Answers,
    tests::{answers, ask, clock, good},
    *,
};
use crate::{error::Reason, sync::in_many_orders};

/// Answers after a while, if it does.
#[derive(Debug)]
struct ApiServer {
    answers: AtomicBool,
    calls: AtomicUsize,
}

impl ApiServer {
    fn that(answers: bool) -> Arc<Self> {
        Arc::new(Self { answers: answers.into(), calls: AtomicUsize::new(0) })
    }
}

impl Reviewer for ApiServer {
    fn review<'a>(&'a self, _: ReviewRequest<'a>) -> ReviewFuture<'a> {
        Box::pin(async {
            self.calls.fetch_add(1, Ordering::SeqCst);
            yield_now().await;
            let answers = self.answers.load(Ordering::SeqCst);
            if answers { Ok(good()) } else { Err(ReviewError::new("it is away")) }
        })
    }
}

/// Several ask at once, and one of them goes away.
async fn several_are_told(answers: &Arc<Answers>, told: Result<(), Reason>) {
    let asking = || {
        let answers = Arc::clone(answers);
        spawn(async move { ask(&answers).await })
    };
    let (gone, askers) = (asking(), [(); 3].map(|()| asking()));
    gone.abort();
    for asker in askers {
        assert_eq!(asker.await.unwrap(), told);
    }
}

#[test]
fn who_asks_at_the_same_time_shares_one_call() {
    in_many_orders(|| {
        block_on(async {
            let api_server = ApiServer::that(true);
            let answers = answers(Arc::clone(&api_server), &clock());
            several_are_told(&answers, Ok(())).await;
            assert_eq!(api_server.calls.load(Ordering::SeqCst), 1);
        });
    });
}

#[test]
fn no_answer_is_shared_too_and_an_earlier_one_is_nobodys() {
    in_many_orders(|| {
        block_on(async {
            let (api_server, clock) = (ApiServer::that(true), clock());
            let answers = answers(Arc::clone(&api_server), &clock);
            assert_eq!(ask(&answers).await, Ok(()));
            clock.advance(Duration::from_secs(60));
            api_server.answers.store(false, Ordering::SeqCst);
            several_are_told(&answers, Err(Reason::ReviewUnavailable)).await;
            assert_eq!(api_server.calls.load(Ordering::SeqCst), 2);
        });
    });
}

#[test]
fn probe_of_several_requests_is_one_call_and_ends_failing() {
    in_many_orders(|| {
        block_on(async {
            let (api_server, clock) = (ApiServer::that(false), clock());
            let answers = answers(Arc::clone(&api_server), &clock);
            for _ in 0..2 {
                assert_eq!(ask(&answers).await, Err(Reason::ReviewUnavailable));
                clock.advance(Duration::from_secs(1));
            }
            api_server.answers.store(true, Ordering::SeqCst);
            let askers = [(); 3].map(|()| {
                let answers = Arc::clone(&answers);
                spawn(async move { ask(&answers).await })
            });
            for asker in askers {
                // by the failing state, or by the response that has come meanwhile
                let verdict = asker.await.unwrap();
                assert!(matches!(verdict, Ok(()) | Err(Reason::ReviewUnavailable)));
            }
            while ask(&answers).await.is_err() {
                yield_now().await;
            }
            assert_eq!(api_server.calls.load(Ordering::SeqCst), 3);
        });
    });
}
