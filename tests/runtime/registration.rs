//! C-RT-7: a grant is for the client, the server and the scopes that it was asked for by. Settings
//! that change over a restart send nothing of it elsewhere, and lose nothing of it either.

use std::time::Duration;

use tokenward::event::CredentialState;
use tokenward::identity::{Generation, Method};
use tokenward::provider::ProviderSpec;
use tokenward::testing::{Endpoint, SimulatedProvider};

use crate::host::Host;

fn tokens_of(provider: &SimulatedProvider) -> (usize, usize) {
    (provider.token_requests(), provider.requests_at(Endpoint::Revocation).len())
}

/// With `settings` that are for another client or server, ada's sign-in is not used, nothing of it
/// is sent, and she is told `why`. With the old ones it goes on.
async fn is_kept_back(settings: impl Fn(ProviderSpec) -> ProviderSpec, why: &str) {
    let mut host = Host::start().await;
    host.sign_in_openai("ada").await;
    let sent = tokens_of(&host.openai);

    host.restart_with(settings).await;
    host.clock.advance(Duration::from_mins(57));
    let ada = host.runtime.user("ada");
    let credential = ada.preferred_credential("openai").await.expect("it is there");
    let error = credential.acquire().await.expect_err("for another client");
    assert!(error.needs_reauthorization(), "{error}");
    assert!(error.to_string().contains(why), "{error}");
    assert!(credential.refresh().await.is_err());
    let snapshot = credential.snapshot();
    assert_eq!(snapshot.state(), CredentialState::ReauthorizationRequired);
    assert!(snapshot.reason().is_some_and(|reason| reason.contains(why)));
    assert_eq!(tokens_of(&host.openai), sent, "nothing was sent");

    host.restart().await;
    let ada = host.runtime.user("ada");
    let credential = ada.preferred_credential("openai").await.expect("it is there");
    // Past the old token's end, and well before that of one whose renewal is under way by now.
    host.clock.advance(Duration::from_mins(5));
    let renewed = credential.acquire().await.expect("no sign-in is needed");
    assert_eq!(renewed.generation(), Generation(2));
    assert_eq!(host.openai.refreshes(), 1);
}

#[tokio::test]
async fn a_changed_client_keeps_a_grant_back_until_it_is_put_back() {
    is_kept_back(|spec| spec.client("another-client"), "is another-client in the settings now")
        .await;
}

#[tokio::test]
async fn a_changed_server_is_sent_nothing_of_a_grant() {
    let settings = |spec: ProviderSpec| {
        let mut url = spec.oauth.token_endpoint.clone().expect("an endpoint");
        url.set_host(Some("localhost")).expect("a host");
        spec.token_endpoint(url)
    };
    is_kept_back(settings, "authorization server was http://127.0.0.1 and is http://localhost")
        .await;
}

#[tokio::test]
async fn signing_out_under_another_client_erases_and_sends_nothing() {
    let mut host = Host::start().await;
    host.sign_in_openai("ada").await;
    let sent = tokens_of(&host.openai);

    host.restart_with(|spec| spec.client("another-client")).await;
    let done = host.runtime.user("ada").sign_out("openai").await.expect("signed out");

    assert!(!done[0].1.revoked);
    assert_eq!(tokens_of(&host.openai), sent);
    host.restart().await;
    assert!(host.runtime.user("ada").credentials().await.expect("a list").is_empty());
}

#[tokio::test]
async fn a_sign_in_under_the_new_client_takes_the_place_of_the_old_one() {
    let mut host = Host::start().await;
    host.sign_in_openai("ada").await;
    host.restart_with(|spec| spec.client("another-client")).await;

    // As it would come from a sign-in by that client.
    let credential = host.sign_in_openai("ada").await;

    assert_eq!(credential.snapshot().state(), CredentialState::Valid);
    host.restart_with(|spec| spec.client("another-client")).await;
    let ada = host.runtime.user("ada");
    let credential = ada.preferred_credential("openai").await.expect("it is there");
    credential.acquire().await.expect("usable");
}

#[tokio::test]
async fn other_scopes_count_from_the_next_sign_in_and_are_told() {
    let mut host = Host::start().await;
    let credential = host.sign_in_openai("ada").await;
    assert_eq!(credential.snapshot().advice(), None);

    host.restart_with(|spec| spec.scopes(["openid", "everything"])).await;
    let ada = host.runtime.user("ada");
    let credential = ada.preferred_credential("openai").await.expect("it is there");
    let snapshot = credential.refresh().await.expect("renewed as it was");

    let advice = snapshot.advice().expect("an advice");
    assert!(advice.contains("the settings ask for openid everything now"), "{advice}");
    assert!(advice.contains("sign in again"), "{advice}");
}

#[tokio::test]
async fn what_needs_no_user_is_asked_for_anew_with_the_new_scopes() {
    let mut host = Host::start().await;
    let ada = host.runtime.user("ada");
    let id = ada.sign_in("orange").with_client_credentials().await.expect("signed in");
    assert_eq!(id.method, Method::ClientCredentials);
    assert_eq!(host.orange.token_requests(), 1);

    host.restart_with(|spec| match spec.id.as_str() {
        "orange" => spec.scopes(["sms"]),
        _ => spec,
    })
    .await;
    let credential = host.runtime.credential(&id).await.expect("a credential");
    let renewed = credential.acquire().await.expect("a token for the new scopes");

    assert_eq!(renewed.generation(), Generation(2));
    assert_eq!(host.orange.token_requests(), 2);
}
