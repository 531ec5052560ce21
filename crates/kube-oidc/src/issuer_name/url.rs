//! [`IssuerUrl`]: the name of an issuer, which is also where its keys are found.

use std::{fmt, str::FromStr, sync::Arc};

use url::{Host, Url};

/// An issuer identifier: parsed once, and kept byte for byte.
///
/// A token's `iss` claim is compared with it exactly, as [OpenID Connect Core 3.1.3.7] wants it:
/// AKS issuers end in a slash, EKS issuers do not, and neither matches the other form.
///
/// It must be an `https` URL without query, fragment or credentials. Plain `http` is accepted for
/// loopback hosts only (`localhost`, `127.0.0.0/8`, `::1`); anything else needs
/// [`dangerous_allow_http`](Self::dangerous_allow_http).
///
/// ```
/// use kube_oidc::IssuerUrl;
///
/// let issuer: IssuerUrl = "https://oidc.eks.eu-west-1.amazonaws.com/id/EXAMPLE".parse()?;
/// assert_eq!(issuer.as_str(), "https://oidc.eks.eu-west-1.amazonaws.com/id/EXAMPLE");
/// assert!("http://issuer.example".parse::<IssuerUrl>().is_err());
/// # Ok::<(), kube_oidc::IssuerUrlError>(())
/// ```
///
/// [OpenID Connect Core 3.1.3.7]: https://openid.net/specs/openid-connect-core-1_0.html#IDTokenValidation
#[derive(Clone)]
pub struct IssuerUrl {
    text: Arc<str>,
    transport: Transport,
}

/// Which URLs may be fetched on behalf of an issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// https only.
    Https,
    /// The issuer itself is plain http on loopback: http is fine there, and nowhere else.
    HttpOnLoopback,
    /// The operator asked for plain http in so many words.
    DangerousHttp,
}

impl IssuerUrl {
    /// The issuer exactly as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Parses an issuer that may be plain `http` on any host.
    ///
    /// Whoever sits between this process and such an issuer can replace its keys, and so mint
    /// tokens for every workload. Its key set may be plain `http` as well.
    ///
    /// # Errors
    ///
    /// The text is no issuer for any other reason.
    pub fn dangerous_allow_http(issuer: &str) -> Result<Self, IssuerUrlError> {
        Self::parse(issuer, true)
    }

    /// Where the provider metadata is: [OpenID Connect Discovery 1.0, section 4], which takes one
    /// trailing slash off first and keeps a path.
    ///
    /// [OpenID Connect Discovery 1.0, section 4]: https://openid.net/specs/openid-connect-discovery-1_0.html#ProviderConfig
    pub(crate) fn discovery_url(&self) -> String {
        let base = self.text.strip_suffix('/').unwrap_or(&self.text);
        format!("{base}{DISCOVERY}")
    }

    pub(crate) fn shared_text(&self) -> Arc<str> {
        Arc::clone(&self.text)
    }

    pub(crate) fn transport(&self) -> Transport {
        self.transport
    }

    fn parse(text: &str, http_anywhere: bool) -> Result<Self, IssuerUrlError> {
        check_name(text)?;
        let url = parse_strictly(text)?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err(IssuerUrlError::QueryOrFragment);
        }
        let transport = match url.scheme() {
            "https" => Transport::Https,
            _ if is_loopback(&url) => Transport::HttpOnLoopback,
            _ if http_anywhere => Transport::DangerousHttp,
            _ => return Err(IssuerUrlError::PlainHttp),
        };
        Ok(Self { text: text.into(), transport })
    }
}

/// As long as a URL of keys may be, in bytes.
const MAX_ENDPOINT_BYTES: usize = 2048;

