//! A fetcher that reaches issuers of public names on loopback.

use kube_oidc::source::{Fetch, FetchError, FetchFuture, FetchRequest, HttpFetcher};

/// Reads URLs below one origin from another, over real HTTP; knows no other URL.
#[derive(Debug)]
pub struct MappedFetcher {
    from: String,
    to: String,
    http: HttpFetcher,
}

impl MappedFetcher {
    /// Reads what is below `from` below `to`.
    #[must_use]
    pub fn new(from: &str, to: &str) -> Self {
        Self { from: from.to_owned(), to: to.to_owned(), http: HttpFetcher::new() }
    }
}

impl Fetch for MappedFetcher {
    fn fetch(&self, request: FetchRequest) -> FetchFuture<'_> {
        match request.url().strip_prefix(&self.from) {
            Some(path) if path.starts_with('/') => {
                let url = format!("{}{path}", self.to);
                self.http.fetch(request.with_url(url))
            }
            _ => {
                let message = format!("nobody mapped {}", request.url());
                Box::pin(std::future::ready(Err(FetchError::new(message))))
            }
        }
    }
}
