//! The file in which the kubelet keeps a token, which it replaces before the token expires.

use std::{
    fmt,
    fs::{self, File},
    io::{self, ErrorKind, Read as _},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::HeaderValue;
use kube_oidc::{
    clock::{Clock, SystemClock},
    is_api_server_audience,
    source::FileReader,
};
use serde_json::Value;
use tokio::{sync::Mutex, time};

/// How long a token is used before its file is read again. The kubelet replaces it when a fifth of
/// its life is left, which is two minutes at the least; client-go reads as often.
const READ_AGAIN: Duration = Duration::from_secs(60);

/// How often a file is read at the most, when its token is about to expire or cannot be read.
const AT_MOST_EVERY: Duration = Duration::from_secs(1);

/// How long a call waits for the file before it sends the last token.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long a call without a last token waits for the file.
const PATIENCE_WITHOUT_TOKEN: Duration = Duration::from_secs(5);

/// Where every pod finds its key to the API server, whatever audience that has.
const DEFAULT_FOLDER: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// As much as the other side reads of a token.
const MAX_BYTES: usize = 16 * 1024;

/// Why there is no token to send. Nothing was sent.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenFileError {
    /// The file cannot be read.
    #[error("the token file {} cannot be read", .path.display())]
    #[non_exhaustive]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: Arc<io::Error>,
    },
    /// The file holds nothing.
    #[error("the token file {} is empty", .path.display())]
    #[non_exhaustive]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The file holds something else than a service account's token.
    #[error("the token file {} holds no ServiceAccount token", .path.display())]
    #[non_exhaustive]
    NotAToken {
        /// The file.
        path: PathBuf,
    },
    /// The token has expired, and the kubelet did not replace it.
    #[error("the token in {} has expired, and nobody has replaced it", .path.display())]
    #[non_exhaustive]
    Expired {
        /// The file.
        path: PathBuf,
        /// Its `exp`.
        expired_at: SystemTime,
    },
    /// The token is valid for the API server, so its recipient could use it there.
    #[error(
        "the token in {} is valid for the API server: {sign}; project a token whose only audience is \
         the service's own", .path.display()
    )]
    #[non_exhaustive]
    ApiServerAudience {
        /// The file.
        path: PathBuf,
        /// The sign by which the token was recognized.
        sign: &'static str,
    },
    /// The file is in the folder of the pod's API server token, whatever its audience.
    #[error(
        "the token file {} is in the folder of the pod's API server token, {DEFAULT_FOLDER}, directly \
         or through a link; mount it elsewhere", .path.display()
    )]
    #[non_exhaustive]
    ApiServerFolder {
        /// The file.
        path: PathBuf,
    },
}

/// A token file, read as seldom as will do.
pub(super) struct TokenFile {
    reader: FileReader,
    default_folder: PathBuf,
    may_open_api_server: bool,
    clock: Arc<dyn Clock>,
    last: RwLock<Option<Last>>,
    /// Held by the call that reads the file.
    reading: Mutex<()>,
}

/// What came of the last reading.
struct Last {
    good: Option<Token>,
    error: Option<TokenFileError>,
    /// By the monotonic clock.
    read_again: std::time::Instant,
}

#[derive(Clone)]
struct Token {
    header: HeaderValue,
    /// `None`: it never does.
    expires_at: Option<SystemTime>,
}

impl Token {
    fn is_good_at(&self, now: SystemTime) -> bool {
        self.expires_at.is_none_or(|expires_at| now < expires_at)
    }
}

impl TokenFile {
    pub(super) fn at(path: PathBuf) -> Self {
        Self {
            reader: FileReader::new(path),
            default_folder: DEFAULT_FOLDER.into(),
            may_open_api_server: false,
            clock: Arc::new(SystemClock::default()),
            last: RwLock::default(),
            reading: Mutex::default(),
        }
    }

    pub(super) fn may_open_api_server(self) -> Self {
        Self { may_open_api_server: true, ..self }
    }

    pub(super) fn by_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// The value of an `Authorization` header, once the file was read.
    pub(super) async fn header(&self) -> Result<HeaderValue, TokenFileError> {
        let _reading = match self.reading.try_lock() {
            Ok(reading) => reading,
            // another call reads it already, and the last token will do meanwhile
            Err(_) => match self.good() {
                Some(good) => return Ok(good),
                None => self.reading.lock().await,
            },
        };
        // it may have been read while this call waited for its turn
        match self.known() {
            Some(known) => known,
            None => self.read_again().await,
        }
    }

