//! Keys are exchanged while the vault is in use: through its actor, step by step, and with a crash
//! at every commit that they make.

use std::cell::Cell;

use proptest::prelude::*;

use super::*;
use crate::testing::{VaultFault, VaultFaults};
use crate::vault::audit::{AuditKind, AuditQuery, AuditUser};
use crate::vault::keys::{HEADER_KEY, NewMaster};
use crate::vault::names::BlindName;
use crate::vault::opened::OpenVault;
use crate::vault::store::contract::everything;

/// A store in memory that stops working after a number of commits. With `torn` the last one that it
/// takes is applied and reported as failed, as after a power cut whose writes had arrived.
#[derive(Debug, Clone, Default)]
pub(super) struct Crashing {
    inner: MemoryStore,
    left: Arc<std::sync::Mutex<Option<usize>>>,
    torn: bool,
}

impl Crashing {
    pub(super) fn new(torn: bool) -> Self {
        Self { torn, ..Self::default() }
    }

    /// Lets `commits` more through, or all of them.
    pub(super) fn allow(&self, commits: Option<usize>) {
        *self.left.lock().expect("a lock") = commits;
    }

    /// A vault over this store, with the master key `byte` thirty-two times.
    pub(super) fn vault(&self, byte: u8) -> Vault {
        let store = self.clone();
        let open: OpenStore = Arc::new(move || Ok(Box::new(store.clone())));
        let place = settings::Place::Other("crashing", open);
        Vault { place, ..Vault::in_memory() }.master_key(MasterKey::from_bytes([byte; 32]))
    }

    pub(super) fn open(&self, byte: u8) -> Result<OpenVault, VaultError> {
        OpenVault::open(&self.vault(byte), Sources::system(), Arc::new(|_| {}))
    }
}

impl VaultStore for Crashing {
    fn commit(&mut self, batch: &StoreBatch) -> Result<(), StoreError> {
        let mut left = self.left.lock().expect("a lock");
        let crashed = || StoreError::Io("the power is gone".to_owned());
        match left.as_mut() {
            None => self.inner.commit(batch),
            Some(0) => Err(crashed()),
            Some(left) => {
                *left -= 1;
                self.inner.commit(batch)?;
                if *left == 0 && self.torn { Err(crashed()) } else { Ok(()) }
            }
        }
    }

    fn read(&self, key: &[u8]) -> Result<Option<Stored>, StoreError> {
        self.inner.read(key)
    }

    fn version(&self, key: &[u8]) -> Result<Option<u64>, StoreError> {
        self.inner.version(key)
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        visit: &mut Visit<'_>,
    ) -> Result<(), StoreError> {
        self.inner.scan(prefix, after, visit)
    }

    fn health(&mut self) -> Result<StoreHealth, StoreError> {
        self.inner.health()
    }
}

/// The master key `byte` thirty-two times, to rotate to.
pub(super) fn new_master(byte: u8) -> NewMaster {
    NewMaster::prepare(MasterKey::from_bytes([byte; 32]), &*Sources::system().entropy)
        .expect("a key")
}

/// Does all the upkeep that there is.
pub(super) fn keep_up(vault: &mut OpenVault) {
    let mut steps = 0;
    while vault.needs_upkeep() {
        vault.upkeep().expect("a step");
        steps += 1;
        assert!(steps < 1_000, "it comes to an end");
    }
}

fn fill(vault: &mut OpenVault, records: usize) {
    for number in 0..records {
        let batch = put(&key("ada", &number.to_string()), &[1; 100], Expect::Anything);
        vault.commit(vec![batch]).verdicts.remove(0).expect("durable");
    }
}

fn is_full(vault: &mut OpenVault, records: usize) {
    for number in 0..records {
        let record = vault.read(&key("ada", &number.to_string())).expect("a read");
        assert_eq!(*record.expect("a record").payload, vec![1; 100]);
    }
    assert_eq!(vault.inspect().expect("an inspection").records, records);
}

