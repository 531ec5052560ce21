//! Nothing of a token is shown.

use super::*;
use kube_oidc_tests::DeadPort;

#[tokio::test]
async fn nothing_of_a_token_is_shown() {
    let issuer = TestIssuer::start();
    let named = Named::start().await;
    let volume = Volume::holding(minted(&issuer).mint());
    volume.assert_hidden_in(&format!("{:?}", volume.layer()));
    let layer = volume.layer().for_origin(named.origin());
    let port = DeadPort::new();
    let dead = port.address();
    let layer = layer.merge(volume.layer().for_channel(origin(&format!("http://{dead}"))));
    get_url(&layer, named.url()).await.unwrap();
    assert_eq!(named.seen().len(), 1);

    let service = layer.layer(http());
    volume.assert_hidden_in(&format!("{layer:?} {service:?}"));
    volume.assert_hidden_in(&format!("{:?}", service.clone().oneshot(request(named.url()))));
    volume.assert_hidden_in(&format!(
        "{:?}",
        tower::Service::call(&mut service.clone(), request(named.url()))
    ));
    // it was on its way when the client failed
    let error = get_url(&layer, format!("http://{dead}")).await.unwrap_err();
    assert!(matches!(error, CallError::Client(_)), "{error:?}");
    volume.assert_hidden_in(&shown(&error));
    let status = grpc(HealthClient::new(layer.layer(channel(dead)))).await.unwrap_err();
    volume.assert_hidden_in(&shown(&status));
    // so it was looked for in a log that tells of these calls
    assert!(volume.log.text().contains(&dead.to_string()));
}

#[test]
fn the_search_finds_what_it_looks_for() {
    let token = minted(&TestIssuer::start()).mint();
    let volume = Volume::holding(&token);
    assert_eq!(volume.shown_in("nothing of it"), None);
    for at in [0, token.len() / 2, token.len() - 20] {
        assert!(volume.shown_in(&format!("token=\"{}\" x", &token[at..at + 20])).is_some());
    }
    assert!(volume.shown_in(&format!("Some(\"{SECRET}\")")).is_some());
}
