//! Exports, imports, backups and restorations, as a host does them.

use std::path::Path;
use std::time::{Duration, SystemTime};

use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use zeroize::Zeroizing;

use super::*;
use crate::clock::Sources;
use crate::identity::{ProviderId, UserId};
use crate::supervision::{EventBus, Supervisor};
use crate::testing::{ManualClock, VaultFault, VaultFaults};
use crate::vault::audit::{Audit, AuditQuery};
use crate::vault::store::contract::files_with;
use crate::vault::store::steps;
use crate::vault::store::{copy_whole, keep_free};
use crate::vault::{Batch, Expect, MasterKey, Query, RecordKey, RecordKind, Tags, VaultHandle};

const RECORDS: u32 = 600;

fn passphrase() -> Secret {
    Secret::new("correct horse battery staple")
}

fn at(path: &Path, key: u8) -> Vault {
    Vault::open(path).master_key(MasterKey::from_bytes([key; 32])).reserve(0)
}

async fn start(vault: Vault, sources: Sources) -> (Supervisor, VaultHandle) {
    let bus = EventBus::new(sources.clone());
    let root = Supervisor::start("root", sources.clone(), bus.clone()).await.expect("a root");
    let handle = VaultHandle::start(vault, &root, sources, bus).await.expect("a vault");
    (root, handle)
}

async fn stop(root: Supervisor) {
    assert_eq!(root.drain(Duration::from_secs(10)).await, Vec::<String>::new());
}

fn key(number: u32) -> RecordKey {
    let user = UserId::new(&format!("user-{}", number % 7)).expect("a name");
    RecordKey::new(RecordKind::Credential, user, format!("canary-name-{number}"))
}

fn payload(number: u32) -> Vec<u8> {
    let length = usize::try_from(number * 101 % 9_000).expect("small");
    [b"canary-token".as_slice(), &vec![number.to_le_bytes()[0]; length]].concat()
}

/// Fills a vault with records of many sizes, in a time long ago.
async fn fill(vault: &VaultHandle) {
    for first in (0..RECORDS).step_by(100) {
        let mut batch = Batch::new();
        for number in first..first + 100 {
            let due = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::from(number));
            let tags =
                Tags { provider: Some(ProviderId::new("openai").expect("a name")), due: Some(due) };
            let payload = Zeroizing::new(payload(number));
            batch = batch.put(key(number), payload, Expect::Absent, tags);
        }
        vault.commit(batch).await.expect("durable");
    }
}

async fn assert_filled(vault: &VaultHandle, created: SystemTime) {
    let entries = vault.list(Query::all(RecordKind::Credential)).await.expect("a list");
    assert_eq!(entries.len(), usize::try_from(RECORDS).expect("small"));
    assert_filled_from(0, vault, created).await;
}

async fn assert_filled_from(first: u32, vault: &VaultHandle, created: SystemTime) {
    let entries = vault.list(Query::all(RecordKind::Credential)).await.expect("a list");
    for number in first..RECORDS {
        let record = vault.read(&key(number)).await.expect("a read").expect("a record");
        assert_eq!(*record.payload, payload(number));
        assert_eq!((record.created, record.updated), (created, created));
    }
    assert!(entries.iter().all(|entry| entry.tags.due.is_some()));
}

/// A filled vault beneath `directory`, and the time in which it was filled.
async fn filled(directory: &Path) -> (Supervisor, VaultHandle, SystemTime) {
    let clock = ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_hours(1_000));
    let (root, vault) = start(at(&directory.join("vault"), 1), clock.sources()).await;
    fill(&vault).await;
    (root, vault, clock.sources().now().wall)
}

async fn export(vault: &VaultHandle, path: &Path) -> Exported {
    let file = ExportFile::create(path, passphrase(), &Sources::system()).await.expect("a file");
    vault.export(file).await.expect("exported")
}

/// What the audit trail tells of, after it was verified.
async fn recorded(vault: &VaultHandle) -> Vec<AuditKind> {
    let audit = Audit::new(vault.clone());
    assert_eq!(audit.verify().await.expect("a verification").finding, None);
    let page = audit.entries(AuditQuery::all()).await.expect("a page");
    page.entries.iter().map(|entry| entry.kind).collect()
}

#[tokio::test]
async fn an_export_that_can_not_be_recorded_leaves_no_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let (vault, disk) = VaultFaults::over(at(&directory.path().join("vault"), 1));
    let (root, vault) = start(vault, Sources::system()).await;
    fill(&vault).await;
    disk.set(VaultFault::NoRoom);
    let path = directory.path().join("all.export");
    let file = ExportFile::create(&path, passphrase(), &Sources::system()).await.expect("a file");
    let error = vault.export(file).await.expect_err("nothing can be recorded");
    assert!(error.is_full(), "{error}");
    assert!(!path.exists());
    disk.heal();
    assert_eq!(export(&vault, &path).await.records, 600);
    assert_eq!(recorded(&vault).await, [AuditKind::VaultExported]);
    stop(root).await;
}

