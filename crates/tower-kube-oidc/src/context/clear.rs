//! [`clear`]: a layer trusts only what it left itself.

use http::Extensions;
use kube_oidc::{Claims, Verified};

use super::{
    passed_mark::Passed,
    token_for_review::{Reviewed, TokenToReview},
};

/// Takes out what a layer puts in, before it decides: what is there afterwards is its own.
pub(crate) fn clear<C: Claims>(extensions: &mut Extensions) {
    extensions.remove::<Verified<C>>();
    extensions.remove::<Passed<C>>();
    extensions.remove::<TokenToReview<C>>();
    extensions.remove::<Reviewed>();
}
