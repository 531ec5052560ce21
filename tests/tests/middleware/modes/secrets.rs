//! No token, and no part of one, is shown in any mode.

use super::*;

use kube_oidc_tests::{Hidden, fast_issuer, http_client};

/// The layer with hooks that log all they are shown.
fn chatty(builder: Builder) -> Builder {
    builder
        .on_outcome(|outcome, request| tracing::info!(?outcome, ?request, "chatty outcome"))
        .map_rejection(|rejection, request, answer| {
            tracing::info!(?rejection, %rejection, ?request, ?answer, "chatty rejection");
            answer
        })
}

// rule: logs-without-tokens
#[tokio::test]
async fn nothing_of_a_token_is_shown_in_any_mode() {
    async fn show(request: Request) -> String {
        let extensions = request.extensions();
        let caller = extensions.get::<Verified>();
        format!("{:?} {:?} {caller:?}", request.headers(), extensions.get::<Passed>())
    }
    let log = Log::catch();
    let issuer = fast_issuer();
    let minted = || issuer.token().audience("orders").claim("x", "secret-of-a-mode");
    let stranger = SigningKey::generate(SigningAlgorithm::Es256).with_kid("secret-of-a-mode");
    let tokens = [
        minted().service_account("payments", "checkout").mint(),
        minted().service_account("batch", "nightly").mint(),
        minted().expired().mint(),
        minted().claim("aud", "secret-of-a-mode").signature("x").mint(),
        minted().claim("iss", "https://secret-of-a-mode.example").mint(),
        minted().signed_by(&stranger).mint(),
        minted().header("typ", "secret-of-a-mode").mint(),
        format!("{}.secret-of-a-mode", minted().mint()),
    ];
    let layers = || {
        [
            builder(&issuer),
            builder(&issuer).optional(),
            builder(&issuer).dangerous_report_only(),
            builder(&issuer).add_open_path("/"),
            builder(&issuer).remove_token_header(),
            narrowed(&issuer),
            builder(&issuer).end_streams_at_expiry(),
            named(&issuer),
            named(&issuer).optional(),
            named(&issuer).dangerous_report_only().remove_token_header(),
            named(&issuer).add_open_path("/"),
        ]
    };
    let client = http_client();
    let mut answers = Vec::new();
    for (index, builder) in layers().into_iter().enumerate() {
        let layer = chatty(builder).build().unwrap();
        let shown = format!("{layer:?}");
        let policy = Policy::new(in_namespace("payments")).unwrap();
        let allow = AuthorizeLayer::builder(policy).and_open_paths().build().unwrap();
        let app = Router::new()
            .route("/", any(show).layer(allow))
            .route("/caller", any(subject))
            .layer(layer);
        let server = HttpServer::start(app).await;
        for token in &tokens {
            for (path, scheme) in [("", "Bearer "), ("/caller", "Bearer x "), ("", "Basic ")] {
                let value = format!("{scheme}{token}");
                let url = format!("{}{path}", server.url());
                let mut request = client.post(url).header(CONTENT_TYPE, "application/grpc");
                if path.is_empty() {
                    request = request.header(TE, "trailers");
                }
                // beside each other too, and twice
                request = match index {
                    0..7 => request.header(AUTHORIZATION, &value),
                    _ => request.header(NAMED, &value).header(AUTHORIZATION, &value),
                };
                let response = request.send().await.unwrap();
                answers.push(format!("{shown} {:?}", response.headers()));
                answers.push(response.text().await.unwrap());
            }
        }
    }
    let (log, answers, hidden) = (log.text(), answers.join("\n"), Hidden::of(&tokens));
    for (what, text) in [("an answer", &answers), ("the log", &log)] {
        hidden.assert_hidden_in(what, text);
        let found: Vec<_> = text.lines().filter(|l| l.contains("secret-of-a-mode")).collect();
        assert!(found.is_empty(), "{found:?}");
    }
    // so it was looked for where these requests were told of
    for told in ["chatty outcome", "chatty rejection", "would be refused", "Sensitive"] {
        assert!(log.contains(told), "{told}");
    }
    assert!(answers.contains("payments") && answers.contains("Sensitive"));
}

#[tokio::test]
async fn jwt_without_bearer_leaves_one_info_line() {
    let (log, issuer) = (Log::catch(), fast_issuer());
    let good = good(&issuer);
    let jwt = good.strip_prefix("Bearer ").unwrap();
    let hidden = Hidden::of(&[jwt.to_owned()]);
    let (required, optional) = (app(builder(&issuer)), app(builder(&issuer).optional()));
    for (value, scheme) in
        [(jwt.to_owned(), "none"), (format!("Token {jwt}"), "Token"), (format!("jwt {jwt}"), "JWT")]
    {
        for (app, status) in [(&required, 401), (&optional, 200)] {
            let (answered, lines) = logged(&log, app, "/maybe", &[&value]).await;
            assert_eq!(answered.status, status);
            if status == 401 {
                assert_eq!(answered.reason(), Some("no_credentials"));
            }
            let told: Vec<_> = lines.iter().filter(|line| line.contains(" INFO ")).collect();
            assert_eq!(told.len(), 1, "{told:?}");
            assert!(told[0].contains("token without the Bearer scheme"), "{told:?}");
            assert!(told[0].contains("reason=\"no_credentials\""), "{told:?}");
            assert!(told[0].contains(&format!("scheme=\"{scheme}\"")), "{told:?}");
            hidden.assert_hidden_in("the log", &lines.join("\n"));
        }
    }
    // nothing of these is a bearer token by mistake
    for value in [&[][..], &[BASIC], &["Secret-Scheme x"], &["a.b.c"], &["Negotiate"]] {
        let (answered, lines) = logged(&log, &required, "/maybe", value).await;
        assert_eq!(answered.reason(), Some("no_credentials"));
        let told: Vec<_> = lines.iter().filter(|line| line.contains(" INFO ")).collect();
        assert!(told.is_empty(), "{told:?}");
    }
}
