//! Changes to the finished token.

use super::*;

macro_rules! finish {
    ($finish:expr) => {
        |draft| {
            draft.finish = $finish;
            true
        }
    };
}

/// Replaces the last character, which holds bits that stand for nothing, by one that sets them.
fn with_stray_bits(part: &str) -> String {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let last = ALPHABET.find(part.chars().last().unwrap()).unwrap();
    format!("{}{}", &part[..part.len() - 1], &ALPHABET[last + 1..last + 2])
}

pub(super) const CHANGES: &[Row] = &[
    (
        "token with padding",
        TEXT,
        Some(Reason::Malformed),
        finish!(|token| {
            let parts = token
                .split('.')
                .map(|part| format!("{part}{}", &"==="[..(4 - part.len() % 4) % 4]));
            parts.collect::<Vec<_>>().join(".") + "="
        }),
    ),
    (
        "token with right padding",
        TEXT,
        Some(Reason::Malformed),
        finish!(|token| {
            let (signed, signature) = token.rsplit_once('.').unwrap();
            match signature.len() % 4 {
                0 => format!("{token}===="),
                rest => format!("{signed}.{signature}{}", &"=="[..4 - rest]),
            }
        }),
    ),
    ("token with stray bits", TEXT | SIGNATURE, Some(Reason::Malformed), |draft| {
        draft.finish = |token| {
            let (signed, signature) = token.rsplit_once('.').unwrap();
            format!("{signed}.{}", with_stray_bits(signature))
        };
        // 96 and 132 bytes leave no bits over
        !draft.is("ES384") && !draft.is("ES512")
    }),
    (
        "token in the other alphabet",
        TEXT,
        Some(Reason::Malformed),
        finish!(|token| {
            let changed = token.replace('-', "+").replace('_', "/");
            if changed == token { format!("{token}+") } else { changed }
        }),
    ),
    ("token after a space", TEXT, Some(Reason::Malformed), finish!(|token| format!(" {token}"))),
    (
        "token before a line feed",
        TEXT,
        Some(Reason::Malformed),
        finish!(|token| { format!("{token}\n") }),
    ),
    (
        "token with a line feed inside",
        TEXT,
        Some(Reason::Malformed),
        finish!(|token| { token.replacen('.', "\n.", 1) }),
    ),
    (
        "token with Bearer",
        TEXT,
        Some(Reason::Malformed),
        finish!(|token| format!("Bearer {token}")),
    ),
    (
        "token of two parts",
        TEXT,
        Some(Reason::Malformed),
        finish!(|token| { token.rsplit_once('.').unwrap().0.to_owned() }),
    ),
    ("token of four parts", TEXT, Some(Reason::Malformed), finish!(|token| format!("{token}.e30"))),
    (
        "token of five parts",
        TEXT,
        Some(Reason::Malformed),
        finish!(|token| format!("{token}.e30.AA")),
    ),
    (
        "token with an empty part in front",
        TEXT,
        Some(Reason::Malformed),
        finish!(|token| { format!(".{token}") }),
    ),
    (
        "token without header",
        TEXT,
        Some(Reason::Malformed),
        finish!(|token| { format!(".{}", token.split_once('.').unwrap().1) }),
    ),
    (
        "token in JSON form",
        TEXT,
        Some(Reason::Malformed),
        finish!(|token| {
            let parts: Vec<&str> = token.split('.').collect();
            json!({ "protected": parts[0], "payload": parts[1], "signature": parts[2] }).to_string()
        }),
    ),
    ("token is empty", TEXT, Some(Reason::Malformed), finish!(|_| String::new())),
];
