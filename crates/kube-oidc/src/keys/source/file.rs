//! Keys in a file, such as a mounted `ConfigMap`, that is read again when it changes.

use std::{path::PathBuf, time::Duration};

use tokio::time;

use super::{FetchContext, FetchError, FetchedSet, FileReader, LoadError, Loaded, Origin};
use crate::keys::set::KeySet;

/// How often the file is looked at. A kubelet takes a minute to bring a changed `ConfigMap`.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// A key set document in a file.
#[derive(Debug)]
pub(crate) struct KeySetFile(FileReader);

impl KeySetFile {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self(FileReader::new(path))
    }

    /// Reads the file, by its path each time: a `ConfigMap` is swapped by a symbolic link.
    pub(super) async fn load(
        &self,
        last: Option<&KeySet>,
        context: FetchContext<'_>,
    ) -> Result<Loaded, LoadError> {
        let text = time::timeout(context.timeout, self.0.read()).await.unwrap_or_else(|_| {
            let (path, timeout) = (self.0.path().display(), context.timeout);
            Err(FetchError::new(format!("failed to read `{path}` within {timeout:?}")))
        })?;
        let (keys, skipped) = KeySet::parse(&text, context.allowed, last).map_err(|source| {
            let origin = Origin::file(format!("`{}`", self.0.path().display()));
            LoadError::KeySet { origin, source }
        })?;
        Ok(Loaded { lifetime: LOOK_EVERY, set: FetchedSet { keys, skipped } })
    }
}
