//! Layers around each other, and what one leaves for the next.

use super::*;
use kube_oidc_tests::fast_issuer;

/// The marks that layers leave on requests, one of each kind.
async fn marks(issuer: &TestIssuer) -> Vec<Passed> {
    let hand_out = service_fn(async |request: Request| {
        let mut response = Response::new(Body::empty());
        let mark = request.extensions().get::<Passed>().unwrap().clone();
        response.extensions_mut().insert(mark);
        Ok::<_, std::convert::Infallible>(response)
    });
    let mut marks = Vec::new();
    for (builder, sent) in [
        (builder(issuer).add_open_path("/"), vec![]),
        (builder(issuer).optional(), vec![]),
        (builder(issuer).dangerous_report_only(), vec![]),
        (builder(issuer).dangerous_report_only(), vec![good(issuer)]),
    ] {
        let headers: Vec<_> = sent.iter().map(|value| ("authorization", value.as_str())).collect();
        let response =
            builder.build().unwrap().layer(hand_out).oneshot(request("/", &headers)).await.unwrap();
        marks.push(response.extensions().get::<Passed>().unwrap().clone());
    }
    marks
}

// rule: layer-marks
#[tokio::test]
async fn what_was_there_before_is_gone_before_any_decision() {
    let issuer = fast_issuer();
    let admin = ServiceAccountClaims::for_test("kube-system", "admin");
    let admin = Verified::dangerous_without_verification(admin);
    let admins_only = || AuthorizeLayer::only(in_namespace("kube-system")).unwrap();
    let garbage = "Bearer garbage".to_owned();
    for mark in marks(&issuer).await {
        let forged = |path, sent: &[String]| {
            let sent: Vec<_> = sent.iter().map(|value| ("authorization", value.as_str())).collect();
            let mut request = request(path, &sent);
            request.extensions_mut().insert(admin.clone());
            request.extensions_mut().insert(mark.clone());
            request
        };
        let good = || vec![good(&issuer)];
        let is = |caller: Option<&str>, passed: Option<&str>, would_be: Option<&str>| {
            Some(json!([caller, passed, would_be]))
        };
        let open = || builder(&issuer).add_open_path("/look").add_open_path("/caller");
        // what the handler finds, if it is called; and what a policy for the forged caller says
        for (builder, sent, found, allowed) in [
            (builder(&issuer), vec![], None, 401),
            (builder(&issuer), vec![garbage.clone()], None, 401),
            (builder(&issuer), good(), is(Some(CHECKOUT), None, None), 403),
            (builder(&issuer).optional(), vec![], is(None, Some("anonymous"), None), 401),
            (builder(&issuer).optional(), vec![garbage.clone()], None, 401),
            (builder(&issuer).optional(), good(), is(Some(CHECKOUT), None, None), 403),
            (open(), vec![], is(None, Some("open path"), None), 401),
            (open(), good(), is(None, Some("open path"), None), 401),
            (
                builder(&issuer).dangerous_report_only(),
                vec![],
                is(None, Some("report only"), Some("no_credentials")),
                200,
            ),
            (
                builder(&issuer).dangerous_report_only(),
                vec![garbage.clone()],
                is(None, Some("report only"), Some("malformed")),
                200,
            ),
            (
                builder(&issuer).dangerous_report_only(),
                good(),
                is(Some(CHECKOUT), Some("report only"), None),
                200,
            ),
        ] {
            let layer = builder.build().unwrap();
            let shown = format!("{layer:?} {mark:?}");
            let bare = routes().layer(layer.clone());
            let held = routes().layer(admins_only()).layer(layer);
            // waits for keys the first time, where a token is looked at
            for _ in 0..2 {
                let answered = send(&bare, forged("/look", &sent)).await;
                let seen = (answered.status == 200).then(|| answered.ok_json());
                let seen =
                    seen.map(|seen| json!([seen["caller"], seen["passed"], seen["would be"]]));
                assert_eq!(seen, found, "{shown}");
                let caller = send(&bare, forged("/caller", &sent)).await.body;
                assert!(!caller.contains("admin"), "{shown}");
                assert_eq!(send(&held, forged("/look", &sent)).await.status, allowed, "{shown}");
            }
        }
    }
}

