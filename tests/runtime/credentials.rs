//! One credential at a time: signing in, renewing before expiry, sharing one renewal, signing out,
//! and coming back after a crash and after a restart.

use std::time::Duration;

use tokenward::event::{CredentialState, EventKind};
use tokenward::identity::{Generation, Label, Method};
use tokenward::testing::{Endpoint, Fault, Gate};

use crate::host::{Host, until, until_state};
use crate::patience::in_time;

#[tokio::test]
async fn an_api_key_is_served_at_once_and_never_renewed() {
    let host = Host::start().await;
    let key = host.anthropic.issue_api_key();
    host.runtime.user("ada").sign_in("anthropic").with_api_key(key).await.expect("signed in");
    let credential = host
        .runtime
        .user("ada")
        .credential("anthropic", Method::ApiKey, &Label::default())
        .await
        .expect("a credential");

    host.clock.advance(Duration::from_hours(10_000));
    let snapshot = credential.acquire().await.expect("usable");
    credential.refresh().await.expect("nothing to renew");

    assert_eq!(snapshot.state(), CredentialState::Valid);
    assert_eq!(snapshot.expires_at(), None);
    assert_eq!(host.anthropic.token_requests(), 0);
}

#[tokio::test]
async fn a_key_of_the_wrong_shape_is_refused_with_a_word_on_its_shape() {
    let host = Host::start().await;
    let sign_in = host.runtime.user("ada").sign_in("anthropic").with_api_key("hunter2");
    let error = sign_in.await.expect_err("no key");
    assert!(error.is_invalid_input(), "{error}");
    assert!(error.to_string().contains("sk-ant-"), "{error}");
    assert!(!error.to_string().contains("hunter2"), "{error}");
    assert!(host.runtime.user("ada").credentials().await.expect("a list").is_empty());
}

#[tokio::test]
async fn a_token_is_renewed_before_it_expires_without_anyone_asking() {
    let host = Host::start().await;
    let mut events = host.runtime.events();
    let credential = host.sign_in_openai("ada").await;

    host.clock.advance(Duration::from_mins(56));
    until(&mut events, |kind| matches!(kind, EventKind::Refreshed { .. })).await;

    let snapshot = credential.acquire().await.expect("usable");
    assert_eq!(snapshot.generation(), Generation(2));
    assert_eq!(host.openai.refreshes(), 1);
    assert_eq!(host.openai.reused_refresh_tokens(), 0);
}

#[tokio::test]
async fn a_day_of_renewals_spends_each_refresh_token_once() {
    let host = Host::start().await;
    let mut events = host.runtime.events();
    let credential = host.sign_in_openai("ada").await;
    for _ in 0..24 {
        host.clock.advance(Duration::from_mins(57));
        until(&mut events, |kind| matches!(kind, EventKind::Refreshed { .. })).await;
        assert!(credential.snapshot().is_usable(tokenward::clock::Clock::now(&*host.clock)));
    }
    assert_eq!(host.openai.refreshes(), 24);
    assert_eq!(host.openai.reused_refresh_tokens(), 0);
}

