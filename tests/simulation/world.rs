//! The world of one seed: the providers, the store, the clocks, the process, what is known of all of
//! it, and the time that passes.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokenward::credential::Snapshot;
use tokenward::event::{CredentialState, EventKind};
use tokenward::identity::{CredentialId, Method};
use tokenward::testing::{VaultFault, VaultFaults};
use tokenward::vault::Vault;
use tokenward::{CredentialHandle, Notice};

use crate::authority::{Authority, Figures, Kind};
use crate::chance::Chance;
use crate::deeds::{Deed, What};
use crate::model::{InForce, Opened, Slot};
use crate::process::Process;
use crate::tell_how_to_repeat;
use crate::time::Time;
use crate::weather::Weather;

const USERS: [&str; 3] = ["ada", "bob", "eve"];

/// So much of what happened last is told with a failure.
const TOLD: usize = 120;

/// How long an answer may take: as long as a provider is given whose adapter has no outcome, and as a
/// store may be slow.
pub(crate) const PATIENCE: Duration = Duration::from_mins(14);

/// The longest time after which everything is well once nothing fails any more: the longest back-off
/// is half an hour, and what a provider asked for nine minutes.
const CONVALESCENCE: Duration = Duration::from_mins(45);

/// The world of one seed.
pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) chance: Chance,
    pub(crate) time: Time,
    pub(crate) authorities: Vec<Authority>,
    vault: Vault,
    pub(crate) disk: VaultFaults,
    pub(crate) held: bool,
    pub(crate) slots: Vec<Slot>,
    pub(crate) sessions: Vec<Opened>,
    pub(crate) process: Option<Process>,
    pub(crate) deeds: Vec<Deed>,
    /// The state of each credential as events told it, in this process.
    told_states: BTreeMap<CredentialId, CredentialState>,
    /// The credentials whose actors are known to have been started.
    watched: BTreeMap<usize, CredentialHandle>,
    /// When the vault's actor was crashed last.
    pub(crate) vault_crashed: Duration,
    settled: u64,
    /// Whether everything is told as it happens.
    aloud: bool,
    log: VecDeque<String>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let time = Time::new();
        let part = |part| Chance::new(seed, part);
        let authorities = vec![
            Authority::new("rotating", Kind::Rotating, &time, part(1)),
            Authority::new("fixed", Kind::Fixed, &time, part(2)),
            Authority::new("machine", Kind::Machine, &time, part(3)),
        ];
        let (vault, disk) = VaultFaults::over(Vault::in_memory());
        let slots_of = |user| {
            [
                (0, Method::AuthorizationCode),
                (0, Method::ApiKey),
                (1, Method::AuthorizationCode),
                (2, Method::ClientCredentials),
            ]
            .map(|(of, method)| Slot::new(user, of, authorities[of].name(), method))
        };
        let slots = USERS.iter().flat_map(|user| slots_of(user)).collect();
        let mut world = Self {
            seed,
            chance: part(0),
            time,
            authorities,
            vault,
            disk,
            held: false,
            slots,
            sessions: Vec::new(),
            process: None,
            deeds: Vec::new(),
            told_states: BTreeMap::new(),
            watched: BTreeMap::new(),
            vault_crashed: Duration::ZERO,
            settled: 0,
            aloud: std::env::var_os("TOKENWARD_SOAK_ALOUD").is_some(),
            log: VecDeque::new(),
        };
        world.start();
        world
    }

    pub(crate) fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("it is only gone while it is restarted")
    }

    /// Notes what happens, for whoever looks into a failure.
    pub(crate) fn tell(&mut self, what: fmt::Arguments<'_>) {
        let mut line = String::new();
        write!(line, "{:>10.3} {what}", self.time.passed().as_secs_f64()).expect("memory");
        if self.aloud {
            println!("{line}");
        }
        if self.log.len() == TOLD {
            self.log.pop_front();
        }
        self.log.push_back(line);
    }

    fn start(&mut self) {
        let Self { vault, disk, authorities, time, chance, .. } = &*self;
        self.process = Some(Process::start(vault.clone(), disk, authorities, time, chance));
        self.told_states.clear();
        self.settle();
    }

    /// Lets everything come to rest, and looks at it.
    pub(crate) fn settle(&mut self) {
        let held = self.held;
        self.process().settle(held);
        let heard = self.hear();
        let ended = self.finish_deeds();
        self.settled += 1;
        // Where nothing was told, nothing changed: that is looked at from time to time.
        if heard || ended || self.settled.is_multiple_of(16) {
            self.look();
        }
    }

    /// Lets time pass, from one thing that waits for it to the next.
    pub(crate) fn pass(&mut self, time: Duration) {
        let mut left = time;
        self.settle();
        while !left.is_zero() {
            let next = self.time.clock.next_wait().unwrap_or(left);
            let step = next.max(Duration::from_millis(1)).min(left);
            self.time.clock.advance(step);
            left -= step;
            self.settle();
        }
    }

    /// Takes in what the runtime told, and holds it against what it told before. Whether it told anything.
    fn hear(&mut self) -> bool {
        let mut heard = false;
        loop {
            let notice = self.process().events.next().now_or_never().flatten();
            let event = match notice {
                None => return heard,
                Some(Notice::Missed(count)) => {
                    panic!("{count} events were missed between two looks")
                }
                Some(Notice::Event(event)) => event,
                Some(other) => panic!("{other:?}"),
            };
            heard = true;
            match &event.kind {
                EventKind::StateChanged { credential, from, to, generation, reason, .. } => {
                    let why = reason.as_deref().unwrap_or_default();
                    self.tell(format_args!(
                        "    {credential}: {from} to {to}, {generation:?} {why}"
                    ));
                    let before = self.told_states.insert(credential.clone(), *to);
                    // What was told before this process was listened to is not known.
                    let is_new = *from == CredentialState::Loading;
                    assert!(
                        is_new || before.is_none_or(|before| before == *from),
                        "{credential} went from {from} to {to}, and had been told to be {before:?}"
                    );
                }
                EventKind::ShuttingDown if !self.stopping() => panic!("the runtime gave up"),
                kind => self.tell(format_args!("    {kind:?}")),
            }
        }
    }

    /// Looks at everything that can be seen without asking.
    fn look(&mut self) {
        for number in 0..self.slots.len() {
            self.look_at(number);
        }
        for opened in &self.sessions {
            let Some(view) = self.process.as_ref().and_then(|it| {
                it.runtime.sessions().peek(&opened.user, &opened.id).map(|handle| handle.view())
            }) else {
                continue;
            };
            let active = view.active().map(|context| {
                let id = context.credential(&opened.user);
                self.slots.iter().position(|slot| slot.id == id).expect("a credential of ours")
            });
            assert!(
                opened.active.contains(&active),
                "the session {} is at {active:?}, and nobody switched it there: {opened:?}",
                opened.id
            );
        }
        for authority in &self.authorities {
            let wrong = authority.wrong();
            assert!(wrong.is_empty(), "{}: {wrong:?}", authority.name());
        }
        let now = self.time.awake();
        for deed in &self.deeds {
            let waits = now.saturating_sub(deed.since);
            assert!(waits <= PATIENCE, "no answer for {waits:?}: {:?}", deed.what);
        }
    }

    fn look_at(&mut self, number: usize) {
        let slot = &self.slots[number];
        let Some(snapshot) = self.snapshot(number) else { return };
        let state = snapshot.state();
        if state == CredentialState::Loading {
            return;
        }
        if let Some(told) = self.told_states.get(&slot.id) {
            assert_eq!(*told, state, "what was told of {}, and what it shows", slot.id);
        }
        let authority = &self.authorities[slot.authority];
        authority.is_durable(&snapshot, self.time.clock.sources().now());
        let Some(shown) = in_force(authority, &snapshot, &self.time) else { return };
        assert!(
            slot.now.contains(&shown),
            "{} is {state} with {shown:?}, and should have one of {:?}",
            slot.id,
            slot.now
        );
        if state == CredentialState::ReauthorizationRequired {
            let ended = shown.and_then(|grant| authority.ended(grant));
            assert!(ended.is_some(), "{} was signed out: {:?}", slot.id, snapshot.reason());
        }
        let settled = !slot.busy && snapshot.is_durable() && slot.now.len() == 1;
        if settled && shown.is_some() {
            let slot = &mut self.slots[number];
            slot.stored = slot.now.clone();
            slot.durable = (shown, snapshot.generation());
        }
    }

    /// What is published of a credential, if its actor was ever started.
    pub(crate) fn snapshot(&self, number: usize) -> Option<Arc<Snapshot>> {
        self.watched.get(&number).map(CredentialHandle::snapshot)
    }

    /// From now on what is published of a credential is looked at. Its actor is started.
    pub(crate) fn watch(&mut self, number: usize) {
        if !self.watched.contains_key(&number) {
            let process = self.process.as_ref().expect("it runs");
            let handle = process.credential(&self.slots[number].id);
            self.watched.extend(handle.map(|handle| (number, handle)));
        }
    }

    /// Nothing fails any more, and some time passes.
    pub(crate) fn recover(&mut self) {
        self.tell(format_args!("from now on nothing fails"));
        for authority in &self.authorities {
            authority.set_weather(Weather::Calm);
        }
        self.disk.heal();
        self.held = false;
        self.pass(CONVALESCENCE);
    }

    /// The process ends without being asked, and another one starts over the same store.
    pub(crate) fn kill(&mut self) {
        if self.chance.one_in(2) {
            // In the middle of a renewal that spends something.
            let spends = |slot: &Slot| slot.authority == 0 && slot.id.method != Method::ApiKey;
            let slots: Vec<_> =
                (0..self.slots.len()).filter(|number| spends(&self.slots[*number])).collect();
            self.begin(What::Refresh(self.chance.pick(&slots)));
            let time = self.chance.time(Duration::from_secs(1));
            self.pass(time);
        }
        self.tell(format_args!("the process is killed"));
        let fails = self.chance.one_in(2);
        if self.held && fails {
            // What waits for the store is not written.
            self.disk.set(VaultFault::Broken);
        }
        self.end();
    }

    /// The process ends as it is, and another one starts on a store that is well.
    pub(crate) fn end(&mut self) {
        for authority in &self.authorities {
            authority.client_died();
        }
        self.deeds.clear();
        self.watched.clear();
        let process = self.process.take().expect("it runs");
        self.disk.release();
        process.die();
        self.disk.heal();
        self.held = false;
        for slot in &mut self.slots {
            slot.process_died();
        }
        for opened in &mut self.sessions {
            opened.busy = false;
        }
        self.start();
        if self.chance.one_in(2) {
            self.check_what_was_stored();
        }
    }

    /// How often what happened, over all providers.
    pub(crate) fn figures(&self) -> Figures {
        let mut all = Figures::default();
        for authority in &self.authorities {
            all.add(authority.figures());
        }
        all
    }

    fn stopping(&self) -> bool {
        self.deeds.iter().any(Deed::is_shutdown)
    }
}

/// The grant or the key that a snapshot shows to be in force; none where it can not be told.
pub(crate) fn in_force(authority: &Authority, snapshot: &Snapshot, time: &Time) -> Option<InForce> {
    match snapshot.state() {
        CredentialState::Loading | CredentialState::Unreadable => None,
        CredentialState::Absent => Some(None),
        _ => {
            let account = snapshot.account().map(|account| account.parse().expect("a number"));
            let headers = snapshot.headers(time.clock.sources().now());
            let by_token = headers.map(|headers| authority.resource(headers).grant);
            account.or(by_token).map(Some)
        }
    }
}

impl Drop for World {
    /// A failure tells how to see it again.
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("what happened last, by the seconds since the beginning:");
            for line in &self.log {
                eprintln!("{line}");
            }
            tell_how_to_repeat(self.seed);
        }
        // Held writes would keep the vault's thread from ending.
        self.disk.heal();
    }
}
