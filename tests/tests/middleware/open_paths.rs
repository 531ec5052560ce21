//! What is open to everybody, and what only looks so. Requests are written by hand, since clients
//! tidy paths up before they send them.

use std::future::{Ready, ready};

use axum::{
    Router,
    body::Body,
    extract::Request,
    routing::{any, get},
};
use http::{
    Method, StatusCode,
    header::{AUTHORIZATION, WWW_AUTHENTICATE},
};
use http_body_util::BodyExt as _;
use kube_oidc_testing::{Endpoint, MockResponse, TestIssuer};
use kube_oidc_tests::{HttpServer, TestResponse, fast_issuer, layer_builder_for, token_for};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tower::{Layer as _, ServiceExt as _};
use tower_kube_oidc::{
    AuthorizeLayer, BuildError, Caller, IssuerUrl, OidcAuthLayer, OidcAuthLayerBuilder,
    OidcAuthLayerError, Passed, Policy, RequestHead, Verified, Verifier, in_namespace,
};

type Builder = OidcAuthLayerBuilder<Verifier>;

fn builder(issuer: &TestIssuer) -> Builder {
    layer_builder_for(issuer).realm("shop")
}

/// Says which handler runs, and for whom.
fn say(at: &'static str, caller: Option<Caller>) -> Ready<String> {
    let who = caller.map_or("nobody".to_owned(), |Caller(who)| who.subject().to_owned());
    ready(format!("{at} for {who}"))
}

/// An app with a probe beside what is worth something, and a layer around all of it.
fn app(builder: Builder) -> Router {
    Router::new()
        .route("/healthz", any(|caller| say("healthz", caller)))
        .route("/admin", any(|caller| say("admin", caller)))
        .fallback(|caller| say("fallback", caller))
        .layer(builder.build().unwrap())
}

/// Sends what is written, and nothing else.
async fn exchange(server: &HttpServer, request: &[u8]) -> TestResponse {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    TestResponse { status, body: body.to_owned(), ..TestResponse::default() }
}

async fn send(server: &HttpServer, method: &str, target: &[u8], more: &str) -> TestResponse {
    let mut request = Vec::new();
    request.extend_from_slice(method.as_bytes());
    request.push(b' ');
    request.extend_from_slice(target);
    let rest = format!(" HTTP/1.1\r\nhost: orders.example\r\n{more}connection: close\r\n\r\n");
    request.extend_from_slice(rest.as_bytes());
    exchange(server, &request).await
}

async fn get_as_written(server: &HttpServer, target: &str) -> TestResponse {
    send(server, "GET", target.as_bytes(), "").await
}

/// The open path itself, in all its spellings. What follows a `?` or `#` is no part of a path.
const OPEN: [&str; 7] = [
    "/healthz",
    "/healthz?",
    "/healthz?x=1",
    "/healthz?/../admin",
    "/healthz#f",
    "http://orders.example/healthz",
    "http://elsewhere.example:81/healthz?x=1",
];

/// Other paths, however alike.
const CLOSED: [&str; 45] = [
    "/",
    "/admin",
    "/nowhere",
    "/healthz/",
    "//healthz",
    "///healthz",
    "/healthz//",
    "/./healthz",
    "/healthz/.",
    "/healthz/..",
    "/healthz/../healthz",
    "/healthz/../admin",
    "/healthz/..;/admin",
    "/healthz/admin",
    "/admin/../healthz",
    "/admin/..%2fhealthz",
    "/healthz/%2e%2e/admin",
    "/healthz%2f..%2fadmin",
    "/healthz%2F",
    "/healthz;x",
    "/healthz;",
    "/;/healthz",
    "/healthz,",
    "/healthz&x=1",
    "/HEALTHZ",
    "/Healthz",
    "/healthZ",
    "/%68ealthz",
    "/%48ealthz",
    "/healthz%",
    "/healthz%00",
    "/healthz%00/../admin",
    "/healthz%20",
    "/healthz%0a",
    "/healthz%3f",
    "/healthz%23",
    "/healthz%2500",
    "/healthz\\..\\admin",
    "/healthzz",
    "/health",
    "/admin?/healthz",
    "/admin#/healthz",
    "/admin;/healthz",
    "http://orders.example//healthz",
    "http://healthz/admin",
];

