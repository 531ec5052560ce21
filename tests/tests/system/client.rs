//! The calling side: who is sent a token, and which.

use std::{
    collections::HashSet,
    error::Error,
    fmt::Debug,
    fs, iter,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use axum::{Router, extract::Request, response::IntoResponse as _, routing::get};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Response, StatusCode, Uri,
    header::{AUTHORIZATION, HOST, LOCATION},
};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use kube_oidc_testing::{TestIssuer, TokenBuilder};
use kube_oidc_tests::{GrpcServer, HttpServer, Log, WhoAmI, pinned_time};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{Barrier, Semaphore},
    task::{JoinHandle, JoinSet},
};
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint, Server},
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tower::{Layer as _, ServiceExt as _};
use tower_http::follow_redirect::{FollowRedirectLayer, policy::Limited};
use tower_kube_oidc::{
    CallError, Caller, OidcAuthLayer, Origin, ServiceAccountTokenLayer, TokenError, TokenFileError,
    TokenForOrigin,
    clock::{Clock as _, ManualClock},
};

/// How long a token is used before its file is read again.
const MINUTE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

/// Stands in every token, and is to be seen nowhere.
const SECRET: &str = "private-value-of-a-caller";

/// A projected volume as the kubelet keeps it: `token` leads through `..data`, which is swapped.
///
/// When it goes, nothing of what it ever held may be in the log.
struct Volume {
    folder: PathBuf,
    held: Mutex<Vec<Vec<u8>>>,
    versions: AtomicUsize,
    log: Log,
    log_before: usize,
}

impl Volume {
    /// A volume whose token is still to come.
    fn new() -> Self {
        let log = Log::catch();
        let folder = std::env::temp_dir().join(format!("kube-oidc-volume-{}", fastrand::u64(..)));
        fs::create_dir_all(&folder).unwrap();
        std::os::unix::fs::symlink("..data/token", folder.join("token")).unwrap();
        let log_before = log.text().len();
        Self { folder, held: Mutex::default(), versions: AtomicUsize::new(0), log, log_before }
    }

    fn holding(token: impl AsRef<[u8]>) -> Self {
        let volume = Self::new();
        volume.publish(token);
        volume
    }

    fn token_file(&self) -> PathBuf {
        self.folder.join("token")
    }

    fn layer(&self) -> TokenForOrigin {
        ServiceAccountTokenLayer::from_file(self.token_file())
    }

    /// Replaces the token at a stroke.
    fn publish(&self, content: impl AsRef<[u8]>) {
        let content = content.as_ref();
        self.held.lock().unwrap().push(content.to_vec());
        self.swap(|file| fs::write(file, content).unwrap());
    }

    fn swap(&self, write: impl FnOnce(&Path)) {
        let version = format!("..{}", self.versions.fetch_add(1, Ordering::Relaxed));
        fs::create_dir(self.folder.join(&version)).unwrap();
        write(&self.folder.join(&version).join("token"));
        let (data, next) = (self.folder.join("..data"), self.folder.join("..data_tmp"));
        let old = fs::canonicalize(&data).ok();
        std::os::unix::fs::symlink(version, &next).unwrap();
        fs::rename(next, data).unwrap();
        if let Some(old) = old {
            fs::remove_dir_all(old).unwrap();
        }
    }

    /// A piece of what the volume ever held, or the value that is in every token, if a text has one.
    fn shown_in(&self, text: &str) -> Option<String> {
        if let Some(line) = text.lines().find(|line| line.contains(SECRET)) {
            return Some(line.to_owned());
        }
        let held = self.held.lock().unwrap();
        let pieces: HashSet<&[u8]> = held.iter().flat_map(|held| held.windows(CHANCE)).collect();
        let words = text.as_bytes().split(|byte| !is_of_a_token(*byte));
        let shown =
            words.flat_map(|word| word.windows(CHANCE)).find(|piece| pieces.contains(piece));
        shown.map(|piece| String::from_utf8_lossy(piece).into_owned())
    }

    fn assert_hidden_in(&self, text: &str) {
        assert_eq!(self.shown_in(text), None);
    }
}

/// As long as a piece may be that stands somewhere by chance.
const CHANCE: usize = 16;

fn is_of_a_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)
}

impl Drop for Volume {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
        if !std::thread::panicking() {
            self.assert_hidden_in(&self.log.text()[self.log_before..]);
        }
    }
}

/// A server that was named: it remembers the `Authorization` of each request.
struct Named {
    server: HttpServer,
    seen: Arc<Mutex<Vec<Vec<String>>>>,
}

impl Named {
    async fn start() -> Self {
        Self::answering(StatusCode::OK, "").await
    }

    /// Answers every request with this status and a place to go to.
    async fn answering(status: StatusCode, location: &str) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (here, location) = (Arc::clone(&seen), HeaderValue::from_str(location).unwrap());
        let app = Router::new().fallback(async move |request: Request| {
            let sent = request.headers().get_all(AUTHORIZATION).iter();
            here.lock().unwrap().push(sent.map(|value| value.to_str().unwrap().into()).collect());
            (status, [(LOCATION, location)]).into_response()
        });
        Self { server: HttpServer::start(app).await, seen }
    }

    fn address(&self) -> SocketAddr {
        self.server.address()
    }

    fn url(&self) -> String {
        self.server.url()
    }

    fn origin(&self) -> Origin {
        origin(&self.url())
    }

    /// What came with each request since this was asked last.
    fn seen(&self) -> Vec<Vec<String>> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

