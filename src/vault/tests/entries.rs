//! Index entries that are read when a vault is opened: on several threads, to the same end as on one.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::vault::entries::{Entries, EntryReader};
use crate::vault::head::Digest;
use crate::vault::names::BlindName;
use crate::vault::opened::OpenVault;
use crate::vault::slot::Slot;
use crate::vault::store::Scanned;

const ENGINES: &[Engine] = &[
    Engine::Sled,
    #[cfg(feature = "redb")]
    Engine::Redb,
];

/// What is in a vault that reads on several threads where there are some to be had.
const MANY: u32 = 1_100;

/// Opens the vault that `settings` describe, and puts `records` into it, of three for each user.
fn filled(settings: &Vault, records: u32) -> OpenVault {
    let open = OpenVault::open(settings, Sources::system(), Arc::new(|_| {}));
    let mut vault = open.expect("a vault");
    let numbers: Vec<u32> = (0..records).collect();
    for some in numbers.chunks(250) {
        let batch = some.iter().fold(Batch::new(), |batch, number| {
            let due = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::from(*number));
            let tags = Tags { provider: ProviderId::new("openai").ok(), due: Some(due) };
            batch.put(record(*number), Zeroizing::new(vec![7; 10]), Expect::Absent, tags)
        });
        vault.commit(vec![batch]).verdicts.remove(0).expect("durable");
    }
    vault
}

fn record(number: u32) -> RecordKey {
    key(&format!("user-{}", number / 3), &format!("account-{}", number % 3))
}

fn in_memory(store: &MemoryStore) -> Vault {
    let store = store.clone();
    let open: OpenStore = Arc::new(move || Ok(Box::new(store.clone())));
    Vault { place: settings::Place::Other("memory", open), ..Vault::in_memory() }
}

/// The names of all records, in their order.
fn names(vault: &OpenVault) -> Vec<BlindName> {
    vault.index.names_after(None).collect()
}

/// What stands for a record in the index, what the head says of all, and what does not open.
type Said = (Vec<(BlindName, Slot)>, Digest, BTreeSet<BlindName>);

/// What the entries in `store` say that were written by `vault`.
fn read(
    vault: &OpenVault,
    store: &dyn VaultStore,
    few: usize,
    threads: usize,
) -> Result<Said, VaultError> {
    let reader = EntryReader::new(store, &vault.keys, &vault.header.vault);
    let Entries { filling, digest, unopened } = reader.read_shared(few, threads)?;
    let index = filling.finish();
    let slot = |name: BlindName| Some((name, index.get(&name)?));
    Ok((index.names_after(None).filter_map(slot).collect(), digest, unopened))
}

/// Puts another value in the place of the one under `key`, behind the vault's back.
fn replace(store: &mut dyn VaultStore, key: Vec<u8>, value: impl FnOnce(Stored) -> Stored) {
    let stored = store.read(&key).expect("a read").expect("something there");
    let mut batch = StoreBatch::default();
    batch.write(key, Some(stored.version), Some(value(stored)));
    store.commit(&batch).expect("a commit");
}

