//! The token issuer against a vault that conflicts, fails and forgets what it answered: nothing is
//! visible before it is durable, everybody is answered once, and one write is under way at a time.

use proptest::prelude::*;
use zeroize::Zeroizing;

use super::*;
use crate::server::application::{ApplicationSpec, GrantGeneration, SecretHasher};
use crate::server::jws::SigningAlgorithm;
use crate::testing::SeededEntropy;

const POLICY: KeyPolicy = KeyPolicy {
    algorithm: SigningAlgorithm::EdDsa,
    lifetime: Duration::from_hours(24),
    publish_ahead: Duration::from_mins(11),
    keep_after: Duration::from_mins(11),
};

fn time(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn id(number: u8) -> ApplicationId {
    format!("app_{number}").parse().expect("an id")
}

fn application(number: u8) -> Box<Application> {
    let secret = SecretHasher::new(&[1; 32]).fresh(&SeededEntropy::new(number.into()), time(0));
    let (_, secret) = secret.expect("randomness");
    let spec = ApplicationSpec::new("a client").permissions("a".parse().expect("a scope"));
    Box::new(
        spec.into_application(id(number), secret, GrantGeneration::first(1), time(0))
            .expect("an application"),
    )
}

fn keys(how: KeyChange, seed: u64) -> Change {
    let fresh = SigningKey::generate(SigningAlgorithm::EdDsa, &SeededEntropy::new(seed));
    let hash_key = Arc::new(Zeroizing::new([seed.to_le_bytes()[0]; 32]));
    Change::Keys { how, fresh: Arc::new(fresh.expect("randomness")), hash_key }
}

fn loaded_with_nothing(made_with_keys: bool) -> Event<usize> {
    let (applications, damaged) = (Vec::new(), BTreeSet::new());
    Event::Loaded { ring: None, applications, damaged, made_with_keys }
}

fn enabled(number: u8, enabled: bool) -> Change {
    let change = Box::new(ApplicationChange::new().enabled(enabled));
    Change::Alter { id: id(number), change }
}

/// A vault of two kinds of records, and who was answered what.
struct Bench {
    state: IssuerState<usize>,
    ring: Option<Stored<KeyRing>>,
    applications: BTreeMap<ApplicationId, Stored<Application>>,
    /// Which of the applications do not open.
    damaged: BTreeSet<ApplicationId>,
    /// Which were discarded beneath the issuer, and nothing was written in their place since.
    discarded: BTreeSet<ApplicationId>,
    /// Which were removed at any time.
    removed: BTreeSet<ApplicationId>,
    denied: BTreeSet<ApplicationId>,
    version: u64,
    now: SystemTime,
    asked: usize,
    answers: BTreeMap<usize, Result<(), Error>>,
    /// What the next writes come to; beyond it all is well.
    faults: VecDeque<Fault>,
    /// When which secret was last used, beside what the vault has.
    used: BTreeMap<[u8; 32], SystemTime>,
    /// Which secrets were lost on their way.
    lost: BTreeSet<[u8; 32]>,
}

#[derive(Debug, Clone, Copy)]
enum Fault {
    /// Nothing is wrong.
    None,
    /// Somebody else was faster.
    Overtaken,
    /// It failed, and is not there.
    Lost,
    /// It failed, and is there all the same.
    Unnoticed,
    /// It failed, and can not be read either.
    Blind,
    /// It is there, and does not open.
    Damaged,
}

impl Bench {
    fn new() -> Self {
        let mut bench = Self {
            state: IssuerState::new(POLICY),
            ring: None,
            applications: BTreeMap::new(),
            damaged: BTreeSet::new(),
            discarded: BTreeSet::new(),
            removed: BTreeSet::new(),
            denied: BTreeSet::new(),
            version: 0,
            now: time(0),
            asked: 0,
            answers: BTreeMap::new(),
            faults: VecDeque::new(),
            used: BTreeMap::new(),
            lost: BTreeSet::new(),
        };
        bench.play(loaded_with_nothing(false));
        bench.ask(keys(KeyChange::Upkeep, 1));
        bench
    }

    fn ask(&mut self, change: Change) -> usize {
        self.asked += 1;
        self.play(Event::Asked { change, by: self.asked });
        self.asked
    }

    fn answer(&self, asked: usize) -> &Result<(), Error> {
        self.answers.get(&asked).expect("answered")
    }

    /// Hears an event and everything that follows from it.
    fn play(&mut self, event: Event<usize>) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let mut effects = self.hear(Some(event)).unwrap_or_default();
            while let Some(more) = self.hear(None) {
                effects.extend(more);
            }
            let mut writes = 0;
            for effect in effects {
                match effect {
                    Effect::Write { target, base, .. } => {
                        writes += 1;
                        assert_eq!(writes, 1, "one write at a time");
                        events.extend(self.write(target, base));
                    }
                    Effect::Reread(subject) => {
                        let found = self.read(&subject);
                        events.push_back(Event::Reread(Ok(found)));
                    }
                    Effect::Publish => self.assert_durable(),
                    Effect::Deny(id) => drop(self.denied.insert(id)),
                    Effect::Answer { by, result } => {
                        assert!(self.answers.insert(by, result).is_none(), "answered once");
                    }
                }
            }
        }
    }

    /// What follows from an event; of none, what comes next.
    fn hear(&mut self, event: Option<Event<usize>>) -> Option<Vec<Effect<usize>>> {
        let used = |secret: &StoredSecret| self.used.get(&secret.hash).copied();
        let evidence = Evidence { now: self.now, used: &used, lost: self.lost.clone() };
        match event {
            Some(event) => Some(self.state.step(event, &evidence)),
            None => self.state.next(&evidence),
        }
    }

    fn write(&mut self, target: Target, base: Base) -> Vec<Event<usize>> {
        let fault = self.faults.pop_front().unwrap_or(Fault::None);
        let subject = target.subject();
        let failed = || Written::Failed(Error::new(ErrorKind::VaultUnavailable, "the disk failed"));
        if let Fault::Overtaken = fault {
            self.touch(&subject);
        }
        let found = self.standing(&subject);
        if let Base::Damaged = base {
            assert_eq!(found, Base::Damaged, "whatever stands there would be overwritten");
        }
        if found != base {
            return vec![Event::Written(Written::Conflict)];
        }
        match fault {
            Fault::Lost => return vec![Event::Written(failed())],
            Fault::Blind => {
                let blind = Error::new(ErrorKind::VaultUnavailable, "the disk is gone");
                return vec![Event::Written(failed()), Event::Reread(Err(blind))];
            }
            _ => self.put(target),
        }
        if let (Fault::Damaged, Subject::Application(id)) = (fault, &subject) {
            self.damage(id);
        }
        match fault {
            Fault::Unnoticed => vec![Event::Written(failed())],
            _ => vec![Event::Written(Written::Done(self.read(&subject)))],
        }
    }

    fn put(&mut self, target: Target) {
        self.version += 1;
        let version = RecordVersion(self.version);
        match target {
            Target::Ring(value) => self.ring = Some(Stored { value, version }),
            Target::Application(value) => {
                assert!(!self.damaged.contains(&value.id), "what does not open is not overwritten");
                self.discarded.remove(&value.id);
                self.applications.insert(value.id.clone(), Stored { value: *value, version });
            }
            Target::Gone(id) => {
                self.applications.remove(&id);
                self.damaged.remove(&id);
                self.removed.insert(id);
            }
        }
    }

    /// Lets a record not open any more, if there is one.
    fn damage(&mut self, id: &ApplicationId) {
        if self.applications.contains_key(id) {
            self.damaged.insert(id.clone());
        }
    }

    /// Removes a record that does not open, as an operator does, and the issuer is not told.
    fn discard(&mut self, id: &ApplicationId) {
        if self.damaged.remove(id) {
            self.applications.remove(id);
            self.discarded.insert(id.clone());
        }
    }

    /// Begins with what the vault has, as after a restart. Of those that do not open, the list has `listed`.
    fn restart(&mut self, listed: impl Fn(&ApplicationId) -> bool) {
        let readable = self.applications.iter().filter(|(id, _)| !self.damaged.contains(*id));
        let event = Event::Loaded {
            ring: self.ring.clone(),
            applications: readable.map(|(_, stored)| stored.clone()).collect(),
            damaged: self.damaged.iter().filter(|id| listed(id)).cloned().collect(),
            made_with_keys: true,
        };
        self.state = IssuerState::new(POLICY);
        self.discarded.clear();
        self.play(event);
    }

    /// The records that do not open, as they stand.
    fn unreadable(&self) -> BTreeMap<ApplicationId, RecordVersion> {
        let version = |id: &ApplicationId| (id.clone(), self.applications[id].version);
        self.damaged.iter().map(version).collect()
    }

    /// Writes the record as it is once more, as another host would. One that does not open stays as it is.
    fn touch(&mut self, subject: &Subject) {
        self.version += 1;
        let version = RecordVersion(self.version);
        match subject {
            Subject::Ring => self.ring.iter_mut().for_each(|stored| stored.version = version),
            Subject::Application(id) if self.damaged.contains(id) => {}
            Subject::Application(id) => {
                self.applications.get_mut(id).into_iter().for_each(|it| it.version = version);
            }
        }
    }

    fn standing(&self, subject: &Subject) -> Base {
        let version = match subject {
            Subject::Ring => self.ring.as_ref().map(|stored| stored.version),
            Subject::Application(id) if self.damaged.contains(id) => return Base::Damaged,
            Subject::Application(id) => self.applications.get(id).map(|stored| stored.version),
        };
        version.map_or(Base::Nothing, Base::Version)
    }

    fn read(&self, subject: &Subject) -> Found {
        match subject {
            Subject::Ring => Found::Ring(self.ring.clone()),
            Subject::Application(id) if self.damaged.contains(id) => Found::Damaged,
            Subject::Application(id) => {
                Found::Application(self.applications.get(id).cloned().map(Box::new))
            }
        }
    }

    /// What is published is what the vault has, but for what was damaged beneath it. Nothing of an
    /// application that was removed is good for the one that has its id now.
    fn assert_durable(&self) {
        for shown in self.state.applications() {
            let id = shown.id();
            if !self.damaged.contains(id) && !self.discarded.contains(id) {
                assert_eq!(self.applications.get(id).map(|it| &it.value), Some(shown));
            }
            assert!(!self.removed.contains(id) || self.denied.contains(id), "{id}");
        }
        let ids = |ring: Option<&KeyRing>| -> Vec<String> {
            let keys = ring.into_iter().flat_map(KeyRing::keys);
            keys.map(|key| key.key.id().to_owned()).collect()
        };
        assert_eq!(ids(self.state.ring()), ids(self.ring.as_ref().map(|stored| &stored.value)));
    }
}

