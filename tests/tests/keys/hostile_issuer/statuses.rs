//! Statuses and redirects.

use kube_oidc_testing::TestIssuer;

use super::{DISCOVERY, Hostile, KEYS, PATIENT, Say, assert_no_answers, server::head, status};

/// Only 200 brings something. Each of these has a good body beside it.
#[tokio::test]
async fn any_status_but_200_brings_nothing() {
    let hostile = Hostile::start().await;
    let (keys, document) = (hostile.key_set().to_string(), hostile.document().to_string());
    for code in [
        201, 202, 203, 205, 206, 207, 208, 226, 250, 299, 300, 305, 306, 399, 400, 401, 402, 403,
        404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 415, 416, 418, 421, 422, 425, 426, 428,
        429, 431, 451, 499, 500, 501, 502, 503, 504, 505, 507, 508, 511, 520, 599, 600, 999,
    ] {
        let words = format!("status {code}");
        let answer = |body: &str| Say::http(&format!("{code} Whatever"), &[], body);
        hostile.assert_no_answer(KEYS, &words, answer(&keys), &words).await;
        if code % 50 == 0 || matches!(code, 203 | 206 | 404) {
            hostile.assert_no_answer(DISCOVERY, &words, answer(&document), &words).await;
        }
    }
    // those have no body by definition
    for code in [204, 304] {
        let words =
            if code == 204 { "status 204" } else { "no answer to a request without a condition" };
        for path in [KEYS, DISCOVERY] {
            let answer = Say::Bytes(head(&format!("{code} Whatever"), &[], None));
            hostile.assert_no_answer(path, words, answer, words).await;
        }
    }
}

/// RFC 9110, 15.2: whoever asks may be told to wait, any number of times. That is no answer yet,
/// and a protocol that nobody asked for is none.
#[tokio::test]
async fn answers_before_the_answer() {
    let hostile = Hostile::start().await;
    let keys = hostile.key_set().to_string();
    let last = head("200 OK", &[], Some(keys.len()));
    let firsts = [
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 102 Processing\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nlink: </x>; rel=preload\r\n\r\n",
        "HTTP/1.1 199 X\r\n\r\n",
    ];
    for first in firsts {
        let repeated = first.repeat(5);
        let answer = [repeated.as_bytes(), &last, keys.as_bytes()].concat();
        hostile.assert_good_answer(KEYS, first, Say::Bytes(answer)).await;
        hostile.assert_no_answer(KEYS, first, Say::Bytes(first.into()), "could not be read").await;
    }
    let words = "no answer within";
    assert_no_answers(firsts.map(|first| (KEYS, first, Say::Open(first.into()), words))).await;
    // `floods` has those without end
    let switched = "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n";
    hostile.assert_no_answer(KEYS, "101", Say::Bytes(switched.into()), "status 101").await;
}

/// What a hint of when to come back may say. Whatever it is, an operator can see the next fetch
/// come within an hour or two.
#[tokio::test]
async fn hints_of_when_to_come_back() {
    let hostile = Hostile::start().await;
    for (retry_after, least, most) in [
        ("7", 7, 20),
        ("3600", 3600, 7300),
        ("999999999", 3600, 7300),
        ("99999999999999999999999999", 3600, 7300),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 3600, 7300),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0, 2),
        ("0", 0, 2),
        ("-1", 0, 2),
        ("1e9", 0, 2),
        ("soon", 0, 2),
        ("", 0, 2),
        ("7, 8", 0, 2),
        ("\u{b2}", 0, 2),
    ] {
        for code in ["429 Too Many Requests", "503 Service Unavailable"] {
            let living = hostile.in_mid_life(PATIENT).await;
            hostile.server.says(KEYS, Say::http(code, &[("retry-after", retry_after)], ""));
            living.refresh_keys().await.unwrap_err();
            super::assert_still_good(&living, &hostile.token(), retry_after);
            let next = status(&living).next_fetch.expect("a retry").as_secs();
            // what is left of it, as a slow machine finds it
            let least = u64::saturating_sub(least, 10);
            assert!((least..=most).contains(&next), "{retry_after:?}: {next} s");
            if least >= 3000 {
                // nobody asks before that, not even an operator
                let asked = hostile.server.received_requests().len();
                living.refresh_keys().await.unwrap_err();
                assert_eq!(hostile.server.received_requests().len(), asked, "{retry_after:?}");
            }
        }
    }
}

/// RFC 9700, 4.11 has what comes of following redirects. None is followed, wherever it leads: to
/// the same server, to itself, to plain http, to a file, or to the address at which clouds keep
/// credentials.
#[tokio::test]
async fn redirects_are_not_followed() {
    let (hostile, elsewhere) = (Hostile::start().await, TestIssuer::start());
    let own = hostile.server.url();
    let places = [
        format!("{own}/elsewhere"),
        format!("{own}{KEYS}"),
        format!("{own}{DISCOVERY}"),
        "/elsewhere".to_owned(),
        "?x".to_owned(),
        String::new(),
        elsewhere.jwks_uri().to_owned(),
        format!("//{}/jwks", elsewhere.address()),
        "http://169.254.169.254/latest/meta-data/iam/security-credentials/".to_owned(),
        "http://metadata.google.internal/".to_owned(),
        "file:///etc/passwd".to_owned(),
        "data:application/json,{}".to_owned(),
        "gopher://127.0.0.1:6379/_FLUSHALL".to_owned(),
        "http://[::1]/".to_owned(),
    ];
    for (code, place) in [301, 302, 303, 307, 308].into_iter().cycle().zip(&places) {
        for path in [KEYS, DISCOVERY] {
            let answer = Say::http(&format!("{code} Moved"), &[("location", place)], "");
            let what = format!("{code} to {place:?}");
            let words = format!("status {code}, a redirect to ");
            hostile.assert_no_answer(path, &what, answer, &words).await;
            // nor where a page says so
            let refresh = format!("0; url={place}");
            let answer =
                Say::http("200 OK", &[("refresh", &refresh), ("location", place)], "<html>");
            hostile.assert_no_answer(path, &what, answer, "not well formed").await;
        }
    }
    for request in hostile.server.received_requests() {
        let path = request.split(' ').nth(1).unwrap();
        assert!([KEYS, DISCOVERY].contains(&path), "{path}");
    }
    assert_eq!(elsewhere.received_requests().len(), 0);
}
