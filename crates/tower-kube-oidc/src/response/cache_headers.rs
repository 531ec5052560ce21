//! Header fields that tell caches which responses depend on a token.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{CACHE_CONTROL, VARY},
};

/// Keeps a rejection out of every cache.
pub(crate) fn forbid(headers: &mut HeaderMap) {
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

/// Protects a response that depends on a token in this header. Caches protect responses to
/// requests with `Authorization` by themselves, and no others ([RFC 9111, 3.5]).
///
/// [RFC 9111, 3.5]: https://www.rfc-editor.org/rfc/rfc9111#section-3.5
pub(crate) fn protect(headers: &mut HeaderMap, token_header: &HeaderName) {
    let listed = headers.get_all(VARY).iter();
    let listed = listed.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let is_token_header =
        |name: &[u8]| name == b"*" || name.eq_ignore_ascii_case(token_header.as_str().as_bytes());
    if !listed.map(<[u8]>::trim_ascii).any(is_token_header) {
        headers.append(VARY, token_header.clone().into());
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("private"));
}

#[cfg(test)]
mod tests {
    use super::*;

    // rule: http-caches
    #[test]
    fn token_header_is_added_to_vary_once() {
        let name = HeaderName::from_static("x-workload-token");
        for (before, after) in [
            (&[][..], &["x-workload-token"][..]),
            (&["accept"], &["accept", "x-workload-token"]),
            (&["accept, Origin", "cookie"], &["accept, Origin", "cookie", "x-workload-token"]),
            (&["x-workload-tokens"], &["x-workload-tokens", "x-workload-token"]),
            (&["X-Workload-Token"], &["X-Workload-Token"]),
            (&["accept,\tx-Workload-token "], &["accept,\tx-Workload-token "]),
            (&["*"], &["*"]),
            (&["accept", "a , *"], &["accept", "a , *"]),
        ] {
            let mut headers = HeaderMap::new();
            for value in before {
                headers.append(VARY, HeaderValue::from_static(value));
            }
            for _ in 0..2 {
                protect(&mut headers, &name);
                assert!(headers.get_all(VARY).iter().eq(after), "{before:?} {headers:?}");
                assert_eq!(headers[CACHE_CONTROL], "private");
            }
        }
    }

    #[test]
    fn cache_control_of_a_response_stays() {
        let name = HeaderName::from_static("x-workload-token");
        for value in ["no-store", "public, max-age=60", ""] {
            let mut headers = HeaderMap::new();
            headers.append(CACHE_CONTROL, HeaderValue::from_static(value));
            protect(&mut headers, &name);
            assert!(headers.get_all(CACHE_CONTROL).iter().eq([value]), "{headers:?}");
        }
    }
}