#[test]
fn the_first_upkeep_makes_the_first_key_and_the_next_ones_change_nothing_before_it_is_due() {
    let mut bench = Bench::new();
    let first = bench.ring.as_ref().expect("a ring").version;
    let upkeep = bench.ask(keys(KeyChange::Upkeep, 2));
    assert!(bench.answer(upkeep).is_ok());
    assert_eq!(bench.ring.as_ref().expect("a ring").version, first, "nothing was written");
    bench.now += POLICY.lifetime;
    bench.ask(keys(KeyChange::Upkeep, 3));
    assert_eq!(bench.ring.as_ref().expect("a ring").value.keys().len(), 2);
}

#[test]
fn keys_that_are_lost_are_never_made_anew() {
    let mut bench = Bench::new();
    bench.ring = None;
    let mut again = IssuerState::new(POLICY);
    let nothing = loaded_with_nothing(true);
    std::mem::swap(&mut bench.state, &mut again);
    bench.play(nothing);
    let upkeep = bench.ask(keys(KeyChange::Upkeep, 2));
    let error = bench.answer(upkeep).as_ref().expect_err("they are lost").to_string();
    assert!(error.contains("restore a backup"), "{error}");
    assert!(bench.ring.is_none());

    // The same when they vanish beneath a server that runs.
    bench.state = again;
    let replaced = bench.ask(keys(KeyChange::Replace, 3));
    assert!(bench.answer(replaced).is_err());
    assert!(bench.ring.is_none());
}

