//! Many credentials whose renewals are overdue together: after a suspend, and at a start. The
//! provider is asked at a steady pace, and whoever needs a token does not wait for that.
//!
//! `TOKENWARD_SOAK_ROUNDS` is how many there are; without it, and at least, a hundred.

use std::time::Duration;

use futures_util::future::join_all;
use tokenward::event::EventKind;
use tokenward::testing::{Endpoint, Fault, Gate};

use crate::host::{Host, until};
use crate::patience::in_time;
use crate::rounds::rounds;

fn credentials() -> usize {
    rounds(100).max(100)
}

/// So many are renewed at once, and so many more in each second that follows.
const AT_ONCE: usize = 16;
const PER_SECOND: usize = 50;

async fn crowd() -> Host {
    let host = Host::start().await;
    for user in 0..credentials() {
        host.sign_in_openai(&format!("user-{user}")).await;
    }
    host
}

/// Lets time pass until all are renewed, and checks how many are in each second. `callers` came
/// in between and did not wait for their turn.
async fn renewed_at_a_steady_pace(host: &Host, callers: usize) {
    let mut in_turn = AT_ONCE;
    while in_turn < credentials() {
        host.openai.until(|seen| seen.refreshes >= in_turn).await;
        let asked = host.openai.refreshes();
        assert!(asked <= in_turn + callers, "{asked} requests, {in_turn} had their turn");
        in_turn += PER_SECOND;
        host.clock.advance(Duration::from_secs(1));
    }
    host.openai.until(|seen| seen.refreshes == credentials()).await;
}

#[tokio::test]
async fn after_a_suspend_renewals_come_at_a_steady_pace_and_callers_do_not_wait() {
    let host = crowd().await;

    host.clock.suspend(Duration::from_hours(8));
    // No time passes for these: they do not wait for anybody's turn.
    for user in 0..10 {
        let user = host.runtime.user(&format!("user-{user}"));
        let credential = user.preferred_credential("openai").await.expect("signed in");
        credential.acquire().await.expect("a fresh token");
    }
    // The timekeeper compares both clocks every ten seconds.
    host.clock.advance(Duration::from_secs(10));

    renewed_at_a_steady_pace(&host, 10).await;
}

#[tokio::test]
async fn at_a_start_renewals_come_at_a_steady_pace() {
    let mut host = crowd().await;

    host.clock.suspend(Duration::from_hours(8));
    host.restart().await;

    renewed_at_a_steady_pace(&host, 0).await;
}

/// At an endpoint that is slow: those that are merely due take 24 of its 32 places.
#[tokio::test]
async fn whoever_waits_for_a_renewal_stands_behind_none_that_is_merely_due() {
    let host = crowd().await;
    host.clock.advance(Duration::from_mins(30));
    let caller = host.sign_in_openai("caller").await;
    let gate = Gate::new();
    host.openai.faults().on(Endpoint::Token).always(Fault::Hold(gate.clone()));
    host.clock.suspend(Duration::from_mins(27));
    host.clock.advance(Duration::from_secs(10));
    in_time(gate.until_arrived(AT_ONCE)).await;
    host.clock.advance(Duration::from_secs(1));
    in_time(gate.until_arrived(24)).await;
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(gate.arrived(), 24, "of {} that are due", AT_ONCE + PER_SECOND);

    let asking = tokio::spawn(async move { caller.refresh().await });
    in_time(gate.until_arrived(25)).await;

    // Somebody begins to wait for those that stand in line.
    let mut waiting = Vec::new();
    for user in 0..credentials() {
        let user = host.runtime.user(&format!("user-{user}"));
        let credential = user.preferred_credential("openai").await.expect("signed in");
        waiting.push(tokio::spawn(async move { credential.refresh().await }));
    }
    in_time(gate.until_arrived(32)).await;
    gate.open();
    asking.await.expect("no panic").expect("renewed");
    for renewed in in_time(join_all(waiting)).await {
        renewed.expect("no panic").expect("renewed");
    }
}

#[tokio::test]
async fn a_handful_of_credentials_is_renewed_at_once() {
    let host = Host::start().await;
    let mut events = host.runtime.events();
    for user in ["ada", "grace", "edsger"] {
        host.sign_in_openai(user).await;
    }

    host.clock.suspend(Duration::from_hours(8));
    host.clock.advance(Duration::from_secs(10));

    for _ in 0..3 {
        until(&mut events, |kind| matches!(kind, EventKind::Refreshed { .. })).await;
    }
}
