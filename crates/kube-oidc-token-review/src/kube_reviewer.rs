//! [`KubeReviewer`]: one `TokenReview`, sent and read.

use std::{
    error::Error,
    fmt,
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

use http::{Request, StatusCode, Uri, header::CONTENT_TYPE, uri::Scheme};
use http_body_util::{BodyExt as _, Limited};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use kube_client::{Client, Config, client::Body};
use kube_oidc::token_review::{ReviewError, ReviewFuture, ReviewRequest, ReviewStatus, Reviewer};
use tokio::runtime::{Handle, Id};

use crate::answer::Answer;

/// Where an API server is asked.
const PATH: &str = "/apis/authentication.k8s.io/v1/tokenreviews";

/// As much of an answer as is read. It holds the token, and who it is of.
const MAX_BYTES: usize = 256 * 1024;

/// Asks the API server of one cluster: see the [crate's page](crate).
pub struct KubeReviewer {
    config: Config,
    /// A client's tasks live in the runtime in which it was made, so it is of no use in another.
    made: Mutex<Option<(Id, Client)>>,
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
    /// loopback only, and goes through no proxy. The client is made at the first question. A server
    /// that is busy is not asked again and again, whatever the configuration says.
    ///
    /// Give it a token, a token's file or a certificate for itself: a program that gets one (`exec`
    /// in a kubeconfig) is run by kube in a thread of the runtime, and no timeout ends it.
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
        // kube would ask up to 15 times more, for as long as somebody waits
        config.default_retry = false;
        Ok(Self { config, made: Mutex::default() })
    }

    fn client(&self) -> Result<Client, ReviewError> {
        let runtime = Handle::try_current()
            .map_err(|error| ReviewError::new("there is no tokio runtime").with_source(error))?
            .id();
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, client)) = made.as_ref().filter(|(id, _)| *id == runtime) {
            return Ok(client.clone());
        }
        let client = Client::try_from(self.config.clone()).map_err(without_client)?;
        *made = Some((runtime, client.clone()));
        Ok(client)
    }

    /// Not by kube's typed API: it logs an answer that it cannot read, and the token is in it.
    async fn ask(&self, request: ReviewRequest<'_>) -> Result<ReviewStatus, ReviewError> {
        // a text, or an optional one before 1.36: the application says of which Kubernetes types are
        #[allow(clippy::useless_conversion)]
        let token = request.token().to_owned().into();
        let review = TokenReview {
            spec: TokenReviewSpec { token, audiences: Some(request.audiences().to_vec()) },
            ..TokenReview::default()
        };
        let body = serde_json::to_vec(&review).map_err(|_| ReviewError::new("no JSON of it"))?;
        let request = Request::post(PATH)
            .header(CONTENT_TYPE, "application/json")
            .body(Body::from(body))
            .map_err(|error| ReviewError::new("no request of it").with_source(error))?;
        let response = self.client()?.send(request).await.map_err(|error| {
            ReviewError::new("the API server cannot be asked").with_source(error)
        })?;
        match response.status() {
            StatusCode::OK | StatusCode::CREATED => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(ReviewError::new(format!(
                    "the API server answers {}: this service may not create tokenreviews",
                    response.status().as_u16()
                )));
            }
            other => {
                let message = format!("the API server answers {}", other.as_u16());
                return Err(ReviewError::new(message));
            }
        }
        let body = Limited::new(response.into_body(), MAX_BYTES).collect().await;
        let body =
            body.map_err(|error| ReviewError::new("the answer breaks off").with_source(error))?;
        Answer::read(&body.to_bytes())
            .ok_or_else(|| ReviewError::new("the answer is no TokenReview"))
    }
}

fn without_client(error: kube_client::Error) -> ReviewError {
    match error {
        // these show the proxy's address, and the password that may be in it
        kube_client::Error::ProxyProtocolDisabled { protocol_feature, .. } => {
            ReviewError::new(format!("a proxy wants kube-client's feature {protocol_feature}"))
        }
        kube_client::Error::ProxyProtocolUnsupported { .. } => {
            ReviewError::new("kube's client knows no such proxy")
        }
        error => ReviewError::new("the client cannot be made").with_source(error),
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
            .field("api_server", &self.config.cluster_url.host())
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
        for proxy in ["socks5://me:hidden@proxy.example:1080", "ftp://me:hidden@proxy.example"] {
            let mut config = Config::new("https://me:hidden@10.96.0.1".parse().unwrap());
            config.proxy_url = Some(proxy.parse().unwrap());
            let reviewer = KubeReviewer::from_config(config).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let Err(error) = runtime.block_on(async { reviewer.client() }) else {
                panic!("{proxy}")
            };
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
