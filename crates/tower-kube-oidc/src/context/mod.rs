//! What a layer leaves in the extensions of a request, for inner layers and handlers.

mod caller;
mod clear;
mod format_of_layer;
mod inner_layer;
mod passed_mark;
mod token_for_review;

#[cfg(any(feature = "axum", feature = "tonic"))]
pub(crate) use self::caller::{caller, why_no_caller};
pub use self::passed_mark::Passed;
pub(crate) use self::{
    caller::{Found, found},
    clear::clear,
    format_of_layer::{FormatOfLayer, answering_within},
    inner_layer::{answer_within, enforce},
    passed_mark::{How, Why},
    token_for_review::{Reviewed, TokenToReview},
};
