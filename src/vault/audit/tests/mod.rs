//! The audit trail in an opened vault: what is recorded, found again, kept and erased.

mod tampering;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use zeroize::Zeroizing;

use super::chain::SEGMENT;
use super::*;
use crate::identity::{CredentialId, Label, Method, ProviderId, UserId};
use crate::testing::ManualClock;
use crate::vault::names::BlindName;
use crate::vault::opened::OpenVault;
use crate::vault::settings::{Place, Vault};
use crate::vault::store::{MemoryStore, OpenStore, StoreBatch, VaultStore as _};
use crate::vault::{Batch, Expect, Query, RecordKey, RecordKind, Tags, VaultError};

const START: Duration = Duration::from_hours(500_000);

/// A vault in memory and its clock.
pub(super) struct Bench {
    pub(super) store: MemoryStore,
    pub(super) clock: Arc<ManualClock>,
    pub(super) vault: OpenVault,
}

impl Bench {
    pub(super) fn new() -> Self {
        let store = MemoryStore::default();
        let clock = ManualClock::new(SystemTime::UNIX_EPOCH + START);
        let vault = open(&store, &clock);
        Self { store, clock, vault }
    }

    pub(super) fn reopen(&mut self) {
        self.vault = open(&self.store, &self.clock);
    }

    pub(super) fn commit(&mut self, batch: Batch) -> Result<(), VaultError> {
        self.vault.commit(vec![batch]).verdicts.remove(0)
    }

    /// Records `count` sign-ins of ada, a second apart.
    pub(super) fn sign_in(&mut self, count: u64) {
        for _ in 0..count {
            self.commit(Batch::new().record(entry("ada"))).expect("durable");
            self.clock.advance(Duration::from_secs(1));
        }
    }

    pub(super) fn page(&mut self, query: &AuditQuery) -> AuditPage {
        self.vault.read_audit(query).expect("a page")
    }

    /// Every entry that `query` asks for, page by page.
    pub(super) fn every(&mut self, query: &AuditQuery) -> Vec<AuditRecord> {
        let (mut all, mut query) = (Vec::new(), query.clone());
        loop {
            let page = self.page(&query);
            assert_eq!(page.unreadable, [0_u64; 0]);
            all.extend(page.entries);
            match page.next {
                Some(next) => query = query.starting_at(next),
                None => return all,
            }
        }
    }

    /// Verifies the whole trail, step by step.
    pub(super) fn verified(&self, marked: Option<AuditMark>) -> AuditProgress {
        let mut from = None;
        loop {
            let progress = self.vault.verify_audit(from, marked).expect("a verification");
            if progress.done {
                return progress;
            }
            from = Some(progress.verified);
        }
    }

    pub(super) fn finding(&self) -> Option<(u64, AuditProblem)> {
        self.verified(None).finding.map(|finding| (finding.number, finding.problem))
    }

    /// Deletes every record of a user, as an erasure does.
    fn erase(&mut self, name: &str) {
        let query = Query::all(RecordKind::AuditIdentity).of_user(user(name));
        let mut batch =
            Batch::new().record(AuditEntry::new(AuditKind::UserErased).user(&user(name)));
        for entry in self.vault.list(&query) {
            batch = batch.delete(entry.key, Expect::AnythingOrQuarantined);
        }
        self.commit(batch).expect("durable");
    }
}

fn open(store: &MemoryStore, clock: &Arc<ManualClock>) -> OpenVault {
    let store = store.clone();
    let open: OpenStore = Arc::new(move || Ok(Box::new(store.clone())));
    let vault = Vault { place: Place::Other("memory", open), ..Vault::in_memory() };
    OpenVault::open(&vault, clock.sources(), Arc::new(|_| {})).expect("a vault")
}

fn user(name: &str) -> UserId {
    UserId::new(name).expect("a name")
}

fn credential(name: &str, provider: &str) -> CredentialId {
    CredentialId {
        user: user(name),
        provider: ProviderId::new(provider).expect("a name"),
        method: Method::ApiKey,
        label: Label::default(),
    }
}

pub(super) fn entry(name: &str) -> AuditEntry {
    AuditEntry::of_credential(AuditKind::SignedIn, &credential(name, "openai"))
}

fn put(name: &str, expect: Expect) -> Batch {
    let key = RecordKey::new(RecordKind::Session, user("ada"), name);
    Batch::new().put(key, Zeroizing::new(b"payload".to_vec()), expect, Tags::default())
}

