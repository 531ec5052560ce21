//! Frames without end, and what comes of them.

use super::*;

// the reasons that a server gives when it goes away
const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const ENHANCE_YOUR_CALM: u32 = 11;

#[derive(Debug)]
struct Flooded {
    /// How many pieces were taken.
    sent: u32,
    /// Why the server went away.
    went_away: Option<u32>,
    /// How many requests were answered.
    answers: usize,
    /// How many SETTINGS and PINGs were.
    acks: usize,
}

impl Wire {
    /// Sends until it is closed, or so often, and reads what there is.
    fn flood(mut self, times: u32, bytes: impl Fn(u32) -> Vec<u8>) -> Flooded {
        let mut sent = 0;
        while sent < times && self.try_send(bytes(sent)).is_ok() {
            sent += 1;
        }
        self.finish();
        let frames: Vec<Frame> = iter::from_fn(|| self.frame()).collect();
        let is_ack =
            |frame: &&Frame| matches!(frame.kind, SETTINGS | PING) && frame.flags & ACK != 0;
        let reason = |frame: &Frame| {
            let code = frame.payload[4..8].try_into().unwrap();
            (frame.kind == GOAWAY).then_some(u32::from_be_bytes(code))
        };
        Flooded {
            sent,
            went_away: frames.iter().filter(|frame| frame.kind == GOAWAY).find_map(reason),
            answers: frames.iter().filter(|frame| frame.kind == HEADERS).count(),
            acks: frames.iter().filter(is_ack).count(),
        }
    }
}

/// CVE-2023-44487, "rapid reset".
#[test]
fn a_storm_of_resets_ends_with_its_connection() {
    const PAIRS: u32 = 5_000;
    let siege = Siege::begin(&[]);
    siege.besides("3 storms of 5,000 resets", 16, |_| {
        for (what, token) in [("good", Some(&*siege.good)), ("bad", Some("junk")), ("no", None)] {
            let pair = |index| {
                let stream = index * 2 + 1;
                let reset = frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
                [whoami(stream, token), reset].concat()
            };
            // at once, so that a reset is there before its request is begun
            let storm: Vec<u8> = (0..PAIRS).flat_map(pair).collect();
            let flooded = Wire::http2(&siege.demo, &[]).flood(1, |_| storm.clone());
            println!("resets with {what} token: {flooded:?}");
            assert_eq!(flooded.went_away, Some(ENHANCE_YOUR_CALM));
            assert!(flooded.answers < 100, "{flooded:?}");
        }
    });
    siege.end();
}

#[test]
fn floods_of_frames_are_cut_off() {
    let siege = Siege::begin(&["--idle-timeout", "2s"]);
    let cut_off = |what, times, reason, bytes: &dyn Fn(u32) -> Vec<u8>| {
        let flooded = Wire::http2(&siege.demo, &[]).flood(times, bytes);
        println!("{what}: {flooded:?}");
        assert_eq!((flooded.went_away, flooded.answers), (Some(reason), 0), "{what}");
        flooded.sent
    };
    // `x`, not indexed, of nearly a frame's length
    let long = [&[0x00][..], &text("x"), &text(&"a".repeat(16_000))].concat();
    // `x`, indexed, and then asked for again and again: 30 MB of headers each
    let bomb = [&[0x40][..], &text("x"), &text(&"a".repeat(3_000)), &[0xbe; 10_000]].concat();
    let begun = |stream| frame(HEADERS, END_STREAM, stream, &head("/whoami", Some(&siege.good)));
    let go_on = |index, payload: &[u8]| match index {
        0 => begun(1),
        _ => frame(CONTINUATION, 0, 1, payload),
    };
    siege.besides("floods of frames", 24, |_| {
        let sent = cut_off("CONTINUATION of 16 KB", 4_096, ENHANCE_YOUR_CALM, &|index| {
            go_on(index, &long)
        });
        assert!(sent < 4_096);
        let sent = cut_off("CONTINUATION of nothing", 1_000_000, ENHANCE_YOUR_CALM, &|index| {
            go_on(index, &[])
        });
        assert!(sent < 1_000_000);
        cut_off("headers that refer to a long one", 100, ENHANCE_YOUR_CALM, &|index| {
            let block = [head("/whoami", Some(&siege.good)), bomb.clone()].concat();
            frame(HEADERS, END_STREAM | END_HEADERS, index * 2 + 1, &block)
        });
        let sent = cut_off("DATA of a stream that is not there", 10_000, PROTOCOL_ERROR, &|_| {
            frame(DATA, 0, 1, &[b'a'; 16_384])
        });
        assert!(sent < 10_000);
        let sent = cut_off("WINDOW_UPDATE", 50_000, FLOW_CONTROL_ERROR, &|_| {
            frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff])
        });
        assert!(sent < 50_000);
    });
    siege.end();
}

#[test]
fn data_beyond_its_window_ends_the_connection() {
    let siege = Siege::begin(&Siege::PATIENT);
    siege.besides("DATA beyond its window", 24, |served| {
        // one that has no answer yet, so nobody takes its body
        let waiting = siege.begin_wait();
        let flooded = Wire::http2(&siege.demo, &[]).flood(10_000, |index| match index {
            0 => frame(HEADERS, END_HEADERS, 1, &head("/whoami", Some(&waiting))),
            _ => frame(DATA, 0, 1, &[b'a'; 16_384]),
        });
        println!("DATA beyond its window: {flooded:?}");
        assert_eq!((flooded.went_away, flooded.answers), (Some(FLOW_CONTROL_ERROR), 0));
        assert!(flooded.sent < 10_000);
        siege.end_wait();
        siege.recover(served);
    });
    siege.end();
}

#[test]
fn what_asks_for_an_answer_is_answered_and_not_kept() {
    const TIMES: u32 = 10_000;
    let siege = Siege::begin(&[]);
    let (settings, ping) = (frame(SETTINGS, 0, 0, &[]), frame(PING, 0, 0, &[0; 8]));
    siege.besides("SETTINGS and PINGs", 16, |_| {
        for bytes in [&settings, &ping] {
            let flooded = Wire::http2(&siege.demo, &[]).flood(TIMES / 100, |_| bytes.repeat(100));
            // and the first SETTINGS
            assert_eq!((flooded.went_away, flooded.acks), (None, TIMES as usize + 1));
        }
        // where the answers are not read, no more is read either
        let mut wire = Wire::that_takes_little(&siege.demo);
        wire.send([PREFACE, &settings].concat());
        wire.writer().set_write_timeout(Some(Duration::from_millis(200))).unwrap();
        let (piece, mut taken) = (ping.repeat(10_000), 0);
        while wire.try_send(&piece).is_ok() {
            taken += piece.len();
            assert!(taken < 64 * 1024 * 1024, "all is read of whoever reads nothing");
        }
        println!("{taken} bytes of PINGs were taken of whoever reads nothing");
        wire.reset();
    });
    siege.end();
}
