//! A Memory Bank that is unwell: what is made again, what exists once, and what a caller is told.

use std::time::Duration;

use futures_util::StreamExt as _;
use http::StatusCode;
use serde_json::json;
use tokenward::resilience::{BreakerPolicy, CallPolicy, RetryPolicy, State};
use tokenward::service::ServiceErrorKind;
use tokenward::service::memory_bank::{NewMemory, Search};
use tokenward::testing::{Endpoint, Fault, SimulatedProvider};

use crate::common::patience::until;
use crate::common::{Refusing, Reply};
use crate::host::{Host, all, clock, remember, with};

#[tokio::test]
async fn a_creation_whose_answer_is_lost_at_any_stage_exists_once() {
    let faults = [
        Fault::ResetBeforeHeaders,
        Fault::LostAnswer,
        Fault::ResetAfterHeaders,
        Fault::ResetMidBody,
        Fault::Status(502, String::new()),
    ];
    for fault in faults {
        let (host, simulated) = with(SimulatedProvider::memory_bank()).await;
        let bank = host.bank().await;
        simulated.faults().on(Endpoint::Resource).next(2, fault.clone());

        let memory = host.patiently(bank.create(&NewMemory::new("once"))).await.expect("created");

        assert_eq!(memory.content, "once", "{fault}");
        let kept = simulated.memories();
        assert_eq!(kept.len(), 1, "{fault}");
        assert_eq!(kept[0]["id"], memory.id.as_str(), "{fault}");
        let sent = simulated.requests_at(Endpoint::Resource);
        assert_eq!(sent.len(), 3, "{fault}");
        for request in &sent[1..] {
            assert_eq!(request.body, sent[0].body);
            let key = request.header("idempotency-key");
            assert!(key.is_some() && key == sent[0].header("idempotency-key"));
        }
    }
}

#[tokio::test]
async fn a_creation_that_failed_is_finished_under_the_key_that_the_error_names() {
    let (host, simulated) = with(SimulatedProvider::memory_bank()).await;
    let bank = host.bank().await;
    simulated.faults().on(Endpoint::Resource).next(3, Fault::LostAnswer);
    let new = NewMemory::new("once");

    let error = host.patiently(bank.create(&new)).await.expect_err("three answers are lost");
    assert_eq!(error.kind(), ServiceErrorKind::Unavailable);
    assert!(error.is_transient() && error.may_have_arrived());
    assert!(error.to_string().contains("3 attempts"), "{error}");
    let key = error.idempotency_key().expect("a creation has one").to_owned();
    bank.create(&new.clone().idempotency_key(&key)).await.expect("the same one");
    assert_eq!(simulated.memories().len(), 1);

    let other = NewMemory::new("another").idempotency_key(key);
    let error = bank.create(&other).await.expect_err("the key is taken");
    assert_eq!(error.kind(), ServiceErrorKind::Invalid);
    assert_eq!(error.status(), Some(StatusCode::UNPROCESSABLE_ENTITY));
    assert_eq!(error.field(), Some("idempotency-key"));
    assert_eq!(simulated.memories().len(), 1);

    bank.create(&new).await.expect("a second one, under a key of its own");
    assert_eq!(simulated.memories().len(), 2);
}

#[tokio::test]
async fn a_deletion_whose_answer_is_lost_is_a_deletion() {
    let (host, simulated) = with(SimulatedProvider::memory_bank()).await;
    let bank = host.bank().await;
    let memory = bank.create(&NewMemory::new("x")).await.expect("created");
    simulated.faults().on(Endpoint::Resource).next(1, Fault::LostAnswer);
    host.patiently(bank.delete(&memory.id)).await.expect("deleted by the first attempt");
    assert_eq!(simulated.memories().len(), 0);
}

