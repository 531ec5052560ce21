//! Key sets, and files and responses that are none.

use super::Case;

pub(super) async fn cases() -> Vec<Case> {
    Vec::new()
}
