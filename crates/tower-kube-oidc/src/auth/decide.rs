//! The decision about a request: what its token is worth, and whether the request passes.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use kube_oidc::{Claims, Verified, Verifier};
use tracing::{Instrument as _, Span};

use super::{
    bearer,
    open_path::Open,
    options::{Mode, RequestOptions},
    outcome::Outcome,
    span,
};
use crate::{
    context::{FormatOfLayer, How, Passed, TokenToReview, Why, answering_within},
    gate::{Admission, Decide, Expiry, Guard},
    metrics::RequestMeter,
    response::{Rejection, RequestHead, cache_headers},
};

/// The settings of a layer, shared by the services that it made.
pub(crate) struct AuthSettings<C: Claims> {
    pub(crate) verifier: Verifier<C>,
    /// A token must be for one of these as well.
    pub(crate) narrowed: Option<Vec<String>>,
    pub(crate) options: RequestOptions<C>,
    pub(crate) meter: RequestMeter,
}

pub(crate) type Verdict<C> = Result<Verified<C>, Rejection>;

impl<C: Claims> AuthSettings<C> {
    /// Lets a request pass whose path is open.
    pub(crate) fn admit_open<B>(&self, request: &mut Request<B>) -> Option<Admission> {
        let options = &self.options;
        if options.open.is_empty() {
            return None;
        }
        // hidden before a predicate sees it, and where nobody else will look at it
        let _ = options.token_header.find(request.headers_mut());
        let is_open = |open: &Open| open.includes(RequestHead::of(request));
        let is_open = options.open.iter().any(is_open);
        is_open.then(|| self.pass(request, Outcome::OpenPath, Why::OpenPath))
    }

    /// Judges a request by what is known now. `Pending`: keys are needed, see
    /// [`judge_waiting`](Self::judge_waiting).
    pub(crate) fn judge(&self, headers: &mut HeaderMap) -> Poll<Verdict<C>> {
        let place = &self.options.token_header;
        let header = place.find(headers);
        let token = header.and_then(|header| {
            place.token(header).inspect_err(|_| bearer::log_missing_scheme(header))
        });
        let token = match token {
            Ok(token) => token,
            Err(no_token) => return Poll::Ready(Err(no_token.into())),
        };
        match self.verifier.verify_with_cached_keys(token) {
            Some(Ok(caller)) => Poll::Ready(self.narrow(caller)),
            other => match (bearer::check(token), other) {
                (Err(no_token), _) => Poll::Ready(Err(no_token.into())),
                (Ok(()), Some(Err(error))) => {
                    explain(&self.verifier, token);
                    Poll::Ready(Err(error.into()))
                }
                (Ok(()), _) => Poll::Pending,
            },
        }
    }

    /// Judges the token of a header that was judged before, and waits for keys.
    pub(crate) async fn judge_waiting(&self, header: HeaderValue) -> Verdict<C> {
        let token = self.options.token_header.token(&header)?;
        let verdict = self.verifier.verify(token).await;
        self.narrow(verdict.inspect_err(|_| explain(&self.verifier, token))?)
    }

    fn narrow(&self, caller: Verified<C>) -> Verdict<C> {
        let is_for = |ours: &Vec<String>| {
            caller.registered().audiences().any(|found| ours.iter().any(|ours| ours == found))
        };
        if self.narrowed.as_ref().is_none_or(is_for) {
            Ok(caller)
        } else {
            Err(Rejection::LayerAudience)
        }
    }

    /// Does with a request what its verdict and the mode say.
    pub(crate) fn admit<B>(&self, request: &mut Request<B>, verdict: Verdict<C>) -> Admission {
        match (verdict, self.options.mode) {
            (Ok(caller), mode) => self.admit_caller(request, caller, mode),
            (Err(Rejection::NoCredentials), Mode::Optional) => {
                self.pass(request, Outcome::Anonymous, Why::Anonymous)
            }
            (Err(rejection), Mode::ReportOnly) => {
                rejection.log(false);
                let why = Why::WouldBeRejected(rejection.clone());
                self.pass(request, Outcome::WouldBeRejected(&rejection), why)
            }
            (Err(rejection), Mode::Required | Mode::Optional) => {
                Admission::Reject(self.refuse(request, rejection))
            }
        }
    }

    /// Rejects a request that was admitted, if its token is no longer valid.
    fn readmit<B>(&self, request: &Request<B>) -> Result<(), Box<Response<Bytes>>> {
        let caller = request.extensions().get::<Verified<C>>();
        let is_over = |caller| self.verifier.time_left(caller).is_zero();
        if self.options.mode != Mode::ReportOnly && caller.is_some_and(is_over) {
            Err(self.refuse(request, Rejection::ExpiredInFlight))
        } else {
            Ok(())
        }
    }

