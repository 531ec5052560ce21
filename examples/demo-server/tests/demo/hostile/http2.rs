//! HTTP/2 from the first byte on, in frames made by hand.

mod aborted;
mod floods;

use std::collections::{BTreeSet, HashMap};

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

pub(super) struct Frame {
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

pub(super) fn whoami(stream: u32, token: Option<&str>) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &head("/whoami", token))
}

/// The ids of a client's streams.
pub(super) fn streams() -> impl Iterator<Item = u32> {
    (1..).step_by(2)
}

impl Wire {
    /// A connection that has said which HTTP it speaks, with these settings.
    pub(super) fn http2(demo: &Demo, settings: &[u8]) -> Self {
        let mut wire = Self::to(demo);
        wire.send([PREFACE, &frame(SETTINGS, 0, 0, settings)].concat());
        wire
    }

    pub(super) fn frame(&mut self) -> Option<Frame> {
        let head = self.bytes(9)?;
        let number = |bytes: &[u8]| bytes.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte));
        let payload = self.bytes(number(&head[..3]) as usize)?;
        let stream = number(&head[5..]);
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// What comes next of the answers, of which this is the last frame of a head, or all of a body.
    fn answer_on(&mut self, stream: u32) -> Option<Vec<Frame>> {
        let mut frames = Vec::new();
        loop {
            let frame = self.frame()?;
            if frame.stream == stream {
                let is_last = frame.flags & END_STREAM != 0;
                frames.push(frame);
                if is_last {
                    return Some(frames);
                }
            }
        }
    }

    /// What the answers say of themselves, each in a body of one frame.
    pub(super) fn statuses(mut self) -> impl Iterator<Item = u16> {
        let bodies = iter::from_fn(move || self.frame()).filter(|frame| frame.kind == DATA);
        bodies.filter(|frame| !frame.payload.is_empty()).map(|frame| {
            let body: serde_json::Value = serde_json::from_slice(&frame.payload).unwrap();
            u16::try_from(body["status"].as_u64().unwrap()).unwrap()
        })
    }

    /// Waits until the server has seen all that was sent, and says what it sent before.
    fn until_seen(&mut self) -> Vec<Frame> {
        self.send(frame(PING, 0, 0, b"all seen"));
        let frames = iter::from_fn(|| Some(self.frame().unwrap()));
        frames.take_while(|frame| frame.kind != PING).collect()
    }
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

/// A frame of any kind, most of which are none.
fn frame_at_random(dice: &mut fastrand::Rng) -> Vec<u8> {
    let payload: Vec<u8> = (0..dice.usize(..40)).map(|_| dice.u8(..)).collect();
    frame(dice.u8(..12), dice.u8(..), dice.u32(..8), &payload)
}

/// The streams on which a request with a good token was made: with a whole head, by a frame whose
/// flags say nothing else of it.
#[derive(Default)]
struct Asked {
    begun: Option<u32>,
    whole: BTreeSet<u32>,
}

impl Asked {
    /// Takes note of a frame that is sent, which has the head of a request or is one at random.
    fn note(&mut self, bytes: &[u8], has_head: bool) {
        const PADDED: u8 = 8;
        const PRIORITY: u8 = 32;
        let (kind, flags, stream) = (bytes[3], bytes[4], u32::from(bytes[8]));
        if has_head {
            self.begun = (flags & (PADDED | PRIORITY) == 0).then_some(stream);
        } else if kind != CONTINUATION {
            self.begun = None;
        }
        if flags & END_HEADERS != 0 {
            self.whole.extend(self.begun.take().filter(|begun| *begun == stream));
        }
    }
}

#[test]
fn among_frames_at_random_only_a_whole_request_is_answered() {
    let siege = Siege::begin(&[]);
    let seed = fastrand::u64(..);
    println!("frames at random: seed {seed}");
    let mut dice = fastrand::Rng::with_seed(seed);
    let good = head("/whoami", Some(&siege.good));
    siege.besides("300 connections with frames at random", 16, |_| {
        let mut answered = 0;
        for index in 0..300 {
            let mut wire = Wire::http2(&siege.demo, &[]);
            let mut asked = Asked::default();
            if index % 10 == 0 {
                wire.send(whoami(1, Some(&siege.good)));
                assert_eq!(who(&wire.answer_on(1).unwrap()), Some("checkout".to_owned()));
                answered += 1;
            }
            for _ in 0..dice.usize(..20) {
                let has_head = dice.u8(..4) == 0;
                let bytes = if has_head {
                    let flags = [END_STREAM | END_HEADERS, END_HEADERS, dice.u8(..)];
                    frame(HEADERS, flags[dice.usize(..3)], dice.u32(..8), &good)
                } else {
                    frame_at_random(&mut dice)
                };
                asked.note(&bytes, has_head);
                if wire.try_send(bytes).is_err() {
                    break;
                }
            }
            // so that there is time for an answer before the end is seen
            let _ = wire.try_send(frame(PING, 0, 0, b"all seen"));
            while let Some(frame) = wire.frame() {
                if frame.kind == PING {
                    wire.finish();
                }
                let is_ok = frame.kind == HEADERS && frame.payload.first() == Some(&0x88);
                assert!(!is_ok || asked.whole.contains(&frame.stream), "seed {seed}: {index}");
                answered += usize::from(is_ok);
            }
        }
        println!("300 connections with frames at random: {answered} good answers");
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
