//! The shell where its tasks overtake each other: a slow vault, a vault that refuses, callers that
//! give up, a runtime that stops.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;

use crate::credential::cell::Era;
use crate::credential::material::Material;
use crate::credential::messages::{Inner, ProviderMessage};
use crate::credential::records::Stored;
use crate::credential::{CredentialHandle, SignInWith};
use crate::event::{CredentialState, EventKind};
use crate::identity::{CredentialId, Generation, Label, Method, ProviderId, UserId};
use crate::provider::{Grant, Registration};
use crate::runtime::Runtime;
use crate::secret::Secret;
use crate::supervision::{Events, Notice};
use crate::testing::{
    Endpoint, Fault, Gate, ManualClock, SimulatedProvider, VaultFault, VaultFaults,
};
use crate::vault::Vault;

struct Stage {
    clock: Arc<ManualClock>,
    openai: SimulatedProvider,
    vault: Vault,
    writes: VaultFaults,
    runtime: Runtime,
}

impl Stage {
    async fn set() -> Self {
        let clock = ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_hours(500_000));
        let openai = SimulatedProvider::openai().sources(clock.sources()).start();
        let openai = openai.await.expect("a port");
        let (vault, writes) = VaultFaults::over(Vault::in_memory());
        let runtime = start(&clock, &openai, &vault).await;
        Self { clock, openai, vault, writes, runtime }
    }

    async fn start_again(&mut self) -> Vec<String> {
        let unfinished = self.runtime.shutdown(Duration::from_secs(10)).await;
        self.runtime = start(&self.clock, &self.openai, &self.vault).await;
        unfinished
    }

    async fn credential(&self, user: &str) -> CredentialHandle {
        self.runtime.credential(&id(user)).await.expect("a credential")
    }

    fn grant(&self, name: &str) -> SignInWith {
        SignInWith::Grant(Grant {
            access_token: Secret::from(format!("access-{name}")),
            refresh_token: Some(Secret::from(format!("refresh-{name}"))),
            lifetime: Some(Duration::from_hours(1)),
            requested_at: self.clock.sources().now(),
            server_date: None,
            scopes: None,
            account: Some(name.to_owned()),
        })
    }

    async fn stored_of(&self, user: &str) -> usize {
        self.runtime.user(user).credentials().await.expect("a list").len()
    }
}

pub(super) async fn start(
    clock: &Arc<ManualClock>,
    openai: &SimulatedProvider,
    vault: &Vault,
) -> Runtime {
    Runtime::builder()
        .sources(clock.sources())
        .vault(vault.clone())
        .provider(openai.spec())
        .start()
        .await
        .expect("a runtime")
}

pub(super) fn id(user: &str) -> CredentialId {
    CredentialId {
        user: UserId::new(user).expect("a name"),
        provider: ProviderId::new("openai").expect("a name"),
        method: Method::AuthorizationCode,
        label: Label::default(),
    }
}

async fn until(events: &mut Events, wanted: impl Fn(&EventKind) -> bool) {
    loop {
        match events.next().await.expect("the runtime goes on") {
            Notice::Event(event) if wanted(&event.kind) => return,
            _ => {}
        }
    }
}

async fn until_absent(events: &mut Events) {
    let absent = CredentialState::Absent;
    until(events, |kind| matches!(kind, EventKind::StateChanged { to, .. } if *to == absent)).await;
}

#[tokio::test]
async fn a_sign_out_that_overtakes_a_sign_in_leaves_nothing_behind() {
    let mut stage = Stage::set().await;
    let mut events = stage.runtime.events();
    let credential = stage.credential("ada").await;
    credential.sign_in(stage.grant("one")).await.expect("signed in");
    stage.writes.hold();
    let signing_in = tokio::spawn({
        let (credential, grant) = (credential.clone(), stage.grant("two"));
        async move { credential.sign_in(grant).await }
    });
    stage.writes.until_held().await;
    let signing_out = tokio::spawn(async move { credential.sign_out().await });
    until_absent(&mut events).await;
    stage.writes.release();

    signing_out.await.expect("no panic").expect("signed out");
    signing_in.await.expect("no panic").expect_err("overtaken");
    stage.start_again().await;
    assert_eq!(stage.stored_of("ada").await, 0, "what is signed out does not come back");
}

