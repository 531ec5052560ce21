//! Requests to the layer: any headers.

use std::{
    cell::RefCell,
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, header::AUTHORIZATION};
use tower::{Layer as _, Service as _};
use tower_kube_oidc::{OidcAuthLayer, Rejection, Verified};

use crate::{
    oracle, token,
    world::{self, block_on, good_token, key},
};

thread_local! {
    static LAYER: RefCell<OidcAuthLayer> = RefCell::new(
        OidcAuthLayer::from(world::verifier(true)).build().expect("a layer"),
    );
}

const NAMES: [&str; 5] = ["authorization", "te", "content-type", "x-forwarded-for", "cookie"];

/// Each line is a value; its first byte says of which header. `TOKEN` is a good token, and a value
/// after `$` one that the target `token` would make.
///
/// The service is called only for exactly one bearer token that an independent check accepts, with
/// claims in the extensions; everybody else gets an answer that says so in its status, and has no
/// part of a token.
#[must_use]
pub fn run(data: &[u8]) -> bool {
    let mut request = Request::new(Bytes::new());
    for line in data.split(|byte| *byte == b'\n') {
        let Some((name, value)) = line.split_first() else { continue };
        let name = HeaderName::from_static(NAMES[usize::from(*name) % NAMES.len()]);
        if let Ok(value) = HeaderValue::from_bytes(&filled(value)) {
            request.headers_mut().append(name, value);
        }
    }
    let values: Vec<HeaderValue> =
        request.headers().get_all(AUTHORIZATION).iter().cloned().collect();
    let called = Arc::new(AtomicBool::new(false));
    let service = tower::service_fn({
        let called = Arc::clone(&called);
        move |request: Request<Bytes>| {
            called.store(true, Ordering::Relaxed);
            assert!(request.extensions().get::<Verified>().is_some(), "a caller");
            std::future::ready(Ok::<_, Infallible>(Response::new(Bytes::new())))
        }
    });
    let mut service = LAYER.with_borrow(|layer| layer.layer(service));
    let response = block_on(service.call(request)).expect("no error");
    let is_called = called.load(Ordering::Relaxed);
    if is_called {
        let token = only_token(&values).expect("exactly one bearer token");
        assert_eq!(oracle::check(token, key().public_bytes()), Ok(()));
    } else {
        check_refusal(&response, &values);
    }
    is_called
}

fn filled(value: &[u8]) -> Vec<u8> {
    const PLACE: &[u8] = b"TOKEN";
    let at = |needle: &[u8]| value.windows(needle.len()).position(|found| found == needle);
    let (at, length, token) = match (at(PLACE), at(b"$")) {
        (Some(at), _) => (at, PLACE.len(), good_token().as_bytes().to_vec()),
        (None, Some(at)) => match token::token_of(&value[at + 1..]) {
            Some(token) => (at, value.len() - at, token),
            None => return value.to_vec(),
        },
        (None, None) => return value.to_vec(),
    };
    [&value[..at], &token, &value[at + length..]].concat()
}

/// What stands after `Bearer` and spaces in the only header.
fn only_token(values: &[HeaderValue]) -> Option<&[u8]> {
    let [value] = values else { return None };
    let (scheme, rest) = value.as_bytes().split_at_checked(6)?;
    let token = rest.trim_ascii_start();
    (scheme.eq_ignore_ascii_case(b"bearer") && token.len() < rest.len()).then_some(token)
}

fn check_refusal<B>(response: &Response<B>, values: &[HeaderValue]) {
    let grpc = response.headers().get("grpc-status");
    match response.status() {
        StatusCode::UNAUTHORIZED | StatusCode::BAD_REQUEST => assert!(grpc.is_none()),
        // gRPC says it elsewhere
        StatusCode::OK => assert_eq!(grpc.map(HeaderValue::as_bytes), Some(&b"16"[..])),
        other => panic!("it answers {other}"),
    }
    let rejection = response.extensions().get::<Rejection>().expect("why");
    let shown = format!("{rejection} {rejection:?} {:?}", response.headers());
    let holds = |part: &[u8]| shown.as_bytes().windows(part.len()).any(|found| found == part);
    for value in values {
        let is_text = |byte: &u8| !byte.is_ascii_alphanumeric() && !b"-_".contains(byte);
        let longest = value.as_bytes().split(is_text).max_by_key(|part| part.len());
        // shorter ones may stand anywhere by chance
        if let Some(part) = longest.filter(|part| part.len() > 64) {
            assert!(!holds(&part[..64]), "{shown}");
        }
    }
}
