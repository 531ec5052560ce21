//! Requests to the layer: any method, path and headers, to layers of every kind.

mod reading;

use std::{
    cell::RefCell,
    convert::Infallible,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri,
    header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, TE, WWW_AUTHENTICATE},
};
use http_body_util::{BodyExt as _, Full};
use tower::{Layer as _, Service, ServiceExt as _};
use tower_kube_oidc::{
    AuthorizeLayer, OidcAuthLayer, Passed, Policy, Rejection, ResponseFormat, Verified, Verifier,
    in_namespace,
};

use self::reading::Credentials;
use crate::{
    Reached,
    oracle::{self, Good},
    token,
    world::{self, ACCOUNT, block_on, good_token, good_tokens, token_of_another},
};

thread_local! {
    /// With the claims of a caller that a request must not bring along.
    static VERIFIER: RefCell<(Verifier, Verified)> = RefCell::new({
        let verifier = world::verifier(true);
        match verifier.verify_with_cached_keys(token_of_another()) {
            Some(Ok(caller)) => (verifier, caller),
            other => panic!("a good token is {other:?}"),
        }
    });
}

const NAMES: [HeaderName; 6] =
    [AUTHORIZATION, TE, CONTENT_TYPE, HeaderName::from_static("x-forwarded-for"), COOKIE, NAMED];

/// Where a layer reads the token that is told so.
const NAMED: HeaderName = HeaderName::from_static("x-token");

/// A path that a layer opens for GET and HEAD, and one of gRPC.
const OPEN: (&str, &str) = ("/healthz", "/grpc.health.v1.Health/Check");

/// What becomes of a request, by which kind of layer and in which form.
pub const BRANCHES: [&str; 15] = [
    "accepted",
    "accepted by gRPC",
    "accepted from another header",
    "accepted by a policy",
    "accepted and removed",
    "anonymous",
    "open",
    "open by gRPC",
    "reported",
    "refused",
    "refused by gRPC",
    "refused by HTTP whatever it is",
    "refused by a policy",
    "refused by a policy by gRPC",
    "unreadable",
];

/// The first line is method, path and words that say what the layer is told, between spaces. Each
/// other line is the value of a header; its first byte says of which. `TOKEN` is a good token,
/// `OTHER` that of another account, and a value after `$` one that the target `token` would make.
///
/// What becomes of a request is what a second reading of its head says. The service is called with
/// a caller only for exactly one bearer token that an independent check accepts, and with that
/// token's; everybody else gets an answer that says so in the form that the request asked for,
/// and has no part of a token.
#[must_use]
pub fn run(data: &[u8]) -> Reached {
    let mut lines = data.split(|byte| *byte == b'\n');
    let first = lines.next().and_then(|line| str::from_utf8(line).ok()).unwrap_or_default();
    let mut words = first.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut request = Request::new(Bytes::new());
    match (Method::from_bytes(method.as_bytes()), target.parse::<Uri>()) {
        (Ok(method), Ok(uri)) => (*request.method_mut(), *request.uri_mut()) = (method, uri),
        _ => return Vec::new(),
    }
    for line in lines {
        let Some((name, value)) = line.split_first() else { continue };
        let name = &NAMES[usize::from(*name) % NAMES.len()];
        if let Ok(value) = HeaderValue::from_bytes(&filled(value)) {
            request.headers_mut().append(name, value);
        }
    }
    let told = Told(words.collect());
    let headers = request.headers().clone();
    let head = Head {
        is_open: told.has("open") && reading::is_open(method, target),
        is_grpc: reading::is_grpc(method, &headers),
        told,
        headers,
    };
    let seen = Arc::new(Mutex::new(None));
    let response = head.told.answer(request, &seen);
    let seen = seen.lock().expect("no panic before").take();
    match seen {
        Some(seen) => head.check_call(&seen),
        None => head.check_refusal(&response),
    }
}

fn filled(value: &[u8]) -> Vec<u8> {
    let at = |needle: &[u8]| value.windows(needle.len()).position(|found| found == needle);
    let places = [("TOKEN", good_token()), ("OTHER", token_of_another())];
    for (place, token) in places {
        if let Some(at) = at(place.as_bytes()) {
            return [&value[..at], token.as_bytes(), &value[at + place.len()..]].concat();
        }
    }
    let made =
        at(b"$").and_then(|at| Some([&value[..at], &token::token_of(&value[at + 1..])?].concat()));
    made.unwrap_or_else(|| value.to_vec())
}

