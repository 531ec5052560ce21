//! Parts that are nearly base64url, and tokens of nearly three parts.
//!
//! RFC 7515, 2: base64url without padding, line breaks, white space or other characters. Who
//! reads it more loosely than another gives one token many spellings, of which a cache, a deny
//! list or a log knows only one. The forged parts are signed as they stand, so that nothing but
//! their spelling is wrong with them.

use kube_oidc::Reason;
use kube_oidc_testing::SigningAlgorithm;
use kube_oidc_tests::{
    Forge,
    forge::{encode, signed},
};

use super::Lock;

/// One part of the three.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Part {
    Header,
    Payload,
    Signature,
}

const PARTS: [Part; 3] = [Part::Header, Part::Payload, Part::Signature];

/// A token of which one part is spelt otherwise, and the signature is good for what stands there.
fn spelt(lock: &Lock, forge: &Forge, part: Part, spell: impl Fn(&str) -> String) -> String {
    let (header, payload) = (encode(&forge.header), encode(&forge.payload));
    match part {
        Part::Header => signed(&spell(&header), &payload, &lock.key),
        Part::Payload => signed(&header, &spell(&payload), &lock.key),
        Part::Signature => {
            let token = signed(&header, &payload, &lock.key);
            let (input, signature) = token.rsplit_once('.').unwrap();
            format!("{input}.{}", spell(signature))
        }
    }
}

