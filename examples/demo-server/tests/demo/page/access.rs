//! Who may see the page, and ask through it.

use std::net::Ipv4Addr;

use kube_oidc_testing::TestIssuer;

use super::{JSON, started, wanted};
use crate::process::{Demo, command};

const PATHS: [&str; 9] = [
    "GET /",
    "GET /page/main.js",
    "GET /page/style.css",
    "GET /api/status",
    "GET /api/explain",
    "POST /api/explain",
    "POST /api/mint",
    "POST /api/issuer",
    "GET /api/",
];

fn on_all_addresses(flags: &[&str]) -> Demo {
    let mut command = command(flags);
    command.args(["--listen", "0.0.0.0:0"]);
    Demo::spawn(command)
}

fn assert_absent(demo: &Demo) {
    let port = demo.address.rsplit_once(':').unwrap().1;
    let host = format!("host: 127.0.0.1:{port}");
    let origin = format!("origin: http://127.0.0.1:{port}");
    for line in PATHS {
        let response = demo.ask(line, &[&host, &origin, JSON], br#"{"token":"a"}"#);
        assert_eq!((response.status, &*response.body), (404, ""), "{line}");
    }
    assert_eq!(demo.get("/healthz", &[]).status, 200);
}

// rule: demo-page
#[test]
fn with_a_real_issuer_there_is_no_page() {
    let issuer = TestIssuer::start();
    assert_absent(&Demo::start(&["--issuer", issuer.url(), "--audience", "orders"]));
}

// rule: demo-page
#[test]
fn where_others_could_reach_it_there_is_no_page() {
    let demo = on_all_addresses(&[]);
    assert_absent(&demo);
    let printed = demo.printed_to_the_end();
    assert!(printed.contains("its page is not served"), "{printed}");
}

#[test]
fn a_flag_that_names_the_danger_serves_it_to_addresses_and_not_to_names() {
    let demo = on_all_addresses(&["--dangerous-expose-page"]);
    demo.log_line_with("whoever reaches this address can mint tokens");
    let port = demo.address.rsplit_once(':').unwrap().1;
    for host in [Ipv4Addr::UNSPECIFIED, Ipv4Addr::LOCALHOST, Ipv4Addr::new(192, 0, 2, 7)] {
        let response = demo.ask("GET /", &[&format!("host: {host}:{port}")], b"");
        assert_eq!(response.status, 200, "{host}");
    }
    // a name may be made to lead anywhere
    let response = demo.ask("GET /", &[&format!("host: evil.example:{port}")], b"");
    assert_eq!(response.status, 403);
}

#[test]
fn the_start_tells_of_the_page() {
    let demo = Demo::start(&[]);
    let told = format!("check by check: http://{}/\n", demo.address);
    // it answers when it has said everything
    assert_eq!(demo.get("/healthz", &[]).status, 200);
    let printed = demo.printed_to_the_end();
    assert!(printed.contains(&told), "{printed}");
}

// rule: demo-page
#[test]
fn a_host_that_is_not_this_server_is_refused() {
    let demo = started();
    let port = demo.address.rsplit_once(':').unwrap().1.to_owned();
    for (host, status) in [
        (format!("127.0.0.1:{port}"), 200),
        (format!("localhost:{port}"), 200),
        (format!("[::1]:{port}"), 200),
        ("evil.example".to_owned(), 403),
        (format!("evil.example:{port}"), 403),
        (format!("127.0.0.1.evil.example:{port}"), 403),
        (format!("192.0.2.7:{port}"), 403),
        ("127.0.0.1".to_owned(), 403),
        ("127.0.0.1:1".to_owned(), 403),
        (format!("evil@127.0.0.1:{port}"), 403),
        (String::new(), 403),
    ] {
        for path in ["/", "/page/main.js", "/api/status", "/api/nothing"] {
            let response = demo.ask(&format!("GET {path}"), &[&format!("host: {host}")], b"");
            let expected = if path == "/api/nothing" && status == 200 { 404 } else { status };
            assert_eq!(response.status, expected, "{host:?} {path}");
            assert!(!response.body.contains("evil"), "it repeats what it was told");
        }
    }
    // twice, not at all, and another in the request's first line
    let host = format!("host: {}", demo.address);
    assert_eq!(demo.ask("GET /", &[&host, "host: evil.example"], b"").status, 403);
    assert_eq!(demo.ask("GET /", &[], b"").status, 403);
    assert_eq!(demo.ask("GET http://evil.example/", &[&host], b"").status, 403);
}

// rule: demo-page
#[test]
fn another_site_is_refused() {
    let demo = started();
    let host = format!("host: {}", demo.address);
    let own = format!("origin: http://{}", demo.address);
    let port = demo.address.rsplit_once(':').unwrap().1;
    let other_name = format!("origin: http://localhost:{port}");
    let tls = format!("origin: https://{}", demo.address);
    for (headers, reads, posts) in [
        (vec![&*own], 200, 200),
        (vec![], 200, 403),
        (vec!["origin: null"], 403, 403),
        (vec!["origin: http://evil.example"], 403, 403),
        (vec![&*other_name], 403, 403),
        (vec![&*tls], 403, 403),
        (vec![&*own, "origin: http://evil.example"], 403, 403),
        (vec![&*own, "sec-fetch-site: same-origin"], 200, 200),
        (vec![&*own, "sec-fetch-site: none"], 200, 200),
        (vec![&*own, "sec-fetch-site: cross-site"], 403, 403),
        (vec![&*own, "sec-fetch-site: same-site"], 403, 403),
        (vec![&*own, "sec-fetch-site: same-origin", "sec-fetch-site: cross-site"], 403, 403),
        (vec!["sec-fetch-site: none"], 200, 403),
        (vec!["sec-fetch-site: cross-site"], 403, 403),
    ] {
        let headers = [&[&*host, JSON][..], &headers].concat();
        for path in ["/", "/page/main.js", "/api/status"] {
            let response = demo.ask(&format!("GET {path}"), &headers, b"");
            assert_eq!(response.status, reads, "{path} {headers:?}");
        }
        for (path, body) in [
            ("/api/explain", r#"{"token":"a"}"#.to_owned()),
            ("/api/mint", wanted("good").to_string()),
            ("/api/issuer", r#"{"change":"drop_old_keys"}"#.to_owned()),
        ] {
            let response = demo.ask(&format!("POST {path}"), &headers, body.as_bytes());
            assert_eq!(response.status, posts, "{path} {headers:?}");
        }
    }
}

#[test]
fn a_body_that_a_form_could_send_is_refused() {
    let demo = started();
    let host = format!("host: {}", demo.address);
    let origin = format!("origin: http://{}", demo.address);
    let body = br#"{"token":"a"}"#;
    for (content_type, status) in [
        ("content-type: application/json", 200),
        ("content-type: Application/JSON; charset=utf-8", 200),
        ("content-type: text/plain", 415),
        ("content-type: text/plain; application/json", 415),
        ("content-type: application/x-www-form-urlencoded", 415),
        ("content-type: multipart/form-data", 415),
        ("content-type: application/jsonp", 415),
        ("x: y", 415),
    ] {
        let response = demo.ask("POST /api/explain", &[&host, &origin, content_type], body);
        assert_eq!(response.status, status, "{content_type}");
    }
}
