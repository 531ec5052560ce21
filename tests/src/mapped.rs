//! A fetcher that reaches issuers of public names on loopback.

use kube_oidc::source::{Fetch, FetchError, FetchFuture, FetchRequest, HttpFetcher};

/// Fetches URLs of one origin from another, over real HTTP. Any other URL is an error.
#[derive(Debug)]
pub struct MappedFetcher {
    origins: Vec<(String, String)>,
    http: HttpFetcher,
}

impl MappedFetcher {
    /// Maps URLs below `from` to URLs below `to`.
    #[must_use]
    pub fn new(from: &str, to: &str) -> Self {
        Self { origins: vec![(from.to_owned(), to.to_owned())], http: HttpFetcher::new() }
    }

    /// Maps URLs of another origin too.
    #[must_use]
    pub fn and(mut self, from: &str, to: &str) -> Self {
        self.origins.push((from.to_owned(), to.to_owned()));
        self
    }
}

impl Fetch for MappedFetcher {
    fn fetch(&self, request: FetchRequest) -> FetchFuture<'_> {
        let mapped = self.origins.iter().find_map(|(from, to)| {
            let path = request.url().strip_prefix(from).filter(|path| path.starts_with('/'))?;
            Some(format!("{to}{path}"))
        });
        let Some(url) = mapped else {
            let message = format!("unknown URL {}", request.url());
            return Box::pin(std::future::ready(Err(FetchError::new(message))));
        };
        self.http.fetch(request.with_url(url))
    }
}
