//! Clocks that lie: a machine that slept, a clock that was stepped, a server whose clock is wrong.

use std::time::Duration;

use tokenward::event::EventKind;
use tokenward::identity::Generation;
use tokenward::testing::{Endpoint, Fault};

use crate::host::{Host, until};

/// C-EXP-2: the wall clock alone went on.
#[tokio::test]
async fn after_a_suspend_the_first_call_gets_a_fresh_token() {
    let host = Host::start().await;
    let credential = host.sign_in_openai("ada").await;

    // The lid was closed: the monotonic clock stood still, and so did every timer.
    host.clock.suspend(Duration::from_hours(8));
    let snapshot = credential.acquire().await.expect("renewed");

    assert_eq!(snapshot.generation(), Generation(2));
}

#[tokio::test]
async fn after_a_suspend_a_token_is_renewed_though_nobody_calls() {
    let host = Host::start().await;
    let mut events = host.runtime.events();
    host.sign_in_openai("ada").await;

    host.clock.suspend(Duration::from_mins(57));
    // The timekeeper compares both clocks every ten seconds.
    host.clock.advance(Duration::from_secs(10));

    until(&mut events, |kind| matches!(kind, EventKind::ClockStepped { .. })).await;
    until(&mut events, |kind| matches!(kind, EventKind::Refreshed { .. })).await;
}

#[tokio::test]
async fn a_clock_stepped_back_by_an_hour_does_not_keep_a_dead_token_alive() {
    let host = Host::start().await;
    let credential = host.sign_in_openai("ada").await;

    host.clock.advance(Duration::from_mins(30));
    host.clock.step_wall_back(Duration::from_hours(1));
    let early = credential.acquire().await.expect("usable");
    assert_eq!(early.generation(), Generation(1), "half of its life is left");

    host.clock.advance(Duration::from_mins(31));
    let late = credential.acquire().await.expect("renewed");
    assert_eq!(late.generation(), Generation(2), "by the monotonic clock it is over");
}

#[tokio::test]
async fn a_clock_stepped_forward_costs_one_renewal_and_no_more() {
    let host = Host::start().await;
    let mut events = host.runtime.events();
    let credential = host.sign_in_openai("ada").await;

    host.clock.step_wall_forward(Duration::from_hours(3));
    host.clock.advance(Duration::from_secs(10));
    until(&mut events, |kind| matches!(kind, EventKind::Refreshed { .. })).await;
    credential.acquire().await.expect("usable");
    host.clock.advance(Duration::from_mins(20));
    credential.acquire().await.expect("usable");

    assert_eq!(host.openai.refreshes(), 1);
}

#[tokio::test]
async fn a_server_whose_clock_is_an_hour_behind_grants_a_whole_life() {
    let host = Host::start().await;
    let faults = host.openai.faults().on(Endpoint::Token);
    faults.next(2, Fault::DateBehind(Duration::from_hours(1)));
    let credential = host.sign_in_openai("ada").await;

    host.clock.advance(Duration::from_mins(50));
    assert_eq!(credential.acquire().await.expect("usable").generation(), Generation(1));
    host.clock.advance(Duration::from_mins(11));
    assert_eq!(credential.acquire().await.expect("renewed").generation(), Generation(2));
}

/// C2, and where it ends: a record tells the age of a token by the wall clock alone.
#[tokio::test]
async fn a_clock_set_back_before_a_start_makes_a_dead_token_seem_alive_until_it_is_refused() {
    let mut host = Host::start().await;
    let id = host.sign_in_openai("ada").await.id().clone();
    assert!(host.runtime.shutdown(Duration::from_secs(10)).await.is_empty());
    host.clock.advance(Duration::from_hours(2));
    host.clock.step_wall_back(Duration::from_mins(90));
    host.openai.expire_access_tokens();

    host.restart().await;
    let credential = host.runtime.credential(&id).await.expect("there");
    let stale = credential.acquire().await.expect("it seems half an hour old");
    assert_eq!(stale.generation(), Generation(1));

    // It is sent once, and refused; then another one goes out in its place.
    let session = host.runtime.user("ada").open_session().await.expect("a session");
    session.use_provider("openai").await.expect("signed in");
    let reply = session.client().get("/v1/models").send().await.expect("an answer");
    assert_eq!(reply.status(), 200);
    assert_eq!(credential.snapshot().generation(), Generation(2));
    assert_eq!(host.openai.requests_to("/v1/models").len(), 2);
}
