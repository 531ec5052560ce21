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
use kube_oidc_tests::Log;
use tower_kube_oidc::TokenForOrigin;

/// A projected volume as the kubelet keeps it: `token` leads through `..data`, which is swapped.
///
/// When it goes, nothing of what it ever held may be in the log.
pub(super) struct Volume {
    folder: PathBuf,
    pub(super) held: Mutex<Vec<Vec<u8>>>,
    versions: AtomicUsize,
    pub(super) log: Log,
    pub(super) log_before: usize,
}

impl Volume {
    /// A volume whose token is still to come.
    pub(super) fn new() -> Self {
        let log = Log::catch();
        let folder = std::env::temp_dir().join(format!("kube-oidc-volume-{}", fastrand::u64(..)));
        fs::create_dir_all(&folder).unwrap();
        std::os::unix::fs::symlink("..data/token", folder.join("token")).unwrap();
        let log_before = log.text().len();
        Self { folder, held: Mutex::default(), versions: AtomicUsize::new(0), log, log_before }
    }

    pub(super) fn holding(token: impl AsRef<[u8]>) -> Self {
        let volume = Self::new();
        volume.publish(token);
        volume
    }

    pub(super) fn token_file(&self) -> PathBuf {
        self.folder.join("token")
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
        fs::create_dir(self.folder.join(&version)).unwrap();
        write(&self.folder.join(&version).join("token"));
        let (data, next) = (self.folder.join("..data"), self.folder.join("..data_tmp"));
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
        let _ = fs::remove_dir_all(&self.folder);
        if !std::thread::panicking() {
            self.assert_hidden_in(&self.log.text()[self.log_before..]);
        }
    }
}
