//! Key sets, and files and responses that are none.

use std::fs;

use kube_oidc::{Issuer, KeySource};
use kube_oidc_testing::{Endpoint, MockResponse, SigningAlgorithm, SigningKey, TestIssuer};
use kube_oidc_tests::{builder_for, issuer_at_with, issuer_for, issuer_with, verifier_for};
use serde_json::{Value, json};

use super::{Case, chain};

const SECRET: &str = "5ecre7";

/// Unpacked, these bytes are "5ecre7".
const GZIP: &[u8] = b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x33\x4d\x4d\x2e\x4a\x35\x07\0";

pub(super) async fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    cases.extend(responses().await);
    cases.extend(files().await);
    cases.extend(numbers());
    cases
}

/// The reason for a failed fetch.
async fn error_of(issuer: Issuer) -> String {
    let verifier = verifier_for(issuer);
    verifier.refresh_keys().await.unwrap_err();
    verifier.status().remove(0).last_error.unwrap().error
}

async fn responses() -> Vec<Case> {
    let sign_in = || {
        let page = format!("<!DOCTYPE html><title>Sign in</title><!-- {SECRET} -->");
        MockResponse::new(200, page).with_header("content-type", "text/html; charset=utf-8")
    };
    let gzip = || MockResponse::new(200, GZIP).with_header("content-encoding", "gzip");
    let packed = MockResponse::new(200, &b"\x0b\x02\x80\xff\x03"[..])
        .with_header("content-encoding", "br")
        .with_header("server", SECRET);
    let plain = MockResponse::new(200, SECRET).with_header("content-type", "text/plain; x=5ecre7");
    let pem = MockResponse::new(200, format!("-----BEGIN PUBLIC KEY-----\n{SECRET}\n"));
    let document = json!({ "issuer": SECRET, "jwks_uri": format!("https://{SECRET}.example") });
    let document = MockResponse::new(200, document.to_string());
    let mut cases = Vec::new();
    for (input, endpoint, answer, words) in [
        (
            "a sign-in page for keys",
            Endpoint::Jwks,
            sign_in(),
            ["from http://127.0.0.1:", "found HTML or XML", "without a sign-in"],
        ),
        (
            "a sign-in page for keys, as its server declares it",
            Endpoint::Jwks,
            sign_in(),
            ["the jwks_uri of the discovery document", "content-type text/html", "sign-in page"],
        ),
        (
            "a sign-in page for the discovery document",
            Endpoint::Discovery,
            sign_in(),
            ["/.well-known/openid-configuration", "found HTML or XML", "without a sign-in"],
        ),
        (
            "gzip for keys",
            Endpoint::Jwks,
            gzip(),
            ["from http://127.0.0.1:", "found gzip", "send no content-encoding"],
        ),
        (
            "gzip for the discovery document",
            Endpoint::Discovery,
            gzip(),
            ["/.well-known/openid-configuration", "content-encoding gzip", "found gzip"],
        ),
        (
            "a packed body without a mark",
            Endpoint::Jwks,
            packed,
            ["from http://127.0.0.1:", "content-encoding br", "not UTF-8"],
        ),
        (
            "plain text for keys",
            Endpoint::Jwks,
            plain,
            ["from http://127.0.0.1:", "content-type text/plain", "not well formed"],
        ),
        (
            "PEM for keys",
            Endpoint::Jwks,
            pem,
            ["from http://127.0.0.1:", "found PEM, expected JSON", "kubectl get --raw"],
        ),
        (
            "a discovery document for keys",
            Endpoint::Jwks,
            document,
            ["from http://127.0.0.1:", "found a discovery document", "the URL in its `jwks_uri`"],
        ),
    ] {
        let issuer = TestIssuer::start();
        issuer.respond_with(endpoint, answer);
        let message = error_of(issuer_for(&issuer)).await;
        cases.push(Case { input, message, words, secrets: vec![SECRET.to_owned()] });
    }
    let issuer = TestIssuer::start();
    let document = issuer.url().to_owned() + "/.well-known/openid-configuration";
    let misplaced = issuer_with(&issuer, KeySource::jwks(document));
    cases.push(Case {
        input: "the URL of the discovery document as that of the keys",
        message: error_of(misplaced).await,
        words: ["/.well-known/openid-configuration", "found a discovery document", "`jwks_uri`"],
        secrets: vec![SECRET.to_owned()],
    });
    cases
}