#[tokio::test]
async fn a_data_key_is_rotated_while_everybody_reads_and_writes() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut running = Running::start(on_disk(directory.path())).await.expect("a vault");
    for number in 0..200 {
        let batch = put(&key("ada", &number.to_string()), b"old", Expect::Absent);
        running.vault.commit(batch).await.expect("durable");
    }
    running.vault.rotate_data_key().await.expect("rotated");
    running.event(|kind| matches!(kind, EventKind::DataKeyRotated { key: 2 })).await;
    for number in 0..50 {
        let record = key("ada", &number.to_string());
        assert_eq!(payload(&running.vault, &record).await, Some(b"old".to_vec()));
        let before = running.vault.read(&record).await.expect("a read").expect("a record");
        let batch = put(&record, b"new", Expect::Version(before.version));
        running.vault.commit(batch).await.expect("re-sealing changes no version");
    }
    let swept = async {
        loop {
            let keys = running.vault.inspect().await.expect("an inspection").data_keys;
            if keys.len() == 1 {
                return keys;
            }
        }
    };
    let keys = in_time(swept).await;
    assert_eq!((keys[0].id, keys[0].records, keys[0].retired), (2, 200, None));
    running.stop().await;
    let running = Running::start(on_disk(directory.path())).await.expect("the same vault");
    for number in 0..200 {
        let expected = if number < 50 { b"new" } else { b"old" };
        let found = payload(&running.vault, &key("ada", &number.to_string())).await;
        assert_eq!(found, Some(expected.to_vec()));
    }
    running.stop().await;
}

#[tokio::test]
async fn the_master_key_is_rotated_while_the_vault_is_open() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("master");
    let mut running = Running::start(on_disk(directory.path())).await.expect("a vault");
    let record = key("ada", "one");
    running.vault.commit(put(&record, b"kept", Expect::Absent)).await.expect("durable");
    let missing = MasterKey::from_file(&file);
    let refused = running.vault.rotate_master_key(missing.clone()).await;
    assert!(refused.is_err_and(|error| error.is_missing_key()));
    let new = missing.create_if_missing();
    running.vault.rotate_master_key(new.clone()).await.expect("rotated");
    running.event(|kind| matches!(kind, EventKind::MasterKeyRotated { .. })).await;
    let seen = running.vault.inspect().await.expect("an inspection");
    assert!(seen.master_key.starts_with("file "), "{}", seen.master_key);
    running.vault.commit(put(&record, b"newer", Expect::Anything)).await.expect("durable");
    running.stop().await;

    let error = Running::start(on_disk(directory.path())).await.err().expect("the old key");
    assert!(error.is_wrong_key());
    assert!(error.to_string().contains("from before the last rotation"), "{error}");
    let with_new = on_disk(directory.path()).master_key(new);
    let running = Running::start(with_new).await.expect("the new key");
    assert_eq!(payload(&running.vault, &record).await, Some(b"newer".to_vec()));
    running.stop().await;
}

#[tokio::test]
async fn a_vault_that_was_closed_after_a_rotation_is_opened_again_with_the_new_key() {
    let store = Crashing::default();
    let mut running = Running::start(store.vault(1)).await.expect("a vault");
    let new = MasterKey::from_bytes([2; 32]);
    running.vault.rotate_master_key(new).await.expect("rotated");
    store.allow(Some(0));
    let record = key("ada", "one");
    let failed = running.vault.commit(put(&record, b"1", Expect::Absent)).await;
    assert!(failed.is_err_and(|error| error.is_unavailable()));
    let seen = running.vault.inspect().await.expect("the last that was known");
    assert!(seen.degraded.is_none_or(|reason| reason.contains("power")));
    store.allow(None);
    running.event(|kind| matches!(kind, EventKind::VaultRecovered)).await;
    running.vault.commit(put(&record, b"2", Expect::Anything)).await.expect("durable");
    running.stop().await;
}