/// C-RT-2: one flight for everybody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_callers_on_an_expired_token_share_one_renewal() {
    let host = Host::start().await;
    let credential = host.sign_in_openai("ada").await;
    let before = host.openai.token_requests();
    let gate = Gate::new();
    host.openai.faults().on(Endpoint::Token).next(1, Fault::Hold(gate.clone()));

    host.clock.advance(Duration::from_hours(2));
    let callers: Vec<_> = (0..10_000)
        .map(|_| {
            let credential = credential.clone();
            tokio::spawn(async move { credential.acquire().await })
        })
        .collect();
    in_time(gate.until_arrived(1)).await;
    gate.open();

    for caller in callers {
        let snapshot = caller.await.expect("no panic").expect("usable");
        assert_eq!(snapshot.generation(), Generation(2));
    }
    assert_eq!(host.openai.token_requests() - before, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_callers_share_the_failure_of_one_renewal() {
    let host = Host::start().await;
    let credential = host.sign_in_openai("ada").await;
    let before = host.openai.token_requests();
    let gate = Gate::new();
    let faults = host.openai.faults().on(Endpoint::Token);
    faults.next(1, Fault::Hold(gate.clone()));
    host.openai.revoke_everything();

    host.clock.advance(Duration::from_hours(2));
    let callers: Vec<_> = (0..10_000)
        .map(|_| {
            let credential = credential.clone();
            tokio::spawn(async move { credential.acquire().await })
        })
        .collect();
    in_time(gate.until_arrived(1)).await;
    gate.open();

    for caller in callers {
        let error = caller.await.expect("no panic").expect_err("revoked");
        assert!(error.needs_reauthorization(), "{error}");
    }
    assert_eq!(host.openai.token_requests() - before, 1);
}

#[tokio::test]
async fn a_caller_that_gives_up_cancels_nothing() {
    let host = Host::start().await;
    let credential = host.sign_in_openai("ada").await;
    let gate = Gate::new();
    host.openai.faults().on(Endpoint::Token).next(1, Fault::Hold(gate.clone()));
    host.clock.advance(Duration::from_hours(2));

    let impatient = tokio::spawn({
        let credential = credential.clone();
        async move { credential.acquire().await }
    });
    in_time(gate.until_arrived(1)).await;
    impatient.abort();
    gate.open();

    let snapshot = credential.acquire().await.expect("usable");
    assert_eq!(snapshot.generation(), Generation(2));
    assert_eq!(host.openai.refreshes(), 1);
}

#[tokio::test]
async fn a_late_refusal_of_an_older_generation_changes_nothing() {
    let host = Host::start().await;
    let credential = host.sign_in_openai("ada").await;
    credential.refresh().await.expect("renewed");
    let before = host.openai.token_requests();

    let snapshot = credential.rejected(Generation(1)).await.expect("the newer one");

    assert_eq!(snapshot.generation(), Generation(2));
    assert_eq!(host.openai.token_requests(), before);
}

#[tokio::test]
async fn a_refused_token_is_renewed_once_and_not_in_a_loop() {
    let host = Host::start().await;
    let credential = host.sign_in_openai("ada").await;

    let renewed = credential.rejected(Generation(1)).await.expect("a newer one");
    assert_eq!(renewed.generation(), Generation(2));
    // A resource that refuses whatever it is given gets no third token.
    let same = credential.rejected(Generation(2)).await.expect("the same");
    assert_eq!(same.generation(), Generation(2));
    assert_eq!(host.openai.refreshes(), 1);
}

#[tokio::test]
async fn a_crashed_actor_comes_back_with_the_same_credential() {
    let host = Host::start().await;
    let credential = host.sign_in_openai("ada").await;
    let other = host.sign_in_openai("bob").await;

    assert!(host.runtime.crash_actor("credentials/ada/openai/authorization-code").await);

    other.refresh().await.expect("another user's credential is not affected");
    credential.refresh().await.expect("the new actor renews");
    assert_eq!(credential.snapshot().generation(), Generation(2));
    assert_eq!(host.openai.reused_refresh_tokens(), 0);
}

#[tokio::test]
async fn an_actor_that_crashes_during_a_renewal_adopts_its_outcome() {
    let host = Host::start().await;
    let credential = host.sign_in_openai("ada").await;
    let gate = Gate::new();
    host.openai.faults().on(Endpoint::Token).next(1, Fault::HoldAnswer(gate.clone()));
    host.clock.advance(Duration::from_hours(2));
    let caller = tokio::spawn({
        let credential = credential.clone();
        async move { credential.acquire().await }
    });
    in_time(gate.until_arrived(1)).await;

    assert!(host.runtime.crash_actor("credentials/ada/openai/authorization-code").await);
    gate.open();

    let snapshot = caller.await.expect("no panic").expect("usable");
    assert_eq!(snapshot.generation(), Generation(2));
    assert_eq!(host.openai.refreshes(), 1);
    assert_eq!(host.openai.reused_refresh_tokens(), 0);
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let mut host = Host::start().await;
    host.sign_in_openai("ada").await.refresh().await.expect("renewed");
    host.sign_in_by_code("ada", &host.anthropic).await;
    let key = host.google.issue_api_key();
    host.runtime.user("bob").sign_in("google").with_api_key(key).await.expect("signed in");

    host.restart().await;

    let of_ada = host.runtime.user("ada").credentials().await.expect("a list");
    let ids: Vec<_> = of_ada.iter().map(|snapshot| snapshot.id().to_string()).collect();
    assert_eq!(ids, ["ada/anthropic/authorization-code", "ada/openai/authorization-code"]);
    assert!(of_ada.iter().all(|snapshot| snapshot.state() == CredentialState::Valid));
    assert_eq!(of_ada[1].generation(), Generation(2));
    let of_bob = host.runtime.user("bob").credentials().await.expect("a list");
    assert_eq!(of_bob.len(), 1);
    let credential =
        host.runtime.user("ada").preferred_credential("openai").await.expect("a credential");
    credential.refresh().await.expect("the stored refresh token is good");
    assert_eq!(host.openai.reused_refresh_tokens(), 0);
}

#[tokio::test]
async fn a_stored_token_is_renewed_when_due_though_nobody_uses_it() {
    let mut host = Host::start().await;
    host.sign_in_openai("ada").await;
    host.restart().await;
    let mut events = host.runtime.events();

    host.clock.advance(Duration::from_mins(50));
    until_state(&mut events, CredentialState::Valid).await;
    host.clock.advance(Duration::from_mins(6));
    until(&mut events, |kind| matches!(kind, EventKind::Refreshed { .. })).await;

    assert_eq!(host.openai.refreshes(), 1);
}

#[tokio::test]
async fn signing_out_erases_revokes_and_can_not_be_undone_by_a_late_renewal() {
    let mut host = Host::start().await;
    let credential = host.sign_in_openai("ada").await;
    let gate = Gate::new();
    host.openai.faults().on(Endpoint::Token).next(1, Fault::HoldAnswer(gate.clone()));
    host.clock.advance(Duration::from_hours(2));
    let caller = tokio::spawn({
        let credential = credential.clone();
        async move { credential.acquire().await }
    });
    in_time(gate.until_arrived(1)).await;

    let done = host.runtime.user("ada").sign_out("openai").await.expect("signed out");
    gate.open();

    assert_eq!(done.len(), 1);
    assert!(caller.await.expect("no panic").expect_err("signed out").needs_reauthorization());
    host.restart().await;
    assert!(host.runtime.user("ada").credentials().await.expect("a list").is_empty());
    assert_eq!(credential.snapshot().state(), CredentialState::Absent);
}

/// C-RT-8: erased here, whatever the provider answers.
#[tokio::test]
async fn signing_out_does_not_depend_on_the_provider() {
    let host = Host::start().await;
    let credential = host.sign_in_openai("ada").await;
    host.openai.stop().await.expect("stopped");

    let done = host.runtime.user("ada").sign_out("openai").await.expect("signed out");

    assert!(!done[0].1.revoked);
    assert_eq!(credential.snapshot().state(), CredentialState::Absent);
    assert!(credential.acquire().await.expect_err("gone").needs_reauthorization());
}

#[tokio::test]
async fn orange_is_renewed_ten_minutes_before_its_end_by_one_request() {
    let host = Host::start().await;
    let mut events = host.runtime.events();
    let id = host
        .runtime
        .user("ada")
        .sign_in("orange")
        .with_client_credentials()
        .await
        .expect("signed in");
    let credential = host.runtime.credential(&id).await.expect("a credential");

    host.clock.advance(Duration::from_mins(47));
    credential.acquire().await.expect("usable");
    assert_eq!(host.orange.token_requests(), 1);
    host.clock.advance(Duration::from_mins(4));
    until(&mut events, |kind| matches!(kind, EventKind::Refreshed { .. })).await;

    assert_eq!(host.orange.token_requests(), 2);
}

#[tokio::test]
async fn a_health_check_tells_the_latency_and_what_fails() {
    let host = Host::start().await;
    let gate = Gate::new();
    host.orange.faults().on(Endpoint::Token).next(1, Fault::HoldAnswer(gate.clone()));
    let checking = tokio::spawn({
        let runtime = host.runtime.clone();
        async move { runtime.check_health("orange").await }
    });
    in_time(gate.until_arrived(1)).await;
    host.clock.advance(Duration::from_millis(250));
    gate.open();
    let health = checking.await.expect("no panic").expect("healthy");
    assert_eq!(health.latency, Duration::from_millis(250));

    host.orange.faults().on(Endpoint::Token).next(1, Fault::Status(503, String::new()));
    let outage = host.runtime.check_health("orange").await.expect_err("an outage");
    assert!(outage.is_transient(), "{outage}");
    let other = host.runtime.check_health("nobody").await.expect_err("nothing to check");
    assert!(other.is_not_found(), "{other}");
    assert!(host.runtime.user("ada").credentials().await.expect("a list").is_empty());
}

#[tokio::test]
async fn with_caching_off_each_call_asks_for_a_token() {
    let host = Host::start().await;
    let runtime = tokenward::Runtime::builder()
        .sources(host.clock.sources())
        .vault(tokenward::vault::Vault::in_memory())
        .provider(host.orange.spec().cache_tokens(false))
        .start()
        .await
        .expect("a runtime");
    let sign_in = runtime.user("ada").sign_in("orange").with_client_credentials();
    let credential = runtime.credential(&sign_in.await.expect("signed in")).await.expect("there");

    for _ in 0..3 {
        host.clock.advance(Duration::from_secs(2));
        credential.acquire().await.expect("usable");
    }

    assert_eq!(host.orange.token_requests(), 4);
    runtime.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn an_unknown_provider_is_told_with_those_that_there_are() {
    let host = Host::start().await;
    let error = host.runtime.user("ada").sign_in("openia").with_api_key("sk-x").await;
    let error = error.expect_err("a typing mistake");
    assert!(error.is_not_found());
    let text =
        "there is no provider openia, there are: anthropic, github-copilot, google, openai, orange";
    assert_eq!(error.to_string(), text);
}

#[tokio::test]
async fn a_shutdown_lets_a_renewal_finish() {
    let mut host = Host::start().await;
    let credential = host.sign_in_openai("ada").await;
    let gate = Gate::new();
    host.openai.faults().on(Endpoint::Token).next(1, Fault::HoldAnswer(gate.clone()));
    host.clock.advance(Duration::from_hours(2));
    let caller = tokio::spawn(async move { credential.acquire().await });
    in_time(gate.until_arrived(1)).await;

    let stopping = tokio::spawn({
        let runtime = host.runtime.clone();
        async move { runtime.shutdown(Duration::from_secs(10)).await }
    });
    gate.open();
    assert_eq!(stopping.await.expect("no panic"), Vec::<String>::new());

    caller.await.expect("no panic").expect("usable");
    host.restart().await;
    let credential =
        host.runtime.user("ada").preferred_credential("openai").await.expect("a credential");
    assert_eq!(credential.inspect().await.expect("read").generation(), Generation(2));
}
