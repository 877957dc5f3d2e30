//! Disks that fail under the whole runtime: what a provider granted is used and kept, and written as
//! soon as it can be, without anybody's help.

use std::time::Duration;

use tokenward::Events;
use tokenward::credential::CredentialHandle;
use tokenward::event::{CredentialState, EventKind};
use tokenward::identity::{Generation, Label, UserId};
use tokenward::testing::{Endpoint, Fault, Gate, VaultFault};
use tokenward::vault::{RecordKey, RecordKind};

use crate::host::{Host, damage, until};
use crate::patience::in_time;

/// Waits for an event while simulated time passes. It stands still while the vault is at work, which
/// it is in real time, and while a renewal is under way, so that neither is ever late.
async fn until_in_time(
    host: &Host,
    credential: &CredentialHandle,
    events: &mut Events,
    wanted: impl Fn(&EventKind) -> bool,
) {
    let user = UserId::new("nobody").expect("a name");
    let nothing = RecordKey::new(RecordKind::Credential, user, "nothing");
    let passing = async {
        loop {
            // It is answered after whatever the vault was asked before, be it open or closed.
            drop(host.runtime.vault().read(&nothing).await);
            let under_way = [CredentialState::ExpiringSoon, CredentialState::Refreshing];
            if !under_way.contains(&credential.snapshot().state()) {
                host.clock.advance(Duration::from_secs(1));
            }
        }
    };
    tokio::select! {
        _ = until(events, wanted) => {}
        () = passing => {}
    }
}

#[tokio::test]
async fn what_a_provider_granted_while_the_disk_failed_is_served_and_becomes_durable() {
    let faults = [
        VaultFault::Full,
        VaultFault::NoRoom,
        VaultFault::ReadOnly,
        VaultFault::Broken,
        VaultFault::Vanished,
    ];
    for fault in faults {
        let mut host = Host::start().await;
        let mut degraded = host.runtime.events();
        let mut held = host.runtime.events();
        let mut stored = host.runtime.events();
        let credential = host.sign_in_openai("ada").await;
        let gate = Gate::new();
        host.openai.faults().on(Endpoint::Token).next(1, Fault::HoldAnswer(gate.clone()));
        host.clock.advance(Duration::from_mins(56));
        in_time(gate.until_arrived(1)).await;

        // The intent is durable, the provider has spent the old refresh token, and the disk goes.
        host.disk.set(fault);
        gate.open();
        until(&mut degraded, |kind| matches!(kind, EventKind::VaultDegraded { .. })).await;
        until(&mut held, |kind| matches!(kind, EventKind::HeldInMemory { .. })).await;
        let asked = host.openai.token_requests();
        for _ in 0..20 {
            let served = credential.acquire().await.expect("it is served");
            assert_eq!(served.generation(), Generation(2), "{fault:?}");
            assert!(!served.is_durable());
            host.clock.advance(Duration::from_secs(30));
        }
        assert_eq!(host.openai.token_requests(), asked, "{fault:?}");

        host.disk.heal();
        let is_stored = |kind: &EventKind| matches!(kind, EventKind::HeldMaterialStored { .. });
        until_in_time(&host, &credential, &mut stored, is_stored).await;
        let kept = credential.acquire().await.expect("it is served");
        assert!(kept.is_durable(), "{fault:?}");
        assert_eq!(kept.generation(), Generation(2), "{fault:?}: nothing was renewed meanwhile");
        host.restart().await;
        let credential =
            host.runtime.user("ada").preferred_credential("openai").await.expect("signed in");
        let served = credential.acquire().await.expect("it is there after a restart");
        assert_eq!(served.generation(), Generation(2), "{fault:?}: nothing was lost");
        // Only the refresh token that was granted last renews: any older one is spent.
        let renewed = credential.refresh().await.expect("it can be renewed");
        assert_eq!(renewed.generation(), Generation(3), "{fault:?}");
        assert_eq!(host.openai.reused_refresh_tokens(), 0, "{fault:?}");
    }
}

#[tokio::test]
async fn what_the_vault_took_without_a_word_before_an_actor_crashed_is_known_to_be_durable() {
    let host = Host::start().await;
    let mut held = host.runtime.events();
    let mut stored = host.runtime.events();
    let credential = host.sign_in_openai("ada").await;
    let gate = Gate::new();
    host.openai.faults().on(Endpoint::Token).next(1, Fault::HoldAnswer(gate.clone()));
    host.clock.advance(Duration::from_mins(56));
    in_time(gate.until_arrived(1)).await;

    // Each write takes effect, and is answered by a failure.
    host.disk.set(VaultFault::LostAnswer);
    gate.open();
    until(&mut held, |kind| matches!(kind, EventKind::HeldInMemory { .. })).await;
    assert!(host.runtime.crash_actor(&format!("credentials/{}", credential.id())).await);
    let served = credential.acquire().await.expect("it is served");
    assert_eq!(served.generation(), Generation(2));

    host.disk.heal();
    let is_stored = |kind: &EventKind| matches!(kind, EventKind::HeldMaterialStored { .. });
    in_time(until_in_time(&host, &credential, &mut stored, is_stored)).await;
    let kept = credential.acquire().await.expect("it is served");
    assert!(kept.is_durable());
    let renewed = credential.refresh().await.expect("it can be renewed");
    assert_eq!(renewed.generation(), Generation(3));
    assert_eq!(host.openai.reused_refresh_tokens(), 0);
}

