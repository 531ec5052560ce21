//! HTTP/2 from the first byte on, in frames made by hand.

use std::collections::HashMap;

use super::*;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A text of HPACK, as it is.
fn text(text: &str) -> Vec<u8> {
    let mut rest = text.len();
    let mut bytes = Vec::new();
    if rest < 127 {
        bytes.push(u8::try_from(rest).unwrap());
    } else {
        bytes.push(127);
        rest -= 127;
        while rest >= 128 {
            bytes.push(u8::try_from(rest % 128).unwrap() | 128);
            rest /= 128;
        }
        bytes.push(u8::try_from(rest).unwrap());
    }
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

/// `GET` of a path, with a token.
fn head(path: &str, token: Option<&str>) -> Vec<u8> {
    // of the static table: `:method: GET`, `:scheme: http`, and the names `:path`, `:authority`
    let mut block = vec![0x82, 0x86, 0x04];
    block.extend(text(path));
    block.push(0x01);
    block.extend(text("demo"));
    if let Some(token) = token {
        // `authorization`, never to be indexed
        block.extend([0x1f, 0x08]);
        block.extend(text(&format!("Bearer {token}")));
    }
    block
}

fn whoami(stream: u32, token: Option<&str>) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &head("/whoami", token))
}

/// The ids of a client's streams.
fn streams() -> impl Iterator<Item = u32> {
    (1..).step_by(2)
}

impl Wire {
    /// A connection that has said which HTTP it speaks, with these settings.
    fn http2(demo: &Demo, settings: &[u8]) -> Self {
        let mut wire = Self::to(demo);
        wire.send([PREFACE, &frame(SETTINGS, 0, 0, settings)].concat());
        wire
    }

    fn frame(&mut self) -> Option<Frame> {
        let head = self.bytes(9)?;
        let number = |bytes: &[u8]| bytes.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte));
        let payload = self.bytes(number(&head[..3]) as usize)?;
        let stream = number(&head[5..]);
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// Sends until it is closed, or so often, and reads what there is.
    fn flood(mut self, times: u32, bytes: impl Fn(u32) -> Vec<u8>) -> Flooded {
        let mut sent = 0;
        while sent < times && self.try_send(bytes(sent)).is_ok() {
            sent += 1;
        }
        self.finish();
        let frames: Vec<Frame> = iter::from_fn(|| self.frame()).collect();
        let is_kind = |kind| move |frame: &&Frame| frame.kind == kind;
        Flooded {
            sent,
            went_away: frames.iter().any(|frame| frame.kind == GOAWAY),
            answers: frames.iter().filter(is_kind(HEADERS)).count(),
        }
    }
}

#[derive(Debug)]
struct Flooded {
    sent: u32,
    went_away: bool,
    answers: usize,
}

/// Who was answered on a stream; nobody, if it was refused.
fn who(frames: &[Frame]) -> Option<String> {
    let [head, data @ ..] = frames else { panic!("no answer") };
    assert_eq!((head.kind, data.last().map_or(0, |frame| frame.kind)), (HEADERS, DATA));
    let body: Vec<u8> = data.iter().flat_map(|frame| frame.payload.clone()).collect();
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    // `:status: 200` of the static table
    let name = (head.payload[0] == 0x88).then(|| body["service_account"]["name"].as_str().unwrap());
    assert_eq!(name.is_none(), body["status"].is_u64(), "{body}");
    name.map(str::to_owned)
}

/// Asks with a token, and waits for the answer.
pub(super) fn ask(demo: &Demo, token: &str) {
    let mut wire = Wire::http2(demo, &[]);
    wire.send(whoami(1, Some(token)));
    while wire.frame().unwrap().kind != HEADERS {}
}

