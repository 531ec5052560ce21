//! An issuer whose keys are in a file. The file system hangs now and then, and then the keys that
//! were read go on as if nothing were.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use fastrand::Rng;
use kube_oidc::{Issuer, KeySource, clock::Clock as _};
use kube_oidc_testing::{SigningAlgorithm, SigningKey};
use kube_oidc_tests::HungFile;
use serde_json::json;
use tokio::time;

use crate::{MILLI, run::Run, token, traffic::seconds};

const ISSUER: &str = "https://mounted.test";

/// An issuer whose keys are in a file, and stay the same.
#[derive(Debug)]
pub(crate) struct MountedKeys {
    path: PathBuf,
    key: SigningKey,
    hung: Mutex<Option<HungFile>>,
    /// Goes up whenever the file begins to hang, or recovers.
    changes: AtomicU64,
}

impl MountedKeys {
    pub(crate) fn new(folder: &Path) -> Self {
        let keys = Self {
            path: folder.join("keys.json"),
            key: SigningKey::generate(SigningAlgorithm::EdDsa),
            hung: Mutex::default(),
            changes: AtomicU64::new(0),
        };
        std::fs::write(&keys.path, keys.document()).unwrap();
        keys
    }

    fn document(&self) -> String {
        json!({ "keys": [self.key.jwk()] }).to_string()
    }

    pub(crate) fn issuer(&self) -> Issuer {
        let keys = KeySource::file(&self.path);
        Issuer::with_key_source(ISSUER.parse().unwrap(), keys).with_cluster("mounted")
    }

    pub(crate) fn hang(&self) -> bool {
        let mut hung = self.hung.lock().unwrap();
        let begins = hung.is_none();
        if begins {
            *hung = Some(HungFile::at(&self.path));
            self.changes.fetch_add(1, Ordering::SeqCst);
        }
        begins
    }

    pub(crate) fn recover(&self) -> bool {
        let hung = self.hung.lock().unwrap().take();
        self.changes.fetch_add(1, Ordering::SeqCst);
        hung.map(|hung| hung.recover(self.document())).is_some()
    }

    /// Since when the file hangs, by a number that another hang has not.
    pub(crate) fn hangs(&self) -> Option<u64> {
        let hung = self.hung.lock().unwrap();
        hung.as_ref().map(|_| self.changes.load(Ordering::SeqCst))
    }
}

impl Run {
    /// Callers with tokens of the mounted keys, and of keys that the file may get.
    pub(crate) async fn client_of_mounted_keys(self: Arc<Self>, seed: u64) {
        let (mounted, mut rng) = (&self.mounted, Rng::with_seed(seed));
        let stranger = SigningKey::generate(SigningAlgorithm::EdDsa);
        let mut is_loaded = false;
        while !self.stop.load(Ordering::SeqCst) {
            let tomorrow = seconds(self.clock.wall()) + 24 * 60 * 60;
            let token = token::sign(&mounted.key, &token::claims(ISSUER, tomorrow, &mut rng));
            if is_loaded {
                // new and cached, the token needs no more than the keys that are here
                for _ in 0..2 {
                    let verdict = self.verifier.verify_with_cached_keys(&token);
                    let is_accepted = matches!(verdict, Some(Ok(_)));
                    assert!(is_accepted, "wrongly refused by mounted keys: {token} {verdict:?}");
                }
                if mounted.hangs().is_some() {
                    self.duties.count("had to be accepted while the file hangs");
                }
            } else {
                is_loaded = self.verifier.verify(&token).await.is_ok();
            }
            if rng.u8(..4) == 0 {
                let foreign = token::sign(&stranger, &token::claims(ISSUER, tomorrow, &mut rng));
                let patience = Duration::from_secs(30);
                let verdict = time::timeout(patience, self.verifier.verify(&foreign)).await;
                let verdict = verdict.expect("a verdict while the file hangs");
                assert!(verdict.is_err(), "wrongly accepted by mounted keys: {foreign}");
            }
            time::sleep(MILLI * rng.u32(1..20)).await;
        }
    }
}
