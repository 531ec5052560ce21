//! Which proxy a fetch goes through.

use std::{env, fmt};

use hyper::Uri;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use url::Url;

use crate::keys::source::FetchError;

/// Which proxy https requests go through. Plain http never goes through a proxy.
#[derive(Clone, Default)]
pub(super) enum Proxy {
    /// The proxy of `HTTPS_PROXY` or `ALL_PROXY`, except for the hosts of `NO_PROXY`.
    #[default]
    OfEnvironment,
    None,
    Given(Intercept),
}

/// The proxy of one fetch.
pub(super) struct Chosen {
    pub(super) server: Intercept,
    variable: Option<&'static str>,
}

impl Chosen {
    /// The way out of a failed fetch.
    pub(super) fn hint(&self) -> &'static str {
        match self.variable {
            Some(_) => {
                "the proxy must allow CONNECT to this host, with the credentials of its URL; \
                 NO_PROXY exempts hosts"
            }
            None => {
                "the proxy of with_proxy(..) must allow CONNECT to this host, with the \
                 credentials of its URL"
            }
        }
    }
}

impl Proxy {
    pub(super) fn given(url: &str) -> Result<Self, &'static str> {
        parse(url).map(Self::Given)
    }

    /// Returns the proxy for a URL.
    pub(super) fn choose(&self, uri: &Uri) -> Result<Option<Chosen>, FetchError> {
        if uri.scheme_str() != Some("https") {
            return Ok(None);
        }
        match self {
            Self::OfEnvironment => of_environment(uri, |name| env::var(name).ok()),
            Self::None => Ok(None),
            Self::Given(server) => Ok(Some(Chosen { server: server.clone(), variable: None })),
        }
    }
}

