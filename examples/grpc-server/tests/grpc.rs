//! The real binary.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "../src/generated/mod.rs"]
mod generated;

use std::{
    io::{BufRead as _, BufReader},
    net::TcpListener,
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use tonic::{Code, Request, transport::Endpoint};

use self::generated::{GetOrderRequest, orders_client::OrdersClient};

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_grpc-server"));
    command.args(args);
    command
}

/// Ends with the test, however that ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn every_call_is_answered_as_it_deserves() {
    let output = command(&[]).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stderr}");
    assert_eq!(stderr, "");
    let stdout = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = stdout.lines().collect();
    let expected = [
        "GetOrder by payments/checkout: order 1 (tea) for payments/checkout",
        "WatchOrders by payments/checkout: order 1 (tea), order 3 (milk)",
        "PlaceOrders by payments/checkout: order 4 (bread), order 5 (salt)",
        "GetOrder without a token: UNAUTHENTICATED: ",
        "GetOrder with a token for refunds: UNAUTHENTICATED: ",
        "GetOrder by payments/report: PERMISSION_DENIED: ",
    ];
    assert_eq!(lines.len(), expected.len(), "{stdout}");
    for (line, expected) in lines.into_iter().zip(expected) {
        // what a refusal says after its code is for people
        assert!(
            line == expected || expected.ends_with(": ") && line.starts_with(expected),
            "{line}"
        );
    }
}

#[tokio::test]
async fn it_serves_until_ctrl_c_and_the_call_to_try_works() {
    let mut command = command(&["--serve", "--listen", "127.0.0.1:0"]);
    let mut server = Running(command.stdout(Stdio::piped()).spawn().unwrap());
    let lines = BufReader::new(server.0.stdout.take().unwrap()).lines();
    let call = lines.map(Result::unwrap).find(|line| line.contains("grpcurl")).unwrap();
    let header = call.split('\'').nth(1).unwrap().strip_prefix("authorization: ").unwrap();
    let address = call.split(' ').rev().nth(1).unwrap();

    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let mut client = OrdersClient::new(endpoint.connect().await.unwrap());
    let mut get_order = async |id| {
        let mut request = Request::new(GetOrderRequest { id });
        request.metadata_mut().insert("authorization", header.parse().unwrap());
        client.get_order(request).await
    };
    assert_eq!(get_order(1).await.unwrap().into_inner().caller, "payments/checkout");
    // that of another namespace
    assert_eq!(get_order(2).await.unwrap_err().code(), Code::NotFound);

    kill_process(Pid::from_child(&server.0), Signal::INT).unwrap();
    assert!(server.0.wait().unwrap().success());
}

#[test]
fn what_cannot_work_is_one_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let output = command(&["--serve", "--listen", &taken]).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    let begins = format!("grpc-server: cannot listen on {taken}: ");
    assert!(stderr.starts_with(&begins) && stderr.lines().count() == 1, "{stderr}");
    assert_eq!(output.stdout, b"");
    // an address without --serve is a mistake
    assert_eq!(command(&["--listen", &taken]).output().unwrap().status.code(), Some(2));
}