impl Transport {
    /// Parses a URL that keys or metadata are to be read from, for an issuer of this transport.
    ///
    /// Unlike an issuer it may have a query.
    pub(crate) fn parse_endpoint(self, text: &str) -> Result<Url, IssuerUrlError> {
        if text.len() > MAX_ENDPOINT_BYTES {
            return Err(IssuerUrlError::TooLong);
        }
        let url = parse_strictly(text)?;
        match (url.scheme(), self) {
            ("https", _) | (_, Self::DangerousHttp) => Ok(url),
            (_, Self::HttpOnLoopback) if is_loopback(&url) => Ok(url),
            _ if is_loopback(&url) => Err(IssuerUrlError::PlainHttpOnLoopback),
            _ => Err(IssuerUrlError::PlainHttp),
        }
    }
}

/// Checks a name of an issuer for texts that are never one name, whether a name has to be a URL or not.
pub(crate) fn check_name(text: &str) -> Result<(), IssuerUrlError> {
    let is_list = |(before, after): (&str, &str)| {
        let after = after.trim_start();
        let is_host = before.split_once("://").is_some_and(|(_, rest)| !rest.contains('/'));
        is_host || after.is_empty() || after.starts_with("https://") || after.starts_with("http://")
    };
    if text.match_indices(',').any(|(at, comma)| is_list((&text[..at], &text[at + comma.len()..])))
    {
        return Err(IssuerUrlError::List);
    }
    if text.contains("://")
        && (text.contains("/.well-known/") || text.trim_end_matches('/').ends_with(API_SERVER_KEYS))
    {
        return Err(IssuerUrlError::Document);
    }
    Ok(())
}

/// The path of a discovery document, behind that of its issuer.
pub(crate) const DISCOVERY: &str = "/.well-known/openid-configuration";

/// The path of the key set of an API server.
pub(crate) const API_SERVER_KEYS: &str = "/openid/v1/jwks";

/// Parses an http(s) URL, refusing what the WHATWG parser would silently repair.
fn parse_strictly(text: &str) -> Result<Url, IssuerUrlError> {
    if text.is_empty() {
        return Err(IssuerUrlError::Empty);
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control() || c == '\\') {
        return Err(IssuerUrlError::ForbiddenCharacter);
    }
    let Some(rest) = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")) else {
        return Err(IssuerUrlError::UnsupportedScheme);
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.is_empty() {
        return Err(IssuerUrlError::NoHost);
    }
    if authority.contains('@') {
        return Err(IssuerUrlError::Credentials);
    }
    Url::parse(text).map_err(|error| IssuerUrlError::Syntax(error.to_string()))
}

/// `localhost`, 127.0.0.0/8 or `::1`, as parsed: `127.0.0.1.evil.test` is a domain like any other.
fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(domain)) => domain == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

impl FromStr for IssuerUrl {
    type Err = IssuerUrlError;

    fn from_str(issuer: &str) -> Result<Self, Self::Err> {
        Self::parse(issuer, false)
    }
}

impl TryFrom<&str> for IssuerUrl {
    type Error = IssuerUrlError;

    fn try_from(issuer: &str) -> Result<Self, Self::Error> {
        issuer.parse()
    }
}

impl TryFrom<String> for IssuerUrl {
    type Error = IssuerUrlError;

    fn try_from(issuer: String) -> Result<Self, Self::Error> {
        issuer.parse()
    }
}

impl AsRef<str> for IssuerUrl {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for IssuerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for IssuerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("IssuerUrl").field(&self.as_str()).finish()
    }
}

