//! A layer that only reports, and one that ends calls.

use super::*;
use kube_oidc_tests::fast_issuer;

fn reported<'a>(lines: &'a [String], reason: &str) -> Vec<&'a String> {
    let reason = format!("reason=\"{reason}\"");
    lines.iter().filter(|l| l.contains("would be refused") && l.contains(&reason)).collect()
}

// rule: layer-marks
#[tokio::test]
async fn report_only_refuses_nobody_and_says_what_would_have_been() {
    let log = Log::catch();
    let issuer = fast_issuer();
    let mut sent = broken(&issuer);
    sent.push((vec![], 401, "no_credentials"));
    sent.push((vec![BASIC.to_owned()], 401, "no_credentials"));
    for (sent, status, reason) in sent {
        let required = app(builder(&issuer));
        let reporting = app(builder(&issuer).dangerous_report_only());
        for _ in 0..2 {
            let (answered, lines) = logged(&log, &reporting, "/look", &borrowed(&sent)).await;
            let found = answered.ok_json();
            assert_eq!(found["caller"], Value::Null, "{reason}");
            assert_eq!(found["passed"], "report only");
            assert_eq!(found["would be"], reason);
            assert_eq!(reported(&lines, reason).len(), 1, "{lines:?}");
            assert!(lines.iter().all(|line| !line.contains(": refused ")), "{lines:?}");
            assert_eq!(answered.reason(), None);
            assert_eq!(with(&reporting, "/maybe", &borrowed(&sent)).await.body, "nobody");
            // a handler that insists on a caller answers as the layer would have
            let refused = with(&reporting, "/caller", &borrowed(&sent)).await;
            let would_be = with(&required, "/caller", &borrowed(&sent)).await;
            assert_eq!((refused.status, refused.reason()), (status, Some(reason)));
            assert_eq!(refused.headers, would_be.headers);
            assert_eq!(refused.body, would_be.body);
            // from here on the keys are here
            assert_eq!(with(&required, "/look", &[&good(&issuer)]).await.status, 200);
            let (answered, lines) = logged(&log, &reporting, "/look", &[&good(&issuer)]).await;
            let found = answered.ok_json();
            assert_eq!(
                (&found["caller"], &found["passed"]),
                (&json!(CHECKOUT), &json!("report only"))
            );
            assert_eq!(found["would be"], Value::Null);
            assert!(lines.iter().all(|line| !line.contains("refused")), "{lines:?}");
        }
    }
}

#[tokio::test]
async fn report_only_without_keys_refuses_nobody() {
    let log = Log::catch();
    let issuer = fast_issuer();
    go_silent(&issuer);
    let app = app(builder(&issuer).dangerous_report_only());
    for _ in 0..2 {
        let (answered, lines) = logged(&log, &app, "/look", &[&good(&issuer)]).await;
        let found = answered.ok_json();
        assert_eq!(
            (&found["caller"], &found["would be"]),
            (&Value::Null, &json!("keys_unavailable"))
        );
        assert_eq!(reported(&lines, "keys_unavailable").len(), 1, "{lines:?}");
        let (refused, lines) = logged(&log, &app, "/caller", &[&good(&issuer)]).await;
        assert_eq!((refused.status, refused.reason()), (503, Some("keys_unavailable")));
        assert!(lines.iter().any(|line| line.contains(": refused ")), "{lines:?}");
        assert!(refused.header(RETRY_AFTER).is_some());
    }
}

// rule: layer-marks
#[tokio::test]
async fn report_only_takes_the_policies_below_along() {
    let log = Log::catch();
    let issuer = fast_issuer();
    let admins = AuthorizeLayer::only(in_namespace("kube-system")).unwrap();
    let reporting = builder(&issuer).dangerous_report_only().build().unwrap();
    let app = routes().layer(admins.clone()).layer(admins).layer(reporting.clone());
    for _ in 0..2 {
        for (sent, reason, lines_told) in [
            // the layer is told of once, and the policies have nobody to look at
            (vec![], "no_credentials", 1),
            (vec!["Bearer".to_owned()], "invalid_request", 1),
            (vec![bearer(issuer.token().audience("vault").mint())], "audience", 1),
            // two policies deny a caller whose token is good
            (vec![good(&issuer)], "policy", 2),
        ] {
            let (answered, lines) = logged(&log, &app, "/look", &borrowed(&sent)).await;
            assert_eq!(answered.ok_json()["passed"], "report only");
            assert_eq!(reported(&lines, reason).len(), lines_told, "{lines:?}");
            assert!(lines.iter().all(|line| !line.contains(": refused ")), "{lines:?}");
        }
    }
    // a policy that allows the caller has nothing to say
    let payments = AuthorizeLayer::only(in_namespace("payments")).unwrap();
    let app = routes().layer(payments).layer(reporting);
    let (answered, lines) = logged(&log, &app, "/look", &[&good(&issuer)]).await;
    assert_eq!(answered.ok_json()["caller"], CHECKOUT);
    assert!(lines.iter().all(|line| !line.contains("refused")), "{lines:?}");
}