#[tokio::test]
async fn an_export_makes_the_same_vault_anew_under_another_master_key() {
    let directory = tempfile::tempdir().expect("a directory");
    let (root, vault, created) = filled(directory.path()).await;
    let folder = directory.path().join("exports");
    fs::create_dir(&folder).expect("a directory");
    let file = folder.join("all.export");
    let exported = export(&vault, &file).await;
    assert_eq!((exported.records, exported.left_out), (600, 0));
    assert_eq!(recorded(&vault).await, [AuditKind::VaultExported]);
    stop(root).await;
    for canary in ["canary-name", "canary-token", "user-1", "openai"] {
        assert_eq!(files_with(&folder, canary.as_bytes()), 0, "{canary}");
    }

    let other = at(&directory.path().join("other"), 2);
    let imported = other.clone().create_if_missing(false).import(&file, passphrase()).await;
    let imported = imported.expect("to import is to create");
    assert_eq!(imported, exported);
    let (root, vault) = start(other.clone(), Sources::system()).await;
    assert_filled(&vault, created).await;
    assert_eq!(recorded(&vault).await, [AuditKind::VaultImported], "the former trail is elsewhere");
    stop(root).await;
    let again = other.import(&file, passphrase()).await;
    assert!(again.is_err_and(|error| error.is_occupied()), "nothing is overwritten");
    let in_memory = Vault::in_memory();
    in_memory.import(&file, passphrase()).await.expect("imported");
    let (root, vault) = start(in_memory, Sources::system()).await;
    assert_filled(&vault, created).await;
    stop(root).await;
}

#[tokio::test]
async fn an_export_that_is_cut_or_changed_or_another_s_makes_no_vault() {
    let directory = tempfile::tempdir().expect("a directory");
    let (root, vault, _) = filled(directory.path()).await;
    let file = directory.path().join("all.export");
    export(&vault, &file).await;
    stop(root).await;
    let whole = fs::read(&file).expect("a file");
    let place = directory.path().join("other");
    let other = at(&place, 2);
    let damaged = directory.path().join("damaged.export");
    let mut changed = whole.clone();
    changed[whole.len() / 2] ^= 1;
    for bytes in [&whole[..whole.len() - 1], &whole[..whole.len() / 2], &changed, b"", b"else"] {
        fs::write(&damaged, bytes).expect("written");
        let error = other.import(&damaged, passphrase()).await.expect_err("refused");
        assert!(error.is_damaged(), "{error}");
    }
    let wrong = Secret::new("another horse battery staple");
    let error = other.import(&file, wrong).await.expect_err("refused");
    assert!(error.is_wrong_key(), "{error}");
    assert!(!place.exists() && !directory.path().join("other.tokenward-unfinished").exists());
    other.import(&file, passphrase()).await.expect("it is as good as ever");
}

#[tokio::test]
async fn an_export_overwrites_nothing_and_needs_a_passphrase_worth_the_name() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("all.export");
    let short = ExportFile::create(&file, Secret::new("short"), &Sources::system()).await;
    assert!(short.is_err_and(|error| error.is_unusable_key()));
    fs::write(&file, "precious").expect("written");
    let taken = ExportFile::create(&file, passphrase(), &Sources::system()).await;
    assert!(taken.is_err_and(|error| error.is_occupied()));
    assert_eq!(fs::read(&file).expect("a file"), b"precious");
}

#[tokio::test]
async fn a_backup_is_made_while_the_vault_is_written_and_is_restored_as_it_was() {
    let directory = tempfile::tempdir().expect("a directory");
    let (root, vault, created) = filled(directory.path()).await;
    let backup = directory.path().join("backup");
    // Not ours, whatever it is called.
    for name in ["backup.new", "other.new"] {
        fs::create_dir(directory.path().join(name)).expect("a directory");
    }
    let later = vault.commit(Batch::new().delete(key(0), Expect::Anything));
    let (backed_up, written) = tokio::join!(vault.back_up(&backup), later);
    backed_up.expect("backed up");
    written.expect("durable");
    assert!(vault.read(&key(0)).await.expect("a read").is_none());
    let (live, copy) = (directory.path().join("vault"), directory.path().join("copy"));
    let restored = at(&copy, 1).restore(&live).await;
    assert!(restored.is_err_and(|error| error.is_in_use()), "a vault in use is no backup");
    assert!(!copy.exists());
    let again = vault.back_up(&backup).await;
    assert!(again.is_err_and(|error| error.is_occupied()));
    stop(root).await;

    let place = at(&directory.path().join("vault"), 1);
    let over = place.restore(&backup).await;
    assert!(over.is_err_and(|error| error.is_occupied()), "nothing is overwritten");
    let other = directory.path().join("other");
    let wrong = at(&other, 9).restore(&backup).await;
    assert!(wrong.is_err_and(|error| error.is_wrong_key()));
    assert!(!other.exists());
    let none = at(&other, 1).restore(directory.path().join("nothing")).await;
    assert!(none.is_err_and(|error| error.is_absent()));
    at(&other, 1).restore(&backup).await.expect("restored");
    let (root, vault) = start(at(&other, 1), Sources::system()).await;
    // It shows the vault as it was at its end, so the one write may be in it.
    assert_filled_from(1, &vault, created).await;
    stop(root).await;
    assert!(["backup.new", "other.new"].iter().all(|name| directory.path().join(name).exists()));
}

