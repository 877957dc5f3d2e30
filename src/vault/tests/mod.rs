//! The vault as a whole, on disk and through its actor.

mod attacks;
#[cfg(feature = "redb")]
mod engines;
mod entries;
mod erasing;
mod faults;
mod grouping;
mod migration;
mod model;
#[cfg(unix)]
mod power_cut;
mod refusals;
mod restoring;
mod rotation;
mod tampering;
mod torn;
mod turns;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;
use zeroize::Zeroizing;

use super::store::{MemoryStore, OpenStore, StoreBatch, StoreError, StoreHealth, Stored};
use super::store::{VaultStore, Visit};
use super::*;
use crate::clock::Sources;
use crate::event::EventKind;
use crate::identity::{ProviderId, UserId};
use crate::supervision::{EventBus, Events, Notice, Supervisor};
use crate::testing::ManualClock;

/// How long anything may take that is to come by itself. What never comes fails its test, and does not
/// hold up all others.
const PATIENCE: Duration = Duration::from_mins(1);

/// What `future` comes to. The vault's thread answers to no clock of ours, so this is real time.
async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it comes in a minute")
}

/// A vault's actor beneath a supervisor of its own.
struct Running {
    root: Supervisor,
    vault: VaultHandle,
    events: Events,
}

impl Running {
    async fn start(vault: Vault) -> Result<Self, VaultError> {
        Self::start_with(vault, Sources::system()).await
    }

    async fn start_with(vault: Vault, sources: Sources) -> Result<Self, VaultError> {
        let bus = EventBus::new(sources.clone());
        let events = bus.subscribe();
        let root = Supervisor::start("root", sources.clone(), bus.clone()).await.expect("a root");
        let vault = VaultHandle::start(vault, &root, sources, bus).await?;
        Ok(Self { root, vault, events })
    }

    async fn stop(self) {
        assert_eq!(self.root.drain(Duration::from_secs(10)).await, Vec::<String>::new());
    }

    /// Waits for the first event that `wanted` wants.
    async fn event(&mut self, wanted: impl Fn(&EventKind) -> bool) {
        loop {
            match in_time(self.events.next()).await.expect("more events") {
                Notice::Event(event) if wanted(&event.kind) => return,
                _ => {}
            }
        }
    }

    /// Whether an event that `wanted` wants was told, and not waited for yet.
    fn has_told(&mut self, wanted: impl Fn(&EventKind) -> bool) -> bool {
        let mut told = std::iter::from_fn(|| self.events.next().now_or_never().flatten());
        told.any(|notice| matches!(&notice, Notice::Event(event) if wanted(&event.kind)))
    }
}

fn on_disk(path: &Path) -> Vault {
    let key = MasterKey::from_bytes([7; 32]);
    // A small reserve, since some tests search through every file.
    Vault::open(path.join("agent.vault")).master_key(key).reserve(10_000)
}

fn user(name: &str) -> UserId {
    UserId::new(name).expect("a name")
}

fn key(user_name: &str, name: &str) -> RecordKey {
    RecordKey::new(RecordKind::Credential, user(user_name), name)
}

fn put(key: &RecordKey, payload: &[u8], expect: Expect) -> Batch {
    Batch::new().put(key.clone(), Zeroizing::new(payload.to_vec()), expect, Tags::default())
}

async fn payload(vault: &VaultHandle, key: &RecordKey) -> Option<Vec<u8>> {
    vault.read(key).await.expect("a read").map(|record| record.payload.to_vec())
}

#[tokio::test]
async fn what_was_committed_is_there_after_a_reopening() {
    let directory = tempfile::tempdir().expect("a directory");
    let running = Running::start(on_disk(directory.path())).await.expect("a vault");
    for length in [0, 100, 4 * 1024, 100 * 1024] {
        let record = key("ada", &length.to_string());
        running
            .vault
            .commit(put(&record, &vec![9; length], Expect::Absent))
            .await
            .expect("durable");
        assert_eq!(payload(&running.vault, &record).await, Some(vec![9; length]));
    }
    running.stop().await;
    let running = Running::start(on_disk(directory.path())).await.expect("the same vault");
    for length in [0, 100, 4 * 1024, 100 * 1024] {
        let record = key("ada", &length.to_string());
        assert_eq!(payload(&running.vault, &record).await, Some(vec![9; length]));
    }
    assert_eq!(payload(&running.vault, &key("bob", "0")).await, None);
    running.stop().await;
}

#[tokio::test]
async fn a_batch_is_applied_whole_or_not_at_all() {
    let running = Running::start(Vault::in_memory()).await.expect("a vault");
    let vault = &running.vault;
    let (one, two) = (key("ada", "one"), key("ada", "two"));
    vault.commit(put(&one, b"1", Expect::Absent)).await.expect("durable");
    let version = vault.read(&one).await.expect("a read").expect("a record").version;
    let refused = put(&two, b"2", Expect::Anything).require(one.clone(), Expect::Absent);
    assert!(vault.commit(refused).await.is_err_and(|error| error.is_conflict()));
    assert_eq!(payload(vault, &two).await, None);
    let moved = put(&two, b"2", Expect::Absent).delete(one.clone(), Expect::Version(version));
    vault.commit(moved).await.expect("durable");
    assert_eq!(payload(vault, &one).await, None);
    assert_eq!(payload(vault, &two).await, Some(b"2".to_vec()));
    let stale = put(&one, b"1", Expect::Version(version));
    assert!(vault.commit(stale).await.is_err_and(|error| error.is_conflict()));
    running.stop().await;
}

