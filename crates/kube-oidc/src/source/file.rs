//! Keys in a file, such as a mounted `ConfigMap`, that is read again when it changes.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{FetchError, FetchedSet, LoadError, Loaded, MAX_BYTES, Manner};
use crate::key_set::KeySet;

/// How often the file is looked at. A kubelet takes a minute to bring a changed `ConfigMap`.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// A key set document in a file.
#[derive(Debug)]
pub(crate) struct KeySetFile {
    path: PathBuf,
}

impl KeySetFile {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Reads the file, by its path each time: a `ConfigMap` is swapped by a symbolic link.
    pub(super) fn load(
        &self,
        last: Option<&KeySet>,
        manner: Manner<'_>,
    ) -> Result<Loaded, LoadError> {
        let text = read(&self.path)
            .map_err(|source| LoadError::Fetch { url: self.path.display().to_string(), source })?;
        let (keys, skipped) = KeySet::parse(&text, manner.allowed, last)?;
        Ok(Loaded { lifetime: LOOK_EVERY, set: FetchedSet { keys, skipped } })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, FetchError> {
    let mut text = Vec::new();
    let limit = MAX_BYTES as u64 + 1;
    let read = std::fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut text));
    match read {
        Ok(_) if text.len() > MAX_BYTES => {
            Err(FetchError::new(format!("the file has more than {MAX_BYTES} bytes")))
        }
        Ok(_) => Ok(text),
        Err(error) => Err(FetchError::new("the file cannot be read").with_source(error)),
    }
}