#[tokio::test]
async fn a_vault_under_a_passphrase_opens_with_it_and_says_how_it_is_derived() {
    let directory = tempfile::tempdir().expect("a directory");
    let with = |key| on_disk(directory.path()).master_key(key);
    let passphrase = || MasterKey::from_passphrase("correct horse battery staple");
    let running = Running::start(with(passphrase())).await.expect("a vault");
    let record = key("ada", "one");
    running.vault.commit(put(&record, b"kept", Expect::Absent)).await.expect("durable");
    let seen = running.vault.inspect().await.expect("an inspection");
    assert_eq!(seen.master_key, "passphrase from the host");
    let told = "derived by Argon2id, 64 MiB, 3 passes".to_owned();
    assert!(seen.key_chain.contains(&told), "{:?}", seen.key_chain);
    running.stop().await;

    let other = MasterKey::from_passphrase("incorrect horse battery staple");
    let raw = MasterKey::from_bytes([7; 32]);
    for wrong in [other, raw] {
        let error = Running::start(with(wrong)).await.err().expect("refused");
        assert!(error.is_wrong_key(), "{error}");
        assert!(!error.to_string().contains("horse"), "{error}");
    }
    let running = Running::start(with(passphrase())).await.expect("the same vault");
    assert_eq!(payload(&running.vault, &record).await, Some(b"kept".to_vec()));
    running.vault.rotate_master_key(MasterKey::from_bytes([9; 32])).await.expect("to a key");
    running.stop().await;
    let error = Running::start(with(passphrase())).await.err().expect("refused");
    assert!(error.to_string().contains("from before the last rotation"), "{error}");
    let running = Running::start(with(MasterKey::from_bytes([9; 32]))).await.expect("the key");
    assert_eq!(payload(&running.vault, &record).await, Some(b"kept".to_vec()));
    running.stop().await;
}

#[test]
fn a_crash_at_any_commit_of_a_rotation_of_the_master_key_leaves_one_key_that_opens() {
    for torn in [false, true] {
        for commits in 0..3 {
            let store = Crashing::new(torn);
            let mut vault = store.open(1).expect("a vault");
            fill(&mut vault, 3);
            store.allow(Some(commits));
            let rotated = vault.rotate_master_key(new_master(2));
            drop(vault);
            store.allow(None);
            // Whoever is told that it is done needs the old key no more. Otherwise the host, which has
            // the old key still, goes on with either.
            if rotated.is_ok() {
                is_full(&mut store.open(2).expect("the new key"), 3);
                let error = store.open(1).err().expect("the old key");
                assert!(error.to_string().contains("from before the last rotation"), "{error}");
            } else {
                is_full(&mut store.open(1).expect("the old key"), 3);
                let error = store.open(2).err().expect("the new key");
                assert!(error.to_string().contains("the former key is the right one"), "{error}");
            }
        }
    }
}

#[tokio::test]
async fn a_rotation_of_the_master_key_that_can_not_be_ended_says_so_and_is_ended_later() {
    // The disk fails, and the vault is opened again; or it has no room for once, and stays open.
    for no_room in [false, true] {
        let store = Crashing::default();
        let (settings, faults) = VaultFaults::over(store.vault(1));
        let mut running = Running::start(settings).await.expect("a vault");
        let record = key("ada", "one");
        running.vault.commit(put(&record, b"1", Expect::Absent)).await.expect("durable");
        if no_room {
            // Three looks at what stands there, the new header, a look at it and at the former one.
            faults.after(6, VaultFault::NoRoom);
        } else {
            store.allow(Some(1));
        }
        let new = MasterKey::from_bytes([2; 32]);
        let error = running.vault.rotate_master_key(new).await.expect_err("it is not over");
        assert!(error.is_unavailable(), "{error}");
        assert_eq!(error.is_full(), no_room);
        assert!(error.to_string().contains("keep both"), "{error}");
        store.allow(None);
        let (recovered, rotated) = (Cell::new(false), Cell::new(false));
        let both = |kind: &EventKind| {
            recovered.set(recovered.get() || *kind == EventKind::VaultRecovered);
            rotated.set(rotated.get() || matches!(kind, EventKind::MasterKeyRotated { .. }));
            recovered.get() && rotated.get()
        };
        running.event(both).await;
        running.vault.commit(put(&record, b"2", Expect::Anything)).await.expect("durable");
        running.stop().await;
        assert!(store.open(1).is_err_and(|error| error.is_wrong_key()));
        let mut vault = store.open(2).expect("the new key");
        assert_eq!(*vault.read(&record).expect("a read").expect("a record").payload, b"2");
    }
}

#[test]
fn a_look_at_a_vault_whose_rotation_was_interrupted_changes_nothing() {
    for (given, header_of) in [(1, 1), (2, 2)] {
        let store = Crashing::new(true);
        drop(store.open(1).expect("a vault"));
        let mut vault = store.open(1).expect("a vault");
        store.allow(Some(1));
        assert!(vault.rotate_master_key(new_master(2)).is_err());
        drop(vault);
        let before = everything(&store, b"");
        let look = OpenVault::look(&store.vault(given), Sources::system());
        assert_eq!(look.expect("a look").inspect().expect("an inspection").records, 0);
        assert_eq!(everything(&store, b""), before, "{header_of}");
    }
}