#[test]
fn the_hash_key_survives_every_change_of_the_signing_keys() {
    let mut bench = Bench::new();
    for (seed, how) in [(2, KeyChange::Rotate), (3, KeyChange::Replace), (4, KeyChange::Upkeep)] {
        bench.now += POLICY.lifetime;
        bench.ask(keys(how, seed));
        assert_eq!(bench.state.ring().expect("a ring").hash_key.as_slice(), &[1; 32]);
    }
}

#[test]
fn an_application_is_registered_once_changed_and_removed() {
    let mut bench = Bench::new();
    let registered = bench.ask(Change::Register(application(1)));
    assert!(bench.answer(registered).is_ok());
    let again = bench.ask(Change::Register(application(1)));
    assert!(bench.answer(again).as_ref().expect_err("taken").is_invalid_input());
    let changed = bench.ask(enabled(1, false));
    assert!(bench.answer(changed).is_ok());
    assert!(!bench.applications[&id(1)].value.is_enabled());
    let removed = bench.ask(Change::Remove { id: id(1) });
    assert!(bench.answer(removed).is_ok());
    let missing = bench.ask(enabled(1, true));
    assert!(bench.answer(missing).as_ref().expect_err("gone").is_not_found());
}

#[test]
fn a_change_that_was_overtaken_is_made_again_on_what_there_is_now() {
    let mut bench = Bench::new();
    bench.ask(Change::Register(application(1)));
    bench.faults.extend([Fault::Overtaken, Fault::Overtaken]);
    let changed = bench.ask(enabled(1, false));
    assert!(bench.answer(changed).is_ok());
    bench.faults.extend([Fault::Overtaken; 3]);
    let unlucky = bench.ask(enabled(1, true));
    assert!(bench.answer(unlucky).as_ref().expect_err("three times").is_transient());
    assert!(!bench.applications[&id(1)].value.is_enabled());
}