#[test]
fn an_entry_is_durable_with_its_change_or_not_at_all() {
    let mut bench = Bench::new();
    bench.commit(put("one", Expect::Absent).record(entry("ada"))).expect("durable");
    let refused = bench.commit(put("one", Expect::Absent).record(entry("bob")));
    assert!(refused.is_err_and(|error| error.is_conflict()));
    bench.reopen();
    let all = bench.every(&AuditQuery::all());
    let seen: Vec<_> = all.iter().map(|it| (it.mark.number(), it.kind, it.user.clone())).collect();
    assert_eq!(seen, [(1, AuditKind::SignedIn, AuditUser::Named(user("ada")))]);
    assert_eq!(all[0].at, SystemTime::UNIX_EPOCH + START);
    assert_eq!(bench.finding(), None);
}

#[test]
fn entries_of_one_group_are_recorded_in_its_order_and_without_those_refused() {
    let mut bench = Bench::new();
    let group = vec![
        put("one", Expect::Absent).record(entry("ada")).record(entry("bob")),
        put("one", Expect::Absent).record(entry("eve")),
        put("two", Expect::Absent).record(entry("ada")),
    ];
    let outcome = bench.vault.commit(group);
    let verdicts: Vec<_> = outcome.verdicts.iter().map(Result::is_ok).collect();
    assert_eq!(verdicts, [true, false, true]);
    let all = bench.every(&AuditQuery::all());
    let users: Vec<_> = all.iter().filter_map(|it| it.user.name()?.as_str().into()).collect();
    assert_eq!(users, ["ada", "bob", "ada"]);
    let identities = bench.vault.list(&Query::all(RecordKind::AuditIdentity));
    assert_eq!(identities.len(), 2, "one for each user, and none for whom nothing was recorded");
}

#[test]
fn entries_are_no_part_of_the_index_and_an_opening_does_not_read_them() {
    let mut bench = Bench::new();
    bench.sign_in(300);
    let records = bench.vault.index.len();
    bench.sign_in(300);
    assert_eq!(bench.vault.index.len(), records);
    // Nothing but the last one is looked at: an opening finds no fault with any other.
    for number in 1..600 {
        bench.set(number, None);
    }
    bench.reopen();
    assert_eq!(bench.vault.check_audit_end().expect("a look"), None);
    assert_eq!(bench.finding(), Some((1, AuditProblem::Missing)));
}

#[test]
fn an_erased_user_has_no_name_in_the_trail_and_the_chain_still_verifies() {
    let mut bench = Bench::new();
    for name in ["ada", "bob", "ada"] {
        bench.commit(Batch::new().record(entry(name).because("ada wanted it"))).expect("durable");
    }
    bench.erase("ada");
    bench.reopen();
    assert_eq!(bench.finding(), None);
    let all = bench.every(&AuditQuery::all());
    let seen: Vec<_> = all.iter().map(|it| (it.kind, it.user.clone())).collect();
    let expected = [
        (AuditKind::SignedIn, AuditUser::Erased),
        (AuditKind::SignedIn, AuditUser::Named(user("bob"))),
        (AuditKind::SignedIn, AuditUser::Erased),
        (AuditKind::UserErased, AuditUser::Erased),
    ];
    assert_eq!(seen, expected);
    for entry in all.iter().filter(|entry| entry.user == AuditUser::Erased) {
        assert!(!entry.to_json().contains("ada"), "{}", entry.to_json());
    }
    assert_eq!(bench.every(&AuditQuery::all().of_user(user("ada"))), []);
    assert_eq!(bench.every(&AuditQuery::all().of_user(user("bob"))).len(), 1);
    assert_eq!(bench.vault.list(&Query::all(RecordKind::AuditIdentity)).len(), 1);

    // Who comes back is somebody new, whom nothing ties to the one who left.
    bench.sign_in(1);
    assert_eq!(bench.every(&AuditQuery::all().of_user(user("ada"))).len(), 1);
}

#[test]
fn an_identity_that_does_not_open_keeps_nobody_from_signing_in() {
    let mut bench = Bench::new();
    bench.sign_in(1);
    let identity = bench.vault.list(&Query::all(RecordKind::AuditIdentity)).remove(0);
    bench.damage(&identity.key);
    bench.reopen();
    bench.sign_in(1);
    let users: Vec<_> = bench.every(&AuditQuery::all()).into_iter().map(|it| it.user).collect();
    assert_eq!(users, [AuditUser::Unreadable, AuditUser::Named(user("ada"))]);
    assert_eq!(bench.finding(), None);
}

