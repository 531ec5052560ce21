//! The server, started wrongly in the ways that users reported: it says what to change.

use std::{
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use kube_oidc_testing::{Endpoint, MockResponse, TestIssuer};

use crate::process::{Demo, command};

const ISSUER: &str = "https://issuer.example";
const LISTEN: [&str; 2] = ["--listen", "127.0.0.1:0"];

/// A folder with the files that users gave by mistake.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("demo-start-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let issuer = TestIssuer::builder().tls().start();
        let keys = issuer.key_set().to_string();
        let utf16: Vec<u8> =
            [0xfeff].into_iter().chain(keys.encode_utf16()).flat_map(u16::to_le_bytes).collect();
        for (name, content) in [
            ("page.html", PAGE.as_bytes()),
            ("key.pem", PEM.as_bytes()),
            ("discovery.json", DISCOVERY.as_bytes()),
            ("utf16.json", &utf16),
            ("other-ca.pem", issuer.ca_pem().as_bytes()),
            ("empty", b""),
        ] {
            std::fs::write(folder.join(name), content).unwrap();
        }
        Self(folder)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const PAGE: &str = "<!DOCTYPE html><html><body>Sign in, 5ecre7</body></html>";
const PEM: &str = "-----BEGIN PUBLIC KEY-----\n5ecre7\n-----END PUBLIC KEY-----\n";
const DISCOVERY: &str =
    r#"{"issuer":"https://issuer.example","jwks_uri":"https://5ecre7.example/k"}"#;

/// What a server that does not serve ends with.
fn end_of(mut command: Command) -> Output {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    if !line.is_empty() {
        child.kill().unwrap();
    }
    let output = child.wait_with_output().unwrap();
    assert_eq!(line, "", "{command:?} serves: {output:?}");
    output
}

fn assert_says(input: &str, message: &str, words: &[&str]) {
    let missing: Vec<_> = words.iter().filter(|word| !message.contains(**word)).collect();
    assert!(missing.is_empty(), "{input}: lacks {missing:?}: {message}");
    assert!(!message.contains("5ecre7"), "{input}: {message}");
}

#[test]
fn mistake_that_is_known_at_start_is_an_error_that_says_what_to_change() {
    let folder = Folder::new("known");
    let one = |url: &str| vec!["--issuer".to_owned(), url.to_owned()];
    let with = |flag: &str, value: &str| {
        let args = ["--issuer", ISSUER, "--audience", "a", flag, value];
        args.map(str::to_owned).to_vec()
    };
    let file = |flag: &str, name: &str| with(flag, &folder.path(name));
    let several = |one: &str, other: &str| {
        ["--issuer", one, "--issuer", other, "--audience", "a"].map(str::to_owned).to_vec()
    };
    let named = |name: &str| format!("{name}={ISSUER}");
    for (args, words) in [
        (one(ISSUER), ["--audience", "OIDC_AUDIENCE", "--audience orders"]),
        (one("http://issuer.example"), ["--issuer", "http", "loopback"]),
        (
            one(&format!("{ISSUER}/.well-known/openid-configuration")),
            ["--issuer", "discovery document", "give the issuer"],
        ),
        (one("https://a.example,https://b.example"), ["--issuer", "list", "one issuer at a time"]),
        (
            with("--jwks-uri", "http://127.0.0.1:8001/openid/v1/jwks"),
            ["127.0.0.1:8001", "plain http on loopback", "kubectl get --raw"],
        ),
        (file("--jwks-file", "page.html"), ["page.html", "HTML", "expected JSON"]),
        (file("--jwks-file", "key.pem"), ["key.pem", "PEM", "kubectl get --raw"]),
        (
            file("--jwks-file", "discovery.json"),
            ["discovery.json", "discovery document", "`jwks_uri`"],
        ),
        (file("--jwks-file", "utf16.json"), ["utf16.json", "UTF-16", "-Encoding utf8"]),
        (file("--jwks-file", "empty"), ["--jwks-file", "empty", "expected JSON"]),
        (file("--jwks-file", "missing"), ["--jwks-file", "missing", "No such file"]),
        (file("--ca-file", "page.html"), ["--ca-file", "page.html", "no certificate in PEM"]),
        (file("--ca-file", "key.pem"), ["--ca-file", "key.pem", "no certificate in PEM"]),
        (
            file("--jwks-bearer-token-file", "page.html"),
            ["--jwks-bearer-token-file", "page.html", "one token"],
        ),
        (
            file("--jwks-bearer-token-file", "empty"),
            ["--jwks-bearer-token-file", "empty", "one token"],
        ),
        (
            file("--jwks-bearer-token-file", "missing"),
            ["--jwks-bearer-token-file", "missing", "No such file"],
        ),
        (several(ISSUER, "https://other.example"), ["--issuer", "name of its cluster", "blue="]),
        (several(ISSUER, ISSUER), [ISSUER, "twice", "cluster"]),
        (several(&named("blue"), &named("blue")), [ISSUER, "twice", "cluster"]),
        (
            several(&named("blue"), &named("green")),
            ["\"blue\" and \"green\"", ISSUER, "its own key set"],
        ),
        (
            vec!["--in-cluster".to_owned()],
            ["--in-cluster", "KUBERNETES_SERVICE_HOST", "--issuer URL"],
        ),
        (with("--listen", "8080"), ["--listen", "8080", "such as 127.0.0.1:8080"]),
        (with("--listen", "http://127.0.0.1:80"), ["--listen", "http:", "such as 127.0.0.1:8080"]),
        (with("--fetch-timeout", "5"), ["--fetch-timeout", "5", "500ms, 30s"]),
    ] {
        let mut start = command(&[]);
        start.args(&args);
        if !args.iter().any(|arg| arg == "--listen") {
            start.args(LISTEN);
        }
        let Output { status, stderr, .. } = end_of(start);
        let message = String::from_utf8(stderr).unwrap();
        assert_eq!(status.code(), Some(2), "{args:?}: {message}");
        assert_eq!(message.trim_end().lines().count(), 1, "{args:?}: {message}");
        assert_says(&format!("{args:?}"), &message, &words);
    }
}

#[test]
fn mistake_that_only_a_fetch_shows_is_a_line_that_says_what_to_change() {
    let folder = Folder::new("fetched");
    let html = MockResponse::new(200, PAGE).with_header("content-type", "text/html");
    for (input, keys, words) in [
        ("a sign-in page", html, ["HTML", "text/html"]),
        ("a PEM file", MockResponse::new(200, PEM), ["PEM", "expected JSON"]),
        ("a discovery document", MockResponse::new(200, DISCOVERY), ["discovery", "`jwks_uri`"]),
        ("a wrong token", MockResponse::new(401, "5ecre7"), ["status 401", "token"]),
    ] {
        let issuer = TestIssuer::start();
        issuer.respond_with(Endpoint::Jwks, keys);
        let (url, keys) = (issuer.url(), issuer.jwks_uri());
        let demo = Demo::start(&["--issuer", url, "--audience", "orders", "--jwks-uri", keys]);
        let line = demo.log_line_with("could not be fetched");
        assert_says(input, &line, &[words[0], words[1], keys]);
    }
    let issuer = TestIssuer::builder().tls().start();
    let other_ca = folder.path("other-ca.pem");
    let demo =
        Demo::start(&["--issuer", issuer.url(), "--audience", "orders", "--ca-file", &other_ca]);
    let line = demo.log_line_with("could not be fetched");
    assert_says(
        "a wrong authority",
        &line,
        &["invalid peer certificate", issuer.url(), "configure"],
    );
}

#[test]
fn bad_root_certificate_is_one_warning_that_names_the_file() {
    let folder = Folder::new("roots");
    let issuer = TestIssuer::builder().tls().start();
    let file = folder.path("roots.pem");
    let bad = PEM.replace("PUBLIC KEY", "CERTIFICATE");
    std::fs::write(&file, [&bad, issuer.ca_pem()].concat()).unwrap();
    let demo = Demo::start(&["--issuer", issuer.url(), "--audience", "orders", "--ca-file", &file]);
    let line = demo.log_line_with("skipped invalid root certificates");
    assert_says("a bad root certificate", &line, &[&file, "skipped=1"]);
}

#[test]
fn issuer_is_shown_once() {
    let issuer = TestIssuer::start();
    issuer.stop();
    let demo = Demo::start(&["--issuer", issuer.url(), "--audience", "orders"]);
    assert_eq!(demo.get("/readyz", &[]).body, format!("{}: unavailable\n", issuer.url()));
    let line = demo.log_line_with("could not be fetched");
    assert!(!line.contains("cluster="), "{line}");
}
