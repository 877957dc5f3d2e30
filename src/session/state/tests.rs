//! The table of sessions against a vault that fails, answers late, and is written to by a former
//! incarnation; and against a model of what users may rely on.

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::clock::Entropy;
use crate::error::ErrorKind;
use crate::identity::{Label, Method, ProviderId};
use crate::testing::SeededEntropy;

fn user(number: usize) -> UserId {
    UserId::new(["ada", "bob", "cyd"][number]).expect("a name")
}

fn context(number: usize) -> ProviderContext {
    let providers = ["anthropic", "openai", "google"];
    ProviderContext {
        provider: ProviderId::new(providers[number % 3]).expect("a name"),
        method: if number < 3 { Method::ApiKey } else { Method::AuthorizationCode },
        label: Label::default(),
    }
}

fn start() -> Moment {
    Moment {
        wall: SystemTime::UNIX_EPOCH + Duration::from_hours(1_000),
        monotonic: Duration::from_mins(1),
    }
}

/// What a waiter asked for.
#[derive(Debug, Clone)]
enum Asked {
    Open(usize, SessionId),
    Change(usize, SessionId, Change),
    Close(usize, SessionId),
}

/// How the vault deals with a request of the table.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Done,
    Refused,
    /// It is done, and the answer is lost.
    DoneButFailed,
}

/// A table, the vault beneath it, and what everyone was told.
struct World {
    table: SessionTable<usize>,
    now: Moment,
    entropy: SeededEntropy,
    vault: BTreeMap<SessionId, Stored>,
    versions: u64,
    pending: Vec<Effect<usize>>,
    /// What tasks of a former incarnation may still write.
    stray: Vec<Effect<usize>>,
    seen: BTreeMap<SessionId, SessionView>,
    asked: Vec<Asked>,
    told: BTreeMap<usize, Result<(), Error>>,
    events: Vec<EventKind>,
    /// The sessions as their users may rely on them: what was confirmed, in the order of asking.
    model: BTreeMap<SessionId, Session>,
}

impl World {
    fn new() -> Self {
        Self {
            table: SessionTable::new(SessionPolicy::default()),
            now: start(),
            entropy: SeededEntropy::new(7),
            vault: BTreeMap::new(),
            versions: 0,
            pending: Vec::new(),
            stray: Vec::new(),
            seen: BTreeMap::new(),
            asked: Vec::new(),
            told: BTreeMap::new(),
            events: Vec::new(),
            model: BTreeMap::new(),
        }
    }

    fn ask(&mut self, asked: Asked) -> usize {
        let by = self.asked.len();
        self.asked.push(asked.clone());
        self.step(match asked {
            Asked::Open(number, session) => Event::Open { user: user(number), session, by },
            Asked::Change(number, session, change) => {
                Event::Change { user: user(number), session, change, by }
            }
            Asked::Close(number, session) => Event::Close { user: user(number), session, by },
        });
        by
    }

    fn open(&mut self, number: usize) -> SessionId {
        let id = SessionId::random(&self.entropy as &dyn Entropy).expect("randomness");
        self.ask(Asked::Open(number, id.clone()));
        id
    }

    fn switch(&mut self, number: usize, id: &SessionId, to: usize) -> usize {
        self.ask(Asked::Change(number, id.clone(), Change::Switch(context(to))))
    }

    fn close(&mut self, number: usize, id: &SessionId) -> usize {
        self.ask(Asked::Close(number, id.clone()))
    }

    fn step(&mut self, event: Event<usize>) {
        let effects = self.table.step(event, self.now);
        self.take_in(effects);
    }

    fn take_in(&mut self, effects: Vec<Effect<usize>>) {
        for effect in effects {
            match effect {
                Effect::Publish { view, .. } => {
                    self.seen.insert(view.id.clone(), view);
                }
                Effect::Retire { session, standing } => {
                    self.seen.get_mut(&session).expect("it was seen").standing = standing;
                }
                Effect::Answer { by, result, .. } => {
                    if result.is_ok() {
                        self.rely_on(by);
                    }
                    assert!(self.told.insert(by, result).is_none(), "answered once");
                }
                Effect::Emit(event) => self.events.push(event),
                effect => self.pending.push(effect),
            }
        }
    }

