//! Sessions over a real vault on disk, through restarts of the process and crashes of the manager.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::*;
use crate::error::Error;
use crate::event::EventKind;
use crate::identity::{Label, Method, ProviderId, SessionId, UserId};
use crate::supervision::{EventBus, Events, Notice, Supervisor, Timekeeper};
use crate::testing::ManualClock;
use crate::vault::{
    Batch, Expect, MasterKey, Query, RecordKey, RecordKind, Tags, Vault, VaultHandle,
};

/// One life of a process that keeps sessions.
struct Process {
    clock: Arc<ManualClock>,
    root: Supervisor,
    vault: VaultHandle,
    sessions: Sessions,
    events: Events,
}

impl Process {
    async fn start(directory: &Path, wall: SystemTime) -> Self {
        let clock = ManualClock::new(wall);
        let (sources, bus) = (clock.sources(), EventBus::new(clock.sources()));
        let events = bus.subscribe();
        let root = Supervisor::start("root", sources.clone(), bus.clone()).await.expect("a root");
        let vault =
            Vault::open(directory.join("agent.vault")).master_key(MasterKey::from_bytes([7; 32]));
        let vault = VaultHandle::start(vault, &root, sources.clone(), bus.clone()).await;
        let vault = vault.expect("a vault");
        let timekeeper = Timekeeper::start(&root, sources.clone(), bus.clone()).await;
        let sessions = Sessions::start(
            SessionPolicy::default(),
            vault.clone(),
            timekeeper.expect("a timekeeper"),
            &root,
            sources,
            bus,
        );
        Self { clock, sessions: sessions.await.expect("sessions"), root, vault, events }
    }

    async fn stop(self) {
        assert_eq!(self.root.drain(Duration::from_secs(10)).await, Vec::<String>::new());
    }

    async fn records(&self) -> usize {
        self.vault.list(Query::all(RecordKind::Session)).await.expect("a list").len()
    }

    /// Waits for the first event that `wanted` wants.
    async fn event(&mut self, wanted: impl Fn(&EventKind) -> bool) {
        loop {
            match self.events.next().await.expect("more events") {
                Notice::Event(event) if wanted(&event.kind) => return,
                _ => {}
            }
        }
    }
}

fn start() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_hours(500_000)
}

fn user(name: &str) -> UserId {
    UserId::new(name).expect("a name")
}

fn context(provider: &str) -> ProviderContext {
    ProviderContext {
        provider: ProviderId::new(provider).expect("a name"),
        method: Method::ApiKey,
        label: Label::default(),
    }
}

fn active(session: &SessionHandle) -> Option<String> {
    session.view().active().map(|context| context.provider.to_string())
}

#[tokio::test]
async fn a_switch_takes_effect_for_the_next_request_of_this_session_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let process = Process::start(directory.path(), start()).await;
    let (sessions, ada) = (&process.sessions, user("ada"));
    let one = sessions.open(&ada).await.expect("a session");
    let other = sessions.open(&ada).await.expect("a session");
    assert_eq!(one.enter().expect("usable").active(), None);

    sessions.switch(&ada, one.view().id(), context("openai")).await.expect("switched");
    assert_eq!(one.enter().expect("usable").active(), Some(&context("openai")));
    assert_eq!(active(&other), None, "sessions of one user are independent");

    sessions.prefer(&ada, one.view().id(), context("anthropic")).await.expect("remembered");
    let id = one.view().id().clone();
    assert_eq!(sessions.active(&ada, &id).await.expect("read"), Some(context("openai")));
    let contexts = sessions.providers(&ada, &id).await.expect("read");
    assert_eq!(contexts, [context("anthropic"), context("openai")]);
    process.stop().await;
}

