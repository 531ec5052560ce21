//! A log that says everything, and nothing of a token.

use std::collections::HashSet;

use super::*;

/// As long as a piece may be that is in a log by chance.
const PIECE: usize = 16;

/// The lines that hold a piece of a token. What its header says may be shown, but not as it was
/// sent.
fn lines_with<'l>(log: &'l str, tokens: &[String]) -> Vec<&'l str> {
    let parts = tokens.iter().flat_map(|token| token.split('.'));
    let pieces: HashSet<&[u8]> = parts.flat_map(|part| part.as_bytes().windows(PIECE)).collect();
    let tells = |line: &&str| line.as_bytes().windows(PIECE).any(|piece| pieces.contains(piece));
    log.lines().filter(tells).collect()
}

// rule: logs-without-tokens
#[test]
fn nothing_of_a_token_is_in_a_log_that_says_everything() {
    let issuer = TestIssuer::builder().algorithm(SigningAlgorithm::Es256).start();
    let mut command = command(&["--issuer", issuer.url(), "--audience", "orders"]);
    command.args(["--listen", "127.0.0.1:0"]).env("RUST_LOG", "trace");
    let demo = Demo::spawn(command);
    let tokens = [
        named(&issuer, "checkout").mint(),
        named(&issuer, "expired").expired().mint(),
        named(&issuer, "forged").signature([0; 64]).mint(),
        named(&issuer, "elsewhere").claim("aud", "vault").mint(),
        named(&issuer, "stranger").header("kid", "a-key-that-nobody-knows").mint(),
    ];
    for token in &tokens {
        let request = whoami(token);
        for broken in [
            request.clone(),
            request.replace(".1\r", ".7\r"),
            request.replace("\r\nauth", "\r\n auth"),
            request.replace("Bearer ", "Bearer \0"),
            request.replace("Bearer ", "Basic "),
            request.replace("authorization", "a b"),
            format!("{}\r\ntransfer-encoding: chunked\r\n\r\n{token}", request.trim_end()),
        ] {
            let mut wire = Wire::to(&demo);
            let _ = wire.try_send(&broken);
            let _ = wire.try_send(&broken);
            wire.finish();
            for answer in wire.answers() {
                assert_eq!(lines_with(&answer.head, &tokens), Vec::<&str>::new());
            }
        }
        http2::ask(&demo, token);
    }
    assert_eq!(demo.whoami(&tokens[0]).status, 200);
    let log = demo.log_to_the_end();
    assert_eq!(lines_with(&log, &tokens), Vec::<&str>::new());
    // so it was looked for where the requests are told of, and as it would have been found
    for told in ["hyper", "h2::", "expired", "signature", "TRACE"] {
        assert!(log.contains(told), "{told}");
    }
    let shown = format!("{log}\nBearer {}", tokens[0]);
    assert_eq!(lines_with(&shown, &tokens).len(), 1);
}
