//! C12: when a sign-in needs its user again, requests go on with the user's API key, if the user
//! allows that; and whoever calls is told.

use std::time::Duration;

use http::StatusCode;
use tokenward::credential::ProviderMessage;
use tokenward::event::{CredentialState, EventKind};
use tokenward::identity::{Label, Method};
use tokenward::supervision::{Events, Notice};
use tokenward::testing::{Endpoint, Fault};
use tokenward::{Fallback, Session};

use crate::host::{Host, until_state};

/// Ada is signed in at OpenAI by code and has a key there, too. Her session uses the sign-in.
pub(crate) async fn signed_in_twice(host: &Host) -> Session {
    let ada = host.runtime.user("ada");
    host.sign_in_openai("ada").await;
    ada.sign_in("openai").with_api_key(host.openai.issue_api_key()).await.expect("signed in");
    session(host).await
}

async fn session(host: &Host) -> Session {
    let session = host.runtime.user("ada").open_session().await.expect("a session");
    let code = Method::AuthorizationCode;
    session.use_credential("openai", code, &Label::default()).await.expect("signed in");
    session
}

/// The provider forgets the sign-in and keeps the key.
pub(crate) async fn lose_the_sign_in(host: &Host) {
    let mut events = host.runtime.events();
    let (ada, label) = (host.runtime.user("ada"), Label::default());
    let key = ada.credential("openai", Method::ApiKey, &label).await.expect("a credential");
    let key = key.acquire().await.expect("a key");
    let now = tokenward::clock::Clock::now(&*host.clock);
    let bearer = key.headers(now).expect("usable")["authorization"].to_str().expect("text");
    let secret = bearer.strip_prefix("Bearer ").expect("a bearer").into();
    host.openai.revoke_everything();
    host.openai.accept_api_key(&secret);
    host.clock.advance(Duration::from_hours(2));
    until_state(&mut events, CredentialState::ReauthorizationRequired).await;
}

/// What was told of fallbacks since `events` began.
fn told(events: &mut Events) -> Vec<&'static str> {
    use futures_util::FutureExt as _;
    let mut told = Vec::new();
    while let Some(Some(Notice::Event(event))) = events.next().now_or_never() {
        match event.kind {
            EventKind::FallbackAllowed { allowed: true, .. } => told.push("allowed"),
            EventKind::FallbackAllowed { .. } => told.push("forbidden"),
            EventKind::FallbackBegan { .. } => told.push("began"),
            EventKind::FallbackEnded { .. } => told.push("ended"),
            _ => {}
        }
    }
    told
}

#[tokio::test]
async fn a_key_is_not_spent_in_place_of_a_sign_in_unless_its_user_allows_it() {
    let host = Host::start().await;
    let session = signed_in_twice(&host).await;
    let mut events = host.runtime.events();
    lose_the_sign_in(&host).await;

    let error = session.client().get("/v1/models").send().await.expect_err("no sign-in");

    assert!(error.needs_reauthorization(), "{error}");
    assert!(session.authentication().await.expect_err("none").needs_reauthorization());
    assert_eq!(host.openai.counters().resource_requests, 0, "the key was not spent");
    assert!(told(&mut events).is_empty());
}

#[tokio::test]
async fn requests_go_on_with_a_key_that_may_be_spent_and_the_caller_is_told() {
    let mut host = Host::start().await;
    let session = signed_in_twice(&host).await;
    let mut events = host.runtime.events();
    let ada = host.runtime.user("ada");
    for _ in 0..2 {
        ada.allow_fallback("openai", &Label::default()).await.expect("allowed");
    }
    let reply = session.client().get("/v1/models").send().await.expect("an answer");
    assert_eq!(reply.extensions().get::<Fallback>(), None, "the sign-in comes first");
    lose_the_sign_in(&host).await;

    for _ in 0..3 {
        let reply = session.client().get("/v1/models").send().await.expect("an answer");
        assert_eq!(reply.status(), StatusCode::OK);
        let fallback = reply.extensions().get::<Fallback>().expect("told");
        assert_eq!(fallback.key.method, Method::ApiKey);
        assert_eq!(fallback.instead_of.method, Method::AuthorizationCode);
        assert!(fallback.reason.is_some(), "and why");
    }
    let authentication = session.authentication().await.expect("the key");
    assert_eq!(authentication.credential.id().method, Method::ApiKey);
    assert!(authentication.fallback.is_some());
    assert_eq!(session.acquire().await.expect("the key").id().method, Method::ApiKey);
    assert_eq!(told(&mut events), ["allowed", "began"], "once, and not for each request");

    // The permission is durable.
    host.restart().await;
    let session = self::session(&host).await;
    let reply = session.client().get("/v1/models").send().await.expect("an answer");
    assert!(reply.extensions().get::<Fallback>().is_some());

    // It ends by itself.
    let mut events = host.runtime.events();
    host.sign_in_openai("ada").await;
    let reply = session.client().get("/v1/models").send().await.expect("an answer");
    assert_eq!(reply.status(), StatusCode::OK);
    assert_eq!(reply.extensions().get::<Fallback>(), None);
    assert_eq!(told(&mut events), ["ended"]);
}

