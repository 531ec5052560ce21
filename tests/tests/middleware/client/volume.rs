//! A projected volume, and a search for what it held.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::*;
use kube_oidc_tests::{Log, TempFolder};
use tower_kube_oidc::TokenForOrigin;

/// A projected volume as the kubelet keeps it: `token` leads through `..data`, which is swapped.
///
/// When it goes, nothing of what it ever held may be in the log.
pub(super) struct Volume {
    folder: TempFolder,
    pub(super) held: Mutex<Vec<Vec<u8>>>,
    versions: AtomicUsize,
    pub(super) log: Log,
}

impl Volume {
    /// A volume whose token is still to come.
    pub(super) fn new() -> Self {
        let log = Log::catch();
        let folder = TempFolder::new();
        std::os::unix::fs::symlink("..data/token", folder.path().join("token")).unwrap();
        Self { folder, held: Mutex::default(), versions: AtomicUsize::new(0), log }
    }

    pub(super) fn holding(token: impl AsRef<[u8]>) -> Self {
        let volume = Self::new();
        volume.publish(token);
        volume
    }

    pub(super) fn token_file(&self) -> PathBuf {
        self.folder.path().join("token")
    }

    pub(super) fn layer(&self) -> TokenForOrigin {
        ServiceAccountTokenLayer::from_file(self.token_file())
    }

    /// Replaces the token at a stroke.
    pub(super) fn publish(&self, content: impl AsRef<[u8]>) {
        let content = content.as_ref();
        self.held.lock().unwrap().push(content.to_vec());
        self.swap(|file| fs::write(file, content).unwrap());
    }

    pub(super) fn swap(&self, write: impl FnOnce(&Path)) {
        let version = format!("..{}", self.versions.fetch_add(1, Ordering::Relaxed));
        fs::create_dir(self.folder.path().join(&version)).unwrap();
        write(&self.folder.path().join(&version).join("token"));
        let (data, next) =
            (self.folder.path().join("..data"), self.folder.path().join("..data_tmp"));
        let old = fs::canonicalize(&data).ok();
        std::os::unix::fs::symlink(version, &next).unwrap();
        fs::rename(next, data).unwrap();
        if let Some(old) = old {
            fs::remove_dir_all(old).unwrap();
        }
    }

    /// A piece of what the volume ever held, or the value that is in every token, if a text has one.
    pub(super) fn shown_in(&self, text: &str) -> Option<String> {
        if let Some(line) = text.lines().find(|line| line.contains(SECRET)) {
            return Some(line.to_owned());
        }
        let held = self.held.lock().unwrap();
        let pieces: HashSet<&[u8]> = held.iter().flat_map(|held| held.windows(CHANCE)).collect();
        let words = text.as_bytes().split(|byte| !is_of_a_token(*byte));
        let shown =
            words.flat_map(|word| word.windows(CHANCE)).find(|piece| pieces.contains(piece));
        shown.map(|piece| String::from_utf8_lossy(piece).into_owned())
    }

    pub(super) fn assert_hidden_in(&self, text: &str) {
        assert_eq!(self.shown_in(text), None);
    }
}

/// As long as a piece may be that stands somewhere by chance.
const CHANCE: usize = 16;

fn is_of_a_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)
}

impl Drop for Volume {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.assert_hidden_in(&self.log.text());
        }
    }
}
