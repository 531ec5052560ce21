//! Tokens that name keys which nobody knows.

use kube_oidc_testing::{Answer, Endpoint};

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
    let strangers = strangers(&siege, 5_000);
    siege.besides("5,000 key ids on 10 connections", |_| {
        thread::scope(|scope| {
            for some in strangers.chunks(500) {
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
    siege.end("a flood of key ids");
}

#[test]
fn a_flood_of_key_ids_beside_an_issuer_that_hangs_is_turned_away() {
    let siege = Siege::begin(&["--fetch-timeout", "3s", "--max-connections", "3000"]);
    let fetches = siege.issuer.key_fetches();
    let strangers = strangers(&siege, 400);
    siege.issuer.answer(Endpoint::Keys, Answer::never());
    siege.besides("400 key ids, and no keys", |served| {
        let ask = |token: &String| {
            let mut wire = Wire::to(&siege.demo);
            wire.send(whoami(token));
            wire
        };
        let wires: Vec<Wire> = strangers.iter().map(ask).collect();
        served.wait_for_more(20);
        let answers = wires.into_iter().map(|mut wire| wire.answer().unwrap());
        let statuses = tally(answers.map(|answer| answer.status));
        println!("400 key ids, and no keys: {statuses:?}");
        assert!(statuses.keys().all(|status| matches!(status, 401 | 503)), "{statuses:?}");
    });
    let caused = siege.issuer.key_fetches() - fetches;
    assert!(caused <= 2, "{caused}");
    siege.end("a flood of key ids, and no keys");
}
