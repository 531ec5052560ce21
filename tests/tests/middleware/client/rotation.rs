//! A token file that changes, or does not.

use std::{fs, time::SystemTime};

use super::{files::with_payload, *};
use kube_oidc_tests::pinned_time;
use tower_kube_oidc::{
    TokenFileError,
    clock::{Clock as _, ManualClock},
};

/// What a rotation is seen from: a named server, a clock, and a layer that reads the file by it.
struct Rotation {
    issuer: TestIssuer,
    named: Named,
    clock: ManualClock,
    start: SystemTime,
    volume: Volume,
    layer: ServiceAccountTokenLayer,
}

impl Rotation {
    async fn start() -> Self {
        let (named, volume, start) = (Named::start().await, Volume::new(), pinned_time());
        let clock = ManualClock::at(start);
        let layer = volume.layer().clock(clock.clone()).for_origin(named.origin());
        Self { issuer: TestIssuer::start(), named, clock, start, volume, layer }
    }

    /// Puts a token into the file that is good until so many seconds after the start.
    fn publish(&self, seconds: u64) -> String {
        let token = minted(&self.issuer).expires_at(self.start + Duration::from_secs(seconds));
        let token = token.mint();
        self.volume.publish(&token);
        token
    }

    /// What is sent with a call.
    async fn sent(&self) -> Result<String, TokenError> {
        let answered = get_url(&self.layer, self.named.url()).await;
        let seen = self.named.seen();
        match answered {
            Ok(answer) => {
                assert_eq!((answer.status(), seen.len()), (StatusCode::OK, 1));
                Ok(seen[0][0].strip_prefix("Bearer ").unwrap().to_owned())
            }
            error => {
                assert_eq!(seen, [] as [Vec<String>; 0]);
                let error = not_sent(error);
                self.volume.assert_hidden_in(&shown(&error));
                Err(error)
            }
        }
    }

    async fn file_error(&self) -> TokenFileError {
        match self.sent().await {
            Err(TokenError::File(error)) => error,
            other => panic!("{other:?}"),
        }
    }

    /// Goes to this second after the start.
    fn at(&self, seconds: u64) {
        let now = self.clock.wall();
        let then = self.start + Duration::from_secs(seconds);
        self.clock.advance(then.duration_since(now).unwrap());
    }
}

#[tokio::test]
async fn a_new_token_is_sent_within_a_minute() {
    let rotation = Rotation::start().await;
    let old = rotation.publish(3600);
    assert_eq!(rotation.sent().await.unwrap(), old);
    let new = rotation.publish(7200);
    rotation.at(59);
    assert_eq!(rotation.sent().await.unwrap(), old);
    rotation.at(60);
    assert_eq!(rotation.sent().await.unwrap(), new);
    // and so on
    let newer = rotation.publish(7200);
    rotation.at(119);
    assert_eq!(rotation.sent().await.unwrap(), new);
    rotation.at(120);
    assert_eq!(rotation.sent().await.unwrap(), newer);
}

#[tokio::test]
async fn a_token_that_ends_soon_is_replaced_before_it_does() {
    let rotation = Rotation::start().await;
    let old = rotation.publish(20);
    assert_eq!(rotation.sent().await.unwrap(), old);
    let new = rotation.publish(3600);
    rotation.at(9);
    assert_eq!(rotation.sent().await.unwrap(), old);
    rotation.at(10);
    assert_eq!(rotation.sent().await.unwrap(), new);
}

#[tokio::test]
async fn a_token_that_nobody_replaces_is_not_sent_once_it_has_expired() {
    let rotation = Rotation::start().await;
    let old = rotation.publish(600);
    rotation.at(599);
    assert_eq!(rotation.sent().await.unwrap(), old);
    rotation.at(600);
    assert!(matches!(rotation.file_error().await, TokenFileError::Expired { .. }));
    let new = rotation.publish(3600);
    rotation.at(601);
    assert_eq!(rotation.sent().await.unwrap(), new);
}

#[tokio::test]
async fn while_the_new_file_is_broken_the_last_token_is_used_until_it_expires() {
    let rotation = Rotation::start().await;
    let old = rotation.publish(600);
    rotation.at(1);
    assert_eq!(rotation.sent().await.unwrap(), old);
    for (second, content) in [(70, ""), (140, "garbage-that-is-no-token"), (210, "\n")] {
        rotation.volume.publish(content);
        rotation.at(second);
        assert_eq!(rotation.sent().await.unwrap(), old);
    }
    rotation.publish(1);
    rotation.at(280);
    assert_eq!(rotation.sent().await.unwrap(), old);
    // it is not forgotten that the file is broken: a good one is not waited for a minute
    let new = rotation.publish(900);
    rotation.at(281);
    assert_eq!(rotation.sent().await.unwrap(), new);

    fs::remove_file(rotation.volume.token_file()).unwrap();
    rotation.at(899);
    assert_eq!(rotation.sent().await.unwrap(), new);
    rotation.at(900);
    assert!(matches!(rotation.file_error().await, TokenFileError::Read { .. }));
    let path = rotation.volume.token_file().display().to_string();
    let lines = rotation.volume.log.lines_with(&["WARN", &path, "the last token is used on"]);
    assert_eq!(lines.len(), 5, "{lines:?}");
}

#[tokio::test]
async fn a_token_without_an_end_is_sent_on() {
    let rotation = Rotation::start().await;
    let token = with_payload(r#"{"iss":"https://issuer.example","aud":"orders"}"#);
    rotation.volume.publish(&token);
    for day in [0, 1, 1000] {
        rotation.at(day * 86_400);
        assert_eq!(rotation.sent().await.unwrap(), token);
    }
}

#[tokio::test]
async fn a_machine_that_slept_does_not_send_what_expired_meanwhile() {
    let rotation = Rotation::start().await;
    let old = rotation.publish(600);
    assert_eq!(rotation.sent().await.unwrap(), old);
    // the monotonic clock stood still
    rotation.clock.set_wall(rotation.start + Duration::from_secs(3000));
    assert!(matches!(rotation.file_error().await, TokenFileError::Expired { .. }));
    let new = rotation.publish(6000);
    rotation.clock.advance(SECOND);
    assert_eq!(rotation.sent().await.unwrap(), new);
    // the next time it is there already
    let newer = rotation.publish(9000);
    rotation.clock.set_wall(rotation.start + Duration::from_secs(7000));
    assert_eq!(rotation.sent().await.unwrap(), newer);
}
