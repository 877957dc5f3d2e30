//! Credentials that nobody needs for a while: their actors sleep, and whoever needs one can not tell.

use std::time::Duration;

use tokenward::Events;
use tokenward::credential::CredentialHandle;
use tokenward::event::{CredentialState, EventKind};
use tokenward::identity::{CredentialId, Generation, UserId};
use tokenward::supervision::{ChildStatus, Notice, TreeNode};
use tokenward::testing::{Endpoint, Fault, VaultFault};
use tokenward::vault::{RecordKey, RecordKind};

use crate::host::{Host, until};
use crate::patience::in_time;

/// The actor of a credential in the tree, if it has a place there.
async fn actor(host: &Host, id: &CredentialId) -> Option<TreeNode> {
    let tree = host.runtime.tree().await;
    let credentials = tree.children.into_iter().find(|child| child.name == "credentials")?;
    credentials.children.into_iter().find(|child| child.name == id.to_string())
}

/// Lets an hour pass, no faster than the vault and the actors follow, or less: until
/// something is so. Whether it came to that.
async fn within_an_hour(host: &Host, mut it_is_so: impl AsyncFnMut() -> bool) -> bool {
    let nobody = UserId::new("nobody").expect("a name");
    let nothing = RecordKey::new(RecordKind::Credential, nobody, "nothing");
    in_time(async {
        for _ in 0..360 {
            host.clock.advance(Duration::from_secs(10));
            for _ in 0..3 {
                drop(host.runtime.vault().read(&nothing).await);
                if it_is_so().await {
                    return true;
                }
            }
        }
        false
    })
    .await
}

async fn falls_asleep(host: &Host, id: &CredentialId) -> bool {
    let is_asleep =
        async || actor(host, id).await.is_some_and(|actor| actor.status == ChildStatus::Asleep);
    within_an_hour(host, is_asleep).await
}

async fn is_forgotten(host: &Host, id: &CredentialId) -> bool {
    within_an_hour(host, async || actor(host, id).await.is_none()).await
}

/// A user's credential whose actor sleeps.
async fn asleep(host: &Host, user: &str) -> CredentialHandle {
    let credential = host.sign_in_openai(user).await;
    assert!(falls_asleep(host, credential.id()).await);
    credential
}

/// What was told so far.
fn told(events: &mut Events) -> Vec<EventKind> {
    let mut told = Vec::new();
    while let Some(Some(Notice::Event(event))) =
        futures_util::FutureExt::now_or_never(events.next())
    {
        told.push(event.kind.clone());
    }
    told
}

#[tokio::test]
async fn a_credential_that_nobody_needs_is_used_and_renewed_as_any_other() {
    let host = Host::start().await;
    let credential = host.sign_in_openai("ada").await;
    let mut events = host.runtime.events();
    assert!(falls_asleep(&host, credential.id()).await);
    let requests = host.openai.requests().len();

    let token = credential.acquire().await.expect("a token");
    assert_eq!(token.generation(), Generation(1));
    assert!(credential.peek().is_some(), "without a message");
    let sleeping = actor(&host, credential.id()).await.expect("its place");
    assert_eq!(sleeping.status, ChildStatus::Asleep, "a read wakes no one");
    assert_eq!(told(&mut events), [], "and nobody hears of sleep");
    assert_eq!(host.openai.requests().len(), requests);

    let renewed = async || credential.snapshot().generation() == Generation(2);
    assert!(within_an_hour(&host, renewed).await, "though nobody asks");
    let token = credential.acquire().await.expect("a token");
    assert_eq!(token.generation(), Generation(2));
    assert_eq!(actor(&host, credential.id()).await.expect("its place").restarts, 0);
}

#[tokio::test]
async fn whatever_is_asked_of_a_credential_that_sleeps_is_done() {
    let host = Host::start().await;
    let credential = asleep(&host, "ada").await;
    let renewed = credential.refresh().await.expect("renewed");
    assert_eq!(renewed.generation(), Generation(2));

    assert!(falls_asleep(&host, credential.id()).await);
    let again = credential.rejected(renewed.generation()).await.expect("another one");
    assert_eq!(again.generation(), Generation(3));

    assert!(falls_asleep(&host, credential.id()).await);
    host.sign_in_openai("ada").await;
    assert_eq!(credential.snapshot().generation(), Generation(4), "signed in again");

    assert!(falls_asleep(&host, credential.id()).await);
    let signed_out = credential.sign_out().await.expect("signed out");
    assert!(signed_out.revoked);
    assert!(credential.acquire().await.expect_err("signed out").needs_reauthorization());

    assert!(falls_asleep(&host, credential.id()).await);
    host.sign_in_openai("ada").await;
    let token = credential.acquire().await.expect("a token");
    assert!(token.generation() > Generation(4), "a generation is given once");
}

#[tokio::test]
async fn one_that_nobody_holds_is_forgotten_until_it_is_asked_for_or_due() {
    let host = Host::start().await;
    let id = host.sign_in_openai("ada").await.id().clone();
    let other = host.sign_in_openai("bob").await.id().clone();
    assert!(is_forgotten(&host, &id).await);
    let requests = host.openai.requests().len();

    let credential = host.runtime.credential(&id).await.expect("a credential");
    let token = credential.acquire().await.expect("a token");
    assert_eq!(token.generation(), Generation(1), "read from the vault");
    assert_eq!(host.openai.requests().len(), requests);

    let mut events = host.runtime.events();
    host.clock.advance(Duration::from_mins(40));
    until(
        &mut events,
        |kind| matches!(kind, EventKind::Refreshed { credential, .. } if *credential == other),
    )
    .await;
}

