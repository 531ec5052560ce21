//! Bodies that are too long, too slow, cut off, or packed.

use super::{
    BOUND, DISCOVERY, Endless, Hostile, IMPATIENT, KEYS, Say, assert_no_answers, ok, server::head,
};

const MIB: usize = 1 << 20;

/// A key set of so many bytes.
fn padded(hostile: &Hostile, length: usize) -> Vec<u8> {
    let mut set = hostile.key_set().to_string().into_bytes();
    set.resize(length, b' ');
    set
}

#[tokio::test]
async fn one_mebibyte_is_read_and_one_byte_more_is_not() {
    let hostile = Hostile::start().await;
    let words = "more than 1048576 bytes";
    hostile.assert_good_answer(KEYS, "1 MiB", ok(padded(&hostile, MIB))).await;
    for length in [MIB + 1, 2 * MIB, 64 * MIB] {
        let body = padded(&hostile, length);
        hostile.assert_no_answer(KEYS, "too long", ok(&body), words).await;
        // without saying how long it will be
        let chunked = [&chunked_head()[..], &chunk(&body), b"0\r\n\r\n"].concat();
        hostile.assert_no_answer(KEYS, "too long, chunked", Say::Bytes(chunked), words).await;
        let until_the_end = [head("200 OK", &[], None), body].concat();
        hostile.assert_no_answer(KEYS, "until the end", Say::Bytes(until_the_end), words).await;
    }
    let mut document = hostile.document().to_string().into_bytes();
    document.resize(MIB + 1, b' ');
    hostile.assert_no_answer(DISCOVERY, "document", ok(document), words).await;
}

fn chunked_head() -> Vec<u8> {
    head("200 OK", &[("transfer-encoding", "chunked")], None)
}

fn chunk(body: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", body.len()).as_bytes(), body, b"\r\n"].concat()
}

/// Bodies without an end.
pub(super) fn endless(set: &str) -> [Endless; 6] {
    let spaces = vec![b' '; 16 * 1024];
    let claimed = head("200 OK", &[], Some(usize::MAX / 4));
    let with_set = [&head("200 OK", &[], None), set.as_bytes()].concat();
    [
        ("until the end", head("200 OK", &[], None), spaces.clone()),
        ("a set, and then for ever", with_set, spaces.clone()),
        ("of a length without end", claimed, spaces.clone()),
        ("chunked", chunked_head(), chunk(&spaces)),
        ("in small chunks", chunked_head(), chunk(&[b' '; 64]).repeat(200)),
        ("one chunk", [chunked_head(), b"ffffffffff\r\n".to_vec()].concat(), spaces),
    ]
}

/// What never ends is read up to the limit, and the connection with it.
#[tokio::test]
async fn an_endless_body_is_read_up_to_the_limit() {
    let hostile = Hostile::start().await;
    let mut ended = 0;
    for (what, first, then) in endless(&hostile.key_set().to_string()) {
        let words = "more than 1048576 bytes";
        for path in [KEYS, DISCOVERY] {
            let endless = Say::Endless(first.clone(), then.clone());
            hostile.assert_no_answer(path, what, endless, words).await;
            // the one that never had keys, and the one in mid-life
            ended += 2;
            let taken = hostile.server.taken(ended).await;
            assert!(taken.iter().all(|taken| *taken < BOUND), "{what}: {taken:?}");
        }
    }
}

/// What comes byte by byte has no more time than what comes at once.
#[tokio::test]
async fn a_slow_body_has_no_more_time() {
    let whole = head("200 OK", &[], Some(100_000));
    let drip = |first: &[u8], then: &[u8]| Say::Drip(first.to_vec(), then.to_vec());
    let open = |first: &[u8]| Say::Open(first.to_vec());
    let cases = [
        (KEYS, "the body", drip(&whole, b" ")),
        (KEYS, "the headers", drip(b"HTTP/1.1 200 OK\r\nx: ", b"slow")),
        (KEYS, "the reason", drip(b"HTTP/1.1 200 ", b"slow")),
        (KEYS, "line ends", drip(b"", b"\r\n")),
        (DISCOVERY, "chunks", drip(&chunked_head(), &chunk(b" "))),
        (KEYS, "nothing", open(b"")),
        (KEYS, "a part of a line", open(b"HTTP/1.1")),
        (KEYS, "the head", open(&whole)),
        (KEYS, "the head of chunks", open(&chunked_head())),
        (DISCOVERY, "the head", open(&whole)),
    ];
    let words = "no answer within";
    assert_no_answers(cases.map(|(path, what, say)| (path, what, say, words))).await;
}

