//! [`TestIssuer`]: keys, a server, and the switches to turn.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    key::{SigningAlgorithm, SigningKey},
    port::Port,
    server::{MockResponse, RecordedRequest, Server, Transport},
    token::TokenBuilder,
    token_review::{self, Deleted},
};

/// A real issuer on loopback: see the [crate's page](crate).
#[derive(Debug)]
pub struct TestIssuer {
    name: String,
    base_url: String,
    jwks_uri: String,
    #[cfg(feature = "tls")]
    ca_pem: Option<String>,
    shared: Arc<Shared>,
    transport: Transport,
    port: Port,
    /// `None` while it is down.
    server: Mutex<Option<Server>>,
}

/// What an issuer serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Endpoint {
    /// The provider metadata.
    Discovery,
    /// The key set.
    Jwks,
    /// Where its cluster's API server is asked about tokens.
    TokenReview,
}

/// How many of the last requests are kept: whoever reaches the port may send any number.
const HISTORY: usize = 1_000;

struct Shared {
    discovery_path: String,
    keys_path: String,
    state: Mutex<State>,
    /// Told of each request.
    asked: Condvar,
}

struct State {
    /// The last one signs.
    keys: Vec<SigningKey>,
    documents: HashMap<Endpoint, MockResponse>,
    /// In place of what would be served.
    overrides: HashMap<Endpoint, MockResponse>,
    bearer_token: Option<String>,
    deleted: Deleted,
    seen: VecDeque<RecordedRequest>,
    fetches: HashMap<Endpoint, usize>,
}

/// Makes a [`TestIssuer`] that differs from the usual one.
#[derive(Clone, Debug)]
#[must_use]
pub struct TestIssuerBuilder {
    algorithm: SigningAlgorithm,
    origin: Option<String>,
    path: String,
    keys_path: String,
    address: SocketAddr,
    tls: bool,
}

impl TestIssuer {
    /// An issuer with one RS256 key, on a free port of 127.0.0.1.
    #[must_use]
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// Begins an issuer that differs from the usual one.
    pub fn builder() -> TestIssuerBuilder {
        TestIssuerBuilder {
            algorithm: SigningAlgorithm::Rs256,
            origin: None,
            path: String::new(),
            keys_path: "/openid/v1/jwks".to_owned(),
            address: (Ipv4Addr::LOCALHOST, 0).into(),
            tls: false,
        }
    }