#[test]
fn a_write_that_failed_is_answered_by_what_the_vault_has_afterwards() {
    for (fault, there) in [(Fault::Lost, false), (Fault::Unnoticed, true)] {
        let mut bench = Bench::new();
        bench.faults.push_back(fault);
        let asked = bench.ask(Change::Register(application(1)));
        assert_eq!(bench.answer(asked).is_ok(), there, "{fault:?}");
        assert_eq!(bench.state.applications().count() == 1, there, "{fault:?}");
        bench.faults.push_back(fault);
        let rotated = bench.ask(keys(KeyChange::Rotate, 2));
        assert_eq!(bench.answer(rotated).is_ok(), there, "{fault:?}");
        if there {
            bench.faults.push_back(fault);
            let removed = bench.ask(Change::Remove { id: id(1) });
            assert!(bench.answer(removed).is_ok());
        }
    }
}

fn fresh_secret(number: u8) -> (StoredSecret, Change) {
    let fresh = StoredSecret { hash: [number; 32], created: time(0), ends: None, used: None };
    let overlap = Duration::from_hours(24);
    (fresh.clone(), Change::ReplaceSecret { id: id(1), fresh, overlap })
}

#[test]
fn a_secret_that_nobody_got_takes_the_place_of_none_that_somebody_has() {
    for (fault, is_used) in [(Fault::Unnoticed, false), (Fault::None, false), (Fault::None, true)] {
        let mut bench = Bench::new();
        bench.ask(Change::Register(application(1)));
        let deployed = bench.applications[&id(1)].value.secrets[0].hash;
        // Of the first one the vault says in the end that it is there, and yet nobody hears of it.
        bench.faults.push_back(fault);
        let (lost, change) = fresh_secret(7);
        bench.ask(change);
        let (kept, change) = fresh_secret(8);
        bench.lost.insert(lost.hash);
        bench.used.extend(is_used.then_some((lost.hash, time(1))));
        let asked = bench.ask(change);
        assert!(bench.answer(asked).is_ok());
        let secrets = bench.applications[&id(1)].value.secrets.iter().map(|secret| secret.hash);
        let former = if is_used { lost.hash } else { deployed };
        assert_eq!(secrets.collect::<Vec<_>>(), [former, kept.hash], "whoever uses it has it");
    }
}

/// Which secret goes on is decided by the uses that are known, written or not.
#[test]
fn a_secret_whose_use_is_not_written_yet_is_one_in_use() {
    for (known, left) in [(false, None), (true, Some(7))] {
        let mut bench = Bench::new();
        bench.ask(Change::Register(application(1)));
        let deployed = bench.applications[&id(1)].value.secrets[0].hash;
        bench.ask(Change::NoteUse { id: id(1), hash: deployed, used: time(1) });
        let (second, change) = fresh_secret(7);
        bench.ask(change);
        let (third, change) = fresh_secret(8);
        bench.used.extend(known.then_some((second.hash, time(2))));
        bench.ask(change);
        let left = left.map_or(deployed, |number| [number; 32]);
        let secrets = bench.applications[&id(1)].value.secrets.iter().map(|secret| secret.hash);
        assert_eq!(secrets.collect::<Vec<_>>(), [left, third.hash]);
    }
}