/// A set that breaks off is none, though what came of it may be JSON.
#[tokio::test]
async fn a_body_that_breaks_off() {
    let hostile = Hostile::start().await;
    let set = hostile.key_set().to_string();
    let length = set.len();
    let with = |length: usize, body: &str| {
        Say::Bytes([&head("200 OK", &[], Some(length))[..], body.as_bytes()].concat())
    };
    let chunks =
        |parts: &[&str]| Say::Bytes([&chunked_head()[..], parts.concat().as_bytes()].concat());
    let first_chunk = format!("{length:x}\r\n{set}\r\n");
    for (what, say) in [
        ("one byte is missing", with(length, &set[..length - 1])),
        ("all of it is missing", with(length, "")),
        ("it is whole, and should be longer", with(length + 1, &set)),
        ("it should be much longer", with(1 << 40, &set)),
        ("no last chunk", chunks(&[&first_chunk])),
        ("half a last chunk", chunks(&[&first_chunk, "0\r\n"])),
        ("a chunk that is cut", chunks(&[&first_chunk[..length]])),
        ("a chunk that is longer than it says", chunks(&[&format!("5\r\n{set}\r\n0\r\n\r\n")])),
        ("a chunk of a negative length", chunks(&["-1\r\n", &set, "\r\n0\r\n\r\n"])),
        ("a chunk of no length", chunks(&["\r\n", &set, "\r\n0\r\n\r\n"])),
        ("a chunk of a great length", chunks(&["fffffffffffffffff\r\n", &set, "\r\n0\r\n\r\n"])),
        ("a length in words", chunks(&["many\r\n", &set, "\r\n0\r\n\r\n"])),
    ] {
        hostile.assert_no_answer(KEYS, what, say, "could not be read").await;
    }
    // what is too short by its own word is what it says
    let half = with(length / 2, &set);
    hostile.assert_no_answer(KEYS, "half", half, "not well formed").await;
    let until_the_end = [head("200 OK", &[], None), set.as_bytes()[..length - 1].to_vec()].concat();
    let say = Say::Bytes(until_the_end);
    hostile.assert_no_answer(KEYS, "cut, of no length", say, "not well formed").await;
    // chunks of any size are a whole
    let small: Vec<String> = set.chars().map(|c| format!("1;x=y\r\n{c}\r\n")).collect();
    let small = small.concat();
    hostile.assert_good_answer(KEYS, "in bytes", chunks(&[&small, "0\r\nx: y\r\n\r\n"])).await;
    let plain = [head("200 OK", &[], None), set.into_bytes()].concat();
    hostile.assert_good_answer(KEYS, "until the end", Say::Bytes(plain)).await;
}

/// Nobody asks for packed answers, and whoever sends one anyway is not unpacked: a few kilobytes
/// of gzip are gigabytes of text.
#[tokio::test]
async fn packed_bodies_are_not_unpacked() {
    let hostile = Hostile::start().await;
    let bomb = gzip_bomb(64 * MIB);
    assert!(bomb.len() < 512 * 1024, "{}", bomb.len());
    for encoding in
        ["gzip", "x-gzip", "br", "deflate", "zstd", "compress", "gzip, gzip", "aws-chunked"]
    {
        let answer = Say::http("200 OK", &[("content-encoding", encoding)], &bomb);
        for path in [KEYS, DISCOVERY] {
            hostile.assert_no_answer(path, encoding, answer.clone(), "found gzip").await;
        }
        // what only claims to be packed is read as it is
        let keys = hostile.key_set().to_string();
        let claimed = Say::http("200 OK", &[("content-encoding", encoding)], keys);
        hostile.assert_good_answer(KEYS, encoding, claimed).await;
    }
    for request in hostile.server.received_requests() {
        assert!(!request.to_ascii_lowercase().contains("accept-encoding"), "{request}");
    }
}

/// gzip (RFC 1952) of so many zeros at the least: one of them, and then "258 more of that" again
/// and again, in thirteen bits each (RFC 1951, 3.2.6).
pub(super) fn gzip_bomb(length: usize) -> Vec<u8> {
    let mut bits = Bits::default();
    // the last block, of fixed codes; a zero is the eight bits 00110000
    bits.push(&[1, 1, 0]);
    bits.push(&[0, 0, 1, 1, 0, 0, 0, 0]);
    for _ in 0..=length / 258 {
        // the length 258 is the code 285, and the distance 1 the code 0
        bits.push(&[1, 1, 0, 0, 0, 1, 0, 1]);
        bits.push(&[0; 5]);
    }
    bits.push(&[0; 7]);
    let head = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    [&head[..], &bits.bytes, &[0; 8]].concat()
}

#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    used: u32,
}

impl Bits {
    fn push(&mut self, bits: &[u8]) {
        for bit in bits {
            if self.used.is_multiple_of(8) {
                self.bytes.push(0);
            }
            *self.bytes.last_mut().unwrap() |= bit << (self.used % 8);
            self.used += 1;
        }
    }
}

/// An answer that hangs in the middle does so for the patience that was asked for, and the good
/// set is used meanwhile.
#[tokio::test]
async fn known_keys_do_not_wait_for_a_body_that_hangs() {
    let hostile = Hostile::start().await;
    let living = hostile.in_mid_life(IMPATIENT).await;
    hostile.server.says(KEYS, Say::Open(head("200 OK", &[], Some(1000))));
    let good = hostile.token();
    let refresh = living.refresh_keys();
    let mut refresh = std::pin::pin!(refresh);
    let mut judged = 0;
    loop {
        tokio::select! {
            biased;
            refreshed = &mut refresh => {
                refreshed.unwrap_err();
                break;
            }
            () = tokio::task::yield_now() => {
                super::assert_still_good(&living, &good, "while it hangs");
                judged += 1;
            }
        }
    }
    assert!(judged > 0);
}
