//! Someone edits the vault's files: whatever it is, it is found, reported, and neither overwritten
//! nor taken for nothing.

use std::sync::Mutex;

use proptest::prelude::*;

use super::rotation::new_master;
use super::*;
use crate::vault::head::HEAD_KEY;
use crate::vault::keys::HEADER_KEY;
use crate::vault::names::BlindName;
use crate::vault::opened::OpenVault;

/// A vault whose stored bytes can be changed behind its back while it is closed.
struct Bench {
    store: MemoryStore,
    reported: Arc<Mutex<Vec<EventKind>>>,
}

impl Bench {
    /// With records `one` and `two` of ada, each written twice.
    fn new() -> Self {
        let bench = Self { store: MemoryStore::default(), reported: Arc::default() };
        let mut vault = bench.open().expect("a vault");
        for payload in [b"old", b"new"] {
            for name in ["one", "two"] {
                commit(&mut vault, put(&key("ada", name), payload, Expect::Anything))
                    .expect("durable");
            }
        }
        bench
    }

    fn open(&self) -> Result<OpenVault, VaultError> {
        let (store, reported) = (self.store.clone(), Arc::clone(&self.reported));
        let open: OpenStore = Arc::new(move || Ok(Box::new(store.clone())));
        let vault = Vault { place: settings::Place::Other("memory", open), ..Vault::in_memory() };
        let report = Arc::new(move |kind| reported.lock().expect("a lock").push(kind));
        OpenVault::open(&vault, Sources::system(), report)
    }

    fn name(&self, record: &str) -> BlindName {
        let vault = self.open().expect("a vault");
        BlindName::new(&vault.keys.name_key, &key("ada", record))
    }

    fn get(&self, key: &[u8]) -> Option<Stored> {
        self.store.read(key).expect("a read")
    }

    fn set(&self, key: &[u8], to: Option<Stored>) {
        let mut batch = StoreBatch::default();
        batch.write(key.to_vec(), self.store.version(key).expect("a read"), to);
        self.store.clone().commit(&batch).expect("a commit");
    }

    fn flip(&self, key: &[u8], at: usize) {
        let mut stored = self.get(key).expect("something there");
        let length = stored.value.len();
        stored.value[at % length] ^= 1;
        self.set(key, Some(stored));
    }

    /// How many records were reported as quarantined.
    fn reports(&self) -> usize {
        let reported = self.reported.lock().expect("a lock");
        let quarantined = |kind: &&EventKind| matches!(kind, EventKind::RecordQuarantined { .. });
        reported.iter().filter(quarantined).count()
    }

    /// Record `one` does not open, is reported once, is protected, and can be replaced on purpose;
    /// record `two` is not affected.
    fn one_is_quarantined(&self) {
        let one = key("ada", "one");
        let before = self.get(&self.name("one").record_key());
        self.reported.lock().expect("a lock").clear();
        let mut vault = self.open().expect("a vault");
        for expect in [Expect::Anything, Expect::Absent] {
            let refused = commit(&mut vault, put(&one, b"over it", expect));
            assert!(refused.is_err_and(|error| error.is_quarantined()));
        }
        let refused = commit(&mut vault, Batch::new().delete(one.clone(), Expect::Anything));
        assert!(refused.is_err_and(|error| error.is_quarantined()));
        assert!(vault.read(&one).is_err_and(|error| error.is_quarantined()));
        assert_eq!(vault.inspect().expect("an inspection").quarantined, 1);
        assert_eq!(self.reports(), 1);
        let told = self.reported.lock().expect("a lock").iter().find_map(|kind| match kind {
            EventKind::RecordQuarantined { id, .. } => Some(id.to_string()),
            _ => None,
        });
        let told = told.and_then(|text| text.parse::<QuarantineId>().ok());
        assert_eq!(told, vault.quarantined().first().map(|it| it.id), "what is told names it");
        assert_eq!(self.get(&self.name("one").record_key()), before, "it stays as it is");
        assert_eq!(read(&mut vault, "two"), Some(b"new".to_vec()));

        commit(&mut vault, put(&one, b"fresh", Expect::AnythingOrQuarantined)).expect("durable");
        assert_eq!(read(&mut vault, "one"), Some(b"fresh".to_vec()));
        let mut vault = self.open().expect("it opens again");
        assert_eq!(read(&mut vault, "one"), Some(b"fresh".to_vec()));
        assert_eq!(read(&mut vault, "two"), Some(b"new".to_vec()));
    }