impl PartialEq for IssuerUrl {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for IssuerUrl {}

impl std::hash::Hash for IssuerUrl {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

/// Why a text is not a URL that we trust keys from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IssuerUrlError {
    /// The text is empty.
    #[error("it is empty")]
    Empty,
    /// It is a URL to read keys from of over 2,048 bytes.
    #[error("it is too long")]
    TooLong,
    /// It does not begin with `https://` (or `http://`), in lower case.
    #[error("it does not begin with https://")]
    UnsupportedScheme,
    /// It is plain http, and its host is not a loopback one.
    #[error("it is plain http, which is accepted for loopback hosts only")]
    PlainHttp,
    /// It is a plain http URL on loopback to read keys from, and the issuer is not plain http on
    /// loopback.
    #[error(
        "it is plain http on loopback, which is accepted for an issuer on loopback only; save the \
         keys (kubectl get --raw /openid/v1/jwks > keys.json) and use KeySource::file(..)"
    )]
    PlainHttpOnLoopback,
    /// It is a list of issuers.
    #[error("it is a list with a comma; give one issuer at a time")]
    List,
    /// It is the URL of a discovery document or of a key set.
    #[error(
        "it is the URL of a discovery document or key set; give the issuer, which ends before \
         `/.well-known/` or `/openid/`"
    )]
    Document,
    /// There is no host in it.
    #[error("it has no host")]
    NoHost,
    /// There is a user name or a password in it.
    #[error("it holds credentials")]
    Credentials,
    /// There is a query or a fragment in it.
    #[error("it has a query or a fragment")]
    QueryOrFragment,
    /// There is a space, a control character or a backslash in it.
    #[error("it holds a space, a control character or a backslash")]
    ForbiddenCharacter,
    /// It is not a URL for another reason.
    #[error("it is not a URL: {0}")]
    Syntax(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_text_byte_for_byte() {
        for text in [
            "https://oidc.eks.eu-west-1.amazonaws.com/id/EXAMPLE",
            "https://eastus.oic.prod-aks.azure.com/t/s/",
            "https://container.googleapis.com/v1/projects/p/locations/l/clusters/c",
            "https://KUBERNETES.default.svc:443",
            "https://[fd00::1]:6443",
            "http://localhost:8080",
            "http://127.8.9.1:1/x",
            "http://[::1]:1",
        ] {
            assert_eq!(text.parse::<IssuerUrl>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn whatever_it_is_made_of_it_is_the_same() {
        let text = "https://a.example/x";
        let parsed: IssuerUrl = text.parse().unwrap();
        let made = [IssuerUrl::try_from(text), IssuerUrl::try_from(text.to_owned())];
        let made = made.map(Result::unwrap);
        assert_eq!(made, [parsed.clone(), parsed.clone()]);
        assert_eq!(made[0].as_ref(), text);
        let all: std::collections::HashSet<IssuerUrl> = made.into_iter().collect();
        assert_eq!(all.len(), 1);
        assert!(IssuerUrl::try_from("http://a.example").is_err());
        assert!(IssuerUrl::try_from("http://a.example".to_owned()).is_err());
    }

    #[test]
    fn a_trailing_slash_makes_another_issuer() {
        let with: IssuerUrl = "https://a.example/x/".parse().unwrap();
        let without: IssuerUrl = "https://a.example/x".parse().unwrap();
        assert_ne!(with, without);
        assert_eq!(with.discovery_url(), without.discovery_url());
    }

    #[test]
    fn discovery_url_keeps_the_path() {
        let of = |issuer: &str| issuer.parse::<IssuerUrl>().unwrap().discovery_url();
        assert_eq!(of("https://a.example"), "https://a.example/.well-known/openid-configuration");
        assert_eq!(of("https://a.example/"), "https://a.example/.well-known/openid-configuration");
        assert_eq!(
            of("https://a.example/id/7/"),
            "https://a.example/id/7/.well-known/openid-configuration"
        );
    }

    #[test]
    fn refuses_what_is_no_issuer() {
        use IssuerUrlError as E;
        for (text, error) in [
            ("", E::Empty),
            ("not-a-url", E::UnsupportedScheme),
            ("ftp://a.example", E::UnsupportedScheme),
            ("HTTPS://a.example", E::UnsupportedScheme),
            ("https:/a.example", E::UnsupportedScheme),
            ("https://a.example/.well-known/openid-configuration", E::Document),
            ("https://a.example/x/.well-known/openid-configuration/", E::Document),
            ("https://a.example/.well-known/jwks.json", E::Document),
            ("https://a.example/openid/v1/jwks", E::Document),
            ("http://localhost:1/.well-known/openid-configuration", E::Document),
            ("https://a.example,https://b.example", E::List),
            ("https://a.example/x, https://b.example", E::List),
            ("https://a.example,b.example/x", E::List),
            ("https://a.example,", E::List),
            ("https://a.example/x,", E::List),
            ("https://", E::NoHost),
            ("https:///path", E::NoHost),
            ("https://u@a.example", E::Credentials),
            ("https://@a.example", E::Credentials),
            ("https://u:p@a.example", E::Credentials),
            ("https://a.example?x", E::QueryOrFragment),
            ("https://a.example?", E::QueryOrFragment),
            ("https://a.example#", E::QueryOrFragment),
            (" https://a.example", E::ForbiddenCharacter),
            ("https://a.example\n", E::ForbiddenCharacter),
            ("https://a.ex\tample", E::ForbiddenCharacter),
            ("https:\\\\a.example", E::ForbiddenCharacter),
            ("http://a.example", E::PlainHttp),
            ("http://127.0.0.1.evil.test", E::PlainHttp),
            ("http://localhost.evil.test", E::PlainHttp),
            ("http://10.0.0.1", E::PlainHttp),
            ("http://[::2]", E::PlainHttp),
            ("http://[::ffff:127.0.0.1]", E::PlainHttp),
        ] {
            assert_eq!(text.parse::<IssuerUrl>().unwrap_err(), error, "{text:?}");
        }
        // commas that separate nothing
        assert!("https://a.example/x,y;z".parse::<IssuerUrl>().is_ok());
        assert!("https://a.example/openid/v1/jwks/x".parse::<IssuerUrl>().is_ok());
        assert!(matches!("https://a b".parse::<IssuerUrl>(), Err(E::ForbiddenCharacter)));
        assert!(matches!("https://a.example:99999".parse::<IssuerUrl>(), Err(E::Syntax(_))));
    }

    #[test]
    fn http_elsewhere_is_dangerous_and_says_so() {
        let issuer = IssuerUrl::dangerous_allow_http("http://keys.corp.example").unwrap();
        assert_eq!(issuer.transport(), Transport::DangerousHttp);
        let issuer = IssuerUrl::dangerous_allow_http("http://localhost:1").unwrap();
        assert_eq!(issuer.transport(), Transport::HttpOnLoopback);
    }

    // rule: fetch-credentials
    #[test]
    fn plain_http_endpoints_need_loopback_on_both_sides() {
        let https = Transport::Https;
        let loopback = Transport::HttpOnLoopback;
        assert!(https.parse_endpoint("https://keys.example/jwks?v=1").is_ok());
        let on_loopback = Err(IssuerUrlError::PlainHttpOnLoopback);
        assert_eq!(https.parse_endpoint("http://127.0.0.1/k"), on_loopback);
        assert_eq!(https.parse_endpoint("http://keys.example/k"), Err(IssuerUrlError::PlainHttp));
        assert!(loopback.parse_endpoint("http://127.0.0.1/k").is_ok());
        assert!(loopback.parse_endpoint("https://keys.example").is_ok());
        assert_eq!(
            loopback.parse_endpoint("http://127.0.0.1.evil.test/k"),
            Err(IssuerUrlError::PlainHttp)
        );
        assert_eq!(loopback.parse_endpoint("http://u@localhost"), Err(IssuerUrlError::Credentials));
        let of_length = |length: usize| format!("https://k.example/{}", "k".repeat(length - 18));
        assert!(https.parse_endpoint(&of_length(2048)).is_ok());
        assert_eq!(https.parse_endpoint(&of_length(2049)), Err(IssuerUrlError::TooLong));
    }
}