#[test]
fn after_an_interrupted_rotation_either_key_opens_and_the_first_one_that_is_used_stays() {
    for (used, other) in [(1, 2), (2, 1)] {
        let store = Crashing::new(true);
        let mut vault = store.open(1).expect("a vault");
        fill(&mut vault, 3);
        store.allow(Some(1));
        assert!(vault.rotate_master_key(new_master(2)).is_err());
        store.allow(None);
        let error = store.open(3).err().expect("neither");
        assert!(error.is_wrong_key() && error.to_string().contains("was interrupted"), "{error}");
        is_full(&mut store.open(used).expect("it opens"), 3);
        assert!(store.open(other).is_err_and(|error| error.is_wrong_key()));
        is_full(&mut store.open(used).expect("it stays"), 3);
    }
}

#[test]
fn a_crash_at_any_commit_of_a_rotation_of_the_data_key_loses_nothing_and_it_goes_on() {
    for torn in [false, true] {
        for commits in 0..6 {
            let store = Crashing::new(torn);
            let mut vault = store.open(1).expect("a vault");
            fill(&mut vault, 150);
            store.allow(Some(commits));
            let mut outcome = vault.rotate_data_key();
            while outcome.is_ok() && vault.needs_upkeep() {
                outcome = vault.upkeep();
            }
            drop(vault);
            store.allow(None);
            let mut vault = store.open(1).expect("it opens");
            is_full(&mut vault, 150);
            keep_up(&mut vault);
            assert_eq!(vault.inspect().expect("an inspection").data_keys.len(), 1);
            is_full(&mut store.open(1).expect("it opens again"), 150);
        }
    }
}

#[test]
fn records_are_counted_under_the_key_that_seals_them() {
    let store = Crashing::default();
    let mut vault = store.open(1).expect("a vault");
    fill(&mut vault, 100);
    vault.rotate_data_key().expect("rotated");
    fill(&mut vault, 10);
    let counts = |vault: &mut OpenVault| {
        let keys = vault.inspect().expect("an inspection").data_keys;
        keys.iter().map(|key| (key.id, key.records)).collect::<Vec<_>>()
    };
    assert_eq!(counts(&mut vault), [(1, 90), (2, 10)]);
    vault.upkeep().expect("one step");
    assert_eq!(counts(&mut vault), [(1, 26), (2, 74)]);
    let mut vault = store.open(1).expect("it opens");
    assert_eq!(counts(&mut vault), [(1, 26), (2, 74)], "after a reopening, too");
    keep_up(&mut vault);
    assert_eq!(counts(&mut vault), [(2, 100)]);
}

#[test]
fn seals_are_counted_as_durably_as_what_they_sealed() {
    let store = Crashing::default();
    let seals = |vault: &mut OpenVault| vault.inspect().expect("an inspection").data_keys[0].seals;
    let mut vault = store.open(1).expect("a vault");
    assert_eq!(seals(&mut vault), 1, "the head");
    fill(&mut vault, 5);
    assert_eq!(seals(&mut vault), 16, "five records, their entries, five heads");
    assert_eq!(seals(&mut store.open(1).expect("it opens")), 16);
}

#[test]
fn a_data_key_that_has_sealed_enough_is_rotated_without_being_asked() {
    let store = Crashing::default();
    let policy = DataKeyPolicy { rotate_after_seals: 1_000, ..DataKeyPolicy::default() };
    let settings = store.vault(1).data_keys(policy);
    let open = || OpenVault::open(&settings, Sources::system(), Arc::new(|_| {})).expect("a vault");
    let mut vault = open();
    fill(&mut vault, 332);
    assert!(!vault.needs_upkeep(), "997 seals");
    fill(&mut vault, 1);
    let mut vault = open();
    assert!(vault.needs_upkeep());
    keep_up(&mut vault);
    assert_eq!(vault.inspect().expect("an inspection").data_keys[0].id, 2);
    is_full(&mut vault, 332);
}

