//! A cluster, a service in front of which every kind of layer is, and its callers.

use std::time::{Duration, SystemTime};

use axum::{Router, routing::any};
use kube_client::Config;
use kube_oidc::{Callers, Verifier, clock::ManualClock, token_review::TokenReviewConfig};
use kube_oidc_testing::{TestIssuer, TokenBuilder};
use kube_oidc_tests::{HttpServer, builder_for, issuer_for, token_for};
use kube_oidc_token_review::KubeReviewer;
use reqwest::{Client, Method};
use tokio::sync::{Mutex, MutexGuard};
use tower_kube_oidc::{AuthorizeLayer, OidcAuthLayer, RequireTokenReviewLayer};

use crate::recorder::recorder;

/// What the recorder counts is everybody's.
static TURN: Mutex<()> = Mutex::const_new(());

pub(crate) async fn turn() -> MutexGuard<'static, ()> {
    let turn = TURN.lock().await;
    recorder();
    turn
}

pub(crate) struct Deployment {
    server: HttpServer,
    pub(crate) client: Client,
    pub(crate) verifier: Verifier,
    pub(crate) issuer: TestIssuer,
    pub(crate) clock: ManualClock,
    /// Given back when everything else is gone.
    _turn: Option<MutexGuard<'static, ()>>,
}

/// The operator's name for the cluster.
pub(crate) const CLUSTER: &str = "blue";

impl Deployment {
    pub(crate) async fn new() -> Self {
        let turn = turn().await;
        Self { _turn: Some(turn), ..Self::without_recorder().await }
    }

    /// For who has a turn, or installs the recorder.
    pub(crate) async fn without_recorder() -> Self {
        let (issuer, clock) = (TestIssuer::start(), ManualClock::at(SystemTime::now()));
        let api_server =
            KubeReviewer::from_config(Config::new(issuer.base_url().parse().unwrap())).unwrap();
        let review = TokenReviewConfig::new(api_server).timeout(Duration::from_secs(30));
        let trusted = issuer_for(&issuer).with_cluster(CLUSTER);
        let verifier =
            builder_for(trusted.with_token_review(review)).clock(clock.clone()).build().unwrap();
        let server = HttpServer::start(service(&verifier)).await;
        Self { server, client: Client::new(), verifier, issuer, clock, _turn: None }
    }

    /// A token that every layer lets through.
    pub(crate) fn good(&self) -> TokenBuilder {
        token_for(&self.issuer)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.server.url())
    }

    /// Asks with this token, and gives back the status of the answer.
    pub(crate) async fn ask(&self, path: &str, token: Option<&str>) -> u16 {
        let mut request = self.client.request(Method::GET, self.url(path));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        request.send().await.unwrap().status().as_u16()
    }

    /// The operator's names, as they are labels.
    pub(crate) fn names(&self) -> [(&str, &str); 2] {
        [("issuer", self.issuer.url()), ("cluster", CLUSTER)]
    }
}

fn service(verifier: &Verifier) -> Router {
    let layer = || OidcAuthLayer::builder_for(verifier.clone());
    let payments = Callers::cluster(CLUSTER).namespace("payments");
    let policy = || AuthorizeLayer::only(payments.clone()).unwrap();
    let reviewed = || RequireTokenReviewLayer::new(verifier).unwrap();
    let ok = || any(|| async { "ok" });
    Router::new()
        .route("/open", ok())
        .route("/whoami", ok())
        .route("/policy", ok().layer(policy()))
        .route("/reviewed", ok().layer(reviewed()))
        .layer(layer().add_open_path("/open").build().unwrap())
        .merge(
            Router::new()
                .route("/optional", ok())
                .route("/optional/reviewed", ok().layer(reviewed()))
                .route_layer(layer().optional().build().unwrap()),
        )
        .merge(
            Router::new()
                .route("/report", ok())
                .route("/report/policy", ok().layer(policy()))
                .route_layer(layer().dangerous_report_only().build().unwrap()),
        )
        .route("/nobody/policy", ok().layer(policy()))
}
