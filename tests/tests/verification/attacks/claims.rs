//! Audiences and issuers that are nearly the right ones, signed by the issuer's own key.

use kube_oidc::{KeySource, Reason, VerifierBuilder};
use kube_oidc_testing::SigningAlgorithm;
use kube_oidc_tests::{issuer_at_with, verifier_for};
use serde_json::{Value, json};

use super::{ISSUER, Lock, key, token_by, verdict};

/// RFC 7519, 4.1.3; RFC 8725, 3.9; RFC 9700, 2.3 and 4.10.2: one of the audiences is ours, in full.
#[test]
fn audiences_that_are_nearly_ours() {
    let lock = Lock::new();
    lock.forge();
    let with = |aud: Value| lock.token().claim("aud", aud).mint();
    for aud in [json!("orders"), json!(["orders"]), json!(["", "x", "orders", "orders"])] {
        lock.accepts(&aud, with(aud.clone()));
    }
    for aud in [
        json!([]),
        json!(""),
        json!([""]),
        json!(" "),
        json!("order"),
        json!("orders2"),
        json!("ordersorders"),
        json!("Orders"),
        json!("ORDERS"),
        json!("orders "),
        json!(" orders"),
        json!("\torders"),
        json!("orders\n"),
        json!("orders\u{0}"),
        json!("\u{0}orders"),
        json!("orders\u{200b}"),
        json!("\u{feff}orders"),
        json!("\u{202e}sredro"),
        // Cyrillic, full width, and other letters that look alike or fold to ours
        json!("\u{43e}rders"),
        json!("ord\u{435}rs"),
        json!("\u{ff4f}rders"),
        json!("order\u{17f}"),
        json!("\u{1d7f}rders"),
        json!("orders,vault"),
        json!("orders vault"),
        json!("vault orders"),
        json!("[\"orders\"]"),
        json!("\"orders\""),
        json!("orders/"),
        json!("/orders"),
        json!("https://orders"),
        json!("orders#"),
        json!("orders?"),
        json!("orders@evil"),
        json!("*"),
        json!(".*"),
        json!("ord%65rs"),
        json!(["vault", "order", "s"]),
        json!(["ord", "ers"]),
        json!(ISSUER),
        json!("https://kubernetes.default.svc"),
    ] {
        lock.refuses(&aud, with(aud.clone()), Reason::Audience);
    }
    for aud in [
        json!(0),
        json!(true),
        json!({}),
        json!({ "orders": true }),
        json!({ "0": "orders" }),
        json!([["orders"]]),
        json!(["orders", ["orders"]]),
        json!(["orders", 1]),
        json!(["orders", null]),
        json!([null]),
        json!(["orders", {}]),
        json!([false, "orders"]),
    ] {
        lock.refuses(&aud, with(aud.clone()), Reason::Claims);
    }
    lock.refuses("no aud", lock.token().claim("aud", Value::Null).mint(), Reason::Audience);
    let forge = lock.forge();
    let null = forge.clone().payload(r#"["orders"]"#, "null");
    lock.refuses("null", null.mint(), Reason::Claims);
    // under another name it is no audience
    let renamed = forge.payload(r#""aud""#, r#""audience""#);
    lock.refuses("audience", renamed.mint(), Reason::Audience);
}

/// RFC 7519, 4.1.3 sets no limit to the audiences of a token, and RFC 8259, 9 lets a reader set one to
/// the length of a text: that of a token is the only one here.
#[test]
fn thousands_of_audiences() {
    let lock = Lock::new();
    lock.forge();
    let many = |count: usize, last: &str| {
        let mut list = vec![json!("a"); count - 1];
        list.push(json!(last));
        lock.token().claim("aud", list).mint()
    };
    // as many as there is room for are read, and each is compared
    let most = many(2900, "orders");
    assert!((15 * 1024..16 * 1024).contains(&most.len()), "{}", most.len());
    lock.accepts("2,900", most);
    lock.refuses("2,900", many(2900, "vault"), Reason::Audience);
    // more are not: what the parser makes of 10,000 is in a test of its own (`claims/tests.rs`)
    lock.refuses("10,000", many(10_000, "orders"), Reason::TooLong);
    let single =
        Lock::built(&lock.key, &[lock.key.jwk()], VerifierBuilder::require_single_audience);
    single.accepts("one", single.token().mint());
    single.refuses("2,900", many(2900, "orders"), Reason::MultipleAudiences);
    // a list of one is one, and the same one twice is two
    single.accepts("a list of one", many(1, "orders"));
    let twice = lock.token().claim("aud", json!(["orders", "orders"])).mint();
    single.refuses("twice", twice, Reason::MultipleAudiences);
}

/// RFC 7519, 4.1.1 and RFC 8725, 3.8; OpenID Connect Core, 3.1.3.7: the issuer byte for byte. No
/// two spellings of a URL are one issuer.
#[test]
fn issuers_that_are_nearly_ours() {
    let lock = Lock::new();
    lock.forge();
    let with = |iss: &str| lock.token().claim("iss", iss).mint();
    lock.accepts("ours", with(ISSUER));
    for iss in [
        "",
        "https://issuer.example/id/7/",
        "https://issuer.example//id/7",
        "https://issuer.example/id//7",
        "https://issuer.example/id/",
        "https://issuer.example/id/70",
        "https://issuer.example/ID/7",
        "https://ISSUER.example/id/7",
        "HTTPS://issuer.example/id/7",
        "https://issuer.example:443/id/7",
        "https://issuer.example:/id/7",
        "https://issuer.example./id/7",
        "https://issuer.example/id/7?",
        "https://issuer.example/id/7#",
        "https://issuer.example/id/7?x=y",
        "https://issuer.example/id/7;x",
        "https://issuer.example/id/%37",
        "https://issuer.example/%69d/7",
        "https://issuer%2eexample/id/7",
        "https://issuer.example/./id/7",
        "https://issuer.example/x/../id/7",
        "https://issuer.example/id/7/.",
        "https://issuer.example\\id\\7",
        "https:\\\\issuer.example\\id\\7",
        "https:/issuer.example/id/7",
        "https:issuer.example/id/7",
        "//issuer.example/id/7",
        "issuer.example/id/7",
        "http://issuer.example/id/7",
        "https://user@issuer.example/id/7",
        "https://@issuer.example/id/7",
        "https://evil.example@issuer.example/id/7",
        "https://issuer.example@evil.example/id/7",
        "https://issuer.example.evil.example/id/7",
        "https://issuer.example%00.evil.example/id/7",
        "https://evil.example/https://issuer.example/id/7",
        " https://issuer.example/id/7",
        "https://issuer.example/id/7 ",
        "https://issuer.example/id/7\n",
        "https://issuer.example/id/7\t",
        "https://issuer.example/id/7\u{0}",
        "https://issuer.example/id/7\u{0}.evil.example",
        "https://issuer.example/id/7\u{200b}",
        "\u{feff}https://issuer.example/id/7",
        // confusable, full width, and as IDNA writes it
        "https://issuer.ex\u{430}mple/id/7",
        "https://\u{456}ssuer.example/id/7",
        "https://issuer.example/id/\u{ff17}",
        "https://issuer\u{3002}example/id/7",
        "https://xn--ssuer-5ve.example/id/7",
        "https://issuer.example\u{2044}id/7",
        "https://evil.example",
        "*",
        "null",
    ] {
        lock.refuses(iss, with(iss), Reason::UnknownIssuer);
    }
    for iss in [json!([ISSUER]), json!(7), json!({ "iss": ISSUER }), json!(false)] {
        let token = lock.token().claim("iss", iss.clone()).mint();
        lock.refuses(iss, token, Reason::Claims);
    }
    lock.refuses("no iss", lock.token().without_claim("iss").mint(), Reason::Claims);
    let forge = lock.forge();
    let null = forge.payload(&format!("\"{ISSUER}\""), "null");
    lock.refuses("null", null.mint(), Reason::Claims);
}

/// The same for an address, which has many spellings more (CVE-2021-29921 and its kin).
#[test]
fn addresses_that_are_nearly_the_issuers() {
    let es256 = key(SigningAlgorithm::Es256);
    let set = json!({ "keys": [es256.jwk()] }).to_string();
    for (ours, others) in [
        (
            "https://127.0.0.1:6443",
            &[
                "https://127.1:6443",
                "https://127.0.1:6443",
                "https://2130706433:6443",
                "https://0x7f000001:6443",
                "https://0x7f.0.0.1:6443",
                "https://0177.0.0.1:6443",
                "https://127.000.000.001:6443",
                "https://127.0.0.1.:6443",
                "https://127.0.0.1:06443",
                "https://127.0.0.1:6443/",
                "https://127.0.0.1",
                "https://localhost:6443",
                "https://[::ffff:127.0.0.1]:6443",
                "https://[::1]:6443",
                "https://\u{2460}27.0.0.1:6443",
            ][..],
        ),
        (
            "https://[fd00::1]:6443",
            &[
                "https://[fd00:0:0:0:0:0:0:1]:6443",
                "https://[FD00::1]:6443",
                "https://[fd00::0001]:6443",
                "https://[fd00::0.0.0.1]:6443",
                "https://[fd00::1%25eth0]:6443",
                "https://fd00::1:6443",
                "https://[fd00::1]",
            ],
        ),
    ] {
        let issuer = issuer_at_with(ours, KeySource::fixed(set.clone()));
        let verifier = verifier_for(issuer);
        let of = |iss: &str| {
            let token = token_by(es256).claim("iss", iss).mint();
            verdict(&verifier, token.as_bytes())
        };
        assert_eq!(of(ours), Ok(()));
        for other in others {
            assert_eq!(of(other), Err(Reason::UnknownIssuer), "{other}");
        }
    }
}
