//! The page's files and headers.

use super::{JSON, Page as _, started};
use crate::process::Response;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self'; form-action 'none'; base-uri 'none'; \
                      frame-ancestors 'none'; require-trusted-types-for 'script'; \
                      trusted-types 'none'";

/// What makes elements, or a program, of a text.
const MARKUP: [&str; 9] = [
    "innerHTML",
    "outerHTML",
    "insertAdjacentHTML",
    "setHTML",
    "document.write",
    "DOMParser",
    "createContextualFragment",
    "eval(",
    "Function(",
];

/// Where a token would outlive the page.
const KEPT: [&str; 6] =
    ["localStorage", "sessionStorage", "indexedDB", "cookie", "history.", "location"];

fn assert_protected(response: &Response) {
    for (name, value) in [
        ("cache-control", "no-store"),
        ("referrer-policy", "no-referrer"),
        ("x-content-type-options", "nosniff"),
        ("cross-origin-resource-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
        ("content-security-policy", POLICY),
    ] {
        assert_eq!(response.header(name), [value], "{name} in {}", response.head);
    }
}

#[test]
fn the_page_and_its_files_are_served() {
    let demo = started();
    for (path, content_type) in [
        ("/", "text/html; charset=utf-8"),
        ("/page/style.css", "text/css; charset=utf-8"),
        ("/page/icon.svg", "image/svg+xml"),
        ("/page/main.js", "text/javascript; charset=utf-8"),
    ] {
        let response = demo.load(path);
        assert_eq!(response.status, 200, "{path}");
        assert_eq!(response.header("content-type"), [content_type], "{path}");
        assert!(!response.body.is_empty(), "{path}");
    }
}

#[test]
fn whatever_the_page_asks_for_is_there_and_of_this_server() {
    let demo = started();
    let mut seen = Vec::new();
    let mut asked = vec!["/".to_owned()];
    while let Some(path) = asked.pop() {
        let response = demo.load(&path);
        assert_eq!(response.status, 200, "{path}");
        seen.push(path.clone());
        // the namespace of drawings is the one address that is not asked for
        let text = response.body.replace("http://www.w3.org/2000/svg", "");
        assert!(!text.contains("://"), "{}", response.body);
        for forbidden in MARKUP.iter().chain(&KEPT) {
            assert!(!text.contains(forbidden), "{path}: {forbidden}");
        }
        for quoted in text.split('"') {
            let file = quoted.strip_prefix("./").map(|name| format!("/page/{name}"));
            let file = file.unwrap_or_else(|| quoted.to_owned());
            if file.starts_with("/page/") && !seen.contains(&file) && !asked.contains(&file) {
                asked.push(file);
            }
        }
    }
    assert_eq!(seen.len(), 9, "{seen:?}");
    // what the policy would refuse
    let page = demo.load("/").body;
    assert!(!page.contains("style=") && !page.contains(" onclick") && !page.contains("<style"));
    // a field without a name is in no form that a browser sends, nor in an address
    let field = page.split("<textarea").nth(1).unwrap().split('>').next().unwrap();
    assert!(field.contains("id=\"token\"") && !field.contains("name="), "{field}");
    assert!(page.contains("<noscript>"));
}

// rule: demo-page
#[test]
fn every_answer_of_the_page_has_its_headers() {
    let demo = started();
    let host = format!("host: {}", demo.address);
    let origin = format!("origin: http://{}", demo.address);
    let explain = "POST /api/explain";
    for (response, status) in [
        (demo.load("/"), 200),
        (demo.load("/page/keys.js"), 200),
        (demo.load("/api/status"), 200),
        (demo.post("/api/explain", br#"{"token":"a"}"#), 200),
        (demo.post("/api/explain", b"{"), 400),
        (demo.post("/api/explain", &vec![b'a'; 1024 * 1024 + 1]), 413),
        (demo.ask(explain, &[&host, &origin], b"{}"), 415),
        (demo.ask("GET /", &["host: evil.example"], b""), 403),
        (demo.ask(explain, &[&host, "origin: http://evil.example", JSON], b"{}"), 403),
        (demo.load("/api/explain"), 405),
        (demo.post("/", b"{}"), 405),
        (demo.load("/api/nothing"), 404),
    ] {
        assert_eq!(response.status, status, "{} {}", response.head, response.body);
        assert_protected(&response);
        if status >= 400 && status != 405 {
            assert!(response.json()["error"].is_string(), "{}", response.body);
        }
    }
    // and the service has its own
    assert!(demo.get("/healthz", &[]).header("content-security-policy").is_empty());
    assert_eq!(demo.get("/nothing", &[]).status, 404);
}
