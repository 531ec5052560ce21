//! What the search for tokens finds.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use kube_oidc_tests::{Hidden, token_for};

#[test]
fn every_form_of_a_token_is_found() {
    let issuer = kube_oidc_testing::TestIssuer::start();
    let token = token_for(&issuer).mint();
    let hidden = Hidden::of([&token]);
    let parts: Vec<&str> = token.split('.').collect();
    let decoded: Vec<Vec<u8>> =
        parts.iter().map(|part| URL_SAFE_NO_PAD.decode(part).unwrap()).collect();
    let json = String::from_utf8(decoded[1].clone()).unwrap();
    let digits = |byte: &u8| format!("{byte:02x}");
    let hex = |bytes: &[u8]| bytes.iter().map(digits).collect::<Vec<_>>().concat();
    let middle = |text: &str| text[text.len() / 2..text.len() / 2 + Hidden::FOUND].to_owned();
    for shown in [
        token.clone(),
        format!("{token:?}"),
        format!("{:?}", token.as_bytes()),
        format!("{:?}", bytes::Bytes::from(token.clone())),
        format!("{:#?}", parts[2].as_bytes()),
        hex(token.as_bytes()),
        hex(&decoded[2]).to_uppercase(),
        format!("{:?}", decoded[2]),
        STANDARD_NO_PAD.encode(format!("user:{token}")),
        STANDARD_NO_PAD.encode(format!("a{token}")),
        json.clone(),
        format!("{json:?}"),
        format!("{:?}", format!("{json:?}")),
        middle(parts[0]),
        middle(parts[1]),
        middle(parts[2]),
        json[..Hidden::FOUND].to_owned(),
    ] {
        assert!(hidden.shown_in(&format!("before {shown} after")).is_some(), "{shown}");
    }
    for innocent in [
        "nothing of it",
        "system:serviceaccount:payments:checkout",
        issuer.url(),
        issuer.signing_key().kid(),
        r#"{"status":401,"title":"invalid_token"}"#,
    ] {
        assert_eq!(hidden.shown_in(innocent), None);
    }
}
