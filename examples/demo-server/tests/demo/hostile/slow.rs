//! Clients that take their time.

use std::io::Write as _;

use super::*;

/// The beginnings of what never becomes a request, in every state that a connection may be in.
const BEGINNINGS: [&str; 6] = [
    "",
    // perhaps HTTP/2
    "PRI * HT",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "G",
    "GET /whoami HTTP/1.1\r\nhost: demo\r\nauthorization: Bearer ",
    "GET /whoami HTTP/1.1\r\nhost: demo\r\n\r\nGET /who",
];

#[test]
fn a_head_that_does_not_end_is_cut_off() {
    let siege = Siege::begin(&["--idle-timeout", "2s"]);
    siege.besides("300 heads that do not end", 24, |served| {
        let begin = |index: usize| {
            let mut wire = Wire::to(&siege.demo);
            wire.send(BEGINNINGS[index % BEGINNINGS.len()]);
            wire
        };
        let mut wires: Vec<Wire> = (0..300).map(begin).collect();
        let mut rounds = 0;
        let deadline = Instant::now() + PATIENCE;
        // one byte each, until it is not taken any more
        while !wires.is_empty() {
            assert!(Instant::now() < deadline, "{} connections are still open", wires.len());
            wires.retain_mut(|wire| wire.try_send("a").is_ok());
            served.wait_for_more(2);
            rounds += 1;
        }
        println!("300 heads that do not end: {rounds} rounds of a byte each");
    });
    siege.end();
}

#[test]
fn whoever_says_nothing_is_not_waited_for() {
    let siege = Siege::begin(&["--idle-timeout", "1s"]);
    let begin = |index: usize| {
        let mut wire = Wire::to(&siege.demo);
        wire.send(BEGINNINGS[index % BEGINNINGS.len()]);
        wire
    };
    siege.besides("300 connections that stay", 24, |_| {
        let wires: Vec<Wire> = (0..300).map(begin).collect();
        // this side still has them open
        siege.wait_until_released();
        for wire in wires {
            for answer in wire.answers() {
                assert_ne!(answer.status, 200);
            }
        }
    });
    siege.end();
}

#[test]
fn a_connection_in_use_is_kept() {
    let siege = Siege::begin(&["--idle-timeout", "1s"]);
    siege.with_callers(&[Caller::Keeps], "a kept connection", 16, |served| {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(3) {
            served.wait_for_more(1);
        }
    });
    siege.end();
}

#[test]
fn a_body_that_does_not_end_is_given_up() {
    // of the demo's own issuer, whose page reads bodies
    let siege = Siege::begin_alone(&["--request-timeout", "2s", "--idle-timeout", "1s"]);
    let host = &siege.demo.address;
    let head = format!(
        "POST /api/explain HTTP/1.1\r\nhost: {host}\r\norigin: http://{host}\r\n\
         content-type: application/json\r\n"
    );
    let lengths =
        ["content-length: 1000", "transfer-encoding: chunked", "content-length: 99999999"];
    siege.besides("150 bodies of the page that do not end", 24, |_| {
        let mut wires = Vec::new();
        for length in lengths.iter().cycle().take(150) {
            let mut wire = Wire::to(&siege.demo);
            wire.send(format!("{head}{length}\r\n\r\n"));
            wire.send(if length.contains("chunked") { "5\r\n{\"tok" } else { "{\"tok" });
            wires.push(wire);
        }
        let answers = wires.into_iter().flat_map(Wire::answers);
        assert_eq!(tally(answers.map(|answer| answer.status)), [(408, 150)].into());
    });
    siege.end();
}

#[test]
fn a_body_that_nobody_asked_for_is_not_waited_for() {
    let siege = Siege::begin(&[]);
    let good = siege.good.clone();
    siege.besides("200 bodies that do not end", 16, |_| {
        for (index, length) in
            ["content-length: 1000000000", "transfer-encoding: chunked"].iter().cycle().enumerate()
        {
            if index == 200 {
                break;
            }
            let mut wire = Wire::to(&siege.demo);
            let request = whoami(&good);
            wire.send(format!("{}\r\n{length}\r\n\r\n", request.trim_end()));
            // a chunk, or what is as good as one
            let _ = wire.try_send("ffffff\r\naaaaaaaaaaaaaaaa");
            let answers = wire.answers();
            assert_eq!(answers.len(), 1);
            assert_good(&answers[0]);
        }
    });
    siege.end();
}

#[test]
fn answers_that_nobody_reads_are_not_kept() {
    let siege = Siege::begin(&["--idle-timeout", "1s"]);
    // an answer that is long, since it names them
    let audiences = 0..400;
    let long = audiences.fold(named(&siege.issuer, "checkout"), |token, index| {
        token.audience(&format!("audience-{index:012}"))
    });
    let requests = whoami(&long.mint()).repeat(20);
    siege.besides("6 clients that do not read", 32, |_| {
        let mut wires = Vec::new();
        for _ in 0..6 {
            let wire = Wire::that_takes_little(&siege.demo);
            let mut writer = wire.writer();
            // as much as is taken without an answer being read
            writer.set_write_timeout(Some(Duration::from_millis(50))).unwrap();
            while writer.write_all(requests.as_bytes()).is_ok() {}
            wires.push(wire);
        }
        siege.wait_until_released();
        wires.into_iter().for_each(Wire::reset);
    });
    siege.end();
}
