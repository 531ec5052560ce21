//! A pod's own view of its cluster, against an https server with its own authority that plays the
//! API server.

use std::{
    future::ready,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{Router, extract::Request, http::StatusCode};
use kube_oidc::{
    InClusterError, Issuer, KeySource, Reason, Verifier, VerifierBuilder, VerifyError,
    source::HttpFetcher,
};
use kube_oidc_testing::{Endpoint, MockResponse, SigningAlgorithm, SigningKey, TestIssuer};
use kube_oidc_tests::{
    Capture, HttpServer, Judge as _, TempFolder, api_server_issuer, builder_for, issuer_at_with,
    issuer_via, rejection, token_for, verifier_for,
};
use tower_kube_oidc::{OidcAuthLayer, OidcAuthLayerError};

const CLUSTER: &str = "https://oidc.eks.eu-west-1.amazonaws.com";

/// An API server that tells a public issuer, and the files of a pod that may read its keys.
struct Pod {
    api_server: TestIssuer,
    folder: TempFolder,
}

impl Pod {
    fn new() -> Self {
        let api_server = TestIssuer::builder().tls().origin(CLUSTER).start();
        api_server.require_bearer_token("token-of-the-pod");
        let folder = TempFolder::with_service_account(api_server.ca_pem(), "token-of-the-pod");
        Self { api_server, folder }
    }

    fn issuer(&self) -> Issuer {
        api_server_issuer(self.api_server.base_url(), &self.folder)
    }

    fn builder(&self) -> VerifierBuilder {
        builder_for(self.issuer()).dangerous_no_unknown_kid_cooldown()
    }

    fn token(&self) -> String {
        token_for(&self.api_server).mint()
    }

    /// The API server tells this name from now on.
    fn rename(&self, name: &str) {
        let document = format!(r#"{{"issuer":"{name}","jwks_uri":"https://10.0.0.1/private"}}"#);
        self.api_server.respond_with(Endpoint::Discovery, MockResponse::new(200, document));
    }
}

#[tokio::test]
async fn only_an_audience_has_to_be_known() {
    let pod = Pod::new();
    let verifier = pod.builder().build().unwrap();
    let caller = verifier.judge(&pod.token()).await.unwrap();
    assert_eq!((caller.issuer(), caller.namespace()), (CLUSTER, "payments"));
    let paths: Vec<String> =
        pod.api_server.received_requests().into_iter().map(|request| request.path).collect();
    assert_eq!(paths, ["/.well-known/openid-configuration", "/openid/v1/jwks"]);
    let status = verifier.status().remove(0);
    assert_eq!(status.issuer, pod.api_server.base_url());
    assert_eq!(status.reported_name.as_deref(), Some(CLUSTER));

    // once the name is learned, another one is refused without a fetch
    let other = pod.api_server.token().audience("orders").claim("iss", "https://other.example");
    let stranger = SigningKey::generate(SigningAlgorithm::EdDsa);
    let other = other.signed_by(&stranger).mint();
    assert_eq!(rejection(&verifier, &other).await, Some(Reason::UnknownIssuer));
    assert_eq!(pod.api_server.received_requests().len(), 2);
}

#[tokio::test]
async fn before_the_name_is_learned_a_token_of_another_is_refused_all_the_same() {
    let pod = Pod::new();
    let verifier = pod.builder().build().unwrap();
    let minted = |iss: &str| pod.api_server.token().audience("orders").claim("iss", iss).mint();
    // well signed by the cluster's key, in another name, and the address is no name either
    for name in ["https://other.example", pod.api_server.base_url()] {
        let verifier = pod.builder().build().unwrap();
        assert_eq!(
            rejection(&verifier, &minted(name)).await,
            Some(Reason::UnknownIssuer),
            "{name}"
        );
    }
    assert_eq!(rejection(&verifier, &pod.token()).await, None);
}

#[tokio::test]
async fn the_advertised_jwks_uri_is_not_read() {
    // on EKS it has named a private node
    let pod = Pod::new();
    pod.rename(CLUSTER);
    let verifier = pod.builder().build().unwrap();
    assert_eq!(rejection(&verifier, &pod.token()).await, None);
}

#[tokio::test]
async fn a_key_is_distrusted_whatever_its_issuer_is_called_at_the_time() {
    const NEW: &str = "https://new.example";
    let pod = Pod::new();
    let leaked = pod.api_server.signing_key();
    let new = pod.api_server.token().audience("orders").claim("iss", NEW).mint();
    for name in [CLUSTER, pod.api_server.base_url()] {
        // before the name is learned, and by the address as well
        let verifier = pod.builder().build().unwrap();
        verifier.distrust_key(name, leaked.kid());
        assert_eq!(rejection(&verifier, &pod.token()).await, Some(Reason::DistrustedKey), "{name}");
    }
    // it stays so when the name changes, and when the former name has ended
    for distrusted_before in [false, true] {
        pod.rename(CLUSTER);
        let issuer = pod.issuer().accept_former_names_for(std::time::Duration::ZERO);
        let verifier = verifier_for(issuer);
        if distrusted_before {
            verifier.distrust_key(CLUSTER, leaked.kid());
        }
        verifier.refresh_keys().await.unwrap();
        pod.rename(NEW);
        verifier.refresh_keys().await.unwrap();
        if !distrusted_before {
            assert_eq!(rejection(&verifier, &new).await, None);
            // by its former name
            verifier.distrust_key(CLUSTER, leaked.kid());
        }
        assert_eq!(rejection(&verifier, &new).await, Some(Reason::DistrustedKey));
        assert_eq!(rejection(&verifier, &pod.token()).await, Some(Reason::UnknownIssuer));
        // and when the name is forgotten, because the API server reported many others
        for index in 0..8 {
            pod.rename(&format!("https://{index}.example"));
            verifier.refresh_keys().await.unwrap();
        }
        pod.rename(NEW);
        verifier.refresh_keys().await.unwrap();
        assert_eq!(rejection(&verifier, &new).await, Some(Reason::DistrustedKey));
        assert!(verifier.remove_issuer(pod.api_server.base_url()));
        assert_eq!(rejection(&verifier, &new).await, Some(Reason::UnknownIssuer));
    }
}

#[tokio::test]
async fn one_cluster_may_be_known_in_two_ways() {
    let pod = Pod::new();
    let by_name = issuer_at_with(
        CLUSTER,
        KeySource::jwks(pod.api_server.jwks_uri().replace(CLUSTER, pod.api_server.base_url())).via(
            HttpFetcher::new()
                .with_root_certificates_pem(pod.api_server.ca_pem())
                .unwrap()
                .with_bearer_token("token-of-the-pod")
                .unwrap(),
        ),
    );
    let build = |cluster: &'static str| {
        let builder = Verifier::builder(pod.issuer().with_cluster("red"));
        builder
            .add_issuer(by_name.clone().with_cluster(cluster))
            .audience("orders")
            .build()
            .unwrap()
    };
    // they have all keys in common, and whoever of them it is, the token is of that cluster
    let same = build("red");
    same.refresh_keys().await.unwrap();
    assert_eq!(same.judge(pod.token()).await.unwrap().cluster(), Some("red"));
    // what was not known when it was built is known now
    let again = same.add_issuer(by_name.clone().with_cluster("red"));
    assert!(matches!(again, Err(kube_oidc::BuildError::DuplicateIssuer(_))), "{again:?}");
    // of two clusters, the one that is configured with the name has the key
    let log = kube_oidc_tests::Log::catch();
    let different = build("blue");
    different.refresh_keys().await.unwrap();
    for _ in 0..3 {
        assert_eq!(different.judge(pod.token()).await.unwrap().cluster(), Some("blue"));
    }
    let kid = pod.api_server.signing_key().kid().to_owned();
    assert_eq!(log.lines_with(&[" WARN ", "list one key", &kid]).len(), 1);
}

#[tokio::test]
async fn a_name_without_measure_is_not_learned() {
    let pod = Pod::new();
    pod.rename(&"n".repeat(2049));
    let verifier = pod.builder().build().unwrap();
    assert_eq!(rejection(&verifier, &pod.token()).await, Some(Reason::KeysUnavailable));
    pod.rename(CLUSTER);
    verifier.refresh_keys().await.unwrap();
    assert_eq!(rejection(&verifier, &pod.token()).await, None);
}

#[tokio::test]
async fn the_captured_refusals_of_an_api_server_are_unavailable() {
    for (capture, status, words) in [
        ("jwks.anonymous-403.http", 403, "system:service-account-issuer-discovery"),
        ("jwks.bad-token-401.http", 401, "the credentials were sent and not accepted"),
    ] {
        let pod = Pod::new();
        let refusal = MockResponse::new(status, Capture::read(capture).body);
        pod.api_server.respond_with(Endpoint::Jwks, refusal);
        let verifier = pod.builder().build().unwrap();
        let error = verifier.judge(&pod.token()).await.unwrap_err();
        assert!(matches!(error, VerifyError::Unavailable(_)), "{error}");
        let error = verifier.status()[0].last_error.clone().unwrap().error;
        assert!(error.contains(words), "{error}");
    }
}

#[tokio::test]
async fn a_token_that_the_kubelet_rotated_is_used() {
    let pod = Pod::new();
    let verifier = pod.builder().build().unwrap();
    assert_eq!(rejection(&verifier, &pod.token()).await, None);
    pod.api_server.require_bearer_token("rotated");
    pod.api_server.rotate();
    pod.folder.write("token", "rotated");
    assert_eq!(rejection(&verifier, &pod.token()).await, None);
}

#[test]
fn what_is_missing_is_named() {
    // this process is no pod
    let error = Issuer::in_cluster().unwrap_err();
    assert_eq!(error, InClusterError::NotInPod("KUBERNETES_SERVICE_HOST"));
    assert!(matches!(OidcAuthLayer::in_cluster("orders"), Err(OidcAuthLayerError::InCluster(_))));

    let pod = Pod::new();
    for file in ["token", "ca.crt"] {
        std::fs::remove_file(pod.folder.path().join(file)).unwrap();
        let error = HttpFetcher::in_cluster_at(pod.folder.path()).unwrap_err();
        assert!(error.to_string().contains("automountServiceAccountToken: false"), "{error}");
    }
}

/// An API server whose signing key was removed accepts no token that it signed, the reader's own
/// included. Anonymous readers may still be allowed.
// rule: anonymous-read
#[tokio::test]
async fn rejected_token_of_the_pod_is_left_out_where_anonymous_readers_are_allowed() {
    let pod = Pod::new();
    let issuer = TestIssuer::start();
    let (document, keys) = (Arc::new(Mutex::new(String::new())), issuer.key_set().to_string());
    let requests = Arc::new(Mutex::new(Vec::new()));
    let forbids_anonymous = Arc::new(AtomicBool::new(false));
    let app = Router::new().fallback({
        let (document, requests) = (Arc::clone(&document), Arc::clone(&requests));
        let forbids_anonymous = Arc::clone(&forbids_anonymous);
        move |request: Request| {
            let (path, headers) = (request.uri().path().to_owned(), request.headers());
            let token = headers.get("authorization").map(|value| value.to_str().unwrap());
            requests.lock().unwrap().push(token.is_some());
            let body = match &*path {
                "/openid/v1/jwks" => keys.clone(),
                _ => document.lock().unwrap().clone(),
            };
            ready(match token {
                Some("Bearer token-of-the-pod") => (StatusCode::UNAUTHORIZED, String::new()),
                None if forbids_anonymous.load(Ordering::SeqCst) => {
                    (StatusCode::FORBIDDEN, String::new())
                }
                _ => (StatusCode::OK, body),
            })
        }
    });
    let server = HttpServer::start(app).await;
    *document.lock().unwrap() =
        format!(r#"{{"issuer":"{}","jwks_uri":"https://10.0.0.1/private"}}"#, issuer.url());
    let trusted = api_server_issuer(&server.url(), &pod.folder);
    let verifier = verifier_for(trusted);
    let token = || issuer.token().audience("orders").mint();
    assert!(verifier.judge(&token()).await.is_ok());
    // the document with the token and without, then the keys
    let take = || std::mem::take(&mut *requests.lock().unwrap());
    assert_eq!(take(), [true, false, false]);
    verifier.refresh_keys().await.unwrap();
    assert_eq!(take(), [false, false], "the document too: nothing new came");
    // the kubelet replaced the token, and anonymous readers are not allowed any more
    forbids_anonymous.store(true, Ordering::SeqCst);
    pod.folder.write("token", "a-new-token");
    verifier.refresh_keys().await.unwrap();
    assert_eq!(take()[..2], [false, true]);
}

/// Only the pod's own token may be left out: another issuer's credentials are configured for it.
// rule: anonymous-read
#[tokio::test]
async fn rejected_credentials_of_other_issuers_are_not_left_out() {
    let issuer = TestIssuer::start();
    issuer.require_bearer_token("right");
    let trusted = issuer_via(&issuer, HttpFetcher::new().with_bearer_token("wrong").unwrap());
    let verifier = verifier_for(trusted);
    verifier.refresh_keys().await.unwrap_err();
    assert_eq!(issuer.received_requests().len(), 1);
}
