//! Signing in on another device, end to end: the pace of the polls, what the user decides, and what
//! goes wrong on the way. Every provider here counts polls that come too early.

use std::time::{Duration, SystemTime};

use tokenward::clock::Clock as _;
use tokenward::credential::CredentialHandle;
use tokenward::event::{CredentialState, EventKind};
use tokenward::identity::Method;
use tokenward::login::DeviceProgress;
use tokenward::testing::{Endpoint, Fault, Gate, SimulatedProvider};
use tokenward::{DeviceLogin, Error};

use crate::host::{Host, until};
use crate::patience::in_time;

const PENDING: &str = r#"{"error":"authorization_pending"}"#;
const SLOW_DOWN: &str = r#"{"error":"slow_down"}"#;

async fn begin(host: &Host, provider: &str) -> DeviceLogin {
    let login = host.runtime.user("ada").sign_in(provider).with_device_code().await;
    login.expect("a device code")
}

/// Waits until the sign-in waits, and says what it waits for.
async fn waiting(login: &DeviceLogin) -> DeviceProgress {
    let mut progress = login.progress();
    *progress.wait_for(|progress| progress.next_poll.is_some()).await.expect("it is pending")
}

/// Lets the time pass until the next poll, and the poll be answered. How long that took.
async fn next_poll(host: &Host, login: &DeviceLogin) -> Duration {
    let before = waiting(login).await;
    let at = before.next_poll.expect("it waits for this");
    let wait = at.duration_since(host.clock.now().wall).expect("to come");
    host.clock.advance(wait);
    let mut progress = login.progress();
    progress.wait_for(|progress| progress.polls > before.polls).await.expect("a poll");
    wait
}

async fn signed_in(host: &Host, login: &DeviceLogin) -> CredentialHandle {
    let credential = login.finished().await.expect("signed in");
    host.runtime.credential(&credential).await.expect("there")
}

async fn refused(host: &Host, login: &DeviceLogin) -> Error {
    let error = login.finished().await.expect_err("no credential");
    assert!(host.runtime.user("ada").credentials().await.expect("a list").is_empty());
    error
}

fn polls(provider: &SimulatedProvider) -> Vec<SystemTime> {
    let is_poll = |path: &str| provider.device_endpoint().is_some_and(|url| url.path() != path);
    let requests = provider.requests().into_iter().filter(|request| is_poll(&request.path));
    requests.map(|request| request.at.wall).collect()
}

#[tokio::test]
async fn a_user_signs_in_on_another_device_and_calls() {
    let host = Host::start().await;
    for (provider, path) in
        [(&host.google, "/v1beta/models"), (&host.openai, "/v1/models"), (&host.github, "/models")]
    {
        let login = begin(&host, provider.name()).await;
        assert_eq!(login.user_code().len(), 9, "{}", login.user_code());
        assert!(login.verification_uri().starts_with(provider.base_url().as_str()));
        next_poll(&host, &login).await;
        assert!(!login.is_over(), "the user is not done");
        provider.approve_device(login.user_code()).expect("the code is known");
        next_poll(&host, &login).await;

        let credential = signed_in(&host, &login).await;
        assert_eq!(credential.id().method, Method::DeviceCode);
        let session = host.runtime.user("ada").open_session().await.expect("a session");
        session.use_provider(provider.name()).await.expect("signed in");
        let reply = session.client().get(path).send().await.expect("an answer");
        assert_eq!(reply.status(), 200, "{}", provider.name());
        let counters = provider.counters();
        assert_eq!((counters.device_polls, counters.hasty_polls), (2, 0), "{}", provider.name());
    }
}

/// C-DEV-3: the first poll comes after one interval; C-DEV-2: so does each that follows.
#[tokio::test]
async fn polls_keep_to_the_interval_from_the_first_one_on() {
    let host = Host::start().await;
    let begun = host.clock.now().wall;
    let login = begin(&host, "google").await;
    assert_eq!(waiting(&login).await.interval, Duration::from_secs(5));
    assert_eq!(polls(&host.google), [], "nothing is asked before the interval is over");
    for _ in 0..5 {
        next_poll(&host, &login).await;
    }
    let after: Vec<_> = polls(&host.google)
        .into_iter()
        .map(|poll| poll.duration_since(begun).expect("later").as_secs())
        .collect();
    assert_eq!(after, [5, 10, 15, 20, 25]);
    assert_eq!(host.google.counters().hasty_polls, 0);
}