#[tokio::test]
async fn the_request_that_finds_the_sign_in_over_goes_on_with_the_key() {
    let host = Host::start().await;
    let ada = host.runtime.user("ada");
    host.sign_in_by_code("ada", &host.anthropic).await;
    let key = host.anthropic.issue_api_key();
    ada.sign_in("anthropic").with_api_key(key.clone()).await.expect("signed in");
    ada.allow_fallback("anthropic", &Label::default()).await.expect("allowed");
    let session = ada.open_session().await.expect("a session");
    let code = Method::AuthorizationCode;
    session.use_credential("anthropic", code, &Label::default()).await.expect("signed in");
    host.anthropic.revoke_everything();
    host.anthropic.accept_api_key(&key);

    let body = serde_json::json!({"model": "claude", "max_tokens": 1, "messages": []});
    let reply = session.client().post("/v1/messages").json(&body).send().await.expect("an answer");

    assert_eq!(reply.status(), StatusCode::OK);
    assert!(reply.extensions().get::<Fallback>().is_some());
    let sent = host.anthropic.requests_to("/v1/messages");
    assert_eq!(sent.len(), 2);
    assert!(sent[0].header("authorization").is_some());
    assert_eq!(sent[1].header("authorization"), None, "the headers are those of a key");
    assert_eq!(sent[1].header("x-api-key"), Some(key.expose()));
    assert_eq!(sent[1].json(), body);
}

#[tokio::test]
async fn a_permission_can_be_withdrawn_and_ends_with_the_key() {
    let host = Host::start().await;
    let session = signed_in_twice(&host).await;
    let (ada, label) = (host.runtime.user("ada"), Label::default());
    ada.allow_fallback("openai", &label).await.expect("allowed");
    lose_the_sign_in(&host).await;
    session.client().get("/v1/models").send().await.expect("with the key");
    let mut events = host.runtime.events();

    ada.forbid_fallback("openai", &label).await.expect("forbidden");
    let error = session.client().get("/v1/models").send().await.expect_err("no sign-in");
    assert!(error.needs_reauthorization(), "{error}");
    assert_eq!(told(&mut events), ["forbidden", "ended"]);

    ada.allow_fallback("openai", &label).await.expect("allowed");
    let key = ada.credential("openai", Method::ApiKey, &label).await.expect("a credential");
    key.sign_out().await.expect("signed out");
    let new = host.openai.issue_api_key();
    ada.sign_in("openai").with_api_key(new.clone()).await.expect("signed in");
    assert!(!key.snapshot().may_stand_in(), "a key after a sign-out is another matter");

    ada.allow_fallback("openai", &label).await.expect("allowed");
    ada.sign_in("openai").with_api_key(new).await.expect("replaced");
    assert!(key.snapshot().may_stand_in(), "a key that replaces one is not");
}

#[tokio::test]
async fn a_fallback_stays_within_the_account_and_follows_no_sign_out() {
    let host = Host::start().await;
    let ada = host.runtime.user("ada");
    let code = host.sign_in_openai("ada").await;
    let work = Label::new("work").expect("a name");
    let key = host.openai.issue_api_key();
    ada.sign_in("openai").label("work").with_api_key(key.clone()).await.expect("signed in");
    ada.allow_fallback("openai", &work).await.expect("allowed");
    let session = session(&host).await;
    host.openai.revoke_everything();
    host.openai.accept_api_key(&key);
    host.openai.expire_access_tokens();
    let reply = session.client().get("/v1/models").send().await.expect("an answer");
    assert_eq!(reply.status(), StatusCode::UNAUTHORIZED, "the key of another account is no help");

    ada.sign_in("openai").with_api_key(key).await.expect("signed in");
    ada.allow_fallback("openai", &Label::default()).await.expect("allowed");
    session.client().get("/v1/models").send().await.expect("with the key of the account");
    code.sign_out().await.expect("signed out");
    let error = session.client().get("/v1/models").send().await.expect_err("signed out");
    assert!(error.needs_reauthorization(), "{error}");
}