#[tokio::test]
async fn a_batch_that_makes_no_sense_is_refused() {
    let running = Running::start(Vault::in_memory()).await.expect("a vault");
    let record = key("ada", "one");
    let twice = put(&record, b"1", Expect::Anything).delete(record.clone(), Expect::Anything);
    let error = running.vault.commit(twice).await.expect_err("refused");
    assert!(crate::Error::from(error).is_invalid_input());
    let large = put(&record, &vec![0; 1024 * 1024 + 1], Expect::Anything);
    assert!(running.vault.commit(large).await.is_err_and(|error| error.is_too_large()));
    let long = put(&key("ada", &"x".repeat(1025)), b"1", Expect::Anything);
    assert!(running.vault.commit(long).await.is_err_and(|error| error.is_too_large()));
    assert_eq!(payload(&running.vault, &record).await, None);
    running.stop().await;
}

#[tokio::test]
async fn records_are_found_by_user_provider_and_due_time() {
    let directory = tempfile::tempdir().expect("a directory");
    let running = Running::start(on_disk(directory.path())).await.expect("a vault");
    let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let openai = ProviderId::new("openai").expect("a name");
    for (who, provider, due) in
        [("ada", Some(&openai), Some(30)), ("ada", None, Some(10)), ("bob", Some(&openai), None)]
    {
        let record = key(who, &format!("{provider:?} {due:?}"));
        let tags = Tags { provider: provider.cloned(), due: due.map(at) };
        let batch = Batch::new().put(record, Zeroizing::default(), Expect::Absent, tags);
        running.vault.commit(batch).await.expect("durable");
    }
    running.stop().await;
    let running = Running::start(on_disk(directory.path())).await.expect("the same vault");
    let all = Query::all(RecordKind::Credential);
    let found = async |query: &Query| running.vault.list(query.clone()).await.expect("a list");
    assert_eq!(found(&all).await.len(), 3);
    assert_eq!(found(&all.clone().of_user(user("ada"))).await.len(), 2);
    assert_eq!(found(&all.clone().for_provider(openai.clone())).await.len(), 2);
    let due = found(&all.clone().due_before(at(30))).await;
    let dues: Vec<_> = due.iter().map(|entry| entry.tags.due).collect();
    assert_eq!(dues, [Some(at(10)), Some(at(30))]);
    assert_eq!(found(&Query::all(RecordKind::Session)).await, []);
    running.stop().await;
}

#[tokio::test]
async fn a_wrong_a_missing_and_an_unusable_key_are_three_errors() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("master");
    let vault = || Vault::open(directory.path().join("agent.vault"));
    let with_file = || vault().master_key(MasterKey::from_file(&file));
    let missing = Running::start(with_file()).await.err().expect("an error");
    assert!(missing.is_missing_key());
    assert!(!directory.path().join("agent.vault").exists(), "nothing is left behind");
    let created = vault().master_key(MasterKey::from_file(&file).create_if_missing());
    Running::start(created.clone()).await.expect("a vault").stop().await;

    let wrong = vault().master_key(MasterKey::from_bytes([8; 32]));
    let error = Running::start(wrong).await.err().expect("an error");
    assert!(error.is_wrong_key() && !error.is_damaged());
    assert!(crate::Error::from(error).is_vault_locked());

    std::fs::write(&file, "correct horse battery staple").expect("written");
    let error = Running::start(with_file()).await.err().expect("an error");
    assert!(error.is_unusable_key());

    std::fs::remove_file(&file).expect("removed");
    let error = Running::start(created).await.err().expect("an error");
    assert!(error.is_missing_key(), "an existing vault never gets a new key: {error}");
    assert!(!file.exists());
    let none = Running::start(vault()).await.err().expect("an error");
    assert!(none.is_missing_key());
}

#[tokio::test]
async fn a_vault_that_is_open_can_not_be_opened_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let running = Running::start(on_disk(directory.path())).await.expect("a vault");
    let error = Running::start(on_disk(directory.path())).await.err().expect("an error");
    assert!(error.is_in_use());
    assert!(crate::Error::from(error).is_vault_in_use());
    running.stop().await;
    Running::start(on_disk(directory.path())).await.expect("free again").stop().await;
}

#[tokio::test]
async fn neither_a_vault_nor_its_key_is_created_when_that_is_forbidden() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("master");
    let key = MasterKey::from_file(&file).create_if_missing();
    let on_disk = on_disk(directory.path()).master_key(key.clone());
    let in_memory = Vault::in_memory().master_key(key);
    for vault in [on_disk, in_memory] {
        let opened = Running::start(vault.create_if_missing(false)).await;
        assert!(opened.is_err_and(|error| error.is_absent()));
    }
    assert_eq!(std::fs::read_dir(directory.path()).expect("a directory").count(), 0);
}