/// A server that nobody named: it counts connections, before a byte is read of them.
struct Stranger {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Stranger {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let task = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    let _ = stream.read(&mut [0; 4096]).await;
                    let answer =
                        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                    let _ = stream.write_all(answer.as_bytes()).await;
                });
            }
        });
        Self { address, connections, task }
    }

    /// Nobody has ever connected to it.
    async fn assert_untouched(&self) {
        // connections are accepted one after the other, so this one is the first or the last
        let mut own = TcpStream::connect(self.address).await.unwrap();
        own.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        own.read_to_end(&mut Vec::new()).await.unwrap();
        assert_eq!(self.connections.swap(0, Ordering::SeqCst), 1, "somebody called the stranger");
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Http = Client<HttpConnector, Full<Bytes>>;
type Answered = Result<Response<Incoming>, CallError>;

fn http() -> Http {
    let mut connector = HttpConnector::new();
    // it would speak in the clear to an https origin too
    connector.enforce_http(false);
    Client::builder(TokioExecutor::new()).build(connector)
}

fn request(uri: impl AsRef<str>) -> Request<Full<Bytes>> {
    Request::get(uri.as_ref()).body(Full::default()).unwrap()
}

async fn send(layer: &ServiceAccountTokenLayer, request: Request<Full<Bytes>>) -> Answered {
    layer.layer(http()).oneshot(request).await
}

async fn get_url(layer: &ServiceAccountTokenLayer, uri: impl AsRef<str>) -> Answered {
    send(layer, request(uri)).await
}

async fn grpc<S>(mut client: HealthClient<S>) -> Result<String, Status>
where
    S: tonic::client::GrpcService<
            tonic::body::Body,
            ResponseBody = tonic::body::Body,
            Error = CallError,
        >,
{
    let answer = client.check(HealthCheckRequest::default()).await?;
    Ok(answer.metadata().get("x-caller").unwrap().to_str().unwrap().to_owned())
}

fn channel(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy()
}

fn not_sent<T: Debug>(answered: Result<T, CallError>) -> TokenError {
    match answered {
        Err(CallError::Token(error)) => error,
        other => panic!("{other:?}"),
    }
}

/// The same of a gRPC client, which makes a status of every error.
fn not_sent_by_grpc(answered: Result<String, Status>) -> TokenError {
    let status = answered.unwrap_err();
    let error = status.source().unwrap().downcast_ref::<CallError>().unwrap();
    assert_eq!((status.code(), status.message()), (Code::Unknown, &*error.to_string()));
    match error {
        CallError::Token(error) => error.clone(),
        other => panic!("{other:?}"),
    }
}

/// An error with all its causes, for people and for programmers.
fn shown(error: &(dyn Error + 'static)) -> String {
    let chain = iter::successors(Some(error), |error| (*error).source());
    chain.map(|error| format!("{error} {error:?}")).collect::<Vec<_>>().join("\n")
}

fn origin(text: &str) -> Origin {
    text.parse().unwrap()
}

fn minted(issuer: &TestIssuer) -> TokenBuilder {
    issuer.token().audience("orders").service_account("payments", "checkout").claim("x", SECRET)
}

fn bearer(token: &str) -> Vec<String> {
    vec![format!("Bearer {token}")]
}

fn protection(issuer: &TestIssuer) -> OidcAuthLayer {
    OidcAuthLayer::new(issuer.url().parse().unwrap()).audience("orders")
}

async fn grpc_callee(issuer: &TestIssuer) -> GrpcServer {
    let layer = protection(issuer).build().unwrap();
    GrpcServer::start(|incoming| {
        Server::builder().layer(layer).add_service(WhoAmI::server()).serve_with_incoming(incoming)
    })
    .await
}

async fn http_callee(issuer: &TestIssuer) -> HttpServer {
    let who = async |Caller(who): Caller| who.subject().to_owned();
    HttpServer::start(Router::new().route("/", get(who)).layer(protection(issuer))).await
}

async fn text(answered: Answered) -> String {
    let answer = answered.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().into()).unwrap()
}

#[tokio::test]
async fn a_call_says_who_calls() {
    let issuer = TestIssuer::start();
    let server = http_callee(&issuer).await;
    let volume = Volume::holding(minted(&issuer).mint());
    let layer = volume.layer().for_origin(origin(&server.url()));
    let answered = get_url(&layer, server.url()).await;
    assert_eq!(text(answered).await, "system:serviceaccount:payments:checkout");
}

#[tokio::test]
async fn a_call_over_a_channel_says_who_calls() {
    let issuer = TestIssuer::start();
    let server = grpc_callee(&issuer).await;
    let volume = Volume::holding(minted(&issuer).mint());
    let layer = volume.layer().for_channel_to(origin(&server.url()));
    let channel = channel(server.address());
    assert_eq!(
        grpc(HealthClient::new(layer.layer(channel.clone()))).await.unwrap(),
        "payments/checkout"
    );
    // a client that says where it goes
    let uri: Uri = server.url().parse().unwrap();
    let client = HealthClient::with_origin(layer.layer(channel.clone()), uri);
    assert_eq!(grpc(client).await.unwrap(), "payments/checkout");
    // beside the tokens for others
    let other = Volume::holding(issuer.token().audience("ledger").mint());
    let layer = other.layer().for_origin(origin("https://ledger.shop.svc")).and(layer);
    assert_eq!(grpc(HealthClient::new(layer.layer(channel))).await.unwrap(), "payments/checkout");
}

#[tokio::test]
async fn no_host_but_the_named_one_sees_anything() {
    let issuer = TestIssuer::start();
    let (named, stranger) = (Named::start().await, Stranger::start().await);
    let (n, s) = (named.address().port(), stranger.address.port());
    let volume = Volume::holding(minted(&issuer).mint());
    let layer = volume.layer().for_origin(named.origin());
    for (uri, goes_to) in [
        // another port, another scheme, no port
        (format!("http://127.0.0.1:{s}"), format!("http://127.0.0.1:{s}")),
        (format!("https://127.0.0.1:{n}"), format!("https://127.0.0.1:{n}")),
        (format!("https://127.0.0.1:{s}"), format!("https://127.0.0.1:{s}")),
        ("http://127.0.0.1".to_owned(), "http://127.0.0.1:80".to_owned()),
        // other names of that host, and names that look like it
        (format!("http://localhost:{n}"), format!("http://localhost:{n}")),
        (format!("http://LocalHost:{s}"), format!("http://localhost:{s}")),
        (format!("http://127.0.0.1.:{n}"), format!("http://127.0.0.1.:{n}")),
        (format!("http://127.1:{n}"), format!("http://127.1:{n}")),
        (format!("http://2130706433:{n}"), format!("http://2130706433:{n}")),
        (format!("http://[::ffff:127.0.0.1]:{n}"), format!("http://[::ffff:127.0.0.1]:{n}")),
        (format!("http://127.0.0.1.localhost:{s}"), format!("http://127.0.0.1.localhost:{s}")),
        // the named one as a user, with and without a password
        (format!("http://127.0.0.1@127.0.0.1:{s}"), format!("http://127.0.0.1:{s}")),
        (format!("http://127.0.0.1:{n}@127.0.0.1:{s}"), format!("http://127.0.0.1:{s}")),
        (format!("http://127.0.0.1:{n}@localhost"), "http://localhost:80".to_owned()),
        // and as everything that comes after
        (format!("http://127.0.0.1:{s}/@127.0.0.1:{n}"), format!("http://127.0.0.1:{s}")),
        (format!("http://127.0.0.1:{s}?@127.0.0.1:{n}"), format!("http://127.0.0.1:{s}")),
    ] {
        let error = not_sent(get_url(&layer, &uri).await);
        volume.assert_hidden_in(&shown(&error));
        match error {
            TokenError::OtherOrigin(origin) => assert_eq!(origin.to_string(), goes_to, "{uri}"),
            other => panic!("{uri}: {other:?}"),
        }
    }
    let claims_to_be_named = HeaderValue::from_str(&named.address().to_string()).unwrap();
    for (method, uri) in [
        (Method::GET, "/".to_owned()),
        (Method::OPTIONS, "*".to_owned()),
        (Method::CONNECT, stranger.address.to_string()),
        (Method::CONNECT, named.address().to_string()),
        (Method::GET, format!("ftp://127.0.0.1:{n}")),
        (Method::GET, format!("ws://127.0.0.1:{n}")),
    ] {
        let mut request = request("/");
        *request.method_mut() = method;
        *request.uri_mut() = uri.parse().unwrap();
        request.headers_mut().insert(HOST, claims_to_be_named.clone());
        let error = not_sent(send(&layer, request).await);
        assert!(matches!(error, TokenError::NoOrigin), "{uri}: {error:?}");
    }
    // a header that lies about where the request goes
    let mut request = request(format!("http://127.0.0.1:{s}"));
    request.headers_mut().insert(HOST, claims_to_be_named);
    let error = not_sent(send(&layer, request).await);
    assert!(matches!(error, TokenError::OtherOrigin(_)), "{error:?}");

    stranger.assert_untouched().await;
    assert_eq!(named.seen(), [] as [Vec<String>; 0]);
}

#[tokio::test]
async fn the_named_host_is_known_however_it_is_written() {
    let issuer = TestIssuer::start();
    let (named, stranger) = (Named::start().await, Stranger::start().await);
    let (n, s) = (named.address().port(), stranger.address.port());
    let token = minted(&issuer).mint();
    let volume = Volume::holding(&token);
    let by_address = volume.layer().for_origin(named.origin());
    let by_name = volume.layer().for_origin(origin(&format!("http://LocalHost:{n}/")));
    for (layer, uri) in [
        (&by_address, format!("HTTP://127.0.0.1:{n}/orders?all#top")),
        // here the stranger is the user
        (&by_address, format!("http://127.0.0.1:{s}@127.0.0.1:{n}")),
        (&by_name, format!("http://localhost:{n}")),
        (&by_name, format!("http://LOCALHOST:{n}")),
    ] {
        let answer = get_url(layer, &uri).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{uri}");
        assert_eq!(named.seen(), [bearer(&token)], "{uri}");
    }
    let error = not_sent(get_url(&by_name, named.url()).await);
    assert!(matches!(error, TokenError::OtherOrigin(_)), "{error:?}");
    stranger.assert_untouched().await;
}

#[tokio::test]
async fn what_is_no_port_is_no_origin() {
    let volume = Volume::holding(minted(&TestIssuer::start()).mint());
    let layer = volume.layer().for_origin(origin("http://127.0.0.1"));
    // whoever misspells a port did not mean the default one
    for port in ["", "65536", "99999", "80x", "-1", "x127.0.0.1", "8443127.0.0.1"] {
        let text = format!("http://127.0.0.1:{port}");
        assert!(text.parse::<Origin>().is_err(), "{text}");
        for text in
            [text.clone(), text.replace("//", "//user@"), text.replace("//", "//127.0.0.1@")]
        {
            let error = not_sent(get_url(&layer, &text).await);
            assert!(matches!(error, TokenError::NoOrigin), "{text}: {error:?}");
        }
    }
}

#[tokio::test]
async fn a_redirect_to_another_host_ends_the_call() {
    let issuer = TestIssuer::start();
    let stranger = Stranger::start().await;
    let s = stranger.address.port();
    let token = minted(&issuer).mint();
    let volume = Volume::holding(&token);
    for status in [301, 302, 303, 307, 308] {
        for location in [
            format!("http://127.0.0.1:{s}/"),
            format!("//127.0.0.1:{s}/"),
            format!("\\\\127.0.0.1:{s}\\"),
            format!("http://127.0.0.1@127.0.0.1:{s}/"),
            format!("http://localhost:{s}/"),
            format!("https://127.0.0.1:{s}/"),
        ] {
            let named = Named::answering(StatusCode::from_u16(status).unwrap(), &location).await;
            let layer = volume.layer().for_origin(named.origin());
            // this policy takes the headers along to wherever it is told to go
            let client =
                FollowRedirectLayer::with_policy(Limited::default()).layer(layer.layer(http()));
            let mut request = request(named.url());
            request.headers_mut().insert(AUTHORIZATION, HeaderValue::from_static("Bearer own"));
            let error = not_sent(client.oneshot(request).await);
            assert!(matches!(error, TokenError::OtherOrigin(_)), "{location}: {error:?}");
            assert_eq!(named.seen(), [bearer(&token)], "{location}");
        }
    }
    stranger.assert_untouched().await;
}

#[tokio::test]
async fn between_named_hosts_each_is_sent_its_own_token() {
    let issuer = TestIssuer::start();
    let ledger = Named::start().await;
    let orders = Named::answering(StatusCode::TEMPORARY_REDIRECT, &ledger.url()).await;
    let (for_orders, for_ledger) =
        (minted(&issuer).mint(), minted(&issuer).audience("ledger").mint());
    let (one, two) = (Volume::holding(&for_orders), Volume::holding(&for_ledger));
    let layer = one.layer().for_origin(orders.origin());
    let layer = layer.and(two.layer().for_origin(ledger.origin()));
    let client = FollowRedirectLayer::with_policy(Limited::default()).layer(layer.layer(http()));
    assert_eq!(client.oneshot(request(orders.url())).await.unwrap().status(), StatusCode::OK);
    assert_eq!(orders.seen(), [bearer(&for_orders)]);
    assert_eq!(ledger.seen(), [bearer(&for_ledger)]);

    // where two layers name one origin, the first counts
    let layer =
        two.layer().for_origin(ledger.origin()).and(one.layer().for_origin(ledger.origin()));
    get_url(&layer, ledger.url()).await.unwrap();
    assert_eq!(ledger.seen(), [bearer(&for_ledger)]);
    // the token of the one is no reason to call the other, if that has none
    fs::remove_file(one.token_file()).unwrap();
    let layer =
        one.layer().for_origin(orders.origin()).and(two.layer().for_origin(ledger.origin()));
    let error = not_sent(get_url(&layer, orders.url()).await);
    assert!(matches!(error, TokenError::File(TokenFileError::Read { .. })), "{error:?}");
    assert_eq!(orders.seen(), [] as [Vec<String>; 0]);
}

#[tokio::test]
async fn an_authorization_of_the_request_is_replaced_and_the_new_one_is_hidden() {
    let issuer = TestIssuer::start();
    let named = Named::start().await;
    let token = minted(&issuer).mint();
    let volume = Volume::holding(&token);
    let layer = volume.layer().for_origin(named.origin());
    let below = Arc::new(Mutex::new(HeaderMap::new()));
    let see = Arc::clone(&below);
    let client = http().map_request(move |request: Request<Full<Bytes>>| {
        see.lock().unwrap().clone_from(request.headers());
        request
    });
    let mut request = request(named.url());
    for other in ["Bearer other", "Basic dXNlcjpwYXNz"] {
        request.headers_mut().append(AUTHORIZATION, HeaderValue::from_static(other));
    }
    layer.layer(client).oneshot(request).await.unwrap();
    assert_eq!(named.seen(), [bearer(&token)]);
    let headers = below.lock().unwrap();
    assert!(headers[AUTHORIZATION].is_sensitive());
    volume.assert_hidden_in(&format!("{headers:?}"));
}

/// A gateway that several share may go by it.
#[tokio::test]
async fn a_host_header_that_names_somebody_else_ends_the_call() {
    let issuer = TestIssuer::start();
    let named = Named::start().await;
    let token = minted(&issuer).mint();
    let volume = Volume::holding(&token);
    let layer = volume.layer().for_origin(named.origin());
    for host in [
        "evil.test",
        "evil.test@127.0.0.1",
        "127.0.0.1/evil",
        "127.0.0.1",
        "127.0.0.1:1",
        "",
        "a b",
    ] {
        let mut request = request(named.url());
        request.headers_mut().insert("host", HeaderValue::from_static(host));
        let error = not_sent(layer.layer(http()).oneshot(request).await);
        assert!(matches!(error, TokenError::OtherOrigin(_) | TokenError::NoOrigin), "{error}");
    }
    assert!(named.seen().is_empty());
    let same = named.url().trim_start_matches("http://").trim_end_matches('/').to_owned();
    let mut request = request(named.url());
    request.headers_mut().insert("host", same.parse().unwrap());
    layer.layer(http()).oneshot(request).await.unwrap();
    assert_eq!(named.seen(), [bearer(&token)]);
}

#[tokio::test]
async fn a_channel_that_hides_where_it_goes_needs_a_layer_of_its_own() {
    let issuer = TestIssuer::start();
    let (stranger, other) = (Stranger::start().await, Stranger::start().await);
    let volume = Volume::holding(minted(&issuer).mint());
    let here = origin(&format!("http://{}", stranger.address));
    let there = origin(&format!("http://{}", other.address));
    let channel = channel(stranger.address);

    let for_origin = volume.layer().for_origin(here.clone());
    let two_channels = volume.layer().for_channel_to(here.clone());
    let two_channels = two_channels.and(volume.layer().for_channel_to(there.clone()));
    for layer in [for_origin, two_channels] {
        let error = not_sent_by_grpc(grpc(HealthClient::new(layer.layer(channel.clone()))).await);
        assert!(matches!(error, TokenError::NoOrigin), "{error:?}");
    }
    // made for this channel, but the client says that it goes elsewhere
    let layer = volume.layer().for_channel_to(here);
    let uri: Uri = format!("http://{}", other.address).parse().unwrap();
    let client = HealthClient::with_origin(layer.layer(channel), uri);
    let error = not_sent_by_grpc(grpc(client).await);
    assert!(matches!(&error, TokenError::OtherOrigin(origin) if *origin == there), "{error:?}");
    stranger.assert_untouched().await;
    other.assert_untouched().await;
}

/// A token whose payload is this text.
fn with_payload(payload: &str) -> String {
    format!("eyJhbGciOiJub25lIn0.{}.c2lnbmF0dXJl", URL_SAFE_NO_PAD.encode(payload))
}

#[tokio::test]
async fn a_file_without_a_good_token_is_an_error_before_anything_is_sent() {
    let issuer = TestIssuer::start();
    let named = Named::start().await;
    let clock = ManualClock::at(SystemTime::now());
    let volume = Volume::new();
    let path = volume.token_file().display().to_string();
    // one layer for all of it: it looks again every second
    let layer = volume.layer().clock(clock.clone()).for_origin(named.origin());
    let refused = async || {
        let error = not_sent(get_url(&layer, named.url()).await);
        volume.assert_hidden_in(&shown(&error));
        assert_eq!(named.seen(), [] as [Vec<String>; 0]);
        clock.advance(SECOND);
        match error {
            TokenError::File(error) => error,
            other => panic!("{other:?}"),
        }
    };

    let missing = refused().await;
    assert_eq!(missing.to_string(), format!("the token file {path} cannot be read"));
    let why = missing.source().unwrap().to_string();
    assert!(why.contains("No such file"), "{why}");
    volume.swap(|file| fs::create_dir(file).unwrap());
    assert!(matches!(refused().await, TokenFileError::Read { .. }));

    for content in ["", "\n", " \t\r\n \n"] {
        volume.publish(content);
        assert_eq!(refused().await.to_string(), format!("the token file {path} is empty"));
    }

    let good = minted(&issuer).mint();
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let payload = r#""iss":"https://private-issuer.example","aud":["orders"]"#;
    for content in [
        b"garbage-that-is-no-token".to_vec(),
        signed.into(),
        format!("{good}.{signature}").into(),
        format!("{good}\n{good}").into(),
        format!("Bearer {good}").into(),
        format!("\u{feff}{good}").into(),
        format!("{good}\u{e9}").into(),
        format!("{signed}.\0{signature}").into(),
        [good.as_bytes(), b"\xff\xfe"].concat(),
        minted(&issuer).claim("y", "a".repeat(16 * 1024)).mint().into(),
        minted(&issuer).payload_text("private, and no JSON").mint().into(),
        with_payload("[1, 2, 3]").into(),
        with_payload(r#"{"aud":["orders"]}"#).into(),
        with_payload(r#"{"iss":1,"aud":["orders"]}"#).into(),
        with_payload(r#"{"iss":"https://private-issuer.example","aud":1}"#).into(),
        with_payload(r#"{"iss":"https://private-issuer.example","aud":["orders",1]}"#).into(),
        with_payload(&format!(r#"{{{payload},"exp":"9999999999"}}"#)).into(),
        with_payload(&format!(r#"{{{payload},"exp":null}}"#)).into(),
        with_payload(&format!(r#"{{{payload},"exp":-1}}"#)).into(),
        with_payload(&format!(r#"{{{payload},"exp":1e300}}"#)).into(),
    ] {
        volume.publish(&content);
        let text = refused().await.to_string();
        let content = String::from_utf8_lossy(&content);
        assert_eq!(
            text,
            format!("the token file {path} holds no ServiceAccount token"),
            "{content}"
        );
    }

    volume.publish(minted(&issuer).expired().mint());
    let expired = refused().await;
    assert_eq!(
        expired.to_string(),
        format!("the token in {path} has expired, and nobody has replaced it")
    );
    assert!(matches!(expired, TokenFileError::Expired { .. }));

    for token in [
        // an audience of the API server's, alone and beside another; none at all
        issuer.token().claim("x", SECRET),
        minted(&issuer).audience(issuer.url()),
        minted(&issuer).audience("https://kubernetes.default.svc"),
        minted(&issuer).audience("https://kubernetes.default.svc.cluster.local"),
        minted(&issuer).claim("aud", "https://kubernetes.default.svc"),
        // of kOps and of k3s
        minted(&issuer).audience("kubernetes.svc.default"),
        minted(&issuer).audience("k3s"),
        minted(&issuer).claim("aud", Vec::<String>::new()),
        minted(&issuer).legacy("payments", "checkout"),
    ] {
        volume.publish(token.mint());
        let error = refused().await;
        assert!(matches!(error, TokenFileError::ApiServerAudience { .. }), "{error:?}");
        assert!(
            error
                .to_string()
                .starts_with(&format!("the token in {path} is for the API server too"))
        );
    }

    // a good one comes at last, and no new layer is needed for it
    volume.publish(format!("\n{good} \r\n"));
    assert_eq!(get_url(&layer, named.url()).await.unwrap().status(), StatusCode::OK);
    assert_eq!(named.seen(), [bearer(&good)]);
}

#[tokio::test]
async fn a_token_for_the_api_server_is_sent_where_that_is_asked_for() {
    let issuer = TestIssuer::start();
    let named = Named::start().await;
    for token in [issuer.token().mint(), issuer.token().legacy("payments", "checkout").mint()] {
        let volume = Volume::holding(&token);
        let layer = volume.layer().dangerous_api_server_audience().for_origin(named.origin());
        get_url(&layer, named.url()).await.unwrap();
        assert_eq!(named.seen(), [bearer(&token)]);
        // that does not make it a token for anybody
        let error = not_sent(get_url(&layer, "http://127.0.0.1").await);
        assert!(matches!(error, TokenError::OtherOrigin(_)), "{error:?}");
    }
}

/// What a rotation is seen from: a named server, a clock, and a layer that reads the file by it.
struct Rotation {
    issuer: TestIssuer,
    named: Named,
    clock: ManualClock,
    start: SystemTime,
    volume: Volume,
    layer: ServiceAccountTokenLayer,
}

impl Rotation {
    async fn start() -> Self {
        let (named, volume, start) = (Named::start().await, Volume::new(), pinned_time());
        let clock = ManualClock::at(start);
        let layer = volume.layer().clock(clock.clone()).for_origin(named.origin());
        Self { issuer: TestIssuer::start(), named, clock, start, volume, layer }
    }

    /// Puts a token into the file that is good until so many seconds after the start.
    fn publish(&self, seconds: u64) -> String {
        let token = minted(&self.issuer).expires_at(self.start + Duration::from_secs(seconds));
        let token = token.mint();
        self.volume.publish(&token);
        token
    }

    /// What is sent with a call.
    async fn sent(&self) -> Result<String, TokenError> {
        let answered = get_url(&self.layer, self.named.url()).await;
        let seen = self.named.seen();
        match answered {
            Ok(answer) => {
                assert_eq!((answer.status(), seen.len()), (StatusCode::OK, 1));
                Ok(seen[0][0].strip_prefix("Bearer ").unwrap().to_owned())
            }
            error => {
                assert_eq!(seen, [] as [Vec<String>; 0]);
                let error = not_sent(error);
                self.volume.assert_hidden_in(&shown(&error));
                Err(error)
            }
        }
    }

    async fn file_error(&self) -> TokenFileError {
        match self.sent().await {
            Err(TokenError::File(error)) => error,
            other => panic!("{other:?}"),
        }
    }

    /// Goes to this second after the start.
    fn at(&self, seconds: u64) {
        let now = self.clock.wall();
        let then = self.start + Duration::from_secs(seconds);
        self.clock.advance(then.duration_since(now).unwrap());
    }
}

#[tokio::test]
async fn a_new_token_is_sent_within_a_minute() {
    let rotation = Rotation::start().await;
    let old = rotation.publish(3600);
    assert_eq!(rotation.sent().await.unwrap(), old);
    let new = rotation.publish(7200);
    rotation.at(59);
    assert_eq!(rotation.sent().await.unwrap(), old);
    rotation.at(60);
    assert_eq!(rotation.sent().await.unwrap(), new);
    // and so on
    let newer = rotation.publish(7200);
    rotation.at(119);
    assert_eq!(rotation.sent().await.unwrap(), new);
    rotation.at(120);
    assert_eq!(rotation.sent().await.unwrap(), newer);
}

#[tokio::test]
async fn a_token_that_ends_soon_is_replaced_before_it_does() {
    let rotation = Rotation::start().await;
    let old = rotation.publish(20);
    assert_eq!(rotation.sent().await.unwrap(), old);
    let new = rotation.publish(3600);
    rotation.at(9);
    assert_eq!(rotation.sent().await.unwrap(), old);
    rotation.at(10);
    assert_eq!(rotation.sent().await.unwrap(), new);
}

#[tokio::test]
async fn a_token_that_nobody_replaces_is_not_sent_once_it_has_expired() {
    let rotation = Rotation::start().await;
    let old = rotation.publish(600);
    rotation.at(599);
    assert_eq!(rotation.sent().await.unwrap(), old);
    rotation.at(600);
    assert!(matches!(rotation.file_error().await, TokenFileError::Expired { .. }));
    let new = rotation.publish(3600);
    rotation.at(601);
    assert_eq!(rotation.sent().await.unwrap(), new);
}

#[tokio::test]
async fn while_the_new_file_is_broken_the_last_token_is_used_until_it_expires() {
    let rotation = Rotation::start().await;
    let old = rotation.publish(600);
    rotation.at(1);
    assert_eq!(rotation.sent().await.unwrap(), old);
    for (second, content) in [(70, ""), (140, "garbage-that-is-no-token"), (210, "\n")] {
        rotation.volume.publish(content);
        rotation.at(second);
        assert_eq!(rotation.sent().await.unwrap(), old);
    }
    rotation.publish(1);
    rotation.at(280);
    assert_eq!(rotation.sent().await.unwrap(), old);
    // it is not forgotten that the file is broken: a good one is not waited for a minute
    let new = rotation.publish(900);
    rotation.at(281);
    assert_eq!(rotation.sent().await.unwrap(), new);

    fs::remove_file(rotation.volume.token_file()).unwrap();
    rotation.at(899);
    assert_eq!(rotation.sent().await.unwrap(), new);
    rotation.at(900);
    assert!(matches!(rotation.file_error().await, TokenFileError::Read { .. }));
    let path = rotation.volume.token_file().display().to_string();
    let lines = rotation.volume.log.lines_with(&["WARN", &path, "the last token is used on"]);
    assert_eq!(lines.len(), 5, "{lines:?}");
}

#[tokio::test]
async fn a_token_without_an_end_is_sent_on() {
    let rotation = Rotation::start().await;
    let token = with_payload(r#"{"iss":"https://issuer.example","aud":"orders"}"#);
    rotation.volume.publish(&token);
    for day in [0, 1, 1000] {
        rotation.at(day * 86_400);
        assert_eq!(rotation.sent().await.unwrap(), token);
    }
}

#[tokio::test]
async fn a_machine_that_slept_does_not_send_what_expired_meanwhile() {
    let rotation = Rotation::start().await;
    let old = rotation.publish(600);
    assert_eq!(rotation.sent().await.unwrap(), old);
    // the monotonic clock stood still
    rotation.clock.set_wall(rotation.start + Duration::from_secs(3000));
    assert!(matches!(rotation.file_error().await, TokenFileError::Expired { .. }));
    let new = rotation.publish(6000);
    rotation.clock.advance(SECOND);
    assert_eq!(rotation.sent().await.unwrap(), new);
    // the next time it is there already
    let newer = rotation.publish(9000);
    rotation.clock.set_wall(rotation.start + Duration::from_secs(7000));
    assert_eq!(rotation.sent().await.unwrap(), newer);
}

/// Makes calls at once, all of which are answered.
async fn storm(layer: &ServiceAccountTokenLayer, url: &str, calls: usize) {
    // there may be fewer connections than calls, but all calls come by the layer at once
    let (http, connections) = (http(), Arc::new(Semaphore::new(100)));
    let client = layer.layer(tower::service_fn(move |request| {
        let (http, connections) = (http.clone(), Arc::clone(&connections));
        async move {
            let _one = connections.acquire().await;
            http.request(request).await
        }
    }));
    let barrier = Arc::new(Barrier::new(calls));
    let mut storm = JoinSet::new();
    for _ in 0..calls {
        let (client, barrier, request) = (client.clone(), Arc::clone(&barrier), request(url));
        storm.spawn(async move {
            barrier.wait().await;
            client.oneshot(request).await.unwrap().status()
        });
    }
    assert!(storm.join_all().await.iter().all(StatusCode::is_success));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_call_fails_while_the_token_is_replaced() {
    let issuer = TestIssuer::start();
    let server = http_callee(&issuer).await;
    let token = |round| {
        let name = format!("checkout-{round}");
        issuer.token().audience("orders").service_account("payments", &name).mint()
    };
    let volume = Arc::new(Volume::holding(token(0)));
    let clock = ManualClock::at(SystemTime::now());
    let layer = volume.layer().clock(clock.clone()).for_origin(origin(&server.url()));
    let caller = async || text(get_url(&layer, server.url()).await).await;
    assert_eq!(caller().await, "system:serviceaccount:payments:checkout-0");
    for round in 1..=20 {
        clock.advance(MINUTE);
        let (volume, next) = (Arc::clone(&volume), token(round));
        let kubelet = tokio::task::spawn_blocking(move || volume.publish(next));
        storm(&layer, &server.url(), 100).await;
        kubelet.await.unwrap();
    }
    clock.advance(MINUTE);
    assert_eq!(caller().await, "system:serviceaccount:payments:checkout-20");
}

#[cfg(target_os = "linux")]
mod readings {
    use std::{mem::MaybeUninit, sync::mpsc, thread};

    use rustix::{
        fd::OwnedFd,
        fs::{
            CWD, Mode,
            inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags},
        },
        io::Errno,
    };

    use super::*;

    /// Counts how often a file is opened, as the kernel sees it.
    struct Openings(OwnedFd);

    impl Openings {
        fn of(file: &Path) -> Self {
            let watch = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
            // equal events in a row are told as one, so one opening is told apart by its end
            let flags = WatchFlags::OPEN | WatchFlags::CLOSE_NOWRITE;
            inotify::add_watch(&watch, fs::canonicalize(file).unwrap(), flags).unwrap();
            Self(watch)
        }

        /// Since this was asked last.
        fn count(&self) -> usize {
            let mut buffer = [MaybeUninit::uninit(); 4096];
            let mut events = Reader::new(&self.0, &mut buffer);
            let mut count = 0;
            loop {
                match events.next() {
                    Ok(event) => count += usize::from(event.events().contains(ReadFlags::OPEN)),
                    Err(Errno::AGAIN) => return count,
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_thousand_calls_read_the_file_once_in_a_minute() {
        let issuer = TestIssuer::start();
        let server = http_callee(&issuer).await;
        let volume = Volume::holding(minted(&issuer).mint());
        let clock = ManualClock::at(SystemTime::now());
        let layer = volume.layer().clock(clock.clone()).for_origin(origin(&server.url()));
        let openings = Openings::of(&volume.token_file());
        assert_eq!(openings.count(), 0);
        drop(fs::read(volume.token_file()));
        drop(fs::read(volume.token_file()));
        assert_eq!(openings.count(), 2, "so they are counted");
        for (seconds, read) in [(0, 1), (59, 0), (1, 1), (600, 1)] {
            clock.advance(Duration::from_secs(seconds));
            storm(&layer, &server.url(), 1000).await;
            assert_eq!(openings.count(), read);
        }
    }

    /// A token file that lets itself be read once, when it is told to; whoever else opens it waits
    /// for ever.
    struct Once(PathBuf);

    impl Once {
        fn publish(volume: &Volume) -> Self {
            volume.swap(|file| rustix::fs::mkfifoat(CWD, file, Mode::RWXU).unwrap());
            Self(fs::canonicalize(volume.token_file()).unwrap())
        }

        /// Waits until somebody has opened the file.
        fn opened(&self) -> fs::File {
            let (path, (tell, told)) = (self.0.clone(), mpsc::channel());
            thread::spawn(move || tell.send(fs::File::options().write(true).open(path)));
            told.recv_timeout(MINUTE).expect("somebody who reads the file").unwrap()
        }
    }

    #[test]
    fn one_call_reads_the_file_and_the_others_do_not_wait_for_it_while_they_have_a_token() {
        let issuer = TestIssuer::start();
        let (old, new) = (minted(&issuer).mint(), minted(&issuer).service_account("a", "b").mint());
        let volume = Volume::new();
        volume.held.lock().unwrap().extend([old.clone().into(), new.clone().into()]);
        let clock = ManualClock::at(SystemTime::now());
        let orders = "https://orders.shop.svc";
        let layer = volume.layer().clock(clock.clone()).for_origin(origin(orders));
        let (tell, told) = mpsc::channel();
        // on threads, as who reads a file stops all else on its thread
        let call = |times: usize| {
            let (layer, tell) = (layer.clone(), tell.clone());
            thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                let echo = tower::service_fn(async |request: Request<()>| {
                    Ok::<_, std::convert::Infallible>(request.headers()[AUTHORIZATION].clone())
                });
                for _ in 0..times {
                    let request = Request::get(orders).body(()).unwrap();
                    let sent = runtime.block_on(layer.layer(echo).oneshot(request));
                    tell.send(sent.map(|value| value.to_str().unwrap().to_owned())).unwrap();
                }
            });
        };
        let sent = || {
            let answer = told.recv_timeout(MINUTE).expect("a call that does not wait for ever");
            answer.unwrap().split_off("Bearer ".len())
        };

        // the first token: everybody needs it
        let file = Once::publish(&volume);
        (0..8).for_each(|_| call(125));
        let mut writer = file.opened();
        std::io::Write::write_all(&mut writer, old.as_bytes()).unwrap();
        drop(writer);
        (0..1000).for_each(|_| assert_eq!(sent(), old));

        // another one: one call fetches it
        let file = Once::publish(&volume);
        clock.advance(MINUTE);
        call(1);
        let mut writer = file.opened();
        (0..8).for_each(|_| call(125));
        (0..1000).for_each(|_| assert_eq!(sent(), old));
        std::io::Write::write_all(&mut writer, new.as_bytes()).unwrap();
        drop(writer);
        assert_eq!(sent(), new);
        call(1);
        assert_eq!(sent(), new);
    }
}

#[tokio::test]
async fn nothing_of_a_token_is_shown() {
    let issuer = TestIssuer::start();
    let named = Named::start().await;
    let volume = Volume::holding(minted(&issuer).mint());
    volume.assert_hidden_in(&format!("{:?}", volume.layer()));
    let layer = volume.layer().for_origin(named.origin());
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let layer = layer.and(volume.layer().for_channel_to(origin(&format!("http://{dead}"))));
    get_url(&layer, named.url()).await.unwrap();
    assert_eq!(named.seen().len(), 1);

    let service = layer.layer(http());
    volume.assert_hidden_in(&format!("{layer:?} {service:?}"));
    volume.assert_hidden_in(&format!("{:?}", service.clone().oneshot(request(named.url()))));
    volume.assert_hidden_in(&format!(
        "{:?}",
        tower::Service::call(&mut service.clone(), request(named.url()))
    ));
    // it was on its way when the client failed
    let error = get_url(&layer, format!("http://{dead}")).await.unwrap_err();
    assert!(matches!(error, CallError::Client(_)), "{error:?}");
    volume.assert_hidden_in(&shown(&error));
    let status = grpc(HealthClient::new(layer.layer(channel(dead)))).await.unwrap_err();
    volume.assert_hidden_in(&shown(&status));
    // so it was looked for in a log that tells of these calls
    assert!(volume.log.text()[volume.log_before..].contains(&dead.to_string()));
}

#[test]
fn the_search_finds_what_it_looks_for() {
    let token = minted(&TestIssuer::start()).mint();
    let volume = Volume::holding(&token);
    assert_eq!(volume.shown_in("nothing of it"), None);
    for at in [0, token.len() / 2, token.len() - 20] {
        assert!(volume.shown_in(&format!("token=\"{}\" x", &token[at..at + 20])).is_some());
    }
    assert!(volume.shown_in(&format!("Some(\"{SECRET}\")")).is_some());
}