// rule: open-paths
#[tokio::test]
async fn only_the_very_path_is_open() {
    let issuer = fast_issuer();
    let server = HttpServer::start(app(builder(&issuer).add_open_path("/healthz"))).await;
    for target in OPEN {
        let answered = get_as_written(&server, target).await;
        assert_eq!((answered.status, answered.body.as_str()), (200, "healthz for nobody"));
        let answered = send(&server, "HEAD", target.as_bytes(), "").await;
        assert_eq!((answered.status, answered.body.as_str()), (200, ""), "{target}");
    }
    for target in CLOSED {
        for method in ["GET", "HEAD"] {
            let answered = send(&server, method, target.as_bytes(), "").await;
            assert_eq!(answered.status, 401, "{method} {target}: {answered:?}");
        }
    }
    // what is no path at all
    for target in ["*", "healthz", "orders.example/healthz", "/healthz /admin", "/healthz\0", ""] {
        let answered = get_as_written(&server, target).await;
        assert!([400, 401].contains(&answered.status), "{target:?}: {answered:?}");
    }
    let answered = send(&server, "OPTIONS", b"*", "").await;
    assert_eq!(answered.status, 401);
    let old = exchange(&server, b"GET /healthz HTTP/1.0\r\n\r\n").await;
    assert_eq!(old.body, "healthz for nobody");
    assert_eq!(issuer.received_requests().len(), 0, "nobody's keys are asked for");
}

// rule: open-paths
#[tokio::test]
async fn no_byte_can_be_added_to_the_path_or_changed_in_it() {
    let issuer = fast_issuer();
    let server = HttpServer::start(app(builder(&issuer).add_open_path("/healthz"))).await;
    let path = b"/healthz";
    let mut opened = Vec::new();
    for at in 0..=path.len() {
        // every byte that can stand in a request line without ending a part of it
        for byte in (1..=u8::MAX).filter(|byte| !b" \r\n".contains(byte)) {
            let mut inserted = path.to_vec();
            inserted.insert(at, byte);
            let mut changed = path.to_vec();
            if let Some(place) = changed.get_mut(at) {
                *place = byte;
            }
            for target in [inserted, changed] {
                let answered = send(&server, "GET", &target, "").await;
                match answered.status {
                    200 if target != path => opened.push(target),
                    200 | 400 | 401 => {}
                    other => panic!("{other}: {}", target.escape_ascii()),
                }
            }
        }
    }
    assert_eq!(opened, [b"/healthz#", b"/healthz?"], "an empty fragment, and an empty query");
}

/// The frames of HTTP/2 (RFC 9113, 6) that matter here.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Asks by HTTP/2, with the pseudo-headers as they are given: `None` if the server takes it for
/// no request.
async fn ask_h2(server: &HttpServer, method: &str, path: &str) -> Option<TestResponse> {
    let frame = |kind, flags, stream: u8, payload: &[u8]| {
        let length = u8::try_from(payload.len()).unwrap();
        [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
    };
    let mut block = Vec::new();
    let fields = [
        (":method", method),
        (":scheme", "http"),
        (":authority", "orders.example"),
        (":path", path),
    ];
    for (name, value) in fields {
        // a literal field with a literal name, without Huffman's code (RFC 7541, 6.2.2)
        block.push(0);
        for text in [name, value] {
            assert!(text.len() < 127, "a length in one byte");
            block.push(u8::try_from(text.len()).unwrap());
            block.extend_from_slice(text.as_bytes());
        }
    }
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
    stream.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &block)).await.unwrap();
    let (mut status, mut body) = (None, Vec::new());
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length.try_into().unwrap()];
        stream.read_exact(&mut payload).await.unwrap();
        match head[3] {
            HEADERS => status = Some(status_of(&payload)),
            DATA => body.extend(payload),
            RST_STREAM | GOAWAY => return None,
            _ => continue,
        }
        if head[4] & END_STREAM != 0 {
            let (status, body) = (status.unwrap(), String::from_utf8(body).unwrap());
            return Some(TestResponse { status, body, ..TestResponse::default() });
        }
    }
}

