//! Requests whose callers go away, at every moment that there is.

use std::{
    net::TcpListener,
    thread,
    time::{Duration, Instant},
};

use rustix::net::sockopt::{Timeout, set_socket_timeout};

use super::*;

/// The ways to go: at once, by a reset, and by sending no more until the server has closed it too.
pub(super) const WAYS: [fn(Wire); 3] = [drop, Wire::reset, |wire| {
    wire.finish();
    wire.until_closed();
}];

#[test]
fn callers_that_go_away_leave_nothing_behind() {
    let siege = Siege::begin(&[]);
    let request = whoami(&siege.good);
    let with_body = format!("{}\r\ncontent-length: 1000\r\n\r\nnot all of it", request.trim_end());
    let refused = whoami("junk");
    let (begun, unfinished) = (&request[..20], &request[..request.len() - 2]);
    siege.besides("900 callers that go away", 16, |served| {
        for _ in 0..50 {
            for leave in WAYS {
                // before a byte, in the head, at its end, in the body, before the answer is read
                for sent in ["", begun, unfinished, &with_body, &request, &refused] {
                    let mut wire = Wire::to(&siege.demo);
                    // it may have been answered, and closed
                    let _ = wire.try_send(sent);
                    leave(wire);
                }
            }
            served.wait_for_more(1);
        }
        // and with many answers on the way
        for leave in WAYS {
            for _ in 0..20 {
                let mut wire = Wire::to(&siege.demo);
                wire.send(request.repeat(20));
                leave(wire);
            }
        }
    });
    siege.end();
}

#[test]
fn callers_that_go_away_while_they_wait_for_keys_are_not_waited_for() {
    let siege = Siege::begin(&Siege::PATIENT);
    siege.besides("300 callers that wait for keys, and go away", 24, |served| {
        let waiting = whoami(&siege.begin_wait());
        let start = Instant::now();
        for leave in WAYS {
            let ask = |_| {
                let mut wire = Wire::to(&siege.demo);
                wire.send(&waiting);
                wire
            };
            let wires: Vec<Wire> = (0..100).map(ask).collect();
            // the server takes them in its own time
            let are_all_there = |held: Held| {
                held.descriptors == 0 || held.descriptors >= siege.before.descriptors + 100
            };
            while !are_all_there(Held::by(&siege.demo)) {
                assert!(start.elapsed() < Duration::from_secs(60), "they are not let in");
                served.wait_for_more(1);
            }
            wires.into_iter().for_each(leave);
            siege.wait_until_released();
        }
        assert!(start.elapsed() < Duration::from_secs(60), "before the fetch ended");
        siege.end_wait();
        siege.recover(served);
    });
    siege.end();
}

#[test]
fn whoever_waits_beside_those_who_go_gets_an_answer() {
    let siege = Siege::begin(&Siege::PATIENT);
    siege.besides("one who waits beside 100 who go away", 16, |served| {
        let waiting = whoami(&siege.begin_wait());
        let mut first = Wire::to(&siege.demo);
        first.send(&waiting);
        for leave in WAYS.iter().cycle().take(100) {
            let mut wire = Wire::to(&siege.demo);
            wire.send(&waiting);
            leave(wire);
        }
        let mut last = Wire::to(&siege.demo);
        last.send(&waiting);
        served.wait_for_more(10);
        siege.end_wait();
        for mut wire in [first, last] {
            assert_eq!(wire.answer().unwrap().status, 503);
        }
        siege.recover(served);
    });
    siege.end();
}

/// An API server that takes what it is asked, and does not answer.
pub(super) struct Silent(TcpListener);

impl Silent {
    /// In the place of the demo's own.
    pub(super) fn instead_of(siege: &Siege<Own>) -> Self {
        siege.demo.change("stop");
        let listener = TcpListener::bind(siege.issuer.0).unwrap();
        set_socket_timeout(&listener, Timeout::Recv, Some(PATIENCE)).unwrap();
        Self(listener)
    }

    /// The next questions, so many: each comes on a connection of its own while none is answered.
    pub(super) fn questions(&self, count: usize) -> Vec<TcpStream> {
        (0..count).map(|_| self.0.accept().expect("a question").0).collect()
    }

    /// It answers again.
    pub(super) fn end(self, siege: &Siege<Own>) {
        drop(self.0);
        siege.demo.change("restart");
        // the first requests may find a failing API server, and begin the call that ends this
        let start = Instant::now();
        let answer = loop {
            let answer = reviewed_answer(siege);
            match answer.header("retry-after")[..] {
                [seconds] if answer.status == 503 && start.elapsed() < PATIENCE => {
                    thread::sleep(Duration::from_secs(seconds.parse().unwrap()));
                }
                _ => break answer,
            }
        };
        assert_good(&answer);
    }
}

/// What becomes of a token that nobody was asked about yet.
fn reviewed_answer(siege: &Siege<Own>) -> Response {
    let fresh = siege.fresh_token();
    siege.demo.get("/reviewed", &[&format!("authorization: Bearer {fresh}")])
}

#[test]
fn callers_that_go_away_while_the_api_server_is_asked_are_not_waited_for() {
    const EACH: usize = 20;
    let siege = Siege::begin_alone(&["--request-timeout", "60s"]);
    siege.besides("60 callers that go away while the API server is asked", 24, |served| {
        // none of which was asked about in vain just now
        let tokens: Vec<String> = (0..WAYS.len() * EACH).map(|_| siege.fresh_token()).collect();
        let silent = Silent::instead_of(&siege);
        let mut asked = Vec::new();
        for (leave, tokens) in WAYS.iter().zip(tokens.chunks(EACH)) {
            let ask = |token: &String| {
                let mut wire = Wire::to(&siege.demo);
                wire.send(whoami(token).replace("/whoami", "/reviewed"));
                wire
            };
            let wires: Vec<Wire> = tokens.iter().map(ask).collect();
            // so all of them are in the midst of it
            asked.extend(silent.questions(EACH));
            served.wait_for_more(10);
            wires.into_iter().for_each(leave);
        }
        served.wait_for_more(10);
        drop(asked);
        siege.wait_until_released();
        silent.end(&siege);
    });
    siege.end();
}