#[tokio::test]
async fn a_session_finds_its_credential_whether_it_slept_or_not() {
    let host = Host::start().await;
    let id = host.sign_in_openai("ada").await.id().clone();
    let session = host.runtime.user("ada").open_session().await.expect("a session");
    session.use_provider("openai").await.expect("active");
    session.acquire().await.expect("a token");
    assert!(falls_asleep(&host, &id).await);
    for generation in 2..5 {
        host.clock.advance(Duration::from_mins(70));
        let token = session.acquire().await.expect("a token");
        assert!(token.generation() >= Generation(generation));
        assert!(falls_asleep(&host, &id).await, "each time");
    }
}

#[tokio::test]
async fn what_is_not_as_the_vault_has_it_does_not_sleep() {
    let host = Host::start().await;
    let credential = host.sign_in_openai("ada").await;
    credential.invalidate().await.expect("invalidated");
    host.openai.faults().on(Endpoint::Token).always(Fault::Status(503, String::new()));
    credential.acquire().await.expect_err("an outage");
    assert!(!falls_asleep(&host, credential.id()).await, "it is tried again");
    host.openai.faults().clear();
    let token = in_time(async {
        loop {
            if let Ok(token) = credential.acquire().await {
                return token;
            }
            host.clock.advance(Duration::from_mins(1));
        }
    });
    assert_eq!(token.await.generation(), Generation(2));
    assert!(falls_asleep(&host, credential.id()).await);
}

#[tokio::test]
async fn a_token_that_is_good_is_served_though_its_actor_wakes_to_a_vault_that_fails() {
    let host = Host::start().await;
    let credential = asleep(&host, "ada").await;
    host.disk.set(VaultFault::Broken);
    // When its renewal is due, the token is good for some minutes more.
    let unreadable = async || credential.snapshot().state() == CredentialState::Unreadable;
    assert!(within_an_hour(&host, unreadable).await);
    let token = credential.acquire().await.expect("what was known before");
    assert_eq!(token.generation(), Generation(1));

    host.disk.heal();
    let renewed =
        within_an_hour(&host, async || credential.snapshot().generation() == Generation(2));
    assert!(renewed.await, "it is renewed as soon as the vault can be read");
}

/// A credential that nobody holds, whose token lives for a day yet.
async fn forgotten_for_a_day() -> (Host, CredentialId) {
    let host = Host::with_lifetime(Duration::from_hours(24)).await;
    let id = host.sign_in_openai("ada").await.id().clone();
    assert!(is_forgotten(&host, &id).await);
    (host, id)
}

async fn is_renewed(events: &mut Events, id: &CredentialId) {
    let renewed = |kind: &EventKind| matches!(kind, EventKind::Refreshed { credential, .. } if credential == id);
    until(events, renewed).await;
}

#[tokio::test]
async fn one_that_is_due_tomorrow_is_renewed_though_the_machine_slept_until_then() {
    let (host, id) = forgotten_for_a_day().await;
    let mut events = host.runtime.events();

    host.clock.suspend(Duration::from_mins(23 * 60 + 50));
    // The timekeeper compares both clocks every ten seconds.
    host.clock.advance(Duration::from_secs(10));

    is_renewed(&mut events, &id).await;
}

#[tokio::test]
async fn one_that_is_due_tomorrow_is_started_then_though_the_clock_was_set_back() {
    let (host, id) = forgotten_for_a_day().await;

    host.clock.step_wall_back(Duration::from_hours(8));
    host.clock.advance(Duration::from_hours(23));

    assert!(within_an_hour(&host, async || actor(&host, &id).await.is_some()).await);
}

#[tokio::test]
async fn one_that_a_start_finds_is_started_in_time_though_the_clock_was_set_back() {
    let mut host = Host::with_lifetime(Duration::from_hours(24)).await;
    let id = host.sign_in_openai("ada").await.id().clone();
    host.restart().await;
    assert!(actor(&host, &id).await.is_none());

    host.clock.step_wall_back(Duration::from_hours(8));
    host.clock.advance(Duration::from_hours(23));

    assert!(within_an_hour(&host, async || actor(&host, &id).await.is_some()).await);
}

#[tokio::test]
async fn one_that_becomes_due_while_the_vault_fails_is_renewed_when_it_can_be_read() {
    let (host, id) = forgotten_for_a_day().await;
    let mut events = host.runtime.events();

    host.disk.set(VaultFault::Broken);
    host.clock.advance(Duration::from_mins(23 * 60 + 30));
    host.disk.heal();
    let renewed = async || {
        told(&mut events).iter().any(
            |kind| matches!(kind, EventKind::Refreshed { credential, .. } if *credential == id),
        )
    };
    assert!(within_an_hour(&host, renewed).await);
}

#[tokio::test]
async fn a_clock_that_is_set_back_while_an_actor_sleeps_makes_no_token_younger() {
    let host = Host::start().await;
    let credential = asleep(&host, "ada").await;
    host.clock.step_wall_back(Duration::from_mins(30));
    let renewed = async || credential.snapshot().generation() == Generation(2);
    assert!(within_an_hour(&host, renewed).await, "by the clock that was not set back");
}

#[tokio::test]
async fn what_was_signed_out_of_is_forgotten_and_its_generations_are_not_given_again() {
    let host = Host::start().await;
    let credential = host.sign_in_openai("ada").await;
    let seen = credential.refresh().await.expect("renewed").generation();
    credential.sign_out().await.expect("signed out");
    let id = credential.id().clone();
    drop(credential);
    assert!(is_forgotten(&host, &id).await);
    let again = host.sign_in_openai("ada").await;
    let token = again.acquire().await.expect("a token");
    assert!(token.generation() > seen, "somebody may have kept a snapshot of it");
}
