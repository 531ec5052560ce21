//! Text from a token or an issuer, made fit for a log line.

use std::{
    fmt::{self, Write as _},
    time::Duration,
};

use url::{Origin, Url};

/// Shows a text quoted, escaped and cut, so that it can neither forge a log line nor fill a disk.
pub(crate) struct Shown<'a>(pub(crate) &'a str);

/// As many bytes of a foreign text as a log line shows.
const MAX_BYTES: usize = 64;

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.len() <= MAX_BYTES {
            return write!(f, "{:?}", self.0);
        }
        let end = (0..=MAX_BYTES).rev().find(|at| self.0.is_char_boundary(*at)).unwrap_or(0);
        write!(f, "{:?}…", &self.0[..end])
    }
}

/// Shows a longer text escaped and cut, without quotes: what a library says of a foreign text.
pub(crate) struct Cut<'a>(pub(crate) &'a str);

/// As many characters of such a text as a log line shows.
const MAX_WORDS: usize = 160;

impl fmt::Display for Cut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars().take(MAX_WORDS) {
            match c {
                // such a text quotes what it speaks of
                '"' | '\'' => f.write_char(c)?,
                _ => write!(f, "{}", c.escape_debug())?,
            }
        }
        if self.0.chars().nth(MAX_WORDS).is_some() { f.write_str("…") } else { Ok(()) }
    }
}

/// Shows a URL of an operator, whether it is valid or not, without user info, query, and fragment,
/// which may be secrets.
pub(crate) fn shown_url(text: &str) -> String {
    if let Ok(mut url) = Url::parse(text)
        && url.has_host()
        && !url.path().contains('@')
    {
        // not possible for some schemes, none of which has a host
        let _ = (url.set_username(""), url.set_password(None));
        url.set_query(None);
        url.set_fragment(None);
        return Cut(url.as_str()).to_string();
    }
    if text.contains('@') {
        // a password may have a slash or a question mark
        let scheme = ["https://", "http://"].into_iter().find(|scheme| text.starts_with(scheme));
        return format!("{}…", scheme.unwrap_or_default());
    }
    Cut(text.split(['?', '#']).next().unwrap_or_default()).to_string()
}

/// Shows a URL of a server as scheme, host, and port. Only with `base` may it be relative.
pub(crate) fn shown_origin(text: &str, base: Option<&Url>) -> String {
    match Url::options().base_url(base).parse(text).map(|url| url.origin()) {
        Ok(origin @ Origin::Tuple(..)) => Cut(&origin.ascii_serialization()).to_string(),
        _ => "no http or https URL".to_owned(),
    }
}

/// Shows the first few of a list of texts.
pub(crate) struct ShownList<'a, T>(pub(crate) &'a [T]);

/// As many elements of a foreign list as a log line shows.
const MAX_ELEMENTS: usize = 4;

impl<T: AsRef<str>> fmt::Display for ShownList<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (index, text) in self.0.iter().take(MAX_ELEMENTS).enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            Shown(text.as_ref()).fmt(f)?;
        }
        if self.0.len() > MAX_ELEMENTS {
            write!(f, ", … {} more", self.0.len() - MAX_ELEMENTS)?;
        }
        f.write_str("]")
    }
}

/// A span in words.
pub(crate) struct Span(pub(crate) Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        match (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60) {
            (0, 0, 0, s) => write!(f, "{s} s"),
            (0, 0, m, 0) => write!(f, "{m} min"),
            (0, 0, m, s) => write!(f, "{m} min {s} s"),
            (0, h, 0, _) => write!(f, "{h} h"),
            (0, h, m, _) => write!(f, "{h} h {m} min"),
            (d, 0, ..) => write!(f, "{d} d"),
            (d, h, ..) => write!(f, "{d} d {h} h"),
        }
    }
}