#[tokio::test]
async fn a_sign_in_that_is_reported_after_a_sign_out_and_a_crash_stays_out() {
    let stage = Stage::set().await;
    let credential = stage.credential("ada").await;
    credential.sign_in(stage.grant("one")).await.expect("signed in");
    let begun = Era::default();
    credential.sign_out().await.expect("signed out");
    assert!(stage.runtime.crash_actor(&format!("credentials/{}", id("ada"))).await);
    let SignInWith::Grant(grant) = stage.grant("two") else { unreachable!() };
    let material = Arc::new(Material::granted(grant, Generation(2), Registration::default()));
    let stored = Stored { material, begun, unsaved: None };

    let report = |reply| ProviderMessage::inner(Inner::SignedIn { outcome: Ok(stored), reply });
    let answer = credential.actor().ask(report).await.expect("an answer");
    answer.expect_err("overtaken");
    assert_eq!(credential.inspect().await.expect("read").state(), CredentialState::Absent);
}

#[tokio::test]
async fn signing_out_of_what_was_not_read_yet_revokes_it_all_the_same() {
    let stage = Stage::set().await;
    let mut events = stage.runtime.events();
    let credential = stage.credential("ada").await;
    credential.sign_in(stage.grant("one")).await.expect("signed in");
    let other = stage.credential("bob").await;
    stage.writes.hold();
    let grant = stage.grant("two");
    let busy = tokio::spawn(async move { other.sign_in(grant).await });
    stage.writes.until_held().await;
    assert!(stage.runtime.crash_actor(&format!("credentials/{}", id("ada"))).await);
    let signing_out = tokio::spawn(async move { credential.sign_out().await });
    until_absent(&mut events).await;
    stage.writes.release();

    let done = signing_out.await.expect("no panic").expect("signed out");
    assert!(done.revoked);
    busy.await.expect("no panic").expect("signed in");
}

#[tokio::test]
async fn a_caller_that_gives_up_while_an_actor_starts_does_no_harm() {
    let stage = Stage::set().await;
    assert!(stage.runtime.credential(&id("ada")).now_or_never().is_none(), "it was in time");
    let credential = stage.credential("ada").await;
    credential.sign_in(stage.grant("one")).await.expect("signed in");
}

#[tokio::test]
async fn a_shutdown_writes_what_the_vault_could_not_take_before() {
    let mut stage = Stage::set().await;
    let credential = stage.credential("ada").await;
    stage.writes.set(VaultFault::NoRoom);
    credential.sign_in(stage.grant("one")).await.expect("held in memory");
    assert!(!credential.snapshot().is_durable());
    stage.writes.heal();

    assert_eq!(stage.start_again().await, Vec::<String>::new());
    assert_eq!(stage.stored_of("ada").await, 1);
}

#[tokio::test]
async fn a_shutdown_says_what_could_not_be_written() {
    let stage = Stage::set().await;
    let credential = stage.credential("ada").await;
    stage.writes.set(VaultFault::NoRoom);
    credential.sign_in(stage.grant("one")).await.expect("held in memory");

    let unfinished = stage.runtime.shutdown(Duration::from_secs(10)).await;
    assert_eq!(unfinished, [format!("credentials/{}", id("ada"))]);
}

#[tokio::test]
async fn a_shutdown_erases_what_the_vault_could_not_erase_before() {
    let mut stage = Stage::set().await;
    let credential = stage.credential("ada").await;
    credential.sign_in(stage.grant("one")).await.expect("signed in");
    stage.writes.set(VaultFault::NoRoom);
    credential.sign_out().await.expect_err("not erased yet");
    stage.writes.heal();

    assert_eq!(stage.start_again().await, Vec::<String>::new());
    assert_eq!(stage.stored_of("ada").await, 0);
}