#[tokio::test]
async fn nothing_is_spent_while_an_intent_can_not_be_written() {
    for fault in [VaultFault::Full, VaultFault::ReadOnly, VaultFault::Vanished] {
        let host = Host::start().await;
        let mut degraded = host.runtime.events();
        let mut renewed = host.runtime.events();
        let credential = host.sign_in_openai("ada").await;
        let asked = host.openai.token_requests();
        host.disk.set(fault);
        host.clock.advance(Duration::from_mins(56));
        until(&mut degraded, |kind| matches!(kind, EventKind::VaultDegraded { .. })).await;
        let served = credential.acquire().await.expect("the old token lives");
        assert_eq!(served.generation(), Generation(1));
        assert_eq!(host.openai.token_requests(), asked, "{fault:?}: nothing was spent");

        host.disk.heal();
        let is_renewed = |kind: &EventKind| matches!(kind, EventKind::Refreshed { .. });
        until_in_time(&host, &credential, &mut renewed, is_renewed).await;
        let renewed = credential.acquire().await.expect("renewed");
        assert!(renewed.is_durable(), "{fault:?}");
        assert_eq!(renewed.generation(), Generation(2), "{fault:?}: it was renewed once");
        assert_eq!(host.openai.reused_refresh_tokens(), 0, "{fault:?}");
    }
}

/// Whoever can not be served until somebody mends the vault is told that, and not to try again.
async fn is_told_of_damage_and_signs_in_anew(host: &Host, credential: &CredentialHandle) {
    let error = in_time(credential.acquire()).await.expect_err("it does not open");
    assert!(error.is_vault_unreadable() && !error.is_transient(), "{error}");
    assert!(error.to_string().contains("ada/openai/authorization-code"), "{error}");
    let credential = host.sign_in_openai("ada").await;
    in_time(credential.acquire()).await.expect("a sign-in takes the place of what is damaged");
}

#[tokio::test]
async fn a_credential_whose_seal_is_damaged_is_no_outage() {
    let host = Host::start().await;
    let credential = host.sign_in_openai("ada").await;
    let mut events = host.runtime.events();
    host.disk.damage_next_read();
    assert!(host.runtime.crash_actor("credentials/ada/openai/authorization-code").await);
    let unreadable = CredentialState::Unreadable;
    let is_noticed =
        |kind: &EventKind| matches!(kind, EventKind::StateChanged { to, .. } if *to == unreadable);
    until(&mut events, is_noticed).await;
    in_time(credential.acquire()).await.expect("what an actor before it knew is served to its end");
    host.clock.suspend(Duration::from_hours(2));
    is_told_of_damage_and_signs_in_anew(&host, &credential).await;
}

#[tokio::test]
async fn a_credential_that_is_not_what_it_should_be_is_no_outage() {
    let mut host = Host::start().await;
    let id = host.sign_in_openai("ada").await.id().clone();
    damage(&mut host, RecordKind::Credential).await;
    let credential = host.runtime.credential(&id).await.expect("there");
    is_told_of_damage_and_signs_in_anew(&host, &credential).await;
}

#[tokio::test]
async fn a_key_that_is_not_what_it_should_be_may_not_stand_in_and_that_is_no_outage() {
    let mut host = Host::start().await;
    let ada = host.runtime.user("ada");
    ada.sign_in("openai").with_api_key(host.openai.issue_api_key()).await.expect("signed in");
    damage(&mut host, RecordKind::Credential).await;
    let ada = host.runtime.user("ada");
    let error = ada.allow_fallback("openai", &Label::default()).await.expect_err("damaged");
    assert!(error.is_vault_unreadable() && !error.is_transient(), "{error}");
}

#[tokio::test]
async fn an_erased_user_is_signed_out_everywhere_and_leaves_nothing_to_come_back() {
    let mut host = Host::start().await;
    let ada = host.runtime.user("ada");
    let credential = host.sign_in_openai("ada").await;
    host.sign_in_openai("bob").await;
    let session = ada.open_session().await.expect("a session");
    session.use_provider("openai").await.expect("signed in");

    ada.erase().await.expect("erased");
    assert!(credential.acquire().await.expect_err("signed out").needs_reauthorization());
    assert!(session.acquire().await.is_err(), "the session is closed");
    assert_eq!(ada.erase().await.expect("nothing is left to do"), 0);
    host.restart().await;
    assert_eq!(host.runtime.user("ada").credentials().await.expect("a list").len(), 0);
    assert_eq!(host.runtime.user("ada").sessions().await.expect("a list").len(), 0);
    let bob = host.runtime.user("bob").preferred_credential("openai").await.expect("signed in");
    assert_eq!(bob.acquire().await.expect("bob's token").generation(), Generation(1));
}
