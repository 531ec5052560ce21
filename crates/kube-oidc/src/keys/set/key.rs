//! One public key, prepared once for every algorithm that it may check.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

use aws_lc_rs::signature::ParsedPublicKey;

use crate::algorithm::Algorithm;

/// As long as a key id may be: what the API server's external signers may use.
pub(crate) const MAX_KID_BYTES: usize = 1024;

/// The numbers of a key. Two keys are the same key where these are equal.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Material {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    Ec {
        curve: &'static str,
        point: Vec<u8>,
    },
    Ed25519(Vec<u8>),
    #[cfg(feature = "ml-dsa")]
    MlDsa(Algorithm, Vec<u8>),
}

/// Tells a key from every other that this process ever prepared, also from one of the same name
/// and numbers: one that left its set and came back has another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyId(u64);

impl KeyId {
    fn next() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self(LAST.fetch_add(1, Ordering::Relaxed))
    }
}

/// A key that is ready to check signatures.
pub(crate) struct Key {
    id: KeyId,
    kid: Option<Box<str>>,
    material: Material,
    /// Never empty: one prepared key for each permitted algorithm.
    prepared: Vec<(Algorithm, ParsedPublicKey)>,
}

impl Key {
    pub(super) fn new(
        kid: Option<Box<str>>,
        material: Material,
        prepared: Vec<(Algorithm, ParsedPublicKey)>,
    ) -> Self {
        Self { id: KeyId::next(), kid, material, prepared }
    }

    pub(crate) fn id(&self) -> KeyId {
        self.id
    }

    pub(crate) fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    pub(crate) fn permits(&self, algorithm: Algorithm) -> bool {
        self.algorithms().any(|permitted| permitted == algorithm)
    }

    /// Whether `signature` over `message` is this key's, by this algorithm.
    pub(crate) fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        self.prepared
            .iter()
            .find(|(permitted, _)| *permitted == algorithm)
            .is_some_and(|(_, key)| key.verify_sig(message, signature).is_ok())
    }

    /// The same numbers, whatever the name.
    pub(crate) fn has_numbers_of(&self, other: &Self) -> bool {
        self.material == other.material
    }

    /// The same name, numbers and permitted algorithms.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.kid == other.kid
            && self.has_numbers_of(other)
            && self.algorithms().eq(other.algorithms())
    }

    /// The algorithms that the key permits, in the order of [`Algorithm::ALL`].
    pub(crate) fn algorithms(&self) -> impl Iterator<Item = Algorithm> {
        self.prepared.iter().map(|(algorithm, _)| *algorithm)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let algorithms: Vec<Algorithm> = self.algorithms().collect();
        f.debug_struct("Key")
            .field("kid", &self.kid)
            .field("algorithms", &algorithms)
            .finish_non_exhaustive()
    }
}
