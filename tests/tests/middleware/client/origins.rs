//! A token goes to the origin that was named for it, and nowhere else.

use std::{
    fs,
    sync::{Arc, Mutex},
};

use super::*;
use http::{
    HeaderMap, HeaderValue, Method, Uri,
    header::{AUTHORIZATION, HOST},
};
use tower_http::follow_redirect::{FollowRedirectLayer, policy::Limited};
use tower_kube_oidc::TokenFileError;

#[tokio::test]
async fn a_call_says_who_calls() {
    let issuer = TestIssuer::start();
    let server = http_callee(&issuer).await;
    let volume = Volume::holding(minted(&issuer).mint());
    let layer = volume.layer().for_origin(origin(&server.url()));
    let answered = get_url(&layer, server.url()).await;
    assert_eq!(text(answered).await, "system:serviceaccount:payments:checkout");
}

#[tokio::test]
async fn a_call_over_a_channel_says_who_calls() {
    let issuer = TestIssuer::start();
    let server = grpc_callee(&issuer).await;
    let volume = Volume::holding(minted(&issuer).mint());
    let layer = volume.layer().for_channel(origin(&server.url()));
    let channel = channel(server.address());
    assert_eq!(
        grpc(HealthClient::new(layer.layer(channel.clone()))).await.unwrap(),
        "payments/checkout"
    );
    // a client that says where it goes
    let uri: Uri = server.url().parse().unwrap();
    let client = HealthClient::with_origin(layer.layer(channel.clone()), uri);
    assert_eq!(grpc(client).await.unwrap(), "payments/checkout");
    // beside the tokens for others
    let other = Volume::holding(issuer.token().audience("ledger").mint());
    let layer = other.layer().for_origin(origin("https://ledger.shop.svc")).merge(layer);
    assert_eq!(grpc(HealthClient::new(layer.layer(channel))).await.unwrap(), "payments/checkout");
}

// rule: client-origins
#[tokio::test]
async fn no_host_but_the_named_one_sees_anything() {
    let issuer = TestIssuer::start();
    let (named, stranger) = (Named::start().await, Stranger::start().await);
    let (n, s) = (named.address().port(), stranger.address.port());
    let volume = Volume::holding(minted(&issuer).mint());
    let layer = volume.layer().for_origin(named.origin());
    for (uri, goes_to) in [
        // another port, another scheme, no port
        (format!("http://127.0.0.1:{s}"), format!("http://127.0.0.1:{s}")),
        (format!("https://127.0.0.1:{n}"), format!("https://127.0.0.1:{n}")),
        (format!("https://127.0.0.1:{s}"), format!("https://127.0.0.1:{s}")),
        ("http://127.0.0.1".to_owned(), "http://127.0.0.1:80".to_owned()),
        // other names of that host, and names that look like it
        (format!("http://localhost:{n}"), format!("http://localhost:{n}")),
        (format!("http://LocalHost:{s}"), format!("http://localhost:{s}")),
        (format!("http://127.0.0.1.:{n}"), format!("http://127.0.0.1.:{n}")),
        (format!("http://127.1:{n}"), format!("http://127.1:{n}")),
        (format!("http://2130706433:{n}"), format!("http://2130706433:{n}")),
        (format!("http://[::ffff:127.0.0.1]:{n}"), format!("http://[::ffff:127.0.0.1]:{n}")),
        (format!("http://127.0.0.1.localhost:{s}"), format!("http://127.0.0.1.localhost:{s}")),
        // the named one as a user, with and without a password
        (format!("http://127.0.0.1@127.0.0.1:{s}"), format!("http://127.0.0.1:{s}")),
        (format!("http://127.0.0.1:{n}@127.0.0.1:{s}"), format!("http://127.0.0.1:{s}")),
        (format!("http://127.0.0.1:{n}@localhost"), "http://localhost:80".to_owned()),
        // and as everything that comes after
        (format!("http://127.0.0.1:{s}/@127.0.0.1:{n}"), format!("http://127.0.0.1:{s}")),
        (format!("http://127.0.0.1:{s}?@127.0.0.1:{n}"), format!("http://127.0.0.1:{s}")),
    ] {
        let error = not_sent(get_url(&layer, &uri).await);
        volume.assert_hidden_in(&shown(&error));
        match error {
            TokenError::NoTokenForOrigin(origin) => {
                assert_eq!(origin.to_string(), goes_to, "{uri}");
            }
            other => panic!("{uri}: {other:?}"),
        }
    }
    let claims_to_be_named = HeaderValue::from_str(&named.address().to_string()).unwrap();
    for (method, uri) in [
        (Method::GET, "/".to_owned()),
        (Method::OPTIONS, "*".to_owned()),
        (Method::CONNECT, stranger.address.to_string()),
        (Method::CONNECT, named.address().to_string()),
        (Method::GET, format!("ftp://127.0.0.1:{n}")),
        (Method::GET, format!("ws://127.0.0.1:{n}")),
    ] {
        let mut request = request("/");
        *request.method_mut() = method;
        *request.uri_mut() = uri.parse().unwrap();
        request.headers_mut().insert(HOST, claims_to_be_named.clone());
        let error = not_sent(send(&layer, request).await);
        assert!(matches!(error, TokenError::UnknownDestination), "{uri}: {error:?}");
    }
    // a header that lies about where the request goes
    let mut request = request(format!("http://127.0.0.1:{s}"));
    request.headers_mut().insert(HOST, claims_to_be_named);
    let error = not_sent(send(&layer, request).await);
    assert!(matches!(error, TokenError::NoTokenForOrigin(_)), "{error:?}");

    stranger.assert_untouched().await;
    assert_eq!(named.seen(), [] as [Vec<String>; 0]);
}