/// A memory that was not there is not told as deleted because of an attempt that found no connection.
#[tokio::test]
async fn a_deletion_of_which_one_attempt_was_sent_finds_nothing() {
    let clock = clock();
    let builder = SimulatedProvider::memory_bank().sources(clock.sources());
    let simulated = builder.token_lifetime(Duration::from_hours(1)).start().await.expect("a port");
    let later = Refusing::start();
    let host = Host::calling(simulated.spec().base_url(later.url("/")), clock).await;
    let (bank, id) = (host.bank().await, "a-memory".parse().expect("an id"));
    let deletion = tokio::spawn(async move { bank.delete(&id).await });
    until(|| host.is_about_to_try_again()).await;
    let upstream = later.listen([Reply::json(404, r#"{"error":{"code":"not_found"}}"#)]);

    let error = host.patiently(deletion).await.expect("no panic").expect_err("there was none");

    assert_eq!(error.kind(), ServiceErrorKind::NotFound);
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn a_refused_connection_lets_nothing_arrive() {
    let clock = clock();
    let builder = SimulatedProvider::memory_bank().sources(clock.sources());
    let simulated = builder.token_lifetime(Duration::from_hours(1)).start().await.expect("a port");
    let nobody = Refusing::start();
    let host = Host::calling(simulated.spec().base_url(nobody.url("/")), clock).await;

    let creation = host.bank().await;
    let error = host.patiently(creation.create(&NewMemory::new("x"))).await.expect_err("refused");

    assert_eq!(error.kind(), ServiceErrorKind::Unavailable);
    assert!(error.to_string().contains("3 attempts"), "{error}");
    assert!(!error.may_have_arrived());
}

#[tokio::test]
async fn a_wait_that_is_asked_for_is_waited() {
    for fault in [
        Fault::RateLimited { retry_after: Some(Duration::from_secs(3)) },
        Fault::Unavailable { retry_after: Some(Duration::from_secs(3)) },
    ] {
        let (host, simulated) = with(SimulatedProvider::memory_bank()).await;
        let bank = host.bank().await;
        simulated.faults().on(Endpoint::Resource).next(1, fault.clone());
        host.patiently(bank.search(&Search::new("x"))).await.expect("after a while");
        let [.., first, second] = &simulated.requests_at(Endpoint::Resource)[..] else {
            panic!("two requests");
        };
        assert_eq!(second.at.since(first.at), Duration::from_secs(3), "{fault}");
    }
}

#[tokio::test]
async fn a_wait_that_is_too_long_is_told() {
    let (host, simulated) = with(SimulatedProvider::memory_bank()).await;
    let bank = host.bank().await;
    let faults = simulated.faults().on(Endpoint::Resource);
    let long = Duration::from_mins(2);
    faults.next(1, Fault::RateLimited { retry_after: Some(long) });
    let error = bank.search(&Search::new("x")).await.expect_err("that is too long to wait");
    assert_eq!(error.kind(), ServiceErrorKind::RateLimited);
    assert_eq!(error.retry_after(), Some(long));
    assert!(error.is_transient());
    assert_eq!(
        error.to_string(),
        "the memory bank asks for patience (429 rate_limited), retry in 120s"
    );

    faults.next(1, Fault::Unavailable { retry_after: Some(long) });
    let error = bank.search(&Search::new("x")).await.expect_err("that is too long to wait");
    assert_eq!(error.kind(), ServiceErrorKind::Unavailable);
    assert_eq!(error.retry_after(), Some(long));
}

#[tokio::test]
async fn a_token_that_expires_between_two_pages_is_renewed_on_the_way() {
    let (host, simulated) = with(SimulatedProvider::memory_bank()).await;
    let bank = host.bank().await;
    remember(&bank, 6).await;
    let mut hits = Box::pin(bank.search_all(Search::new("cat").limit(2)));
    let mut found = Vec::new();
    while let Some(hit) = hits.next().await {
        found.push(hit.expect("found").memory.content);
        if found.len() == 2 {
            simulated.expire_access_tokens();
        }
    }
    assert_eq!(found, ["cat 6", "cat 5", "cat 4", "cat 3", "cat 2", "cat 1"]);
    assert_eq!(simulated.token_requests(), 2, "one sign-in and one renewal");
}

#[tokio::test]
async fn a_token_that_is_always_refused_ends_after_one_renewal() {
    let (host, simulated) = with(SimulatedProvider::memory_bank()).await;
    let bank = host.bank().await;
    let refusal = json!({ "error": { "code": "invalid_token" } }).to_string();
    simulated.faults().on(Endpoint::Resource).always(Fault::Status(401, refusal));
    let error = bank.search(&Search::new("x")).await.expect_err("refused");
    assert_eq!(error.kind(), ServiceErrorKind::Unauthorized);
    assert_eq!(simulated.requests_at(Endpoint::Resource).len(), 2);
    assert_eq!(simulated.token_requests(), 2);
}

#[tokio::test]
async fn an_outage_opens_the_breaker_and_one_probe_closes_it() {
    let clock = clock();
    let builder = SimulatedProvider::memory_bank().sources(clock.sources());
    let simulated = builder.token_lifetime(Duration::from_hours(1)).start().await.expect("a port");
    let policy = CallPolicy {
        breaker: BreakerPolicy { minimum_calls: 2, probes: 1, ..BreakerPolicy::default() },
        retry: RetryPolicy { attempts: 1, ..RetryPolicy::default() },
        ..simulated.spec().calls
    };
    let host = Host::calling(simulated.spec().with_call_policy(policy), clock).await;
    let bank = host.bank().await;
    // Not stopped: its port could be somebody else's then.
    simulated.faults().on(Endpoint::Resource).always(Fault::ResetBeforeHeaders);
    for _ in 0..2 {
        let error = bank.search(&Search::new("x")).await.expect_err("no answer");
        assert_eq!(error.kind(), ServiceErrorKind::Unavailable);
    }
    assert!(matches!(host.breaker(), State::Open { .. }));

    simulated.faults().clear();
    let before = simulated.requests().len();
    for _ in 0..5 {
        let error = bank.search(&Search::new("x")).await.expect_err("held back");
        assert_eq!(error.kind(), ServiceErrorKind::HeldBack);
        assert!(error.is_transient() && !error.may_have_arrived());
        assert!(error.retry_after().is_some_and(|wait| wait <= Duration::from_secs(36)));
    }
    assert_eq!(simulated.requests().len(), before, "nothing is sent");

    host.clock.advance(Duration::from_secs(36));
    bank.search(&Search::new("x")).await.expect("the probe");
    assert_eq!(host.breaker(), State::Closed);
}

#[tokio::test]
async fn a_client_that_may_not_is_told_which_scope_is_missing() {
    let reader = SimulatedProvider::memory_bank().scopes(["memories:read"]);
    let (host, simulated) = with(reader).await;
    let bank = host.bank().await;
    assert_eq!(all(&bank, Search::new("x")).await.expect("it may read"), [""; 0]);

    let error = bank.create(&NewMemory::new("x")).await.expect_err("it may not write");

    assert_eq!(error.kind(), ServiceErrorKind::Forbidden);
    assert_eq!(error.scope(), Some("memories:write"));
    assert!(!error.is_transient());
    let text = "the memory bank wants the scope memories:write for this (403 insufficient_scope)";
    assert_eq!(error.to_string(), text);
    assert_eq!(simulated.token_requests(), 1, "another token would not have it either");
}

#[tokio::test]
async fn a_field_that_is_refused_is_named() {
    let (host, simulated) = with(SimulatedProvider::memory_bank()).await;
    let bank = host.bank().await;
    let refusal = json!({ "error": { "code": "invalid", "field": "tags" } }).to_string();
    for status in [400, 422] {
        simulated.faults().on(Endpoint::Resource).next(1, Fault::Status(status, refusal.clone()));
        let error = bank.create(&NewMemory::new("x")).await.expect_err("refused");
        assert_eq!(error.kind(), ServiceErrorKind::Invalid);
        assert_eq!(error.field(), Some("tags"));
    }
}

#[tokio::test]
async fn a_session_that_is_closed_says_so() {
    let (host, _simulated) = with(SimulatedProvider::memory_bank()).await;
    let bank = host.bank().await;
    host.session.close().await.expect("closed");
    let error = bank.search(&Search::new("x")).await.expect_err("closed");
    assert_eq!(error.kind(), ServiceErrorKind::Gone);
}