    fn rely_on(&mut self, by: usize) {
        match self.asked[by].clone() {
            Asked::Open(number, id) => {
                let session = Session::new(id.clone(), user(number), SystemTime::UNIX_EPOCH);
                self.model.insert(id, session);
            }
            Asked::Change(_, id, change) => {
                // Unknown here when a crash came between its opening and the answer.
                if let Some(session) = self.model.get_mut(&id) {
                    session.apply(&change);
                }
            }
            Asked::Close(_, id) => {
                self.model.remove(&id);
            }
        }
    }

    /// The vault takes a write in, if it has what the write expects.
    fn write(&mut self, effect: &Effect<usize>) -> Option<Written> {
        let (id, expect) = match effect {
            Effect::Put { session, expect, .. } => (session.id.clone(), *expect),
            Effect::Remove { session, expect, .. } => (session.clone(), Some(*expect)),
            _ => return None,
        };
        if self.vault.get(&id).map(|stored| stored.version) != expect {
            return Some(Written::Conflict);
        }
        self.versions += 1;
        let version = RecordVersion(self.versions);
        Some(if let Effect::Put { session, last_activity, .. } = effect {
            let (session, last_activity) = (Session::clone(session), *last_activity);
            self.vault.insert(id, Stored { session, last_activity, version });
            Written::Put(version)
        } else {
            self.vault.remove(&id);
            Written::Removed
        })
    }

    /// The vault answers one pending request.
    fn answer(&mut self, which: usize, fate: Fate) {
        let effect = self.pending.remove(which);
        let failed = || Error::new(ErrorKind::VaultUnavailable, "the vault is not there");
        let event = match &effect {
            Effect::Reread { session, .. } => {
                let stored = self.vault.get(session).cloned();
                let result = if let Fate::Refused = fate { Err(failed()) } else { Ok(stored) };
                Event::Reread { session: session.clone(), result }
            }
            Effect::Put { .. } | Effect::Remove { .. } => {
                let written = match fate {
                    Fate::Refused => Some(Written::Failed(failed())),
                    Fate::Done => self.write(&effect),
                    Fate::DoneButFailed => {
                        self.write(&effect);
                        Some(Written::Failed(failed()))
                    }
                };
                let session = match &effect {
                    Effect::Put { session, .. } => session.id.clone(),
                    Effect::Remove { session, .. } => session.clone(),
                    _ => return,
                };
                Event::Written { session, result: written.expect("a write") }
            }
            _ => return,
        };
        self.step(event);
    }

    fn settle(&mut self) {
        while !self.pending.is_empty() {
            self.answer(0, Fate::Done);
        }
    }

    /// The manager dies. Its tasks may or may not have got their writes to the vault.
    fn crash(&mut self) {
        self.stray.append(&mut self.pending);
        self.table = SessionTable::new(SessionPolicy::default());
        let stored = self.vault.values().cloned().collect();
        let effects = self.table.load(stored, self.now);
        self.take_in(effects);
    }

    fn is_open(&self, id: &SessionId) -> bool {
        self.seen.get(id).is_some_and(|view| view.standing == Standing::Open)
    }
}

#[test]
fn a_switch_is_seen_when_it_is_durable_and_not_before() {
    let mut world = World::new();
    let id = world.open(0);
    assert!(world.seen.is_empty(), "not durable yet");
    world.settle();
    let by = world.switch(0, &id, 1);
    assert_eq!(world.seen[&id].active(), None);
    world.settle();
    assert_eq!(world.seen[&id].active(), Some(&context(1)));
    assert!(world.told[&by].is_ok());
    assert!(matches!(
        world.events[..],
        [EventKind::SessionOpened { .. }, EventKind::SessionSwitched { .. }]
    ));
}

