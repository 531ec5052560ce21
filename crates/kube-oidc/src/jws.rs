//! The compact form of a JWS ([RFC 7515, 3.1]): three parts, and a header. No key or claim here.
//!
//! [RFC 7515, 3.1]: https://www.rfc-editor.org/rfc/rfc7515#section-3.1

use std::borrow::Cow;

use serde::de::MapAccess;

use crate::{
    algorithm::Algorithm,
    encoding::{
        base64url::{self, Room},
        json::{self, Members, Value, names},
    },
    error::InvalidToken,
    keys::set::MAX_KID_BYTES,
};

/// As long as a token may be, in bytes. A Kubernetes token has about 1 KiB; an ML-DSA signature adds
/// 3 to 6 KiB.
pub(crate) const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// A token cut into its parts, of which none is decoded yet.
#[derive(Clone, Copy)]
pub(crate) struct Compact<'t> {
    /// What was signed: the first two parts and the dot between, as received.
    pub(crate) signing_input: &'t [u8],
    header: &'t [u8],
    payload: &'t [u8],
    signature: &'t [u8],
}

impl<'t> Compact<'t> {
    pub(crate) fn parse(token: &'t [u8]) -> Result<Self, InvalidToken> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(InvalidToken::TooLong { length: token.len(), limit: MAX_TOKEN_BYTES });
        }
        // five parts are an encrypted token (JWE), which no Kubernetes issuer makes
        let mut dots = memchr::memchr_iter(b'.', token);
        let (Some(first), Some(second), None) = (dots.next(), dots.next(), dots.next()) else {
            return Err(InvalidToken::Malformed("it has not three parts"));
        };
        Ok(Self {
            signing_input: &token[..second],
            header: &token[..first],
            payload: &token[first + 1..second],
            signature: &token[second + 1..],
        })
    }

    /// How many bytes of room its parts need to be decoded, at most.
    pub(crate) fn room_for(token: &[u8]) -> usize {
        base64url::decoded_len(token.len())
    }

    pub(crate) fn decode_header<'r>(&self, room: &mut Room<'r>) -> Result<&'r str, InvalidToken> {
        decode_text(self.header, room, "its header is not base64url of UTF-8")
    }

    pub(crate) fn decode_payload<'r>(&self, room: &mut Room<'r>) -> Result<&'r str, InvalidToken> {
        decode_text(self.payload, room, "its payload is not base64url of UTF-8")
    }

    pub(crate) fn decode_signature<'r>(
        &self,
        room: &mut Room<'r>,
    ) -> Result<&'r [u8], InvalidToken> {
        room.decode(self.signature)
            .filter(|signature| !signature.is_empty())
            .ok_or(InvalidToken::Malformed("its signature is missing or not base64url"))
    }
}

fn decode_text<'r>(
    part: &[u8],
    room: &mut Room<'r>,
    problem: &'static str,
) -> Result<&'r str, InvalidToken> {
    room.decode(part)
        .and_then(|bytes| std::str::from_utf8(bytes).ok())
        .ok_or(InvalidToken::Malformed(problem))
}

/// The members of a header that count.
///
/// `jku`, `x5u`, `jwk` and `x5c` are read over like any unknown member: a key never comes from a
/// token.
#[derive(Debug)]
pub(crate) struct Header<'h> {
    pub(crate) algorithm: Algorithm,
    pub(crate) kid: Option<Cow<'h, str>>,
    pub(crate) typ: Option<Cow<'h, str>>,
}

impl<'h> Header<'h> {
    /// Reads a header. `alg` must be in `allowed`.
    pub(crate) fn parse(text: &'h str, allowed: &[Algorithm]) -> Result<Self, InvalidToken> {
        let mut members = HeaderMembers::default();
        json::parse_object(text, &mut members)
            .map_err(|_| InvalidToken::Malformed("its header is not a well-formed JSON object"))?;
        if members.demanding {
            return Err(InvalidToken::Malformed("its header has crit, b64, zip or enc"));
        }
        if members.kid.as_ref().is_some_and(|kid| kid.len() > MAX_KID_BYTES) {
            return Err(InvalidToken::Malformed("its kid is too long"));
        }
        let alg = members.alg.ok_or(InvalidToken::Malformed("its header has no alg"))?;
        let algorithm = Algorithm::from_name(&alg)
            .filter(|algorithm| allowed.contains(algorithm))
            .ok_or(InvalidToken::AlgorithmNotAllowed)?;
        // an empty name names nothing: API servers before 1.16 write one, and go-jose reads it so
        let kid = members.kid.filter(|kid| !kid.is_empty());
        Ok(Self { algorithm, kid, typ: members.typ })
    }
}

names!(HeaderName {
    Alg = "alg",
    Kid = "kid",
    Typ = "typ",
    Crit = "crit",
    B64 = "b64",
    Zip = "zip",
    Enc = "enc",
});

#[derive(Default)]
struct HeaderMembers<'h> {
    alg: Option<Cow<'h, str>>,
    kid: Option<Cow<'h, str>>,
    typ: Option<Cow<'h, str>>,
    /// There is a member that changes how the rest is to be read, which we do not support.
    demanding: bool,
}