/// An error with what caused it, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        // many errors repeat their source in their own text
        if !line.contains(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        source = cause.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    // rule: logs-without-tokens
    #[test]
    fn foreign_text_is_escaped_and_cut() {
        assert_eq!(Shown("orders").to_string(), r#""orders""#);
        assert_eq!(Shown("a\n\u{1b}[31m\"").to_string(), r#""a\n\u{1b}[31m\"""#);
        let long = "ä".repeat(40);
        assert_eq!(Shown(&long).to_string(), format!("\"{}\"…", "ä".repeat(32)));
        assert_eq!(Cut("a \"b\"\n").to_string(), "a \"b\"\\n");
        assert_eq!(Cut(&"ä".repeat(200)).to_string(), format!("{}…", "ä".repeat(160)));
        // as long as it is in characters, however long they are when escaped
        assert_eq!(Cut(&"\0".repeat(161)).to_string(), format!("{}…", r"\0".repeat(160)));
        assert_eq!(ShownList(&["a"; 6]).to_string(), r#"["a", "a", "a", "a", … 2 more]"#);
        assert_eq!(ShownList::<&str>(&[]).to_string(), "[]");
    }

    // rule: logs-without-secrets
    #[test]
    fn url_is_shown_without_its_secrets() {
        for (url, shown) in [
            ("https://a.example:8443/k", "https://a.example:8443/k"),
            ("https://me:hidden@a.example/k?hidden#hidden", "https://a.example/k"),
            ("https://a.example/k?me@hidden", "https://a.example/k"),
            ("https://me:hid/den@a.example/k", "https://…"),
            ("https://me:1/hidden@a.example/k", "https://…"),
            ("https://me:hid?den@a.example/k", "https://…"),
            ("hidden@a.example", "…"),
            ("a.example/k?hidden", "a.example/k"),
            ("https://[a/k?hidden", "https://[a/k"),
            ("", ""),
        ] {
            assert_eq!(shown_url(url), shown, "{url}");
        }
        assert!(shown_url(&format!("https://{}", "a/".repeat(1000))).len() < 200);
    }

    #[test]
    fn url_of_a_server_is_shown_as_scheme_host_and_port() {
        let base = Url::parse("https://a.example:8443/x").unwrap();
        for (url, with_base, without) in [
            ("https://me:hidden@b.example/hidden?hidden", "https://b.example", "https://b.example"),
            ("http://[::1]:80/hidden", "http://[::1]", "http://[::1]"),
            ("/hidden", "https://a.example:8443", "no http or https URL"),
            ("data:hidden", "no http or https URL", "no http or https URL"),
            ("hidden:hidden", "no http or https URL", "no http or https URL"),
            ("https://[hidden", "no http or https URL", "no http or https URL"),
        ] {
            assert_eq!(shown_origin(url, Some(&base)), with_base, "{url}");
            assert_eq!(shown_origin(url, None), without, "{url}");
        }
    }

    #[test]
    fn a_span_is_told_in_the_units_that_matter() {
        for (seconds, shown) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (61, "1 min 1 s"),
            (3_600, "1 h"),
            (3_659, "1 h"),
            (3_660, "1 h 1 min"),
            (86_400, "1 d"),
            (86_400 + 3_599, "1 d"),
            (90_000, "1 d 1 h"),
        ] {
            assert_eq!(Span(Duration::from_secs(seconds)).to_string(), shown);
        }
    }

    /// What is no control character, and yet ends a line, turns text round or hides in it.
    // rule: logs-without-tokens
    #[test]
    fn what_no_terminal_should_read_is_escaped() {
        for (text, escaped) in [
            ("\u{202e}nimda", r"\u{202e}nimda"),
            ("\u{2066}a\u{2069}", r"\u{2066}a\u{2069}"),
            ("a\u{2028}b\u{2029}c", r"a\u{2028}b\u{2029}c"),
            ("a\u{85}b", r"a\u{85}b"),
            ("a\u{200b}\u{feff}b", r"a\u{200b}\u{feff}b"),
            ("\u{1b}[31m\r\n", r"\u{1b}[31m\r\n"),
            // so that nobody can write what was escaped
            (r"a\u{202e}", r"a\\u{202e}"),
            ("ä€😀", "ä€😀"),
        ] {
            assert_eq!(Cut(text).to_string(), escaped);
            assert_eq!(Shown(text).to_string(), format!("\"{escaped}\""));
        }
        assert_eq!(Cut(r#"it's "b""#).to_string(), r#"it's "b""#);
    }
}
