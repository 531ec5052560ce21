//! [`Origin`]: where a document came from, for errors.

use std::fmt;

use super::FetchResponse;

/// The names that an error shows of what a server declares a document to be. No other text of a header
/// is shown, since a server may send back a credential.
const ENCODINGS: [&str; 6] = ["gzip", "x-gzip", "br", "deflate", "zstd", "compress"];
const MEDIA_TYPES: [&str; 7] = [
    "text/html",
    "application/xhtml+xml",
    "text/plain",
    "text/xml",
    "application/xml",
    "application/octet-stream",
    "application/x-pem-file",
];

/// Where a document came from, and what its server declares it to be.
#[derive(Debug)]
pub(crate) struct Origin {
    /// The shown URL or path.
    place: String,
    encoding: Option<&'static str>,
    media_type: Option<&'static str>,
}

impl Origin {
    pub(super) fn file(path: String) -> Self {
        Self { place: path, encoding: None, media_type: None }
    }

    pub(super) fn response(url: String, response: &FetchResponse) -> Self {
        let known = |name: &str, all: &[&'static str]| {
            let value = response.header(name)?.split(';').next()?.trim();
            all.iter().find(|known| known.eq_ignore_ascii_case(value)).copied()
        };
        Self {
            place: url,
            encoding: known("content-encoding", &ENCODINGS),
            media_type: known("content-type", &MEDIA_TYPES),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place)?;
        match (self.encoding, self.media_type) {
            (Some(encoding), _) => write!(f, " (content-encoding {encoding})"),
            (None, Some(media_type)) => write!(f, " (content-type {media_type})"),
            (None, None) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // rule: not-a-key-set
    #[test]
    fn only_known_values_of_headers_are_shown() {
        for (name, value, shown) in [
            ("content-encoding", "br", "https://a.example (content-encoding br)"),
            ("content-encoding", "GZIP", "https://a.example (content-encoding gzip)"),
            ("content-encoding", "s3cr3t", "https://a.example"),
            ("content-encoding", "gzip, s3cr3t", "https://a.example"),
            (
                "content-type",
                "text/html; charset=s3cr3t",
                "https://a.example (content-type text/html)",
            ),
            ("content-type", "s3cr3t", "https://a.example"),
            ("content-type", "application/json", "https://a.example"),
            ("server", "text/html", "https://a.example"),
        ] {
            let response = FetchResponse::new(200, "").with_header(name, value);
            let origin = Origin::response("https://a.example".to_owned(), &response);
            assert_eq!(origin.to_string(), shown, "{name}: {value}");
        }
        assert_eq!(Origin::file("`/keys`".to_owned()).to_string(), "`/keys`");
    }
}