fn of_environment(
    uri: &Uri,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<Chosen>, FetchError> {
    let set = |name| Some((name, variable(name).filter(|value| !value.trim().is_empty())?));
    let first = |names: [&'static str; 2]| names.into_iter().find_map(set);
    let proxy = first(["HTTPS_PROXY", "https_proxy"]);
    let Some((variable, proxy)) = proxy.or_else(|| first(["ALL_PROXY", "all_proxy"])) else {
        return Ok(None);
    };
    let exempt = first(["NO_PROXY", "no_proxy"]).map(|(_, hosts)| hosts).unwrap_or_default();
    if is_exempt(uri, &exempt) {
        return Ok(None);
    }
    let server = parse(proxy.trim()).map_err(|problem| {
        FetchError::new(format!("invalid proxy in the environment variable {variable}: {problem}"))
    })?;
    Ok(Some(Chosen { server, variable: Some(variable) }))
}

fn is_exempt(uri: &Uri, hosts: &str) -> bool {
    let port = uri.port_u16().unwrap_or(443);
    let hosts: Vec<_> = hosts.split(',').filter_map(|entry| exempt_host(entry, port)).collect();
    // the matcher has `*` for names only
    hosts.contains(&"*")
        || Matcher::builder()
            .https("http://proxy.invalid")
            .no(hosts.join(","))
            .build()
            .intercept(uri)
            .is_none()
}

/// Brings an entry of `NO_PROXY` into the form of the matcher: without brackets, without `*` before
/// a dot, and without a port. `None`: the entry is for another port.
fn exempt_host(entry: &str, port: u16) -> Option<&str> {
    let entry = entry.trim();
    let host = match entry.rsplit_once(':') {
        // other colons are those of an IPv6 address
        Some((host, own)) if host.ends_with(']') || !host.contains(':') => {
            if own.parse() != Ok(port) {
                return None;
            }
            host
        }
        _ => entry,
    };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    Some(host.strip_prefix('*').filter(|domain| domain.starts_with('.')).unwrap_or(host))
}

/// Parses the URL of a proxy. The URL may contain a password, so an error shows no part of it.
fn parse(url: &str) -> Result<Intercept, &'static str> {
    let url = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    let parsed = Url::parse(&url).map_err(|_| "it is not a URL")?;
    if !matches!(parsed.scheme(), "http" | "https") {
        return Err("unsupported scheme; http and https are supported");
    }
    let anywhere = Uri::from_static("https://issuer.invalid/");
    Matcher::builder().https(url).build().intercept(&anywhere).ok_or("it is not a URL")
}

impl fmt::Display for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let uri = self.server.uri();
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        write!(f, "the proxy {}://{authority}", uri.scheme_str().unwrap_or_default())?;
        match self.variable {
            Some(variable) => write!(f, " of the environment variable {variable}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(url: &'static str, variables: &[(&str, &str)]) -> Result<Option<String>, FetchError> {
        let value = |name: &str| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        of_environment(&Uri::from_static(url), value)
            .map(|chosen| chosen.map(|chosen| chosen.server.uri().to_string()))
    }

    #[test]
    fn proxy_of_the_environment_is_used_for_https_except_for_exempt_hosts() {
        const PROXY: &str = "http://proxy.example:3128/";
        let named = "https://issuer.example/jwks";
        let (v4, v6) = ("https://10.96.0.1:6443/", "https://[fd00::1]:6443/");
        let proxy = ("HTTPS_PROXY", "http://me:hidden@proxy.example:3128");
        for url in [named, v4, v6] {
            assert_eq!(chosen(url, &[]).unwrap(), None);
            assert_eq!(chosen(url, &[proxy]).unwrap().unwrap(), PROXY);
            for any in ["*", " * ", "x.example, *"] {
                for name in ["NO_PROXY", "no_proxy"] {
                    assert_eq!(chosen(url, &[proxy, (name, any)]).unwrap(), None, "{url}");
                }
            }
            assert!(chosen(url, &[proxy, ("NO_PROXY", "other.example")]).unwrap().is_some());
        }
        for (url, exempt) in [
            (named, "issuer.example"),
            (named, ".example"),
            (v4, "10.96.0.0/12"),
            (v4, "10.96.0.1"),
            (v6, "fd00::/8"),
            (named, "*.example"),
            ("https://issuer.shop.svc.cluster.local", "x.example, *.svc.cluster.local"),
            (named, "issuer.example:443"),
            (v4, "10.96.0.1:6443"),
            (v6, "fd00::1"),
            (v6, "[fd00::1]"),
            (v6, "[fd00::1]:6443"),
        ] {
            assert_eq!(chosen(url, &[proxy, ("NO_PROXY", exempt)]).unwrap(), None, "{exempt}");
        }
        for (url, exempt) in [
            (named, "*issuer.example"),
            (named, "issuer.example:8443"),
            (named, "issuer.example:"),
            ("https://notissuer.example", "*.issuer.example"),
            (v4, "10.96.0.1:443"),
            (v6, "[fd00::1]:443"),
            (v6, "[fd00::2]"),
            (v6, ""),
        ] {
            assert!(chosen(url, &[proxy, ("NO_PROXY", exempt)]).unwrap().is_some(), "{exempt}");
        }
        let hidden = [proxy, ("NO_PROXY", " "), ("no_proxy", "issuer.example")];
        assert_eq!(chosen(named, &hidden).unwrap(), None, "an empty variable hides nothing");
        for name in ["https_proxy", "ALL_PROXY", "all_proxy"] {
            assert_eq!(chosen(named, &[(name, "proxy.example:3128")]).unwrap().unwrap(), PROXY);
        }
        assert_eq!(chosen(named, &[("HTTP_PROXY", "http://proxy.example")]).unwrap(), None);
        // a variable without a value is not set
        let empty = [("HTTPS_PROXY", " "), ("https_proxy", "http://proxy.example:3128")];
        assert_eq!(chosen(named, &empty).unwrap().unwrap(), PROXY);
    }

    // rule: logs-without-secrets
    #[test]
    fn invalid_proxy_is_an_error_that_shows_no_part_of_it() {
        for url in [
            "http://reader:hidden@",
            "hidden://x:y",
            "http://reader:hidden@[::1",
            "reader:hidden@proxy:99999",
            "socks5://reader:hidden@proxy:1080",
            "http://",
            "reader:hid@den@pro xy",
        ] {
            let error = chosen("https://issuer.example", &[("HTTPS_PROXY", url)]).unwrap_err();
            let text = format!("{error} {error:?}");
            assert!(text.contains("HTTPS_PROXY") && !text.contains("hid"), "{text}");
            let problem = Proxy::given(url).err().unwrap();
            assert!(!problem.contains("hid"), "{problem}");
        }
    }
}
