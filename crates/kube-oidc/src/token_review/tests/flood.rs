//! Many requests of one caller, and the others.

use super::*;

/// Reviews that confirm tokens like `subject/1`, and whose replies are held back.
fn held_reviews() -> (Arc<ScriptedReviewer>, Arc<ReviewCache>) {
    let Reviews { reviewer, answers, .. } = Reviews::new();
    reviewer.set(ReviewReply::StatusOf(|token| {
        let (subject, _) = token.split_once('/').unwrap();
        ReviewStatus { username: subject.to_owned(), ..good() }
    }));
    reviewer.hold();
    (reviewer, answers)
}

/// Asks about a token of a subject.
fn spawn(
    answers: &Arc<ReviewCache>,
    subject: &str,
    number: usize,
) -> JoinHandle<Result<(), VerifyError>> {
    let (answers, token) = (Arc::clone(answers), format!("{subject}/{number}"));
    let expected = Expected { username: subject.to_owned(), ..expected() };
    tokio::spawn(async move { answers.ask(token.as_bytes(), expected).await })
}

async fn assert_too_many(asking: JoinHandle<Result<(), VerifyError>>) {
    let Err(VerifyError::ReviewUnavailable(unavailable)) = asking.await.unwrap() else {
        panic!("there was a permit");
    };
    assert_eq!(unavailable.cause(), ReviewUnavailableCause::TooManyWaiting);
    assert_eq!(unavailable.retry_after(), SECOND);
}

// rule: review-permits
#[tokio::test]
async fn one_token_takes_one_permit_however_many_requests_wait() {
    let (reviewer, answers) = held_reviews();
    let flood: Vec<_> = (0..2_000).map(|_| spawn(&answers, "flood", 0)).collect();
    let other = spawn(&answers, "other", 0);
    until(|| answers.calls_in_flight() >= 2).await;
    assert_eq!(answers.calls_in_flight(), 2);
    reviewer.release();
    for asking in flood.into_iter().chain([other]) {
        asking.await.unwrap().unwrap();
    }
    assert_eq!(answers.calls_in_flight(), 0);
}

// rule: review-permits
#[tokio::test]
async fn one_subject_takes_at_most_a_quarter_of_the_permits() {
    let (reviewer, answers) = held_reviews();
    let flood: Vec<_> = (0..256).map(|number| spawn(&answers, "flood", number)).collect();
    until(|| answers.calls_in_flight() >= 256).await;
    assert_too_many(spawn(&answers, "flood", 256)).await;
    // a token whose call is in flight needs no other permit
    let waiting = spawn(&answers, "flood", 0);
    let others: Vec<_> =
        (0..768).map(|number| spawn(&answers, &format!("subject {number}"), 0)).collect();
    until(|| answers.calls_in_flight() >= 1_024).await;
    assert_too_many(spawn(&answers, "one too many", 0)).await;
    reviewer.release();
    for asking in flood.into_iter().chain(others).chain([waiting]) {
        asking.await.unwrap().unwrap();
    }
    assert_eq!(answers.calls_in_flight(), 0);
}
