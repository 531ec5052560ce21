//! The search for tokens in what others may see, in whatever form they got there.

use std::collections::HashSet;

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};

/// As long as a piece may be that is somewhere by chance.
const PIECE: usize = 16;

/// A text is looked at in steps of so many bytes.
const STEP: usize = 5;

/// Tokens that must not be seen: no piece of header, payload and signature, encoded or not.
#[derive(Debug, Default)]
pub struct Hidden {
    pieces: HashSet<[u8; PIECE]>,
}

impl Hidden {
    /// Of this length, everything is found.
    pub const FOUND: usize = PIECE + STEP - 1;

    /// Hides these.
    pub fn of<T: AsRef<str>>(tokens: impl IntoIterator<Item = T>) -> Self {
        let mut hidden = Self::default();
        tokens.into_iter().for_each(|token| hidden.add(token.as_ref()));
        hidden
    }

    /// Hides a token: its text, and what is in it but for the values of its claims, since a caller's
    /// name may be shown.
    pub fn add(&mut self, token: &str) {
        self.add_all(token.as_bytes(), |_| true);
        for part in token.split('.') {
            if let Ok(decoded) = URL_SAFE_NO_PAD.decode(part) {
                let is_json = decoded.starts_with(b"{");
                // with the end of a member's name, which only the JSON itself has
                self.add_all(&decoded, |piece| {
                    !is_json || piece.windows(2).any(|pair| pair == b"\":")
                });
            }
        }
        // as `Basic` or a tool would have it, wherever it begins in what is encoded
        for offset in 0..3.min(token.len()) {
            let encoded = STANDARD_NO_PAD.encode(&token[offset..]);
            self.add_all(&encoded.as_bytes()[..encoded.len() / 4 * 4], |_| true);
        }
    }

    fn add_all(&mut self, bytes: &[u8], is_telling: impl Fn(&[u8]) -> bool) {
        let pieces = bytes.windows(PIECE).filter(|piece| is_telling(piece));
        self.pieces.extend(pieces.filter_map(<[u8]>::first_chunk::<PIECE>));
    }

    /// What a text shows of them, if it does.
    #[must_use]
    pub fn shown_in(&self, text: &str) -> Option<String> {
        let views = [
            text.as_bytes().to_vec(),
            // within a text that is quoted, or twice
            text.replace('\\', "").into_bytes(),
            numbers(text),
            hexadecimal(text),
        ];
        let mut pieces = views.iter().flat_map(|view| view.windows(PIECE).step_by(STEP));
        let found = pieces.find(|piece| self.pieces.contains(*piece));
        found.map(|piece| String::from_utf8_lossy(piece).into_owned())
    }

    /// Fails where a text shows something.
    #[track_caller]
    pub fn assert_hidden_in(&self, what: &str, text: &str) {
        if let Some(piece) = self.shown_in(text) {
            let line = text.lines().find(|line| self.shown_in(line).is_some());
            panic!("{what} shows {piece:?}: {line:?}");
        }
    }
}

/// The bytes of lists such as `[101, 121, 74]`, one list after the other.
fn numbers(text: &str) -> Vec<u8> {
    let words = text.split(|letter: char| !letter.is_ascii_digit());
    words.filter(|word| !word.is_empty()).map(|word| word.parse().unwrap_or(0)).collect()
}

/// The bytes of all that may be hexadecimal, one after the other.
fn hexadecimal(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in text.split(|letter: char| !letter.is_ascii_hexdigit()) {
        let digits: Vec<u8> =
            word.chars().filter_map(|digit| u8::try_from(digit.to_digit(16)?).ok()).collect();
        if digits.len() >= 2 * PIECE {
            bytes.push(0);
            bytes.extend(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]));
        }
    }
    bytes
}
