//! Issuers that send without end, from threads of their own: a verifier in a runtime of one thread
//! reads a bounded number of bytes, and its other tasks run meanwhile.

use kube_oidc::KeySource;
use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use kube_oidc_tests::{builder_for, issuer_at_with};

use super::{BOUND, assert_said};

/// How long another task may be held up on a busy machine. Without a limit on the bytes of a
/// connection it is held up for many seconds, again and again.
const HELD_UP: Duration = Duration::from_secs(5);

/// A fetch ends long before, by the limit and not by its timeout.
const TIMEOUT: Duration = Duration::from_secs(240);

/// Sends to every connection, and reports the number of bytes when the connection ends.
fn flood(first: Vec<u8>, again: Vec<u8>) -> (String, mpsc::Receiver<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (ended, sent) = mpsc::channel();
    thread::spawn(move || {
        // one connection: the retry of a fetch is refused
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]);
        let mut bytes = first.len();
        let mut gone = stream.write_all(&first).is_err();
        while !gone {
            gone = stream.write_all(&again).is_err();
            bytes += again.len();
        }
        let _ = ended.send(bytes);
    });
    (url, sent)
}

// rule: connection-bytes
#[tokio::test(flavor = "current_thread")]
async fn endless_response_is_cut_off_and_leaves_other_tasks_running() {
    const TOO_MUCH: &str = "more than 2097152 bytes received";
    let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    let with_headers = format!("HTTP/1.1 103 E\r\n{}\r\n", "a: b\r\n".repeat(13));
    let long_extension = format!("1;{}=b\r\n \r\n", "a".repeat(80));
    for (flood_of, first, again, words) in [
        ("100", vec![], b"HTTP/1.1 100 C\r\n\r\n".to_vec(), TOO_MUCH),
        ("103", vec![], b"HTTP/1.1 103 E\r\nlink: </a>\r\n\r\n".to_vec(), TOO_MUCH),
        ("103 with headers", vec![], with_headers.into_bytes(), TOO_MUCH),
        ("chunk extensions", chunked.clone(), long_extension.into_bytes(), "broke off"),
        ("small chunks", chunked.clone(), b"1\r\n \r\n".to_vec(), "broke off"),
        ("body", b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), b" ".to_vec(), "more than 1048576 bytes"),
        ("empty lines", vec![], b"\r\n".to_vec(), "head is too large"),
        ("trailers", [&chunked[..], b"0\r\n"].concat(), b"a: b\r\n".to_vec(), "broke off"),
        ("header", b"HTTP/1.1 200 OK\r\nx: ".to_vec(), b"a".to_vec(), "head is too large"),
    ] {
        let (url, sent) = flood(first, again.repeat(65_536 / again.len()));
        let issuer = issuer_at_with(&url, KeySource::jwks(format!("{url}/jwks")));
        let verifier = builder_for(issuer).fetch_timeout(TIMEOUT);
        let verifier = verifier.build().unwrap();
        let fetch = tokio::spawn({
            let verifier = verifier.clone();
            async move { verifier.refresh_keys().await }
        });
        let mut longest = Duration::ZERO;
        while !fetch.is_finished() {
            let before = Instant::now();
            tokio::task::yield_now().await;
            longest = longest.max(before.elapsed());
        }
        assert!(fetch.await.unwrap().is_err(), "{flood_of}");
        assert!(longest < HELD_UP, "{flood_of}: another task waited {longest:?}");
        assert_said(&verifier, flood_of, words);
        let sent = sent.recv_timeout(TIMEOUT).expect("the connection ends");
        assert!(sent < BOUND, "{flood_of}: {sent} bytes");
    }
}