#[tokio::test]
async fn the_innermost_of_two_layers_decides_who_calls() {
    let (a, b) = (fast_issuer(), fast_issuer());
    let nested = |outer: Builder, inner: Builder| {
        routes().layer(inner.build().unwrap()).layer(outer.build().unwrap())
    };
    let inner = |issuer: &TestIssuer| builder(issuer).realm("inner");
    let outer = |issuer: &TestIssuer| builder(issuer).realm("outer");
    let realm = |answered: &TestResponse| {
        let challenge = answered.header(WWW_AUTHENTICATE).unwrap_or_default();
        if challenge.contains("realm=\"inner\"") { "inner" } else { "outer" }
    };
    let (of_a, of_b) = (vec![good(&a)], vec![good(&b)]);
    let none: Vec<String> = vec![];
    for (app, sent, who_refuses) in [
        // each issuer's token is refused by the other's layer
        (nested(outer(&a), inner(&b)), &of_a, Some("inner")),
        (nested(outer(&a), inner(&b)), &of_b, Some("outer")),
        (nested(outer(&a), inner(&b)), &none, Some("outer")),
        (nested(outer(&a).optional(), inner(&a)), &none, Some("inner")),
        (nested(outer(&a).optional(), inner(&b)), &of_a, Some("inner")),
        (nested(outer(&a).optional(), inner(&b)), &of_b, Some("outer")),
        (nested(outer(&a).optional(), inner(&a)), &of_a, None),
        (nested(outer(&a).dangerous_report_only(), inner(&a)), &none, Some("inner")),
        (nested(outer(&a).dangerous_report_only(), inner(&b)), &of_a, Some("inner")),
        (nested(outer(&a).dangerous_report_only(), inner(&a)), &of_a, None),
        (nested(outer(&a), inner(&a).dangerous_report_only()), &none, Some("outer")),
        (nested(outer(&a).add_open_path("/look"), inner(&a)), &none, Some("inner")),
        (nested(outer(&a).add_open_path("/look"), inner(&a)), &of_a, None),
        // what the outer one took away, the inner one does not find
        (nested(outer(&a).remove_token_header(), inner(&a)), &of_a, Some("inner")),
    ] {
        for _ in 0..2 {
            let answered = with(&app, "/look", &borrowed(sent)).await;
            if let Some(layer) = who_refuses {
                assert_eq!((answered.status, realm(&answered)), (401, layer), "{answered:?}");
            } else {
                let found = answered.ok_json();
                assert_eq!(found["caller"], CHECKOUT);
                assert_eq!(found["passed"], Value::Null, "the outer one's mark is gone");
            }
        }
    }
}

#[tokio::test]
async fn a_policy_goes_by_the_innermost_layer() {
    let (a, b) = (fast_issuer(), fast_issuer());
    let admins = || routes().layer(AuthorizeLayer::only(in_namespace("kube-system")).unwrap());
    // the inner one enforces, and so does the policy, whatever the outer one did
    let app = admins().layer(layer(&a)).layer(builder(&a).dangerous_report_only().build().unwrap());
    assert_eq!(with(&app, "/look", &[]).await.status, 401);
    assert_eq!(with(&app, "/look", &[&good(&a)]).await.status, 403);
    // between the two the policy only reports, and the inner layer still refuses
    let app = routes()
        .layer(layer(&a))
        .layer(AuthorizeLayer::only(in_namespace("kube-system")).unwrap())
        .layer(builder(&a).dangerous_report_only().build().unwrap());
    assert_eq!(with(&app, "/look", &[]).await.status, 401);
    assert_eq!(with(&app, "/look", &[&good(&a)]).await.ok_json()["caller"], CHECKOUT);
    // an inner one that only reports forgets whom the outer one let in, and its policy reports
    let app = admins().layer(builder(&b).dangerous_report_only().build().unwrap()).layer(layer(&a));
    assert_eq!(with(&app, "/look", &[]).await.status, 401);
    let found = with(&app, "/look", &[&good(&a)]).await.ok_json();
    assert_eq!((&found["caller"], &found["would be"]), (&Value::Null, &json!("unknown_issuer")));
    assert_eq!(with(&app, "/caller", &[&good(&a)]).await.status, 401);
}

