//! Fetches of keys and discovery documents, over the network.

use super::Case;

pub(super) async fn cases() -> Vec<Case> {
    Vec::new()
}
