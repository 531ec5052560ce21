//! [`Origin`]: to whom a token may be sent.

use std::{fmt, net::IpAddr, str::FromStr};

use http::Uri;

/// Scheme, host and port of a server: whom a token is for.
///
/// ```
/// use tower_kube_oidc::Origin;
///
/// let orders: Origin = "https://orders.shop.svc".parse()?;
/// assert_eq!(orders.to_string(), "https://orders.shop.svc:443");
/// # Ok::<(), tower_kube_oidc::OriginError>(())
/// ```
///
/// Whoever reads a token on its way can use it, so it has to be https, but for `localhost` and
/// addresses of loopback; [`dangerous_allow_http`](Self::dangerous_allow_http) is for those whose
/// mesh encrypts beneath.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    scheme: Scheme,
    host: String,
    port: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Scheme {
    Http,
    Https,
}

impl Scheme {
    fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// A text is no origin to send a token to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OriginError {
    /// It is no URL with a host.
    #[error("it is no URL with a scheme and a host")]
    InvalidUrl,
    /// Its scheme is neither `https` nor `http`.
    #[error("its scheme is neither https nor http")]
    UnsupportedScheme,
    /// It says more than scheme, host and port.
    #[error("an origin is scheme, host and port, and nothing else")]
    NotAnOrigin,
    /// It is plain http, where everybody on the way can read the token.
    #[error("plain http shows the token to everybody on the way: Origin::dangerous_allow_http")]
    PlainHttp,
}

impl Origin {
    /// An origin that may be plain http: whoever can read the connection reads the token. For
    /// networks that are encrypted beneath, as in a service mesh.
    ///
    /// # Errors
    ///
    /// It is no origin: see [`OriginError`].
    pub fn dangerous_allow_http(text: &str) -> Result<Self, OriginError> {
        let uri: Uri = text.parse().map_err(|_| OriginError::InvalidUrl)?;
        let bare = matches!(uri.path(), "" | "/") && uri.query().is_none() && !text.contains('#');
        let user = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
        if !bare || user { Err(OriginError::NotAnOrigin) } else { Self::of(&uri) }
    }

    /// The origin that this `Host` header would name, where the scheme is this one's.
    pub(super) fn of_host(&self, host: &str) -> Result<Self, OriginError> {
        if host.contains(['/', '?', '#', '@']) {
            return Err(OriginError::NotAnOrigin);
        }
        let uri: Uri = format!("{}://{host}", self.scheme.name())
            .parse()
            .map_err(|_| OriginError::InvalidUrl)?;
        Self::of(&uri)
    }

    /// Where a request goes.
    pub(super) fn of(uri: &Uri) -> Result<Self, OriginError> {
        let scheme = match uri.scheme_str() {
            Some("https") => Scheme::Https,
            Some("http") => Scheme::Http,
            Some(_) => return Err(OriginError::UnsupportedScheme),
            None => return Err(OriginError::InvalidUrl),
        };
        let host = uri.host().filter(|host| !host.is_empty()).ok_or(OriginError::InvalidUrl)?;
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let without_user = authority.rsplit('@').next().unwrap_or_default();
        let port = match (uri.port(), scheme) {
            (Some(port), _) => port.as_u16(),
            // what is no port would be passed over
            (None, _) if without_user != host => return Err(OriginError::InvalidUrl),
            (None, Scheme::Https) => 443,
            (None, Scheme::Http) => 80,
        };
        Ok(Self { scheme, host: host.to_ascii_lowercase(), port })
    }

    fn is_loopback(&self) -> bool {
        let address = self.host.trim_start_matches('[').trim_end_matches(']');
        self.host == "localhost" || address.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        let origin = Self::dangerous_allow_http(text)?;
        match origin.scheme {
            Scheme::Http if !origin.is_loopback() => Err(OriginError::PlainHttp),
            _ => Ok(origin),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.scheme.name(), self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scheme_host_and_port() {
        for (text, shown) in [
            ("https://orders.shop.svc", "https://orders.shop.svc:443"),
            ("https://Orders.Shop.svc:8443/", "https://orders.shop.svc:8443"),
            ("http://localhost:8080", "http://localhost:8080"),
            ("http://127.0.0.1", "http://127.0.0.1:80"),
            ("http://[::1]:1", "http://[::1]:1"),
        ] {
            assert_eq!(text.parse::<Origin>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn what_is_no_origin() {
        for (text, error) in [
            ("", OriginError::InvalidUrl),
            ("orders.shop.svc", OriginError::InvalidUrl),
            ("/orders", OriginError::NotAnOrigin),
            ("https://", OriginError::InvalidUrl),
            ("https://orders.shop.svc:84430", OriginError::InvalidUrl),
            ("https://orders.shop.svc:", OriginError::InvalidUrl),
            ("https://svc:8443svc", OriginError::InvalidUrl),
            ("ftp://orders.shop.svc", OriginError::UnsupportedScheme),
            ("https://orders.shop.svc/v1", OriginError::NotAnOrigin),
            ("https://orders.shop.svc/?a", OriginError::NotAnOrigin),
            ("https://orders.shop.svc#a", OriginError::NotAnOrigin),
            ("https://me@orders.shop.svc", OriginError::NotAnOrigin),
            ("http://orders.shop.svc", OriginError::PlainHttp),
            ("http://127.0.0.1.evil.test", OriginError::PlainHttp),
            ("http://localhost.evil.test", OriginError::PlainHttp),
        ] {
            assert_eq!(text.parse::<Origin>(), Err(error), "{text}");
        }
        assert!(Origin::dangerous_allow_http("http://orders.shop.svc").is_ok());
    }
}