#[test]
fn the_use_of_a_secret_is_written_and_changes_nothing_else() {
    for (fault, there) in [(Fault::None, true), (Fault::Overtaken, true), (Fault::Lost, false)] {
        let mut bench = Bench::new();
        bench.ask(Change::Register(application(1)));
        let before = bench.applications[&id(1)].value.clone();
        let (hash, used) = (before.secrets[0].hash, time(5));
        bench.faults.push_back(fault);
        let noted = bench.ask(Change::NoteUse { id: id(1), hash, used });
        assert_eq!(bench.answer(noted).is_ok(), there, "{fault:?}");
        let mut after = bench.applications[&id(1)].value.clone();
        assert_eq!(after.secrets[0].used, there.then_some(used), "{fault:?}");
        after.secrets[0].used = None;
        assert_eq!(after.to_record(), before.to_record());
    }
    let mut bench = Bench::new();
    let gone = bench.ask(Change::NoteUse { id: id(1), hash: [0; 32], used: time(5) });
    assert!(bench.answer(gone).is_ok(), "nobody has to know of what is gone");
    assert!(bench.applications.is_empty());
}

#[test]
fn a_secret_that_is_set_again_changes_nothing() {
    let mut bench = Bench::new();
    bench.ask(Change::Register(application(1)));
    let set = |overlap| {
        let (fresh, _) = fresh_secret(7);
        Change::ReplaceSecret { id: id(1), fresh, overlap }
    };
    bench.ask(set(Duration::ZERO));
    let before = bench.applications[&id(1)].version;
    for overlap in [Duration::ZERO, Duration::from_hours(1)] {
        let asked = bench.ask(set(overlap));
        assert!(bench.answer(asked).is_ok());
    }
    assert_eq!(bench.applications[&id(1)].version, before);
}

#[test]
fn a_damaged_application_is_removed_and_registered_anew_and_nothing_else_is_made_of_it() {
    // It is found while it is served, when everything is loaded, or not before somebody asks for it.
    for found in ["served", "listed", "in no list"] {
        let mut bench = Bench::new();
        bench.ask(Change::Register(application(1)));
        bench.ask(Change::Register(application(2)));
        bench.damage(&id(1));
        match found {
            "served" => {}
            listed => bench.restart(|it| listed == "listed" || *it != id(1)),
        }
        let left = bench.unreadable();
        let (_, exchange) = fresh_secret(7);
        for change in [enabled(1, false), exchange, enabled(1, true)] {
            let refused = bench.ask(change);
            let error = bench.answer(refused).as_ref().expect_err("it is damaged");
            assert!(error.to_string().contains("remove the application"), "{found}: {error}");
        }
        let refused = bench.ask(Change::Register(application(1)));
        assert!(bench.answer(refused).is_err(), "{found}");
        assert_eq!(bench.unreadable(), left, "{found}: it stays as it is");

        let removed = bench.ask(Change::Remove { id: id(1) });
        assert!(bench.answer(removed).is_ok(), "{found}");
        assert!(!bench.applications.contains_key(&id(1)), "{found}");
        assert_eq!(bench.denied, BTreeSet::from([id(1)]), "{found}");
        let gone = bench.ask(Change::Remove { id: id(1) });
        assert!(bench.answer(gone).as_ref().expect_err("it is gone").is_not_found());
        let anew = bench.ask(Change::Register(application(1)));
        assert!(bench.answer(anew).is_ok(), "{found}");
        assert_eq!(bench.state.applications().count(), 2, "{found}");
    }
}

#[test]
fn a_damaged_application_that_was_discarded_is_gone_and_is_not_removed_again() {
    for change in [enabled(1, true), Change::Remove { id: id(1) }] {
        let mut bench = Bench::new();
        bench.ask(Change::Register(application(1)));
        bench.damage(&id(1));
        bench.restart(|_| true);
        bench.discard(&id(1));
        let asked = bench.ask(change);
        assert!(bench.answer(asked).as_ref().expect_err("it is gone").is_not_found());
        assert!(bench.removed.is_empty(), "nothing was written, and nothing recorded");
        let anew = bench.ask(Change::Register(application(1)));
        assert!(bench.answer(anew).is_ok());
    }
}

#[test]
fn a_vault_that_can_not_be_read_is_no_damage_of_the_application_that_was_asked_for() {
    for kind in [ErrorKind::VaultUnreadable, ErrorKind::VaultLocked, ErrorKind::ShuttingDown] {
        let mut bench = Bench::new();
        bench.ask(Change::Register(application(1)));
        let evidence = Evidence { now: bench.now, used: &|_| None, lost: BTreeSet::new() };
        let (change, by) = (Change::Remove { id: id(1) }, 9);
        bench.state.step(Event::Asked { change, by }, &evidence);
        bench.state.next(&evidence);
        bench.state.step(Event::Written(Written::Conflict), &evidence);
        let unread = Event::Reread(Err(Error::new(kind, "the vault failed")));
        let effects = bench.state.step(unread, &evidence);
        let [Effect::Answer { by: 9, result: Err(error) }] = &effects[..] else {
            panic!("{effects:?}")
        };
        assert_eq!(error.to_string(), "the vault failed");
        assert!(bench.state.damaged.is_empty() && bench.state.applications().count() == 1);
    }
}

