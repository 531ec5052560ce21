//! Bytes that are hardly HTTP.

use super::{BOUND, DISCOVERY, Endless, Hostile, KEYS, Say, server::head};

#[tokio::test]
async fn what_is_not_http() {
    let hostile = Hostile::start().await;
    let set = hostile.key_set().to_string();
    let with = |first: &str| Say::Bytes(format!("{first}\r\n\r\n{set}").into_bytes());
    for (what, say) in [
        ("nothing", Say::Bytes(vec![])),
        ("a close at once", Say::Close),
        ("line ends", Say::Bytes(b"\r\n\r\n".repeat(10))),
        ("the set alone", Say::Bytes(set.clone().into_bytes())),
        ("HTTP/0.9", Say::Bytes(format!("<html>{set}").into_bytes())),
        ("HTTP/2.0 in plain text", with("HTTP/2.0 200 OK")),
        ("HTTP/3", with("HTTP/3 200 OK")),
        ("HTTP/1.2", with("HTTP/1.2 200 OK")),
        ("HTTP/01.1", with("HTTP/01.1 200 OK")),
        ("http/1.1", with("http/1.1 200 OK")),
        ("another protocol", with("ICY 200 OK")),
        ("SSH", Say::Bytes(b"SSH-2.0-OpenSSH_9.6\r\n".to_vec())),
        ("SMTP", Say::Bytes(b"220 mail.example ESMTP\r\n".to_vec())),
        ("RTSP", with("RTSP/1.0 200 OK")),
        ("a request", with("GET / HTTP/1.1")),
        ("no status", with("HTTP/1.1")),
        ("a status of two digits", with("HTTP/1.1 20 OK")),
        ("a status of four digits", with("HTTP/1.1 2000 OK")),
        ("a status below 100", with("HTTP/1.1 099 OK")),
        ("a negative status", with("HTTP/1.1 -200 OK")),
        ("a status in words", with("HTTP/1.1 OK OK")),
        ("a NUL in a name", with("HTTP/1.1 200 OK\r\nx\0y: z")),
        ("a NUL in a value", with("HTTP/1.1 200 OK\r\nx: y\0z")),
        ("a header without a colon", with("HTTP/1.1 200 OK\r\nnonsense")),
        ("a header without a name", with("HTTP/1.1 200 OK\r\n: nonsense")),
        ("a space in a name", with("HTTP/1.1 200 OK\r\nx y: z")),
        ("a folded header", with("HTTP/1.1 200 OK\r\nx: y\r\n z")),
        ("a length of words", with("HTTP/1.1 200 OK\r\ncontent-length: many")),
        ("a negative length", with("HTTP/1.1 200 OK\r\ncontent-length: -1")),
        ("a length with a sign", with("HTTP/1.1 200 OK\r\ncontent-length: +10")),
        (
            "a length that overflows",
            with("HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999"),
        ),
        ("two lengths", with("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2")),
        ("a TLS alert", Say::Bytes(vec![0x15, 3, 3, 0, 2, 2, 40])),
        ("a preface of HTTP/2", Say::Bytes(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec())),
        ("frames of HTTP/2", Say::Bytes(vec![0, 0, 0, 4, 0, 0, 0, 0, 0])),
        ("bytes of all kinds", Say::Bytes((0..=255).collect())),
    ] {
        for path in [KEYS, DISCOVERY] {
            hostile.assert_no_answer(path, what, say.clone(), "could not be read").await;
        }
    }
}

