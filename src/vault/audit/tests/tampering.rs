//! Someone edits the trail in the store: the verification names the first entry that is not as it
//! was written.

use proptest::prelude::*;

use super::*;
use crate::vault::audit::trail::entry_key;
use crate::vault::names::BlindName;
use crate::vault::store::contract::everything;
use crate::vault::store::{StoreBatch, Stored, VaultStore as _};

impl Bench {
    fn get(&self, number: u64) -> Option<Stored> {
        self.store.read(&entry_key(number)).expect("a read")
    }

    pub(super) fn set(&self, number: u64, to: Option<Stored>) {
        self.set_key(entry_key(number), to);
    }

    fn set_key(&self, key: Vec<u8>, to: Option<Stored>) {
        let mut batch = StoreBatch::default();
        let standing = self.store.version(&key).expect("a read");
        batch.write(key, standing, to);
        self.store.clone().commit(&batch).expect("a commit");
    }

    /// Changes a byte of a record.
    pub(super) fn damage(&self, key: &RecordKey) {
        let key = BlindName::new(&self.vault.keys.name_key, key).record_key();
        let mut stored = self.store.read(&key).expect("a read").expect("a record");
        stored.value[60] ^= 1;
        self.set_key(key, Some(stored));
    }

    /// Everything in the store, as a copy of its files would have it.
    fn copy(&self) -> MemoryStore {
        let mut batch = StoreBatch::default();
        for (key, stored) in everything(&self.store, b"") {
            batch.write(key, None, Some(stored));
        }
        let mut copy = MemoryStore::default();
        copy.commit(&batch).expect("a commit");
        copy
    }
}

const ENTRIES: u64 = 12;

fn with_entries() -> Bench {
    let mut bench = Bench::new();
    bench.sign_in(ENTRIES);
    assert_eq!(bench.finding(), None);
    bench
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn an_edited_entry_is_named(number in 1..=ENTRIES, at: prop::sample::Index, change in 1..=u8::MAX) {
        let bench = with_entries();
        let mut stored = bench.get(number).expect("an entry");
        let at = at.index(stored.value.len());
        stored.value[at] ^= change;
        bench.set(number, Some(stored));
        prop_assert_eq!(bench.finding(), Some((number, AuditProblem::Edited)));
    }

    #[test]
    fn an_entry_that_was_cut_short_is_named(number in 1..=ENTRIES, at: prop::sample::Index) {
        let bench = with_entries();
        let mut stored = bench.get(number).expect("an entry");
        stored.value.truncate(at.index(stored.value.len()));
        bench.set(number, Some(stored));
        prop_assert_eq!(bench.finding(), Some((number, AuditProblem::Edited)));
    }

    #[test]
    fn a_removed_entry_is_named(numbers in prop::collection::btree_set(1..=ENTRIES, 1..5)) {
        let bench = with_entries();
        for number in &numbers {
            bench.set(*number, None);
        }
        let first = numbers.first().copied().map(|number| (number, AuditProblem::Missing));
        prop_assert_eq!(bench.finding(), first);
    }

    #[test]
    fn the_first_of_two_swapped_entries_is_named(one in 1..=ENTRIES, two in 1..=ENTRIES) {
        prop_assume!(one != two);
        let bench = with_entries();
        let (first, second) = (bench.get(one), bench.get(two));
        bench.set(one, second);
        bench.set(two, first);
        prop_assert_eq!(bench.finding(), Some((one.min(two), AuditProblem::Edited)));
    }

    #[test]
    fn an_end_that_was_cut_off_is_named_at_every_length(left in 0..ENTRIES) {
        let mut bench = with_entries();
        for number in left + 1..=ENTRIES {
            bench.set(number, None);
        }
        prop_assert_eq!(bench.finding(), Some((left + 1, AuditProblem::Missing)));
        bench.reopen();
        let end = bench.vault.check_audit_end().expect("a look").expect("found at the opening");
        prop_assert_eq!((end.number, end.problem), (ENTRIES, AuditProblem::Missing));
    }
}

#[test]
fn an_entry_of_another_history_of_the_same_vault_is_named() {
    let mut bench = with_entries();
    let former = bench.copy();
    bench.sign_in(3);
    let stolen = bench.get(ENTRIES + 2);
    bench.store = former;
    bench.reopen();
    bench.sign_in(3);
    bench.set(ENTRIES + 2, stolen);
    assert_eq!(bench.finding(), Some((ENTRIES + 2, AuditProblem::Replaced)));
}

#[test]
fn an_entry_after_the_end_is_named() {
    let bench = with_entries();
    bench.set(ENTRIES + 1, bench.get(1));
    assert_eq!(bench.finding(), Some((ENTRIES + 1, AuditProblem::AfterTheEnd)));
}

#[test]
fn a_vault_that_was_put_back_whole_is_found_by_a_mark_that_was_kept_outside() {
    let mut bench = with_entries();
    let former = bench.copy();
    bench.sign_in(3);
    let mark = bench.verified(None).verified;
    assert_eq!(mark.number(), ENTRIES + 3);
    assert_eq!(bench.verified(Some(mark)).finding, None);

    bench.store = former;
    bench.reopen();
    assert_eq!(bench.finding(), None, "it is consistent in itself");
    let problem = |bench: &Bench| {
        bench.verified(Some(mark)).finding.map(|finding| (finding.number, finding.problem))
    };
    assert_eq!(problem(&bench), Some((ENTRIES + 1, AuditProblem::NotAsMarked)));
    bench.clock.advance(Duration::from_secs(9));
    bench.sign_in(5);
    assert_eq!(problem(&bench), Some((ENTRIES + 3, AuditProblem::NotAsMarked)));
}

#[test]
fn what_is_not_as_it_was_written_is_not_removed_by_policy() {
    let mut bench = Bench::new();
    bench.sign_in(SEGMENT + 1);
    bench.clock.advance(Duration::from_hours(48));
    bench.set(7, None);
    let policy = AuditRetention { keep: Some(Duration::from_hours(1)), at_least: 0 };
    let progress = bench.vault.apply_audit_retention(policy).expect("a step");
    let blocked = AuditFinding { number: 7, problem: AuditProblem::Missing };
    assert_eq!((progress.removed, progress.blocked), (0, Some(blocked)));
    assert_eq!(bench.page(&AuditQuery::all().limit(1)).entries.len(), 1, "the evidence stays");
}

#[test]
fn a_query_passes_over_what_does_not_open_and_says_so() {
    let mut bench = with_entries();
    bench.set(3, None);
    let page = bench.page(&AuditQuery::all());
    assert_eq!((page.entries.len(), page.unreadable), (11, vec![3]));
}