    /// The issuer, as it stands in the `iss` of its tokens.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.name
    }

    /// Where it really listens: scheme, host and port.
    #[must_use]
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// Where its keys are, by its own account.
    #[must_use]
    pub fn jwks_uri(&self) -> &str {
        &self.jwks_uri
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// The certificate authority to trust.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        self.ca_pem.as_deref().expect("an issuer that was built with tls()")
    }

    /// Begins a token, signed by the newest key.
    pub fn token(&self) -> TokenBuilder {
        TokenBuilder::new(&self.name, self.signing_key())
    }

    /// The key that signs.
    #[must_use]
    pub fn signing_key(&self) -> SigningKey {
        self.state().keys.last().cloned().expect("an issuer has a key")
    }

    /// Signs with a new key from now on; the old ones stay in the key set.
    pub fn rotate(&self) {
        self.rotate_to(SigningKey::generate(self.signing_key().algorithm()));
    }

    /// Signs with this key from now on; the old ones stay in the key set.
    pub fn rotate_to(&self, key: SigningKey) {
        let mut state = self.state();
        state.keys.push(key);
        state.publish();
    }

    /// Takes all keys but the newest out of the key set.
    pub fn drop_old_keys(&self) {
        let mut state = self.state();
        let newest = state.keys.pop();
        state.keys = newest.into_iter().collect();
        state.publish();
    }

    /// The key set as it is served.
    #[must_use]
    pub fn key_set(&self) -> Value {
        self.state().key_set()
    }

    /// Answers so from now on, whatever it would have served.
    pub fn respond_with(&self, endpoint: Endpoint, response: MockResponse) {
        self.state().overrides.insert(endpoint, response);
    }

    /// Serves what it should again.
    pub fn reset_response(&self, endpoint: Endpoint) {
        self.state().overrides.remove(&endpoint);
    }

    /// Goes away: connections end, and new ones are refused. On Linux nobody else is given its port
    /// meanwhile.
    pub fn stop(&self) {
        drop(self.server().take());
    }

    /// Comes back, where it was.
    ///
    /// # Panics
    ///
    /// If another program has taken its port meanwhile.
    pub fn restart(&self) {
        let mut server = self.server();
        if server.is_none() {
            *server = Some(self.shared.serve(self.port.listen(), self.transport.clone()));
        }
    }

    fn server(&self) -> MutexGuard<'_, Option<Server>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers readers of its documents, and who asks about tokens, with 403 unless they send this
    /// bearer token, and with 401 if they send another, as a kube-apiserver does.
    pub fn require_bearer_token(&self, token: &str) {
        self.state().bearer_token = Some(token.to_owned());
    }

    /// Returns the requests that reached it, at most the last 1,000.
    #[must_use]
    pub fn received_requests(&self) -> Vec<RecordedRequest> {
        self.state().seen.iter().cloned().collect()
    }

    /// How many requests for its keys reached it so far.
    #[must_use]
    pub fn key_fetches(&self) -> usize {
        self.fetches(Endpoint::Jwks)
    }

    /// How many requests for its discovery document reached it so far.
    #[must_use]
    pub fn discovery_fetches(&self) -> usize {
        self.fetches(Endpoint::Discovery)
    }

    /// Deletes a pod, by its name: a [`TokenReview`](Endpoint::TokenReview) refuses the tokens that
    /// are bound to it from now on. Offline they stay good.
    pub fn delete_pod(&self, name: &str) {
        self.state().deleted.pod(name);
    }

    /// Deletes a service account: the same for all of its tokens.
    pub fn delete_service_account(&self, namespace: &str, name: &str) {
        self.state().deleted.service_account(namespace, name);
    }

    /// How many times it was asked about a token so far.
    #[must_use]
    pub fn token_reviews(&self) -> usize {
        self.fetches(Endpoint::TokenReview)
    }

    /// Waits until as many requests for its keys reached it, and blocks the thread meanwhile.
    ///
    /// # Panics
    ///
    /// They did not within 30 seconds.
    pub fn wait_for_key_fetches(&self, count: usize) {
        let fetches = |state: &State| state.fetches(Endpoint::Jwks);
        let state = self.state();
        let (state, waited) = self
            .shared
            .asked
            .wait_timeout_while(state, Duration::from_secs(30), |state| fetches(state) < count)
            .unwrap_or_else(PoisonError::into_inner);
        assert!(!waited.timed_out(), "{} of {count} key fetches came", fetches(&state));
    }

    fn fetches(&self, endpoint: Endpoint) -> usize {
        self.state().fetches(endpoint)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }
}

impl TestIssuerBuilder {
    /// Signs with this algorithm.
    pub fn algorithm(mut self, algorithm: SigningAlgorithm) -> Self {
        self.algorithm = algorithm;
        self
    }

    /// Speaks of itself as if it lived at this origin, in its tokens and its discovery document:
    /// `https://oidc.eks.eu-west-1.amazonaws.com` and the like. It is for whoever reads it to map
    /// that to [`base_url`](TestIssuer::base_url).
    pub fn origin(mut self, origin: &str) -> Self {
        self.origin = Some(origin.to_owned());
        self
    }

    /// Lives under this path, such as `/id/EXAMPLE` or, with a slash at the end, `/tenant/`.
    pub fn path(mut self, path: &str) -> Self {
        path.clone_into(&mut self.path);
        self
    }

    /// Serves its keys at this path: `/openid/v1/jwks` unless set.
    pub fn keys_path(mut self, path: &str) -> Self {
        path.clone_into(&mut self.keys_path);
        self
    }

