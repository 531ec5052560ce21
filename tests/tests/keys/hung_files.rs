//! Files whose file system hangs.

use std::{
    fs,
    future::Future,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use kube_oidc::{KeySource, Verifier, source::FileReader, source::HttpFetcher};
use kube_oidc_testing::TestIssuer;
use kube_oidc_tests::{HungFile, Judge as _, TempFolder, builder_for, issuer_via, issuer_with};
use tokio::runtime::{Builder, Runtime};

/// Longer than anything here takes on a busy machine.
const LONG: Duration = Duration::from_secs(60);

/// A runtime with one worker, whose tasks a test waits for from outside.
struct OneWorker(Runtime);

impl OneWorker {
    fn new() -> Self {
        Self(Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap())
    }

    fn run<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> T {
        let (send, receive) = mpsc::channel();
        self.0.spawn(async move { send.send(task.await) });
        receive.recv_timeout(LONG).expect("a worker that is not blocked")
    }

    /// Shuts the runtime down, which waits for its blocking tasks.
    fn shut_down(self) {
        let (send, receive) = mpsc::channel();
        thread::spawn(move || {
            drop(self.0);
            send.send(())
        });
        receive.recv_timeout(LONG).expect("a runtime that ends");
    }
}

fn verifier_of(issuer: &TestIssuer, path: &Path) -> Verifier {
    builder_for(issuer_with(issuer, KeySource::file(path)))
        .fetch_timeout(Duration::from_secs(2))
        .build()
        .unwrap()
}

fn last_error(verifier: &Verifier) -> String {
    verifier.status()[0].last_error.clone().unwrap().error
}

// rule: hung-file
#[test]
fn hung_key_set_file_leaves_cached_keys_in_use() {
    let issuer = TestIssuer::start();
    let folder = TempFolder::new();
    let file = folder.write("file", issuer.key_set().to_string());
    let path = file.display().to_string();
    let verifier = verifier_of(&issuer, &file);
    let runtime = OneWorker::new();
    let verify = || {
        let (verifier, token) = (verifier.clone(), issuer.token().audience("orders").mint());
        runtime.run(async move { verifier.judge(&token).await.is_ok() })
    };
    let refresh = || {
        let verifier = verifier.clone();
        runtime.run(async move { verifier.refresh_keys().await.is_ok() })
    };
    assert!(verify());

    let hung = HungFile::at(&file);
    let (began, refreshed) = mpsc::channel();
    let refreshing = verifier.clone();
    runtime.0.spawn(async move { began.send(refreshing.refresh_keys().await.is_ok()) });
    assert!(verify(), "while the file is read");
    assert!(!refreshed.recv_timeout(LONG).unwrap());
    assert_eq!(last_error(&verifier), format!("failed to read `{path}` within 2s"));

    for _ in 0..10 {
        assert!(!refresh());
        let error = last_error(&verifier);
        assert!(error.starts_with(&format!("failed to read `{path}`: an earlier read")), "{error}");
        assert!(verify());
    }

    issuer.rotate();
    hung.recover(issuer.key_set().to_string());
    while !refresh() {}
    assert!(verify());
    runtime.shut_down();
}

/// Where the roots cannot be read again, the last ones stay in use; a token may have been replaced.
// rule: hung-file
#[test]
fn hung_file_for_fetching_leaves_cached_keys_in_use() {
    let issuer = TestIssuer::builder().tls().start();
    let folder = TempFolder::new();
    let roots = folder.write("ca.crt", issuer.ca_pem());
    let token = folder.write("token", "the-readers-token");
    let by_token = HttpFetcher::new().with_root_certificates_pem(issuer.ca_pem()).unwrap();
    for (file, is_token, fetcher) in [
        (&roots, false, HttpFetcher::new().with_root_certificates_file(&roots)),
        (&token, true, by_token.with_bearer_token_file(&token)),
    ] {
        let verifier = builder_for(issuer_via(&issuer, fetcher));
        let verifier = verifier.fetch_timeout(Duration::from_secs(2)).build().unwrap();
        let runtime = OneWorker::new();
        let verify = || {
            let (verifier, token) = (verifier.clone(), issuer.token().audience("orders").mint());
            runtime.run(async move { verifier.judge(&token).await.is_ok() })
        };
        let refresh = || {
            let verifier = verifier.clone();
            runtime.run(async move { verifier.refresh_keys().await.is_ok() })
        };
        assert!(verify());
        let content = fs::read(file).unwrap();
        let hung = HungFile::at(file);
        assert!(!refresh());
        let error = last_error(&verifier);
        assert!(error.contains("gave no answer within 2s"), "{error}");
        for _ in 0..10 {
            assert_eq!(refresh(), !is_token);
            assert!(verify());
        }
        if is_token {
            let error = last_error(&verifier);
            let words = format!("failed to read `{}`: an earlier read", file.display());
            assert!(error.contains(&words), "{error}");
        }
        hung.recover(content);
        while !refresh() {}
        runtime.shut_down();
    }
}

// rule: hung-file
#[test]
fn runtime_shuts_down_while_a_file_hangs() {
    let issuer = TestIssuer::start();
    let folder = TempFolder::new();
    let file = folder.write("file", "");
    let verifier = verifier_of(&issuer, &file);
    let runtime = OneWorker::new();
    let _hung = HungFile::at(&file);
    let refreshing = verifier.clone();
    assert!(runtime.run(async move { refreshing.refresh_keys().await.is_err() }));
    runtime.shut_down();
    // another runtime finds the read that hangs
    let refreshing = verifier.clone();
    assert!(OneWorker::new().run(async move { refreshing.refresh_keys().await.is_err() }));
    let error = last_error(&verifier);
    assert!(error.contains("an earlier read has not returned"), "{error}");
}

// rule: hung-file
#[tokio::test]
async fn hung_read_is_the_only_one_in_flight() {
    let folder = TempFolder::new();
    let file = folder.write("file", "before");
    let reader = FileReader::new(&file);
    assert_eq!(reader.read().await.unwrap(), b"before");
    let hung = HungFile::at(&file);
    let reads = Arc::new(AtomicUsize::new(0));
    let read = || {
        let reads = Arc::clone(&reads);
        reader.read_with(move |path| {
            reads.fetch_add(1, Ordering::Relaxed);
            fs::read(path)
        })
    };
    assert!(tokio::time::timeout(Duration::from_millis(1500), read()).await.is_err());
    for _ in 0..100 {
        let error = read().await.unwrap_err();
        assert_eq!(error.to_string(), "an earlier read has not returned; the file system hangs");
    }
    assert_eq!(reads.load(Ordering::Relaxed), 1);
    hung.recover("after");
    while read().await.is_err() {}
    assert_eq!(reader.read().await.unwrap(), b"after");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_reads_of_one_file_all_succeed() {
    let folder = TempFolder::new();
    let file = folder.write("file", "content");
    let reader = FileReader::new(&file);
    let mut reads = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let reader = reader.clone();
        reads.spawn(async move { reader.read().await.map_err(|error| error.to_string()) });
    }
    // what is abandoned while it waits or reads does not stop the others
    for _ in 0..50 {
        let reader = reader.clone();
        reads.spawn(async move {
            let _ = tokio::time::timeout(Duration::ZERO, reader.read()).await;
            Ok(b"content".to_vec())
        });
    }
    for read in reads.join_all().await {
        assert_eq!(read.unwrap(), b"content");
    }
}

#[tokio::test]
async fn unusable_file_is_an_error_that_names_its_path() {
    let folder = TempFolder::new();
    let file = folder.write("file", vec![b' '; 1024 * 1024]);
    let path = file.display().to_string();
    let reader = FileReader::new(&file);
    assert_eq!(reader.read().await.unwrap().len(), 1024 * 1024);
    fs::write(&file, vec![b' '; 1024 * 1024 + 1]).unwrap();
    let error = reader.read().await.unwrap_err();
    assert_eq!(error.to_string(), format!("`{path}` has more than 1048576 bytes"));
    fs::remove_file(&file).unwrap();
    let error = reader.read().await.unwrap_err();
    assert_eq!(error.to_string(), format!("failed to read `{path}`"));
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("No such file"), "{cause}");
    let endless = FileReader::new("/dev/zero").read().await.unwrap_err();
    assert_eq!(endless.to_string(), "`/dev/zero` has more than 1048576 bytes");
    let panicked = reader.read_with(|_| -> std::io::Result<()> { panic!("a bug") }).await;
    assert_eq!(panicked.unwrap_err().to_string(), "the read panicked");
    assert!(reader.read().await.is_err(), "and the next read does not wait for ever");
}
