use std::{
    future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{sync::watch, task, time};

use crate::token_review::{ReviewError, ReviewFuture, ReviewRequest, ReviewStatus, Reviewer};

/// The reply of a [`ScriptedReviewer`] to each request.
#[derive(Clone, Debug)]
pub(crate) enum ReviewReply {
    Status(ReviewStatus),
    /// A status made from the token.
    StatusOf(fn(&str) -> ReviewStatus),
    Delayed(Duration, ReviewStatus),
    Fail,
    Hang,
    Panic,
}

impl From<ReviewStatus> for ReviewReply {
    fn from(status: ReviewStatus) -> Self {
        Self::Status(status)
    }
}

/// An API server that gives the same reply to every review, until another reply is set.
#[derive(Debug)]
pub(crate) struct ScriptedReviewer {
    reply: Mutex<ReviewReply>,
    /// Tokens and audiences since the last call of [`take_calls`](Self::take_calls).
    requests: Mutex<Vec<(String, Vec<String>)>>,
    in_flight: AtomicUsize,
    most_in_flight: AtomicUsize,
    is_held: watch::Sender<bool>,
}

impl ScriptedReviewer {
    pub(crate) fn new(reply: impl Into<ReviewReply>) -> Arc<Self> {
        Arc::new(Self {
            reply: Mutex::new(reply.into()),
            requests: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            most_in_flight: AtomicUsize::new(0),
            is_held: watch::Sender::new(false),
        })
    }

    pub(crate) fn set(&self, reply: impl Into<ReviewReply>) {
        *self.reply.lock().unwrap() = reply.into();
    }

    /// Holds every reply back until [`release`](Self::release).
    pub(crate) fn hold(&self) {
        self.is_held.send_replace(true);
    }

    pub(crate) fn release(&self) {
        self.is_held.send_replace(false);
    }

    pub(crate) fn requests(&self) -> Vec<(String, Vec<String>)> {
        self.requests.lock().unwrap().clone()
    }

    pub(crate) fn calls(&self) -> usize {
        self.requests.lock().unwrap().len()
    }

    /// Returns the number of calls, and counts from zero again.
    pub(crate) fn take_calls(&self) -> usize {
        std::mem::take(&mut *self.requests.lock().unwrap()).len()
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::SeqCst)
    }

    /// Returns the largest number of calls at a time, and counts from zero again.
    pub(crate) fn take_most_in_flight(&self) -> usize {
        self.most_in_flight.swap(0, Ordering::SeqCst)
    }
}

impl Reviewer for ScriptedReviewer {
    fn review<'a>(&'a self, request: ReviewRequest<'a>) -> ReviewFuture<'a> {
        Box::pin(async move {
            let _in_flight = InFlight::new(self);
            let (token, audiences) = (request.token().to_owned(), request.audiences().to_vec());
            self.requests.lock().unwrap().push((token, audiences));
            self.is_held.subscribe().wait_for(|is_held| !is_held).await.unwrap();
            // a reply over a network is never ready at once
            task::yield_now().await;
            let reply = self.reply.lock().unwrap().clone();
            match reply {
                ReviewReply::Status(status) => Ok(status),
                ReviewReply::StatusOf(status) => Ok(status(request.token())),
                ReviewReply::Delayed(delay, status) => {
                    time::sleep(delay).await;
                    Ok(status)
                }
                ReviewReply::Fail => Err(ReviewError::new("connection refused")),
                ReviewReply::Hang => future::pending().await,
                ReviewReply::Panic => panic!("a bug in the reviewer"),
            }
        })
    }
}

struct InFlight<'a>(&'a ScriptedReviewer);

impl<'a> InFlight<'a> {
    fn new(reviewer: &'a ScriptedReviewer) -> Self {
        let in_flight = reviewer.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        reviewer.most_in_flight.fetch_max(in_flight, Ordering::SeqCst);
        Self(reviewer)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}
