//! What an operator is told of a token. That it agrees with the verdict is held wherever tokens
//! are judged: see `kube_oidc_tests::Judge`.

use std::time::Duration;

use axum::{Router, routing::get};
use http::header::AUTHORIZATION;
use kube_oidc::{
    KeySource, Reason,
    explanation::{Check, CheckStatus, Explanation},
};
use kube_oidc_testing::{SigningAlgorithm, SigningKey, TestIssuer, TokenBuilder};
use kube_oidc_tests::{
    HttpServer, Judge as _, Log, PinnedVerifier, builder_for, http_client, issuer_for, issuer_with,
    layer_for, pinned_time, verifier_for,
};

const HOUR: Duration = Duration::from_secs(3600);

/// The line of a check.
fn line(explanation: &Explanation, check: Check) -> String {
    let text = explanation.to_string();
    let lines = text.lines().find(|line| line.starts_with(&check.to_string()));
    lines.unwrap().to_owned()
}

#[tokio::test]
async fn a_good_token_passes_every_check() {
    let pinned = PinnedVerifier::new(|builder| builder);
    let token = pinned.token(HOUR).mint();
    pinned.verifier.judge(&token).await.unwrap();
    let explanation = pinned.verifier.explain(&token);
    assert!(explanation.is_accepted());
    let checks: Vec<Check> = explanation.steps.iter().map(|step| step.check).collect();
    let all = [
        Check::Format,
        Check::Issuer,
        Check::Key,
        Check::Signature,
        Check::Expiry,
        Check::NotBefore,
        Check::Lifetime,
        Check::Audience,
        Check::Denylist,
        Check::Claims,
    ];
    assert_eq!(checks, all);
    assert!(explanation.steps.iter().all(|step| step.advice().is_none()));
    assert_eq!(explanation.one_line().to_string(), "accepted");
    let kid = pinned.issuer.signing_key().kid().to_owned();
    assert_eq!(
        line(&explanation, Check::Key),
        format!("key        ok       kid \"{kid}\" of the cluster \"blue\"")
    );
    assert_eq!(line(&explanation, Check::Audience), "audience   ok       [\"orders\"]");
}

#[tokio::test]
async fn it_says_what_a_token_is_bound_to() {
    let pinned = PinnedVerifier::new(|builder| builder);
    let told = |token: TokenBuilder| {
        let line = line(&pinned.verifier.explain(token.mint()), Check::Claims);
        line.split_once("payments:checkout\"").unwrap().1.to_owned()
    };
    let minted = || pinned.token(HOUR).service_account("payments", "checkout");
    assert_eq!(told(minted()), "");
    let in_a_pod = minted().pod("checkout-7d9f").node("node-1");
    assert_eq!(told(in_a_pod), ", pod \"checkout-7d9f\", node \"node-1\"");
    assert_eq!(told(minted().secret("kept")), ", secret \"kept\"");
    // and in its header
    let typed = pinned.verifier.explain(minted().header("typ", "JWT").mint());
    assert_eq!(line(&typed, Check::Format), "format     ok       RS256, typ \"JWT\"");
    let untyped = pinned.verifier.explain(minted().without_header("typ").mint());
    assert_eq!(line(&untyped, Check::Format), "format     ok       RS256, no typ");
}