/// `:status` comes first, by the static table or as three digits in Huffman's code.
fn status_of(block: &[u8]) -> u16 {
    match block {
        [0x88, ..] => 200,
        [0x8c, ..] => 400,
        [0x8d, ..] => 404,
        [0x48, 0x82, 0x68, 0x01, ..] => 401,
        other => panic!("another status: {}", other.escape_ascii()),
    }
}

#[tokio::test]
async fn http_2_opens_no_other_path() {
    let issuer = fast_issuer();
    let server = HttpServer::start(app(builder(&issuer).add_open_path("/healthz"))).await;
    for target in OPEN.iter().filter(|target| target.starts_with('/')) {
        let answered = ask_h2(&server, "GET", target).await.unwrap();
        assert_eq!((answered.status, answered.body.as_str()), (200, "healthz for nobody"));
        assert_eq!(ask_h2(&server, "HEAD", target).await.unwrap().status, 200);
        assert_eq!(ask_h2(&server, "POST", target).await.unwrap().status, 401);
    }
    for target in CLOSED.iter().filter(|target| target.starts_with('/')) {
        let answered = ask_h2(&server, "GET", target).await.unwrap();
        assert_eq!(answered.status, 401, "{target}: {answered:?}");
    }
    // what HTTP/1 has another form for, and what is no path at all
    for target in
        ["http://orders.example/healthz", "healthz", "orders.example/healthz", "*", "?/healthz"]
    {
        let answered = ask_h2(&server, "GET", target).await;
        assert!(answered.as_ref().is_none_or(|a| a.status != 200), "{target}: {answered:?}");
    }
    assert_eq!(ask_h2(&server, "OPTIONS", "*").await.unwrap().status, 401);
}

