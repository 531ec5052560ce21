//! One request and its response.

use std::{future::poll_fn, pin::pin, task::Poll};

use http_body_util::{BodyExt as _, Empty};
use hyper::{
    Request, Uri,
    body::Incoming,
    client::conn::http1,
    header::{CONNECTION, HOST, HeaderMap, HeaderValue, USER_AGENT},
};
use hyper_util::rt::TokioIo;

use super::{AGENT, connect::Stream};
use crate::keys::source::{FetchError, FetchResponse};

/// The maximum size of the head of a response, in bytes.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// Sends a GET request and reads the response. The connection ends with the returned future.
pub(super) async fn get(
    stream: Stream,
    uri: &Uri,
    headers: HeaderMap,
    max_body_bytes: usize,
) -> Result<FetchResponse, FetchError> {
    let request = request(uri, headers)?;
    let mut http = http1::Builder::new();
    http.max_buf_size(MAX_HEAD_BYTES);
    let connected = http.handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = connected.map_err(failed)?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(failed)?;
        let (head, body) = response.into_parts();
        let body = read(body, max_body_bytes).await?;
        let response = FetchResponse::new(head.status.as_u16(), body);
        Ok(head.headers.iter().fold(response, |response, (name, value)| match value.to_str() {
            Ok(value) => response.with_header(name.as_str(), value),
            Err(_) => response,
        }))
    };
    let (mut exchange, mut connection) = (pin!(exchange), pin!(connection));
    let mut connected = true;
    // in one task, so that nothing is left when the fetch is abandoned
    poll_fn(|cx| {
        loop {
            if let Poll::Ready(response) = exchange.as_mut().poll(cx) {
                return Poll::Ready(response);
            }
            // its end is the end of the exchange too, and an error of it is reported there
            if !connected || connection.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            connected = false;
        }
    })
    .await
}

fn request(uri: &Uri, mut headers: HeaderMap) -> Result<Request<Empty<&'static [u8]>>, FetchError> {
    let invalid = |error: hyper::http::Error| FetchError::new("invalid URL").with_source(error);
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let host = HeaderValue::from_str(authority).map_err(|error| invalid(error.into()))?;
    headers.insert(HOST, host);
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    // the next request is minutes away, and a server may close an idle connection at any time
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::get(path).body(Empty::new()).map_err(invalid)?;
    *request.headers_mut() = headers;
    Ok(request)
}

/// Reads a body up to a limit, whatever length it claims to have.
async fn read(mut incoming: Incoming, max_bytes: usize) -> Result<Vec<u8>, FetchError> {
    let mut body = Vec::new();
    while let Some(frame) = incoming.frame().await {
        let frame =
            frame.map_err(|error| FetchError::new("the response broke off").with_source(error))?;
        // trailers mean nothing here
        let Ok(data) = frame.into_data() else { continue };
        if body.len() + data.len() > max_bytes {
            return Err(FetchError::new(format!("the response has more than {max_bytes} bytes")));
        }
        body.extend_from_slice(&data);
    }
    Ok(body)
}

fn failed(error: hyper::Error) -> FetchError {
    FetchError::new("the request failed").with_source(error)
}