    /// The vault opens with everything in it, and nothing is left to repair afterwards.
    fn is_whole_again(&self) {
        for _ in 0..2 {
            let mut vault = self.open().expect("a vault");
            assert_eq!(vault.list(&Query::all(RecordKind::Credential)).len(), 2);
            assert_eq!(read(&mut vault, "one"), Some(b"new".to_vec()));
            assert_eq!(read(&mut vault, "two"), Some(b"new".to_vec()));
        }
        assert_eq!(self.reports(), 0);
    }

    fn is_damaged(&self) {
        assert!(self.open().is_err_and(|error| error.is_damaged()));
    }
}

fn commit(vault: &mut OpenVault, batch: Batch) -> Result<(), VaultError> {
    vault.commit(vec![batch]).verdicts.remove(0)
}

fn read(vault: &mut OpenVault, name: &str) -> Option<Vec<u8>> {
    let record = vault.read(&key("ada", name)).expect("a read");
    record.map(|record| record.payload.to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_record_with_a_changed_byte_is_quarantined(at: usize) {
        let bench = Bench::new();
        bench.flip(&bench.name("one").record_key(), at);
        bench.one_is_quarantined();
    }

    #[test]
    fn an_index_entry_with_a_changed_byte_is_rebuilt_from_its_record(at: usize) {
        let bench = Bench::new();
        bench.flip(&bench.name("one").entry_key(), at);
        bench.is_whole_again();
    }
}

#[test]
fn a_header_or_a_head_with_any_changed_byte_is_never_taken_for_whole() {
    let bench = Bench::new();
    for key in [HEADER_KEY, HEAD_KEY] {
        let length = bench.get(key).expect("something there").value.len();
        for at in 0..length {
            bench.flip(key, at);
            assert!(bench.open().is_err(), "byte {at} of {length}");
            bench.flip(key, at);
        }
    }
    bench.is_whole_again();
}

#[test]
fn a_record_that_was_removed_is_not_taken_for_one_that_never_was() {
    let bench = Bench::new();
    bench.set(&bench.name("one").record_key(), None);
    bench.one_is_quarantined();
}

#[test]
fn two_records_that_were_swapped_do_not_open() {
    let bench = Bench::new();
    let [one, two] = ["one", "two"].map(|name| bench.name(name).record_key());
    let (stored_one, stored_two) = (bench.get(&one), bench.get(&two));
    bench.set(&one, stored_two);
    bench.set(&two, stored_one);
    let mut vault = bench.open().expect("a vault");
    for name in ["one", "two"] {
        assert!(vault.read(&key("ada", name)).is_err_and(|error| error.is_quarantined()));
    }
}

#[test]
fn an_older_version_of_a_record_does_not_open() {
    let bench = Bench::new();
    let one = bench.name("one").record_key();
    let older = bench.get(&one);
    let mut vault = bench.open().expect("a vault");
    commit(&mut vault, put(&key("ada", "one"), b"newest", Expect::Anything)).expect("durable");
    bench.set(&one, older);
    bench.one_is_quarantined();
}

#[test]
fn an_older_version_of_a_record_with_its_index_entry_is_damage() {
    let bench = Bench::new();
    let name = bench.name("one");
    let older = [name.record_key(), name.entry_key()].map(|key| (bench.get(&key), key));
    let mut vault = bench.open().expect("a vault");
    commit(&mut vault, put(&key("ada", "one"), b"newest", Expect::Anything)).expect("durable");
    for (stored, key) in older {
        bench.set(&key, stored);
    }
    bench.is_damaged();
}

#[test]
fn a_removed_record_that_is_put_back_with_its_index_entry_is_damage() {
    let bench = Bench::new();
    let name = bench.name("one");
    let removed = [name.record_key(), name.entry_key()].map(|key| (bench.get(&key), key));
    let mut vault = bench.open().expect("a vault");
    commit(&mut vault, Batch::new().delete(key("ada", "one"), Expect::Anything)).expect("durable");
    for (stored, key) in removed {
        bench.set(&key, stored);
    }
    bench.is_damaged();
}

#[test]
fn a_record_that_was_removed_with_its_index_entry_is_damage() {
    let bench = Bench::new();
    let name = bench.name("one");
    bench.set(&name.record_key(), None);
    bench.set(&name.entry_key(), None);
    bench.is_damaged();
}

#[test]
fn an_index_entry_that_was_removed_is_rebuilt_from_its_record() {
    let bench = Bench::new();
    bench.set(&bench.name("one").entry_key(), None);
    bench.is_whole_again();
}

#[test]
fn an_older_index_entry_is_rebuilt_from_its_record() {
    let bench = Bench::new();
    let entry = bench.name("one").entry_key();
    let older = bench.get(&entry);
    let mut vault = bench.open().expect("a vault");
    commit(&mut vault, put(&key("ada", "one"), b"new", Expect::Anything)).expect("durable");
    bench.set(&entry, older);
    bench.is_whole_again();
}

#[test]
fn a_record_of_which_nothing_opens_is_quarantined_at_every_opening_until_it_is_replaced() {
    let bench = Bench::new();
    let name = bench.name("one");
    bench.flip(&name.record_key(), 60);
    bench.flip(&name.entry_key(), 60);
    for round in 1..3 {
        let mut vault = bench.open().expect("a vault");
        assert_eq!(bench.reports(), round);
        assert!(vault.read(&key("ada", "one")).is_err_and(|error| error.is_quarantined()));
        // Other writes go on, and do not make the loss forgotten.
        commit(&mut vault, put(&key("ada", "two"), b"new", Expect::Anything)).expect("durable");
    }
    bench.one_is_quarantined();
    assert_eq!(bench.open().expect("a vault").list(&Query::all(RecordKind::Credential)).len(), 2);
}

#[test]
fn of_several_records_of_which_nothing_opens_each_can_be_discarded_by_itself() {
    let bench = Bench::new();
    let names = ["one", "two"].map(|name| bench.name(name));
    for name in &names {
        bench.flip(&name.record_key(), 60);
        bench.flip(&name.entry_key(), 60);
    }
    let mut vault = bench.open().expect("a vault");
    vault.discard(&names[0]).expect("discarded");
    let mut vault = bench.open().expect("it opens without the one that was discarded");
    assert_eq!(read(&mut vault, "one"), None);
    assert!(vault.read(&key("ada", "two")).is_err_and(|error| error.is_quarantined()));
    vault.discard(&names[1]).expect("discarded");
    let mut vault = bench.open().expect("a vault");
    assert_eq!(vault.inspect().expect("an inspection").quarantined, 0);
    assert_eq!(vault.list(&Query::all(RecordKind::Credential)), []);
}

#[test]
fn a_quarantined_record_can_be_removed_on_purpose() {
    // Also one that no list has, since its index entry does not open either.
    for damaged in [1, 2] {
        let bench = Bench::new();
        let name = bench.name("one");
        for stored in [name.record_key(), name.entry_key()].iter().take(damaged) {
            bench.flip(stored, 60);
        }
        let mut vault = bench.open().expect("a vault");
        let erase = Batch::new().delete(key("ada", "one"), Expect::AnythingOrQuarantined);
        commit(&mut vault, erase).expect("durable");
        assert_eq!(read(&mut bench.open().expect("a vault"), "one"), None);
        assert_eq!(bench.get(&name.record_key()), None);
        assert_eq!(bench.get(&name.entry_key()), None);
    }
}

#[test]
fn a_header_that_is_gone_is_damage_and_not_a_new_vault() {
    let bench = Bench::new();
    bench.set(HEADER_KEY, None);
    bench.is_damaged();
}

#[test]
fn a_newer_format_is_told_apart_from_damage() {
    let bench = Bench::new();
    let mut header = bench.get(HEADER_KEY).expect("a header");
    header.value = br#"{"format":9}"#.to_vec();
    bench.set(HEADER_KEY, Some(header));
    let error = bench.open().err().expect("an error");
    assert!(error.is_newer_format() && !error.is_damaged());
}

#[test]
fn a_version_that_nobody_counted_to_is_damage_when_the_header_is_written_again() {
    for rotate in
        [(|vault| vault.rotate_data_key()) as fn(&mut OpenVault) -> Result<(), _>, |vault| {
            vault.rotate_master_key(new_master(2))
        }]
    {
        let bench = Bench::new();
        let header = bench.get(HEADER_KEY).expect("a header");
        bench.set(HEADER_KEY, Some(Stored { version: u64::MAX, ..header }));
        let mut vault = bench.open().expect("the header itself is whole");
        let refused = rotate(&mut vault).expect_err("refused");
        assert!(refused.error.is_damaged(), "{}", refused.error);
    }
}