#[tokio::test]
async fn a_data_key_that_is_old_enough_is_rotated_with_the_next_write() {
    let clock = ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_hours(1_000_000));
    let vault = Vault::in_memory();
    let mut running = Running::start_with(vault, clock.sources()).await.expect("a vault");
    let record = key("ada", "one");
    running.vault.commit(put(&record, b"1", Expect::Absent)).await.expect("durable");
    clock.advance(Duration::from_hours(90 * 24));
    running.vault.commit(put(&record, b"2", Expect::Anything)).await.expect("durable");
    // The bound is looked at before the thread waits for the next request.
    running.vault.read(&record).await.expect("a read");
    running.event(|kind| matches!(kind, EventKind::DataKeyRotated { key: 2 })).await;
    running.stop().await;
}

#[tokio::test]
async fn upkeep_that_fails_waits_for_a_write_that_succeeds() {
    let store = Crashing::default();
    let mut running = Running::start(store.vault(1)).await.expect("a vault");
    let record = key("ada", "one");
    running.vault.commit(put(&record, b"1", Expect::Absent)).await.expect("durable");
    // The rotation is written; the first step after it is not.
    store.allow(Some(1));
    running.vault.rotate_data_key().await.expect("rotated");
    running.event(|kind| matches!(kind, EventKind::VaultDegraded { .. })).await;
    running.event(|kind| matches!(kind, EventKind::VaultRecovered)).await;
    for _ in 0..20 {
        let seen = running.vault.inspect().await.expect("an inspection");
        assert_eq!((seen.data_keys.len(), seen.degraded), (2, None), "it rests");
    }
    store.allow(None);
    running.vault.commit(put(&record, b"2", Expect::Anything)).await.expect("durable");
    let sweeping = async {
        while running.vault.inspect().await.expect("an inspection").data_keys.len() > 1 {}
    };
    in_time(sweeping).await;
    assert_eq!(payload(&running.vault, &record).await, Some(b"2".to_vec()));
    running.stop().await;
}

#[test]
fn a_header_from_before_a_rotation_of_the_data_key_is_not_taken_for_the_present_one() {
    let store = Crashing::default();
    let mut vault = store.open(1).expect("a vault");
    fill(&mut vault, 3);
    let old = store.read(HEADER_KEY).expect("a read");
    vault.rotate_data_key().expect("rotated");
    let mut batch = StoreBatch::default();
    let standing = store.version(HEADER_KEY).expect("a read");
    batch.write(HEADER_KEY.to_vec(), standing, old);
    store.clone().commit(&batch).expect("put back");
    assert!(store.open(1).is_err_and(|error| error.is_damaged()));
}

#[test]
fn a_record_that_the_sweep_can_not_open_is_quarantined_and_its_key_is_kept() {
    let store = Crashing::default();
    let mut vault = store.open(1).expect("a vault");
    fill(&mut vault, 3);
    let name = BlindName::new(&vault.keys.name_key, &key("ada", "1"));
    let mut stored = store.read(&name.record_key()).expect("a read").expect("a record");
    stored.value[60] ^= 1;
    let mut batch = StoreBatch::default();
    batch.write(name.record_key(), Some(stored.version), Some(stored.clone()));
    store.clone().commit(&batch).expect("damaged");
    let mut vault = store.open(1).expect("it opens");
    vault.rotate_data_key().expect("rotated");
    keep_up(&mut vault);
    let keys: Vec<_> = vault.inspect().expect("an inspection").data_keys;
    assert_eq!(keys.iter().map(|key| (key.id, key.records)).collect::<Vec<_>>(), [(1, 1), (2, 2)]);
    let quarantined = vault.quarantined();
    assert_eq!(quarantined.len(), 1);
    assert_eq!(quarantined[0].key, Some(key("ada", "1")));
    assert_eq!(store.read(&name.record_key()).expect("a read"), Some(stored), "left as it is");
    vault.discard(&name).expect("discarded");
    let told = vault.read_audit(&AuditQuery::all().of_kind(AuditKind::RecordDiscarded));
    let told = told.expect("a page").entries;
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].user, AuditUser::Named(user("ada")));
    assert_eq!(told[0].reason.as_deref(), Some("credential"));
    assert!(vault.discard(&name).is_err_and(|failure| failure.error.is_conflict()));
    keep_up(&mut vault);
    assert_eq!(vault.inspect().expect("an inspection").data_keys.len(), 1);
    assert_eq!(vault.read(&key("ada", "1")).expect("a read"), None);
    assert_eq!(store.open(1).expect("it opens").list(&Query::all(RecordKind::Credential)).len(), 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn a_record_of_any_size_survives_a_rotation(lengths in prop::collection::vec(0..300_000_usize, 1..5)) {
        let store = Crashing::default();
        let mut vault = store.open(1).expect("a vault");
        for length in &lengths {
            let batch = put(&key("ada", &length.to_string()), &vec![1; *length], Expect::Anything);
            vault.commit(vec![batch]).verdicts.remove(0).expect("durable");
        }
        vault.rotate_data_key().expect("rotated");
        keep_up(&mut vault);
        let mut vault = store.open(1).expect("it opens");
        for length in lengths {
            let record = vault.read(&key("ada", &length.to_string())).expect("a read");
            prop_assert_eq!(record.expect("a record").payload.len(), length);
        }
    }
}

