//! Credentials that may be missing.

use super::*;
use kube_oidc_tests::fast_issuer;

#[tokio::test]
async fn optional_lets_those_pass_who_bring_no_token() {
    let issuer = fast_issuer();
    let app = app(builder(&issuer).optional());
    let nothing: [&[&str]; 6] =
        [&[], &[BASIC], &["Negotiate YII="], &["Bearerx a"], &["Bear"], &[""]];
    for sent in nothing {
        let found = with(&app, "/look", sent).await.ok_json();
        assert_eq!(found["caller"], Value::Null);
        assert_eq!(found["passed"], "anonymous");
        assert_eq!(found["would be"], Value::Null);
        assert_eq!(found["authorization"], json!(sent), "it is left to the handler");
        assert_eq!(with(&app, "/maybe", sent).await.body, "nobody");
        // a handler that insists on a caller answers as the layer would
        let refused = with(&app, "/caller", sent).await;
        assert_eq!(refused.status, 401);
        assert_eq!(refused.header(WWW_AUTHENTICATE), Some("Bearer realm=\"shop\""));
        assert_eq!(refused.header(CONTENT_TYPE), Some("application/problem+json"));
        assert_eq!(refused.reason(), Some("no_credentials"));
    }
    assert_eq!(issuer.received_requests().len(), 0, "nobody asked for keys");
    // what another header holds is not looked at
    let elsewhere = ask(&app, "/maybe", &[("x-workload-token", &good(&issuer))]).await;
    assert_eq!(elsewhere.body, "nobody");
    // the first one waits for keys, the second does not
    for _ in 0..2 {
        let found = with(&app, "/look", &[&good(&issuer)]).await.ok_json();
        assert_eq!((found["caller"].as_str(), &found["passed"]), (Some(CHECKOUT), &Value::Null));
        assert_eq!(with(&app, "/maybe", &[&good(&issuer)]).await.body, CHECKOUT);
        assert_eq!(with(&app, "/caller", &[&good(&issuer)]).await.body, CHECKOUT);
    }
}

// rule: layer-marks
#[tokio::test]
async fn optional_refuses_every_token_that_is_not_good() {
    let issuer = fast_issuer();
    for (sent, status, reason) in broken(&issuer) {
        let required = app(builder(&issuer));
        let optional = app(builder(&issuer).optional());
        // without keys at first, then with them
        for _ in 0..2 {
            let expected = with(&required, "/look", &borrowed(&sent)).await;
            let answered = with(&optional, "/look", &borrowed(&sent)).await;
            assert_eq!((answered.status, answered.reason()), (status, Some(reason)));
            assert_eq!(answered.header(WWW_AUTHENTICATE), expected.header(WWW_AUTHENTICATE));
            assert_eq!(answered.body, expected.body, "as if it were required");
            assert_eq!(with(&optional, "/maybe", &[&good(&issuer)]).await.body, CHECKOUT);
            assert_eq!(with(&required, "/maybe", &[&good(&issuer)]).await.body, CHECKOUT);
        }
    }
}

// rule: layer-marks
#[tokio::test]
async fn optional_without_keys_serves_those_who_need_none() {
    let issuer = fast_issuer();
    go_silent(&issuer);
    let app = app(builder(&issuer).optional());
    for _ in 0..2 {
        let answered = with(&app, "/look", &[&good(&issuer)]).await;
        assert_eq!((answered.status, answered.reason()), (503, Some("keys_unavailable")));
        let retry_after: u64 = answered.header(RETRY_AFTER).unwrap().parse().unwrap();
        assert!((1..=60).contains(&retry_after));
        assert_eq!(with(&app, "/maybe", &[]).await.body, "nobody");
        assert_eq!(with(&app, "/maybe", &[BASIC]).await.body, "nobody");
        assert_eq!(with(&app, "/maybe", &["Bearer"]).await.status, 400);
        assert_eq!(with(&app, "/maybe", &["Bearer x"]).await.status, 401);
    }
}
