//! What the tests of the whole system share: captures of a real kube-apiserver, fetchers that map
//! an issuer's public URL to a server on loopback, and a place to catch the log.

#![allow(clippy::expect_used, clippy::panic, clippy::missing_panics_doc)]

mod busy;
mod capture;
mod captured_token;
mod child;
mod dead_port;
pub mod forge;
mod grpc_server;
#[cfg(doctest)]
mod guide;
mod hidden;
mod http_server;
#[cfg(target_os = "linux")]
mod hung_file;
mod judge;
mod log;
mod mapped;
mod oracle_case;
mod pinned;
mod proxy;
mod ready_once;
mod scripted_fetcher;
mod setup;
mod temp_folder;
mod test_response;
pub mod tls;

#[cfg(target_os = "linux")]
pub use self::hung_file::HungFile;
pub use self::{
    busy::Busy,
    capture::{Capture, decoded, fixture, pinned_time},
    captured_token::{CAPTURED_TOKENS, CapturedToken},
    child::{is_child, output_of_child, run_in_child},
    dead_port::DeadPort,
    forge::Forge,
    grpc_server::{GrpcServer, WhoAmI},
    hidden::Hidden,
    http_server::HttpServer,
    judge::{Judge, rejection},
    log::Log,
    mapped::MappedFetcher,
    oracle_case::OracleCase,
    pinned::PinnedVerifier,
    proxy::Proxy,
    ready_once::ReadyOnce,
    scripted_fetcher::ScriptedFetcher,
    setup::{
        AUDIENCE, IntoIssuer, api_server_issuer, bearer, builder_for, caller_name, fast_issuer,
        issuer_at, issuer_at_with, issuer_for, issuer_via, issuer_with, layer_builder_for,
        layer_for, token_for, verifier_for,
    },
    temp_folder::TempFolder,
    test_response::{TestResponse, http_client},
};

/// The READMEs, so that their examples are compiled.
#[cfg(doctest)]
mod readmes {
    #[doc = include_str!("../../README.md")]
    mod workspace {}
    #[doc = include_str!("../../crates/kube-oidc/README.md")]
    mod kube_oidc {}
    #[doc = include_str!("../../crates/kube-oidc-testing/README.md")]
    mod kube_oidc_testing {}
    #[doc = include_str!("../../crates/kube-oidc-token-review/README.md")]
    mod kube_oidc_token_review {}
    #[doc = include_str!("../../crates/tower-kube-oidc/README.md")]
    mod tower_kube_oidc {}
}