#[tokio::test]
async fn each_refusal_says_what_was_found_and_what_was_expected() {
    let pinned = PinnedVerifier::new(|builder| builder);
    let other = SigningKey::generate(SigningAlgorithm::Rs256);
    let known = pinned.issuer.signing_key().kid().to_owned();
    let unknown = pinned.token(HOUR).header("kid", "nobody-knows").mint();
    for (token, check, reason, texts) in [
        (
            pinned.token(HOUR).claim("aud", ["vault", "ledger"].as_slice()).mint(),
            Check::Audience,
            Reason::Audience,
            vec!["vault", "ledger", "orders", "projected volume"],
        ),
        (
            pinned.token(HOUR).claim("iss", "https://issuer.example/").mint(),
            Check::Issuer,
            Reason::UnknownIssuer,
            vec!["https://issuer.example/", pinned.issuer.url(), "slash"],
        ),
        (unknown, Check::Key, Reason::UnknownKey, vec!["nobody-knows", known.as_str(), "blue"]),
        (
            pinned.token(HOUR).forged_by(&other).mint(),
            Check::Signature,
            Reason::Signature,
            vec!["wrong"],
        ),
        (
            pinned.token(HOUR).claim("sub", "system:serviceaccount:payments:admin").mint(),
            Check::Claims,
            Reason::SubjectMismatch,
            vec!["sub"],
        ),
        (
            pinned.token(HOUR).header("alg", "none").mint(),
            Check::Format,
            Reason::Algorithm,
            vec!["alg"],
        ),
        ("garbage".to_owned(), Check::Format, Reason::Malformed, vec!["three parts"]),
        ("a".repeat(20_000), Check::Format, Reason::TooLong, vec!["20000", "16384"]),
    ] {
        assert!(pinned.verifier.judge(&token).await.is_err());
        let explanation = pinned.verifier.explain(&token);
        assert_eq!(explanation.verdict, Err(reason));
        let step = explanation.steps.iter().find(|step| step.check == check).unwrap();
        assert_eq!(step.status, CheckStatus::Failed(reason));
        let line = line(&explanation, check);
        assert!(texts.iter().all(|text| line.contains(text)), "{line}");
        assert!(line.contains(" FAILED ") && line.ends_with(reason.advice()), "{line}");
    }
}

#[tokio::test]
async fn stale_token_is_shown_as_stale() {
    let pinned = PinnedVerifier::new(|builder| builder);
    let day = Duration::from_secs(86_400);
    let extended = pinned.token(HOUR).expires_at(pinned_time() + 365 * day);
    let token = extended.warn_after(pinned_time() + Duration::from_secs(3607)).mint();
    let shown = || line(&pinned.verifier.explain(&token), Check::Lifetime);
    assert_eq!(shown(), "lifetime   ok       good for 365 d; `warnafter` is in 1 h");
    pinned.clock.advance(Duration::from_secs(4 * 3600 + 7));
    assert_eq!(shown(), "lifetime   ok       good for 365 d; `warnafter` passed 3 h ago");
    assert!(pinned.verifier.explain(&token).is_accepted());
}

/// Claims of a worker that is no service account.
#[derive(serde::Deserialize)]
struct WorkerClaims {
    #[expect(dead_code, reason = "it is only read")]
    client_id: String,
}

#[tokio::test]
async fn advice_about_custom_claims_is_not_about_service_accounts() {
    let pinned = PinnedVerifier::new(|builder| builder);
    let trusted =
        issuer_with(&pinned.issuer, KeySource::fixed(pinned.issuer.key_set().to_string()));
    let builder = builder_for(trusted).clock(pinned.clock.clone());
    let verifier = builder.claims::<WorkerClaims>().build().unwrap();
    let minted = || pinned.token(HOUR).bare().claim("client_id", "nightly");
    assert!(verifier.explain(minted().mint()).is_accepted());
    let other = SigningKey::generate(SigningAlgorithm::Rs256);
    for token in [
        minted().claim("sub", 42).mint(),
        minted().claim("client_id", 42).mint(),
        minted().without_claim("client_id").mint(),
        minted().without_claim("exp").mint(),
        minted().claim("iss", "https://issuer.example").mint(),
        minted().claim("aud", "vault").mint(),
        minted().expires_at(pinned_time() - Duration::from_secs(3600)).mint(),
        minted().signed_by(&other).mint(),
        minted().forged_by(&other).mint(),
        "garbage".to_owned(),
    ] {
        assert!(verifier.judge(&token).await.is_err());
        let shown = verifier.explain(&token).to_string();
        let advice = shown.to_lowercase();
        for word in ["service account", "serviceaccount", "kube", "cluster", "volume", "token file"]
        {
            assert!(!advice.contains(word), "{word}: {shown}");
        }
    }
}

