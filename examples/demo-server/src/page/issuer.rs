//! The switches of the demo's own issuer, and what its verifier does about them.

use std::sync::{Arc, atomic::Ordering};

use axum::{
    Json,
    body::Bytes,
    extract::{State, rejection::BytesRejection},
    http::StatusCode,
};
use serde::Deserialize;

use super::{
    Page,
    exchange::{Problem, read},
    status::Status,
};

/// As many keys as the issuer has at a time.
const MAX_KEYS: usize = 8;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    change: Change,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Change {
    /// Sign with a new key, and publish the old ones still.
    Rotate,
    /// Publish the newest key only.
    DropOldKeys,
    Stop,
    Restart,
    /// Let the verifier fetch keys now.
    Fetch,
}

/// Answers how everything is afterwards.
pub(super) async fn change(
    State(page): State<Arc<Page>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Status>, Problem> {
    let Wanted { change } = read(body)?;
    let _changing = page.changing.lock().await;
    if matches!(change, Change::Fetch) {
        let failed = |_| {
            Problem::new(
                StatusCode::BAD_GATEWAY,
                "the keys could not be fetched: the old ones stay",
            )
        };
        page.verifier.refresh_keys().await.map_err(failed)?;
    } else {
        if matches!(change, Change::Rotate) && page.published_keys().len() >= MAX_KEYS {
            let error = "the issuer has eight keys: drop the old ones first";
            return Err(Problem::new(StatusCode::CONFLICT, error));
        }
        let changed = Arc::clone(&page);
        // keys are made, and threads ended
        tokio::task::spawn_blocking(move || changed.apply(change)).await.map_err(|_| {
            // somebody else may have taken its port
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the issuer could not do that")
        })?;
    }
    Ok(Json(page.status()))
}

impl Page {
    fn apply(&self, change: Change) {
        match change {
            Change::Rotate => self.issuer.rotate(),
            Change::DropOldKeys => self.issuer.drop_old_keys(),
            Change::Stop => {
                self.issuer.stop();
                self.is_up.store(false, Ordering::Relaxed);
            }
            Change::Restart => {
                self.issuer.restart();
                self.is_up.store(true, Ordering::Relaxed);
            }
            Change::Fetch => {}
        }
    }
}