/// What the layer is told.
struct Told<'a>(Vec<&'a str>);

impl Told<'_> {
    fn has(&self, word: &str) -> bool {
        self.0.contains(&word)
    }

    fn layer(&self, verifier: Verifier) -> OidcAuthLayer {
        let mut layer = OidcAuthLayer::builder_for(verifier);
        if self.has("open") {
            layer = layer.add_open_path(OPEN.0).add_open_grpc_method(OPEN.1);
        }
        if self.has("optional") {
            layer = layer.optional();
        }
        if self.has("report") {
            layer = layer.dangerous_report_only();
        }
        if self.has("named") {
            layer = layer.token_header(NAMED);
        }
        if self.has("remove") {
            layer = layer.remove_token_header();
        }
        if self.has("http") {
            layer = layer.response_format(ResponseFormat::Http);
        }
        layer.build().expect("a layer")
    }

    /// What is answered, while the service notes what it sees.
    fn answer(
        &self,
        mut request: Request<Bytes>,
        seen: &Arc<Mutex<Option<Seen>>>,
    ) -> Response<Bytes> {
        let (verifier, smuggled) = VERIFIER.with_borrow(Clone::clone);
        request.extensions_mut().insert(smuggled);
        let seen = Arc::clone(seen);
        let service = tower::service_fn(move |request: Request<Bytes>| {
            *seen.lock().expect("no panic before") = Some(Seen::of(&request));
            std::future::ready(Ok(Response::new(Full::<Bytes>::default())))
        });
        let layer = self.layer(verifier);
        if self.has("policy") {
            let rule = in_namespace(ACCOUNT.0).service_account(ACCOUNT.1);
            let allow = AuthorizeLayer::builder(Policy::new(rule).expect("a policy"));
            let allow = if self.has("and-open") { allow.and_open_paths() } else { allow };
            ask(layer.layer(allow.build().expect("a layer").layer(service)), request)
        } else {
            ask(layer.layer(service), request)
        }
    }
}

fn ask<S, B>(service: S, request: Request<Bytes>) -> Response<Bytes>
where
    S: Service<Request<Bytes>, Response = Response<B>, Error = Infallible>,
    B: http_body::Body<Data = Bytes, Error: std::fmt::Debug>,
{
    block_on(async {
        let (parts, body) = service.oneshot(request).await.expect("no error").into_parts();
        Response::from_parts(parts, body.collect().await.expect("a body").to_bytes())
    })
}

/// What the service sees of a request.
struct Seen {
    /// Namespace and name.
    caller: Option<(String, String)>,
    passed: Option<Passed>,
    headers: HeaderMap,
}

impl Seen {
    fn of(request: &Request<Bytes>) -> Self {
        let caller = request.extensions().get::<Verified>();
        let name = |caller: &Verified| {
            (caller.namespace().to_owned(), caller.service_account().name().to_owned())
        };
        let passed = request.extensions().get::<Passed>().cloned();
        Self { caller: caller.map(name), passed, headers: request.headers().clone() }
    }
}

/// A request as it was sent.
struct Head<'a> {
    told: Told<'a>,
    is_open: bool,
    is_grpc: bool,
    headers: HeaderMap,
}

