//! A site as one key cache sees it: it answers, and notes what it answered.

use std::sync::{Arc, atomic::Ordering};

use kube_oidc::source::{Fetch, FetchError, FetchFuture, FetchRequest, FetchResponse};
use kube_oidc_testing::SigningKey;
use serde_json::{Value, json};

use crate::{
    place::Place,
    site::{Mood, Site, SiteState},
    told::{Given, Told},
};

/// A site as one key cache sees it.
#[derive(Debug)]
pub(crate) struct Visit {
    pub(crate) site: Arc<Site>,
    pub(crate) number: u64,
}

impl Fetch for Visit {
    fn fetch(&self, request: FetchRequest) -> FetchFuture<'_> {
        Box::pin(async move {
            self.site.requests.fetch_add(1, Ordering::SeqCst);
            let (mood, body) = {
                let mut state = self.site.state();
                let body = if request.url().ends_with("/openid-configuration") {
                    Some(self.document(&mut state))
                } else {
                    let path = request.url().rsplit('/').next().and_then(|path| path.parse().ok());
                    self.keys(&mut state, path.unwrap_or_default())
                };
                (state.mood, body)
            };
            match mood {
                Mood::Up => Ok(match body {
                    Some(body) => FetchResponse::new(200, body.to_string()),
                    None => FetchResponse::new(404, "not found"),
                }),
                Mood::Down => Err(FetchError::new("connection refused")),
                Mood::Garbage => Ok(FetchResponse::new(200, "<html>")),
                Mood::Empty => Ok(FetchResponse::new(200, r#"{"keys":[]}"#)),
                Mood::Hangs => std::future::pending().await,
            }
        })
    }
}

impl Visit {
    fn document(&self, state: &mut SiteState) -> Value {
        let Self { site, number } = self;
        let is_current = state.visit == *number;
        let is_served = state.mood == Mood::Up;
        let given = Given::now(&site.clock, state.last_jump);
        match &mut state.place {
            Place::ApiServer(names) => {
                if is_current {
                    // each fetch begins with the document
                    names.end_last();
                    state.answers.end_last();
                    if is_served && names.report(given) {
                        site.note_change();
                    }
                }
                json!({ "issuer": names.all[names.current], "jwks_uri": "https://10.0.0.1/keys" })
            }
            Place::Moving(moving) => {
                if is_current {
                    // this may be the second request of a fetch: if the URL is another one, or the
                    // document cannot be read, the keys of the first one may be thrown away
                    let path = moving.path;
                    if let Some(told) = state.answers.last_mut() {
                        told.given.is_shaken |= !is_served || told.path != path;
                    }
                    moving.document_read(is_served.then_some(given));
                }
                let jwks_uri = format!("{}/keys/{}", site.url(), moving.path);
                json!({ "issuer": site.url(), "jwks_uri": jwks_uri })
            }
            Place::Known | Place::Replicated { .. } => {
                state.fault = Some("a document was read of a site without one".to_owned());
                Value::Null
            }
        }
    }

    fn keys(&self, state: &mut SiteState, path: usize) -> Option<Value> {
        let Self { site, number } = self;
        let is_current = state.visit == *number;
        let served = match &mut state.place {
            Place::Known | Place::ApiServer(_) => Some(&state.served[..]),
            Place::Replicated { behind } => {
                let behind = behind.as_deref().filter(|_| fastrand::bool());
                Some(behind.unwrap_or(&state.served))
            }
            Place::Moving(moving) => {
                if is_current && let Some(fault) = moving.check_keys_read(path, &site.clock) {
                    state.fault = Some(fault);
                }
                let is_moved = path != moving.path;
                if is_moved { moving.keys_at(path) } else { Some(&state.served[..]) }
            }
        };
        let kids = served.map(|keys| keys.iter().map(|key| key.kid().to_owned()).collect());
        let body = served
            .map(|keys| json!({ "keys": keys.iter().map(SigningKey::jwk).collect::<Vec<_>>() }));
        if is_current {
            // one fetch at a time: that this one began tells that the last one is over
            if !matches!(state.place, Place::ApiServer(_)) {
                state.answers.end_last();
            }
            if let Some(kids) = kids.filter(|_| state.mood == Mood::Up) {
                let given = Given::now(&site.clock, state.last_jump);
                let told = Told { number: state.given, kids, path, given };
                state.given += 1;
                if state.answers.push(told) {
                    site.note_change();
                }
            }
        }
        body
    }
}