// rule: open-paths
#[tokio::test]
async fn open_is_for_get_and_head_unless_methods_are_named() {
    let issuer = fast_issuer();
    let server = HttpServer::start(app(builder(&issuer).add_open_path("/healthz"))).await;
    // methods are as case-sensitive as paths
    for method in
        ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PURGE", "get", "Get", "GETT"]
    {
        let answered = send(&server, method, b"/healthz", "").await;
        assert_eq!(answered.status, 401, "{method}");
    }
    for target in ["/healthz", "healthz:80", "http://orders.example/healthz"] {
        let answered = send(&server, "CONNECT", target.as_bytes(), "").await;
        assert!([400, 401].contains(&answered.status), "{target}: {answered:?}");
    }
    // no header speaks for the method
    for header in ["x-http-method-override: GET\r\n", "x-original-method: GET\r\n"] {
        assert_eq!(send(&server, "POST", b"/healthz", header).await.status, 401, "{header}");
    }

    let named = builder(&issuer)
        .add_open_path_for([Method::POST, Method::OPTIONS], "/healthz")
        .add_open_path("/x");
    let server = HttpServer::start(app(named)).await;
    for (method, status) in [
        ("POST", 200),
        ("OPTIONS", 200),
        ("GET", 401),
        ("HEAD", 401),
        ("PUT", 401),
        ("DELETE", 401),
        ("post", 401),
    ] {
        assert_eq!(send(&server, method, b"/healthz", "").await.status, status, "{method}");
    }
    assert_eq!(send(&server, "POST", b"/admin", "").await.status, 401);
    assert_eq!(send(&server, "POST", b"/x", "").await.status, 401, "each path has its own");
    assert_eq!(send(&server, "GET", b"/x", "").await.body, "fallback for nobody");

    let grpc = builder(&issuer).add_open_grpc_method("/grpc.health.v1.Health/Check");
    let server = HttpServer::start(app(grpc)).await;
    for (method, target, status) in [
        ("POST", "/grpc.health.v1.Health/Check", 200),
        ("GET", "/grpc.health.v1.Health/Check", 401),
        ("HEAD", "/grpc.health.v1.Health/Check", 401),
        ("OPTIONS", "/grpc.health.v1.Health/Check", 401),
        ("POST", "/grpc.health.v1.Health/Watch", 401),
        ("POST", "/grpc.health.v1.Health/check", 401),
        ("POST", "/grpc.health.v1.Health/Check/", 401),
        ("POST", "/grpc.health.v1.Health", 401),
        ("POST", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", 401),
    ] {
        let answered = send(&server, method, target.as_bytes(), "").await;
        assert_eq!(answered.status, status, "{method} {target}");
    }
}

/// Says what a handler finds behind an open path.
async fn look(request: Request) -> String {
    let extensions = request.extensions();
    let passed = extensions.get::<Passed>();
    format!(
        "caller {:?}, open {:?}, anonymous {:?}, authorization {:?}",
        extensions.get::<Verified>().map(|who| who.subject().to_owned()),
        passed.map(Passed::is_open_path),
        passed.map(Passed::is_anonymous),
        request.headers().get_all(AUTHORIZATION).iter().collect::<Vec<_>>(),
    )
}

async fn subject(Caller(who): Caller) -> String {
    who.subject().to_owned()
}

#[tokio::test]
async fn no_token_is_looked_at_on_an_open_path() {
    let issuer = fast_issuer();
    // if somebody asked for keys, the answer would be 503
    issuer.respond_with(Endpoint::Jwks, MockResponse::new(500, ""));
    let open = || {
        builder(&issuer).add_open_path("/healthz").add_open_path("/caller").add_open_path("/maybe")
    };
    let app = |builder: Builder| {
        Router::new()
            .route("/healthz", get(look))
            .route("/caller", get(subject))
            .route("/maybe", get(|caller| say("maybe", caller)))
            .layer(builder.build().unwrap())
    };
    let server = HttpServer::start(app(open())).await;
    let removing = HttpServer::start(app(open().remove_token_header())).await;
    let bearer = |token: &str| format!("authorization: Bearer {token}\r\n");
    let good = token_for(&issuer).mint();
    let expired = issuer.token().audience("orders").expired().mint();
    for (sent, shown) in [
        (String::new(), "[]"),
        (bearer(&good), "[Sensitive]"),
        (bearer(&expired), "[Sensitive]"),
        (bearer("garbage"), "[Sensitive]"),
        ("authorization: Bearer\r\n".to_owned(), "[Sensitive]"),
        ("authorization: Basic dXNlcjpwYXNz\r\n".to_owned(), "[Sensitive]"),
        (bearer(&good) + &bearer(&good), "[Sensitive, Sensitive]"),
        (bearer(&good) + "authorization: Basic dXNlcjpwYXNz\r\n", "[Sensitive, Sensitive]"),
    ] {
        for (server, shown) in [(&server, shown), (&removing, "[]")] {
            let answered = send(server, "GET", b"/healthz", &sent).await;
            let expected = format!(
                "caller None, open Some(true), anonymous Some(false), authorization {shown}"
            );
            assert_eq!((answered.status, answered.body), (200, expected));
            let answered = send(server, "GET", b"/maybe", &sent).await;
            assert_eq!((answered.status, answered.body.as_str()), (200, "maybe for nobody"));
            // a handler that insists on a caller turns everybody away
            assert_eq!(send(server, "GET", b"/caller", &sent).await.status, 401);
        }
    }
    assert_eq!(issuer.received_requests().len(), 0);
    let request = Request::get("/caller").body(Body::empty()).unwrap();
    let response = app(open()).oneshot(request).await.unwrap();
    assert_eq!(response.headers()[WWW_AUTHENTICATE], "Bearer realm=\"shop\"", "as the layer asks");
}

// rule: open-paths
#[tokio::test]
async fn in_a_nested_router_the_whole_path_counts() {
    let issuer = fast_issuer();
    let inner = |builder: Builder| {
        Router::new()
            .route("/healthz", any(|caller| say("api healthz", caller)))
            .route("/admin", any(|caller| say("api admin", caller)))
            .fallback(|caller| say("api fallback", caller))
            .layer(builder.build().unwrap())
    };
    // nest() strips what it matched, so that the inner router sees /healthz
    let nested = |builder| Router::new().nest("/api", inner(builder));
    let as_service = |builder| Router::new().nest_service("/api", inner(builder));
    let around = |builder: Builder| {
        let inner = Router::new().route("/healthz", get(|caller| say("api healthz", caller)));
        let probe = get(|caller| say("healthz", caller));
        Router::new().nest("/api", inner).route("/healthz", probe).layer(builder.build().unwrap())
    };
    let twice = |builder| Router::new().nest("/v1", nested(builder));
    for (app, opened, target, status) in [
        (nested(builder(&issuer).add_open_path("/healthz")), "/healthz", "/api/healthz", 401),
        (
            nested(builder(&issuer).add_open_path("/api/healthz")),
            "/api/healthz",
            "/api/healthz",
            200,
        ),
        (nested(builder(&issuer).add_open_path("/api/healthz")), "/api/healthz", "/api/admin", 401),
        (
            nested(builder(&issuer).add_open_path("/api/healthz")),
            "/api/healthz",
            "/api//healthz",
            401,
        ),
        (
            nested(builder(&issuer).add_open_path("/api/healthz")),
            "/api/healthz",
            "/api/api/healthz",
            401,
        ),
        (
            nested(builder(&issuer).add_open_path("/api/healthz")),
            "/api/healthz",
            "/api/%68ealthz",
            401,
        ),
        (as_service(builder(&issuer).add_open_path("/healthz")), "/healthz", "/api/healthz", 401),
        (
            as_service(builder(&issuer).add_open_path("/api/healthz")),
            "/api/healthz",
            "/api/healthz",
            200,
        ),
        (
            twice(builder(&issuer).add_open_path("/api/healthz")),
            "/api/healthz",
            "/v1/api/healthz",
            401,
        ),
        (twice(builder(&issuer).add_open_path("/v1/api/healthz")), "whole", "/v1/api/healthz", 200),
        (around(builder(&issuer).add_open_path("/healthz")), "/healthz", "/api/healthz", 401),
        (around(builder(&issuer).add_open_path("/healthz")), "/healthz", "/healthz", 200),
        (
            around(builder(&issuer).add_open_path("/api/healthz")),
            "/api/healthz",
            "/api/healthz",
            200,
        ),
        (around(builder(&issuer).add_open_path("/api/healthz")), "/api/healthz", "/healthz", 401),
    ] {
        let server = HttpServer::start(app).await;
        let answered = get_as_written(&server, target).await;
        assert_eq!(answered.status, status, "{opened} is open, {target} is asked for");
        let absolute = get_as_written(&server, &format!("http://a.example{target}?x")).await;
        assert_eq!(absolute.status, status, "{opened} is open, {target} is asked for");
    }
}

// rule: open-paths
#[tokio::test]
async fn nested_open_path_that_was_rewritten_is_closed() {
    let issuer = fast_issuer();
    let inner = |open: &str| {
        Router::new()
            .route("/", get(|caller| say("root", caller)))
            .route("/{*path}", get(|caller| say("another", caller)))
            .layer(builder(&issuer).add_open_path(open).build().unwrap())
    };
    for (pattern, open) in [
        ("/app", "/app/admin/healthz"),
        ("/app/", "/app/admin/healthz"),
        ("/{tenant}", "/app/admin/healthz"),
        ("/app/admin", "/app/admin/healthz"),
        ("/app/{area}/", "/app/admin/healthz"),
        ("/app/admin/healthz", "/app/admin/healthz"),
    ] {
        let segments = pattern.split('/').filter(|segment| !segment.is_empty()).count();
        let rest: String =
            open.split('/').skip(1 + segments).flat_map(|part| ["/", part]).collect();
        let rest = if rest.is_empty() { "/" } else { &rest };
        for to in ["/", "/healthz", "/admin/healthz", "/app/admin/healthz", "/secret", "//healthz"]
        {
            // between the nest, which strips the prefix, and the inner router
            let rewrite = tower::layer::layer_fn(|inner: Router| {
                tower::service_fn(move |mut request: Request| {
                    *request.uri_mut() = to.parse().unwrap();
                    inner.clone().oneshot(request)
                })
            });
            let nested = Router::new().nest_service(pattern, rewrite.layer(inner(open)));
            let request = Request::get(open).body(Body::empty()).unwrap();
            let status = nested.oneshot(request).await.unwrap().status();
            assert_eq!(status == StatusCode::OK, to == rest, "{open} in {pattern} becomes {to}");
        }
    }
}

#[tokio::test]
async fn outside_of_every_router_the_path_is_whole_too() {
    let issuer = fast_issuer();
    let api = Router::new().route("/healthz", get(|caller| say("api healthz", caller)));
    let app = Router::new().nest("/api", api);
    let open = builder(&issuer).add_open_path("/api/healthz").build().unwrap();
    for (target, status) in
        [("/api/healthz", StatusCode::OK), ("/healthz", StatusCode::UNAUTHORIZED)]
    {
        let request = Request::get(target).body(Body::empty()).unwrap();
        let response = open.layer(app.clone()).oneshot(request).await.unwrap();
        assert_eq!(response.status(), status, "{target}");
    }
}

#[tokio::test]
async fn a_predicate_opens_what_it_says_and_no_more() {
    let issuer = fast_issuer();
    let opens = || {
        builder(&issuer).add_open_when(|request: RequestHead<'_>| {
            *request.method == Method::GET
                && request.uri.path().starts_with("/public/")
                && !request.headers.contains_key("x-private")
        })
    };
    let inner = Router::new()
        .route("/file", any(|caller| say("file", caller)))
        .fallback(|caller| say("public fallback", caller))
        .layer(opens().build().unwrap());
    let app = app(opens()).nest("/public", inner);
    let server = HttpServer::start(app).await;
    for (method, target, header, expected) in [
        ("GET", "/public/file", "", (200, "file for nobody")),
        ("POST", "/public/file", "", (401, "")),
        ("GET", "/public/file", "x-private: 1\r\n", (401, "")),
        ("GET", "/PUBLIC/file", "", (401, "")),
        ("GET", "/file", "", (401, "")),
        ("GET", "/admin", "", (401, "")),
        // it lets this through, as it says; what it leads to is the router's business
        ("GET", "/public/../admin", "", (200, "public fallback for nobody")),
    ] {
        let answered = send(&server, method, target.as_bytes(), header).await;
        assert_eq!(answered.status, expected.0, "{method} {target}");
        if answered.status == 200 {
            assert_eq!(answered.body, expected.1, "{method} {target}");
        }
    }
    // a token that comes along is not looked at here either
    let bearer = format!("authorization: Bearer {}\r\n", token_for(&issuer).mint());
    let answered = send(&server, "GET", b"/public/file", &bearer).await;
    assert_eq!(answered.body, "file for nobody");
    assert_eq!(issuer.received_requests().len(), 0);
}

