//! A second reading of a request's head, by other means than the layer's.

use http::{
    HeaderMap, HeaderValue,
    header::{AUTHORIZATION, CONTENT_TYPE, TE},
};

use super::{NAMED, OPEN};

/// Whether a path is open that is sent like this: as such, or within a whole URL.
pub(super) fn is_open(method: &str, target: &str) -> bool {
    let target = target.split(['?', '#']).next().unwrap_or_default();
    let path = match target.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('/') => {
            &rest[rest.find('/').unwrap_or(rest.len())..]
        }
        _ => target,
    };
    matches!((method, path), ("GET" | "HEAD", path) if path == OPEN.0)
        || (method == "POST" && path == OPEN.1)
}

/// What a request brings.
#[derive(Debug)]
pub(super) enum Credentials<'a> {
    None,
    Unreadable,
    Token(&'a [u8]),
}

/// What a request brings to a layer that reads this header, or the usual one.
pub(super) fn credentials(headers: &HeaderMap, named: bool) -> Credentials<'_> {
    let values = |name| headers.get_all(name).iter().map(HeaderValue::as_bytes);
    if named {
        // a bearer token beside it, be it joined to something else
        let is_separator = |byte: &u8| b" ,\t".contains(byte);
        let mut words = values(AUTHORIZATION).flat_map(|value| value.split(is_separator));
        let beside = words.any(|word| word.eq_ignore_ascii_case(b"bearer"));
        let several = values(AUTHORIZATION).count() > 1;
        let is_ours = |value| !matches!(of_value(value), Credentials::None);
        if beside || several || values(AUTHORIZATION).any(is_ours) {
            return Credentials::Unreadable;
        }
    }
    let mut values = values(if named { NAMED } else { AUTHORIZATION });
    match (values.next(), values.next()) {
        (None, _) => Credentials::None,
        (Some(_), Some(_)) => Credentials::Unreadable,
        (Some(value), None) => match of_value(value) {
            // it may be there without a scheme
            Credentials::None if named => bare(value),
            found => found,
        },
    }
}

/// Whether a request is gRPC or gRPC-Web.
pub(super) fn is_grpc(method: &str, headers: &HeaderMap) -> bool {
    let text = |name| headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    let first = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = first.unwrap_or_default().split(';').next().unwrap_or_default();
    let media_type = media_type.trim().to_ascii_lowercase();
    let media_type = media_type.split_once('+').map_or(media_type.as_str(), |(before, _)| before);
    let mut codings = text(TE).flat_map(|value| value.split(','));
    let trailers = codings.any(|coding| coding.trim().eq_ignore_ascii_case("trailers"));
    let is_web = ["application/grpc-web", "application/grpc-web-text"].contains(&media_type);
    method == "POST" && (is_web || (media_type == "application/grpc" && trailers))
}

/// What the value of a header brings: a scheme, spaces, a token.
fn of_value(value: &[u8]) -> Credentials<'_> {
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let end = value.iter().position(|byte| !is_name(byte)).unwrap_or(value.len());
    let (scheme, rest) = value.split_at(end);
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return Credentials::None;
    }
    match rest.iter().position(|byte| *byte != b' ') {
        Some(spaces) if spaces > 0 => bare(&rest[spaces..]),
        _ => Credentials::Unreadable,
    }
}

/// One token, or anything else: `1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="`.
fn bare(value: &[u8]) -> Credentials<'_> {
    let is_of_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(byte);
    let end = value.iter().position(|byte| !is_of_token(byte)).unwrap_or(value.len());
    let (token, padding) = value.split_at(end);
    if token.is_empty() || padding.iter().any(|byte| *byte != b'=') {
        Credentials::Unreadable
    } else {
        Credentials::Token(value)
    }
}
