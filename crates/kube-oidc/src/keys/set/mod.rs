//! A JSON Web Key Set document ([RFC 7517, 5]), read into keys that are ready to use.
//!
//! [RFC 7517, 5]: https://www.rfc-editor.org/rfc/rfc7517#section-5

mod jwk;
mod key;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc};

use serde::de::MapAccess;
use serde_json::value::RawValue;

pub(crate) use self::key::{Key, KeyId, MAX_KID_BYTES};
use crate::{
    algorithm::Algorithm,
    encoding::json::{self, BoundedList, Foreign, Members, Value, document_text, names},
    error::{KeySetError, SkippedKey},
    observe::status::KeyInfo,
};

/// As many keys as a set may hold. Clusters have two or three; a limit bounds what a broken
/// issuer can make us prepare.
const MAX_KEYS: usize = 256;

/// As many different keys as are tried for one `kid` and algorithm: each costs a signature check.
const MAX_CANDIDATES: usize = 4;

/// The usable keys of one issuer.
#[derive(Default)]
pub(crate) struct KeySet {
    /// By name, those without one first.
    keys: Vec<Arc<Key>>,
}

/// The keys that a token's `kid` and `alg` lead to: at least one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fitting<'a> {
    set: &'a KeySet,
    keys: &'a [Arc<Key>],
    algorithm: Algorithm,
}

/// Why no key of a set may check a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoKey {
    /// The `kid` is known, but no key of that name permits the algorithm.
    OtherAlgorithm,
    /// No key has that `kid`.
    UnknownKid,
    /// The token names no key, and no key permits its algorithm.
    NoneFits,
    /// The token names no key, and several different keys permit its algorithm.
    Ambiguous,
}

impl<'a> Fitting<'a> {
    /// The set that the keys are in.
    pub(crate) fn set(&self) -> &'a KeySet {
        self.set
    }

    /// The name that the keys share.
    pub(crate) fn kid(&self) -> Option<&'a str> {
        self.keys.first()?.kid()
    }

    /// The key that made this signature.
    pub(crate) fn signer(self, message: &[u8], signature: &[u8]) -> Option<&'a Arc<Key>> {
        self.keys.iter().find(|key| key.verifies(self.algorithm, message, signature))
    }
}

impl KeySet {
    /// Reads a document. Keys that cannot be used are skipped and returned beside the set. Those
    /// that were in the last set are the same ones still.
    pub(crate) fn parse(
        document: &[u8],
        allowed: &[Algorithm],
        last: Option<&Self>,
    ) -> Result<(Self, Vec<SkippedKey>), KeySetError> {
        let text = document_text(document).map_err(|foreign| match foreign {
            Foreign::NotUtf8 => KeySetError::Encoding,
            Foreign::Kind(kind) => KeySetError::Malformed(kind.to_owned()),
        })?;
        let mut reading = Reading {
            allowed,
            found: false,
            instead: "there is no member `keys`",
            index: 0,
            set: Self::default(),
            skipped: Vec::new(),
        };
        json::parse_object(text, &mut reading)
            .map_err(|error| KeySetError::Malformed(error.words()))?;
        if !reading.found {
            return Err(KeySetError::Malformed(reading.instead.to_owned()));
        }
        if reading.set.keys.is_empty() {
            return Err(KeySetError::NoUsableKey(reading.skipped));
        }
        let mut set = reading.set;
        for key in &mut set.keys {
            let known = last.and_then(|last| last.keys.iter().find(|known| known.is_same(key)));
            if let Some(known) = known {
                *key = Arc::clone(known);
            }
        }
        set.keys.sort_by(|one, other| one.kid().cmp(&other.kid()));
        Ok((set, reading.skipped))
    }

    /// The keys that may have signed a token with this header.
    pub(crate) fn find(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Fitting<'_>, NoKey> {
        if kid.is_none() {
            return Ok(Fitting { set: self, keys: self.only(algorithm)?, algorithm });
        }
        let keys = &self.keys[self.keys.partition_point(|key| key.kid() < kid)..];
        let keys = &keys[..keys.partition_point(|key| key.kid() == kid)];
        if keys.is_empty() {
            return Err(NoKey::UnknownKid);
        }
        if !keys.iter().any(|key| key.permits(algorithm)) {
            return Err(NoKey::OtherAlgorithm);
        }
        Ok(Fitting { set: self, keys, algorithm })
    }

