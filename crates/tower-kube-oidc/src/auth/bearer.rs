//! The header with the token: exactly one bearer token ([RFC 6750, 2.1]), or not.
//!
//! [RFC 6750, 2.1]: https://www.rfc-editor.org/rfc/rfc6750#section-2.1

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{AUTHORIZATION, Entry},
};

use crate::response::Rejection;

/// Why there is no token to check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoToken {
    /// No credentials, or those of another scheme.
    NoCredentials,
    /// Credentials of ours that cannot be read.
    Malformed(&'static str),
}

impl From<NoToken> for Rejection {
    fn from(no_token: NoToken) -> Self {
        match no_token {
            NoToken::NoCredentials => Self::NoCredentials,
            NoToken::Malformed(detail) => Self::InvalidRequest(detail),
        }
    }
}

const SCHEME: &[u8] = b"bearer";

/// Where the token is.
#[derive(Clone, Debug, Default)]
pub(crate) enum TokenHeader {
    #[default]
    Authorization,
    /// Another header, and only that.
    Named(HeaderName),
}

impl TokenHeader {
    pub(crate) fn named(name: HeaderName) -> Self {
        if name == AUTHORIZATION { Self::Authorization } else { Self::Named(name) }
    }

    pub(crate) fn name(&self) -> HeaderName {
        match self {
            Self::Authorization => AUTHORIZATION,
            Self::Named(name) => name.clone(),
        }
    }

    /// The header, if it is another than `Authorization`.
    pub(crate) fn other_name(&self) -> Option<&HeaderName> {
        match self {
            Self::Authorization => None,
            Self::Named(name) => Some(name),
        }
    }

    /// The header's value that holds the token. It is marked sensitive, so that nothing which
    /// comes after prints it.
    pub(crate) fn find<'a>(&self, headers: &'a mut HeaderMap) -> Result<&'a HeaderValue, NoToken> {
        match self {
            Self::Authorization => find(headers, &AUTHORIZATION),
            Self::Named(name) => {
                // of two tokens nobody could say which one speaks
                let beside = match find(headers, &AUTHORIZATION) {
                    Err(NoToken::NoCredentials) => None,
                    Err(several) => Some(several),
                    Ok(value) => (after_scheme(value) != Err(NoToken::NoCredentials)
                        || is_joined_with_bearer(value))
                    .then_some(TOKEN_BESIDE),
                };
                let value = find(headers, name);
                beside.map_or(value, Err)
            }
        }
    }

    /// What stands in the header's value where the token should be. It may be anything: see
    /// [`check`].
    pub(crate) fn token<'a>(&self, value: &'a HeaderValue) -> Result<&'a [u8], NoToken> {
        match (self, after_scheme(value)) {
            // a header that is named for the token may hold it bare
            (Self::Named(_), Err(NoToken::NoCredentials)) => Ok(value.as_bytes()),
            (_, token) => token,
        }
    }
}

const TOKEN_BESIDE: NoToken =
    NoToken::Malformed("there is a bearer token in Authorization beside the header that is read");

fn find<'a>(headers: &'a mut HeaderMap, name: &HeaderName) -> Result<&'a HeaderValue, NoToken> {
    // mostly no header of any name comes twice, which costs nothing to know
    if headers.len() != headers.keys_len() && hide_several(headers, name) {
        return Err(NoToken::Malformed("there is more than one such header"));
    }
    let value = headers.get_mut(name).ok_or(NoToken::NoCredentials)?;
    value.set_sensitive(true);
    Ok(value)
}

/// Marks all values sensitive if there are several.
fn hide_several(headers: &mut HeaderMap, name: &HeaderName) -> bool {
    let several = headers.get_all(name).iter().nth(1).is_some();
    if several && let Entry::Occupied(mut entry) = headers.entry(name) {
        entry.iter_mut().for_each(|value| value.set_sensitive(true));
    }
    several
}

/// Whether a proxy may have joined several credentials, of which one is a bearer token.
fn is_joined_with_bearer(value: &HeaderValue) -> bool {
    let mut words = value.as_bytes().split(|byte| matches!(byte, b' ' | b',' | b'\t'));
    words.any(|word| word.eq_ignore_ascii_case(SCHEME))
}

