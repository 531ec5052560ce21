//! Streams whose callers go away.

use crate::hostile::aborted::Silent;

use super::*;

/// The ways to go: as a caller in HTTP/1.1 goes, and stream by stream.
const WAYS: [fn(Wire, &[u32]); 4] = [
    |wire, _| drop(wire),
    |wire, _| wire.reset(),
    |wire, _| {
        wire.finish();
        wire.until_closed();
    },
    |mut wire, streams| {
        let cancel = |stream: &u32| frame(RST_STREAM, 0, *stream, &8_u32.to_be_bytes());
        wire.send(streams.iter().flat_map(cancel).collect::<Vec<u8>>());
        // which the connection outlives
        wire.until_seen();
    },
];

/// A connection on which these requests were made, one on each stream.
fn asked(demo: &Demo, requests: impl IntoIterator<Item = Vec<u8>>) -> Wire {
    let mut wire = Wire::http2(demo, &[]);
    wire.send(requests.into_iter().flatten().collect::<Vec<u8>>());
    wire.until_seen();
    wire
}

/// Checks that nothing was answered yet, after others who came later were.
fn assert_unanswered(wires: &mut [Wire], served: &Served) {
    served.wait_for_more(10);
    for wire in wires {
        assert!(wire.until_seen().iter().all(|frame| frame.kind != HEADERS), "it is answered");
    }
}

// rule: waiting-requests
#[test]
fn streams_that_end_while_they_wait_for_keys_are_not_waited_for() {
    let siege = Siege::begin(&Siege::PATIENT);
    // altogether more than may wait at a time
    let streams: Vec<u32> = streams().take(80).collect();
    siege.besides("1,280 streams that wait for keys, and end", 24, |served| {
        let waiting = siege.begin_wait();
        for leave in WAYS {
            let requests = || streams.iter().map(|stream| whoami(*stream, Some(&waiting)));
            let mut wires: Vec<Wire> = (0..4).map(|_| asked(&siege.demo, requests())).collect();
            assert_unanswered(&mut wires, served);
            for wire in wires {
                leave(wire, &streams);
            }
            siege.wait_until_released();
        }
        // so there is a place for one more
        let mut last = Wire::to(&siege.demo);
        last.send(super::super::whoami(&waiting));
        served.wait_for_more(10);
        siege.end_wait();
        let answer = last.answer().unwrap();
        assert_eq!(answer.status, 503);
        assert_ne!(answer.header("retry-after"), ["60"], "too many were waiting");
        siege.recover(served);
    });
    siege.end();
}

#[test]
fn streams_that_end_while_the_api_server_is_asked_are_not_waited_for() {
    let siege = Siege::begin_alone(&["--request-timeout", "60s"]);
    let streams: Vec<u32> = streams().take(15).collect();
    siege.besides("60 streams that end while the API server is asked", 24, |served| {
        // none of which was asked about in vain just now
        let tokens: Vec<String> =
            (0..WAYS.len() * streams.len()).map(|_| siege.fresh_token()).collect();
        let silent = Silent::instead_of(&siege);
        let mut questions = Vec::new();
        for (leave, tokens) in WAYS.iter().zip(tokens.chunks(streams.len())) {
            let request = |(stream, token): (&u32, &String)| {
                let head = head("/reviewed", Some(token));
                frame(HEADERS, END_HEADERS | END_STREAM, *stream, &head)
            };
            let wire = asked(&siege.demo, streams.iter().zip(tokens).map(request));
            questions.extend(silent.questions(streams.len()));
            leave(wire, &streams);
            served.wait_for_more(10);
        }
        drop(questions);
        siege.wait_until_released();
        silent.end(&siege);
    });
    siege.end();
}

#[test]
fn streams_that_end_in_the_middle_of_a_body_are_not_waited_for() {
    let siege = Siege::begin_alone(&["--request-timeout", "60s"]);
    let streams: Vec<u32> = streams().take(20).collect();
    let host = &siege.demo.address;
    let mut head = vec![0x83, 0x86];
    for (name, value) in [
        (":path", "/api/explain"),
        (":authority", host),
        ("host", host),
        ("origin", &format!("http://{host}")),
        ("content-type", "application/json"),
    ] {
        head.push(0);
        head.extend(text(name));
        head.extend(text(value));
    }
    let begun = |stream: &u32| {
        [frame(HEADERS, END_HEADERS, *stream, &head), frame(DATA, 0, *stream, b"{\"token\":\"j")]
            .concat()
    };
    siege.besides("400 streams that end in the middle of a body", 24, |served| {
        for leave in WAYS {
            let mut wires: Vec<Wire> =
                (0..5).map(|_| asked(&siege.demo, streams.iter().map(begun))).collect();
            assert_unanswered(&mut wires, served);
            for wire in wires {
                leave(wire, &streams);
            }
            siege.wait_until_released();
        }
        // whose bodies were waited for: one that ends is answered
        let mut wire = asked(&siege.demo, [begun(&1)]);
        wire.send(frame(DATA, END_STREAM, 1, b"unk\"}"));
        assert_eq!(wire.answer_on(1).unwrap()[0].payload[0], 0x88);
    });
    siege.end();
}
