//! The provider metadata ([OpenID Connect Discovery 1.0]): read, and checked.
//!
//! [OpenID Connect Discovery 1.0]: https://openid.net/specs/openid-connect-discovery-1_0.html#ProviderMetadata

use std::borrow::Cow;

use serde::de::MapAccess;
use url::Url;

use super::{FetchResponse, LoadError, Origin, load_error::MetadataError};
use crate::{
    clock::Moment,
    encoding::json::{self, Foreign, Members, Value, document_text, names},
    issuer_name::{Names, Transport},
    observe::display::{Shown, shown_origin, shown_url},
};

/// The maximum length of a name that is learned from a document, in bytes.
const MAX_ISSUER_BYTES: usize = 2048;

/// The members that count.
#[derive(Default)]
struct Metadata<'a> {
    issuer: Option<Cow<'a, str>>,
    jwks_uri: Option<Cow<'a, str>>,
}

names!(MetadataName { Issuer = "issuer", JwksUri = "jwks_uri" });

impl<'de> Members<'de> for Metadata<'de> {
    type Name = MetadataName;

    fn member<A: MapAccess<'de>>(
        &mut self,
        name: MetadataName,
        value: Value<'_, A>,
    ) -> Result<(), A::Error> {
        let slot = match name {
            MetadataName::Issuer => &mut self.issuer,
            MetadataName::JwksUri => &mut self.jwks_uri,
        };
        *slot = Some(value.text()?);
        Ok(())
    }
}

impl<'a> Metadata<'a> {
    fn read(document: &'a [u8]) -> Result<Self, MetadataError> {
        let text = document_text(document).map_err(|foreign| match foreign {
            Foreign::NotUtf8 => MetadataError::NotUtf8,
            Foreign::Kind(kind) => MetadataError::Malformed(kind.to_owned()),
        })?;
        let mut metadata = Self::default();
        json::parse_object(text, &mut metadata)
            .map_err(|error| MetadataError::Malformed(error.words()))?;
        Ok(metadata)
    }

    fn issuer(&self) -> Result<&str, MetadataError> {
        let issuer = self.issuer.as_deref();
        let issuer = issuer.filter(|issuer| (1..=MAX_ISSUER_BYTES).contains(&issuer.len()));
        issuer.ok_or(MetadataError::Missing("issuer"))
    }
}

/// Reads the issuer's name in the metadata of an API server.
pub(super) fn issuer(url: &str, response: &FetchResponse) -> Result<String, LoadError> {
    let issuer = Metadata::read(response.body()).and_then(|read| read.issuer().map(str::to_owned));
    issuer.map_err(|problem| invalid(url, response, problem))
}

/// Reads the metadata of an issuer: the URL of its keys.
///
/// `issuer` in it must be a name of the issuer, byte for byte (section 4.3): the document of
/// another issuer would let that one sign in this one's name.
pub(super) fn jwks_uri(
    url: &str,
    response: &FetchResponse,
    transport: Transport,
    names: &Names,
    now: Moment,
) -> Result<Url, LoadError> {
    let invalid = |problem| invalid(url, response, problem);
    let metadata = Metadata::read(response.body()).map_err(invalid)?;
    let found = metadata.issuer().map_err(invalid)?;
    if !names.contain(found, now) {
        let expected = names.shown();
        let is_slash = found.trim_end_matches('/') == expected.trim_end_matches('/');
        return Err(LoadError::OtherIssuer {
            found: shown_origin(found, None),
            expected: Shown(&expected).to_string(),
            hint: if is_slash {
                "; the two differ in a slash at the end"
            } else {
                "; add_alias(..) accepts both, if they are names of one cluster"
            },
        });
    }
    let jwks_uri = metadata.jwks_uri.ok_or_else(|| invalid(MetadataError::Missing("jwks_uri")))?;
    transport
        .parse_endpoint(&jwks_uri)
        .map_err(|source| LoadError::JwksUri { url: shown_origin(&jwks_uri, None), source })
}

fn invalid(url: &str, response: &FetchResponse, source: MetadataError) -> LoadError {
    LoadError::Metadata { origin: Origin::response(shown_url(url), response), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    const URL: &str = "https://issuer.example/a/.well-known/openid-configuration";

    fn read(document: &str) -> Result<Url, LoadError> {
        read_bytes(document.as_bytes())
    }

    fn read_bytes(document: &[u8]) -> Result<Url, LoadError> {
        let names = Names::configured(&"https://issuer.example/a/".into(), &[]);
        let response = FetchResponse::new(200, document);
        jwks_uri(URL, &response, Transport::Https, &names, Moment::now(&SystemClock))
    }

    #[test]
    fn keys_may_live_on_another_host() {
        let url = read(
            r#"{"issuer":"https://issuer.example/a/","jwks_uri":"https://10.0.0.1:6443/openid/v1/jwks"}"#,
        );
        assert_eq!(url.unwrap().as_str(), "https://10.0.0.1:6443/openid/v1/jwks");
    }

    #[test]
    fn the_issuer_must_be_ours_byte_for_byte() {
        for issuer in [
            "https://issuer.example/a",
            "https://issuer.example/a//",
            "https://ISSUER.example/a/",
            "https://issuer.example:443/a/",
            "https://evil.example",
        ] {
            let document = format!(r#"{{"issuer":"{issuer}","jwks_uri":"https://k.example"}}"#);
            assert!(matches!(read(&document), Err(LoadError::OtherIssuer { .. })), "{issuer}");
        }
    }

    // rule: absent-key-members
    #[test]
    fn bad_documents_are_refused() {
        let with_keys_at =
            |url: &str| format!(r#"{{"issuer":"https://issuer.example/a/","jwks_uri":"{url}"}}"#);
        assert!(matches!(read(&with_keys_at("http://k.example")), Err(LoadError::JwksUri { .. })));
        assert!(matches!(read(&with_keys_at("http://127.0.0.1")), Err(LoadError::JwksUri { .. })));
        assert!(matches!(read(&with_keys_at("/keys")), Err(LoadError::JwksUri { .. })));
        assert!(matches!(read(&with_keys_at("file:///k")), Err(LoadError::JwksUri { .. })));
        let problem = |document: &[u8]| match read_bytes(document) {
            Err(LoadError::Metadata { origin, source }) => {
                assert_eq!(origin.to_string(), URL);
                source
            }
            other => panic!("{other:?}"),
        };
        assert!(matches!(problem(b"<html>"), MetadataError::Malformed(_)));
        assert!(matches!(problem(b"{}"), MetadataError::Missing("issuer")));
        assert!(matches!(
            problem(br#"{"issuer":"https://issuer.example/a/"}"#),
            MetadataError::Missing("jwks_uri")
        ));
        let twice = br#"{"issuer":"https://evil.example","issuer":"https://issuer.example/a/","jwks_uri":"https://k"}"#;
        assert!(matches!(problem(twice), MetadataError::Malformed(_)));
        assert!(matches!(problem(b"{\"issuer\":\"\xff\"}"), MetadataError::NotUtf8));
        for absent in ["null", "[]"] {
            let document = format!(r#"{{"issuer":{absent},"jwks_uri":"https://k.example"}}"#);
            assert!(matches!(problem(document.as_bytes()), MetadataError::Malformed(_)));
        }
    }

    #[test]
    fn byte_order_mark_before_a_document_is_ignored() {
        let document = r#"{"issuer":"https://issuer.example/a/","jwks_uri":"https://k.example/"}"#;
        let url = read(&format!("\u{feff}{document}")).unwrap();
        assert_eq!(url.as_str(), "https://k.example/");
    }
}
