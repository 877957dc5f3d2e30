//! C9: a failure keeps its back-off over a restart and over a crash; and what stands beside a
//! credential in the vault never makes it unreadable.

use std::time::{Duration, SystemTime};

use tokenward::CredentialHandle;
use tokenward::event::{CredentialState, EventKind};
use tokenward::identity::Generation;
use tokenward::testing::{Endpoint, Fault};
use tokenward::vault::RecordKind;

use crate::host::{Host, damage, until};

const ACTOR: &str = "credentials/ada/openai/authorization-code";

/// A sign-in whose renewal has just failed by `fault`; and when the next one is due.
async fn failing(host: &Host, fault: Fault) -> (CredentialHandle, SystemTime) {
    let credential = host.sign_in_openai("ada").await;
    let mut events = host.runtime.events();
    host.openai.faults().on(Endpoint::Token).next(1, fault);
    host.clock.advance(Duration::from_mins(56));
    until(&mut events, |kind| matches!(kind, EventKind::RefreshFailed { .. })).await;
    let retry_at = credential.snapshot().retry_at().expect("another attempt");
    (credential, retry_at)
}

/// The credential waits as long as it was told to, and is renewed then.
async fn waits_until(host: &Host, retry_at: SystemTime) {
    let credential = host.runtime.user("ada").preferred_credential("openai").await.expect("there");
    let snapshot = credential.inspect().await.expect("a snapshot");
    assert_eq!(snapshot.state(), CredentialState::Degraded);
    let remembered = snapshot.retry_at().expect("another attempt");
    let apart = remembered.duration_since(retry_at).unwrap_or_else(|early| early.duration());
    assert!(apart < Duration::from_millis(2), "{remembered:?} and not {retry_at:?}");
    assert_eq!(host.openai.refreshes(), 0, "not at once");

    let mut events = host.runtime.events();
    let now = tokenward::clock::Clock::now(&*host.clock).wall;
    let left = retry_at.duration_since(now).unwrap_or_default();
    host.clock.advance(left + Duration::from_millis(2));
    until(&mut events, |kind| matches!(kind, EventKind::Refreshed { .. })).await;
    assert_eq!(host.openai.refreshes(), 1);
}

#[tokio::test]
async fn an_outage_keeps_its_back_off_over_a_restart() {
    let mut host = Host::start().await;
    let (_, retry_at) = failing(&host, Fault::Status(503, String::new())).await;
    host.restart().await;
    waits_until(&host, retry_at).await;
}

#[tokio::test]
async fn a_rate_limit_keeps_its_wait_over_a_restart() {
    let mut host = Host::start().await;
    let asked = Duration::from_secs(90);
    let limited = Fault::RateLimited { retry_after: Some(asked) };
    let (_, retry_at) = failing(&host, limited).await;
    let now = tokenward::clock::Clock::now(&*host.clock).wall;
    assert!(retry_at.duration_since(now).expect("later") >= asked);
    host.restart().await;
    waits_until(&host, retry_at).await;
}

#[tokio::test]
async fn a_failure_keeps_its_back_off_over_a_crash_of_the_actor() {
    for fault in [
        Fault::Status(503, String::new()),
        Fault::RateLimited { retry_after: Some(Duration::from_secs(90)) },
    ] {
        let host = Host::start().await;
        let (credential, retry_at) = failing(&host, fault).await;
        let mut events = host.runtime.events();
        assert!(host.runtime.crash_actor(ACTOR).await);
        until(&mut events, |kind| matches!(kind, EventKind::ActorRestarted { .. })).await;
        // A late refusal changes nothing, and is answered by an actor that has heard the vault.
        credential.rejected(Generation(0)).await.expect("what lives of the token is served");
        waits_until(&host, retry_at).await;
    }
}

#[tokio::test]
async fn a_damaged_back_off_is_none_and_the_credential_is_good() {
    let mut host = Host::start().await;
    host.sign_in_openai("ada").await;
    damage(&mut host, RecordKind::Backoff).await;
    let credential = host.runtime.user("ada").preferred_credential("openai").await.expect("there");
    let snapshot = credential.acquire().await.expect("usable");
    assert_eq!(snapshot.state(), CredentialState::Valid);
    assert_eq!(snapshot.retry_at(), None);
}

#[tokio::test]
async fn a_damaged_rotation_is_in_doubt_and_is_resolved_by_the_next_need_of_a_token() {
    let mut host = Host::start().await;
    host.sign_in_openai("ada").await;
    damage(&mut host, RecordKind::Rotation).await;
    let credential = host.runtime.user("ada").preferred_credential("openai").await.expect("there");
    let snapshot = credential.acquire().await.expect("what lives of the token is served");
    assert_eq!(snapshot.state(), CredentialState::Uncertain);
    assert_eq!(host.openai.token_requests(), 1, "the sign-in alone");

    host.clock.advance(Duration::from_hours(2));
    let snapshot = credential.acquire().await.expect("one guarded attempt");
    assert_eq!(snapshot.state(), CredentialState::Valid);
    host.restart().await;
    let credential = host.runtime.user("ada").preferred_credential("openai").await.expect("there");
    let snapshot = credential.inspect().await.expect("a snapshot");
    assert_eq!(snapshot.state(), CredentialState::Valid, "the damage is gone with the rotation");
}
