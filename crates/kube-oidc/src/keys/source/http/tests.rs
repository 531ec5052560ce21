//! What a client is made of, and names that resolve late. The rest is in the tests of the system.

use super::*;

/// Plain http needs no provider.
#[cfg(not(feature = "remote"))]
#[tokio::test]
async fn missing_crypto_provider_is_an_error() {
    for (url, words) in [
        ("https://127.0.0.1:1/keys", "missing rustls crypto provider"),
        ("http://127.0.0.1:1/keys", "failed to connect"),
    ] {
        let error = HttpFetcher::new().fetch(FetchRequest::new(url)).await.unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[tokio::test]
async fn url_that_is_not_fetchable_is_an_error_without_its_secrets() {
    for (url, words) in [
        ("https://reader:hidden@127.0.0.1/keys", "unsupported credentials"),
        ("ftp://127.0.0.1/?hidden", "unsupported scheme"),
        ("hidden", "invalid URL"),
        ("https://[hidden/", "invalid URL"),
    ] {
        let error = HttpFetcher::new().fetch(FetchRequest::new(url)).await.unwrap_err();
        let text = format!("{error:?} {}", chain(&error));
        assert!(text.contains(words) && !text.contains("hidden"), "{text}");
    }
}

#[cfg(feature = "remote")]
mod names {
    use std::{
        io::{Read as _, Write as _},
        iter,
        net::{SocketAddr, TcpListener},
        pin::Pin,
        sync::Arc,
        task::{self, Poll},
        thread,
        time::{Duration, Instant, SystemTime},
    };

    use hyper_util::client::legacy::connect::dns::Name;
    use serde_json::json;
    use tokio::{sync::watch, time};
    use tower_service::Service;

    use super::*;
    use crate::{
        Issuer, KeySource, KeysUnavailableCause, Verifier, VerifyError,
        testing::{Signer, key_set, secs},
    };

    const PATIENT: Duration = secs(30);

    /// An issuer whose name resolves when it is let.
    struct Late {
        signer: Signer,
        port: u16,
        let_through: watch::Sender<bool>,
        asked: watch::Receiver<u32>,
        connected: watch::Receiver<u32>,
        fetcher: Arc<HttpFetcher>,
    }

    /// How often it was asked for the name, and whether it may say it.
    #[derive(Clone)]
    struct Resolver {
        asked: watch::Sender<u32>,
        let_through: watch::Receiver<bool>,
    }

    impl Service<Name> for Resolver {
        type Response = iter::Once<SocketAddr>;
        type Error = watch::error::RecvError;
        type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

        fn poll_ready(&mut self, _: &mut task::Context<'_>) -> Poll<Result<(), Self::Error>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, name: Name) -> Self::Future {
            assert_eq!(name.as_str(), "localhost");
            self.asked.send_modify(|asked| *asked += 1);
            let mut let_through = self.let_through.clone();
            Box::pin(async move {
                let_through.wait_for(|let_through| *let_through).await?;
                Ok(iter::once(SocketAddr::from(([127, 0, 0, 1], 0))))
            })
        }
    }

    impl Late {
        fn start() -> Self {
            let signer = Signer::ed25519();
            let set = key_set(&[signer.named("k")]);
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            let (connections, connected) = watch::channel(0);
            thread::spawn(move || {
                for stream in listener.incoming() {
                    let mut stream = stream.unwrap();
                    connections.send_modify(|connected| *connected += 1);
                    let mut head = [0; 4096];
                    let _ = stream.read(&mut head).unwrap();
                    let length = set.len();
                    let head = "HTTP/1.1 200 OK\r\nconnection: close\r\n";
                    write!(stream, "{head}content-length: {length}\r\n\r\n{set}").unwrap();
                }
            });
            let (asked_sender, asked) = watch::channel(0);
            let (let_through, waits) = watch::channel(false);
            let resolver = Resolver { asked: asked_sender, let_through: waits };
            let dialer = Dialer::new(resolver);
            let fetcher = Arc::new(HttpFetcher { dialer, ..HttpFetcher::new() });
            Self { signer, port, let_through, asked, connected, fetcher }
        }

        fn verifier(&self, fetch_timeout: Duration) -> Verifier<serde_json::Value> {
            let url = self.url();
            let keys = KeySource::jwks(format!("{url}/jwks")).via(Arc::clone(&self.fetcher));
            let issuer = Issuer::with_key_source(url.parse().unwrap(), keys);
            let builder = Verifier::builder(issuer).claims().audience("orders");
            builder.fetch_timeout(fetch_timeout).build().unwrap()
        }

        fn url(&self) -> String {
            format!("http://localhost:{}", self.port)
        }

        fn token(&self) -> String {
            let exp = crate::clock::seconds(SystemTime::now()) + 600;
            let payload = json!({ "iss": self.url(), "aud": "orders", "exp": exp });
            self.signer.token(Some("k"), &payload)
        }
    }

    /// Resolves every name to these addresses.
    #[derive(Clone)]
    struct Elsewhere(Vec<SocketAddr>);

    impl Service<Name> for Elsewhere {
        type Response = std::vec::IntoIter<SocketAddr>;
        type Error = std::io::Error;
        type Future = std::future::Ready<Result<Self::Response, Self::Error>>;

        fn poll_ready(&mut self, _: &mut task::Context<'_>) -> Poll<Result<(), Self::Error>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Name) -> Self::Future {
            std::future::ready(Ok(self.0.clone().into_iter()))
        }
    }

    /// RFC 6761, 6.3: plain http is accepted for `localhost`, so that name must stay on loopback.
    // rule: fetch-credentials
    #[tokio::test]
    async fn localhost_that_resolves_elsewhere_is_not_connected_to() {
        let late = Late::start();
        // of RFC 5737, where no host is; another name would time out there
        let elsewhere = SocketAddr::from(([192, 0, 2, 1], 0));
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let fetch = |addresses: &[SocketAddr]| {
            let dialer = Dialer::new(Elsewhere(addresses.to_vec()));
            let fetcher = HttpFetcher { dialer, ..HttpFetcher::new() };
            let request = FetchRequest::new(format!("{}/jwks", late.url()));
            async move { time::timeout(PATIENT, fetcher.fetch(request)).await.expect("an end") }
        };
        for url in [&[elsewhere][..], &[]] {
            let error = chain(&fetch(url).await.unwrap_err());
            assert!(error.contains("`localhost` resolves to no loopback address"), "{error}");
        }
        assert_eq!(*late.connected.borrow(), 0);
        let response = fetch(&[elsewhere, loopback]).await.unwrap();
        assert_eq!((response.status(), *late.connected.borrow()), (200, 1));
    }

    /// Holds the name to come too late.
    async fn refresh_in_vain(verifier: &Verifier<serde_json::Value>) {
        let refreshed = time::timeout(PATIENT, verifier.refresh_keys()).await;
        refreshed.expect("it ends").unwrap_err();
        let error = verifier.status().remove(0).last_error.unwrap().error;
        assert!(error.contains("gave no answer within"), "{error}");
    }

    /// A name for which the time of a fetch is too short: nobody has keys, nobody waits for longer
    /// than that, and the next fetch asks again.
    // rule: fetch-credentials
    #[tokio::test]
    async fn a_name_that_comes_too_late_is_no_answer_until_it_comes_in_time() {
        let late = Late::start();
        let verifier = late.verifier(Duration::from_millis(300));
        let start = Instant::now();
        match verifier.verify(late.token()).await {
            Err(VerifyError::Unavailable(unavailable)) => {
                let causes =
                    [KeysUnavailableCause::FetchFailed, KeysUnavailableCause::FetchTimedOut];
                assert!(causes.contains(&unavailable.cause()), "{unavailable}");
            }
            other => panic!("{other:?}"),
        }
        assert!(start.elapsed() < PATIENT);
        refresh_in_vain(&verifier).await;
        assert!(!verifier.is_ready());
        assert!(*late.asked.borrow() >= 1, "the name was asked for");
        assert_eq!(*late.connected.borrow(), 0, "and nobody else");

        late.let_through.send_replace(true);
        // a busy machine may need longer than that at first
        while verifier.refresh_keys().await.is_err() {
            assert!(start.elapsed() < PATIENT);
        }
        assert!(verifier.is_ready());
        assert!(verifier.verify(late.token()).await.is_ok());

        // in mid-life the last good set stays in use
        late.let_through.send_replace(false);
        let connected = *late.connected.borrow();
        refresh_in_vain(&verifier).await;
        assert!(matches!(verifier.verify_with_cached_keys(late.token()), Some(Ok(_))));
        assert!(verifier.is_ready());
        assert_eq!(*late.connected.borrow(), connected);
    }

    /// A name that comes late, and in time: until then there are no keys, and whoever waits gets
    /// its verdict.
    #[tokio::test]
    async fn a_name_that_comes_late_but_in_time_is_waited_for() {
        let mut late = Late::start();
        let verifier = late.verifier(PATIENT);
        let mut waiting = tokio::spawn({
            let (verifier, token) = (verifier.clone(), late.token());
            async move { verifier.verify(token).await }
        });
        tokio::select! {
            asked = late.asked.wait_for(|asked| *asked == 1) => drop(asked.unwrap()),
            verdict = &mut waiting => panic!("it asked for no name: {verdict:?}"),
        }
        assert!(!verifier.is_ready());
        assert!(verifier.verify_with_cached_keys(late.token()).is_none());
        // so late is the name
        time::sleep(Duration::from_millis(500)).await;
        assert!(!waiting.is_finished());
        assert_eq!(*late.connected.borrow(), 0);

        late.let_through.send_replace(true);
        let verdict = waiting.await.unwrap();
        assert!(verdict.is_ok(), "{verdict:?}");
        assert!(verifier.is_ready());
        assert_eq!(*late.asked.borrow(), 1, "one fetch, and one name");
    }
}