/// Changes a byte of the value under `key`.
fn flip(store: &mut dyn VaultStore, key: Vec<u8>, at: usize) {
    replace(store, key, |mut stored| {
        let length = stored.value.len();
        stored.value[at % length] ^= 1;
        stored
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn several_threads_find_what_one_finds(
        records in 0..150_u32,
        damaged in prop::collection::vec((any::<prop::sample::Index>(), any::<usize>()), 0..6),
        few in 1..200_usize,
        threads in 1..9_usize,
    ) {
        let mut store = MemoryStore::default();
        let vault = filled(&in_memory(&store), records);
        let all = names(&vault);
        let mut gone = BTreeSet::new();
        for (at, byte) in damaged {
            let Some(name) = (!all.is_empty()).then(|| at.get(&all)) else { continue };
            if gone.insert(*name) {
                flip(&mut store, name.entry_key(), byte);
            }
        }

        let (slots, digest, unopened) = read(&vault, &store, few, threads).expect("readable");

        prop_assert_eq!(&unopened, &gone);
        prop_assert_eq!(slots.len() + gone.len(), all.len());
        let written: BTreeMap<BlindName, _> = all
            .iter()
            .filter_map(|name| Some((*name, vault.index.get(name)?.entry)))
            .filter(|(name, _)| !gone.contains(name))
            .collect();
        let found = slots.iter().map(|(name, slot)| (*name, slot.entry.clone())).collect();
        prop_assert_eq!(written, found);
        prop_assert_eq!(digest == vault.digest, gone.is_empty());
        let alone = read(&vault, &store, usize::MAX, 1).expect("readable");
        prop_assert_eq!((slots, digest, unopened), alone);
    }
}

#[test]
fn of_entries_of_newer_releases_the_first_is_told_of_however_many_threads_read() {
    let mut store = MemoryStore::default();
    let vault = filled(&in_memory(&store), 100);
    let all = names(&vault);
    let sealed = |name: &BlindName, plain: &str| {
        let version = vault.index.version(name).expect("a version");
        vault.seal(&name.entry_key(), version, plain.as_bytes()).expect("sealed")
    };
    for (at, format) in [(95, 4), (40, 3), (2, 2)] {
        let newer = sealed(&all[at], &format!(r#"{{"format":{format},"something":"new"}}"#));
        replace(&mut store, all[at].entry_key(), |_| newer);
        for threads in 1..5 {
            for few in [1, 20, usize::MAX] {
                let error = read(&vault, &store, few, threads).expect_err("newer");
                assert!(error.is_newer_format() && !error.is_damaged());
                assert!(error.to_string().contains(&format!("format {format} ")), "{error}");
            }
        }
    }
}

/// A store that fails when a scan comes to a key.
#[derive(Debug)]
struct Failing {
    inner: MemoryStore,
    at: Vec<u8>,
}

impl VaultStore for Failing {
    fn commit(&mut self, batch: &StoreBatch) -> Result<(), StoreError> {
        self.inner.commit(batch)
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
        let mut failed = false;
        self.inner.scan(prefix, after, &mut |key, scanned: Scanned| {
            failed |= key == self.at;
            if failed { std::ops::ControlFlow::Break(()) } else { visit(key, scanned) }
        })?;
        if failed { Err(StoreError::Io("the disk is unwell".to_owned())) } else { Ok(()) }
    }

    fn health(&mut self) -> Result<StoreHealth, StoreError> {
        self.inner.health()
    }
}

#[test]
fn a_store_that_fails_on_any_thread_is_told_of() {
    let store = MemoryStore::default();
    let vault = filled(&in_memory(&store), 100);
    for name in names(&vault) {
        let failing = Failing { inner: store.clone(), at: name.entry_key() };
        let error = read(&vault, &failing, 10, 4).expect_err("it fails");
        assert!(error.to_string().contains("the disk is unwell"), "{error}");
    }
}

#[test]
fn a_vault_with_many_records_opens_whole_and_what_is_damaged_in_any_range_is_quarantined() {
    for engine in ENGINES {
        let directory = tempfile::tempdir().expect("a directory");
        let settings = on_disk(directory.path()).engine(*engine);
        let open = || OpenVault::open(&settings, Sources::system(), Arc::new(|_| {}));
        let vault = filled(&settings, MANY);
        let (all, written) = (names(&vault), vault.list(&Query::all(RecordKind::Credential)));
        assert_eq!(written.len(), all.len());
        drop(vault);

        let mut vault = open().expect("it opens");
        assert_eq!(vault.list(&Query::all(RecordKind::Credential)), written);
        assert!(vault.store.is_faster_at_once());
        let alone = read(&vault, &*vault.store, usize::MAX, 1).expect("readable");
        assert_eq!(alone.0.len(), all.len());
        for threads in 2..5 {
            assert_eq!(read(&vault, &*vault.store, 50, threads).expect("readable"), alone);
        }

        let damaged = [0, all.len() / 3, all.len() / 2, all.len() - 1].map(|at| all[at]);
        for name in &damaged {
            flip(&mut *vault.store, name.record_key(), 60);
            flip(&mut *vault.store, name.entry_key(), 60);
        }
        drop(vault);
        let vault = open().expect("it opens");
        assert!(vault.quarantine.keys().eq(&damaged));
        let left = vault.list(&Query::all(RecordKind::Credential));
        assert_eq!(left.len(), all.len() - damaged.len());
    }
}
