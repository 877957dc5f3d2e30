//! C-RT-8: what was signed out of is revoked in the end, though the provider could not be told at
//! once. The user has it gone here in any case.

use std::time::Duration;

use tokenward::event::{CredentialState, EventKind};
use tokenward::supervision::Events;
use tokenward::testing::{Endpoint, Fault};

use crate::host::{Host, until};

/// Longer than the first wait of a revocation, and than the longest.
const SOON: Duration = Duration::from_secs(31);
const LATER: Duration = Duration::from_mins(31);

fn outage(host: &Host) {
    let faults = host.openai.faults().on(Endpoint::Revocation);
    faults.always(Fault::Status(503, String::new()));
}

async fn until_pending(events: &mut Events) {
    until(events, |kind| matches!(kind, EventKind::RevocationPending { .. })).await;
}

/// Ada has signed out while the provider could not take the revocation.
async fn owed() -> (Host, Events) {
    let host = Host::start().await;
    let credential = host.sign_in_openai("ada").await;
    let mut events = host.runtime.events();
    outage(&host);
    let done = host.runtime.user("ada").sign_out("openai").await.expect("signed out");
    assert!(!done[0].1.revoked);
    assert_eq!(credential.snapshot().state(), CredentialState::Absent);
    until_pending(&mut events).await;
    (host, events)
}

fn asked(host: &Host) -> usize {
    host.openai.requests_at(Endpoint::Revocation).len()
}

#[tokio::test]
async fn a_revocation_that_met_an_outage_is_made_when_it_is_over() {
    let (host, mut events) = owed().await;
    host.clock.advance(SOON);
    until_pending(&mut events).await;
    assert_eq!(asked(&host), 2, "one attempt more, and it waits longer");

    host.openai.faults().clear();
    host.clock.advance(LATER);
    until(&mut events, |kind| matches!(kind, EventKind::Revoked { .. })).await;

    assert_eq!(asked(&host), 3);
    assert!(host.runtime.user("ada").credentials().await.expect("a list").is_empty());
}

#[tokio::test]
async fn a_restart_forgets_no_revocation_and_repeats_none_that_was_made() {
    let (mut host, _) = owed().await;
    host.restart().await;
    assert!(host.runtime.user("ada").credentials().await.expect("a list").is_empty());
    let mut events = host.runtime.events();

    host.openai.faults().clear();
    host.clock.advance(SOON);
    until(&mut events, |kind| matches!(kind, EventKind::Revoked { .. })).await;
    assert_eq!(asked(&host), 2);

    host.restart().await;
    host.clock.advance(LATER);
    host.sign_in_openai("ada").await;
    host.runtime.user("ada").sign_out("openai").await.expect("signed out");
    assert_eq!(asked(&host), 3, "that of the second sign-in alone");
}

#[tokio::test]
async fn a_sign_in_meanwhile_is_not_touched_by_it() {
    let (host, mut events) = owed().await;
    host.openai.faults().clear();
    let credential = host.sign_in_openai("ada").await;

    host.clock.advance(SOON);
    until(&mut events, |kind| matches!(kind, EventKind::Revoked { .. })).await;

    assert_eq!(credential.snapshot().state(), CredentialState::Valid);
    credential.refresh().await.expect("the new grant lives");
}

#[tokio::test]
async fn a_user_who_is_erased_leaves_no_token_to_be_revoked() {
    let (mut host, _) = owed().await;
    host.runtime.user("ada").erase().await.expect("erased");
    host.openai.faults().clear();
    host.clock.advance(LATER);
    host.restart().await;
    host.clock.advance(LATER);

    // Whatever would be due by now stands before this in the line.
    host.sign_in_openai("bob").await;
    host.runtime.user("bob").sign_out("openai").await.expect("signed out");

    assert_eq!(asked(&host), 2, "ada's first, and bob's");
}

#[tokio::test]
async fn a_revocation_is_given_up_after_a_week_and_its_token_forgotten() {
    let (mut host, mut events) = owed().await;
    host.clock.advance(Duration::from_hours(7 * 24 + 1));
    let end = until(&mut events, |kind| matches!(kind, EventKind::RevocationGivenUp { .. })).await;
    let EventKind::RevocationGivenUp { reason, .. } = end else { unreachable!("waited for it") };
    assert!(reason.contains("within a week"), "{reason}");
    let before = asked(&host);

    host.restart().await;
    host.clock.advance(LATER);
    host.sign_in_openai("bob").await;

    assert_eq!(asked(&host), before);
}

#[tokio::test]
async fn a_revocation_that_is_refused_is_given_up_at_once() {
    let host = Host::start().await;
    host.sign_in_openai("ada").await;
    let mut events = host.runtime.events();
    let refusal = r#"{"error":"invalid_client"}"#.to_owned();
    host.openai.faults().on(Endpoint::Revocation).next(1, Fault::Status(400, refusal));

    host.runtime.user("ada").sign_out("openai").await.expect("signed out");

    until(&mut events, |kind| matches!(kind, EventKind::RevocationGivenUp { .. })).await;
}
