//! Strict JSON: no member twice in any object, and no deeper than [`MAX_DEPTH`].
//!
//! Two parsers that disagree on which of two `sub` members counts are a way past a lock
//! ([RFC 8725, 2.4 and RFC 7515, 4]: duplicate names must be rejected or the last one taken; we
//! reject). Names are compared after unescaping, in objects that we skip too. A name that
//! `serde_json` reserves is no name either, and no feature of `serde_json` changes what is accepted.
//!
//! [RFC 8725, 2.4 and RFC 7515, 4]: https://www.rfc-editor.org/rfc/rfc7515#section-4

mod bounded_list;
mod document;
mod malformed;
mod name;
mod object;
mod reserved;
mod seen;
#[cfg(test)]
mod tests;
mod values;

pub(crate) use self::{
    bounded_list::BoundedList,
    document::{Foreign, document_text},
    malformed::Malformed,
    name::{Name, names},
    object::{MAX_DEPTH, Members, Value, parse_object},
    values::{Nullable, Text, TextOrList, Texts},
};
