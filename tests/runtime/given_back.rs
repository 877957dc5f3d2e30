//! A sign-in that ends while the provider is granting: what it granted is revoked, never stored, and
//! never seen.

use std::time::Duration;

use tokenward::Login;
use tokenward::event::EventKind;
use tokenward::testing::{Endpoint, Fault, Gate, SimulatedProvider};

use crate::host::{Host, until};
use crate::patience::in_time;

/// A sign-in whose code the provider has, and answers when the gate is opened.
async fn exchanging(host: &Host) -> (Login, Gate) {
    let gate = Gate::new();
    host.openai.faults().on(Endpoint::Token).next(1, Fault::HoldAnswer(gate.clone()));
    let login = host.runtime.user("ada").sign_in("openai").by_paste().await.expect("a sign-in");
    let callback = host.openai.approve(login.url()).expect("approved");
    let pasting = login.clone();
    tokio::spawn(async move { pasting.paste(&callback).await });
    in_time(gate.until_arrived(1)).await;
    (login, gate)
}

async fn is_given_back(host: &Host, provider: &SimulatedProvider) {
    provider.until(|counters| counters.revocation_requests == 1).await;
    let counters = provider.counters();
    assert_eq!(counters.issued_refresh_tokens, 1, "it was granted");
    assert_eq!(counters.token_requests, counters.device_polls.max(1), "and not asked for again");
    assert!(host.runtime.user("ada").credentials().await.expect("a list").is_empty());
}

#[tokio::test]
async fn a_sign_in_that_is_cancelled_during_the_exchange_leaves_no_grant() {
    let host = Host::start().await;
    let mut events = host.runtime.events();
    let (login, gate) = exchanging(&host).await;
    login.cancel().await;
    let error = login.finished().await.expect_err("cancelled");
    assert!(error.is_expired(), "{error}");
    gate.open();
    is_given_back(&host, &host.openai).await;
    let failed = |kind: &EventKind| matches!(kind, EventKind::LoginFailed { .. });
    until(&mut events, |kind| {
        assert!(!matches!(kind, EventKind::SignedIn { .. }), "nobody sees it");
        failed(kind)
    })
    .await;
}

#[tokio::test]
async fn a_sign_in_that_dies_during_the_exchange_leaves_no_grant() {
    let host = Host::start().await;
    let (login, gate) = exchanging(&host).await;
    assert!(host.runtime.crash_actor(&format!("logins/{}", login.messages().name())).await);
    login.finished().await.expect_err("it died");
    gate.open();
    is_given_back(&host, &host.openai).await;
}

#[tokio::test]
async fn a_runtime_that_stops_and_can_not_wait_leaves_no_grant() {
    let host = Host::start().await;
    let (login, gate) = exchanging(&host).await;
    let stopped = host.runtime.shutdown(Duration::ZERO).await;
    assert!(!stopped.is_empty(), "the exchange did not end in time");
    login.finished().await.expect_err("the runtime has stopped");
    gate.open();
    host.openai.until(|counters| counters.revocation_requests == 1).await;
    assert_eq!(host.openai.counters().issued_refresh_tokens, 1);
}

#[tokio::test]
async fn a_device_sign_in_that_is_cancelled_while_it_is_granted_leaves_no_grant() {
    let host = Host::start().await;
    let login = host.runtime.user("ada").sign_in("google").with_device_code().await;
    let login = login.expect("a device code");
    host.google.approve_device(login.user_code()).expect("the code is known");
    let gate = Gate::new();
    host.google.faults().on(Endpoint::Token).next(1, Fault::HoldAnswer(gate.clone()));
    host.clock.advance(Duration::from_secs(5));
    in_time(gate.until_arrived(1)).await;
    login.cancel().await;
    login.finished().await.expect_err("cancelled");
    gate.open();
    is_given_back(&host, &host.google).await;
}

/// C-TOK-5: a code is sent once; another one may follow, with the same verifier.
#[tokio::test]
async fn a_bare_code_that_was_typed_wrong_may_be_pasted_again() {
    let host = Host::start().await;
    let login = host.runtime.user("ada").sign_in("openai").by_paste().await.expect("a sign-in");
    let callback = host.openai.approve(login.url()).expect("approved");
    let callback = url::Url::parse(&callback).expect("a url");
    let code = callback.query_pairs().find_map(|(name, value)| (name == "code").then_some(value));
    let code = code.expect("a code");
    let wrong = &code[..code.len() - 1];

    let error = login.paste(wrong).await.expect_err("a letter is missing");
    assert!(error.is_invalid_input(), "{error}");
    assert!(error.to_string().contains("paste the whole code"), "{error}");
    assert!(!error.to_string().contains(wrong), "{error}");
    assert!(!login.is_over());
    login.paste(wrong).await.expect_err("the same once more");
    assert_eq!(host.openai.token_requests(), 1, "it is not sent again");
    let other = login.paste(&format!("{wrong}#another-state")).await.expect_err("another sign-in");
    assert!(other.is_invalid_input(), "{other}");
    assert_eq!(host.openai.token_requests(), 1, "a wrong state never reaches the provider");

    login.paste(&code).await.expect("signed in");
    login.finished().await.expect("signed in");
    let sent = host.openai.requests_at(Endpoint::Token);
    let verifiers: Vec<_> =
        sent.iter().map(|request| field(&request.form(), "code_verifier")).collect();
    assert_eq!(verifiers.len(), 2);
    assert_eq!(verifiers[0], verifiers[1]);
}

#[tokio::test]
async fn whoever_tries_codes_out_is_stopped() {
    let host = Host::start().await;
    let login = host.runtime.user("ada").sign_in("openai").by_paste().await.expect("a sign-in");
    for attempt in 1..=5 {
        let error = login.paste(&format!("guess-{attempt}")).await.expect_err("a guess");
        assert_eq!(error.is_invalid_input(), attempt < 5, "{attempt}: {error}");
    }
    let error = login.finished().await.expect_err("over");
    assert!(error.needs_reauthorization(), "{error}");
    login.paste("guess-6").await.expect_err("over");
    assert_eq!(host.openai.token_requests(), 5);
}

fn field(form: &[(String, String)], name: &str) -> String {
    let found = form.iter().find(|(key, _)| key == name);
    found.expect("the field is sent").1.clone()
}
