//! Each check at its limit and one past it, what is said of it, and that all of them agree.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    algorithm::Algorithm,
    testing::{at, secs},
};

const IAT: u64 = 1_795_243_626;
const NBF: u64 = IAT + 10;
const WARN_AFTER: u64 = IAT + 3_607;
const EXP: u64 = IAT + 86_400;
const LEEWAY: u64 = 60;
const ISSUER: &str = "https://issuer.example";
const OTHER_NAME: &str = "https://old.example";

/// What a verifier for the audience `orders` begins with.
fn usual() -> Validation {
    Validation { audiences: Arc::from(["orders".to_owned()]), ..Validation::default() }
}

fn claims() -> Value {
    json!({
        "iss": ISSUER,
        "aud": ["orders"],
        "iat": IAT,
        "nbf": NBF,
        "exp": EXP,
        "kubernetes.io": { "warnafter": WARN_AFTER },
    })
}

fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name).unwrap();
    claims
}

fn for_audiences(audiences: &[&str]) -> Value {
    let mut claims = claims();
    claims["aud"] = json!(audiences);
    claims
}

/// The issuer has another name, and is an API server by it too.
fn names() -> Names {
    Names::configured(&ISSUER.into(), &[OTHER_NAME.into()])
}

fn with_payload<T>(claims: &Value, check: impl FnOnce(&Payload<'_>) -> T) -> T {
    let text = claims.to_string();
    check(&Payload::parse(&text, true).unwrap())
}

/// The verdict, which is the same for what is believed and what is hoped.
fn check(validation: &Validation, claims: &Value, seconds: u64) -> Result<(), InvalidToken> {
    with_payload(claims, |payload| {
        let verdict = validation.check(payload, &names(), at(seconds));
        let hopeless = |refusal: &InvalidToken| InvalidToken::RejectedEarly(refusal.reason());
        assert_eq!(
            validation.check_unverified(payload, [&names()].into_iter(), at(seconds)).err(),
            verdict.as_ref().err().map(hopeless)
        );
        verdict
    })
}

fn reason(validation: &Validation, claims: &Value, seconds: u64) -> Option<Reason> {
    check(validation, claims, seconds).err().map(|refusal| refusal.reason())
}

/// The texts and reasons of [`Validation::explain`].
fn explained(validation: &Validation, claims: &Value, seconds: u64) -> [Result<String, Reason>; 4] {
    with_payload(claims, |payload| validation.explain(payload, Some(&names()), at(seconds)))
        .map(|(_, finding)| finding.map_err(|refusal| refusal.reason()))
}

#[test]
fn the_end_is_exact() {
    let usual = usual();
    assert_eq!(check(&usual, &claims(), EXP + LEEWAY - 1), Ok(()));
    assert_eq!(
        check(&usual, &claims(), EXP + LEEWAY),
        Err(InvalidToken::Expired {
            expired_at: at(EXP),
            now: at(EXP + LEEWAY),
            leeway: secs(LEEWAY),
        })
    );
    let strict = Validation { leeway: Duration::ZERO, ..usual };
    assert_eq!(check(&strict, &claims(), EXP - 1), Ok(()));
    assert_eq!(reason(&strict, &claims(), EXP), Some(Reason::Expired));
}

#[test]
fn the_start_is_exact() {
    let usual = usual();
    assert_eq!(check(&usual, &claims(), NBF - LEEWAY), Ok(()));
    assert_eq!(
        check(&usual, &claims(), NBF - LEEWAY - 1),
        Err(InvalidToken::NotYetValid {
            not_before: at(NBF),
            now: at(NBF - LEEWAY - 1),
            leeway: secs(LEEWAY),
        })
    );
    let without_nbf = without("nbf");
    assert_eq!(check(&usual, &without_nbf, IAT - LEEWAY), Ok(()));
    assert_eq!(
        check(&usual, &without_nbf, IAT - LEEWAY - 1),
        Err(InvalidToken::IssuedInFuture {
            issued_at: at(IAT),
            now: at(IAT - LEEWAY - 1),
            leeway: secs(LEEWAY),
        })
    );
    assert_eq!(check(&usual, &without("iat"), NBF - LEEWAY), Ok(()));
}

#[test]
fn the_age_is_exact_and_has_no_leeway() {
    let limited = Validation { max_age: Some(secs(600)), ..usual() };
    assert_eq!(check(&limited, &claims(), IAT + 599), Ok(()));
    assert_eq!(
        check(&limited, &claims(), IAT + 600),
        Err(InvalidToken::TooOld { issued_at: at(IAT), now: at(IAT + 600), limit: secs(600) })
    );
    assert_eq!(check(&limited, &without("iat"), IAT + 599), Err(InvalidToken::MissingIssuedAt));
}

#[test]
fn the_lifetime_is_exact() {
    let limited = |seconds| Validation { max_lifetime: Some(secs(seconds)), ..usual() };
    assert_eq!(check(&limited(EXP - IAT), &claims(), NBF), Ok(()));
    assert_eq!(
        check(&limited(EXP - IAT - 1), &claims(), NBF),
        Err(InvalidToken::LifetimeTooLong {
            lifetime: secs(EXP - IAT),
            limit: secs(EXP - IAT - 1),
        })
    );
    assert_eq!(check(&limited(EXP), &without("iat"), NBF), Err(InvalidToken::MissingIssuedAt));
}

#[test]
fn the_time_to_replace_it_is_exact_where_it_counts() {
    let strict = Validation { reject_past_warn_after: true, ..usual() };
    assert_eq!(check(&strict, &claims(), WARN_AFTER - 1), Ok(()));
    assert_eq!(
        check(&strict, &claims(), WARN_AFTER),
        Err(InvalidToken::PastWarnAfter { warn_after: at(WARN_AFTER), now: at(WARN_AFTER) })
    );
    assert_eq!(check(&usual(), &claims(), WARN_AFTER), Ok(()));
    assert_eq!(check(&strict, &without("kubernetes.io"), WARN_AFTER), Ok(()));
}

#[test]
fn one_audience_must_be_ours() {
    let found = |audiences: &[&str]| audiences.iter().map(ToString::to_string).collect::<Vec<_>>();
    let expected = usual().audiences;
    for audiences in [&["orders"][..], &["vault", "orders"], &["orders", "orders"]] {
        assert_eq!(check(&usual(), &for_audiences(audiences), NBF), Ok(()), "{audiences:?}");
    }
    for audiences in [&[][..], &[""], &["order"], &["orders "], &["Orders"], &["vault"], &[ISSUER]]
    {
        let expected = Arc::clone(&expected);
        assert_eq!(
            check(&usual(), &for_audiences(audiences), NBF),
            Err(InvalidToken::Audience { found: found(audiences), expected }),
            "{audiences:?}"
        );
    }
    let several = Validation {
        audiences: Arc::from(["orders".to_owned(), "orders.shop".to_owned()]),
        ..usual()
    };
    assert_eq!(check(&several, &for_audiences(&["orders.shop"]), NBF), Ok(()));

    let own = Validation { audiences: Arc::from([]), issuer_is_audience: true, ..usual() };
    assert_eq!(check(&own, &for_audiences(&["vault", ISSUER]), NBF), Ok(()));
    assert_eq!(
        reason(&own, &for_audiences(&["https://issuer.example/"]), NBF),
        Some(Reason::Audience)
    );
}

#[test]
fn other_audiences_count_where_that_is_asked_for() {
    let single = Validation { require_single_audience: true, ..usual() };
    assert_eq!(check(&single, &for_audiences(&["orders"]), NBF), Ok(()));
    assert_eq!(
        check(&single, &for_audiences(&["orders", "vault"]), NBF),
        Err(InvalidToken::MultipleAudiences {
            found: vec!["orders".to_owned(), "vault".to_owned()]
        })
    );
    let no_api_server = Validation { reject_api_server_audiences: true, ..usual() };
    let for_audiences = |audiences: &[&str]| {
        let mut claims = without("kubernetes.io");
        claims["aud"] = json!(audiences);
        claims
    };
    let is_for_api_server =
        |claims: &Value| with_payload(claims, |payload| is_for_api_server(payload, Some(&names())));
    let others = for_audiences(&["orders", "vault"]);
    assert_eq!(check(&no_api_server, &others, NBF), Ok(()));
    assert!(!is_for_api_server(&others));
    let known = [
        ISSUER,
        OTHER_NAME,
        "https://kubernetes.default.svc",
        "https://kubernetes.default.svc.cluster.local",
        "https://kubernetes.default",
        "kubernetes.svc.default",
        "k3s",
        "rke2",
    ];
    for audience in known {
        let both = for_audiences(&["orders", audience]);
        assert_eq!(check(&usual(), &both, NBF), Ok(()), "{audience}");
        let found = vec!["orders".to_owned(), audience.to_owned()];
        assert_eq!(
            check(&no_api_server, &both, NBF),
            Err(InvalidToken::ApiServerAudience { found })
        );
        assert!(is_for_api_server(&both), "{audience}");
    }
    // of no other audience a token is extended, whatever the API server calls itself
    let found = vec!["orders".to_owned()];
    assert_eq!(
        check(&no_api_server, &claims(), NBF),
        Err(InvalidToken::ApiServerAudience { found })
    );
    assert!(is_for_api_server(&claims()));
    // the other name is never an audience of ours
    let api_server = Validation { issuer_is_audience: true, ..usual() };
    assert_eq!(check(&api_server, &for_audiences(&[ISSUER]), NBF), Ok(()));
    let other = for_audiences(&[OTHER_NAME]);
    assert!(matches!(check(&api_server, &other, NBF), Err(InvalidToken::Audience { .. })));
    assert!(!is_api_server_audience(""));
}

#[test]
fn a_type_is_matched_as_its_users_write_it() {
    let passes = |wanted: &[&str], typ: Option<&str>| {
        let token_types = wanted.iter().map(ToString::to_string).collect();
        let header = Header { algorithm: Algorithm::Rs256, kid: None, typ: typ.map(Into::into) };
        let verdict = Validation { token_types, ..usual() }.check_type(&header);
        assert!(matches!(verdict, Ok(()) | Err(InvalidToken::Type)));
        verdict.is_ok()
    };
    assert!(passes(&[], None) && passes(&[], Some("JWT")) && passes(&[], Some("jwt")));
    for typ in ["", "application/jwt", "at+jwt", "dpop+jwt", "JWT "] {
        assert!(!passes(&[], Some(typ)), "{typ}");
    }
    for typ in ["at+jwt", "AT+JWT", "application/at+jwt", "Application/AT+jwt"] {
        assert!(passes(&["at+jwt"], Some(typ)), "{typ}");
        assert!(passes(&["application/at+jwt"], Some(typ)), "{typ}");
        assert!(passes(&["x", "at+jwt"], Some(typ)), "{typ}");
    }
    for typ in [
        None,
        Some("JWT"),
        Some(""),
        Some("at+jwt2"),
        Some("applicationXat+jwt"),
        Some("applicatioé"),
    ] {
        assert!(!passes(&["at+jwt"], typ), "{typ:?}");
    }
    // a token without a type is a JWT
    assert!(passes(&["jwt"], None) && passes(&["at+jwt", "application/JWT"], None));
}

#[test]
fn what_is_well_is_told_in_words() {
    let findings = explained(&usual(), &claims(), NBF);
    assert_eq!(
        findings,
        [
            Ok("expires in 23 h 59 min (leeway 1 min)".to_owned()),
            Ok("issued 10 s ago".to_owned()),
            Ok("good for 1 d; `warnafter` is in 59 min 57 s".to_owned()),
            Ok(r#"["orders"]"#.to_owned()),
        ]
    );
    let stale = explained(&usual(), &claims(), NBF + 2 * 3600 - 3);
    assert_eq!(stale[2].as_deref(), Ok("good for 1 d; `warnafter` passed 1 h ago"));
    let findings = explained(&usual(), &without("kubernetes.io"), NBF);
    assert_eq!(findings[2].as_deref(), Ok("good for 1 d"));
    let findings = explained(&usual(), &without("iat"), NBF);
    assert_eq!(findings[1].as_deref(), Ok("it does not say when it was issued"));
    let unknown = "it does not say for how long it is good; `warnafter` is in 59 min 57 s";
    assert_eq!(findings[2].as_deref(), Ok(unknown));
    let checks = with_payload(&claims(), |payload| usual().explain(payload, None, at(NBF)))
        .map(|(check, _)| check);
    assert_eq!(checks, [Check::Expiry, Check::NotBefore, Check::Lifetime, Check::Audience]);
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let strict = Validation {
        max_lifetime: Some(secs(1)),
        audiences: Arc::from(["vault".to_owned()]),
        ..usual()
    };
    assert_eq!(
        explained(&strict, &claims(), EXP + LEEWAY),
        [
            Err(Reason::Expired),
            Ok("issued 1 d ago".to_owned()),
            Err(Reason::LifetimeTooLong),
            Err(Reason::Audience),
        ]
    );
    assert_eq!(explained(&strict, &claims(), 0)[1], Err(Reason::NotYetValid));
    // the verdict is the first of them
    assert_eq!(reason(&strict, &claims(), EXP + LEEWAY), Some(Reason::Expired));
    assert_eq!(reason(&strict, &claims(), 0), Some(Reason::NotYetValid));
    assert_eq!(reason(&strict, &claims(), NBF), Some(Reason::LifetimeTooLong));
}

#[test]
fn times_are_those_of_the_token() {
    let times = with_payload(&claims(), |payload| usual().times(payload, at(NBF)));
    assert_eq!(
        (times.issued_at, times.not_before, times.warn_after, times.expires_at),
        (Some(at(IAT)), Some(at(NBF)), Some(at(WARN_AFTER)), at(EXP))
    );
    assert_eq!((times.leeway, times.checked_at), (secs(LEEWAY), at(NBF)));
}

proptest! {
    /// What a remembered token goes by is what the checks on times say, second for second.
    #[test]
    fn good_seconds_are_those_that_pass(
        iat in proptest::option::of(100_u64..200),
        nbf in proptest::option::of(100_u64..200),
        exp in 100_u64..300,
        warn_after in proptest::option::of(100_u64..300),
        leeway in 0_u64..20,
        max_age in proptest::option::of(0_u64..100),
        reject_past_warn_after: bool,
    ) {
        let validation = Validation {
            leeway: secs(leeway),
            max_age: max_age.map(secs),
            reject_past_warn_after,
            ..usual()
        };
        let mut claims = json!({ "iss": ISSUER, "aud": "orders", "exp": exp });
        for (name, date) in [("iat", iat), ("nbf", nbf)] {
            if let Some(date) = date {
                claims[name] = json!(date);
            }
        }
        if let Some(date) = warn_after {
            claims["kubernetes.io"] = json!({ "warnafter": date });
        }
        let (from, until) = with_payload(&claims, |payload| validation.good_seconds(payload));
        for now in 0..400 {
            let is_timely = match reason(&validation, &claims, now) {
                // not a matter of now
                None | Some(Reason::MissingIssuedAt) => true,
                Some(_) => false,
            };
            prop_assert_eq!(is_timely, (from..until).contains(&now), "at {}", now);
        }
    }
}