#[tokio::test]
async fn a_predicate_that_prints_the_request_does_not_print_the_token() {
    let issuer = fast_issuer();
    let (name, token) =
        (http::HeaderName::from_static("x-workload-token"), token_for(&issuer).mint());
    for (header, builder) in [
        (AUTHORIZATION, builder(&issuer)),
        (name.clone(), builder(&issuer).token_header(name.clone())),
        (AUTHORIZATION, builder(&issuer).token_header(name)),
    ] {
        let printed = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
        let print = std::sync::Arc::clone(&printed);
        let printing = builder.add_open_when(move |request| {
            *print.lock().unwrap() = format!("{request:?}");
            false
        });
        let request = Request::get("/admin").header(header, format!("Bearer {token}"));
        app(printing).oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let printed = printed.lock().unwrap();
        assert!(printed.contains("/admin"), "it was asked");
        assert!(!printed.contains(&token), "a predicate sees the header marked sensitive");
    }
}

#[tokio::test]
async fn a_setting_that_opens_nothing_is_an_error() {
    let issuer = fast_issuer();
    let none: [Method; 0] = [];
    let begin = || builder(&issuer);
    let grpc = "grpc.health.v1.Health/Check";
    for (wrong, path) in [
        (begin().add_open_path("healthz"), "healthz"),
        (begin().add_open_path(""), ""),
        (begin().add_open_path(" "), " "),
        (begin().add_open_path("*"), "*"),
        (begin().add_open_path("/a?b"), "/a?b"),
        (begin().add_open_path("/a#b"), "/a#b"),
        (begin().add_open_path("/a b"), "/a b"),
        (begin().add_open_path("/a\t"), "/a\t"),
        (begin().add_open_path("/a\n"), "/a\n"),
        (begin().add_open_path("/ä"), "/ä"),
        (begin().add_open_path("http://orders.example/a"), "http://orders.example/a"),
        (begin().add_open_path_for(none, "/a"), "/a"),
        (begin().add_open_path_for([Method::POST], "a"), "a"),
        (begin().add_open_grpc_method(grpc), grpc),
        (begin().add_open_grpc_method(""), ""),
        // a good one beside it does not help
        (begin().add_open_path("/healthz").add_open_path("healthz"), "healthz"),
        (begin().add_open_path("/healthz?").add_open_path("/healthz"), "/healthz?"),
    ] {
        let error = wrong.build().unwrap_err();
        assert!(
            matches!(&error, OidcAuthLayerError::InvalidOpenPath(named) if named == path),
            "{path:?}: {error:?}"
        );
        assert!(error.to_string().contains(&format!("{path:?}")), "{error}");
    }

    for path in ["/", "//", "/healthz", "/a;b=c", "/%68ealthz", "/a:b", "/a=b&c"] {
        let server = HttpServer::start(app(begin().add_open_path(path))).await;
        assert_eq!(get_as_written(&server, path).await.status, 200, "{path}");
        assert_eq!(get_as_written(&server, &format!("{path}x")).await.status, 401, "{path}");
    }
}

