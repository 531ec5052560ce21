//! Requests whose ends are disputed, and bytes that are no request.

use super::*;

/// What comes of bytes: each answer, in order, until the connection ends. Its end is shown to the
/// server once so many are there, since it need not answer who has gone.
fn comes_of(siege: &Siege, bytes: &[u8], wanted: usize) -> Vec<Result<String, u16>> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut wire = Wire::to(&siege.demo);
        let _ = wire.try_send(bytes);
        let mut answers: Vec<Response> = iter::from_fn(|| wire.answer()).take(wanted).collect();
        wire.finish();
        answers.extend(iter::from_fn(|| wire.answer()));
        // a reset takes with it what was not read yet
        if answers.len() >= wanted || !wire.was_reset() {
            return answers.iter().map(who).collect();
        }
        assert!(Instant::now() < deadline, "never an answer");
    }
}

/// A request that a client hides where the body of another is, and what is answered: the first only,
/// or the server would rather have none of it.
struct Smuggled<'a> {
    headers: &'a str,
    body: String,
    expected: Vec<Result<String, u16>>,
}

#[test]
fn the_end_of_a_request_is_not_disputed() {
    let siege = Siege::begin(&[]);
    let (one, other) = (siege.token_of("one"), siege.token_of("other"));
    let hidden = whoami(&other);
    let chunked = |bytes: &str| format!("{:x}\r\n{bytes}\r\n0\r\n\r\n", bytes.len());
    let length = format!("content-length: {}", hidden.len());
    let twice = format!("{length}\r\n{length}");
    let listed = format!("{length}, {}", hidden.len());
    let signed = format!("content-length: +{}", hidden.len());
    let spaced = format!("content-length : {}", hidden.len());
    let folded = format!("content-length:\r\n {}", hidden.len());
    let hex = format!("content-length: 0x{:x}", hidden.len());
    let negative = format!("content-length: -{}", hidden.len());
    let both = format!("{length}\r\ntransfer-encoding: chunked");
    let both_short = "content-length: 4\r\ntransfer-encoding: chunked";
    let differing = format!("{length}\r\ncontent-length: 0");
    let differing_back = format!("content-length: 0\r\n{length}");
    let huge = format!("content-length: 18446744073709551616{}", hidden.len());
    let first = || vec![Ok("one".to_owned())];
    let refused = || vec![Err(400)];
    let end = chunked("");
    let smuggled =
        |headers, body: &str, expected| Smuggled { headers, body: body.to_owned(), expected };
    let cases = [
        smuggled(&length, &hidden, first()),
        smuggled(&twice, &hidden, first()),
        smuggled(&listed, &hidden, refused()),
        smuggled(&signed, &hidden, refused()),
        smuggled(&spaced, &hidden, refused()),
        smuggled(&folded, &hidden, refused()),
        smuggled(&hex, &hidden, refused()),
        smuggled(&negative, &hidden, refused()),
        smuggled(&differing, &hidden, refused()),
        smuggled(&differing_back, &hidden, refused()),
        smuggled(&huge, &hidden, refused()),
        smuggled("transfer-encoding: chunked", &chunked(&hidden), first()),
        smuggled(&both, &chunked(&hidden), first()),
        smuggled(both_short, &chunked(&hidden), first()),
        smuggled("Transfer-Encoding: Chunked", &chunked(&hidden), first()),
        smuggled("transfer-encoding: xchunked", &hidden, refused()),
        smuggled("transfer-encoding: chunked, identity", &hidden, refused()),
        smuggled("transfer-encoding: identity, chunked", &chunked(&hidden), first()),
        smuggled("transfer-encoding: identity", &hidden, refused()),
        smuggled("transfer-encoding : chunked", &chunked(&hidden), refused()),
        smuggled("transfer-encoding:\x0bchunked", &chunked(&hidden), refused()),
        smuggled("transfer-encoding: \x00chunked", &chunked(&hidden), refused()),
        smuggled("x: y\rtransfer-encoding: chunked", &chunked(&hidden), refused()),
        smuggled(" transfer-encoding: chunked", &chunked(&hidden), refused()),
        smuggled("transfer-encoding: chunked\r\ntransfer-encoding: x", &hidden, refused()),
        // a chunk that is none, after which nothing is a request
        smuggled("transfer-encoding: chunked", &format!("zz\r\n{hidden}"), first()),
        smuggled("transfer-encoding: chunked", &format!("5\r\nabcdefgh\r\n{hidden}"), first()),
        smuggled("transfer-encoding: chunked", &format!("-1\r\n{hidden}"), first()),
        smuggled("transfer-encoding: chunked", &format!("fffffffffffffffff\r\n{hidden}"), first()),
        smuggled("transfer-encoding: chunked", &format!("3\nabc\n0\n\n{hidden}"), first()),
        smuggled(
            "transfer-encoding: chunked",
            &format!("{end}{hidden}").replacen("0\r\n", "0;\r\r\n", 1),
            first(),
        ),
    ];
    siege.besides("disputed ends", 16, |_| {
        for Smuggled { headers, body, expected } in &cases {
            let bearer = format!("authorization: Bearer {one}");
            for order in [format!("{bearer}\r\n{headers}"), format!("{headers}\r\n{bearer}")] {
                let get = format!("GET /whoami HTTP/1.1\r\nhost: demo\r\n{order}\r\n\r\n{body}");
                assert_eq!(&comes_of(&siege, get.as_bytes(), expected.len()), expected, "{get}");
                // whose body is none of the handler's, since there is none
                let post = get.replacen("GET", "POST", 1);
                let of_post =
                    |answer: &Result<_, u16>| answer.as_ref().map_or_else(|at| *at, |_| 405);
                let expected: Vec<_> = expected.iter().map(|answer| Err(of_post(answer))).collect();
                assert_eq!(comes_of(&siege, post.as_bytes(), expected.len()), expected, "{post}");
            }
        }
    });
    siege.end();
}