#[test]
fn no_copy_is_made_while_a_key_that_everybody_knows_would_open_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let to = directory.path().join("backup");
    let mut vault = Crashing::new(false).open(0).expect("a vault");
    let refused = |vault: &mut OpenVault| {
        let error = vault.begin_backup(&to).expect_err("refused");
        assert!(error.is_unusable_key() && error.to_string().contains("everybody"), "{error}");
    };
    refused(&mut vault);
    vault.rotate_master_key(new_master(2)).expect("rotated");
    // The former header still stands beside the new one, and would be copied with it.
    refused(&mut vault);
    vault.finish_rotation().expect("finished");
    vault.begin_backup(&to).expect("only its own key opens it");
}

#[tokio::test]
async fn a_vault_in_memory_is_backed_up_once_it_has_a_key_of_its_own() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    let record = key("ada", "one");
    let running = Running::start(Vault::in_memory()).await.expect("a vault");
    running.vault.commit(put(&record, b"kept", Expect::Absent)).await.expect("kept");
    let refused = running.vault.back_up(at("backup")).await.expect_err("refused");
    assert!(refused.is_unusable_key(), "{refused}");
    assert_eq!(std::fs::read_dir(directory.path()).expect("a directory").count(), 0);

    running.vault.rotate_master_key(MasterKey::from_bytes([7; 32])).await.expect("rotated");
    running.vault.back_up(at("backup")).await.expect("backed up");
    running.stop().await;
    on_disk(directory.path()).restore(at("backup")).await.expect("restored");
    let running = Running::start(on_disk(directory.path())).await.expect("a vault");
    assert_eq!(payload(&running.vault, &record).await, Some(b"kept".to_vec()));
    running.stop().await;

    let given = Vault::in_memory().master_key(MasterKey::from_bytes([8; 32]));
    let running = Running::start(given).await.expect("a vault");
    running.vault.back_up(at("another")).await.expect("backed up");
    running.stop().await;
}

#[tokio::test]
async fn no_backup_is_made_that_the_former_master_key_opens_too() {
    let mut unfinished = 0;
    // Whichever call of the store the disk is full from on: one of them is the end of a rotation.
    for calls in 0..24 {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        let with = |key| on_disk(directory.path()).master_key(MasterKey::from_bytes([key; 32]));
        let memory = Vault::in_memory().master_key(MasterKey::from_bytes([7; 32]));
        let (vault, faults) = VaultFaults::over(memory);
        let running = Running::start(vault).await.expect("a vault");
        let record = key("ada", "one");
        running.vault.commit(put(&record, b"kept", Expect::Absent)).await.expect("kept");
        (calls..200).for_each(|number| faults.after(number, VaultFault::NoRoom));
        let rotated = running.vault.rotate_master_key(MasterKey::from_bytes([8; 32])).await;
        let hangs_on_both = |error: &VaultError| error.to_string().contains("keep both");
        if rotated.as_ref().is_err_and(hangs_on_both) {
            unfinished += 1;
            let refused = running.vault.back_up(at("backup")).await.expect_err("refused");
            assert!(hangs_on_both(&refused), "{refused}");
            assert_eq!(std::fs::read_dir(directory.path()).expect("a directory").count(), 0);
        }
        faults.heal();
        running.vault.back_up(at("backup")).await.expect("backed up");
        running.stop().await;
        with(7).restore(at("backup")).await.map_or_else(
            |error| assert!(error.is_wrong_key(), "{error}"),
            |()| assert!(rotated.is_err() && !rotated.as_ref().is_err_and(hangs_on_both)),
        );
    }
    assert!(unfinished > 0, "one of them is");
}
