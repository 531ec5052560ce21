//! A few thousand tokens of every algorithm, with changes to header, payload, signature, key set and
//! the finished text: each change alone with each algorithm, then several together. Here we judge
//! them; where it is asked for, other implementations do so too: see `oracles/README.md`.

mod changes;
mod draft;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kube_oidc::{KeySource, Reason, Verifier, clock::ManualClock};
use kube_oidc_testing::{SigningAlgorithm, SigningKey};
use kube_oidc_tests::{CAPTURED_TOKENS, Judge as _, OracleCase, issuer_at_with};
use serde_json::{Value, json};

use self::{changes::Change, draft::Draft};

const ISSUER: &str = "https://issuer.example/id/7";
const NOW: u64 = 1_900_000_000;
/// As many tokens have several changes.
const COMBINED: usize = 2_000;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

/// Our verdict, which others hear of too.
async fn judge(
    name: String,
    token: &str,
    key_set: &Value,
    (issuer, audience): (&str, &str),
    now: SystemTime,
) -> Result<(), Reason> {
    let trusted = issuer_at_with(issuer, KeySource::fixed(key_set.to_string()));
    let verifier = Verifier::builder(trusted).audience(audience).clock(ManualClock::at(now));
    let verdict = verifier.build().unwrap().judge(token).await;
    let ours = verdict.map(|_| ()).map_err(|error| error.reason());
    OracleCase { name, token, key_set, issuer, audience, now, ours }.export();
    ours
}

/// Changes, and whether they exist for this key.
fn draft<'k>(keys: &'k [SigningKey], index: usize, changes: &[Change]) -> Option<Draft<'k>> {
    let mut draft = Draft::new(keys, index);
    changes.iter().all(|change| change(&mut draft)).then_some(draft)
}

fn keys() -> Vec<SigningKey> {
    SigningAlgorithm::ALL.into_iter().map(SigningKey::generate).collect()
}

async fn judge_draft(name: String, draft: &Draft<'_>) -> Result<(), Reason> {
    let key_set = json!({ "keys": draft.key_set });
    judge(name, &draft.token(), &key_set, (ISSUER, "orders"), at(NOW)).await
}

#[tokio::test]
async fn each_change_has_its_verdict() {
    let keys = keys();
    let mut wrong = Vec::new();
    let mut judged = 0;
    for (name, _, expected, change) in changes::all() {
        let before = judged;
        for (index, key) in keys.iter().enumerate() {
            let Some(draft) = draft(&keys, index, &[change]) else { continue };
            let name = format!("generated/{}/{name}", key.algorithm().name());
            let ours = judge_draft(name.clone(), &draft).await;
            if ours.err() != expected {
                wrong.push(format!("{name}: {ours:?} and not {expected:?}"));
            }
            judged += 1;
        }
        assert!(judged > before, "{name} is a change of nothing");
    }
    assert!(wrong.is_empty(), "{} of {judged}: {wrong:#?}", wrong.len());
    println!("{judged} tokens with one change");
}

#[tokio::test]
async fn a_token_is_good_if_each_of_its_changes_is() {
    let keys = keys();
    let all = changes::all();
    let mut good = all.clone();
    good.retain(|(_, _, expected, _)| expected.is_none());
    let (mut judged, mut accepted) = (0, 0);
    let mut wrong = Vec::new();
    while judged < COMBINED {
        // of all changes most are bad, and so would be nearly all combinations
        let pool = if judged % 2 == 0 { &good } else { &all };
        let chosen: Vec<_> =
            (0..fastrand::usize(2..=4)).map(|_| pool[fastrand::usize(..pool.len())]).collect();
        let touched = chosen.iter().try_fold(0, |touched, (_, touches, ..)| {
            (touched & touches == 0).then_some(touched | touches)
        });
        if touched.is_none() {
            continue;
        }
        let index = fastrand::usize(..keys.len());
        let changes: Vec<Change> = chosen.iter().map(|(.., change)| *change).collect();
        let Some(draft) = draft(&keys, index, &changes) else { continue };
        let names: Vec<&str> = chosen.iter().map(|(name, ..)| *name).collect();
        let algorithm = keys[index].algorithm().name();
        let name = format!("generated/{algorithm}/{}/{judged}", names.join(" + "));
        let ours = judge_draft(name.clone(), &draft).await;
        let expected = chosen.iter().all(|(_, _, expected, _)| expected.is_none());
        if ours.is_ok() != expected {
            wrong.push(format!("{name}: {ours:?}, {}", draft.token()));
        }
        accepted += usize::from(expected);
        judged += 1;
    }
    assert!(wrong.is_empty(), "{} of {judged}: {wrong:#?}", wrong.len());
    println!("{judged} tokens with several changes, of which {accepted} are accepted");
}

#[tokio::test]
async fn captured_tokens_have_their_verdicts() {
    for case in &CAPTURED_TOKENS {
        let (name, token) = (case.name(), case.jwt());
        let payload = case.decoded()["payload"].clone();
        let key_set: Value = serde_json::from_str(&case.key_set()).unwrap();
        let (issuer, now) = (payload["iss"].as_str().unwrap(), case.pinned_time());
        let us = (issuer, payload["aud"][0].as_str().unwrap());
        let time = |claim: &str| payload[claim].as_u64().unwrap();
        let cases = [
            ("as it is", us, now, Ok(())),
            ("for another", (issuer, "billing"), now, Err(Reason::Audience)),
            ("of another", ("https://evil.example", us.1), now, Err(Reason::UnknownIssuer)),
            ("at its last second", us, at(time("exp") + 59), Ok(())),
            ("a second later", us, at(time("exp") + 60), Err(Reason::Expired)),
            ("at its first second", us, at(time("nbf") - 60), Ok(())),
            ("a second earlier", us, at(time("nbf") - 61), Err(Reason::NotYetValid)),
        ];
        for (what, us, now, expected) in cases {
            let name = format!("captured/{name}/{what}");
            assert_eq!(judge(name.clone(), &token, &key_set, us, now).await, expected, "{name}");
        }
        for index in (0..token.len()).step_by(7) {
            let mut changed = token.clone().into_bytes();
            changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            let name = format!("captured/{name}/byte {index}");
            assert!(judge(name.clone(), &changed, &key_set, us, now).await.is_err(), "{name}");
        }
    }
}