#[test]
fn what_a_request_says_besides_is_not_its_token() {
    let siege = Siege::begin(&[]);
    let (one, other) = (siege.token_of("one"), siege.token_of("other"));
    let bearer = |token: &str| format!("authorization: Bearer {token}\r\n");
    let (one, other) = (bearer(&one), bearer(&other));
    let chunked = "transfer-encoding: chunked\r\n";
    let ok = || vec![Ok("one".to_owned())];
    let refused = |status| vec![Err(status)];
    let cases = [
        // a token in a trailer
        (
            format!(
                "GET /whoami HTTP/1.1\r\n{chunked}trailer: authorization\r\n\r\n0\r\n{one}\r\n"
            ),
            refused(401),
        ),
        (format!("GET /whoami HTTP/1.1\r\n{one}{chunked}\r\n1\r\na\r\n0\r\n{other}\r\n"), ok()),
        // after the end of the head, and in what is none
        (format!("GET /whoami HTTP/1.1\r\n\r\n{one}\r\n"), vec![Err(401), Err(400)]),
        (format!("GET /whoami HTTP/1.1\r\nx: y\r{one}\r\n"), refused(400)),
        (format!("GET /whoami HTTP/1.1\r\nx:\r\n {one}\r\n"), refused(400)),
        (format!("GET /whoami HTTP/1.1\r\n {one}\r\n"), refused(400)),
        (format!("GET /whoami HTTP/1.1\r\n{}\r\n", one.replace(':', " :")), refused(400)),
        (
            format!(
                "GET /whoami HTTP/1.1\r\n{}\r\n",
                one.replace("authorization", "author\0ization")
            ),
            refused(400),
        ),
        (
            format!("GET /whoami HTTP/1.1\r\n{}\r\n", one.replace("Bearer ", "Bearer \0")),
            refused(400),
        ),
        (format!("GET /whoami HTTP/1.1\r\n{}\r\n", one.replace('\r', "\0\r")), refused(400)),
        (
            format!("GET /whoami HTTP/1.1\r\n{}\r\n", one.replace("orization", "orisation")),
            refused(401),
        ),
        // two, which could be one for somebody else
        (format!("GET /whoami HTTP/1.1\r\n{one}{other}\r\n"), refused(400)),
        (format!("GET /whoami HTTP/1.1\r\n{}, {other}\r\n", one.trim_end()), refused(400)),
        // by every name that a host may have
        (format!("GET /whoami HTTP/1.1\r\n{one}\r\n"), ok()),
        (format!("GET /whoami HTTP/1.1\r\nhost: a\r\nhost: b\r\n{one}\r\n"), ok()),
        (format!("GET /whoami HTTP/1.0\r\n{one}\r\n"), ok()),
        (format!("GET http://evil.example/whoami HTTP/1.1\r\nhost: demo\r\n{one}\r\n"), ok()),
        ("GET http://evil.example/whoami HTTP/1.1\r\nhost: demo\r\n\r\n".to_owned(), refused(401)),
        (format!("GET http://one@evil.example/whoami HTTP/1.1\r\n{one}\r\n"), ok()),
        // by other paths, which lead nowhere
        (format!("OPTIONS * HTTP/1.1\r\n{one}\r\n"), refused(404)),
        (format!("GET * HTTP/1.1\r\n{one}\r\n"), refused(404)),
        (format!("CONNECT demo:80 HTTP/1.1\r\n{one}\r\n"), refused(404)),
        (format!("CONNECT /whoami HTTP/1.1\r\n{one}\r\n"), refused(405)),
        (format!("GET http://evil.example HTTP/1.1\r\n{one}\r\n"), refused(404)),
        (format!("GET //whoami HTTP/1.1\r\n{one}\r\n"), refused(404)),
        (format!("GET /whoami/ HTTP/1.1\r\n{one}\r\n"), refused(404)),
        (format!("GET /./whoami HTTP/1.1\r\n{one}\r\n"), refused(404)),
        (format!("GET /%77hoami HTTP/1.1\r\n{one}\r\n"), refused(404)),
        ("GET /whoami?x=/healthz HTTP/1.1\r\n\r\n".to_owned(), refused(401)),
        ("GET /whoami;/healthz HTTP/1.1\r\n\r\n".to_owned(), refused(404)),
        ("GET /whoami#/healthz HTTP/1.1\r\n\r\n".to_owned(), refused(401)),
        ("GET /healthz/../whoami HTTP/1.1\r\n\r\n".to_owned(), refused(404)),
        // and by what is no request
        (format!("GET /whoami\0 HTTP/1.1\r\n{one}\r\n"), refused(400)),
        (format!("GET\0/whoami HTTP/1.1\r\n{one}\r\n"), refused(400)),
        (format!("GET /who ami HTTP/1.1\r\n{one}\r\n"), refused(400)),
        (format!("GET whoami HTTP/1.1\r\n{one}\r\n"), refused(404)),
        (format!("GET /whoami HTTP/1.2\r\n{one}\r\n"), refused(400)),
        (format!("GET /whoami HTTP/3.0\r\n{one}\r\n"), refused(400)),
        (format!("GET /whoami\r\n{one}\r\n"), refused(400)),
        (format!("GET /whoami HTTP/1.1\r\n{one}"), vec![]),
        ("\0".repeat(100), refused(400)),
        ("\x16\x03\x01\x02\0\x01\0\x01\u{7f}\x03\x03".to_owned(), refused(400)),
    ];
    siege.besides("what is no token", 16, |_| {
        for (request, expected) in &cases {
            let found = comes_of(&siege, request.as_bytes(), expected.len());
            assert_eq!(&found, expected, "{request:?}");
        }
    });
    siege.end();
}

#[test]
fn bytes_at_random_are_no_request() {
    let siege = Siege::begin(&[]);
    let seed = fastrand::u64(..);
    println!("bytes at random: seed {seed}");
    let mut dice = fastrand::Rng::with_seed(seed);
    let request = whoami(&siege.token_of("one"));
    let head_end = request.find("authorization").unwrap();
    siege.besides("1,500 requests with bytes at random", 16, |_| {
        for index in 0..1_500 {
            let mut bytes = request.clone().into_bytes();
            if index % 3 == 0 {
                dice.fill(&mut bytes);
            }
            // in the head only, or anywhere
            let reach = if index % 2 == 0 { head_end } else { bytes.len() };
            for _ in 0..dice.usize(1..10) {
                bytes[dice.usize(..reach)] = dice.u8(..);
            }
            // the token may have been left as it was
            for answer in comes_of(&siege, &bytes, 0) {
                assert!(answer.as_deref().unwrap_or("one") == "one", "{answer:?}");
            }
        }
    });
    siege.end();
}
