//! Asking the API server whether a token still counts: what a signature cannot say.
//!
//! A token of a deleted pod is still well signed, and good until it expires. The API server knows
//! better: it looks for the pod, the service account and the node that the token is bound to, and
//! answers a `TokenReviewConfig`. Here such a review comes after the offline check, and only where it is
//! asked for: for every token with
//! [`VerifierBuilder::require_token_review`](crate::VerifierBuilder::require_token_review), or for
//! single routes with `RequireTokenReviewLayer` of `tower-kube-oidc`.
//!
//! A [`TokenReviewConfig`] belongs to one [`Issuer`](crate::Issuer), and sees no tokens but that issuer's:
//!
//! ```
//! use std::time::Duration;
//! use kube_oidc::{Issuer, IssuerUrl, Verifier, token_review::{Reviewer, TokenReviewConfig}};
//!
//! # fn f(issuer: IssuerUrl, api_server: impl Reviewer) -> Result<(), Box<dyn std::error::Error>> {
//! let review = TokenReviewConfig::new(api_server).cache_ttl(Duration::from_secs(30));
//! let verifier = Verifier::builder(Issuer::new(issuer).with_token_review(review))
//!     .audience("orders")
//!     .require_token_review()
//!     .build()?;
//! # Ok(()) }
//! ```
//!
//! The crate `kube-oidc-token-review` has a [`Reviewer`] that asks with kube's client.
//!
//! # What it promises
//!
//! One call for a token in an interval, however many requests carry it. A token that the API server
//! rejects is rejected within one interval of the API server's own answer, which itself comes
//! late: 10 s after an object is gone, and for one that is terminating 70 s after the end of its
//! grace period.
//!
//! The answer counts only if it says `authenticated`, has no `error`, names the user and the uid of
//! the token's claims, and has one of our audiences. While there is none the token is neither good
//! nor bad: [`ReviewUnavailable`](crate::ReviewUnavailable), which a service answers with 503,
//! unless [`TokenReviewConfig::stale_if_error`] says otherwise.
//!
//! # Failing reviews
//!
//! Two failed calls in a row, about any tokens of an issuer, mean that its reviews are failing; the
//! first response of any kind ends that. While they are failing no request waits: a kept answer
//! counts at once, and other tokens without an answer are [`ReviewUnavailable`] at once. One call at
//! a time is made in the background, and calls begin one second apart. After the recovery, kept
//! tokens that are overdue are reviewed over one interval, and count until then.
//!
//! [`ReviewUnavailable`]: crate::ReviewUnavailable

mod cache;
mod health;
#[cfg(test)]
#[cfg(kube_oidc_shuttle)]
mod interleavings;
mod known;
mod outcome;
mod permits;
#[cfg(test)]
mod tests;

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

pub(crate) use self::{cache::ReviewCache, outcome::Expected};
use crate::error::{BuildError, foreign_error};

/// Asks the API server of one cluster.
///
/// An implementation sends token and audiences in a `TokenReviewConfig` of `authentication.k8s.io/v1` to
/// the cluster that its issuer is of, and gives back the `status` that comes: judging it is not its
/// business. It remembers nothing, and needs no timeout: the future is dropped when time is up.
pub trait Reviewer: fmt::Debug + Send + Sync + 'static {
    /// Asks whether a token counts.
    fn review<'a>(&'a self, request: ReviewRequest<'a>) -> ReviewFuture<'a>;
}

/// What [`Reviewer::review`] gives back.
pub type ReviewFuture<'a> =
    Pin<Box<dyn Future<Output = Result<ReviewStatus, ReviewError>> + Send + 'a>>;

impl<R: Reviewer + ?Sized> Reviewer for Arc<R> {
    fn review<'a>(&'a self, request: ReviewRequest<'a>) -> ReviewFuture<'a> {
        (**self).review(request)
    }
}

/// What is asked: the `spec` of a `TokenReviewConfig`.
#[derive(Clone, Copy)]
pub struct ReviewRequest<'a> {
    token: &'a str,
    audiences: &'a [String],
}

