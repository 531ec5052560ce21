//! An axum app on a free port of loopback.

use std::net::SocketAddr;

use axum::{Router, extract::Request, response::Response};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::Capture;

/// A real HTTP server, which ends with the test.
#[derive(Debug)]
pub struct HttpServer {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl HttpServer {
    /// Serves an app.
    pub async fn start(app: Router) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let task = tokio::spawn(async move {
            axum::serve(listener, app).await.expect("a server that serves");
        });
        Self { address, task }
    }

    /// Replays captures, each at its path.
    pub async fn replaying(captures: &[(&'static str, &str)]) -> Self {
        let mut app = Router::new();
        for (path, name) in captures {
            let capture = Capture::read(name);
            let answer = move |_: Request| {
                let response: Response = capture.response();
                std::future::ready(response)
            };
            app = app.route(path, axum::routing::get(answer));
        }
        Self::start(app).await
    }

    /// Its URL, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}