#[tokio::test]
async fn the_same_memory_can_be_opened_again() {
    let vault = Vault::in_memory();
    let running = Running::start(vault.clone()).await.expect("a vault");
    running.vault.commit(put(&key("ada", "one"), b"1", Expect::Absent)).await.expect("kept");
    running.stop().await;
    let running = Running::start(vault).await.expect("the same vault");
    assert_eq!(payload(&running.vault, &key("ada", "one")).await, Some(b"1".to_vec()));
    running.stop().await;
}

#[tokio::test]
async fn a_store_that_lost_everything_is_damaged_and_not_new() {
    let directory = tempfile::tempdir().expect("a directory");
    Running::start(on_disk(directory.path())).await.expect("a vault").stop().await;
    std::fs::remove_dir_all(directory.path().join("agent.vault/store")).expect("removed");
    let error = Running::start(on_disk(directory.path())).await.err().expect("an error");
    assert!(error.is_damaged());
}

#[tokio::test]
async fn of_64_writers_who_expect_the_same_exactly_one_succeeds_and_the_rest_are_told() {
    let running = Running::start(Vault::in_memory()).await.expect("a vault");
    let record = key("ada", "one");
    for round in 0..10 {
        let before = running.vault.read(&record).await.expect("a read");
        let expect = before.map_or(Expect::Absent, |record| Expect::Version(record.version));
        let writers = (0..64_u8).map(|writer| {
            let (vault, batch) = (running.vault.clone(), put(&record, &[round, writer], expect));
            async move { vault.commit(batch).await.map(|()| writer) }
        });
        let outcomes = futures_util::future::join_all(writers).await;
        let winners: Vec<u8> = outcomes.iter().filter_map(|o| o.as_ref().ok().copied()).collect();
        assert_eq!(winners.len(), 1);
        assert_eq!(payload(&running.vault, &record).await, Some(vec![round, winners[0]]));
        assert!(outcomes.into_iter().filter_map(Result::err).all(|error| error.is_conflict()));
    }
    running.stop().await;
}

#[tokio::test]
async fn nothing_readable_stands_in_the_files() {
    let directory = tempfile::tempdir().expect("a directory");
    let running = Running::start(on_disk(directory.path())).await.expect("a vault");
    let canaries = ["canary-user", "canary-provider", "canary-label", "canary-token"];
    let [who, provider, label, token] = canaries;
    for length in [1, 500] {
        let record = key(who, &format!("{label} {length}"));
        let provider = Some(ProviderId::new(provider).expect("a name"));
        let tags = Tags { provider, due: Some(SystemTime::UNIX_EPOCH) };
        let secret = Zeroizing::new(token.repeat(length).into_bytes());
        running
            .vault
            .commit(Batch::new().put(record, secret, Expect::Absent, tags))
            .await
            .expect("ok");
    }
    running.stop().await;
    let mut files = 0;
    let mut directories = vec![directory.path().to_owned()];
    while let Some(next) = directories.pop() {
        for entry in std::fs::read_dir(next).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            files += 1;
            let bytes = std::fs::read(&path).expect("a file");
            for canary in canaries.iter().chain(&["credential"]) {
                let found = bytes.windows(canary.len()).any(|window| window == canary.as_bytes());
                assert!(!found, "{canary} stands in {}", path.display());
            }
        }
    }
    assert!(files >= 3, "the lock, the mark and the data");
}

#[tokio::test]
async fn a_crash_of_the_actor_loses_nothing_and_leaves_no_one_waiting() {
    let directory = tempfile::tempdir().expect("a directory");
    let running = Running::start(on_disk(directory.path())).await.expect("a vault");
    let writers = (0..40).map(|number| {
        let (vault, root) = (running.vault.clone(), running.root.clone());
        tokio::spawn(async move {
            if number % 20 == 10 {
                root.crash_child("vault").await;
            }
            let record = key("ada", &number.to_string());
            let outcome = vault.commit(put(&record, b"kept", Expect::Absent)).await;
            (record, outcome)
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        let (record, outcome) = writer.await.expect("it does not hang");
        match outcome {
            Ok(()) => assert_eq!(payload(&running.vault, &record).await, Some(b"kept".to_vec())),
            Err(error) => assert!(error.is_unavailable(), "{error}"),
        }
    }
    running.stop().await;
}

impl opened::OpenVault {
    /// Erases a user at once, as the vault's thread does by and by.
    fn erase_user(&mut self, user: &UserId) -> Result<usize, commit::Failure> {
        let records = self.delete_user(user)?;
        self.finish_erasure()?;
        Ok(records)
    }
}

/// Lets simulated time pass whenever something waits for it.
async fn pass_time(clock: Arc<ManualClock>) {
    loop {
        clock.until_waits(1).await;
        clock.advance(clock.next_wait().unwrap_or_default());
        tokio::task::yield_now().await;
    }
}
