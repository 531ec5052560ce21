//! Tokens and their claims.

use super::Case;

pub(super) async fn cases() -> Vec<Case> {
    Vec::new()
}
