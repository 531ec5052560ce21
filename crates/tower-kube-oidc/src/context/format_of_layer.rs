//! [`FormatOfLayer`]: the response format that an outer layer sets for inner ones.

use http::Extensions;

use crate::response::{Answering, ResponseFormat};

/// The response format that a layer sets, for policies and layers below it: where the HTTP status
/// is all that counts, it counts for refusals of both, and of layers in between.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FormatOfLayer(pub(crate) ResponseFormat);

/// How to answer a request: in the form that a layer further out was told, unless asked for
/// another.
pub(crate) fn answering_within(extensions: &Extensions, answering: &Answering) -> Answering {
    match extensions.get::<FormatOfLayer>() {
        Some(FormatOfLayer(format)) => answering.or_format(*format),
        None => answering.clone(),
    }
}