/// C-DEV-2: `slow_down` is five seconds more for good, at whatever status it comes.
#[tokio::test]
async fn a_provider_that_is_asked_too_fast_is_asked_slower_from_then_on() {
    let host = Host::start().await;
    let login = begin(&host, "google").await;
    let faults = host.google.faults().on(Endpoint::Token);
    for status in [400, 403, 428, 429, 200] {
        faults.next(1, Fault::Status(status, SLOW_DOWN.to_owned()));
    }
    let mut waits = Vec::new();
    for _ in 0..7 {
        waits.push(next_poll(&host, &login).await.as_secs());
    }
    assert_eq!(waits, [5, 10, 15, 20, 25, 30, 30]);
}

#[tokio::test]
async fn github_names_the_new_interval_and_answers_errors_with_200() {
    let host = Host::start().await;
    let login = begin(&host, "github-copilot").await;
    let body = r#"{"error":"slow_down","interval":17}"#.to_owned();
    host.github.faults().on(Endpoint::Token).next(1, Fault::Status(200, body));
    next_poll(&host, &login).await;
    assert_eq!(next_poll(&host, &login).await, Duration::from_secs(17));
    host.github.approve_device(login.user_code()).expect("the code is known");
    assert_eq!(next_poll(&host, &login).await, Duration::from_secs(17));
    assert!(login.finished().await.is_ok());
    let poll = host.github.requests_at(Endpoint::Token).pop().expect("a poll");
    assert_eq!(poll.json()["grant_type"], "urn:ietf:params:oauth:grant-type:device_code");
}

/// A token without a lifetime and without a refresh token is used until it is refused.
#[tokio::test]
async fn a_github_token_is_used_until_it_is_refused() {
    let mut host = Host::start().await;
    let login = begin(&host, "github-copilot").await;
    host.github.approve_device(login.user_code()).expect("the code is known");
    next_poll(&host, &login).await;
    let credential = signed_in(&host, &login).await.id().clone();
    host.restart().await;
    host.clock.advance(Duration::from_hours(1_000));
    let handle = host.runtime.credential(&credential).await.expect("there");
    let snapshot = handle.acquire().await.expect("usable");
    assert_eq!(snapshot.state(), CredentialState::Valid);
    assert_eq!(host.github.token_requests(), 1);

    let refused = handle.rejected(snapshot.generation()).await.expect_err("there is no other");
    assert!(refused.needs_reauthorization(), "{refused}");
}

/// C-ERR-1: decided by `error` and not by the status.
#[tokio::test]
async fn pending_is_pending_at_any_status() {
    let host = Host::start().await;
    let login = begin(&host, "google").await;
    let faults = host.google.faults().on(Endpoint::Token);
    for status in [200, 400, 401, 403, 428, 429] {
        faults.next(1, Fault::Status(status, PENDING.to_owned()));
    }
    for _ in 0..6 {
        assert_eq!(next_poll(&host, &login).await, Duration::from_secs(5));
    }
    assert!(!login.is_over());
}

/// C-ERR-1: `access_denied` is terminal for this sign-in.
#[tokio::test]
async fn a_user_who_declines_ends_the_sign_in() {
    let host = Host::start().await;
    for provider in [&host.google, &host.github] {
        let mut events = host.runtime.events();
        let login = begin(&host, provider.name()).await;
        provider.deny_device(login.user_code()).expect("the code is known");
        next_poll(&host, &login).await;
        let error = refused(&host, &login).await;
        assert!(error.needs_reauthorization(), "{error}");
        until(&mut events, |kind| matches!(kind, EventKind::LoginFailed { .. })).await;
        assert_eq!(provider.token_requests(), 1, "it stops");
    }
}

/// C-ERR-1: `expired_token` is terminal for this sign-in.
#[tokio::test]
async fn a_code_that_the_provider_calls_expired_ends_the_sign_in() {
    let host = Host::start().await;
    for status in [200, 400] {
        let login = begin(&host, "google").await;
        let body = r#"{"error":"expired_token"}"#.to_owned();
        host.google.faults().on(Endpoint::Token).next(1, Fault::Status(status, body));
        next_poll(&host, &login).await;
        let error = refused(&host, &login).await;
        assert!(error.is_expired(), "{error}");
    }
}

/// C-DEV-2: it stops at `expires_in`, also where a machine slept through it.
#[tokio::test]
async fn a_code_that_nobody_enters_expires_and_is_not_asked_for_any_more() {
    let host = Host::start().await;
    let login = begin(&host, "openai").await;
    let life = login.expires_at().duration_since(host.clock.now().wall).expect("to come");
    assert_eq!(life, Duration::from_mins(15), "OpenAI does not say, and gives 15 minutes");
    next_poll(&host, &login).await;
    waiting(&login).await;
    host.clock.advance(Duration::from_mins(15));
    let error = refused(&host, &login).await;
    assert!(error.is_expired(), "{error}");
    assert_eq!(host.openai.counters().device_polls, 1, "not at the end, and not after it");

    let login = begin(&host, "github-copilot").await;
    waiting(&login).await;
    host.clock.suspend(Duration::from_hours(8));
    host.clock.advance(Duration::from_secs(10));
    assert!(refused(&host, &login).await.is_expired());
    assert_eq!(host.github.token_requests(), 0);
}