    fn admit_caller<B>(
        &self,
        request: &mut Request<B>,
        caller: Verified<C>,
        mode: Mode,
    ) -> Admission {
        let options = &self.options;
        self.tell(request, Outcome::Verified(&caller));
        let token = self.token_to_review(request, &caller);
        self.prepare(request);
        let report_only = mode == Mode::ReportOnly;
        let ends = options.end_streams && !report_only;
        let expiry = ends.then(|| self.expiry(request, &caller));
        if report_only {
            request.extensions_mut().insert(self.passed(Why::Verified));
        }
        if let Some(token) = token {
            request.extensions_mut().insert(token);
        }
        request.extensions_mut().insert(caller);
        Admission::Pass(Guard { expiry, token_header: self.token_header() })
    }

    /// The token, where a layer further in may have it reviewed.
    fn token_to_review<B>(
        &self,
        request: &Request<B>,
        caller: &Verified<C>,
    ) -> Option<TokenToReview<C>> {
        if !self.verifier.can_review(caller) {
            return None;
        }
        let place = &self.options.token_header;
        let token = place.token(request.headers().get(place.name())?).ok()?;
        Some(TokenToReview::new(&self.verifier, token))
    }

    /// Lets a request pass that has no caller.
    fn pass<B>(&self, request: &mut Request<B>, outcome: Outcome<'_, C>, why: Why) -> Admission {
        self.tell(request, outcome);
        self.prepare(request);
        request.extensions_mut().insert(self.passed(why));
        Admission::Pass(Guard { expiry: None, token_header: self.token_header() })
    }

    /// Does to a request that passes what was asked for.
    fn prepare<B>(&self, request: &mut Request<B>) {
        if self.options.remove_token_header {
            request.headers_mut().remove(self.options.token_header.name());
        }
        if let Some(format) = self.options.answering.configured_format() {
            request.extensions_mut().insert(FormatOfLayer(format));
        }
    }

    fn passed(&self, why: Why) -> Passed<C> {
        let RequestOptions { mode, answering, .. } = &self.options;
        let report_only = *mode == Mode::ReportOnly;
        Passed::by(How { why, report_only, answering: answering.clone() })
    }

    fn refuse<B>(&self, request: &Request<B>, rejection: Rejection) -> Box<Response<Bytes>> {
        rejection.log(true);
        self.tell(request, Outcome::Rejected(&rejection));
        let answering = answering_within(request.extensions(), &self.options.answering);
        let mut response = answering.answer(rejection, RequestHead::of(request));
        if let Some(name) = self.options.token_header.other_name() {
            cache_headers::protect(response.headers_mut(), name);
        }
        Box::new(response)
    }

    /// The header that the response depends on, if it is not `Authorization`.
    fn token_header(&self) -> Option<HeaderName> {
        self.options.token_header.other_name().cloned()
    }

    fn tell<B>(&self, request: &Request<B>, outcome: Outcome<'_, C>) {
        self.meter.count(outcome.name(), outcome.reason());
        span::note(outcome);
        if let Some(on_outcome) = &self.options.on_outcome {
            on_outcome(outcome, RequestHead::of(request));
        }
    }

    fn expiry<B>(&self, request: &Request<B>, caller: &Verified<C>) -> Expiry {
        let answering = answering_within(request.extensions(), &self.options.answering);
        let later = answering.later(RequestHead::of(request));
        Expiry::of(self.verifier.clone(), caller.clone(), later)
    }
}

/// The decision about a request whose token needs keys that are not here.
pub(crate) struct PendingDecision<C: Claims> {
    verdict: Pin<Box<dyn Future<Output = Verdict<C>> + Send>>,
    span: Span,
    settings: Arc<AuthSettings<C>>,
}

impl<C: Claims> PendingDecision<C> {
    pub(crate) fn new(settings: &Arc<AuthSettings<C>>, headers: &HeaderMap, span: Span) -> Self {
        let header = headers.get(settings.options.token_header.name()).cloned();
        let (judge, settings) = (Arc::clone(settings), Arc::clone(settings));
        let verdict =
            async move { judge.judge_waiting(header.ok_or(Rejection::NoCredentials)?).await };
        Self { verdict: Box::pin(verdict.instrument(span.clone())), span, settings }
    }
}

impl<C: Claims, B> Decide<B> for PendingDecision<C> {
    fn poll_decision(&mut self, cx: &mut Context<'_>, request: &mut Request<B>) -> Poll<Admission> {
        let verdict = ready!(self.verdict.as_mut().poll(cx));
        let _decision = self.span.enter();
        Poll::Ready(self.settings.admit(request, verdict))
    }

    fn recheck(
        &mut self,
        request: &mut Request<B>,
        has_expired: bool,
    ) -> Result<(), Box<Response<Bytes>>> {
        let _decision = self.span.enter();
        if has_expired {
            return Err(self.settings.refuse(request, Rejection::ExpiredInFlight));
        }
        self.settings.readmit(request)
    }
}

/// Tells the log at debug level what each check has found.
fn explain<C: Claims>(verifier: &Verifier<C>, token: &[u8]) {
    if tracing::enabled!(tracing::Level::DEBUG) {
        tracing::debug!(explanation = %verifier.explain(token).one_line(), "explained");
    }
}
