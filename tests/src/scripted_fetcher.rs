use std::fmt;

use kube_oidc::source::{Fetch, FetchError, FetchFuture, FetchRequest, FetchResponse};

/// A fetcher that runs a function for each request.
pub struct ScriptedFetcher<F>(F);

impl<F, R> ScriptedFetcher<F>
where
    F: Fn(FetchRequest) -> R + Send + Sync + 'static,
    R: Future<Output = Result<FetchResponse, FetchError>> + Send + 'static,
{
    /// A fetcher with this function.
    #[must_use]
    pub fn new(script: F) -> Self {
        Self(script)
    }
}

impl<F> fmt::Debug for ScriptedFetcher<F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ScriptedFetcher")
    }
}

impl<F, R> Fetch for ScriptedFetcher<F>
where
    F: Fn(FetchRequest) -> R + Send + Sync + 'static,
    R: Future<Output = Result<FetchResponse, FetchError>> + Send + 'static,
{
    fn fetch(&self, request: FetchRequest) -> FetchFuture<'_> {
        Box::pin((self.0)(request))
    }
}