impl Head<'_> {
    fn credentials(&self) -> Credentials<'_> {
        reading::credentials(&self.headers, self.told.has("named"))
    }

    fn check_call(&self, seen: &Seen) -> Reached {
        let told = &self.told;
        let (report, policy) = (told.has("report"), told.has("policy"));
        let passed = seen.passed.as_ref();
        assert_eq!(passed.is_some_and(Passed::is_report_only), report);
        assert_eq!(passed.is_some_and(Passed::is_open_path), self.is_open);
        let place = if told.has("named") { NAMED } else { AUTHORIZATION };
        let mut left = seen.headers.get_all(&place).iter();
        assert!(left.all(HeaderValue::is_sensitive), "a token that can be printed");
        assert!(!told.has("remove") || !seen.headers.contains_key(&place), "it is still there");
        if self.is_open {
            assert!(seen.caller.is_none() && (!policy || told.has("and-open") || report));
            return vec![if self.is_grpc { "open by gRPC" } else { "open" }];
        }
        let credentials = self.credentials();
        let is_anonymous = passed.is_some_and(Passed::is_anonymous);
        let may_be_anonymous = told.has("optional") && !report;
        assert_eq!(is_anonymous, may_be_anonymous && matches!(credentials, Credentials::None));
        let is_reported = passed.and_then(Passed::would_be_rejected).is_some();
        let verdict = match credentials {
            Credentials::Token(token) => {
                assert!(!is_reported || !is_surely_good(token), "a good token is reported");
                oracle::check(token, world::key_set())
            }
            other => Err(format!("there is {other:?}")),
        };
        let Some(caller) = &seen.caller else {
            assert!(is_anonymous || is_reported, "the service is called for nobody");
            assert!(report || (is_anonymous && !policy), "nobody may call it");
            return vec![if is_anonymous { "anonymous" } else { "reported" }];
        };
        let good = verdict.unwrap_or_else(|why| panic!("a caller, but {why}"));
        assert!(!is_reported && *caller == (good.namespace.clone(), good.name.clone()));
        assert!(!policy || report || is_allowed(&good), "{good:?} is allowed");
        reached([
            (true, "accepted"),
            (self.is_grpc, "accepted by gRPC"),
            (told.has("named"), "accepted from another header"),
            (policy && !report, "accepted by a policy"),
            (told.has("remove"), "accepted and removed"),
        ])
    }

    fn check_refusal(&self, response: &Response<Bytes>) -> Reached {
        assert!(!self.told.has("report"), "what only reports has refused");
        let rejection = response.extensions().get::<Rejection>().expect("why");
        let is_denied = matches!(rejection, Rejection::Policy(_));
        let status = self.status_of(rejection);
        let is_grpc = self.is_grpc && !self.told.has("http");
        let header = |name: &str| response.headers().get(name).map(HeaderValue::as_bytes);
        if is_grpc {
            let code = if is_denied { b"7".as_slice() } else { b"16" };
            assert_eq!((response.status(), header("grpc-status")), (StatusCode::OK, Some(code)));
            let media_type = header("content-type").expect("a media type");
            assert!(media_type.starts_with(b"application/grpc") && response.body().is_empty());
        } else {
            assert_eq!((response.status(), header("grpc-status")), (status, None));
            assert!(response.headers()[WWW_AUTHENTICATE].as_bytes().starts_with(b"Bearer"));
        }
        let (headers, body) = (response.headers(), response.body());
        let shown = format!("{rejection} {rejection:?} {headers:?} {body:?}");
        for name in [AUTHORIZATION, NAMED] {
            for value in self.headers.get_all(name) {
                oracle::assert_hidden(value.as_bytes(), &shown);
            }
        }
        reached([
            (true, "refused"),
            (status == StatusCode::BAD_REQUEST, "unreadable"),
            (is_denied, "refused by a policy"),
            (is_grpc, "refused by gRPC"),
            (is_grpc && is_denied, "refused by a policy by gRPC"),
            (self.is_grpc && !is_grpc, "refused by HTTP whatever it is"),
        ])
    }

    /// With what a refusal is answered, if it is right.
    fn status_of(&self, rejection: &Rejection) -> StatusCode {
        let policy = self.told.has("policy");
        if self.is_open {
            assert!(policy && !self.told.has("and-open"), "an open path is refused");
            return StatusCode::UNAUTHORIZED;
        }
        match (self.credentials(), rejection) {
            (Credentials::None, _) => {
                assert!(policy || !self.told.has("optional"), "nobody may call, and is refused");
                StatusCode::UNAUTHORIZED
            }
            (Credentials::Unreadable, _) => StatusCode::BAD_REQUEST,
            (Credentials::Token(token), Rejection::Policy(_)) => {
                let good = oracle::check(token, world::key_set());
                let good = good.unwrap_or_else(|why| panic!("a policy is asked, but {why}"));
                assert!(policy && !is_allowed(&good), "{good:?} is refused");
                StatusCode::FORBIDDEN
            }
            (Credentials::Token(token), other) => {
                assert!(!is_surely_good(token), "a good token is refused: {other:?}");
                StatusCode::UNAUTHORIZED
            }
        }
    }
}

fn reached<const N: usize>(branches: [(bool, &'static str); N]) -> Reached {
    branches.into_iter().filter(|(reached, _)| *reached).map(|(_, branch)| branch).collect()
}

fn is_surely_good(token: &[u8]) -> bool {
    let all = good_tokens().iter().map(String::as_str).chain([token_of_another()]);
    all.into_iter().any(|good| good.as_bytes() == token)
}

fn is_allowed(good: &Good) -> bool {
    (good.namespace.as_str(), good.name.as_str()) == ACCOUNT
}
