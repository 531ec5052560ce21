//! [`KubeReviewer`]: one `TokenReview`, sent and read.

use std::{
    error::Error,
    fmt, io,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use http::{Request, StatusCode, Uri, header::CONTENT_TYPE, uri::Scheme};
use http_body_util::BodyExt as _;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use kube_client::{Client, Config, client::Body};
use kube_oidc::token_review::{ReviewError, ReviewFuture, ReviewRequest, ReviewStatus, Reviewer};

use crate::{answer::Answer, background::Background, client::client};

const PATH: &str = "/apis/authentication.k8s.io/v1/tokenreviews";

/// A reviewer that calls the API server of one cluster: see the [crate's page](crate).
///
/// Connections, and the files of the configuration, belong to a thread of its own, so that it can
/// be used from several runtimes, and a file system that hangs blocks none of them.
pub struct KubeReviewer {
    api_server: Arc<ApiServer>,
    background: Background,
}

struct ApiServer {
    config: Config,
    /// `None`: it is created for the next call.
    client: Mutex<Option<Client>>,
}

/// Why there is no [`KubeReviewer`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KubeReviewerError {
    /// This process is no pod, or its service account's files are missing.
    #[error("this process does not know its cluster: {0}")]
    InCluster(Box<dyn Error + Send + Sync>),
    /// Tokens would go to another machine in clear.
    #[error("the API server is to be asked over https: plain http is for loopback only")]
    PlainHttp,
    /// Whoever answers in the API server's place would be sent tokens, and believed: kube's
    /// `accept_invalid_certs`, which is `insecure-skip-tls-verify` in a kubeconfig.
    #[error("the configuration does not have the API server's certificate checked")]
    UncheckedCertificate,
    /// There is no thread, or no resources, for the connections to the API server.
    #[error("failed to start the thread of the reviewer")]
    Thread(#[source] io::Error),
}

impl KubeReviewer {
    /// Asks the API server of the cluster that this process is a pod of, with the pod's own token,
    /// which is read again as the kubelet rotates it.
    ///
    /// # Errors
    ///
    /// What is missing: see [`KubeReviewerError`].
    pub fn in_cluster() -> Result<Self, KubeReviewerError> {
        let config =
            Config::incluster().map_err(|error| KubeReviewerError::InCluster(error.into()))?;
        Self::from_config(config)
    }

    /// Asks the API server that a configuration of kube's names, over https; plain http is for
    /// loopback only, and goes through no proxy.
    ///
    /// The client is created at the first call, and again after the API server has rejected its
    /// credentials with 401, so that a token's file is read again at once; otherwise once a minute.
    /// Of the configuration's timeouts, `connect_timeout` is used, and neither are retries: the
    /// timeout of a review is that of
    /// [`TokenReviewConfig::timeout`](kube_oidc::token_review::TokenReviewConfig::timeout). A proxy may be one
    /// of `http`, `https` and `socks5`.
    ///
    /// # Errors
    ///
    /// Where somebody else could be sent tokens and believed: see [`KubeReviewerError`].
    pub fn from_config(mut config: Config) -> Result<Self, KubeReviewerError> {
        if config.accept_invalid_certs {
            return Err(KubeReviewerError::UncheckedCertificate);
        }
        if config.cluster_url.scheme() != Some(&Scheme::HTTPS) {
            if !is_loopback(&config.cluster_url) {
                return Err(KubeReviewerError::PlainHttp);
            }
            // a proxy's loopback is another machine, and the token would go there in clear
            config.proxy_url = None;
        }
        let background = Background::start("token-review").map_err(KubeReviewerError::Thread)?;
        Ok(Self {
            api_server: Arc::new(ApiServer { config, client: Mutex::default() }),
            background,
        })
    }

    async fn ask(&self, request: ReviewRequest<'_>) -> Result<ReviewStatus, ReviewError> {
        // a text, or an optional one before 1.36: the application says of which Kubernetes types are
        #[allow(clippy::useless_conversion)]
        let token = request.token().to_owned().into();
        let review = TokenReview {
            spec: TokenReviewSpec { token, audiences: Some(request.audiences().to_vec()) },
            ..TokenReview::default()
        };
        let body = serde_json::to_vec(&review)
            .map_err(|_| ReviewError::new("failed to write a TokenReview as JSON"))?;
        let api_server = Arc::clone(&self.api_server);
        let call = self.background.run(async move { api_server.ask(body).await });
        // how a task came to its end may show what it held
        call.await.map_err(|_| ReviewError::new("the call to the API server was aborted"))?
    }
}

impl ApiServer {
    /// Not by kube's typed API: it logs an answer that it cannot read, and the token is in it.
    async fn ask(&self, body: Vec<u8>) -> Result<ReviewStatus, ReviewError> {
        let request = Request::post(PATH)
            .header(CONTENT_TYPE, "application/json")
            .body(Body::from(body))
            .map_err(|error| ReviewError::new("invalid request").with_source(error))?;
        let response = self.client()?.send(request).await.map_err(|error| {
            ReviewError::new("failed to call the API server").with_source(error)
        })?;
        let status = response.status();
        let problem = match status {
            StatusCode::OK | StatusCode::CREATED => {
                let body = response.into_body().collect().await.map_err(|error| {
                    ReviewError::new("failed to read the response of the API server")
                        .with_source(error)
                })?;
                return Answer::read(&body.to_bytes()).ok_or_else(|| {
                    ReviewError::new("invalid response of the API server: no TokenReview")
                });
            }
            StatusCode::UNAUTHORIZED => {
                // with it goes the token that it has read
                *self.made() = None;
                "; it does not accept the credentials of this service itself"
            }
            StatusCode::FORBIDDEN => "; this service has no permission to create tokenreviews",
            _ => "",
        };
        let status = status.as_u16();
        Err(ReviewError::new(format!("the API server responded with {status}{problem}")))
    }

    fn client(&self) -> Result<Client, ReviewError> {
        let mut made = self.made();
        if let Some(client) = &*made {
            return Ok(client.clone());
        }
        let client = client(&self.config)?;
        *made = Some(client.clone());
        Ok(client)
    }

    fn made(&self) -> MutexGuard<'_, Option<Client>> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_loopback(url: &Uri) -> bool {
    let host = url.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

impl Reviewer for KubeReviewer {
    fn review<'a>(&'a self, request: ReviewRequest<'a>) -> ReviewFuture<'a> {
        Box::pin(self.ask(request))
    }
}

impl fmt::Debug for KubeReviewer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // a password may be in its address
        f.debug_struct("KubeReviewer")
            .field("api_server", &self.api_server.config.cluster_url.host())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_goes_over_https_or_stays_here() {
        for (url, expected) in [
            ("https://10.96.0.1:443", true),
            ("https://kubernetes.default.svc", true),
            ("http://127.0.0.1:8001", true),
            ("http://127.9.9.9", true),
            ("http://[::1]:8001", true),
            ("http://localhost:8001", true),
            ("http://LocalHost:8001", true),
            ("HTTPS://10.96.0.1", true),
            ("https://rancher.example/k8s/clusters/c-xyz", true),
            ("http://10.96.0.1", false),
            ("http://0.0.0.0:8001", false),
            ("http://[::]:8001", false),
            ("http://kubernetes.default.svc", false),
            ("http://127.0.0.1.evil.example", false),
            ("http://localhost.evil.example", false),
            ("http://localhost@evil.example", false),
            ("/no/host", false),
        ] {
            let reviewer = KubeReviewer::from_config(Config::new(url.parse().unwrap()));
            assert_eq!(reviewer.is_ok(), expected, "{url}");
            let is_told = |error| matches!(error, KubeReviewerError::PlainHttp);
            assert!(reviewer.err().is_none_or(is_told), "{url}");
        }
    }

    #[test]
    fn nothing_shows_a_password_that_is_in_an_address() {
        for proxy in ["ftp://me:hidden@proxy.example", "socks9://me:hidden@proxy.example:1080"] {
            let mut config = Config::new("https://me:hidden@10.96.0.1".parse().unwrap());
            config.proxy_url = Some(proxy.parse().unwrap());
            let reviewer = KubeReviewer::from_config(config).unwrap();
            let Err(error) = reviewer.api_server.client() else { panic!("{proxy}") };
            let shown = format!("{error} {error:?} {reviewer:?}");
            assert!(shown.contains("proxy") && shown.contains("10.96.0.1"), "{shown}");
            assert!(!shown.contains("hidden"), "{shown}");
        }
    }

    #[test]
    fn a_certificate_that_nobody_checks_is_an_error() {
        for url in ["https://10.96.0.1", "http://localhost:8001"] {
            let mut config = Config::new(url.parse().unwrap());
            config.accept_invalid_certs = true;
            let error = KubeReviewer::from_config(config).unwrap_err();
            assert!(matches!(error, KubeReviewerError::UncheckedCertificate), "{url}");
        }
    }
}