#[tokio::test]
async fn report_only_refuses_nobody_on_an_open_path_either() {
    let issuer = fast_issuer();
    let payments = AuthorizeLayer::only(in_namespace("payments")).unwrap();
    let reporting = builder(&issuer).dangerous_report_only().add_open_path("/look");
    let app = routes().layer(payments).layer(reporting.build().unwrap());
    for sent in [vec![], vec![good(&issuer)]] {
        // another path passes the policy, since it is only reported
        assert_eq!(with(&app, "/maybe", &borrowed(&sent)).await.status, 200);
        // so one that was opened on top of that must pass as well
        assert_eq!(with(&app, "/look", &borrowed(&sent)).await.status, 200);
    }
}

/// A layer of which a good token is over by the time that the service has been called.
async fn ending(issuer: &TestIssuer) -> (Builder, String, ManualClock) {
    let end = SystemTime::now() + Duration::from_secs(3600);
    let end = end.duration_since(UNIX_EPOCH).unwrap().as_secs();
    let end = UNIX_EPOCH + Duration::from_secs(end);
    let clock = ManualClock::at(end - Duration::from_secs(1));
    let verifier = builder_for(issuer).leeway(Duration::ZERO).clock(clock.clone()).build().unwrap();
    // the clock is turned by hand, and a request that waits for keys has a timer already
    verifier.ready().await;
    let token = issuer.token().audience("orders").expires_at(end).mint();
    (
        OidcAuthLayer::builder_for(verifier).realm("shop").end_streams_at_expiry(),
        bearer(&token),
        clock,
    )
}

/// Reads a whole answer, or not all of it.
async fn read(app: Router, authorization: &str) -> Result<String, axum::Error> {
    let request = request("/", &[("authorization", authorization)]);
    let body = app.oneshot(request).await.unwrap().into_body().collect().await?.to_bytes();
    Ok(String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn report_only_ends_no_call_when_its_token_expires() {
    let issuer = fast_issuer();
    let serve = |builder: Builder, clock: ManualClock| {
        let late = move || async move {
            clock.advance(Duration::from_secs(2));
            "whole"
        };
        Router::new().route("/", get(late)).layer(builder.build().unwrap())
    };
    let (builder, token, clock) = ending(&issuer).await;
    read(serve(builder, clock), &token).await.unwrap_err();
    let (builder, token, clock) = ending(&issuer).await;
    let body = read(serve(builder.dangerous_report_only(), clock), &token).await;
    assert_eq!(body.unwrap(), "whole", "who brings no token is not cut off either");
}

#[tokio::test]
async fn a_call_that_ends_with_its_token_is_answered_like_every_refusal() {
    let issuer = fast_issuer();
    let (builder, token, clock) = ending(&issuer).await;
    let app = |builder: Builder, clock: ManualClock| {
        let never = move || async move {
            clock.advance(Duration::from_secs(2));
            std::future::pending::<&str>().await
        };
        Router::new().route("/", get(never)).layer(builder.build().unwrap())
    };
    let answered = with(&app(builder, clock), "/", &[&token]).await;
    assert_eq!(answered.status, 401);
    assert_eq!(answered.reason(), Some("expired"), "answers carry their rejection");

    let (builder, token, clock) = ending(&issuer).await;
    let mapped = builder.map_rejection(|_, _, mut answer| {
        answer.headers_mut().insert("x-mapped", HeaderValue::from_static("yes"));
        answer
    });
    let answered = with(&app(mapped, clock), "/", &[&token]).await;
    assert_eq!(answered.header("x-mapped"), Some("yes"), "each answer can be changed");
}
