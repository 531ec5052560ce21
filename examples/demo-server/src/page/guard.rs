//! Who may ask: the page itself, in a browser on this machine, and no other site that the same
//! browser has open.

use std::net::IpAddr;

use axum::http::{
    HeaderMap, HeaderName, Method, StatusCode, Uri,
    header::{CONTENT_TYPE, HOST, ORIGIN},
};

use super::exchange::Problem;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Whether only this machine reaches an address.
pub(super) fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// Checks what a browser says of a request.
#[derive(Debug)]
pub(super) struct Guard {
    port: u16,
    beyond_loopback: bool,
}

impl Guard {
    pub(super) fn new(port: u16, beyond_loopback: bool) -> Self {
        Self { port, beyond_loopback }
    }

    pub(super) fn check(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<(), Problem> {
        let refused = |error| Err(Problem::new(StatusCode::FORBIDDEN, error));
        let Some(host) = only(headers, &HOST).filter(|host| self.is_ours(host)) else {
            return refused("the Host header is not this server's address");
        };
        // the absolute form of a request names a host of its own
        if uri.authority().is_some_and(|named| !named.as_str().eq_ignore_ascii_case(host)) {
            return refused("the Host header is not this server's address");
        }
        let is_own_site = |site: &str| matches!(site, "same-origin" | "none");
        if headers.contains_key(SEC_FETCH_SITE)
            && !only(headers, &SEC_FETCH_SITE).is_some_and(is_own_site)
        {
            return refused("another site asks: open the address by hand");
        }
        let is_read = method == Method::GET || method == Method::HEAD;
        if headers.contains_key(ORIGIN) || !is_read {
            let origin = only(headers, &ORIGIN).and_then(|origin| origin.strip_prefix("http://"));
            if !origin.is_some_and(|origin| origin.eq_ignore_ascii_case(host)) {
                return refused("the Origin header is missing, or is not this page's");
            }
        }
        // a form of another site cannot have this type, and a script of one has to ask first
        if !is_read && !only(headers, &CONTENT_TYPE).is_some_and(is_json) {
            let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return Err(Problem::new(status, "the Content-Type should be application/json"));
        }
        Ok(())
    }

    /// Whether a host is one by which this server is known. A name that another site lets lead
    /// here (DNS rebinding) is not; an address cannot be made to lead elsewhere.
    fn is_ours(&self, host: &str) -> bool {
        let (name, port) = match host.rsplit_once(':') {
            // of an IPv6 address, this is a part
            Some((name, port)) if !port.contains(']') => (name, port.parse().ok()),
            // as browsers have it for the port that they need not name
            _ => (host, Some(80)),
        };
        let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
        let address = match bare {
            Some(bare) => bare.parse().map(IpAddr::V6).ok(),
            None => name.parse().map(IpAddr::V4).ok(),
        };
        let is_here = |address| self.beyond_loopback || is_loopback(address);
        port == Some(self.port)
            && (name.eq_ignore_ascii_case("localhost") || address.is_some_and(is_here))
    }
}

/// A header that is there once, in characters that can be read.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() {
        return None;
    }
    value.to_str().ok()
}

fn is_json(content_type: &str) -> bool {
    let media_type = content_type.split(';').next().unwrap_or_default();
    media_type.trim().eq_ignore_ascii_case("application/json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_others_reach_is_none_of_this_machine() {
        for (address, is_here) in [
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("0.0.0.0", false),
            ("::", false),
            ("::ffff:0.0.0.0", false),
            ("::ffff:10.0.0.1", false),
            ("10.0.0.1", false),
            ("fe80::1", false),
        ] {
            assert_eq!(is_loopback(address.parse().unwrap()), is_here, "{address}");
        }
    }

    #[test]
    fn only_an_address_of_this_server_is_ours() {
        let (loopback, beyond) = (Guard::new(8080, false), Guard::new(8080, true));
        for host in
            ["127.0.0.1:8080", "127.9.9.9:8080", "localhost:8080", "LOCALHOST:8080", "[::1]:8080"]
        {
            assert!(loopback.is_ours(host) && beyond.is_ours(host), "{host}");
        }
        for host in ["10.0.0.1:8080", "[fd00::1]:8080", "0.0.0.0:8080"] {
            assert!(!loopback.is_ours(host) && beyond.is_ours(host), "{host}");
        }
        for host in [
            "",
            ":8080",
            "localhost",
            "127.0.0.1",
            "[::1]",
            "localhost:80",
            "localhost:8081",
            "localhost:",
            "localhost:x",
            "localhost.:8080",
            "localhost:8080:8080",
            "evil.example:8080",
            "127.0.0.1.evil.example:8080",
            "127.0.0.1@evil.example:8080",
            "evil@127.0.0.1:8080",
            "127.1:8080",
            "2130706433:8080",
            "::1:8080",
            "[127.0.0.1]:8080",
            "[::1",
        ] {
            assert!(!loopback.is_ours(host) && !beyond.is_ours(host), "{host}");
        }
        let usual = Guard::new(80, false);
        for host in ["localhost", "127.0.0.1", "[::1]", "localhost:80"] {
            assert!(usual.is_ours(host), "{host}");
        }
    }
}
