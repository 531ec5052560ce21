//! Tokens that name keys which nobody knows.

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