/// C-DEV-2: connection time-outs, outages and rate limits back off; the sign-in goes on.
#[tokio::test]
async fn an_outage_makes_polls_rarer_and_ends_nothing() {
    let host = Host::start().await;
    let login = begin(&host, "google").await;
    let mut waits = Vec::new();
    host.google.stop().await.expect("stopped");
    for _ in 0..4 {
        waits.push(next_poll(&host, &login).await.as_secs());
    }
    host.google.restart().await.expect("restarted");
    let faults = host.google.faults().on(Endpoint::Token);
    faults.next(1, Fault::RateLimited { retry_after: Some(Duration::from_secs(90)) });
    faults.next(1, Fault::ResetMidBody);
    faults.next(1, Fault::Status(503, String::new()));
    for _ in 0..3 {
        waits.push(next_poll(&host, &login).await.as_secs());
    }
    assert_eq!(waits, [5, 10, 20, 40, 60, 90, 60]);
    host.google.approve_device(login.user_code()).expect("the code is known");
    next_poll(&host, &login).await;
    assert!(login.finished().await.is_ok());
    assert_eq!(host.google.counters().hasty_polls, 0);
}

#[tokio::test]
async fn an_answer_that_makes_no_sense_ends_the_sign_in_and_says_so() {
    let host = Host::start().await;
    for fault in [Fault::Html200, Fault::Garbage, Fault::Huge, Fault::TornJson] {
        let login = begin(&host, "google").await;
        if fault.carries_out() {
            host.google.approve_device(login.user_code()).expect("the code is known");
        }
        host.google.faults().on(Endpoint::Token).next(1, fault.clone());
        next_poll(&host, &login).await;
        let error = refused(&host, &login).await;
        assert!(!error.is_transient(), "{fault}: {error}");
        assert!(error.to_string().contains("does not go on"), "{fault}: {error}");
    }
}

/// A grant whose answer was lost is spent at the provider: the next poll says so, and no more come.
#[tokio::test]
async fn a_grant_that_was_lost_on_the_way_ends_in_a_new_sign_in() {
    let host = Host::start().await;
    let login = begin(&host, "google").await;
    host.google.approve_device(login.user_code()).expect("the code is known");
    host.google.faults().on(Endpoint::Token).next(1, Fault::LostAnswer);
    next_poll(&host, &login).await;
    next_poll(&host, &login).await;
    let error = refused(&host, &login).await;
    assert!(error.needs_reauthorization(), "{error}");
    assert_eq!(host.google.token_requests(), 2);
}

/// C-TOK-5: the code that `OpenAI` answers a poll with is sent once, whatever the answer.
#[tokio::test]
async fn the_code_of_openai_is_sent_once() {
    let host = Host::start().await;
    let login = begin(&host, "openai").await;
    host.openai.approve_device(login.user_code()).expect("the code is known");
    host.openai.faults().on(Endpoint::Token).next(1, Fault::Status(503, String::new()));
    next_poll(&host, &login).await;
    let error = login.finished().await.expect_err("the code may be spent");
    assert!(error.to_string().contains("could not be exchanged"), "{error}");
    assert_eq!(host.openai.token_requests(), 1);
}

#[tokio::test]
async fn a_device_sign_in_that_can_not_begin_says_why() {
    let host = Host::start().await;
    let ada = host.runtime.user("ada");
    let error = ada.sign_in("anthropic").with_device_code().await.expect_err("not offered");
    assert!(error.is_invalid_input(), "{error}");

    let faults = host.openai.faults().on(Endpoint::Device);
    faults.next(1, Fault::Status(404, String::new()));
    let error = ada.sign_in("openai").with_device_code().await.expect_err("not enabled");
    assert!(error.is_configuration(), "{error}");
    assert!(error.to_string().contains("another method"), "{error}");

    let retry_after = Some(Duration::from_secs(30));
    faults.next(1, Fault::RateLimited { retry_after });
    let error = ada.sign_in("openai").with_device_code().await.expect_err("a rate limit");
    assert_eq!(error.retry_after(), retry_after);
    for fault in [Fault::Html200, Fault::RemoveField("user_code".to_owned())] {
        faults.next(1, fault);
        let error = ada.sign_in("openai").with_device_code().await.expect_err("no code");
        assert!(!error.to_string().is_empty());
    }
    let user = ada.id().expect("a name");
    assert!(host.runtime.logins().pending_devices(user).is_empty());
}