#[test]
fn each_stream_has_its_own_answer() {
    let siege = Siege::begin(&[]);
    let tokens: Vec<(Option<String>, Option<String>)> = vec![
        (Some(siege.token_of("one")), Some("one".to_owned())),
        (Some(siege.token_of("other")), Some("other".to_owned())),
        (Some(named(&siege.issuer, "expired").expired().mint()), None),
        (Some("junk".to_owned()), None),
        (Some("a".repeat(10_000)), None),
        (None, None),
    ];
    siege.besides("4 connections with 10 times 100 streams", 24, |_| {
        let connection = || {
            let mut wire = Wire::http2(&siege.demo, &[]);
            wire.send(frame(WINDOW_UPDATE, 0, 0, &0x3fff_0000_u32.to_be_bytes()));
            let mut ids = streams();
            for _ in 0..10 {
                let asked: HashMap<u32, usize> = ids
                    .by_ref()
                    .take(100)
                    .map(|id| (id, fastrand::usize(..tokens.len())))
                    .collect();
                let mut in_order: Vec<_> = asked.iter().collect();
                in_order.sort_unstable();
                let requests =
                    in_order.iter().map(|(id, kind)| whoami(**id, tokens[**kind].0.as_deref()));
                wire.send(requests.collect::<Vec<_>>().concat());
                let mut answers: HashMap<u32, Vec<Frame>> = HashMap::new();
                let mut ended = 0;
                while ended < asked.len() {
                    let frame = wire.frame().unwrap();
                    assert!(frame.kind != GOAWAY && frame.kind != RST_STREAM);
                    if frame.stream != 0 {
                        ended += usize::from(frame.flags & END_STREAM);
                        answers.entry(frame.stream).or_default().push(frame);
                    }
                }
                for (id, kind) in &asked {
                    assert_eq!(who(&answers[id]), tokens[*kind].1);
                }
            }
        };
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(connection);
            }
        });
    });
    siege.end();
}

#[test]
fn streams_that_are_reset_at_once_cost_little() {
    let siege = Siege::begin(&[]);
    let good = siege.good.clone();
    siege.besides("4 storms of resets", 16, |_| {
        for (what, token) in
            [("good", Some(&*good)), ("bad", Some("junk")), ("no", None), ("good", Some(&*good))]
        {
            let flooded = Wire::http2(&siege.demo, &[]).flood(5_000, |index| {
                let stream = index * 2 + 1;
                [whoami(stream, token), frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
            });
            println!("resets with a {what} token: {flooded:?}");
        }
    });
    siege.end();
}

#[test]
fn floods_of_frames_are_cut_off() {
    let siege = Siege::begin(&["--idle-timeout", "2s"]);
    let open = || Wire::http2(&siege.demo, &[]);
    // `x`, not indexed, of nearly a frame's length
    let long = [&[0x00][..], &text("x"), &text(&"a".repeat(16_000))].concat();
    // `x`, indexed, and then asked for again and again
    let bomb = [&[0x40][..], &text("x"), &text(&"a".repeat(3_000)), &[0xbe; 10_000]].concat();
    let begun = |stream| frame(HEADERS, END_STREAM, stream, &head("/whoami", Some(&siege.good)));
    siege.besides("floods of frames", 24, |_| {
        let flooded = open().flood(4_096, |index| match index {
            0 => begun(1),
            _ => frame(CONTINUATION, 0, 1, &long),
        });
        println!("CONTINUATION of 16 KB: {flooded:?}");
        assert!(flooded.sent < 4_096 && flooded.answers == 0, "{flooded:?}");

        let flooded = open().flood(1_000_000, |index| match index {
            0 => begun(1),
            _ => frame(CONTINUATION, 0, 1, &[]),
        });
        println!("CONTINUATION of nothing: {flooded:?}");
        assert!(flooded.sent < 1_000_000 && flooded.answers == 0, "{flooded:?}");

        let flooded = open().flood(100, |index| {
            let block = [head("/whoami", Some(&siege.good)), bomb.clone()].concat();
            frame(HEADERS, END_STREAM | END_HEADERS, index * 2 + 1, &block)
        });
        println!("headers that refer to a long one: {flooded:?}");

        let flooded = open().flood(10_000, |_| frame(DATA, 0, 1, &[b'a'; 16_384]));
        println!("DATA of a stream that is not there: {flooded:?}");
        assert!(flooded.sent < 10_000 && flooded.went_away, "{flooded:?}");

        let flooded = open().flood(10_000, |index| match index {
            0 => frame(HEADERS, END_HEADERS, 1, &head("/whoami", Some(&siege.good))),
            _ => frame(DATA, 0, 1, &[b'a'; 16_384]),
        });
        println!("DATA beyond its window: {flooded:?}");

        let flooded = open().flood(50_000, |_| frame(SETTINGS, 0, 0, &[]));
        println!("SETTINGS: {flooded:?}");
        let flooded = open().flood(50_000, |_| frame(PING, 0, 0, &[0; 8]));
        println!("PING: {flooded:?}");
        let flooded =
            open().flood(50_000, |_| frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]));
        println!("WINDOW_UPDATE: {flooded:?}");
        assert!(flooded.went_away, "{flooded:?}");
    });
    siege.end();
}