    /// The same from a reading that is young enough, if there is one.
    pub(super) fn known(&self) -> Option<Result<HeaderValue, TokenFileError>> {
        let last = self.last.read().unwrap_or_else(PoisonError::into_inner);
        let last = last.as_ref().filter(|last| self.clock.monotonic() < last.read_again)?;
        let now = self.clock.wall();
        match (&last.good, &last.error) {
            (Some(good), _) if good.is_good_at(now) => Some(Ok(good.header.clone())),
            (_, Some(error)) => Some(Err(error.clone())),
            _ => None,
        }
    }

    /// The last token, while it is good.
    fn good(&self) -> Option<HeaderValue> {
        let last = self.last.read().unwrap_or_else(PoisonError::into_inner);
        let good = last.as_ref()?.good.as_ref()?;
        good.is_good_at(self.clock.wall()).then(|| good.header.clone())
    }

    async fn read_again(&self) -> Result<HeaderValue, TokenFileError> {
        let content = self.read().await;
        let now = self.clock.wall();
        let read = content.and_then(|(content, is_default)| self.check(&content, is_default, now));
        let mut last = self.last.write().unwrap_or_else(PoisonError::into_inner);
        let before = last.take().and_then(|last| last.good).filter(|good| good.is_good_at(now));
        let (good, error) = match read {
            Ok(token) => (Some(token), None),
            Err(error) => {
                if before.is_some() {
                    let source = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::warn!(%error, source, "the last token is used on");
                }
                (before, Some(error))
            }
        };
        let left = good.as_ref().and_then(|good| good.expires_at?.duration_since(now).ok());
        let pause = match (&error, left) {
            (None, left) => (left.unwrap_or(Duration::MAX) / 2).clamp(AT_MOST_EVERY, READ_AGAIN),
            (Some(_), _) => AT_MOST_EVERY,
        };
        let header = good.as_ref().map(|good| good.header.clone());
        let answer = header.ok_or_else(|| error.clone());
        *last = Some(Last { good, error, read_again: self.clock.monotonic() + pause });
        match answer {
            Ok(header) => Ok(header),
            Err(error) => Err(error.unwrap_or_else(|| self.not_a_token())),
        }
    }

    /// Reads the file, and whether it is in the default folder. It may hang, as file systems do.
    async fn read(&self) -> Result<(Vec<u8>, bool), TokenFileError> {
        let patience = if self.good().is_some() { PATIENCE } else { PATIENCE_WITHOUT_TOKEN };
        let folder = self.default_folder.clone();
        let read = self.reader.read_with(move |path| Ok((read_start(path)?, is_in(path, &folder))));
        let read = time::timeout(patience, read).await.unwrap_or_else(|_| {
            let slow = format!("the file system did not answer within {patience:?}");
            Err(io::Error::new(ErrorKind::TimedOut, slow))
        });
        read.map_err(|error| TokenFileError::Read { path: self.path(), source: Arc::new(error) })
    }

    fn check(
        &self,
        content: &[u8],
        is_default: bool,
        now: SystemTime,
    ) -> Result<Token, TokenFileError> {
        let path = || self.path();
        let token = content.trim_ascii();
        if token.is_empty() {
            return Err(TokenFileError::Empty { path: path() });
        }
        let claims = Claims::read(token).ok_or_else(|| self.not_a_token())?;
        if !self.may_open_api_server {
            if let Some(sign) = claims.api_server_sign {
                return Err(TokenFileError::ApiServerAudience { path: path(), sign });
            }
            if is_default {
                return Err(TokenFileError::ApiServerFolder { path: path() });
            }
        }
        let header = [b"Bearer ", token].concat();
        let mut header = HeaderValue::from_bytes(&header).map_err(|_| self.not_a_token())?;
        header.set_sensitive(true);
        let token = Token { header, expires_at: claims.expires_at };
        match token.expires_at {
            Some(expired_at) if !token.is_good_at(now) => {
                Err(TokenFileError::Expired { path: path(), expired_at })
            }
            _ => Ok(token),
        }
    }

