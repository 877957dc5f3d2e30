//! Google from the consent to the sign-out: what it wants in the address, that its refresh tokens
//! do not rotate, the project that is billed, and the answers that need a new sign-in.

use std::collections::HashMap;
use std::time::Duration;

use tokenward::credential::CredentialHandle;
use tokenward::event::{CredentialState, EventKind};
use tokenward::identity::Method;
use tokenward::testing::{Endpoint, Fault, RecordedRequest};

use crate::host::{Host, PROJECT, until};

async fn sign_in(host: &Host) -> CredentialHandle {
    let login = host.runtime.user("ada").sign_in("google").by_paste().await.expect("a sign-in");
    let callback = host.google.approve(login.url()).expect("the address is as Google wants it");
    login.paste(&callback).await.expect("accepted");
    let id = login.finished().await.expect("signed in");
    host.runtime.credential(&id).await.expect("there")
}

fn form(request: &RecordedRequest) -> HashMap<String, String> {
    request.form().into_iter().collect()
}

fn last_exchange(host: &Host) -> HashMap<String, String> {
    form(&host.google.requests_at(Endpoint::Token).pop().expect("an exchange"))
}

#[tokio::test]
async fn a_consent_brings_a_refresh_token_that_is_good_for_every_renewal() {
    let host = Host::start().await;
    let login = host.runtime.user("ada").sign_in("google").by_paste().await.expect("a sign-in");
    let url = url::Url::parse(login.url()).expect("a url");
    let asked: HashMap<_, _> = url.query_pairs().into_owned().collect();
    assert_eq!(asked["access_type"], "offline");
    assert_eq!(asked["prompt"], "consent");
    assert_eq!(asked["code_challenge_method"], "S256");
    assert!(asked["redirect_uri"].starts_with("http://127.0.0.1:"), "{asked:?}");
    login.cancel().await;

    let credential = sign_in(&host).await;
    let exchange = last_exchange(&host);
    assert_eq!(exchange["grant_type"], "authorization_code");
    let secret = host.google.client_secret().expect("a desktop client has one").expose();
    assert_eq!(exchange["client_secret"], secret);
    assert!(exchange.contains_key("code_verifier"));

    // C-RT-1: an answer without a refresh token keeps the old one.
    let mut events = host.runtime.events();
    let mut spent = Vec::new();
    for _ in 0..3 {
        host.clock.advance(Duration::from_mins(57));
        until(&mut events, |kind| matches!(kind, EventKind::Refreshed { .. })).await;
        let renewal = last_exchange(&host);
        assert_eq!(renewal["client_secret"], secret);
        spent.push(renewal["refresh_token"].clone());
    }
    assert!(spent.iter().all(|token| *token == spent[0]), "the same one each time");
    let counters = host.google.counters();
    assert_eq!((counters.refreshes, counters.issued_refresh_tokens), (3, 1));

    let signed_out = credential.sign_out().await.expect("signed out");
    assert!(signed_out.revoked);
    let revocation = host.google.requests_at(Endpoint::Revocation).pop().expect("a revocation");
    assert_eq!(revocation.form(), [("token".to_owned(), spent[0].clone())]);
}

#[tokio::test]
async fn a_configured_project_is_billed_with_a_token_and_not_with_a_key() {
    let host = Host::start().await;
    let ada = host.runtime.user("ada");
    sign_in(&host).await;
    let session = ada.open_session().await.expect("a session");
    session.use_provider("google").await.expect("signed in");
    let reply = session.client().get("/v1beta/models").send().await.expect("an answer");
    assert_eq!(reply.status(), 200);

    ada.sign_in("google").with_api_key(host.google.issue_api_key()).await.expect("stored");
    let label = tokenward::Label::default();
    session.use_credential("google", Method::ApiKey, &label).await.expect("signed in");
    session.client().get("/v1beta/models").send().await.expect("an answer");

    let requests = host.google.requests_to("/v1beta/models");
    assert_eq!(requests[0].header("x-goog-user-project"), Some(PROJECT));
    assert_eq!(requests[0].header("x-goog-api-key"), None);
    assert_eq!(requests[1].header("x-goog-user-project"), None);
    assert_eq!(requests[1].header("authorization"), None);
}