#[test]
fn changes_that_come_in_during_a_write_become_durable_together_in_their_order() {
    let mut world = World::new();
    let id = world.open(0);
    world.settle();
    let switches: Vec<_> = (0..4).map(|to| world.switch(0, &id, to)).collect();
    assert_eq!(world.pending.len(), 1);
    world.answer(0, Fate::Done);
    assert_eq!(world.seen[&id].active(), Some(&context(0)));
    assert_eq!(world.pending.len(), 1, "the other three are one write");
    world.answer(0, Fate::Done);
    assert_eq!(world.seen[&id].active(), Some(&context(3)));
    assert!(switches.iter().all(|by| world.told[by].is_ok()));
}

#[test]
fn a_switch_that_the_vault_refuses_changes_nothing() {
    let mut world = World::new();
    let id = world.open(0);
    world.settle();
    world.switch(0, &id, 1);
    world.settle();
    let by = world.switch(0, &id, 2);
    world.answer(0, Fate::Refused);
    assert!(world.told[&by].as_ref().is_err_and(Error::is_transient));
    assert_eq!(world.seen[&id].active(), Some(&context(1)));
}

#[test]
fn a_switch_to_what_is_active_writes_nothing() {
    let mut world = World::new();
    let id = world.open(0);
    world.settle();
    world.switch(0, &id, 1);
    world.settle();
    let by = world.switch(0, &id, 1);
    assert!(world.pending.is_empty() && world.told[&by].is_ok());
}

#[test]
fn a_session_of_another_user_is_answered_like_one_that_does_not_exist() {
    let mut world = World::new();
    let (hers, none) = (world.open(0), SessionId::random(&world.entropy as &dyn Entropy));
    let none = none.expect("randomness");
    world.settle();
    let answers = [
        world.switch(1, &hers, 1),
        world.close(1, &hers),
        world.switch(1, &none, 1),
        world.close(1, &none),
    ];
    let texts: BTreeSet<_> = answers
        .iter()
        .map(|by| format!("{:?}", world.told[by].as_ref().expect_err("refused")))
        .collect();
    assert_eq!(texts.len(), 1, "all the same: {texts:?}");
    assert!(world.table.check(&user(1), &hers, world.now).is_err_and(|e| e.is_not_found()));
    assert_eq!(world.table.usable_of_user(&user(1), world.now), []);
    assert_eq!(world.table.usable_of_user(&user(0), world.now), [hers]);
}

#[test]
fn a_closed_session_is_gone_for_those_who_wait_behind() {
    let mut world = World::new();
    let id = world.open(0);
    world.settle();
    let (close, late) = (world.close(0, &id), world.switch(0, &id, 1));
    world.settle();
    assert!(world.told[&close].is_ok());
    assert!(world.told[&late].as_ref().is_err_and(Error::is_not_found));
    assert_eq!(world.seen[&id].standing, Standing::Closed);
    assert!(world.vault.is_empty());
}

#[test]
fn a_session_that_is_used_lives_and_one_that_is_not_expires() {
    let mut world = World::new();
    let (used, left) = (world.open(0), world.open(0));
    world.settle();
    world.now = world.now.after(Duration::from_hours(23));
    world.table.touched(&used, world.now);
    world.now = world.now.after(Duration::from_hours(1));
    let refused = world.switch(0, &left, 1);
    assert!(world.told[&refused].as_ref().is_err_and(Error::is_expired), "before the sweep");
    world.step(Event::Sweep);
    assert_eq!(world.seen[&left].standing, Standing::Expired, "before it is cleaned up");
    world.settle();
    assert_eq!(world.vault.keys().collect::<Vec<_>>(), [&used]);
    assert!(
        matches!(world.events.last(), Some(EventKind::SessionExpired { session, .. }) if *session == left)
    );
    assert_eq!(world.vault[&used].last_activity, start().after(Duration::from_hours(23)).wall);
}

