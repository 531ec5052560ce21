//! Tokens that were verified, and need no signature check when they come again.
//!
//! What is remembered is found by the whole token. Whether it still holds is decided at each
//! hit by the verifier, by what is known then.

use std::{
    fmt,
    hash::{Hash, Hasher, RandomState},
    time::Duration,
};

use aws_lc_rs::digest::{SHA256, digest};
use quick_cache::{
    Equivalent, Weighter,
    sync::{Cache, DefaultLifecycle},
};

use crate::{
    claims::Claims, error::BuildError, jws::MAX_TOKEN_BYTES, observe::meter::TokenCacheMeter,
    verified::Verified,
};

/// How long a token is remembered before its signature is checked again.
pub(crate) const REMEMBERED_FOR: Duration = Duration::from_secs(600);

/// The least that is worth having: some tokens of the greatest length.
const LEAST_BYTES: usize = 64 * 1024;

/// What a token and its claims take, more or less.
const ORDINARY_BYTES: usize = 2 * 1024;

/// How much is remembered.
#[derive(Clone, Debug)]
pub(crate) struct TokenCacheSettings {
    /// As many tokens. None at all for 0.
    pub(crate) entries: usize,
    /// As much memory, in bytes.
    pub(crate) bytes: usize,
    /// Whether digests of tokens are kept instead of tokens.
    pub(crate) digests: bool,
}

impl Default for TokenCacheSettings {
    fn default() -> Self {
        Self { entries: 10_000, bytes: 32 * 1024 * 1024, digests: false }
    }
}

impl TokenCacheSettings {
    pub(crate) fn check(&self) -> Result<(), BuildError> {
        if self.entries > 0 && self.bytes < LEAST_BYTES {
            return Err(BuildError::TokenCacheTooSmall);
        }
        Ok(())
    }
}

/// Verified tokens. Nothing else ever enters, so junk pushes nothing out.
pub(crate) struct TokenCache<C: Claims> {
    remembered: Option<Remembered<C>>,
    digests: bool,
    pub(crate) meter: TokenCacheMeter,
}

type Remembered<C> = Cache<Name, Verified<C>, ByBytes, RandomState>;

impl<C: Claims> TokenCache<C> {
    pub(crate) fn new(settings: &TokenCacheSettings) -> Self {
        let TokenCacheSettings { entries, bytes, digests } = *settings;
        if entries == 0 {
            return Self { remembered: None, digests, meter: TokenCacheMeter::default() };
        }
        // so that as many of the least weight fit, and not one more
        let least = bytes.saturating_mul(2) / entries.saturating_mul(2).saturating_add(1);
        let weighter = ByBytes { least: least.max(1) as u64 };
        let (hasher, lifecycle) = (RandomState::new(), DefaultLifecycle::default());
        // the cache is cut into parts, of which each must have room for some tokens
        let items = entries.min(bytes / ORDINARY_BYTES);
        let remembered = Cache::with(items, bytes as u64, weighter, hasher, lifecycle);
        Self { remembered: Some(remembered), digests, meter: TokenCacheMeter::default() }
    }

    /// What came of this very token, if it is remembered. Whether that still holds is another
    /// question.
    pub(crate) fn get(&self, token: &[u8]) -> Option<Verified<C>> {
        let remembered = self.remembered.as_ref()?;
        if token.len() > MAX_TOKEN_BYTES {
            return None;
        }
        if self.digests {
            remembered.get(&Asked(digest(&SHA256, token).as_ref()))
        } else {
            remembered.get(&Asked(token))
        }
    }

    pub(crate) fn insert(&self, token: &[u8], verified: &Verified<C>) {
        if let Some(remembered) = &self.remembered {
            let name =
                if self.digests { digest(&SHA256, token).as_ref().into() } else { token.into() };
            remembered.insert(Name(name), verified.clone());
        }
    }

    /// How many tokens are remembered.
    pub(crate) fn len(&self) -> usize {
        self.remembered.as_ref().map_or(0, Cache::len)
    }
}

/// A token, or its digest.
#[derive(PartialEq, Eq)]
struct Name(Box<[u8]>);

/// The same, that is looked for.
struct Asked<'a>(&'a [u8]);

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Asked(&self.0).hash(state);
    }
}

impl Hash for Asked<'_> {
    /// The end is enough: it belongs to a signature, which only the issuer can choose, or to a
    /// digest, and the hash is keyed. The end of an ML-DSA signature is mostly zeros, so about one
    /// in a hundred such tokens shares its hash with another one; equality compares whole tokens.
    fn hash<H: Hasher>(&self, state: &mut H) {
        const END: usize = 32;
        state.write(&self.0[self.0.len().saturating_sub(END)..]);
    }
}

impl Equivalent<Name> for Asked<'_> {
    fn equivalent(&self, name: &Name) -> bool {
        *self.0 == *name.0
    }
}

/// Weighs by memory.
#[derive(Clone)]
struct ByBytes {
    least: u64,
}

impl<C: Claims> Weighter<Name, Verified<C>> for ByBytes {
    fn weight(&self, name: &Name, verified: &Verified<C>) -> u64 {
        let bytes = name.0.len() + verified.bytes();
        (bytes as u64).max(self.least)
    }
}

impl<C: Claims> fmt::Debug for TokenCache<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenCache").field("tokens", &self.len()).finish_non_exhaustive()
    }
}