#[tokio::test]
async fn sessions_survive_a_restart_of_the_process() {
    let directory = tempfile::tempdir().expect("a directory");
    let process = Process::start(directory.path(), start()).await;
    let (ada, bob) = (user("ada"), user("bob"));
    let hers = process.sessions.open(&ada).await.expect("a session");
    let his = process.sessions.open(&bob).await.expect("a session");
    let hers = hers.view().id().clone();
    process.sessions.switch(&ada, &hers, context("openai")).await.expect("switched");
    process.sessions.close(&bob, his.view().id()).await.expect("closed");
    process.stop().await;

    let process = Process::start(directory.path(), start() + Duration::from_hours(1)).await;
    let again = process.sessions.attach(&ada, &hers).await.expect("still there");
    assert_eq!(active(&again).as_deref(), Some("openai"));
    assert_eq!(again.view().created(), start());
    assert_eq!(process.sessions.list(&ada).await.expect("a list").len(), 1);
    assert_eq!(process.sessions.list(&bob).await.expect("a list").len(), 0);
    process.stop().await;
}

#[tokio::test]
async fn sessions_survive_a_crash_of_the_manager_and_so_do_their_handles() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut process = Process::start(directory.path(), start()).await;
    let ada = user("ada");
    let session = process.sessions.open(&ada).await.expect("a session");
    let id = session.view().id().clone();
    process.sessions.switch(&ada, &id, context("openai")).await.expect("switched");
    for provider in ["anthropic", "google", "orange"] {
        assert!(process.root.crash_child("sessions").await);
        assert!(session.enter().is_ok(), "reading needs no manager");
        process.sessions.switch(&ada, &id, context(provider)).await.expect("switched");
        assert_eq!(active(&session).as_deref(), Some(provider), "the old handle sees it");
        // The first restart is immediate; the next within a minute would wait.
        process.clock.advance(Duration::from_mins(2));
    }
    process.event(|kind| matches!(kind, EventKind::ActorRestarted { .. })).await;
    process.stop().await;
}

#[tokio::test]
async fn activity_that_was_not_written_survives_a_crash_of_the_manager() {
    let directory = tempfile::tempdir().expect("a directory");
    let process = Process::start(directory.path(), start()).await;
    let ada = user("ada");
    let session = process.sessions.open(&ada).await.expect("a session");
    process.clock.advance(Duration::from_secs(50));
    session.enter().expect("usable");
    process.sessions.list(&ada).await.expect("the manager hears of it");
    assert!(process.root.crash_child("sessions").await);
    process.sessions.list(&ada).await.expect("a new manager");

    // On the wall clock alone, as in a sleeping machine: no sweep in between.
    process.clock.suspend(Duration::from_hours(24) - Duration::from_secs(10));
    let found = process.sessions.attach(&ada, session.view().id()).await;
    assert!(found.is_ok_and(|found| found.enter().is_ok()), "used less than 24 hours ago");
    process.stop().await;
}

#[tokio::test]
async fn requests_that_a_crash_interrupts_leave_what_is_seen_equal_to_what_is_durable() {
    let directory = tempfile::tempdir().expect("a directory");
    let process = Process::start(directory.path(), start()).await;
    let ada = user("ada");
    let session = process.sessions.open(&ada).await.expect("a session");
    let id = session.view().id().clone();
    for round in 0..20 {
        let provider = ["openai", "anthropic", "google"][round % 3];
        let switch = process.sessions.switch(&ada, &id, context(provider));
        let (switched, _) = tokio::join!(switch, process.root.crash_child("sessions"));
        if switched.is_ok() {
            assert_eq!(active(&session).as_deref(), Some(provider));
        }
        process.clock.advance(Duration::from_mins(2));
    }
    process.sessions.switch(&ada, &id, context("orange")).await.expect("switched");
    process.stop().await;
    let process = Process::start(directory.path(), start()).await;
    let again = process.sessions.attach(&ada, &id).await.expect("still there");
    assert_eq!(active(&again).as_deref(), Some("orange"));
    process.stop().await;
}

