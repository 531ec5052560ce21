//! Many requests at once on one connection: each answer is for its own request.

use std::io::Write as _;

use super::*;

/// A request, and who may be answered, or with which status.
type Exchange = (String, Result<String, u16>);

/// Requests of many kinds, mixed. None has a body, which nobody would read: then the connection may
/// be closed.
fn mixture(siege: &Siege, count: usize) -> Vec<Exchange> {
    let get =
        |path: &str, headers: &str| format!("GET {path} HTTP/1.1\r\nhost: demo\r\n{headers}\r\n");
    let ok = |name: &str| Ok(name.to_owned());
    let (one, other) = (siege.token_of("one"), siege.token_of("other"));
    let expired = named(&siege.issuer, "expired").expired().mint();
    let forged = named(&siege.issuer, "forged").signature([0; 64]).mint();
    let elsewhere = siege.issuer.token().audience("vault").mint();
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    let kinds = [
        (whoami(&one), ok("one")),
        (whoami(&other), ok("other")),
        (whoami(&expired), Err(401)),
        (whoami(&forged), Err(401)),
        (whoami(&elsewhere), Err(401)),
        (whoami("junk"), Err(401)),
        (get("/whoami", ""), Err(401)),
        (get("/whoami", &format!("{}{}", bearer(&one), bearer(&other))), Err(400)),
        (get("/whoami", &format!("{}{}", bearer(&other), bearer("junk"))), Err(400)),
        (get("/nowhere", &bearer(&one)), Err(404)),
        (format!("POST /whoami HTTP/1.1\r\n{}\r\n", bearer(&one)), Err(405)),
        ("POST /whoami HTTP/1.1\r\n\r\n".to_owned(), Err(401)),
    ];
    let seed = fastrand::u64(..);
    println!("pipelining: seed {seed}");
    let mut dice = fastrand::Rng::with_seed(seed);
    (0..count).map(|_| kinds[dice.usize(..kinds.len())].clone()).collect()
}

#[test]
fn each_answer_is_for_its_own_request() {
    let siege = Siege::begin(&[]);
    siege.besides("8 connections with 400 requests at once", 16, |_| {
        let connection = |piece: usize| {
            let exchanges = mixture(&siege, 400);
            let bytes: String = exchanges.iter().map(|(request, _)| request.as_str()).collect();
            let mut wire = Wire::to(&siege.demo);
            let mut writer = wire.writer();
            thread::scope(|scope| {
                scope.spawn(move || {
                    for piece in bytes.as_bytes().chunks(piece) {
                        writer.write_all(piece).unwrap();
                    }
                });
                for (index, (request, expected)) in exchanges.iter().enumerate() {
                    let answer = wire.answer().unwrap();
                    assert_eq!(&who(&answer), expected, "{index}: {request}");
                }
            });
        };
        thread::scope(|scope| {
            // in one write, and in pieces that end wherever they do
            for piece in [usize::MAX, usize::MAX, usize::MAX, usize::MAX, 16_384, 1_460, 333, 61] {
                scope.spawn(move || connection(piece));
            }
        });
    });
    siege.end();
}
