//! Why a text was rejected.

use crate::observe::display::Cut;

/// Why a text is not what was expected. The library's own words may quote all of the text.
#[derive(Debug)]
pub(crate) struct Malformed(pub(super) serde_json::Error);

impl Malformed {
    /// The library's own words, cut: for documents of an issuer. The values that they quote stay out:
    /// a server may send back a credential.
    pub(crate) fn words(&self) -> String {
        const QUOTES: [char; 2] = ['"', '`'];
        let words = self.0.to_string();
        match (words.find(QUOTES), words.rfind(QUOTES)) {
            (Some(start), Some(end)) if start < end => {
                Cut(&format!("{}...{}", &words[..=start], &words[end..])).to_string()
            }
            _ => Cut(&words).to_string(),
        }
    }

    /// The place only: for tokens, of which nothing may be shown.
    pub(crate) fn place(&self) -> String {
        let (error, column) = (&self.0, self.0.column());
        match self.ours() {
            Some(ours) => format!("{ours}, at column {column}"),
            None => format!("{:?} error at column {column}", error.classify()),
        }
    }

    /// Whether a member came twice.
    pub(crate) fn is_twice(&self) -> bool {
        self.ours() == Some(TWICE)
    }

    /// Whether a value is not of the expected kind.
    pub(crate) fn is_of_other_kind(&self) -> bool {
        self.0.is_data() && self.ours().is_none()
    }

    /// The words, where they are ours.
    fn ours(&self) -> Option<&'static str> {
        let words = self.0.to_string();
        [TWICE, TOO_DEEP, RESERVED_NAME].into_iter().find(|ours| words.starts_with(ours))
    }
}

pub(super) const TWICE: &str = "a member stands twice";
pub(super) const TOO_DEEP: &str = "nested too deep";
pub(super) const RESERVED_NAME: &str = "a member name begins with `$serde_json::private::`";
