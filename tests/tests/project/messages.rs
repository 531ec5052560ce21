//! Messages: for each input that users reported, the message names the cause, the place, and the way
//! out, and shows no secret.

mod claims;
mod fetching;
mod keys;
mod log_lines;
mod requests;
mod settings;

/// One input, and the message that a user gets for it: an error with its sources, a line of the log,
/// or the output of a program.
struct Case {
    input: &'static str,
    message: String,
    /// Parts of the message: the cause, the place, and the way out.
    words: [&'static str; 3],
    /// What the message must not show.
    secrets: Vec<String>,
}

// rule: claim-errors, not-a-key-set
#[tokio::test]
async fn messages_name_the_cause_the_place_and_the_way_out() {
    let mut cases = Vec::new();
    cases.extend(claims::cases().await);
    cases.extend(fetching::cases().await);
    cases.extend(keys::cases().await);
    cases.extend(log_lines::cases().await);
    cases.extend(requests::cases().await);
    cases.extend(settings::cases());
    let mut faults = Vec::new();
    for Case { input, message, words, secrets } in cases {
        let missing: Vec<_> = words.into_iter().filter(|word| !message.contains(word)).collect();
        let shown: Vec<_> = secrets.iter().filter(|secret| message.contains(*secret)).collect();
        if !missing.is_empty() || !shown.is_empty() {
            faults.push(format!("{input}: lacks {missing:?}, shows {shown:?}: {message}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// An error and its sources, as a log shows them.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let sources = std::iter::successors(Some(error), |error| error.source());
    sources.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
