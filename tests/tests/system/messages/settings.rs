//! Settings of verifiers and the demo server.

use super::Case;

pub(super) async fn cases() -> Vec<Case> {
    Vec::new()
}