#[tokio::test]
async fn no_renewal_begins_while_the_runtime_stops() {
    let stage = Stage::set().await;
    let mut events = stage.runtime.events();
    let (ada, bob) = (stage.credential("ada").await, stage.credential("bob").await);
    ada.sign_in(stage.grant("one")).await.expect("signed in");
    bob.sign_in(stage.grant("two")).await.expect("signed in");
    let gate = Gate::new();
    stage.openai.faults().on(Endpoint::Token).next(1, Fault::HoldAnswer(gate.clone()));
    let renewing = tokio::spawn(async move { ada.refresh().await });
    gate.until_arrived(1).await;
    let asked = stage.openai.token_requests();
    let stopping = tokio::spawn({
        let runtime = stage.runtime.clone();
        async move { runtime.shutdown(Duration::from_secs(10)).await }
    });
    until(&mut events, |kind| matches!(kind, EventKind::ShuttingDown)).await;

    bob.refresh().await.expect_err("the runtime stops");
    assert_eq!(stage.openai.token_requests(), asked, "its refresh token is not spent");
    gate.open();
    assert_eq!(stopping.await.expect("no panic"), Vec::<String>::new());
    let _ = renewing.await.expect("no panic");
}

#[tokio::test]
async fn signing_out_goes_through_all_accounts_even_when_one_can_not_be_erased_yet() {
    let stage = Stage::set().await;
    let credential = stage.credential("ada").await;
    credential.sign_in(stage.grant("one")).await.expect("signed in");
    let work = CredentialId { label: Label::new("work").expect("a name"), ..id("ada") };
    let at_work = stage.runtime.credential(&work).await.expect("a credential");
    at_work.sign_in(stage.grant("two")).await.expect("signed in");
    stage.writes.set(VaultFault::NoRoom);

    stage.runtime.user("ada").sign_out("openai").await.expect_err("not erased yet");
    assert_eq!(credential.snapshot().state(), CredentialState::Absent);
    assert_eq!(at_work.snapshot().state(), CredentialState::Absent);
}

/// A vault that can not be read does not tell which generation is next.
#[tokio::test]
async fn a_sign_in_while_the_vault_can_not_be_read_takes_the_place_of_what_it_could_not_see() {
    for crashes in [false, true] {
        let mut stage = Stage::set().await;
        let credential = stage.credential("ada").await;
        credential.sign_in(stage.grant("one")).await.expect("signed in");
        credential.sign_in(stage.grant("two")).await.expect("signed in");
        stage.start_again().await;
        stage.writes.set(VaultFault::Broken);
        let credential = stage.credential("ada").await;
        credential.sign_in(stage.grant("three")).await.expect("held in memory");
        assert!(!credential.snapshot().is_durable());
        if crashes {
            assert!(stage.runtime.crash_actor(&format!("credentials/{}", id("ada"))).await);
        }

        let mut events = stage.runtime.events();
        stage.writes.heal();
        let passing = async {
            loop {
                stage.clock.advance(Duration::from_millis(100));
                tokio::task::yield_now().await;
            }
        };
        let is_stored = |kind: &EventKind| matches!(kind, EventKind::HeldMaterialStored { .. });
        tokio::select! {
            () = until(&mut events, is_stored) => {}
            () = passing => {}
        }
        assert!(credential.snapshot().is_durable());
        assert_eq!(credential.snapshot().generation(), Generation(3));
        stage.start_again().await;
        let credential = stage.credential("ada").await;
        let snapshot = credential.inspect().await.expect("readable");
        assert_eq!(snapshot.generation(), Generation(3));
        assert_eq!(snapshot.account(), Some("three"), "crashes: {crashes}");
    }
}