#[test]
fn a_session_expires_when_only_one_clock_says_so() {
    for (suspended, stepped_back) in [(true, false), (false, true)] {
        let mut world = World::new();
        let id = world.open(0);
        world.settle();
        let day = Duration::from_hours(24);
        if suspended {
            world.now.wall += day;
        }
        if stepped_back {
            world.now.monotonic += day;
            world.now.wall -= Duration::from_hours(5);
        }
        assert!(world.table.check(&user(0), &id, world.now).is_err_and(|e| e.is_expired()));
    }
}

#[test]
fn after_a_restart_of_the_process_the_wall_clock_decides() {
    let mut world = World::new();
    let id = world.open(0);
    world.settle();
    let restart_after = |hours: u64| {
        let wall = start().wall + Duration::from_hours(hours);
        let now = Moment { wall, monotonic: Duration::from_secs(1) };
        let mut table = SessionTable::<usize>::new(SessionPolicy::default());
        table.load(world.vault.values().cloned().collect(), now);
        table.check(&user(0), &id, now)
    };
    assert!(restart_after(23).is_ok());
    assert!(restart_after(24).is_err_and(|error| error.is_expired()));
}

#[test]
fn a_clean_up_that_fails_is_done_by_the_next_sweep() {
    let mut world = World::new();
    let id = world.open(0);
    world.settle();
    world.now = world.now.after(Duration::from_hours(25));
    world.step(Event::Sweep);
    world.answer(0, Fate::Refused);
    assert!(world.vault.contains_key(&id));
    world.step(Event::Sweep);
    world.settle();
    assert!(world.vault.is_empty());
    assert_eq!(world.events.len(), 2, "opened, and expired once: {:?}", world.events);
}

#[test]
fn what_a_former_incarnation_wrote_late_is_taken_in_before_the_next_change() {
    let mut world = World::new();
    let id = world.open(0);
    world.settle();
    world.switch(0, &id, 1);
    world.crash();
    let late = world.stray.remove(0);
    world.write(&late);
    let by = world.ask(Asked::Change(0, id.clone(), Change::Prefer(context(2))));
    world.settle();
    assert!(world.told[&by].is_ok());
    assert_eq!(world.seen[&id].active(), Some(&context(1)), "the late switch");
    assert_eq!(world.seen[&id].contexts().count(), 2);
}

#[derive(Debug, Clone)]
enum Act {
    Open(usize),
    Change(usize, Index, usize, bool),
    Close(usize, Index),
    Touch(Index),
    Wait(u64),
    Sweep,
    Answer(Index, Fate),
    Crash,
    LateWrite(Index),
}

fn acts(with_crashes: bool) -> impl Strategy<Value = Vec<Act>> {
    let fates = if with_crashes {
        vec![Fate::Done, Fate::Done, Fate::Refused, Fate::DoneButFailed]
    } else {
        vec![Fate::Done, Fate::Done, Fate::Refused]
    };
    let rare = if with_crashes { 2 } else { 0 };
    let act = prop_oneof![
        3 => (0..3_usize).prop_map(Act::Open),
        8 => (0..3_usize, any::<Index>(), 0..6_usize, any::<bool>())
            .prop_map(|(by, which, to, switch)| Act::Change(by, which, to, switch)),
        1 => (0..3_usize, any::<Index>()).prop_map(|(by, which)| Act::Close(by, which)),
        2 => any::<Index>().prop_map(Act::Touch),
        2 => (0..13_u64).prop_map(Act::Wait),
        2 => Just(Act::Sweep),
        12 => (any::<Index>(), prop::sample::select(fates))
            .prop_map(|(which, fate)| Act::Answer(which, fate)),
        rare => Just(Act::Crash),
        rare => any::<Index>().prop_map(Act::LateWrite),
    ];
    prop::collection::vec(act, 1..60)
}

impl World {
    /// One of the sessions that were ever opened.
    fn any_session(&self, which: Index) -> Option<SessionId> {
        let opened: Vec<_> = self
            .asked
            .iter()
            .filter_map(|asked| match asked {
                Asked::Open(_, id) => Some(id.clone()),
                _ => None,
            })
            .collect();
        (!opened.is_empty()).then(|| which.get(&opened).clone())
    }

