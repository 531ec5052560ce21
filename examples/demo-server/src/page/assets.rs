//! The files of the page. They are in the binary: it needs no folder beside it, and no network.

use std::sync::Arc;

use axum::{Router, http::header::CONTENT_TYPE, routing::get};

use super::Page;

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Where each file is, what it is, and what is in it.
const FILES: [(&str, &str, &str); 9] = [
    ("/", "text/html; charset=utf-8", include_str!("../../page/index.html")),
    ("/page/style.css", "text/css; charset=utf-8", include_str!("../../page/style.css")),
    ("/page/icon.svg", "image/svg+xml", include_str!("../../page/icon.svg")),
    ("/page/main.js", SCRIPT, include_str!("../../page/main.js")),
    ("/page/elements.js", SCRIPT, include_str!("../../page/elements.js")),
    ("/page/exchange.js", SCRIPT, include_str!("../../page/exchange.js")),
    ("/page/verdict.js", SCRIPT, include_str!("../../page/verdict.js")),
    ("/page/times.js", SCRIPT, include_str!("../../page/times.js")),
    ("/page/keys.js", SCRIPT, include_str!("../../page/keys.js")),
];

pub(super) fn routes() -> Router<Arc<Page>> {
    FILES.into_iter().fold(Router::new(), |router, (path, content_type, text)| {
        router.route(path, get(move || async move { ([(CONTENT_TYPE, content_type)], text) }))
    })
}
