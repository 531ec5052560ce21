//! Requests to a protected service.

use super::Case;

pub(super) async fn cases() -> Vec<Case> {
    Vec::new()
}
