//! A tonic server that asks its callers for a `ServiceAccount` token, and a client that calls it
//! with good ones and others.
//!
//! Both are on this machine and speak plain text; between machines a bearer token needs TLS.

mod client;
mod generated;
mod service;

use std::{
    error::Error,
    io::Write as _,
    iter,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    process::ExitCode,
};

use clap::Parser;
use kube_oidc_testing::TestIssuer;
use tonic::{
    service::LayerExt as _,
    transport::{Server, server::TcpIncoming},
};
use tower_kube_oidc::{
    AuthorizeLayer, IssuerUrl, IssuerUrlError, OidcAuthLayer, OidcAuthLayerError, PolicyError,
    in_namespace,
};

use self::{client::CallError, generated::orders_server::OrdersServer, service::OrderBook};

/// The audience of this server: what callers ask for in their projected token.
const AUDIENCE: &str = "orders";

const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A tonic server behind an OIDC layer for Kubernetes tokens, and a client that calls it
///
/// The issuer of the tokens is one of its own.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Serve until ctrl-c instead of calling, and print a call to try
    #[arg(long)]
    serve: bool,

    /// Where to listen
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:50051", requires = "serve")]
    listen: SocketAddr,
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the issuer cannot be used")]
    Issuer(#[from] IssuerUrlError),
    #[error("the layer cannot be used")]
    Layer(#[from] OidcAuthLayerError),
    #[error("the policy cannot be used")]
    Policy(#[from] PolicyError),
    #[error("cannot listen on {0}")]
    Listen(SocketAddr, #[source] std::io::Error),
    #[error("cannot serve")]
    Serve(#[from] tonic::transport::Error),
    #[error("cannot wait for ctrl-c")]
    Signal(#[source] std::io::Error),
    #[error(transparent)]
    Call(#[from] CallError),
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // one line, with the causes
            let chain = iter::successors(Some(&failure as &dyn Error), |error| (*error).source());
            let chain: Vec<String> = chain.map(ToString::to_string).collect();
            let _ = writeln!(std::io::stderr(), "grpc-server: {}", chain.join(": "));
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &Args) -> Result<(), Failure> {
    let issuer = TestIssuer::start();
    let listen = if args.serve { args.listen } else { ANY_PORT };
    let cannot_listen = |error| Failure::Listen(listen, error);
    let incoming = TcpIncoming::bind(listen).map_err(cannot_listen)?;
    let address = incoming.local_addr().map_err(cannot_listen)?;

    let until = async {
        if args.serve {
            introduce(address, &issuer);
            tokio::signal::ctrl_c().await.map_err(Failure::Signal)
        } else {
            Ok(client::run(address, &issuer).await?)
        }
    };
    tokio::select! {
        // in this order: once a call is answered, ctrl-c is listened for
        biased;
        done = until => done,
        ended = serve(incoming, issuer.url().parse()?) => ended,
    }
}

/// Every call needs a token for this server; those about orders, the token of the one workload
/// that may.
async fn serve(incoming: TcpIncoming, issuer: IssuerUrl) -> Result<(), Failure> {
    let authenticated = OidcAuthLayer::builder(issuer).audience(AUDIENCE).build()?;
    let policy = AuthorizeLayer::only(in_namespace("payments").service_account("checkout"))?;
    let orders = policy.named_layer(OrdersServer::new(OrderBook::new()));
    let server = Server::builder().layer(authenticated).add_service(orders);
    Ok(server.serve_with_incoming(incoming).await?)
}

/// Prints what a newcomer can paste.
fn introduce(address: SocketAddr, issuer: &TestIssuer) {
    let token = issuer.token().audience(AUDIENCE).service_account("payments", "checkout").mint();
    say(&format!(
        "listening on {address}\n\n\
         a call by payments/checkout, whose token is good for an hour:\n\n  \
         grpcurl -plaintext -import-path examples/grpc-server/proto -proto orders/v1/orders.proto \
         -H 'authorization: Bearer {token}' -d '{{\"id\": 1}}' {address} orders.v1.Orders/GetOrder\n"
    ));
}

/// Prints to whoever reads it; that nobody does changes nothing.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn another_answer_than_expected_is_an_error() {
        let (trusted, other) = (TestIssuer::start(), TestIssuer::start());
        let incoming = TcpIncoming::bind(ANY_PORT).unwrap();
        let address = incoming.local_addr().unwrap();
        tokio::spawn(serve(incoming, trusted.url().parse().unwrap()));
        let error = client::run(address, &other).await.unwrap_err().to_string();
        let begins = "GetOrder by payments/checkout: expected order 1 (tea) for payments/checkout, \
                      but the answer is UNAUTHENTICATED: ";
        assert!(error.starts_with(begins), "{error}");
    }
}
