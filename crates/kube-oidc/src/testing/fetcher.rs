use std::{
    collections::HashMap,
    future,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{sync::watch, time};

use super::secs;
use crate::keys::source::{Fetch, FetchError, FetchFuture, FetchRequest, FetchResponse};

/// The reply of a [`ScriptedFetcher`] to each request for a URL.
#[derive(Clone, Debug)]
pub(crate) enum FetchReply {
    Response(FetchResponse),
    Delayed(Duration, FetchResponse),
    Unreachable,
    Hang,
    Panic,
}

impl FetchReply {
    /// A response without a body.
    pub(crate) fn status(status: u16) -> Self {
        FetchResponse::new(status, "").into()
    }
}

impl From<FetchResponse> for FetchReply {
    fn from(response: FetchResponse) -> Self {
        Self::Response(response)
    }
}

/// A fetcher with a reply for each URL. Other URLs are unreachable.
#[derive(Debug, Default)]
pub(crate) struct ScriptedFetcher {
    replies: Mutex<HashMap<String, FetchReply>>,
    requests: Mutex<Vec<(FetchRequest, time::Instant)>>,
    /// Counts the fetches that began.
    began: watch::Sender<usize>,
}

impl ScriptedFetcher {
    /// A fetcher with a reply for one URL.
    pub(crate) fn new(url: &str, reply: impl Into<FetchReply>) -> Arc<Self> {
        let fetcher = Self::default();
        fetcher.set(url, reply);
        Arc::new(fetcher)
    }

    pub(crate) fn set(&self, url: &str, reply: impl Into<FetchReply>) {
        self.replies.lock().unwrap().insert(url.to_owned(), reply.into());
    }

    /// The requests since the last call of [`take_requests`](Self::take_requests), and their times.
    pub(crate) fn requests(&self) -> Vec<(FetchRequest, time::Instant)> {
        self.requests.lock().unwrap().clone()
    }

    /// Returns the requests, and forgets them.
    pub(crate) fn take_requests(&self) -> Vec<(FetchRequest, time::Instant)> {
        std::mem::take(&mut *self.requests.lock().unwrap())
    }

    pub(crate) fn urls(&self) -> Vec<String> {
        self.requests().iter().map(|(request, _)| request.url().to_owned()).collect()
    }

    /// The number of fetches that began.
    pub(crate) fn count(&self) -> usize {
        *self.began.borrow()
    }

    /// Waits until so many fetches began.
    pub(crate) async fn began(&self, count: usize) {
        let mut began = self.began.subscribe();
        let enough = began.wait_for(|began| *began >= count);
        // longer than any pause between fetches
        time::timeout(secs(4 * 3600), enough).await.expect("a fetch begins").unwrap();
    }
}

impl Fetch for ScriptedFetcher {
    fn fetch(&self, request: FetchRequest) -> FetchFuture<'_> {
        let reply = self.replies.lock().unwrap().get(request.url()).cloned();
        self.requests.lock().unwrap().push((request, time::Instant::now()));
        self.began.send_modify(|began| *began += 1);
        Box::pin(async move {
            match reply.unwrap_or(FetchReply::Unreachable) {
                FetchReply::Response(response) => Ok(response),
                FetchReply::Delayed(delay, response) => {
                    time::sleep(delay).await;
                    Ok(response)
                }
                FetchReply::Unreachable => Err(FetchError::new("no route to host")),
                FetchReply::Hang => future::pending().await,
                FetchReply::Panic => panic!("a bug in the fetcher"),
            }
        })
    }
}