    /// The only key that permits an algorithm. A key that is listed by several names is one.
    fn only(&self, algorithm: Algorithm) -> Result<&[Arc<Key>], NoKey> {
        let mut fitting = self.keys.chunks(1).filter(|one| one[0].permits(algorithm));
        let first = fitting.next().ok_or(NoKey::NoneFits)?;
        if fitting.all(|other| other[0].has_numbers_of(&first[0])) {
            Ok(first)
        } else {
            Err(NoKey::Ambiguous)
        }
    }

    /// The names under which the set lists a key of these numbers.
    pub(crate) fn names_of<'a>(&'a self, key: &'a Key) -> impl Iterator<Item = &'a str> {
        let is_one = |known: &&Arc<Key>| known.has_numbers_of(key);
        self.keys.iter().filter(is_one).filter_map(|known| known.kid())
    }

    /// The key that was given this number, if it is in the set.
    pub(crate) fn by_id(&self, id: KeyId) -> Option<&Key> {
        self.keys.iter().find(|key| key.id() == id).map(|key| &**key)
    }

    /// A key that is in another set too.
    pub(crate) fn shared_with(&self, other: &Self) -> Option<&Key> {
        self.keys.iter().find(|key| other.has_numbers_of(key)).map(|key| &**key)
    }

    /// Whether a set that was read after this one has the very same keys.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.len() == other.len()
            && self.keys.iter().zip(&other.keys).all(|(one, other)| one.id() == other.id())
    }

    /// Whether a key of these numbers is in the set, by whatever name.
    pub(crate) fn has_numbers_of(&self, key: &Key) -> bool {
        self.keys.iter().any(|known| known.has_numbers_of(key))
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &Arc<Key>> {
        self.keys.iter()
    }

    /// The keys by name, for people.
    pub(crate) fn describe(&self) -> Vec<KeyInfo> {
        let describe = |key: &Arc<Key>| KeyInfo {
            kid: key.kid().map(str::to_owned),
            algorithms: key.algorithms().collect(),
        };
        self.keys.iter().map(describe).collect()
    }

    /// As many keys as are usable.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    fn add(&mut self, key: Key) -> Result<(), &'static str> {
        // a real kube-apiserver lists its signing key twice: once is enough
        if self.keys.iter().any(|known| known.is_same(&key)) {
            return Ok(());
        }
        let crowded = key.algorithms().any(|algorithm| {
            let is_rival = |known: &&Arc<Key>| known.kid() == key.kid() && known.permits(algorithm);
            self.keys.iter().filter(is_rival).count() >= MAX_CANDIDATES
        });
        if key.kid().is_some() && crowded {
            return Err("too many different keys have its kid");
        }
        self.keys.push(Arc::new(key));
        Ok(())
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.keys).finish()
    }
}

/// A document while it is read.
struct Reading<'a> {
    allowed: &'a [Algorithm],
    found: bool,
    /// What the document is if it has no list of keys.
    instead: &'static str,
    index: usize,
    set: KeySet,
    skipped: Vec<SkippedKey>,
}

impl Reading<'_> {
    fn key(&mut self, text: &RawValue) {
        let read = jwk::read(text.get(), self.allowed);
        let skipped = match read {
            Ok(key) => {
                let kid = key.kid().map(str::to_owned);
                let added = self.set.add(key);
                added.err().map(|reason| SkippedKey::new(self.index, kid.as_deref(), reason))
            }
            Err((kid, reason)) => Some(SkippedKey::new(self.index, kid.as_deref(), reason)),
        };
        self.skipped.extend(skipped);
        self.index += 1;
    }
}

names!(KeySetName { Keys = "keys", JwksUri = "jwks_uri", Kty = "kty" });

impl<'de> Members<'de> for Reading<'_> {
    type Name = KeySetName;

    fn member<A: MapAccess<'de>>(
        &mut self,
        name: KeySetName,
        value: Value<'_, A>,
    ) -> Result<(), A::Error> {
        match name {
            KeySetName::Keys => {
                self.found = true;
                let each = |text: &RawValue| self.key(text);
                return value.seed(BoundedList { limit: MAX_KEYS, each });
            }
            KeySetName::JwksUri => {
                self.instead = "found a discovery document; use the URL in its `jwks_uri`";
            }
            KeySetName::Kty => {
                self.instead = "found a single key; expected an object with a list `keys`";
            }
        }
        value.skip()
    }
}