impl<'a> ReviewRequest<'a> {
    /// The token. It belongs into the body of the request, and nowhere else.
    #[must_use]
    pub fn token(self) -> &'a str {
        self.token
    }

    /// The audiences of which the token should have one. Never empty: an API server that is asked
    /// without takes it for its own audience.
    #[must_use]
    pub fn audiences(self) -> &'a [String] {
        self.audiences
    }
}

impl fmt::Debug for ReviewRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReviewRequest").field("audiences", &self.audiences).finish_non_exhaustive()
    }
}

/// What an API server answers: the `status` of a `TokenReview`. What is missing there is empty here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReviewStatus {
    /// Whether the token counts.
    pub authenticated: bool,
    /// `status.user.username`.
    pub username: String,
    /// `status.user.uid`.
    pub uid: String,
    /// Those of the audiences that were asked for which the token has.
    pub audiences: Vec<String>,
    /// Why the token could not be checked.
    pub error: String,
}

foreign_error! {
    /// An API server could not be asked. It must not show the token.
    ReviewError
}

/// Who asks about the tokens of an issuer, and for how long an answer counts.
#[derive(Clone, Debug)]
#[must_use]
pub struct TokenReviewConfig {
    reviewer: Arc<dyn Reviewer>,
    settings: ReviewSettings,
}

#[derive(Clone, Copy, Debug)]
struct ReviewSettings {
    cache_ttl: Duration,
    timeout: Duration,
    /// `None`: nobody passes without an answer.
    keep: Option<Duration>,
}

impl ReviewSettings {
    fn check(&self) -> Result<(), BuildError> {
        const SECOND: Duration = Duration::from_secs(1);
        let (interval, day) = (self.cache_ttl, 24 * 3600 * SECOND);
        let keep = self.keep.unwrap_or(interval);
        let (minute, hour) = (60 * SECOND, 3600 * SECOND);
        let durations = [
            ("the interval of token reviews", interval, SECOND..=hour, "1 s to 1 h"),
            ("the timeout of token reviews", self.timeout, SECOND / 10..=minute, "100 ms to 1 min"),
            ("stale_if_error", keep, interval..=day, "from the interval to 24 h"),
        ];
        let faults = durations.into_iter().filter(|(_, value, bounds, _)| !bounds.contains(value));
        BuildError::all(
            faults.map(|(name, _, _, range)| BuildError::DurationOutOfRange { name, range }),
        )
    }
}

impl TokenReviewConfig {
    /// Reviews by this reviewer, with the defaults.
    pub fn new(reviewer: impl Reviewer) -> Self {
        let settings = ReviewSettings {
            cache_ttl: Duration::from_secs(60),
            timeout: Duration::from_secs(5),
            keep: None,
        };
        Self { reviewer: Arc::new(reviewer), settings }
    }

    /// How long a good answer counts: 60 s unless set, 1 s to 1 h. Up to a fifth less, by the dice,
    /// so that the tokens of a fleet are not asked for at once. A bad answer counts for 5 s.
    pub fn cache_ttl(mut self, ttl: Duration) -> Self {
        self.settings.cache_ttl = ttl;
        self
    }

    /// Sets how long a call, and a request that waits for it, may take. Defaults to 5 s; 100 ms to
    /// 1 min.
    ///
    /// A request whose call was lost, with its runtime, waits for at most twice as long. While
    /// reviews are failing, most calls may take 1 s at most.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.timeout = timeout;
        self
    }

    /// Accepts no token without an answer. This is the default.
    pub fn fail_closed(mut self) -> Self {
        self.settings.keep = None;
        self
    }

    /// Keeps the last good answer about a token for as long, where there is no newer one.
    ///
    /// The kept answer counts if a call fails, at once while
    /// [reviews are failing](self#failing-reviews), and after it for at most one interval. A token
    /// that was never confirmed is not accepted, and neither is one that was rejected since. The
    /// token still has to pass every other check, so it is not accepted past its expiry, nor after
    /// its key was removed. At most 24 h, and not less than the interval.
    pub fn stale_if_error(mut self, duration: Duration) -> Self {
        self.settings.keep = Some(duration);
        self
    }
}

impl<R: Reviewer> From<R> for TokenReviewConfig {
    fn from(reviewer: R) -> Self {
        Self::new(reviewer)
    }
}