#[tokio::test]
async fn it_goes_on_after_the_first_refusal() {
    let pinned = PinnedVerifier::new(|builder| builder);
    let token = pinned.token(HOUR).claim("aud", "vault").mint();
    pinned.clock.advance(Duration::from_secs(2 * 3600 + 240));
    pinned.verifier.judge(&token).await.unwrap_err();
    let explanation = pinned.verifier.explain(&token);
    assert!(line(&explanation, Check::Expiry).contains("it expired 1 h 4 min ago (leeway 1 min)"));
    assert!(line(&explanation, Check::Audience).contains("FAILED"));
    assert!(line(&explanation, Check::Signature).contains("ok"));
    assert_eq!(explanation.verdict, Err(Reason::Expired), "as the verifier has it");
}

#[tokio::test]
async fn the_times_of_a_token_are_told_whether_it_is_good_or_not() {
    let pinned = PinnedVerifier::new(|builder| builder);
    let (start, minute) = (pinned_time(), Duration::from_secs(60));
    let token = pinned
        .token(HOUR)
        .claim("nbf", 1_795_250_060_u64)
        .warn_after(start + 2 * minute)
        .expires_at(start + 3 * minute);
    pinned.clock.advance(10 * minute);
    let stranger = SigningKey::generate(SigningAlgorithm::Rs256);
    for token in [token.clone().mint(), token.signed_by(&stranger).mint()] {
        let times = pinned.verifier.explain(token).times.unwrap();
        assert_eq!(times.issued_at, Some(start));
        assert_eq!(times.not_before, Some(start + minute));
        assert_eq!(times.warn_after, Some(start + 2 * minute));
        assert_eq!(times.expires_at, start + 3 * minute);
        assert_eq!(times.checked_at, start + 10 * minute);
        assert_eq!(times.leeway, minute);
    }
    let plain = pinned.token(HOUR).without_claim("iat").without_claim("nbf").mint();
    let times = pinned.verifier.explain(plain).times.unwrap();
    assert_eq!((times.issued_at, times.not_before, times.warn_after), (None, None, None));
    assert_eq!(pinned.verifier.explain("garbage").times, None);
}

#[tokio::test]
async fn nothing_is_fetched_counted_or_remembered() {
    let issuer = TestIssuer::start();
    let trusted = issuer_for(&issuer);
    let verifier = verifier_for(trusted);
    let token = issuer.token().audience("orders").mint();
    let explanation = verifier.explain(&token);
    assert_eq!(explanation.verdict, Err(Reason::KeysUnavailable));
    assert!(line(&explanation, Check::Key).contains("are not here"));
    assert!(issuer.received_requests().is_empty());
    assert_eq!(verifier.status()[0].fetches, 0);

    verifier.ready().await;
    let fetches = issuer.key_fetches();
    assert!(verifier.explain(&token).is_accepted());
    assert_eq!(verifier.status()[0].last_seen, None);
    let unknown = issuer.token().audience("orders").header("kid", "unknown").mint();
    assert_eq!(verifier.explain(unknown).verdict, Err(Reason::UnknownKey));
    assert_eq!(issuer.key_fetches(), fetches);
}

// rule: logs-without-tokens
#[tokio::test]
async fn the_layer_logs_one_line_that_shows_only_what_was_signed() {
    let log = Log::catch();
    let issuer = TestIssuer::start();
    let layer = layer_for(&issuer);
    let app = Router::new().route("/", get(|| async { "ok" })).layer(layer);
    let server = HttpServer::start(app).await;
    let client = http_client();
    let other = SigningKey::generate(SigningAlgorithm::Rs256);
    let ask =
        |token: String| client.get(server.url()).header(AUTHORIZATION, format!("Bearer {token}"));
    // keys are not fetched for a token that could not pass
    let good = issuer.token().audience("orders").mint();
    assert_eq!(ask(good).send().await.unwrap().status(), 200);
    let signed = issuer.token().audience("an-audience-that-was-signed");
    let forged = issuer.token().audience("an-audience-that-was-forged").forged_by(&other);
    for token in [signed, forged] {
        assert_eq!(ask(token.mint()).send().await.unwrap().status(), 401);
    }
    let lines = log.lines_with(&["explained", "an-audience-that-was-signed"]);
    assert!(
        lines[0].contains("DEBUG") && lines[0].contains("not accepted (audience)"),
        "{lines:?}"
    );
    assert!(!log.text().contains("an-audience-that-was-forged"));
    assert!(
        !log.lines_with(&["explained", "not accepted (signature); signature FAILED"]).is_empty()
    );
}