#[tokio::test]
async fn a_session_of_another_user_can_not_be_seen_or_touched() {
    let directory = tempfile::tempdir().expect("a directory");
    let process = Process::start(directory.path(), start()).await;
    let (sessions, ada, bob) = (&process.sessions, user("ada"), user("bob"));
    let hers = sessions.open(&ada).await.expect("a session");
    let id = hers.view().id().clone();
    let entropy = process.clock.sources().entropy;
    let nobodys = SessionId::random(&*entropy).expect("randomness");
    let mut answers = Vec::new();
    for id in [&id, &nobodys] {
        let errors: [Error; 7] = [
            sessions.attach(&bob, id).await.map(|_| ()).expect_err("refused"),
            sessions.switch(&bob, id, context("openai")).await.expect_err("refused"),
            sessions.prefer(&bob, id, context("openai")).await.expect_err("refused"),
            sessions.active(&bob, id).await.map(|_| ()).expect_err("refused"),
            sessions.providers(&bob, id).await.map(|_| ()).expect_err("refused"),
            sessions.touch(&bob, id).await.expect_err("refused"),
            sessions.close(&bob, id).await.expect_err("refused"),
        ];
        assert!(errors.iter().all(Error::is_not_found));
        answers.push(errors.map(|error| format!("{error:?}")));
    }
    assert_eq!(answers[0], answers[1], "hers and nobody's look the same");
    assert!(sessions.list(&bob).await.expect("a list").is_empty());
    assert!(sessions.peek(&bob, &id).is_none() && sessions.peek(&ada, &id).is_some());
    assert!(hers.enter().is_ok());
    assert_eq!(active(&hers), None);
    process.stop().await;
}

#[tokio::test]
async fn an_unused_session_expires_and_is_cleaned_up_and_a_used_one_lives() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut process = Process::start(directory.path(), start()).await;
    let ada = user("ada");
    let used = process.sessions.open(&ada).await.expect("a session");
    let left = process.sessions.open(&ada).await.expect("a session");
    process.clock.advance(Duration::from_hours(23));
    used.enter().expect("usable");
    process.clock.advance(Duration::from_hours(1));
    assert!(left.enter().is_err_and(|error| error.is_expired()), "before the clean-up");
    let id = left.view().id().clone();
    process
        .event(|kind| matches!(kind, EventKind::SessionExpired { session, .. } if *session == id))
        .await;
    assert_eq!(left.view().standing(), Standing::Expired);
    assert!(used.enter().is_ok());
    assert_eq!(process.records().await, 1);
    let gone = process.sessions.attach(&ada, &id).await.expect_err("cleaned up");
    assert!(gone.is_not_found());
    process.stop().await;
}

#[tokio::test]
async fn a_session_that_expired_while_no_process_ran_is_cleaned_up_at_the_start() {
    let directory = tempfile::tempdir().expect("a directory");
    let process = Process::start(directory.path(), start()).await;
    let ada = user("ada");
    let used = process.sessions.open(&ada).await.expect("a session");
    let left = process.sessions.open(&ada).await.expect("a session");
    process.clock.advance(Duration::from_hours(12));
    used.enter().expect("usable");
    process.stop().await;

    let mut process = Process::start(directory.path(), start() + Duration::from_hours(30)).await;
    let id = left.view().id().clone();
    process
        .event(|kind| matches!(kind, EventKind::SessionExpired { session, .. } if *session == id))
        .await;
    let again = process.sessions.attach(&ada, used.view().id()).await;
    assert!(again.is_ok(), "its last activity was kept by the orderly stop");
    assert_eq!(process.records().await, 1);
    process.stop().await;
}