async fn files() -> Vec<Case> {
    let folder = std::env::temp_dir().join(format!("kube-oidc-keys-{}", fastrand::u64(..)));
    fs::create_dir(&folder).unwrap();
    let utf16 =
        |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
    let set = json!({ "keys": [key().jwk()], "x": SECRET }).to_string();
    let pem = format!("-----BEGIN CERTIFICATE-----\n{SECRET}\n-----END CERTIFICATE-----\n");
    let mut cases = Vec::new();
    for (input, name, content, words) in [
        (
            "a file written by Windows PowerShell",
            "powershell.json",
            utf16(&format!("\u{feff}{set}\r\n")),
            ["powershell.json`", "found UTF-16, expected UTF-8", "Out-File -Encoding utf8"],
        ),
        (
            "UTF-16 without a byte order mark",
            "wide.json",
            utf16(&set),
            ["wide.json`", "found UTF-16, expected UTF-8", "Out-File -Encoding utf8"],
        ),
        (
            "a file with PEM",
            "keys.pem",
            pem.into_bytes(),
            ["keys.pem`", "found PEM, expected JSON", "kubectl get --raw /openid/v1/jwks"],
        ),
        (
            "a packed file",
            "keys.json.gz",
            GZIP.to_vec(),
            ["keys.json.gz`", "found gzip, expected JSON", "store the file unpacked"],
        ),
        (
            "an empty file",
            "none.json",
            Vec::new(),
            ["none.json`", "found nothing", "expected JSON"],
        ),
        (
            "a file with one key",
            "key.json",
            key().jwk().to_string().into_bytes(),
            ["key.json`", "found a single key", "an object with a list `keys`"],
        ),
    ] {
        let path = folder.join(name);
        fs::write(&path, content).unwrap();
        let issuer = issuer_at_with("https://issuer.example", KeySource::file(path));
        let message = error_of(issuer).await;
        cases.push(Case { input, message, words, secrets: vec![SECRET.to_owned()] });
    }
    fs::remove_dir_all(folder).unwrap();
    cases
}

fn key() -> SigningKey {
    SigningKey::generate(SigningAlgorithm::Es256).with_kid("the-key")
}

/// Numbers of keys that are missing or not encoded as RFC 7518 demands.
fn numbers() -> Vec<Case> {
    let jwk = key().jwk();
    let x = jwk["x"].as_str().unwrap();
    let with = |member: &str, value: Value| {
        let mut jwk = jwk.clone();
        jwk[member] = value;
        json!({ "keys": [jwk] }).to_string()
    };
    let short = kube_oidc_tests::forge::encode([0x5a; 31]);
    let long = kube_oidc_tests::forge::encode([0x5a; 33]);
    [
        (
            "a null number",
            with("x", json!(null)),
            ["key \"the-key\"", "missing `x`", "no usable key"],
        ),
        (
            "a padded number",
            with("x", json!(format!("{x}="))),
            ["key \"the-key\"", "invalid `x`: padded", "expected base64url without padding"],
        ),
        (
            "a number in standard base64",
            with("y", json!("+/+/")),
            ["key \"the-key\"", "invalid `y`: a character outside", "expected base64url"],
        ),
        (
            "a coordinate without its leading zero",
            with("x", json!(short)),
            ["key \"the-key\"", "invalid `x`: 31 bytes instead of 32", "leading zeros are part"],
        ),
        (
            "a coordinate with a sign byte",
            with("y", json!(long)),
            ["key \"the-key\"", "invalid `y`: 33 bytes instead of 32", "leading zeros are part"],
        ),
        (
            "a truncated number",
            with("x", json!(&x[..41])),
            ["key \"the-key\"", "invalid `x`", "is it truncated?"],
        ),
        (
            "a key for encryption with an empty list of operations",
            with("use", json!("enc")).replace("\"kty\"", "\"key_ops\":[],\"kty\""),
            ["key \"the-key\"", "it is not for signatures", "use or key_ops"],
        ),
    ]
    .map(|(input, key_set, words)| {
        let issuer = issuer_at_with("https://issuer.example", KeySource::fixed(key_set));
        let built = builder_for(issuer).build();
        let message = chain(&built.unwrap_err());
        Case { input, message, words, secrets: vec![x.to_owned()] }
    })
    .into()
}
