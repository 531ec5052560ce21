//! Calls by callers of several kinds, and what each must be answered.

use std::net::SocketAddr;

use kube_oidc_testing::TestIssuer;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Code, Request, Status,
    metadata::{Ascii, MetadataValue, errors::InvalidMetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

use crate::{
    AUDIENCE,
    generated::{
        GetOrderRequest, Order, PlaceOrdersRequest, WatchOrdersRequest, orders_client::OrdersClient,
    },
    say,
};

/// Why the calls did not go as they should.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    #[error("cannot connect")]
    Connect(#[from] tonic::transport::Error),
    #[error("the token does not fit into a header")]
    Token(#[from] InvalidMetadataValue),
    #[error("{call}: expected {expected}, but the answer is {answer}")]
    Answer { call: &'static str, expected: &'static str, answer: String },
}

/// Makes all calls, and prints a line for each.
pub(crate) async fn run(server: SocketAddr, issuer: &TestIssuer) -> Result<(), CallError> {
    let channel = Endpoint::from_shared(format!("http://{server}"))?.connect().await?;
    let client = |token| client(&channel, token);
    let token = |audience, name| {
        Some(issuer.token().audience(audience).service_account("payments", name).mint())
    };

    let mut checkout = client(token(AUDIENCE, "checkout"))?;
    check(
        "GetOrder by payments/checkout",
        get_order(&mut checkout).await,
        "order 1 (tea) for payments/checkout",
    )?;
    check(
        "WatchOrders by payments/checkout",
        watch_orders(&mut checkout).await,
        "order 1 (tea), order 3 (milk)",
    )?;
    check(
        "PlaceOrders by payments/checkout",
        place_orders(&mut checkout, ["bread", "salt"]).await,
        "order 4 (bread), order 5 (salt)",
    )?;

    let refused = [
        ("GetOrder without a token", None, "UNAUTHENTICATED"),
        ("GetOrder with a token for refunds", token("refunds", "checkout"), "UNAUTHENTICATED"),
        ("GetOrder by payments/report", token(AUDIENCE, "report"), "PERMISSION_DENIED"),
    ];
    for (call, token, code) in refused {
        check(call, get_order(&mut client(token)?).await, code)?;
    }
    Ok(())
}

/// Prints the answer if it is the expected one: a text, or the name of a code.
fn check(
    call: &'static str,
    answer: Result<String, Status>,
    expected: &'static str,
) -> Result<(), CallError> {
    let (answer, detail) = match answer {
        Ok(text) => (text, String::new()),
        Err(status) => (name(status.code()), format!(": {}", status.message())),
    };
    if answer != expected {
        return Err(CallError::Answer { call, expected, answer: answer + &detail });
    }
    say(&format!("{call}: {answer}{detail}"));
    Ok(())
}

/// The codes that are expected here by their names in gRPC, others as tonic calls them.
fn name(code: Code) -> String {
    match code {
        Code::PermissionDenied => "PERMISSION_DENIED".to_owned(),
        Code::Unauthenticated => "UNAUTHENTICATED".to_owned(),
        other => format!("{other:?}"),
    }
}

async fn get_order(client: &mut Client) -> Result<String, Status> {
    let answer = client.get_order(GetOrderRequest { id: 1 }).await?.into_inner();
    Ok(format!("{} for {}", show(answer.order), answer.caller))
}

async fn watch_orders(client: &mut Client) -> Result<String, Status> {
    let mut answers = client.watch_orders(WatchOrdersRequest {}).await?.into_inner();
    let mut seen = Vec::new();
    while let Some(answer) = answers.message().await? {
        seen.push(show(answer.order));
    }
    Ok(seen.join(", "))
}

/// Places each order after the answer to the one before it: both streams are open at once.
async fn place_orders(
    client: &mut Client,
    items: impl IntoIterator<Item = &str>,
) -> Result<String, Status> {
    let (place, placed) = mpsc::channel(1);
    let mut answers = client.place_orders(ReceiverStream::new(placed)).await?.into_inner();
    let mut seen = Vec::new();
    for item in items {
        // that the other side is gone is said better by the answer
        let _ = place.send(PlaceOrdersRequest { item: item.to_owned() }).await;
        if let Some(answer) = answers.message().await? {
            seen.push(show(answer.order));
        }
    }
    Ok(seen.join(", "))
}

fn show(order: Option<Order>) -> String {
    order.map_or_else(
        || "no order".to_owned(),
        |order| format!("order {} ({})", order.id, order.item),
    )
}

type Client = OrdersClient<InterceptedService<Channel, SendToken>>;

fn client(channel: &Channel, token: Option<String>) -> Result<Client, InvalidMetadataValue> {
    let header = token.map(|token| format!("Bearer {token}").parse()).transpose()?;
    Ok(OrdersClient::with_interceptor(channel.clone(), SendToken(header)))
}

/// Puts the token of the caller, if it has one, into every call.
///
/// A pod's client reads it from the file of its projected volume, and does so again and again: the
/// kubelet replaces a token before it expires.
#[derive(Clone, Debug)]
struct SendToken(Option<MetadataValue<Ascii>>);

impl Interceptor for SendToken {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(header) = &self.0 {
            request.metadata_mut().insert("authorization", header.clone());
        }
        Ok(request)
    }
}
