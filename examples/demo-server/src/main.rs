//! An axum service that asks every caller of `/whoami` for a `ServiceAccount` token.
//!
//! Without arguments it starts an issuer of its own, prints two `curl` lines to try, and has a page
//! that shows what becomes of a token. `/metrics` is for Prometheus.

mod app;
mod args;
mod error;
mod metrics;
mod page;
mod review;
mod serve;

use std::{io::Write as _, process::ExitCode, sync::Arc, time::Duration};

use axum::Router;
use clap::Parser as _;
use kube_oidc_testing::TestIssuer;
use tokio::signal::unix::{SignalKind, signal};
use tower_kube_oidc::Issuer;

use self::{args::Args, error::StartError, page::Page};

/// The audience of the demo's own tokens.
const DEMO_AUDIENCE: &str = "demo";

/// How long requests may go on after a signal to end.
const GRACE: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    args::init_logging();
    match run(args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // one line, and the status that shells know for a wrong command line
            let _ = writeln!(std::io::stderr(), "demo-server: {error}");
            ExitCode::from(2)
        }
    }
}

async fn run(args: Args) -> Result<(), StartError> {
    let mut issuers = args.issuers()?;
    let recorder = metrics::install()?;
    let embedded = issuers.is_empty().then(|| Arc::new(TestIssuer::start()));
    if let Some(embedded) = &embedded {
        let issuer = Issuer::new(embedded.url().parse().map_err(StartError::Issuer)?);
        issuers.push(issuer.with_token_review(review::embedded(embedded)?));
    }
    let audience = match (&args.audience, &embedded) {
        (Some(audience), _) => audience.clone(),
        (None, Some(_)) => DEMO_AUDIENCE.to_owned(),
        (None, None) => return Err(StartError::AudienceNeeded),
    };
    let verifier = args.verifier(issuers, &audience)?;
    let limits = args.limits()?;

    let listener = serve::listen(&args.listen)
        .await
        .map_err(|source| StartError::Listen { address: args.listen.clone(), source })?;
    let address = listener.local_addr().map_err(StartError::Serve)?;
    let page = embedded.as_ref().and_then(|issuer| {
        let dangerous = args.dangerous_expose_page;
        Page::new(verifier.clone(), Arc::clone(issuer), &audience, address, dangerous)
    });
    let has_page = page.is_some();
    if has_page && args.dangerous_expose_page {
        tracing::warn!("whoever reaches this address can mint tokens for this service");
    }
    let app = app::router(verifier.clone())
        .merge(metrics::router(verifier.clone(), recorder))
        .merge(page.map_or_else(Router::new, Page::router));
    // the keys are fetched before the first probe
    verifier.warm_up();
    let mut terminate = signal(SignalKind::terminate()).map_err(StartError::Serve)?;
    let base = format!("http://{address}");
    say(&format!("listening on {base}"));
    if let Some(embedded) = &embedded {
        introduce(&base, embedded, &audience);
        if has_page {
            say(&format!("see what becomes of a token, check by check: {base}/\n"));
        } else {
            say("its page is not served, since others could mint tokens there: see --help\n");
        }
    }

    let (stop, stopped) = tokio::sync::oneshot::channel();
    let signalled = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        // nobody listens once the server has ended
        let _ = stop.send(());
    };
    let served = serve::serve(listener, app, limits, signalled);
    let overdue = async {
        if stopped.await.is_ok() {
            tokio::time::sleep(GRACE).await;
        } else {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = served => {}
        () = overdue => {}
    }
    Ok(())
}

/// Prints what a newcomer can paste.
fn introduce(base: &str, issuer: &TestIssuer, audience: &str) {
    let token = |audience| {
        issuer
            .token()
            .audience(audience)
            .service_account("payments", "checkout")
            .pod("checkout-7d9f8b6c5d-x2x4z")
            .node("node-1")
            .mint()
    };
    let good = token(audience);
    let other = token("somebody-else");
    say(&format!(
        "an issuer of its own is at {issuer_url}\n\n\
         a token for this service, good for an hour:\n\n  \
         curl -i {base}/whoami -H 'Authorization: Bearer {good}'\n\n\
         a token of the same workload for somebody else, which is refused:\n\n  \
         curl -i {base}/whoami -H 'Authorization: Bearer {other}'\n",
        issuer_url = issuer.url(),
    ));
}

/// Prints to whoever reads it; that nobody does is no reason to stop serving.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}
