//! Signing in through a browser, end to end: the listener, the paste, and what a stranger tries.

use std::time::Duration;

use tokenward::event::{CredentialState, EventKind};

use crate::host::{Host, until};

#[tokio::test]
async fn a_browser_that_comes_back_signs_the_user_in() {
    let host = Host::start().await;
    let ada = host.runtime.user("ada");
    let login = ada.sign_in("anthropic").in_browser().await.expect("a sign-in");

    let callback = host.anthropic.approve(login.url()).expect("consent");
    let page = browse(&callback).await;
    let credential = login.finished().await.expect("signed in");

    assert_eq!(page.0, 200);
    assert!(page.1.contains("signed in") || page.1.contains("Signed in"), "{}", page.1);
    let stored = host.runtime.credential(&credential).await.expect("there");
    assert_eq!(stored.acquire().await.expect("usable").state(), CredentialState::Valid);
}

#[tokio::test]
async fn what_the_provider_shows_can_be_pasted() {
    let host = Host::start().await;
    let ada = host.runtime.user("ada");
    let login = ada.sign_in("anthropic").by_paste().await.expect("a sign-in");
    let shown = host.anthropic.approve_for_paste(login.url()).expect("consent");
    assert!(shown.contains('#'), "anthropic shows code#state");

    login.paste(&shown).await.expect("accepted");

    assert!(login.finished().await.is_ok());
    assert_eq!(ada.credentials().await.expect("a list").len(), 1);
}

#[tokio::test]
async fn a_wrong_state_is_refused_and_the_sign_in_goes_on() {
    let host = Host::start().await;
    let ada = host.runtime.user("ada");
    let login = ada.sign_in("anthropic").in_browser().await.expect("a sign-in");
    let callback = host.anthropic.approve(login.url()).expect("consent");
    let mut forged = url::Url::parse(&callback).expect("a url");
    forged.query_pairs_mut().clear().append_pair("code", "stolen").append_pair("state", "guessed");

    assert_eq!(browse(forged.as_str()).await.0, 400);
    let mut stray = forged.clone();
    stray.set_path("/favicon.ico");
    assert_eq!(browse(stray.as_str()).await.0, 404);
    assert!(!login.is_over());
    assert_eq!(host.anthropic.token_requests(), 0);

    assert_eq!(browse(&callback).await.0, 200);
    assert!(login.finished().await.is_ok());
}

#[tokio::test]
async fn a_malformed_paste_says_what_to_paste_and_changes_nothing() {
    let host = Host::start().await;
    let login = host.runtime.user("ada").sign_in("anthropic").by_paste().await.expect("a sign-in");
    for nonsense in ["", "   ", "https://example.com/?nothing=here", "a b c", "#"] {
        let error = login.paste(nonsense).await.expect_err("nonsense");
        assert!(error.is_invalid_input(), "{nonsense:?}: {error}");
    }
    assert!(!login.is_over());
    assert!(host.runtime.user("ada").credentials().await.expect("a list").is_empty());
    assert_eq!(host.anthropic.token_requests(), 0);
}

#[tokio::test]
async fn a_sign_in_expires_and_says_to_begin_again() {
    let host = Host::start().await;
    let mut events = host.runtime.events();
    let login = host.runtime.user("ada").sign_in("anthropic").by_paste().await.expect("a sign-in");
    let shown = host.anthropic.approve_for_paste(login.url()).expect("consent");

    host.clock.advance(Duration::from_mins(11));
    until(&mut events, |kind| matches!(kind, EventKind::LoginFailed { .. })).await;

    assert!(login.finished().await.expect_err("expired").is_expired());
    login.paste(&shown).await.expect_err("too late");
    assert!(host.runtime.user("ada").credentials().await.expect("a list").is_empty());
}

#[tokio::test]
async fn a_user_who_refuses_is_told_so() {
    let host = Host::start().await;
    let login =
        host.runtime.user("ada").sign_in("anthropic").in_browser().await.expect("a sign-in");
    let callback = host.anthropic.deny(login.url()).expect("a refusal");
    browse(&callback).await;
    let error = login.finished().await.expect_err("refused");
    assert!(error.needs_reauthorization(), "{error}");
}

#[tokio::test]
async fn another_front_end_can_complete_a_sign_in() {
    let host = Host::start().await;
    let ada = host.runtime.user("ada");
    let login = ada.sign_in("anthropic").by_paste().await.expect("a sign-in");
    let shown = host.anthropic.approve_for_paste(login.url()).expect("consent");
    let (id, user) = (login.id().clone(), ada.id().expect("a name").clone());

    let elsewhere = host.runtime.logins().find(&user, &id).expect("pending");
    elsewhere.paste(&shown).await.expect("accepted");

    assert!(login.finished().await.is_ok());
    assert!(host.runtime.logins().find(&user, &id).is_none());
}

/// What a browser gets at `url`: the status and the page.
pub(crate) async fn browse(url: &str) -> (u16, String) {
    use http_body_util::BodyExt as _;
    let connector = hyper_util::client::legacy::connect::HttpConnector::new();
    let client: hyper_util::client::legacy::Client<_, http_body_util::Empty<bytes::Bytes>> =
        hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
            .build(connector);
    let reply = client.get(url.parse().expect("a url")).await.expect("an answer");
    let status = reply.status().as_u16();
    let body = reply.into_body().collect().await.expect("a body").to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}