    /// Listens at this address: a free port of 127.0.0.1 unless set.
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.address = address;
        self
    }

    /// Serves over TLS, with a certificate for `localhost`, 127.0.0.1 and `::1`.
    #[cfg(feature = "tls")]
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Starts it.
    #[must_use]
    pub fn start(self) -> TestIssuer {
        #[cfg(feature = "tls")]
        let authority = self.tls.then(crate::tls::Authority::new);
        #[cfg(feature = "tls")]
        let transport = authority
            .as_ref()
            .map_or(Transport::Plain, |authority| Transport::Tls(authority.acceptor.clone()));
        #[cfg(not(feature = "tls"))]
        let transport = Transport::Plain;

        let (port, listener) = Port::take(self.address);
        let address = port.address();
        let scheme = if self.tls { "https" } else { "http" };
        let base_url = format!("{scheme}://{address}");
        let origin = self.origin.as_deref().unwrap_or(&base_url);
        let name = format!("{origin}{}", self.path);
        let jwks_uri = format!("{origin}{}", self.keys_path);
        let discovery = json!({
            "issuer": name,
            "jwks_uri": jwks_uri,
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [self.algorithm.name()],
        });
        let mut state = State {
            keys: vec![SigningKey::generate(self.algorithm)],
            documents: HashMap::from([(
                Endpoint::Discovery,
                MockResponse::json(discovery.to_string()),
            )]),
            overrides: HashMap::new(),
            bearer_token: None,
            deleted: Deleted::default(),
            seen: VecDeque::new(),
            fetches: HashMap::new(),
        };
        state.publish();
        let path = self.path.strip_suffix('/').unwrap_or(&self.path);
        let shared = Arc::new(Shared {
            discovery_path: format!("{path}/.well-known/openid-configuration"),
            keys_path: self.keys_path,
            state: Mutex::new(state),
            asked: Condvar::new(),
        });
        let server = shared.serve(listener, transport.clone());
        TestIssuer {
            name,
            base_url,
            jwks_uri,
            #[cfg(feature = "tls")]
            ca_pem: authority.map(|authority| authority.ca_pem),
            shared,
            transport,
            port,
            server: Mutex::new(Some(server)),
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(self: &Arc<Self>, listener: TcpListener, transport: Transport) -> Server {
        let handler = Arc::clone(self);
        Server::start(listener, transport, Arc::new(move |request| handler.answer(request)))
    }

    fn answer(&self, request: RecordedRequest) -> MockResponse {
        let answer = self.choose(request);
        self.asked.notify_all();
        answer
    }

    fn choose(&self, request: RecordedRequest) -> MockResponse {
        let mut state = self.state();
        let endpoint = if request.path == self.discovery_path {
            Endpoint::Discovery
        } else if request.path == self.keys_path {
            Endpoint::Jwks
        } else if request.path == token_review::PATH {
            Endpoint::TokenReview
        } else {
            state.note(request);
            return MockResponse::new(404, "not found");
        };
        let asked = request.body.clone();
        let authorization = request.header("authorization").map(str::to_owned);
        state.note(request);
        *state.fetches.entry(endpoint).or_default() += 1;
        let wanted = state.bearer_token.as_ref().map(|token| format!("Bearer {token}"));
        match (wanted, authorization) {
            (Some(_), None) => return MockResponse::new(403, r#"{"kind":"Status","code":403}"#),
            (Some(wanted), Some(sent)) if sent != wanted => {
                return MockResponse::new(401, r#"{"kind":"Status","code":401}"#);
            }
            _ => {}
        }
        let answer = state.overrides.get(&endpoint).or_else(|| state.documents.get(&endpoint));
        match answer {
            Some(answer) => answer.clone(),
            None => state.deleted.review(&asked),
        }
    }
}

impl State {
    fn key_set(&self) -> Value {
        json!({ "keys": self.keys.iter().map(SigningKey::jwk).collect::<Vec<_>>() })
    }

    fn note(&mut self, request: RecordedRequest) {
        if self.seen.len() == HISTORY {
            self.seen.pop_front();
        }
        self.seen.push_back(request);
    }

    fn fetches(&self, endpoint: Endpoint) -> usize {
        self.fetches.get(&endpoint).copied().unwrap_or_default()
    }

    fn publish(&mut self) {
        let answer = MockResponse::json(self.key_set().to_string());
        self.documents.insert(Endpoint::Jwks, answer);
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("discovery_path", &self.discovery_path)
            .field("keys_path", &self.keys_path)
            .finish_non_exhaustive()
    }
}