/// What stands after `Bearer`.
fn after_scheme(value: &HeaderValue) -> Result<&[u8], NoToken> {
    let bytes = value.as_bytes();
    let rest = match bytes.split_at_checked(SCHEME.len()) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case(SCHEME) => rest,
        _ => return Err(NoToken::NoCredentials),
    };
    // the name of another scheme may begin like ours
    if rest.first().copied().is_some_and(is_name_byte) {
        return Err(NoToken::NoCredentials);
    }
    let spaces = rest.iter().take_while(|byte| **byte == b' ').count();
    let token = &rest[spaces..];
    if spaces == 0 || token.is_empty() { Err(NO_TOKEN) } else { Ok(token) }
}

/// Leaves a line in the log if credentials that are no bearer token are a JWT without `Bearer`.
#[cold]
pub(crate) fn log_missing_scheme(value: &HeaderValue) {
    if let Some(scheme) = scheme_of_jwt(value.as_bytes()) {
        tracing::info!(
            reason = "no_credentials",
            scheme,
            detail = "expected `Authorization: Bearer <token>`",
            "token without the Bearer scheme"
        );
    }
}

/// The schemes before which callers put a token by mistake. The log shows no other word.
const MISTAKEN_SCHEMES: [&str; 4] = ["Token", "JWT", "OAuth", "Basic"];

/// The mistaken scheme before a JWT, or `none`. `None`: this is no JWT, or another scheme.
fn scheme_of_jwt(value: &[u8]) -> Option<&'static str> {
    let mut words = value.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    let (first, second) = (words.next()?, words.next());
    if words.next().is_some() {
        return None;
    }
    let (scheme, token) = match second {
        None => ("none", first),
        Some(token) => {
            let is_first = |scheme: &&str| first.eq_ignore_ascii_case(scheme.as_bytes());
            (MISTAKEN_SCHEMES.into_iter().find(is_first)?, token)
        }
    };
    let parts = token.split(|byte| *byte == b'.').count();
    (token.starts_with(b"eyJ") && parts == 3 && is_token68(token)).then_some(scheme)
}

const NO_TOKEN: NoToken = NoToken::Malformed("no single token after Bearer");

/// Whether it is one token, good or bad. A token that was accepted is, so nobody need look.
pub(crate) fn check(token: &[u8]) -> Result<(), NoToken> {
    if is_token68(token) { Ok(()) } else { Err(NO_TOKEN) }
}