#[test]
fn answers_without_a_window_are_given_up() {
    let siege = Siege::begin(&["--idle-timeout", "1s"]);
    // SETTINGS_INITIAL_WINDOW_SIZE of 0
    let connect = || Wire::http2(&siege.demo, &[0, 4, 0, 0, 0, 0]);
    siege.besides("20 connections with 100 answers each that cannot be sent", 32, |_| {
        let mut wires: Vec<Wire> = (0..20).map(|_| connect()).collect();
        for wire in &mut wires {
            let requests = streams().take(100).map(|id| whoami(id, Some(&siege.good)));
            wire.send(requests.collect::<Vec<_>>().concat());
        }
        siege.wait_until_released();
    });
    siege.end();
}

#[test]
fn frames_at_random_are_no_request() {
    let siege = Siege::begin(&[]);
    let seed = fastrand::u64(..);
    println!("frames at random: seed {seed}");
    let mut dice = fastrand::Rng::with_seed(seed);
    siege.besides("300 connections with frames at random", 16, |_| {
        for _ in 0..300 {
            let mut wire = Wire::http2(&siege.demo, &[]);
            for _ in 0..20 {
                let payload: Vec<u8> = (0..dice.usize(..40)).map(|_| dice.u8(..)).collect();
                let stream = dice.u32(..8);
                let bytes = frame(dice.u8(..12), dice.u8(..), stream, &payload);
                if wire.try_send(bytes).is_err() {
                    break;
                }
            }
            wire.finish();
            while let Some(frame) = wire.frame() {
                let is_ok = frame.kind == HEADERS && frame.payload.first() == Some(&0x88);
                assert!(!is_ok, "a request was seen, and its token was good");
            }
        }
    });
    siege.end();
}

#[test]
fn one_http_is_not_taken_for_the_other() {
    let siege = Siege::begin(&[]);
    // an offer to go on in HTTP/2 is not taken up, as a server may
    let upgrade = "upgrade: h2c\r\nconnection: upgrade, http2-settings\r\nhttp2-settings: AAAA\r\n";
    let mut wire = Wire::to(&siege.demo);
    wire.send(
        super::whoami(&siege.good).replace("host: demo\r\n", &format!("host: demo\r\n{upgrade}")),
    );
    assert_good(&wire.answer().unwrap());
    // nor is a settled one
    let mut wire = Wire::http2(&siege.demo, &[]);
    wire.send(frame(SETTINGS, ACK, 0, &[]));
    wire.send(super::whoami(&siege.good));
    wire.finish();
    while let Some(frame) = wire.frame() {
        assert_ne!(frame.kind, HEADERS);
    }
    drop(wire);
    siege.end();
}
