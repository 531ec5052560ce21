//! Files that are read in threads, as a file system may hang.

use std::{
    fs::File,
    io::{self, ErrorKind, Read as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::{FetchError, MAX_BYTES};

/// A read that takes longer than this hangs: further reads fail at once instead of waiting.
const HANGS_AFTER: Duration = Duration::from_secs(1);

/// A reader of one file that never blocks the runtime.
///
/// A network, FUSE, or CSI mount may hang for hours. Each read therefore runs in a thread of its
/// own, which blocks neither a worker of the runtime nor the runtime's shutdown. At most one read
/// of a file is in flight. A second read waits for the first one, and fails at once if the first one
/// takes longer than a second. A hung file thus costs one thread, and reads succeed again once the
/// hung read has returned.
///
/// A read has no timeout of its own. If you drop its future, the thread goes on until the file
/// system returns. Clones read the same file, and share the read in flight.
///
/// ```
/// use kube_oidc::source::{Fetch, FetchFuture, FetchRequest, FetchResponse, FileReader};
///
/// /// A fetcher that serves a key set from a mounted file.
/// #[derive(Debug)]
/// struct Mounted(FileReader);
///
/// impl Fetch for Mounted {
///     fn fetch(&self, _: FetchRequest) -> FetchFuture<'_> {
///         Box::pin(async { Ok(FetchResponse::new(200, self.0.read().await?)) })
///     }
/// }
///
/// let fetcher = Mounted(FileReader::new("/etc/keys/jwks.json"));
/// ```
#[derive(Clone, Debug)]
pub struct FileReader {
    path: Arc<Path>,
    turn: Arc<Semaphore>,
    /// When the read in flight began.
    began: Arc<Mutex<Option<Instant>>>,
}

/// A read in flight: once dropped, the next read may begin.
struct Flight {
    began: Arc<Mutex<Option<Instant>>>,
    _turn: OwnedSemaphorePermit,
}

impl FileReader {
    /// Creates a reader. The file is opened by each read.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into().into(), turn: Arc::new(Semaphore::new(1)), began: Arc::default() }
    }

    /// Returns the path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the whole file, which may have at most 1 MiB.
    ///
    /// # Errors
    ///
    /// The file cannot be read or is larger, an earlier read hangs, or no thread can be started.
    /// The message names the path.
    pub async fn read(&self) -> Result<Vec<u8>, FetchError> {
        let path = self.path.display();
        let content = self.read_with(|path| read_start(path, MAX_BYTES + 1)).await;
        let content = content.map_err(|error| {
            FetchError::new(format!("failed to read `{path}`")).with_source(error)
        })?;
        if content.len() > MAX_BYTES {
            return Err(FetchError::new(format!("`{path}` has more than {MAX_BYTES} bytes")));
        }
        Ok(content)
    }

    /// Reads the file with your function, which may block.
    ///
    /// # Errors
    ///
    /// Your function fails, an earlier read hangs, or no thread can be started.
    pub async fn read_with<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let flight = self.take_turn().await?;
        let (send, receive) = oneshot::channel();
        let path = Arc::clone(&self.path);
        thread::Builder::new().name("kube-oidc-file".to_owned()).spawn(move || {
            let content = read(&path);
            // before the result is sent, so that the next read does not find this one in flight
            drop(flight);
            let _ = send.send(content);
        })?;
        receive.await.unwrap_or_else(|_| Err(io::Error::other("the read panicked")))
    }

    async fn take_turn(&self) -> io::Result<Flight> {
        let turn = Arc::clone(&self.turn);
        let turn = match Arc::clone(&turn).try_acquire_owned() {
            Ok(turn) => turn,
            Err(_) if self.hangs() => {
                let hangs = "an earlier read has not returned; the file system hangs";
                return Err(io::Error::new(ErrorKind::TimedOut, hangs));
            }
            Err(_) => turn.acquire_owned().await.map_err(io::Error::other)?,
        };
        *lock(&self.began) = Some(Instant::now());
        Ok(Flight { began: Arc::clone(&self.began), _turn: turn })
    }

    fn hangs(&self) -> bool {
        lock(&self.began).is_some_and(|began| began.elapsed() > HANGS_AFTER)
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        // before the turn is given up: the time of this read must not be taken for the next one's
        *lock(&self.began) = None;
    }
}

fn lock(began: &Mutex<Option<Instant>>) -> std::sync::MutexGuard<'_, Option<Instant>> {
    began.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read_start(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?.take(limit as u64).read_to_end(&mut content)?;
    Ok(content)
}