#[tokio::test]
async fn another_front_end_finds_a_device_sign_in_and_can_cancel_it() {
    let host = Host::start().await;
    let login = begin(&host, "google").await;
    let ada = host.runtime.user("ada").id().expect("a name").clone();
    let bob = host.runtime.user("bob").id().expect("a name").clone();
    let logins = host.runtime.logins();
    assert!(logins.find_device(&bob, login.id()).is_none(), "it is not his");
    let elsewhere = logins.find_device(&ada, login.id()).expect("pending");
    assert_eq!(elsewhere.user_code(), login.user_code());

    elsewhere.cancel().await;

    let error = refused(&host, &login).await;
    assert!(error.to_string().contains("cancelled"), "{error}");
    assert!(logins.find_device(&ada, login.id()).is_none());
    host.clock.advance(Duration::from_mins(1));
    assert_eq!(host.google.token_requests(), 0);
}

#[tokio::test]
async fn a_device_sign_in_that_dies_says_to_start_again_and_harms_no_other() {
    let host = Host::start().await;
    let (dies, lives) = (begin(&host, "google").await, begin(&host, "github-copilot").await);
    let name = dies.messages().name().to_owned();
    assert!(host.runtime.crash_actor(&format!("logins/{name}")).await);
    let error = dies.finished().await.expect_err("it died");
    assert!(error.is_transient(), "{error}");
    host.github.approve_device(lives.user_code()).expect("the code is known");
    next_poll(&host, &lives).await;
    assert!(lives.finished().await.is_ok());
}

/// R4: what the provider grants while the runtime stops is stored, and the rest is told to start
/// again.
#[tokio::test]
async fn a_shutdown_keeps_the_grant_that_is_on_its_way() {
    let mut host = Host::start().await;
    let (granted, pending) = (begin(&host, "google").await, begin(&host, "github-copilot").await);
    let gate = Gate::new();
    host.google.approve_device(granted.user_code()).expect("the code is known");
    host.google.faults().on(Endpoint::Token).next(1, Fault::HoldAnswer(gate.clone()));
    waiting(&granted).await;
    host.clock.advance(Duration::from_secs(5));
    in_time(gate.until_arrived(1)).await;
    let opener = tokio::spawn({
        let pending = pending.clone();
        async move {
            let stopped = pending.finished().await.expect_err("the runtime stops");
            gate.open();
            stopped
        }
    });
    host.restart().await;
    let stopped = opener.await.expect("no panic");
    assert!(stopped.is_shutting_down(), "{stopped}");
    assert!(granted.finished().await.is_ok());
    assert_eq!(host.runtime.user("ada").credentials().await.expect("a list").len(), 1);
}

#[tokio::test]
async fn a_device_grant_is_renewed_and_revoked_like_any_other() {
    let host = Host::start().await;
    let mut events = host.runtime.events();
    let login = begin(&host, "google").await;
    host.google.approve_device(login.user_code()).expect("the code is known");
    next_poll(&host, &login).await;
    let credential = signed_in(&host, &login).await;
    host.clock.advance(Duration::from_mins(57));
    until(&mut events, |kind| matches!(kind, EventKind::Refreshed { .. })).await;
    let renewal = host.google.requests_at(Endpoint::Token).pop().expect("a renewal");
    let fields = renewal.form();
    assert!(fields.contains(&("grant_type".to_owned(), "refresh_token".to_owned())));
    assert!(fields.iter().any(|(name, _)| name == "client_secret"));
    let signed_out = credential.sign_out().await.expect("signed out");
    assert!(signed_out.revoked);
}

/// C-SEC-1: neither code is in an event, an error or a debug output.
#[tokio::test]
async fn neither_the_device_code_nor_the_user_code_is_shown_by_accident() {
    let host = Host::start().await;
    let mut events = host.runtime.events();
    let login = begin(&host, "google").await;
    host.google.deny_device(login.user_code()).expect("the code is known");
    next_poll(&host, &login).await;
    let error = refused(&host, &login).await;
    let failed = until(&mut events, |kind| matches!(kind, EventKind::LoginFailed { .. })).await;
    let poll = host.google.requests_at(Endpoint::Token).pop().expect("a poll").form();
    let device_code = &poll.iter().find(|(name, _)| name == "device_code").expect("sent").1;
    let shown = format!("{login:?} {error:?} {failed:?} {:?}", login.progress().borrow());
    assert!(!shown.contains(device_code.as_str()), "{shown}");
    assert!(!shown.contains(login.user_code()), "{shown}");
}