#[tokio::test]
async fn the_named_host_is_known_however_it_is_written() {
    let issuer = TestIssuer::start();
    let (named, stranger) = (Named::start().await, Stranger::start().await);
    let (n, s) = (named.address().port(), stranger.address.port());
    let token = minted(&issuer).mint();
    let volume = Volume::holding(&token);
    let by_address = volume.layer().for_origin(named.origin());
    let by_name = volume.layer().for_origin(origin(&format!("http://LocalHost:{n}/")));
    for (layer, uri) in [
        (&by_address, format!("HTTP://127.0.0.1:{n}/orders?all#top")),
        // here the stranger is the user
        (&by_address, format!("http://127.0.0.1:{s}@127.0.0.1:{n}")),
        (&by_name, format!("http://localhost:{n}")),
        (&by_name, format!("http://LOCALHOST:{n}")),
    ] {
        let answer = get_url(layer, &uri).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{uri}");
        assert_eq!(named.seen(), [bearer(&token)], "{uri}");
    }
    let error = not_sent(get_url(&by_name, named.url()).await);
    assert!(matches!(error, TokenError::NoTokenForOrigin(_)), "{error:?}");
    stranger.assert_untouched().await;
}

#[tokio::test]
async fn what_is_no_port_is_no_origin() {
    let volume = Volume::holding(minted(&TestIssuer::start()).mint());
    let layer = volume.layer().for_origin(origin("http://127.0.0.1"));
    // whoever misspells a port did not mean the default one
    for port in ["", "65536", "99999", "80x", "-1", "x127.0.0.1", "8443127.0.0.1"] {
        let text = format!("http://127.0.0.1:{port}");
        assert!(text.parse::<Origin>().is_err(), "{text}");
        for text in
            [text.clone(), text.replace("//", "//user@"), text.replace("//", "//127.0.0.1@")]
        {
            let error = not_sent(get_url(&layer, &text).await);
            assert!(matches!(error, TokenError::UnknownDestination), "{text}: {error:?}");
        }
    }
}

// rule: client-origins
#[tokio::test]
async fn a_redirect_to_another_host_ends_the_call() {
    let issuer = TestIssuer::start();
    let stranger = Stranger::start().await;
    let s = stranger.address.port();
    let token = minted(&issuer).mint();
    let volume = Volume::holding(&token);
    for status in [301, 302, 303, 307, 308] {
        for location in [
            format!("http://127.0.0.1:{s}/"),
            format!("//127.0.0.1:{s}/"),
            format!("\\\\127.0.0.1:{s}\\"),
            format!("http://127.0.0.1@127.0.0.1:{s}/"),
            format!("http://localhost:{s}/"),
            format!("https://127.0.0.1:{s}/"),
        ] {
            let named = Named::answering(StatusCode::from_u16(status).unwrap(), &location).await;
            let layer = volume.layer().for_origin(named.origin());
            // this policy takes the headers along to wherever it is told to go
            let client =
                FollowRedirectLayer::with_policy(Limited::default()).layer(layer.layer(http()));
            let mut request = request(named.url());
            request.headers_mut().insert(AUTHORIZATION, HeaderValue::from_static("Bearer own"));
            let error = not_sent(client.oneshot(request).await);
            assert!(matches!(error, TokenError::NoTokenForOrigin(_)), "{location}: {error:?}");
            assert_eq!(named.seen(), [bearer(&token)], "{location}");
        }
    }
    stranger.assert_untouched().await;
}