#[test]
fn every_invalid_setting_beside_an_open_path_is_named() {
    let url = || "https://issuer.example".parse::<IssuerUrl>().unwrap();
    let error = OidcAuthLayer::builder(url())
        .audience(" ")
        .add_open_path("/healthz")
        .add_open_path("healthz")
        .add_open_grpc_method("Check")
        .add_open_when(|_| true)
        .realm("\"")
        .optional()
        .build()
        .unwrap_err();
    let text = error.to_string();
    let OidcAuthLayerError::Multiple(faults) = error else { panic!("{text}") };
    assert!(
        matches!(
            &faults[..],
            [
                OidcAuthLayerError::InvalidOpenPath(path),
                OidcAuthLayerError::InvalidOpenPath(method),
                OidcAuthLayerError::InvalidRealm,
                OidcAuthLayerError::Verifier(BuildError::EmptyAudience),
            ] if path == "healthz" && method == "Check"
        ),
        "{faults:?}"
    );
    for fault in faults {
        assert!(text.contains(&fault.to_string()), "{text}");
    }

    let verifier = Verifier::builder(url()).audience("orders").build().unwrap();
    let error = OidcAuthLayer::builder_for(verifier)
        .narrow_audiences(["refunds", "orders", "vault"])
        .realm("\"")
        .add_open_path("healthz")
        .dangerous_report_only()
        .build()
        .unwrap_err();
    let OidcAuthLayerError::Multiple(faults) = &error else { panic!("{error}") };
    assert!(
        matches!(
            &faults[..],
            [
                OidcAuthLayerError::InvalidOpenPath(path),
                OidcAuthLayerError::UnknownAudience(refunds),
                OidcAuthLayerError::UnknownAudience(vault),
                OidcAuthLayerError::InvalidRealm,
            ] if path == "healthz" && refunds == "refunds" && vault == "vault"
        ),
        "{faults:?}"
    );
}