#[derive(Debug, serde::Deserialize)]
struct Worker {
    client_id: String,
}

// rule: several-issuers
#[tokio::test]
async fn layers_for_other_claims_say_nothing_about_these() {
    let issuer = fast_issuer();
    let workers = || {
        let verifier = builder_for(&issuer).claims::<Worker>().build().unwrap();
        OidcAuthLayer::builder_for(verifier).realm("workers")
    };
    let payments = || AuthorizeLayer::only(in_namespace("payments")).unwrap();
    let admins = || AuthorizeLayer::only(in_namespace("kube-system")).unwrap();
    let worker_7 = |realm: &str| {
        let rule = Rule::when_claims("7", |who: &Verified<Worker>| who.client_id == "7");
        let policy = Policy::try_from(rule).unwrap();
        AuthorizeLayer::builder(policy).realm(realm).build().unwrap()
    };
    let both = |id: &str| {
        let token = issuer.token().audience("orders").claim("client_id", id);
        bearer(token.service_account("payments", "checkout").mint())
    };
    // outside only reports for its claims, inside enforces for a service account's
    let outer = || workers().dangerous_report_only().build().unwrap();
    let app = |allow: AuthorizeLayer| routes().layer(allow).layer(layer(&issuer)).layer(outer());
    for sent in [vec![], vec!["Bearer garbage".to_owned()], vec!["Bearer".to_owned()]] {
        let answered = with(&app(payments()), "/look", &borrowed(&sent)).await;
        assert!([400, 401].contains(&answered.status), "{answered:?}");
        assert!(answered.header(WWW_AUTHENTICATE).unwrap().contains("shop"));
    }
    // no worker, which the outer one only reports
    assert_eq!(with(&app(payments()), "/look", &[&good(&issuer)]).await.status, 200);
    assert_eq!(with(&app(admins()), "/look", &[&good(&issuer)]).await.status, 403);
    // the other way round: inside only reports, for its own claims
    let app = |allow: AuthorizeLayer| {
        routes().layer(worker_7("7")).layer(allow).layer(outer()).layer(layer(&issuer))
    };
    assert_eq!(with(&app(admins()), "/look", &[&good(&issuer)]).await.status, 403);
    assert_eq!(
        with(&app(payments()), "/look", &[&good(&issuer)]).await.ok_json()["caller"],
        CHECKOUT
    );
    assert_eq!(with(&app(payments()), "/look", &[&both("8")]).await.ok_json()["caller"], CHECKOUT);
    // both enforce
    let app = routes()
        .layer(worker_7("7"))
        .layer(payments())
        .layer(workers().build().unwrap())
        .layer(layer(&issuer));
    assert_eq!(with(&app, "/look", &[&both("7")]).await.ok_json()["caller"], CHECKOUT);
    assert_eq!(with(&app, "/look", &[&both("8")]).await.status, 403);
    assert_eq!(with(&app, "/look", &[&good(&issuer)]).await.status, 401, "no worker");
}