#[tokio::test]
async fn activity_is_written_once_a_minute_and_not_with_every_request() {
    let directory = tempfile::tempdir().expect("a directory");
    let process = Process::start(directory.path(), start()).await;
    let ada = user("ada");
    let session = process.sessions.open(&ada).await.expect("a session");
    let version = || async { process.vault.inspect().await.expect("an inspection").version };
    let before = version().await;
    for _ in 0..1_000 {
        session.enter().expect("usable");
        process.clock.advance(Duration::from_millis(10));
    }
    process.sessions.touch(&ada, session.view().id()).await.expect("touched");
    assert_eq!(version().await, before, "nothing was written yet");

    process.clock.advance(Duration::from_mins(1));
    while version().await == before {
        tokio::task::yield_now().await;
    }
    assert_eq!(version().await.0, before.0 + 1);
    assert_eq!(session.last_activity(), start() + Duration::from_secs(10));
    process.stop().await;
}

#[tokio::test]
async fn a_closed_session_is_over_for_everyone_who_holds_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut process = Process::start(directory.path(), start()).await;
    let ada = user("ada");
    let session = process.sessions.open(&ada).await.expect("a session");
    let id = session.view().id().clone();
    process.sessions.close(&ada, &id).await.expect("closed");
    assert!(session.enter().is_err_and(|error| error.is_not_found()));
    assert!(process.sessions.close(&ada, &id).await.is_err_and(|error| error.is_not_found()));
    assert_eq!(process.records().await, 0);
    process.event(|kind| matches!(kind, EventKind::SessionClosed { .. })).await;
    process.stop().await;
}

#[tokio::test]
async fn messages_do_the_same_as_methods() {
    let directory = tempfile::tempdir().expect("a directory");
    let process = Process::start(directory.path(), start()).await;
    let (ada, messages) = (user("ada"), process.sessions.messages());
    let opened = messages.ask(|reply| SessionMessage::Open { user: ada.clone(), reply }).await;
    let session = opened.expect("an answer").expect("a session");
    let id = session.view().id().clone();
    let switched = messages
        .ask(|reply| SessionMessage::Switch {
            user: ada.clone(),
            session: id.clone(),
            context: context("openai"),
            reply,
        })
        .await;
    switched.expect("an answer").expect("switched");
    assert_eq!(process.sessions.active(&ada, &id).await.expect("read"), Some(context("openai")));
    process.stop().await;
}

#[tokio::test]
async fn a_record_that_is_no_session_is_left_alone_and_harms_no_other() {
    let directory = tempfile::tempdir().expect("a directory");
    let process = Process::start(directory.path(), start()).await;
    let ada = user("ada");
    let session = process.sessions.open(&ada).await.expect("a session");
    for (name, payload) in [("newer", r#"{"format":2}"#), ("garbage", "\u{0}")] {
        let key = RecordKey::new(RecordKind::Session, ada.clone(), name);
        let payload = zeroize::Zeroizing::new(payload.as_bytes().to_vec());
        let batch = Batch::new().put(key, payload, Expect::Absent, Tags::default());
        process.vault.commit(batch).await.expect("put");
    }
    process.stop().await;

    let process = Process::start(directory.path(), start()).await;
    let listed = process.sessions.list(&ada).await.expect("a list");
    assert_eq!(
        listed.iter().map(|s| s.view().id().clone()).collect::<Vec<_>>(),
        [session.view().id().clone()]
    );
    assert_eq!(process.records().await, 3, "nothing was removed");
    process.stop().await;
}

#[tokio::test]
async fn many_switches_at_once_end_in_one_that_was_asked_for() {
    let directory = tempfile::tempdir().expect("a directory");
    let process = Process::start(directory.path(), start()).await;
    let (sessions, ada) = (&process.sessions, user("ada"));
    let session = sessions.open(&ada).await.expect("a session");
    let id = session.view().id().clone();
    let switches = (0..200).map(|number| {
        sessions.switch(&ada, &id, context(["openai", "google", "orange"][number % 3]))
    });
    for switched in futures_util::future::join_all(switches).await {
        switched.expect("switched");
    }
    assert_eq!(active(&session).as_deref(), Some("google"), "the last one that was asked for");
    process.stop().await;
}