    fn act(&mut self, act: &Act) {
        match *act {
            Act::Open(by) => {
                self.open(by);
            }
            Act::Change(by, which, to, switch) => {
                let Some(id) = self.any_session(which) else { return };
                let make = if switch { Change::Switch } else { Change::Prefer };
                self.ask(Asked::Change(by, id, make(context(to))));
            }
            Act::Close(by, which) => {
                let Some(id) = self.any_session(which) else { return };
                self.close(by, &id);
            }
            Act::Touch(which) => {
                let Some(id) = self.any_session(which) else { return };
                self.table.touched(&id, self.now);
            }
            Act::Wait(hours) => self.now = self.now.after(Duration::from_hours(hours)),
            Act::Sweep => self.step(Event::Sweep),
            Act::Answer(which, fate) if !self.pending.is_empty() => {
                self.answer(which.index(self.pending.len()), fate);
            }
            Act::Crash => self.crash(),
            Act::LateWrite(which) if !self.stray.is_empty() => {
                let late = self.stray.remove(which.index(self.stray.len()));
                self.write(&late);
            }
            Act::Answer(..) | Act::LateWrite(_) => {}
        }
    }

    fn owner(&self, id: &SessionId) -> UserId {
        self.asked
            .iter()
            .find_map(|asked| match asked {
                Asked::Open(number, opened) if opened == id => Some(user(*number)),
                _ => None,
            })
            .expect("it was opened")
    }

    fn check_isolation(&self) {
        for (by, result) in &self.told {
            let (Asked::Change(number, id, _) | Asked::Close(number, id)) = &self.asked[*by] else {
                continue;
            };
            if user(*number) != self.owner(id) {
                let error = result.as_ref().expect_err("not theirs");
                assert_eq!(error.to_string(), not_found().to_string());
            }
        }
        for number in 0..3 {
            for id in self.table.usable_of_user(&user(number), self.now) {
                assert_eq!(self.owner(&id), user(number));
            }
        }
    }
}

proptest! {
    #[test]
    fn what_was_confirmed_is_seen_and_durable_and_nothing_else_is(acts in acts(false)) {
        let mut world = World::new();
        for act in acts {
            world.act(&act);
            for (id, session) in &world.model {
                let seen = &world.seen[id];
                prop_assert_eq!(&session.contexts, &seen.contexts);
                prop_assert_eq!(&session.active, &seen.active);
                if seen.standing == Standing::Open {
                    prop_assert!(world.vault.contains_key(id));
                }
            }
            for (id, view) in &world.seen {
                prop_assert!(view.standing != Standing::Open || world.model.contains_key(id));
            }
            world.check_isolation();
        }
        world.settle();
        prop_assert_eq!(world.told.len(), world.asked.len(), "everyone was answered");
        for (id, stored) in &world.vault {
            prop_assert_eq!(&stored.session.contexts, &world.model[id].contexts);
            prop_assert_eq!(&stored.session.active, &world.model[id].active);
        }
    }

    #[test]
    fn after_crashes_and_lost_answers_what_is_seen_is_what_is_durable(acts in acts(true)) {
        let mut world = World::new();
        for act in acts {
            world.act(&act);
            world.check_isolation();
        }
        world.settle();
        for id in world.seen.keys().cloned().collect::<Vec<_>>() {
            world.table.touched(&id, world.now.after(Duration::from_secs(1)));
        }
        world.step(Event::Sweep);
        world.settle();
        for (id, view) in &world.seen {
            if world.is_open(id) && world.table.entries.contains_key(id) {
                let stored = &world.vault[id].session;
                prop_assert_eq!(&stored.view(Standing::Open), view);
            }
        }
    }
}

#[test]
fn a_policy_without_a_pause_between_clean_ups_is_no_busy_loop() {
    let none = SessionPolicy { sweep_every: Duration::ZERO, ..SessionPolicy::default() };
    assert_eq!(none.next_sweep(), Duration::from_secs(1));
    assert_eq!(SessionPolicy::default().next_sweep(), Duration::from_mins(1));
}
