//! The file in which the kubelet keeps a token, which it replaces before the token expires.

use std::{
    fmt,
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock, TryLockError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::HeaderValue;
use kube_oidc::{
    clock::{Clock, SystemClock},
    is_api_server_audience,
};
use serde_json::Value;

/// How long a token is used before its file is read again. The kubelet replaces it when a fifth of
/// its life is left, which is two minutes at the least; client-go reads as often.
const READ_AGAIN: Duration = Duration::from_secs(60);

/// How often a file is read at the most, when its token is about to expire or cannot be read.
const AT_MOST_EVERY: Duration = Duration::from_secs(1);

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
    /// The token opens the API server, so whoever receives it could use it there.
    #[error(
        "the token in {} is for the API server too: project one with an audience of the service's \
         own", .path.display()
    )]
    #[non_exhaustive]
    ApiServerAudience {
        /// The file.
        path: PathBuf,
    },
}

/// A token file, read as seldom as will do.
pub(super) struct TokenFile {
    path: PathBuf,
    may_open_api_server: bool,
    clock: Arc<dyn Clock>,
    last: RwLock<Option<Last>>,
    /// Held by who reads the file.
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
            path,
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

    /// The value of an `Authorization` header.
    pub(super) fn header(&self) -> Result<HeaderValue, TokenFileError> {
        if let Some(known) = self.known() {
            return known;
        }
        let _reading = match self.reading.try_lock() {
            Ok(reading) => reading,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {
                // somebody reads it already, and the last one will do meanwhile
                if let Some(good) = self.good() {
                    return Ok(good);
                }
                self.reading.lock().unwrap_or_else(PoisonError::into_inner)
            }
        };
        // it may have been read while this waited for its turn
        self.known().unwrap_or_else(|| self.read_again())
    }

    /// What is known from a reading that is young enough.
    fn known(&self) -> Option<Result<HeaderValue, TokenFileError>> {
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

    fn read_again(&self) -> Result<HeaderValue, TokenFileError> {
        let now = self.clock.wall();
        let read = self.read(now);
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

    /// Reads the file: some kilobytes of a file system in memory, so it is not worth a thread.
    fn read(&self, now: SystemTime) -> Result<Token, TokenFileError> {
        let path = || self.path.clone();
        let text = read_start(&self.path)
            .map_err(|error| TokenFileError::Read { path: path(), source: Arc::new(error) })?;
        let token = text.trim_ascii();
        if token.is_empty() {
            return Err(TokenFileError::Empty { path: path() });
        }
        let claims = Claims::read(token).ok_or_else(|| self.not_a_token())?;
        let opens = claims.opens_api_server || is_default(&self.path);
        if opens && !self.may_open_api_server {
            return Err(TokenFileError::ApiServerAudience { path: path() });
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

    fn not_a_token(&self) -> TokenFileError {
        TokenFileError::NotAToken { path: self.path.clone() }
    }
}

impl fmt::Debug for TokenFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TokenFile").field(&self.path).finish()
    }
}

/// As much of a file as a token may have, and a little more.
fn read_start(path: &Path) -> io::Result<Vec<u8>> {
    const MORE: usize = 16;
    let mut start = Vec::new();
    File::open(path)?.take((MAX_BYTES + MORE) as u64).read_to_end(&mut start)?;
    Ok(start)
}

/// Whether it is the pod's key to the API server, by whatever links.
fn is_default(path: &Path) -> bool {
    let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    path.starts_with(DEFAULT_FOLDER) || real(path).starts_with(real(Path::new(DEFAULT_FOLDER)))
}

/// What a token says that its owner has to know.
struct Claims {
    expires_at: Option<SystemTime>,
    /// Without an audience, as tokens of Secrets are, it is for the API server only.
    opens_api_server: bool,
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
        let opens = |audience: &&str| *audience == issuer || is_api_server_audience(audience);
        let expires_at = match payload.get("exp") {
            Some(exp) => {
                Some(UNIX_EPOCH.checked_add(Duration::try_from_secs_f64(exp.as_f64()?).ok()?)?)
            }
            None => None,
        };
        let opens_api_server = audiences.is_empty() || audiences.iter().any(opens);
        Some(Self { expires_at, opens_api_server })
    }
}
