//! The header with the token: another one, and none for the handler.

use http::header::{CACHE_CONTROL, VARY};

use super::*;
use kube_oidc_tests::{fast_issuer, verifier_for};

// rule: token-header
#[tokio::test]
async fn a_header_that_is_named_is_the_only_one_that_is_read() {
    let issuer = fast_issuer();
    let good = good(&issuer);
    let bare = good.strip_prefix("Bearer ").unwrap();
    let auth = "authorization";
    let sent: [(Headers<'_>, u16, &str); 20] = [
        (&[(NAMED, bare)], 200, ""),
        (&[(NAMED, &good)], 200, ""),
        (&[(NAMED, bare), (auth, BASIC)], 200, ""),
        (&[("X-Workload-Token", bare), (auth, "")], 200, ""),
        (&[], 401, "no_credentials"),
        (&[(auth, BASIC)], 401, "no_credentials"),
        (&[("x-workload-tokens", bare)], 401, "no_credentials"),
        // a token in the usual place, with the other header or without
        (&[(auth, &good)], 400, "invalid_request"),
        (&[(auth, "Bearer")], 400, "invalid_request"),
        (&[(auth, "bearer garbage")], 400, "invalid_request"),
        (&[(NAMED, bare), (auth, &good)], 400, "invalid_request"),
        (&[(NAMED, bare), (auth, "Bearer")], 400, "invalid_request"),
        (&[(NAMED, bare), (auth, BASIC), (auth, &good)], 400, "invalid_request"),
        // more than one, which nobody sends by intent, is not taken apart
        (&[(NAMED, bare), (auth, BASIC), (auth, BASIC)], 400, "invalid_request"),
        (&[(NAMED, bare), (NAMED, bare)], 400, "invalid_request"),
        (&[(NAMED, bare), (NAMED, "")], 400, "invalid_request"),
        (&[(NAMED, "")], 400, "invalid_request"),
        (&[(NAMED, BASIC)], 400, "invalid_request"),
        (&[(NAMED, "Bearer")], 400, "invalid_request"),
        (&[(NAMED, "garbage")], 401, "malformed"),
    ];
    let (required, optional, reporting) = (
        app(named(&issuer)),
        app(named(&issuer).optional()),
        app(named(&issuer).dangerous_report_only()),
    );
    for (headers, status, reason) in sent {
        for _ in 0..2 {
            let answered = ask(&required, "/maybe", headers).await;
            assert_eq!(answered.status, status, "{reason} {:?}", answered.reason());
            let optional = ask(&optional, "/look", headers).await;
            let found = ask(&reporting, "/look", headers).await.ok_json();
            match reason {
                "" => {
                    assert_eq!(answered.body, CHECKOUT);
                    assert_eq!(optional.ok_json()["caller"], CHECKOUT);
                    assert_eq!(
                        (&found["caller"], &found["would be"]),
                        (&json!(CHECKOUT), &Value::Null)
                    );
                    continue;
                }
                "no_credentials" => assert_eq!(optional.ok_json()["passed"], "anonymous"),
                _ => assert_eq!((optional.status, optional.reason()), (status, Some(reason))),
            }
            assert_eq!(answered.reason(), Some(reason));
            assert_eq!((&found["caller"], &found["would be"]), (&Value::Null, &json!(reason)));
        }
    }
    // nor does a layer that names none read another than the usual one
    let usual = app(builder(&issuer));
    assert_eq!(ask(&usual, "/maybe", &[(NAMED, bare)]).await.status, 401);
    let same = app(builder(&issuer).token_header(AUTHORIZATION));
    assert_eq!(ask(&same, "/maybe", &[(auth, &good)]).await.body, CHECKOUT);
    assert_eq!(ask(&same, "/maybe", &[(auth, bare)]).await.status, 401);
}

/// What caches learn from a response.
fn caching(answered: &TestResponse) -> [Vec<&str>; 2] {
    [VARY, CACHE_CONTROL].map(|name| {
        let values = answered.headers.get_all(name).iter();
        values.map(|value| value.to_str().unwrap()).collect()
    })
}

// rule: http-caches
#[tokio::test]
async fn caches_learn_that_responses_depend_on_the_named_header() {
    let issuer = fast_issuer();
    let good = good(&issuer);
    let with = |vary: &'static str, control: &'static str| {
        get(async move || {
            let mut headers = HeaderMap::new();
            for (name, value) in [(VARY, vary), (CACHE_CONTROL, control)] {
                if !value.is_empty() {
                    headers.append(name, HeaderValue::from_static(value));
                }
            }
            headers
        })
    };
    let app = |builder: Builder| {
        routes()
            .route("/public", with("accept", "public, max-age=60"))
            .route("/listed", with("Accept, X-Workload-Token", "no-store"))
            .route("/any", with("*", ""))
            .route(
                "/denied",
                get(subject).layer(AuthorizeLayer::only(in_namespace("batch")).unwrap()),
            )
            .layer(builder.add_open_path("/open").build().unwrap())
            .route("/outside", get(async || "hello"))
    };
    let bad = [(NAMED, "garbage")];
    // waiting for keys the first time, and not the second
    for builder in
        [named(&issuer), named(&issuer).end_streams_at_expiry(), named(&issuer).optional()]
    {
        let app = app(builder);
        for _ in 0..2 {
            let sent = [(NAMED, good.as_str())];
            for (path, headers, status, vary, control) in [
                ("/caller", &sent[..], 200, &[NAMED][..], "private"),
                ("/public", &sent, 200, &["accept", NAMED], "public, max-age=60"),
                ("/listed", &sent, 200, &["Accept, X-Workload-Token"], "no-store"),
                ("/any", &sent, 200, &["*"], "private"),
                ("/open", &[], 404, &[NAMED], "private"),
                ("/denied", &sent, 403, &[NAMED], "no-store"),
                ("/caller", &bad, 401, &[NAMED], "no-store"),
                ("/caller", &[(NAMED, "a b")], 400, &[NAMED], "no-store"),
                ("/caller", &[], 401, &[NAMED], "no-store"),
                ("/outside", &[], 200, &[], ""),
            ] {
                let answered = ask(&app, path, headers).await;
                assert_eq!(answered.status, status, "{path}");
                let [found, found_control] = caching(&answered);
                assert_eq!(found, vary, "{path} {headers:?}");
                let control: Vec<_> =
                    (!control.is_empty()).then_some(control).into_iter().collect();
                assert_eq!(found_control, control, "{path} {headers:?}");
            }
        }
    }
    // nothing changes where the token is in Authorization, but rejections
    let usual = app(builder(&issuer));
    let sent = [("authorization", good.as_str())];
    for (path, headers, control) in
        [("/caller", &sent[..], &[][..]), ("/open", &[], &[]), ("/caller", &[], &["no-store"])]
    {
        let answered = ask(&usual, path, headers).await;
        assert_eq!(caching(&answered), [vec![], control.to_vec()], "{path} {headers:?}");
    }
}

// rule: http-caches
#[tokio::test]
async fn every_rejection_forbids_caches() {
    let (issuer, down) = (fast_issuer(), fast_issuer());
    down.stop();
    let (good, waits) = (good(&issuer), good(&down));
    let denied = || {
        Router::new().route(
            "/maybe",
            any(perhaps).layer(AuthorizeLayer::only(in_namespace("batch")).unwrap()),
        )
    };
    for (app, token, status) in [
        (app(builder(&issuer)), "", 401),
        (app(builder(&issuer)), "Bearer a.b.c", 401),
        (app(builder(&issuer)), "Bearer a b", 400),
        (app(builder(&down)), &waits, 503),
        (denied().layer(layer(&issuer)), &good, 403),
        (denied(), &good, 500),
        (Router::new().route("/maybe", any(subject)), &good, 500),
    ] {
        for is_grpc in [false, true] {
            let mut request = Request::post("/maybe").header(AUTHORIZATION, token);
            if is_grpc {
                request = request.header(CONTENT_TYPE, "application/grpc").header(TE, "trailers");
            }
            let answered = send(&app, request.body(Body::empty()).unwrap()).await;
            if !is_grpc {
                assert_eq!(answered.status, status, "{answered:?}");
            }
            assert_eq!(answered.header(CACHE_CONTROL), Some("no-store"), "{answered:?}");
        }
    }
}

// rule: token-header
#[tokio::test]
async fn the_named_header_is_hidden_and_removed_and_the_usual_one_stays() {
    let issuer = fast_issuer();
    let good = good(&issuer);
    let bare = good.strip_prefix("Bearer ").unwrap();
    let sent = [(NAMED, bare), ("authorization", BASIC)];
    for mode in [REQUIRED, OPTIONAL, REPORT_ONLY, OPEN] {
        let verifier = verifier_for(&issuer);
        let builder = || {
            let builder = OidcAuthLayer::builder_for(verifier.clone());
            mode(builder.token_header(HeaderName::from_static(NAMED)))
        };
        let (kept, removed) = (app(builder()), app(builder().remove_token_header()));
        // the first time it waits for keys
        for _ in 0..2 {
            let found = ask(&removed, "/look", &sent).await.ok_json();
            assert_eq!((&found[NAMED], &found["authorization"]), (&json!([]), &json!([BASIC])));
            let found = ask(&kept, "/look", &sent).await.ok_json();
            assert_eq!((&found[NAMED], &found["authorization"]), (&json!([bare]), &json!([BASIC])));
            assert_eq!(found["shown"], json!({ NAMED: "Sensitive", "authorization": "Sensitive" }));
        }
    }
    assert_eq!(issuer.key_fetches(), 3, "wherever the token counts, the first request waited");
    let silent = fast_issuer();
    go_silent(&silent);
    let app = |builder: Builder| app(builder.remove_token_header());
    let found = ask(&app(named(&silent).dangerous_report_only()), "/look", &sent).await.ok_json();
    // it is of an issuer that this one does not know, which is known without its keys
    assert_eq!(found["would be"], "unknown_issuer");
    assert_eq!((&found[NAMED], &found["authorization"]), (&json!([]), &json!([BASIC])));
    let waits = self::good(&silent);
    let sent = [(NAMED, waits.as_str()), ("authorization", BASIC)];
    let found = ask(&app(named(&silent).dangerous_report_only()), "/look", &sent).await.ok_json();
    assert_eq!(found["would be"], "keys_unavailable");
    assert_eq!((&found[NAMED], &found["authorization"]), (&json!([]), &json!([BASIC])));
    // a bearer token in the usual place, where the request passes all the same: it is not the
    // header that was named, so it stays, and is hidden
    for mode in [OPEN, REPORT_ONLY] {
        let sent = [(NAMED, bare), (NAMED, bare), ("authorization", good.as_str())];
        let found = ask(&app(mode(named(&issuer))), "/look", &sent).await.ok_json();
        assert_eq!((&found[NAMED], &found["caller"]), (&json!([]), &Value::Null));
        assert_eq!(found["shown"], json!({ "authorization": "Sensitive" }));
    }
}

#[tokio::test]
async fn the_header_with_the_token_is_removed_in_every_mode() {
    let issuer = fast_issuer();
    let good = good(&issuer);
    let others = [("proxy-authorization", "Basic cHJveHk="), ("cookie", "a=b")];
    let others_shown = json!({ "proxy-authorization": "\"Basic cHJveHk=\"", "cookie": "\"a=b\"" });
    for (mode, sent) in [
        (REQUIRED, vec![good.as_str()]),
        (OPTIONAL, vec![&good]),
        (REPORT_ONLY, vec![&good]),
        (REPORT_ONLY, vec!["Bearer garbage"]),
        (REPORT_ONLY, vec![&good, BASIC, "Bearer"]),
        (OPEN, vec![&good]),
        (OPEN, vec![&good, BASIC, "Bearer"]),
        // other credentials of nobody's go with it: the header is removed, not the token
        (OPTIONAL, vec![BASIC]),
        (REPORT_ONLY, vec![BASIC]),
        (OPEN, vec![BASIC]),
        (OPTIONAL, vec![]),
    ] {
        let verifier = verifier_for(&issuer);
        let builder = || mode(OidcAuthLayer::builder_for(verifier.clone()));
        let (kept, removed) = (app(builder()), app(builder().remove_token_header()));
        let headers: Vec<_> = sent.iter().map(|value| ("authorization", *value)).collect();
        let headers = [&headers[..], &others[..]].concat();
        // where a token counts, the first time it waits for keys
        for _ in 0..2 {
            let found = ask(&removed, "/look", &headers).await.ok_json();
            assert_eq!(found["authorization"], json!([]));
            assert_eq!(found["shown"], others_shown, "and nothing else is");
            let found = ask(&kept, "/look", &headers).await.ok_json();
            assert_eq!(found["authorization"], json!(sent));
        }
    }
    assert_eq!(issuer.key_fetches(), 3, "of the first three layers one request waited");
}