/// What is unusual, and still HTTP: buckets and old proxies answer so, and a cluster's keys must
/// not be lost by it.
#[tokio::test]
async fn what_is_unusual_http() {
    let hostile = Hostile::start().await;
    let set = hostile.key_set().to_string();
    let with = |first: &str| Say::Bytes(format!("{first}\r\n\r\n{set}").into_bytes());
    let length = set.len();
    for (what, say) in [
        ("HTTP/1.0", with("HTTP/1.0 200 OK")),
        ("no reason", with("HTTP/1.1 200")),
        ("an odd reason", with("HTTP/1.1 200 Internal Server Error")),
        ("no type", with("HTTP/1.1 200 OK\r\nx: y")),
        ("another type", with("HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream")),
        ("HTML by its type", with("HTTP/1.1 200 OK\r\ncontent-type: text/html; charset=utf-16")),
        (
            "one length twice",
            with(&format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\ncontent-length: {length}"
            )),
        ),
        ("bytes that are no ASCII", with("HTTP/1.1 200 OK\r\netag: \"\u{e4}\"\r\nx: \u{1f600}")),
        (
            "odd headers of a cache",
            with(
                "HTTP/1.1 200 OK\r\ncache-control: max-age=-1, =, ;,\"\r\nage: x\r\nexpires: never\r\ndate: 0",
            ),
        ),
        ("cookies", with("HTTP/1.1 200 OK\r\nset-cookie: session=x; Domain=evil.example")),
    ] {
        hostile.assert_good_answer(KEYS, what, say).await;
    }
    // nothing of it is sent along the next time
    let verifier = hostile.in_mid_life(super::PATIENT).await;
    hostile
        .server
        .says(KEYS, with("HTTP/1.1 200 OK\r\nset-cookie: session=x\r\nalt-svc: h3=\":1\""));
    verifier.refresh_keys().await.unwrap();
    verifier.refresh_keys().await.unwrap();
    let last = hostile.server.received_requests().pop().unwrap().to_ascii_lowercase();
    assert!(!last.contains("cookie"), "{last}");
}

/// What comes before a body or behind it, without an end.
pub(super) fn endless_heads(set: &str) -> [Endless; 8] {
    let first = b"HTTP/1.1 200 OK\r\n".to_vec();
    let mut trailers = head("200 OK", &[("transfer-encoding", "chunked")], None);
    trailers.extend(format!("{:x}\r\n{set}\r\n0\r\n", set.len()).bytes());
    let mut extension = head("200 OK", &[("transfer-encoding", "chunked")], None);
    extension.extend(b"1;");
    [
        ("headers for ever", first.clone(), b"x: y\r\n".repeat(1000)),
        ("a header for ever", [&first[..], b"x: "].concat(), b"y".repeat(4096)),
        ("a name for ever", first.clone(), b"y".repeat(4096)),
        ("line ends for ever", vec![], b"\r\n".repeat(2000)),
        ("a reason for ever", b"HTTP/1.1 200 ".to_vec(), b"y".repeat(4096)),
        ("trailers for ever", trailers.clone(), b"x: y\r\n".repeat(1000)),
        ("a trailer for ever", [&trailers[..], b"x: "].concat(), b"y".repeat(4096)),
        ("an extension of a chunk for ever", extension, b"y".repeat(4096)),
    ]
}

/// Headers without number, and one without end: there is a limit to what is read before a body.
#[tokio::test]
async fn floods_of_headers() {
    let hostile = Hostile::start().await;
    let set = hostile.key_set().to_string();
    let many = |count: usize| {
        let headers: Vec<String> = (0..count).map(|index| format!("x-{index}: y\r\n")).collect();
        let headers = headers.concat();
        format!("HTTP/1.1 200 OK\r\nconnection: close\r\n{headers}\r\n{set}").into_bytes()
    };
    hostile.assert_good_answer(KEYS, "50 headers", Say::Bytes(many(50))).await;
    for count in [1_000, 100_000] {
        let words = "could not be read";
        hostile.assert_no_answer(KEYS, "many headers", Say::Bytes(many(count)), words).await;
    }
    let long = head("200 OK", &[("x", &"y".repeat(1 << 20))], Some(0));
    hostile.assert_no_answer(KEYS, "1 MB", Say::Bytes(long), "could not be read").await;

    let mut ended = 0;
    for (what, first, then) in endless_heads(&set) {
        let endless = Say::Endless(first, then);
        hostile.assert_no_answer(KEYS, what, endless, "could not be read").await;
        ended += 2;
        let taken = hostile.server.taken(ended).await;
        assert!(taken.iter().all(|taken| *taken < BOUND), "{what}: {taken:?}");
    }
}