/// The same token with so many more bytes in header and payload, in members that nobody reads.
fn stretched(forge: &Forge, by: usize) -> Forge {
    let member = format!(r#""x":"{}""#, "y".repeat(by));
    forge.clone().with_header(&member).with_payload(&member)
}

/// RFC 7515, 2 and RFC 4648, 3.3: what is not of the alphabet is refused, and not read over.
#[test]
fn other_characters_anywhere() {
    let lock = Lock::new();
    let forge = lock.forge();
    let strange = [
        "=", "==", "+", "/", " ", "\t", "\n", "\r\n", "\0", "%", "%3D", "%2E", "*", "~", "!", "&",
        "\"", "'", "\\", ",", ":", "\u{b}", "\u{7f}", "\u{a0}", "\u{200b}", "\u{feff}", "é",
    ];
    for part in PARTS {
        lock.accepts(part, spelt(&lock, &forge, part, str::to_owned));
        for text in strange {
            for place in ["in front", "at the first", "in the middle", "behind"] {
                let token = spelt(&lock, &forge, part, |part| {
                    let at = match place {
                        "in front" => 0,
                        "at the first" => 1,
                        "in the middle" => part.len() / 2,
                        _ => part.len(),
                    };
                    format!("{}{text}{}", &part[..at], &part[at..])
                });
                lock.refuses((part, text, place), token, Reason::Malformed);
            }
            // in the place of a character
            let token = spelt(&lock, &forge, part, |part| format!("{}{text}", &part[1..]));
            lock.refuses((part, text, "for another"), token, Reason::Malformed);
        }
    }
}

/// RFC 4648, 3.5: the last character may have bits that stand for nothing. If any of them is
/// taken, four or sixteen spellings are one token.
#[test]
fn the_last_bits_of_a_part() {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    // signs the same bytes always alike
    let lock = Lock::of(SigningAlgorithm::EdDsa);
    let forge = lock.forge();
    let mut tried = [0; 3];
    for (tried, part) in tried.iter_mut().zip(PARTS) {
        for by in 0..3 {
            let forge = stretched(&forge, by);
            lock.accepts((part, by), forge.mint());
            for character in ALPHABET {
                // the token whose part ends in this character, if it stands for the same bytes
                let token = spelt(&lock, &forge, part, |part| {
                    let unused_bits = [0, 0, 4, 2][part.len() % 4];
                    let value = |character| ALPHABET.iter().position(|other| *other == character);
                    let last = value(part.as_bytes()[part.len() - 1]).unwrap();
                    let other = value(*character).unwrap();
                    let same_bytes = last >> unused_bits == other >> unused_bits;
                    let end = if same_bytes {
                        char::from(*character)
                    } else {
                        char::from(ALPHABET[last])
                    };
                    format!("{}{end}", &part[..part.len() - 1])
                });
                if token != forge.mint() {
                    lock.refuses((part, by, char::from(*character)), token, Reason::Malformed);
                    *tried += 1;
                }
            }
        }
    }
    // of two lengths in three, three or fifteen others; a signature has one length
    assert_eq!(tried, [18, 18, 45]);
}

/// RFC 7515, 2 and appendix C: padding is left out, and the alphabet is the one for URLs.
#[test]
fn padding_and_the_other_alphabet() {
    for algorithm in [SigningAlgorithm::Es256, SigningAlgorithm::Rs256, SigningAlgorithm::EdDsa] {
        let lock = Lock::of(algorithm);
        let forge = lock.forge();
        for by in 0..3 {
            // bytes of which both alphabets have different characters
            let forge = stretched(&forge, by).with_payload(r#""z":"???>>>ÿÿÿ~~~""#);
            lock.accepts(by, forge.mint());
            for part in PARTS {
                let padded = spelt(&lock, &forge, part, |part| {
                    format!("{part}{}", "=".repeat(4 - part.len() % 4))
                });
                lock.refuses((part, by), padded, Reason::Malformed);
                let standard = |part: &str| part.replace('-', "+").replace('_', "/");
                let token = spelt(&lock, &forge, part, standard);
                if token.contains(['+', '/']) {
                    lock.refuses((part, by), token, Reason::Malformed);
                }
                // a character that stands for no whole byte
                let cut = spelt(&lock, &forge, part, |part| {
                    let length = part.len() / 4 * 4;
                    format!("{}A", &part[..length])
                });
                lock.refuses((part, by), cut, Reason::Malformed);
            }
        }
    }
}

/// RFC 7515, 7.1: three parts, with a dot between them and nothing else.
#[test]
fn too_few_and_too_many_parts() {
    let lock = Lock::new();
    let forge = lock.forge();
    let token = forge.mint();
    let parts: Vec<&str> = token.split('.').collect();
    let [header, payload, signature] = parts[..] else { panic!("three parts") };
    for forged in [
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        "...".to_owned(),
        "....".to_owned(),
        header.to_owned(),
        format!("{header}."),
        format!("{header}.{payload}"),
        format!("{header}.{payload}."),
        format!(".{payload}.{signature}"),
        format!("..{signature}"),
        format!(".{token}"),
        format!("{token}."),
        format!("{token}.{signature}"),
        format!("{header}.{token}"),
        format!("{header}..{payload}.{signature}"),
        format!("{header}.{payload}..{signature}"),
        format!("{token}.{token}"),
        format!("{token},{token}"),
        format!("{token} {token}"),
        format!("Bearer {token}"),
        format!("bearer.{token}"),
        format!(" {token}"),
        format!("{token} "),
        format!("{token}\n"),
        format!("\u{feff}{token}"),
        format!("\"{token}\""),
        format!("{token}\0"),
        format!("{token}#"),
        format!("{token};x=y"),
        token.replace('.', "\u{ff0e}"),
        token.replace('.', "\u{2024}"),
        token.replace('.', "%2E"),
        token.replace('.', ","),
        token.replacen('.', "\0.", 1),
        token.chars().rev().collect(),
    ] {
        lock.refuses(&forged, &forged, Reason::Malformed);
    }
    // three parts, of which the payload is empty text, and so no claims
    for forged in [format!("{header}.."), format!("{header}..{signature}")] {
        lock.refuses(&forged, &forged, Reason::Claims);
    }
    lock.accepts("whole", token);
}

/// RFC 7515, 7.1: a token is text of ASCII. These bytes are no text at all.
#[test]
fn bytes_that_are_no_text() {
    let lock = Lock::new();
    let token = lock.forge().mint().into_bytes();
    for byte in [0x00, 0x80, 0xc0, 0xff] {
        for at in [0, token.len() / 2, token.len() - 1] {
            let mut forged = token.clone();
            forged[at] = byte;
            lock.refuses((byte, at), &forged, Reason::Malformed);
            let inserted = [&token[..at], &[byte], &token[at..]].concat();
            lock.refuses((byte, at), &inserted, Reason::Malformed);
        }
        lock.refuses(byte, vec![byte; 100], Reason::Malformed);
    }
    // as other encodings of Unicode have it
    let wide: Vec<u8> = token.iter().flat_map(|byte| [*byte, 0]).collect();
    lock.refuses("UTF-16", wide, Reason::Malformed);
    lock.accepts("whole", token);
}