/// The removal of a damaged application is durable, and its answer is lost.
#[test]
fn what_a_damaged_application_was_issued_is_denied_to_the_next_one_in_any_case() {
    let mut bench = Bench::new();
    bench.ask(Change::Register(application(1)));
    bench.damage(&id(1));
    bench.restart(|_| true);
    let evidence = Evidence { now: bench.now, used: &|_| None, lost: BTreeSet::new() };
    let failed = || Error::new(ErrorKind::VaultUnavailable, "the disk failed");
    let (change, by) = (Change::Remove { id: id(1) }, 9);
    bench.state.step(Event::Asked { change, by }, &evidence);
    bench.state.next(&evidence);
    bench.state.step(Event::Reread(Ok(Found::Damaged)), &evidence);
    bench.state.step(Event::Written(Written::Failed(failed())), &evidence);
    bench.state.step(Event::Reread(Err(failed())), &evidence);
    bench.put(Target::Gone(id(1)));
    let anew = bench.ask(Change::Register(application(1)));
    assert!(bench.answer(anew).is_ok());
    assert!(bench.denied.contains(&id(1)));
}

#[test]
fn what_does_not_open_once_it_is_written_is_not_done() {
    let mut bench = Bench::new();
    bench.ask(Change::Register(application(1)));
    bench.faults.push_back(Fault::Damaged);
    let changed = bench.ask(enabled(1, false));
    assert!(bench.answer(changed).as_ref().expect_err("damaged").is_vault_unreadable());
    // Nobody asks for it again and again.
    let hash = application(1).secrets[0].hash;
    let noted = bench.ask(Change::NoteUse { id: id(1), hash, used: time(5) });
    assert!(bench.answer(noted).is_ok());
}

proptest! {
    #[test]
    fn whatever_the_vault_does_everybody_is_answered_and_nothing_shows_that_is_not_durable(
        changes in prop::collection::vec((0_u8..11, 0_u8..3), 1..30),
        faults in prop::collection::vec(0_u8..10, 0..30),
    ) {
        let mut bench = Bench::new();
        bench.faults = faults
            .into_iter()
            .map(|fault| match fault {
                0 => Fault::Overtaken,
                1 => Fault::Lost,
                2 => Fault::Unnoticed,
                3 => Fault::Blind,
                4 => Fault::Damaged,
                _ => Fault::None,
            })
            .collect();
        for (number, (what, which)) in changes.into_iter().enumerate() {
            bench.now += Duration::from_hours(7);
            let seed = number as u64 + 2;
            let change = match what {
                0 => Change::Register(application(which)),
                1 => enabled(which, false),
                2 => enabled(which, true),
                3 => Change::Remove { id: id(which) },
                4 => keys(KeyChange::Upkeep, seed),
                5 => keys(KeyChange::Rotate, seed),
                6 => {
                    let hash = application(which).secrets[0].hash;
                    Change::NoteUse { id: id(which), hash, used: bench.now }
                }
                7 => keys(KeyChange::Replace, seed),
                8 => {
                    bench.damage(&id(which));
                    continue;
                }
                9 => {
                    bench.discard(&id(which));
                    continue;
                }
                _ => {
                    bench.restart(|it| *it != id(which));
                    continue;
                }
            };
            // What does not open is not changed but by its removal.
            let mut left = bench.unreadable();
            if let Change::Remove { id } = &change {
                left.remove(id);
            }
            bench.ask(change);
            let unreadable = bench.unreadable();
            prop_assert!(left.iter().all(|(id, version)| unreadable.get(id) == Some(version)));
            prop_assert_eq!(bench.answers.len(), bench.asked, "everybody is answered");
        }
        // Once all is well again, so is everything that is shown.
        bench.faults.clear();
        for number in 0..3 {
            bench.ask(enabled(number, true));
            bench.ask(enabled(number, false));
        }
        bench.discarded.clear();
        bench.assert_durable();
    }
}