/// Tries to take a directory each time something is written to the disk.
struct Intruder {
    directory: PathBuf,
    tries: std::sync::atomic::AtomicUsize,
    taken: std::sync::atomic::AtomicUsize,
}

struct Told(Arc<Intruder>);

impl<S: tracing::Subscriber> Layer<S> for Told {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        use std::sync::atomic::Ordering::Relaxed;
        if event.metadata().target() == "tokenward::vault::disk" {
            self.0.tries.fetch_add(1, Relaxed);
            let taken = keep_free(&self.0.directory).is_ok();
            self.0.taken.fetch_add(usize::from(taken), Relaxed);
        }
    }
}

#[tokio::test]
async fn nobody_opens_a_backup_while_it_is_copied() {
    let directory = tempfile::tempdir().expect("a directory");
    let (root, vault, _) = filled(directory.path()).await;
    let backup = directory.path().join("backup");
    vault.back_up(&backup).await.expect("backed up");
    stop(root).await;
    let aside = directory.path().join("aside");
    let none = std::sync::atomic::AtomicUsize::default;
    let intruder = Arc::new(Intruder { directory: backup.clone(), tries: none(), taken: none() });
    let log = tracing_subscriber::registry().with(Told(Arc::clone(&intruder)));
    let copied = tracing::subscriber::with_default(log, || {
        // Tests on other threads, where nobody listens, may have made the step be passed over.
        steps::done(steps::WRITTEN, &backup);
        tracing::callsite::rebuild_interest_cache();
        assert_eq!(intruder.taken.swap(0, std::sync::atomic::Ordering::Relaxed), 1, "it is free");
        copy_whole(&backup, &aside)
    });
    copied.expect("copied");
    assert!(intruder.tries.load(std::sync::atomic::Ordering::Relaxed) > 2);
    assert_eq!(intruder.taken.load(std::sync::atomic::Ordering::Relaxed), 0);
    assert!(keep_free(&backup).is_ok(), "and is free again");
    at(&aside, 1).inspect().await.expect("the copy opens");
}

#[tokio::test]
async fn an_export_shows_the_vault_as_it_was_when_it_began_whatever_is_written_meanwhile() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("all.export");
    let mut vault =
        OpenVault::open(&Vault::in_memory(), Sources::system(), Arc::new(|_| {})).expect("a vault");
    let commit = |vault: &mut OpenVault, batch| {
        vault.commit(vec![batch]).verdicts.remove(0).expect("durable");
    };
    let intent = |number| RecordKey { kind: RecordKind::Rotation, ..key(number) };
    let put = |batch: Batch, key, payload: &[u8]| {
        let payload = Zeroizing::new(payload.to_vec());
        batch.put(key, payload, Expect::Anything, Tags::default())
    };
    for number in 0..RECORDS {
        let batch = put(Batch::new(), key(number), b"material");
        commit(&mut vault, put(batch, intent(number), b"intent"));
    }
    let to = ExportFile::create(&file, passphrase(), &Sources::system()).await.expect("a file");
    vault.begin_export(to);
    let mut turn = 0;
    while !vault.continue_export().expect("a page") {
        // Renewals end, users sign out and come: in what was reached and in what was not.
        for number in (turn * 100..RECORDS).step_by(37) {
            let batch = put(Batch::new(), key(number), b"renewed");
            commit(&mut vault, batch.delete(intent(number), Expect::Anything));
        }
        for number in (turn * 100 + 1..RECORDS).step_by(41) {
            commit(&mut vault, Batch::new().delete(key(number), Expect::Anything));
        }
        commit(&mut vault, put(Batch::new(), key(RECORDS + turn), b"new"));
        turn += 1;
    }
    assert!(turn >= 3, "it takes many pages");
    let exported = vault.end_export().expect("recorded").finish().expect("a file");
    let all = 2 * usize::try_from(RECORDS).expect("small");
    assert_eq!((exported.records, exported.left_out), (all, 0));

    let other = Vault::in_memory();
    other.import(&file, passphrase()).await.expect("imported");
    let mut other = OpenVault::open(&other, Sources::system(), Arc::new(|_| {})).expect("a vault");
    for number in 0..RECORDS {
        for (key, payload) in [(key(number), b"material".as_slice()), (intent(number), b"intent")] {
            let record = other.read(&key).expect("a read").expect("a record");
            assert_eq!(*record.payload, payload, "no half of a batch is in it");
        }
    }
    assert!(other.read(&key(RECORDS)).expect("a read").is_none());
}

#[tokio::test]
async fn an_export_that_nobody_finishes_leaves_no_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("all.export");
    let file = ExportFile::create(&path, passphrase(), &Sources::system()).await.expect("a file");
    assert!(path.exists());
    drop(file);
    assert!(!path.exists());
}
