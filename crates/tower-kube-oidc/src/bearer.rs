//! The `Authorization` header: exactly one bearer token ([RFC 6750, 2.1]), or not.
//!
//! [RFC 6750, 2.1]: https://www.rfc-editor.org/rfc/rfc6750#section-2.1

use http::{
    HeaderMap, HeaderValue,
    header::{AUTHORIZATION, Entry},
};

/// Why there is no token to check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoToken {
    /// No credentials, or those of another scheme.
    NoCredentials,
    /// Credentials of ours that cannot be read.
    Malformed(&'static str),
}

const SCHEME: &[u8] = b"bearer";

/// The header's value that holds the token. It is marked sensitive, so that nothing which comes
/// after prints it.
pub(crate) fn find(headers: &mut HeaderMap) -> Result<&HeaderValue, NoToken> {
    // mostly no header of any name comes twice, which costs nothing to know
    if headers.len() > headers.keys_len() && hide_several(headers) {
        return Err(NoToken::Malformed("more than one Authorization header"));
    }
    let value = headers.get_mut(AUTHORIZATION).ok_or(NoToken::NoCredentials)?;
    value.set_sensitive(true);
    Ok(value)
}

/// Marks all values sensitive if there are several.
fn hide_several(headers: &mut HeaderMap) -> bool {
    let several = headers.get_all(AUTHORIZATION).iter().nth(1).is_some();
    if several && let Entry::Occupied(mut entry) = headers.entry(AUTHORIZATION) {
        entry.iter_mut().for_each(|value| value.set_sensitive(true));
    }
    several
}

/// What stands in the header's value where the token should be. It may be anything: see
/// [`check`].
pub(crate) fn token(value: &HeaderValue) -> Result<&[u8], NoToken> {
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

    fn read(values: &[&[u8]]) -> Result<String, NoToken> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
        }
        let token = token(find(&mut headers)?)?;
        check(token)?;
        Ok(String::from_utf8(token.to_vec()).unwrap())
    }

    #[test]
    fn one_token_in_any_spelling_of_the_scheme() {
        for value in ["Bearer a.b-c_~+/d==", "bearer a.b-c_~+/d==", "BEARER   a.b-c_~+/d=="] {
            assert_eq!(read(&[value.as_bytes()]).unwrap(), "a.b-c_~+/d==");
        }
    }

    #[test]
    fn another_scheme_is_no_credentials() {
        for value in ["", "Basic dXNlcjpwYXNz", "Bearerx a", "Bear", "Negotiate", "Bearer-2 a"] {
            assert_eq!(read(&[value.as_bytes()]), Err(NoToken::NoCredentials), "{value:?}");
        }
        assert_eq!(read(&[]), Err(NoToken::NoCredentials));
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
        let mut headers = HeaderMap::new();
        for value in ["Bearer a", "Basic b", "Bearer c"] {
            headers.append(AUTHORIZATION, HeaderValue::from_static(value));
            let _ = find(&mut headers);
            assert!(headers.get_all(AUTHORIZATION).iter().all(HeaderValue::is_sensitive));
        }
    }
}