#[tokio::test]
async fn claims_that_no_layer_gives_are_nobodys() {
    let log = Log::catch();
    let issuer = fast_issuer();
    let worker = || {
        let anyone = Rule::when_claims("anybody", |_: &Verified<Worker>| true);
        AuthorizeLayer::from(Policy::try_from(anyone).unwrap())
    };
    let id = |Caller(who): Caller<Worker>| async move { who.client_id.clone() };
    let perhaps = |who: Option<Caller<Worker>>| async move { format!("{}", who.is_some()) };
    let own = Router::new().route("/own", get(id)).route("/perhaps", get(perhaps));
    for builder in [
        builder(&issuer),
        builder(&issuer).optional(),
        builder(&issuer).dangerous_report_only(),
        builder(&issuer).add_open_path("/look").add_open_path("/own").add_open_path("/perhaps"),
    ] {
        let app = routes().layer(worker()).merge(own.clone()).layer(builder.build().unwrap());
        for path in ["/look", "/own", "/perhaps"] {
            let (answered, lines) = logged(&log, &app, path, &[&good(&issuer)]).await;
            assert_eq!(
                (answered.status, answered.reason()),
                (500, Some("misconfigured")),
                "{path}"
            );
            assert_eq!(answered.header(WWW_AUTHENTICATE), None);
            let told =
                lines.iter().filter(|l| l.contains("ERROR") && l.contains("no OidcAuthLayer"));
            assert_eq!(told.count(), 1, "{lines:?}");
        }
    }
    // a policy outside of the layer has nobody to look at either
    let app = app(builder(&issuer)).layer(AuthorizeLayer::only(in_namespace("payments")).unwrap());
    assert_eq!(with(&app, "/look", &[&good(&issuer)]).await.status, 500);
}

// rule: layer-narrows
#[tokio::test]
async fn two_layers_of_one_verifier_refuse_each_others_tokens() {
    let issuer = fast_issuer();
    let mint = |audiences: &[&str]| {
        let token = issuer.token().service_account("payments", "checkout");
        bearer(audiences.iter().fold(token, |token, audience| token.audience(audience)).mint())
    };
    let (orders, refunds, both) =
        (mint(&["orders"]), mint(&["refunds"]), mint(&["refunds", "orders"]));
    for reversed in [false, true] {
        for mode in ["required", "optional", "report only"] {
            // cold at first
            let verifier = builder_for(&issuer).add_audience("refunds").build().unwrap();
            let narrowed = |audience: &str| {
                let builder =
                    OidcAuthLayer::builder_for(verifier.clone()).narrow_audiences([audience]);
                match mode {
                    "required" => builder,
                    "optional" => builder.optional(),
                    _ => builder.dangerous_report_only(),
                }
            };
            let of_orders = app(narrowed("orders"));
            let of_refunds = app(narrowed("refunds"));
            let nested = app(narrowed("orders")).layer(narrowed("refunds").build().unwrap());
            let mut asked = vec![
                (&of_orders, &refunds, false),
                (&of_refunds, &orders, false),
                (&of_orders, &orders, true),
                (&of_refunds, &refunds, true),
                (&of_orders, &both, true),
                (&of_refunds, &both, true),
                (&nested, &both, true),
                (&nested, &refunds, false),
            ];
            if mode != "report only" {
                // there the outer one reports, and the inner one accepts
                asked.push((&nested, &orders, false));
            }
            if reversed {
                asked.reverse();
            }
            for _ in 0..2 {
                for (app, token, accepted) in &asked {
                    // twice in a row, so that the second one is remembered
                    for _ in 0..2 {
                        let answered = with(app, "/look", &[token.as_str()]).await;
                        if *accepted {
                            assert_eq!(answered.ok_json()["caller"], CHECKOUT, "{mode}");
                        } else if mode == "report only" {
                            let found = answered.ok_json();
                            assert_eq!(found["caller"], Value::Null);
                            assert_eq!(found["would be"], "audience");
                        } else {
                            assert_eq!(
                                (answered.status, answered.reason()),
                                (401, Some("audience"))
                            );
                        }
                    }
                }
            }
        }
    }
}
