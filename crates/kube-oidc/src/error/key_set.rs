//! Why a key set or one of its keys is not used: `KeySetError`, `SkippedKey`.

use std::fmt;

use crate::observe::display::Shown;

/// Why a key set document cannot be used at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeySetError {
    /// It is not UTF-8.
    #[error("the key set is not UTF-8")]
    Encoding,
    /// It is not a JSON object with one list `keys` of at most 256 elements.
    #[error("the key set is not well formed: {0}")]
    Malformed(String),
    /// There is no key in it that could check a signature.
    #[error("the key set has no usable key{}", Listed(.0))]
    NoUsableKey(Vec<SkippedKey>),
}

/// A key of a set that is not used, and why. The others of the set are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedKey {
    name: String,
    reason: String,
}

impl SkippedKey {
    pub(crate) fn new(index: usize, kid: Option<&str>, reason: impl fmt::Display) -> Self {
        let name = match kid {
            Some(kid) => format!("key {}", Shown(kid)),
            None => format!("key number {}", index + 1),
        };
        Self { name, reason: reason.to_string() }
    }
}

impl fmt::Display for SkippedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.reason)
    }
}

/// The first few of the keys that were skipped, behind a colon.
struct Listed<'a>(&'a [SkippedKey]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(4).try_for_each(|skipped| write!(f, "; {skipped}"))
    }
}