#[tokio::test]
async fn what_may_be_spent_can_be_said_by_message_and_must_be_there() {
    let host = Host::start().await;
    let (ada, label) = (host.runtime.user("ada"), Label::default());
    let error = ada.allow_fallback("openai", &label).await.expect_err("there is no key");
    assert!(error.needs_reauthorization(), "{error}");
    ada.forbid_fallback("openai", &label).await.expect("it is as asked for");
    let code = host.sign_in_openai("ada").await;
    assert!(code.allow_fallback(true).await.expect_err("no key").is_invalid_input());

    ada.sign_in("openai").with_api_key(host.openai.issue_api_key()).await.expect("signed in");
    let key = ada.credential("openai", Method::ApiKey, &label).await.expect("a credential");
    let allow = |reply| ProviderMessage::AllowFallback { allowed: true, reply };
    key.actor().ask_again(allow).await.expect("answered").expect("allowed");
    assert!(key.snapshot().may_stand_in());
}

/// C11: a refused key is neither erased nor renewed, and it is not hidden that it was refused.
#[tokio::test]
async fn a_key_that_the_provider_refuses_shows_it_until_it_is_taken_again() {
    let mut host = Host::start().await;
    let ada = host.runtime.user("ada");
    ada.sign_in("openai").with_api_key(host.openai.issue_api_key()).await.expect("signed in");
    let session = ada.open_session().await.expect("a session");
    session.use_provider("openai").await.expect("signed in");
    let mut events = host.runtime.events();
    let faults = host.openai.faults().on(Endpoint::Resource);
    faults.next(2, Fault::Status(401, String::new()));

    for _ in 0..2 {
        let reply = session.client().get("/v1/models").send().await.expect("an answer");
        assert_eq!(reply.status(), StatusCode::UNAUTHORIZED);
    }
    until_state(&mut events, CredentialState::ReauthorizationRequired).await;
    host.restart().await;
    let mut events = host.runtime.events();
    let key = host.runtime.user("ada").preferred_credential("openai").await.expect("it is kept");
    let shown = key.inspect().await.expect("a snapshot");
    assert_eq!(shown.state(), CredentialState::ReauthorizationRequired);
    assert!(shown.reason().expect("why").contains("refuses the API key"));

    let session = host.runtime.user("ada").open_session().await.expect("a session");
    session.use_provider("openai").await.expect("signed in");
    let reply = session.client().get("/v1/models").send().await.expect("an answer");
    assert_eq!(reply.status(), StatusCode::OK, "it is tried all the same");
    until_state(&mut events, CredentialState::Valid).await;
    host.restart().await;
    let key = host.runtime.user("ada").preferred_credential("openai").await.expect("a key");
    assert_eq!(key.inspect().await.expect("a snapshot").state(), CredentialState::Valid);
    assert_eq!(host.openai.token_requests(), 0, "nothing was renewed");
}

#[tokio::test]
async fn a_refused_key_gives_way_to_a_new_one_and_is_not_spent_meanwhile() {
    let host = Host::start().await;
    let session = signed_in_twice(&host).await;
    let (ada, label) = (host.runtime.user("ada"), Label::default());
    ada.allow_fallback("openai", &label).await.expect("allowed");
    lose_the_sign_in(&host).await;
    host.openai.revoke_everything();
    let reply = session.client().get("/v1/models").send().await.expect("an answer");
    assert_eq!(reply.status(), StatusCode::UNAUTHORIZED);

    let error = session.client().get("/v1/models").send().await.expect_err("neither is good");
    assert!(error.needs_reauthorization(), "{error}");
    assert_eq!(host.openai.counters().resource_requests, 1);

    ada.sign_in("openai").with_api_key(host.openai.issue_api_key()).await.expect("signed in");
    let reply = session.client().get("/v1/models").send().await.expect("an answer");
    assert_eq!(reply.status(), StatusCode::OK, "the permission is for the account");
}