/// C9 and C-ERR-1: each recorded answer, and no other, needs a new sign-in.
#[tokio::test]
async fn only_the_answers_on_the_table_need_a_new_sign_in() {
    let over = [
        r#"{"error":"invalid_grant","error_description":"Token has been expired or revoked."}"#,
        r#"{"error":"invalid_grant","error_description":"Bad Request"}"#,
        r#"{"error":"access_denied","error_description":"ReAuth related error (invalid_rapt)"}"#,
    ];
    let passes = [
        (400, r#"{"error":"access_denied","error_description":"something else"}"#),
        (500, over[0]),
        (503, over[2]),
        (429, over[1]),
        (403, "<html>blocked</html>"),
    ];
    let all = over.map(|body| (400, body, true)).into_iter();
    for (status, body, ends) in all.chain(passes.map(|(status, body)| (status, body, false))) {
        let host = Host::start().await;
        let credential = sign_in(&host).await;
        let fault = Fault::Status(status, body.to_owned());
        host.google.faults().on(Endpoint::Token).next(1, fault);
        let error = credential.refresh().await.expect_err("refused");
        assert_eq!(error.needs_reauthorization(), ends, "{status} {body}: {error}");
        let state = credential.snapshot().state();
        let expected = CredentialState::ReauthorizationRequired;
        assert_eq!(state == expected, ends, "{status} {body}: {state}");
    }
}

/// A bad key is a 400 there, told from any other 400 by its body, which the caller still gets.
#[tokio::test]
async fn a_key_that_is_refused_with_400_is_answered_whole() {
    let host = Host::start().await;
    let ada = host.runtime.user("ada");
    let key = host.google.issue_api_key();
    ada.sign_in("google").with_api_key(key).await.expect("stored");
    let session = ada.open_session().await.expect("a session");
    session.use_provider("google").await.expect("signed in");
    let ask = || session.client().get("/v1beta/models").send();
    host.google.revoke_everything();

    let reply = ask().await.expect("an answer");
    assert_eq!(reply.status(), 400);
    assert_eq!(reply.url().path(), "/v1beta/models");
    let text = reply.text().await.expect("the whole body");
    assert!(text.contains("API_KEY_INVALID") && text.ends_with('}'), "{text}");
    assert_eq!(host.google.requests_to("/v1beta/models").len(), 1, "a key is not renewed");

    // Bodies that are long, broken or no JSON reach the caller as they came.
    let faults = host.google.faults().on(Endpoint::Resource);
    let long = format!(r#"{{"error":"{}"}}"#, "a".repeat(300_000));
    for body in [long.as_str(), "", "API_KEY_INVALID", "<html>"] {
        faults.next(1, Fault::Status(400, body.to_owned()));
        let reply = ask().await.expect("an answer");
        assert_eq!(reply.status(), 400);
        assert_eq!(reply.text().await.expect("the whole body"), body);
    }
    faults.next(1, Fault::ResetMidBody);
    let reply = ask().await.expect("a head");
    assert!(reply.bytes().await.is_err(), "the failure is the caller's, too");
}

/// C-RT-6: an access token is refused with 401, renewed once, and sent once more.
#[tokio::test]
async fn a_token_that_is_refused_is_renewed_and_sent_again() {
    let host = Host::start().await;
    sign_in(&host).await;
    let session = host.runtime.user("ada").open_session().await.expect("a session");
    session.use_provider("google").await.expect("signed in");
    host.google.expire_access_tokens();
    let reply = session.client().get("/v1beta/models").send().await.expect("an answer");
    assert_eq!(reply.status(), 200);
    assert_eq!(host.google.refreshes(), 1);
}
