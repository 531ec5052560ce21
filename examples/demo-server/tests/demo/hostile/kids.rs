//! Tokens that name keys which nobody knows.

use std::sync::mpsc;

use super::*;

/// Tokens that would be worth a fetch of keys, each with a key id of its own.
fn strangers(siege: &Siege, count: usize) -> Vec<String> {
    let minted = |index| {
        let token = named(&siege.issuer, "stranger").header("kid", format!("stranger-{index:x}"));
        token.signature([0; 64]).mint()
    };
    (0..count).map(minted).collect()
}

#[test]
fn a_flood_of_key_ids_asks_the_issuer_no_more_than_allowed() {
    let siege = Siege::begin(&[]);
    let fetches = siege.issuer.key_fetches();
    let strangers = strangers(&siege, 3_000);
    siege.besides("3,000 key ids on 10 connections", 16, |_| {
        thread::scope(|scope| {
            for some in strangers.chunks(300) {
                scope.spawn(|| {
                    let mut wire = Wire::to(&siege.demo);
                    for tokens in some.chunks(50) {
                        wire.send(tokens.iter().map(|token| whoami(token)).collect::<String>());
                        for _ in tokens {
                            assert_eq!(wire.answer().unwrap().status, 401);
                        }
                    }
                });
            }
        });
    });
    let caused = siege.issuer.key_fetches() - fetches;
    assert!(caused <= 2, "{caused}");
    siege.end();
}

// rule: fetch-budget
#[test]
fn a_flood_of_key_ids_is_a_503_while_the_issuer_hangs_and_a_401_once_it_has_answered() {
    let flags =
        ["--fetch-timeout", "3s", "--unknown-kid-cooldown", "100ms", "--max-connections", "3000"];
    let siege = Siege::begin(&flags);
    let strangers = strangers(&siege, 400);
    let ask = |token: &String| {
        let mut wire = Wire::to(&siege.demo);
        wire.send(whoami(token));
        wire
    };
    let answered =
        |wires: Vec<Wire>| tally(wires.into_iter().map(|mut wire| wire.answer().unwrap().status));
    siege.besides("400 key ids, and no keys", 32, |served| {
        let fetches = siege.issuer.key_fetches();
        siege.begin_wait();
        let wires = strangers.iter().map(ask).collect();
        served.wait_for_more(20);
        // nobody knows whether these keys are there
        assert_eq!(answered(wires), [(503, 400)].into());
        let caused = siege.issuer.key_fetches() - fetches;
        assert!(caused <= 4, "{caused}");
        siege.end_wait();
        siege.recover(served);
        // they are not
        assert_eq!(answered(strangers.iter().map(ask).collect()), [(401, 400)].into());
        // and may be asked for again
        siege.recover(served);
    });
    siege.end();
}

// rule: waiting-requests
#[test]
fn no_more_than_1024_wait_for_keys() {
    const CONNECTIONS: usize = 7;
    const STREAMS: usize = 200;
    const MAY_WAIT: usize = 1_024;
    let siege = Siege::begin(&Siege::PATIENT);
    siege.besides("1,400 requests where 1,024 may wait for keys", 32, |served| {
        let fetches = siege.issuer.key_fetches();
        let waiting = siege.begin_wait();
        let (send, answers) = mpsc::channel();
        thread::scope(|scope| {
            for _ in 0..CONNECTIONS {
                let mut wire = Wire::http2(&siege.demo, &[]);
                let ids = http2::streams().take(STREAMS);
                let requests = ids.flat_map(|id| http2::whoami(id, Some(&waiting)));
                wire.send(requests.collect::<Vec<u8>>());
                let send = send.clone();
                scope.spawn(move || wire.statuses().take(STREAMS).try_for_each(|at| send.send(at)));
            }
            let next = |count| -> Vec<u16> {
                (0..count).map(|_| answers.recv_timeout(PATIENCE).unwrap()).collect()
            };
            // these are turned away at once
            let beyond = CONNECTIONS * STREAMS - MAY_WAIT;
            assert_eq!(tally(next(beyond)), [(503, beyond)].into());
            // and all others wait, while good callers are served
            served.wait_for_more(50);
            assert_eq!(answers.try_recv(), Err(mpsc::TryRecvError::Empty));
            assert_eq!(siege.issuer.key_fetches(), fetches + 1);
            siege.end_wait();
            assert_eq!(tally(next(MAY_WAIT)), [(503, MAY_WAIT)].into());
        });
        siege.recover(served);
    });
    siege.end();
}