/// `tchar` of [RFC 9110, 5.6.2]: what the name of a scheme is made of.
///
/// [RFC 9110, 5.6.2]: https://www.rfc-editor.org/rfc/rfc9110#section-5.6.2
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// `token68` of [RFC 9110, 11.2].
///
/// [RFC 9110, 11.2]: https://www.rfc-editor.org/rfc/rfc9110#section-11.2
fn is_token68(bytes: &[u8]) -> bool {
    let padding = bytes.iter().rev().take_while(|byte| **byte == b'=').count();
    let (body, _) = bytes.split_at(bytes.len() - padding);
    !body.is_empty()
        && body.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_from(header: &TokenHeader, headers: &[(HeaderName, &[u8])]) -> Result<String, NoToken> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, HeaderValue::from_bytes(value).unwrap());
        }
        let token = header.token(header.find(&mut map)?)?;
        check(token)?;
        Ok(String::from_utf8(token.to_vec()).unwrap())
    }

    fn read(values: &[&[u8]]) -> Result<String, NoToken> {
        let headers: Vec<_> = values.iter().map(|value| (AUTHORIZATION, *value)).collect();
        read_from(&TokenHeader::default(), &headers)
    }

    // rule: token-header
    #[test]
    fn another_header_is_the_only_one_that_is_read() {
        let name = HeaderName::from_static("x-workload-token");
        let header = TokenHeader::named(name.clone());
        let read = |headers: &[(HeaderName, &[u8])]| read_from(&header, headers);
        assert_eq!(read(&[(name.clone(), b"a.b.c")]).unwrap(), "a.b.c");
        assert_eq!(read(&[(name.clone(), b"Bearer a.b.c")]).unwrap(), "a.b.c");
        assert_eq!(read(&[]), Err(NoToken::NoCredentials));
        let basic = (AUTHORIZATION, &b"Basic dXNlcjpwYXNz"[..]);
        assert_eq!(read(std::slice::from_ref(&basic)), Err(NoToken::NoCredentials));
        assert_eq!(read(&[basic, (name.clone(), b"a.b.c")]).unwrap(), "a.b.c");
        for value in [&b""[..], b"Basic x y", b"Bearer", b"a b", b"a,b", b"Bearer a b"] {
            let malformed = read(&[(name.clone(), value)]);
            assert!(matches!(malformed, Err(NoToken::Malformed(_))), "{value:?}");
        }
        let twice = read(&[(name.clone(), b"a"), (name.clone(), b"a")]);
        assert!(matches!(twice, Err(NoToken::Malformed(_))));
        for beside in [
            &b"Bearer x"[..],
            b"bearer",
            b"Bearer a b",
            b"Basic dXNlcjpwYXNz, Bearer x",
            b"Basic dXNlcjpwYXNz,bearer x",
        ] {
            let beside = (AUTHORIZATION, beside);
            assert_eq!(read(std::slice::from_ref(&beside)), Err(TOKEN_BESIDE));
            assert_eq!(read(&[beside, (name.clone(), b"a.b.c")]), Err(TOKEN_BESIDE));
        }
        assert!(matches!(TokenHeader::named(AUTHORIZATION), TokenHeader::Authorization));
    }

    #[test]
    fn one_token_in_any_spelling_of_the_scheme() {
        for value in ["Bearer a.b-c_~+/d==", "bearer a.b-c_~+/d==", "BEARER   a.b-c_~+/d=="] {
            assert_eq!(read(&[value.as_bytes()]).unwrap(), "a.b-c_~+/d==");
        }
    }

    #[test]
    fn another_scheme_is_no_credentials() {
        let others = ["", "Basic dXNlcjpwYXNz", "Bearerx a", "Bear", "Negotiate", "Bearer-2 a"];
        // as long as ours
        for value in others.into_iter().chain(["Digest a.b.c", "Bearex a.b.c"]) {
            assert_eq!(read(&[value.as_bytes()]), Err(NoToken::NoCredentials), "{value:?}");
        }
        assert_eq!(read(&[]), Err(NoToken::NoCredentials));
    }

    #[test]
    fn jwt_without_bearer_is_recognized() {
        for (value, scheme) in [
            ("eyJh.eyJi.c2ln", "none"),
            (" eyJh.eyJi.c2ln ", "none"),
            ("Token eyJh.eyJi.c2ln", "Token"),
            ("token  eyJh.eyJi.c2ln", "Token"),
            ("jwt eyJh.eyJi.c2ln", "JWT"),
            ("OAuth eyJh.eyJi.", "OAuth"),
            ("Basic eyJh.eyJi.c2ln", "Basic"),
        ] {
            assert_eq!(scheme_of_jwt(value.as_bytes()), Some(scheme), "{value}");
        }
        for value in [
            "",
            " ",
            "eyJh",
            "eyJh.eyJi",
            "eyJh.eyJi.c2ln.x",
            "a.b.c",
            "eyJh.eyJi.c2\u{e4}",
            "Basic dXNlcjpwYXNz",
            "Token abc",
            "DPoP eyJh.eyJi.c2ln",
            "Token eyJh.eyJi.c2ln x",
            "eyJh.eyJi.c2ln, eyJh.eyJi.c2ln",
        ] {
            assert_eq!(scheme_of_jwt(value.as_bytes()), None, "{value}");
        }
    }

    #[test]
    fn a_bearer_that_cannot_be_read_is_malformed() {
        for value in [
            &b"Bearer"[..],
            b"Bearer ",
            b"Bearer\ta",
            b"Bearer,a",
            b"Bearer \ta",
            b"Bearer a b",
            b"Bearer a, Bearer b",
            b"Bearer a,b",
            b"Bearer =",
            b"Bearer a=b",
            b"Bearer \"a\"",
            b"Bearer a\xe4",
            b"Bearer:a",
            b"Bearer/a",
        ] {
            assert!(matches!(read(&[value]), Err(NoToken::Malformed(_))), "{value:?}");
        }
        let two: [&[u8]; 2] = [b"Bearer a", b"Bearer a"];
        assert!(matches!(read(&two), Err(NoToken::Malformed(_))));
        let mixed: [&[u8]; 2] = [b"Basic a", b"Bearer a"];
        assert!(matches!(read(&mixed), Err(NoToken::Malformed(_))));
    }

    #[test]
    fn every_value_is_hidden() {
        let name = HeaderName::from_static("x-workload-token");
        for header in [TokenHeader::default(), TokenHeader::named(name.clone())] {
            let mut headers = HeaderMap::new();
            for value in ["Bearer a", "Basic b", "Bearer c"] {
                headers.append(AUTHORIZATION, HeaderValue::from_static(value));
                headers.append(header.name(), HeaderValue::from_static(value));
                let _ = header.find(&mut headers);
                assert!(headers.values().all(HeaderValue::is_sensitive));
            }
        }
    }
}