#[test]
fn the_oldest_segments_go_when_they_are_old_and_the_rest_still_verifies() {
    let mut bench = Bench::new();
    bench.sign_in(2 * SEGMENT + 10);
    let keep = |keep, at_least| AuditRetention { keep: Some(keep), at_least };
    let day = Duration::from_hours(24);
    let removed = |bench: &mut Bench, policy| {
        bench.vault.apply_audit_retention(policy).expect("applied").removed
    };
    assert_eq!(removed(&mut bench, keep(day, 0)), 0, "nothing is so old");
    bench.clock.advance(2 * day);
    assert_eq!(removed(&mut bench, AuditRetention::for_ever()), 0);
    assert_eq!(removed(&mut bench, keep(day, 300)), 0, "too few would be left");
    assert_eq!(removed(&mut bench, keep(day, 266)), SEGMENT);
    assert_eq!(removed(&mut bench, keep(day, 0)), SEGMENT);
    assert_eq!(removed(&mut bench, keep(day, 0)), 0, "the last one is not whole");
    bench.reopen();
    let progress = bench.verified(None);
    assert_eq!((progress.first, progress.finding), (2 * SEGMENT + 1, None));
    let all = bench.every(&AuditQuery::all());
    assert_eq!(all.len(), 12);
    let last = all.last().expect("an entry");
    assert_eq!((last.kind, last.count), (AuditKind::RetentionApplied, SEGMENT));
    bench.sign_in(1);
    assert_eq!(bench.finding(), None);
}

#[test]
fn an_identity_that_nothing_names_any_more_goes_with_the_last_entry_about_it() {
    let mut bench = Bench::new();
    let week = Duration::from_hours(7 * 24);
    let policy = AuditRetention { keep: Some(week), at_least: 0 };
    let session = RecordKey::new(RecordKind::Session, user("carl"), "one");
    let stays = Batch::new().put(session, Zeroizing::default(), Expect::Absent, Tags::default());
    bench.commit(stays.record(entry("carl"))).expect("durable");
    bench.commit(Batch::new().record(entry("bob"))).expect("durable");
    bench.sign_in(SEGMENT);
    bench.clock.advance(2 * week);
    // More than one call reads, so that it has to go on where it was.
    for _ in 0..1_100 {
        bench.commit(Batch::new().record(entry("dora"))).expect("durable");
    }
    bench.commit(Batch::new().record(entry("bob"))).expect("durable");
    let apply = |bench: &mut Bench| {
        let (mut removed, mut forgotten) = (0, 0);
        loop {
            let step = bench.vault.apply_audit_retention(policy).expect("applied");
            (removed, forgotten) = (removed + step.removed, forgotten + step.forgotten);
            if step.done {
                return (removed, forgotten);
            }
        }
    };
    assert_eq!(apply(&mut bench), (SEGMENT, 0), "the first entries after the segment name ada");
    bench.clock.advance(2 * week);
    assert_eq!(apply(&mut bench), (4 * SEGMENT, 1));
    let has_identity = |bench: &Bench, name: &str| {
        let query = Query::all(RecordKind::AuditIdentity).of_user(user(name));
        !bench.vault.list(&query).is_empty()
    };
    let left = ["ada", "bob", "carl", "dora"].map(|name| has_identity(&bench, name));
    assert_eq!(left, [false, true, true, true], "carl has a session");
    assert_eq!(apply(&mut bench), (0, 0));
    bench.sign_in(1);
    assert!(has_identity(&bench, "ada"), "whoever comes back gets a fresh one");
    let about_ada = bench.every(&AuditQuery::all().of_user(user("ada")));
    assert_eq!(about_ada.len(), 1);
    bench.reopen();
    assert_eq!(bench.finding(), None);
}

#[test]
fn an_identity_that_does_not_open_is_not_taken_for_an_erased_one() {
    // The record alone, so that its name is still known; then the index entry too.
    for damaged in [1, 2] {
        let mut bench = Bench::new();
        bench.sign_in(1);
        let query = Query::all(RecordKind::AuditIdentity).of_user(user("ada"));
        let key = bench.vault.list(&query)[0].key.clone();
        let name = BlindName::new(&bench.vault.keys.name_key, &key);
        for stored in [name.record_key(), name.entry_key()].iter().take(damaged) {
            let mut value = bench.store.read(stored).expect("a read").expect("stored");
            value.value[60] ^= 1;
            let mut batch = StoreBatch::default();
            batch.write(stored.clone(), Some(value.version), Some(value));
            bench.store.commit(&batch).expect("a commit");
        }
        bench.reopen();
        let shown = bench.every(&AuditQuery::all());
        assert_eq!(shown[0].user, AuditUser::Unreadable);
        let id = bench.vault.quarantined()[0].id;
        bench.vault.discard(&id.into()).expect("discarded");
        let shown = bench.every(&AuditQuery::all());
        assert_eq!(shown[0].user, AuditUser::Erased, "now nobody can tell any more");
    }
}