#[tokio::test]
async fn a_policy_below_refuses_an_open_path_unless_it_says_otherwise() {
    let issuer = fast_issuer();
    let policy = || {
        let policy = Policy::new(in_namespace("payments")).unwrap();
        AuthorizeLayer::builder(policy).realm("a policy")
    };
    let only_payments = || policy().build().unwrap();
    let app = |allow: AuthorizeLayer, builder: Builder| {
        Router::new()
            .route("/healthz", get(|caller| say("healthz", caller)))
            .route("/admin", get(|caller| say("admin", caller)))
            .layer(allow)
            .layer(builder.build().unwrap())
    };
    let ask = async |app: Router, target: &str, token: Option<&str>| {
        let mut request = Request::get(target);
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let response = app.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let challenge = response.headers().get(WWW_AUTHENTICATE).cloned();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, challenge, String::from_utf8(body.to_vec()).unwrap())
    };
    let good = token_for(&issuer).mint();
    let other = issuer.token().audience("orders").service_account("batch", "nightly").mint();
    let open = || builder(&issuer).add_open_path("/healthz");

    let (status, challenge, _) = ask(app(only_payments(), open()), "/healthz", None).await;
    assert_eq!(status, 401);
    assert_eq!(challenge.unwrap(), "Bearer realm=\"shop\"", "as the layer would have asked");
    // no token is looked at there, so a good one does not help
    assert_eq!(ask(app(only_payments(), open()), "/healthz", Some(&good)).await.0, 401);
    assert_eq!(ask(app(only_payments(), open()), "/admin", Some(&good)).await.0, 200);

    let and_open = || policy().and_open_paths().build().unwrap();
    let (status, _, body) = ask(app(and_open(), open()), "/healthz", None).await;
    assert_eq!((status, body.as_str()), (200, "healthz for nobody"));
    let (status, _, body) = ask(app(and_open(), open()), "/healthz", Some(&other)).await;
    assert_eq!((status, body.as_str()), (200, "healthz for nobody"));
    // and nothing else is let through by that
    assert_eq!(ask(app(and_open(), open()), "/admin", None).await.0, 401);
    assert_eq!(ask(app(and_open(), open()), "/admin", Some(&other)).await.0, 403);
    assert_eq!(ask(app(and_open(), open().optional()), "/admin", None).await.0, 401);
    assert_eq!(ask(app(and_open(), builder(&issuer).optional()), "/healthz", None).await.0, 401);
    // without a layer nobody said that it is open
    let alone = Router::new().route("/healthz", get(|| async {})).layer(and_open());
    assert_eq!(ask(alone, "/healthz", None).await.0, 500);
}

#[tokio::test]
async fn what_one_layer_opens_the_next_one_closes() {
    let issuer = fast_issuer();
    let open = || builder(&issuer).add_open_path("/healthz");
    let closed = || builder(&issuer).realm("inner");
    let nested = app(closed()).layer(open().build().unwrap());
    let request = || Request::get("/healthz").body(Body::empty()).unwrap();
    let response = nested.oneshot(request()).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(response.headers()[WWW_AUTHENTICATE], "Bearer realm=\"inner\"");
    // nor does the inner one's open path matter to the outer one
    let nested = app(open()).layer(closed().build().unwrap());
    let response = nested.oneshot(request()).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
}