impl<'de> Members<'de> for HeaderMembers<'de> {
    type Name = HeaderName;

    fn member<A: MapAccess<'de>>(
        &mut self,
        name: HeaderName,
        value: Value<'_, A>,
    ) -> Result<(), A::Error> {
        let slot = match name {
            HeaderName::Alg => &mut self.alg,
            HeaderName::Kid => &mut self.kid,
            HeaderName::Typ => &mut self.typ,
            HeaderName::Crit | HeaderName::B64 | HeaderName::Zip | HeaderName::Enc => {
                self.demanding = true;
                return value.skip();
            }
        };
        *slot = Some(value.text()?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(text: &str) -> Result<Header<'_>, InvalidToken> {
        Header::parse(text, Algorithm::ALL)
    }

    #[test]
    fn a_token_has_three_parts() {
        for token in ["", "a", "a.b", "a.b.c.d", "a.b.c.d.e", "....", "..."] {
            assert!(
                matches!(Compact::parse(token.as_bytes()), Err(InvalidToken::Malformed(_))),
                "{token:?}"
            );
        }
        let compact = Compact::parse(b"e30.e30.AA").unwrap();
        assert_eq!(compact.signing_input, b"e30.e30");
        let mut bytes = vec![0; Compact::room_for(b"e30.e30.AA")];
        let mut room = Room::new(&mut bytes);
        assert_eq!(compact.decode_header(&mut room).unwrap(), "{}");
        assert_eq!(compact.decode_payload(&mut room).unwrap(), "{}");
        assert_eq!(compact.decode_signature(&mut room).unwrap(), [0]);
        let mut none = Room::new(&mut []);
        assert!(Compact::parse(b"e30.e30.").unwrap().decode_signature(&mut none).is_err());
        assert!(Compact::parse(b".e30.AA").unwrap().decode_header(&mut none).unwrap().is_empty());
    }

    #[test]
    fn the_length_limit_is_exact() {
        let token = |length: usize| format!("a.b.{}", "c".repeat(length - 4));
        assert!(Compact::parse(token(16_384).as_bytes()).is_ok());
        assert!(matches!(
            Compact::parse(token(16_385).as_bytes()),
            Err(InvalidToken::TooLong { length: 16_385, limit: 16_384 })
        ));
    }

    // rule: absent-key-members
    #[test]
    fn the_header_is_read_strictly() {
        let read =
            header(r#"{"alg":"RS256","kid":"k\u0031","typ":"JWT","jku":"https://x","x":{}}"#)
                .unwrap();
        assert_eq!(read.algorithm, Algorithm::Rs256);
        assert_eq!(read.kid.unwrap(), "k1");
        for text in [
            "",
            "[]",
            "{}",
            r#"{"alg":1}"#,
            r#"{"alg":null}"#,
            r#"{"alg":["RS256"]}"#,
            r#"{"alg":"RS256","alg":"RS256"}"#,
            r#"{"alg":"RS256","\u0061lg":"none"}"#,
            r#"{"alg":"RS256","kid":1}"#,
            r#"{"alg":"RS256","kid":null}"#,
            r#"{"alg":"RS256","crit":[]}"#,
            r#"{"alg":"RS256","crit":["b64"],"b64":false}"#,
            r#"{"alg":"RS256","b64":true}"#,
            r#"{"alg":"RS256","zip":"DEF"}"#,
            r#"{"alg":"RSA-OAEP","enc":"A256GCM"}"#,
            r#"{"alg":"RS256","x":{"a":1,"a":1}}"#,
            r#"{"alg":"RS256"} x"#,
        ] {
            assert!(matches!(header(text), Err(InvalidToken::Malformed(_))), "{text}");
        }
    }

    // rule: empty-kid
    #[test]
    fn empty_kid_is_no_kid() {
        assert_eq!(header(r#"{"alg":"RS256","kid":""}"#).unwrap().kid, None);
        assert_eq!(header(r#"{"alg":"RS256","kid":" "}"#).unwrap().kid.unwrap(), " ");
    }

    #[test]
    fn only_allowed_algorithms_pass() {
        for alg in ["none", "None", "HS256", "RS1", "rs256", ""] {
            let text = format!(r#"{{"alg":"{alg}"}}"#);
            assert!(matches!(header(&text), Err(InvalidToken::AlgorithmNotAllowed)), "{alg}");
        }
        let text = r#"{"alg":"ES256"}"#;
        assert!(Header::parse(text, &[Algorithm::Rs256]).is_err());
        assert!(Header::parse(text, &[Algorithm::Es256]).is_ok());
    }

    #[test]
    fn ml_dsa_is_allowed_with_its_feature_only() {
        for alg in ["ML-DSA-44", "ML-DSA-65", "ML-DSA-87"] {
            let text = format!(r#"{{"alg":"{alg}"}}"#);
            let read = header(&text).map(|header| header.algorithm.name());
            let expected = if cfg!(feature = "ml-dsa") {
                Ok(alg)
            } else {
                Err(InvalidToken::AlgorithmNotAllowed)
            };
            assert_eq!(read, expected);
            let refused = Header::parse(&text, &[Algorithm::Rs256]).unwrap_err();
            assert_eq!(refused, InvalidToken::AlgorithmNotAllowed, "{alg}");
        }
    }

    // rule: key-limits
    #[test]
    fn the_kid_limit_is_exact() {
        let with_kid =
            |length: usize| format!(r#"{{"alg":"RS256","kid":"{}"}}"#, "k".repeat(length));
        assert!(header(&with_kid(MAX_KID_BYTES)).is_ok());
        assert!(header(&with_kid(MAX_KID_BYTES + 1)).is_err());
    }
}