#[test]
fn a_clock_that_was_set_back_hides_no_entry_from_a_query_by_time() {
    let mut bench = Bench::new();
    bench.sign_in(SEGMENT + 5);
    let noted = SystemTime::UNIX_EPOCH + Duration::from_secs(77);
    let mut late = entry("bob");
    late.at = Some(noted);
    bench.commit(Batch::new().record(late)).expect("durable");
    bench.sign_in(SEGMENT);
    let around = AuditQuery::all()
        .from(noted - Duration::from_secs(1))
        .until(noted + Duration::from_secs(1));
    let found = bench.every(&around);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].at, noted);
}

#[derive(Debug, Clone)]
struct Recorded {
    user: u8,
    provider: u8,
    kind: AuditKind,
    at: u64,
}

fn recorded() -> impl Strategy<Value = Recorded> {
    let kinds = prop_oneof![Just(AuditKind::SignedIn), Just(AuditKind::Refreshed)];
    (0..3_u8, 0..2_u8, kinds, 0..40_u64).prop_map(|(user, provider, kind, at)| Recorded {
        user,
        provider,
        kind,
        at,
    })
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_query_agrees_with_a_filter_over_everything(
        // More than two segments, most of them of one time, so that whole ones can be passed over.
        (before, entries, after) in (0..300_usize, prop::collection::vec(recorded(), 1..40), 0..300_usize),
        user_asked in prop::option::of(0..4_u8),
        provider_asked in prop::option::of(0..2_u8),
        kind_asked in prop::option::of(Just(AuditKind::Refreshed)),
        (from, until) in (prop::option::of(0..40_u64), prop::option::of(0..40_u64)),
        (backwards, limit) in (any::<bool>(), 1..50_usize),
        start in prop::option::of(1..400_u64),
    ) {
        let mut bench = Bench::new();
        let plain = Recorded { user: 0, provider: 0, kind: AuditKind::SignedIn, at: 39 };
        let all: Vec<Recorded> = std::iter::repeat_n(plain.clone(), before)
            .chain(entries)
            .chain(std::iter::repeat_n(plain, after))
            .collect();
        for group in all.chunks(50) {
            let batch = group.iter().fold(Batch::new(), |batch, one| {
                let id = credential(&one.user.to_string(), &one.provider.to_string());
                let mut entry = AuditEntry::of_credential(one.kind, &id);
                entry.at = Some(at(one.at));
                batch.record(entry)
            });
            bench.commit(batch).expect("durable");
        }
        bench.reopen();
        let mut query = AuditQuery::all().limit(limit);
        if let Some(name) = user_asked { query = query.of_user(user(&name.to_string())); }
        if let Some(name) = provider_asked {
            query = query.for_provider(ProviderId::new(&name.to_string()).expect("a name"));
        }
        if let Some(kind) = kind_asked { query = query.of_kind(kind); }
        if let Some(from) = from { query = query.from(at(from)); }
        if let Some(until) = until { query = query.until(at(until)); }
        if let Some(start) = start { query = query.starting_at(start); }
        if backwards { query = query.newest_first(); }
        let mut expected: Vec<u64> = (1..)
            .zip(&all)
            .filter(|(number, one)| {
                user_asked.is_none_or(|asked| asked == one.user)
                    && provider_asked.is_none_or(|asked| asked == one.provider)
                    && kind_asked.is_none_or(|asked| asked == one.kind)
                    && from.is_none_or(|from| one.at >= from)
                    && until.is_none_or(|until| one.at < until)
                    && start.is_none_or(|start| {
                        if backwards { *number <= start } else { *number >= start }
                    })
            })
            .map(|(number, _)| number)
            .collect();
        if backwards { expected.reverse(); }
        let found: Vec<u64> =
            bench.every(&query).iter().map(|entry| entry.mark.number()).collect();
        prop_assert_eq!(found, expected);
    }
}