// rule: client-origins
#[tokio::test]
async fn between_named_hosts_each_is_sent_its_own_token() {
    let issuer = TestIssuer::start();
    let ledger = Named::start().await;
    let orders = Named::answering(StatusCode::TEMPORARY_REDIRECT, &ledger.url()).await;
    let (for_orders, for_ledger) =
        (minted(&issuer).mint(), minted(&issuer).audience("ledger").mint());
    let (one, two) = (Volume::holding(&for_orders), Volume::holding(&for_ledger));
    let layer = one.layer().for_origin(orders.origin());
    let layer = layer.merge(two.layer().for_origin(ledger.origin()));
    let client = FollowRedirectLayer::with_policy(Limited::default()).layer(layer.layer(http()));
    assert_eq!(client.oneshot(request(orders.url())).await.unwrap().status(), StatusCode::OK);
    assert_eq!(orders.seen(), [bearer(&for_orders)]);
    assert_eq!(ledger.seen(), [bearer(&for_ledger)]);

    // where two layers name one origin, the first counts
    let layer =
        two.layer().for_origin(ledger.origin()).merge(one.layer().for_origin(ledger.origin()));
    get_url(&layer, ledger.url()).await.unwrap();
    assert_eq!(ledger.seen(), [bearer(&for_ledger)]);
    // the token of the one is no reason to call the other, if that has none
    fs::remove_file(one.token_file()).unwrap();
    let layer =
        one.layer().for_origin(orders.origin()).merge(two.layer().for_origin(ledger.origin()));
    let error = not_sent(get_url(&layer, orders.url()).await);
    assert!(matches!(error, TokenError::File(TokenFileError::Read { .. })), "{error:?}");
    assert_eq!(orders.seen(), [] as [Vec<String>; 0]);
}

#[tokio::test]
async fn an_authorization_of_the_request_is_replaced_and_the_new_one_is_hidden() {
    let issuer = TestIssuer::start();
    let named = Named::start().await;
    let token = minted(&issuer).mint();
    let volume = Volume::holding(&token);
    let layer = volume.layer().for_origin(named.origin());
    let below = Arc::new(Mutex::new(HeaderMap::new()));
    let see = Arc::clone(&below);
    let client = http().map_request(move |request: Request<Full<Bytes>>| {
        see.lock().unwrap().clone_from(request.headers());
        request
    });
    let mut request = request(named.url());
    for other in ["Bearer other", "Basic dXNlcjpwYXNz"] {
        request.headers_mut().append(AUTHORIZATION, HeaderValue::from_static(other));
    }
    layer.layer(client).oneshot(request).await.unwrap();
    assert_eq!(named.seen(), [bearer(&token)]);
    let headers = below.lock().unwrap();
    assert!(headers[AUTHORIZATION].is_sensitive());
    volume.assert_hidden_in(&format!("{headers:?}"));
}

/// A gateway that several share may go by it.
// rule: client-origins
#[tokio::test]
async fn a_host_header_that_names_somebody_else_ends_the_call() {
    let issuer = TestIssuer::start();
    let named = Named::start().await;
    let token = minted(&issuer).mint();
    let volume = Volume::holding(&token);
    let layer = volume.layer().for_origin(named.origin());
    for host in [
        "evil.test",
        "evil.test@127.0.0.1",
        "127.0.0.1/evil",
        "127.0.0.1",
        "127.0.0.1:1",
        "",
        "a b",
    ] {
        let mut request = request(named.url());
        request.headers_mut().insert("host", HeaderValue::from_static(host));
        let error = not_sent(layer.layer(http()).oneshot(request).await);
        assert!(
            matches!(error, TokenError::NoTokenForOrigin(_) | TokenError::UnknownDestination),
            "{error}"
        );
    }
    assert!(named.seen().is_empty());
    let same = named.url().trim_start_matches("http://").trim_end_matches('/').to_owned();
    let mut request = request(named.url());
    request.headers_mut().insert("host", same.parse().unwrap());
    layer.layer(http()).oneshot(request).await.unwrap();
    assert_eq!(named.seen(), [bearer(&token)]);
}

// rule: client-origins
#[tokio::test]
async fn a_channel_that_hides_where_it_goes_needs_a_layer_of_its_own() {
    let issuer = TestIssuer::start();
    let (stranger, other) = (Stranger::start().await, Stranger::start().await);
    let volume = Volume::holding(minted(&issuer).mint());
    let here = origin(&format!("http://{}", stranger.address));
    let there = origin(&format!("http://{}", other.address));
    let channel = channel(stranger.address);

    let for_origin = volume.layer().for_origin(here.clone());
    let two_channels = volume.layer().for_channel(here.clone());
    let two_channels = two_channels.merge(volume.layer().for_channel(there.clone()));
    for layer in [for_origin, two_channels] {
        let error = not_sent_by_grpc(grpc(HealthClient::new(layer.layer(channel.clone()))).await);
        assert!(matches!(error, TokenError::UnknownDestination), "{error:?}");
    }
    // made for this channel, but the client says that it goes elsewhere
    let layer = volume.layer().for_channel(here);
    let uri: Uri = format!("http://{}", other.address).parse().unwrap();
    let client = HealthClient::with_origin(layer.layer(channel), uri);
    let error = not_sent_by_grpc(grpc(client).await);
    assert!(
        matches!(&error, TokenError::NoTokenForOrigin(origin) if *origin == there),
        "{error:?}"
    );
    stranger.assert_untouched().await;
    other.assert_untouched().await;
}