    fn path(&self) -> PathBuf {
        self.reader.path().to_owned()
    }

    fn not_a_token(&self) -> TokenFileError {
        TokenFileError::NotAToken { path: self.path() }
    }
}

impl fmt::Debug for TokenFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TokenFile").field(&self.reader.path()).finish()
    }
}

/// As much of a file as a token may have, and a little more.
fn read_start(path: &Path) -> io::Result<Vec<u8>> {
    const MORE: usize = 16;
    let mut start = Vec::new();
    File::open(path)?.take((MAX_BYTES + MORE) as u64).read_to_end(&mut start)?;
    Ok(start)
}

/// Whether a file is in a folder, by whatever links.
fn is_in(path: &Path, folder: &Path) -> bool {
    let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    path.starts_with(folder) || real(path).starts_with(real(folder))
}

/// What a token says that its owner has to know.
struct Claims {
    expires_at: Option<SystemTime>,
    /// By what it is recognized as valid for the API server.
    api_server_sign: Option<&'static str>,
}

impl Claims {
    fn read(token: &[u8]) -> Option<Self> {
        let mut parts = token.split(|byte| *byte == b'.');
        let (_, payload, _, None) = (parts.next()?, parts.next()?, parts.next()?, parts.next())
        else {
            return None;
        };
        if token.len() > MAX_BYTES || !token.iter().all(u8::is_ascii_graphic) {
            return None;
        }
        let payload = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(payload).ok()?;
        let payload: Value = serde_json::from_slice(&payload).ok()?;
        let issuer = payload.get("iss")?.as_str()?;
        let audiences: Vec<&str> = match payload.get("aud") {
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(several)) => {
                several.iter().map(Value::as_str).collect::<Option<_>>()?
            }
            Some(_) => return None,
            None => Vec::new(),
        };
        let expires_at = match payload.get("exp") {
            Some(exp) => {
                Some(UNIX_EPOCH.checked_add(Duration::try_from_secs_f64(exp.as_f64()?).ok()?)?)
            }
            None => None,
        };
        let has = |audience: &dyn Fn(&str) -> bool| audiences.iter().any(|found| audience(found));
        let api_server_sign = if audiences.is_empty() {
            // as tokens of Secrets are
            Some("it has no audience")
        } else if has(&|audience| audience == issuer) {
            Some("its issuer is an audience")
        } else if has(&is_api_server_audience) {
            Some("it has a default audience of API servers")
        } else if payload.get("kubernetes.io").is_some_and(|k8s| k8s.get("warnafter").is_some()) {
            Some("it has the claim `warnafter`")
        } else {
            None
        };
        Some(Self { expires_at, api_server_sign })
    }
}

#[cfg(test)]
mod tests {
    use kube_oidc_testing::TestIssuer;

    use super::*;

    // rule: client-origins
    #[tokio::test]
    async fn token_in_the_default_folder_is_rejected_by_its_place() {
        let folder = std::env::temp_dir().join(format!("kube-oidc-default-{}", std::process::id()));
        let (default, elsewhere) = (folder.join("default"), folder.join("elsewhere"));
        fs::create_dir_all(&default).unwrap();
        fs::create_dir_all(&elsewhere).unwrap();
        let token = TestIssuer::start().token().audience("orders").mint();
        fs::write(default.join("orders"), &token).unwrap();
        fs::write(elsewhere.join("orders"), &token).unwrap();
        std::os::unix::fs::symlink(default.join("orders"), elsewhere.join("link")).unwrap();
        let at =
            |path: PathBuf| TokenFile { default_folder: default.clone(), ..TokenFile::at(path) };
        for path in [default.join("orders"), elsewhere.join("link")] {
            let error = at(path.clone()).header().await.unwrap_err();
            let expected = format!(
                "the token file {} is in the folder of the pod's API server token, \
                 /var/run/secrets/kubernetes.io/serviceaccount, directly or through a link; mount it \
                 elsewhere",
                path.display()
            );
            assert_eq!(error.to_string(), expected);
            assert!(matches!(error, TokenFileError::ApiServerFolder { .. }));
            assert!(at(path).may_open_api_server().header().await.is_ok());
        }
        assert!(at(elsewhere.join("orders")).header().await.is_ok());
        fs::remove_dir_all(folder).unwrap();
    }
}
