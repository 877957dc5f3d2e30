//! What a seed lets happen, one thing after the other with some time in between, and what has to be
//! true when it is over.

use std::sync::Arc;
use std::time::Duration;

use tokenward::clock::Clock as _;
use tokenward::event::CredentialState;
use tokenward::identity::Method;
use tokenward::testing::VaultFault;
use tokenward::{Error, Runtime, Snapshot};

use crate::authority::{Authority, Kind};
use crate::deeds::{Deed, What};
use crate::model::{InForce, Slot};
use crate::weather::Weather;
use crate::world::{PATIENCE, World, in_force};

/// So much happens in one world.
const STEPS: usize = 60;

/// The longest time between two things that happen.
const PAUSE: Duration = Duration::from_secs(75);

/// The longest back-off. After a clock was set back, one that was remembered may begin anew with a start.
const LONGEST_WAIT: Duration = Duration::from_mins(30);

/// Between two crashes of the vault's actor: what its supervisor forgives.
const VAULT_PACE: Duration = Duration::from_secs(15);

impl World {
    /// Lives through everything.
    pub(crate) fn run(&mut self) {
        self.settle_in();
        for _ in 0..STEPS {
            self.step();
            let pause = self.chance.time(PAUSE);
            self.pass(pause);
        }
        self.recover();
        self.check_that_all_is_well();
        self.stop_and_start();
        self.check_what_was_stored();
        self.check_that_all_is_well();
    }

    /// Most users sign in, and open a session.
    fn settle_in(&mut self) {
        for slot in 0..self.slots.len() {
            if !self.chance.one_in(5) {
                self.sign_in_to(slot);
                self.pass(Duration::from_secs(2));
                self.open_for(slot);
                self.pass(Duration::from_secs(1));
            }
        }
    }

    fn step(&mut self) {
        if self.chance.one_in(3) {
            self.sign_in_again();
        }
        let slot = self.any_slot();
        match self.chance.below(100) {
            0..12 => self.begin(What::Acquire(slot)),
            12..20 => self.begin(What::Refresh(slot)),
            20..32 => self.with_a_session(What::Call),
            32..34 => self.open_for(slot),
            34..41 => self.switch_somewhere(),
            41..43 => self.close_something(),
            43..49 => self.sign_in_to(slot),
            49..52 => self.sign_out_of(slot),
            52..56 => self.crowd(slot),
            56..68 => self.change_the_weather(),
            68..70 => self.begin(What::RotateKey),
            70 => self.erase(slot),
            71..80 => self.change_the_disk(),
            80..89 => self.crash_someone(slot),
            89..94 => self.turn_the_clocks(),
            94..96 => self.revoke_something(slot),
            96..98 => self.kill(),
            _ => self.stop_and_start(),
        }
    }

    fn any_slot(&self) -> usize {
        usize::try_from(self.chance.below(self.slots.len() as u64)).expect("small")
    }

    fn sign_in_to(&mut self, number: usize) {
        let slot = &self.slots[number];
        if slot.busy {
            return;
        }
        let authority = &self.authorities[slot.authority];
        let grant = (authority.kind() != Kind::Machine).then(|| authority.consent());
        self.begin(What::SignIn(number, grant));
    }

    /// Somebody whose grant is over signs in anew.
    fn sign_in_again(&mut self) {
        let over = |slot: &Slot| {
            let authority = &self.authorities[slot.authority];
            slot.now.iter().all(|it| it.is_none_or(|grant| authority.ended(grant).is_some()))
        };
        if let Some(number) = self.slots.iter().position(over) {
            self.sign_in_to(number);
        }
    }

    fn sign_out_of(&mut self, number: usize) {
        if !self.slots[number].busy {
            self.begin(What::SignOut(number));
        }
    }

    /// A user opens a session, unless they are just being erased: which came first nobody could tell.
    fn open_for(&mut self, slot: usize) {
        let user = &self.slots[slot].id.user;
        if !self.deeds.iter().any(|deed| self.is_about(&deed.what, user) && deed.is_erasure()) {
            self.begin(What::Open(slot));
        }
    }

    /// A user is erased who changes nothing at that time.
    fn erase(&mut self, slot: usize) {
        let user = &self.slots[slot].id.user;
        let changes = |deed: &Deed| deed.what.is_change() && self.is_about(&deed.what, user);
        if !self.deeds.iter().any(changes) {
            self.begin(What::Erase(slot));
        }
    }

    /// Many want a token at once.
    fn crowd(&mut self, slot: usize) {
        for number in 0..8 {
            self.begin(if number % 4 == 3 { What::Refresh(slot) } else { What::Acquire(slot) });
        }
    }

    fn with_a_session(&mut self, what: impl FnOnce(usize) -> What) {
        if !self.sessions.is_empty() {
            let number = self.chance.below(self.sessions.len() as u64);
            self.begin(what(usize::try_from(number).expect("small")));
        }
    }

    fn switch_somewhere(&mut self) {
        let idle = |world: &Self, number: usize| {
            let opened = &world.sessions[number];
            !opened.busy && opened.open == Some(true)
        };
        let sessions: Vec<_> = (0..self.sessions.len()).filter(|it| idle(self, *it)).collect();
        if sessions.is_empty() {
            return;
        }
        let session = self.chance.pick(&sessions);
        let user = self.sessions[session].user.clone();
        let slots: Vec<_> =
            (0..self.slots.len()).filter(|it| self.slots[*it].id.user == user).collect();
        let slot = self.chance.pick(&slots);
        self.begin(What::Switch(session, slot));
    }

    fn close_something(&mut self) {
        let open = self.sessions.iter().position(|it| !it.busy && it.open == Some(true));
        if let Some(session) = open {
            self.begin(What::Close(session));
        }
    }

    fn change_the_weather(&mut self) {
        let authority = self.chance.pick(&self.authorities);
        let weather = Weather::random(&self.chance);
        self.tell(format_args!("{} from now on: {weather:?}", authority.name()));
        authority.set_weather(weather);
    }

    fn change_the_disk(&mut self) {
        let faults = [
            VaultFault::Full,
            VaultFault::NoRoom,
            VaultFault::ReadOnly,
            VaultFault::Broken,
            VaultFault::Vanished,
        ];
        match self.chance.below(10) {
            0..4 => {
                self.tell(format_args!("the disk is well"));
                self.disk.heal();
                self.held = false;
            }
            4..6 => {
                let fault = self.chance.pick(&faults);
                self.tell(format_args!("the disk from now on: {fault:?}"));
                self.disk.set(fault);
            }
            6..9 => {
                let calls = self.chance.below(6);
                let fault = if self.chance.one_in(2) {
                    VaultFault::LostAnswer
                } else {
                    self.chance.pick(&faults)
                };
                self.tell(format_args!("the disk after {calls} calls: {fault:?}"));
                self.disk.after(calls, fault);
            }
            _ => {
                self.tell(format_args!("the disk is slow"));
                self.disk.hold();
                self.held = true;
                let time = self.chance.time(Duration::from_secs(40));
                self.pass(time);
                self.disk.release();
                self.held = false;
            }
        }
    }

    fn crash_someone(&mut self, slot: usize) {
        let path = match self.chance.below(12) {
            0 if self.time.awake() >= self.vault_crashed + VAULT_PACE => {
                self.vault_crashed = self.time.awake();
                "vault".to_owned()
            }
            1 => "timekeeper".to_owned(),
            2 => "sessions".to_owned(),
            3 => "credentials".to_owned(),
            _ => format!("credentials/{}", self.slots[slot].id),
        };
        let times = if self.chance.one_in(6) && path.contains('/') { 7 } else { 1 };
        self.tell(format_args!("crashes: {path}, {times} times"));
        if self.chance.one_in(2) {
            self.begin(What::Refresh(slot));
        }
        for _ in 0..times {
            self.process().crash(&path);
            self.pass(Duration::from_millis(300));
        }
    }

    fn turn_the_clocks(&mut self) {
        let time = self.chance.time(Duration::from_mins(90));
        match self.chance.below(4) {
            0 => {
                self.tell(format_args!("the wall clock is set back by {time:?}"));
                self.authorities.iter().for_each(Authority::client_is_set_back);
                self.time.clock.step_wall_back(time);
            }
            1 => {
                self.tell(format_args!("the wall clock is set forward by {time:?}"));
                self.time.clock.step_wall_forward(time);
                self.authorities.iter().for_each(Authority::client_is_set_forward);
            }
            _ => {
                self.tell(format_args!("the machine sleeps for {time:?}"));
                self.time.suspend(time);
            }
        }
        for authority in &self.authorities {
            authority.expect_a_request();
        }
    }

    fn revoke_something(&mut self, slot: usize) {
        let slot = &self.slots[slot];
        // A client that asks by credentials of its own has no grant that could be revoked.
        if slot.id.method != Method::AuthorizationCode {
            return;
        }
        let authority = self.authorities[slot.authority].clone();
        for grant in slot.now.clone().into_iter().flatten() {
            self.tell(format_args!("{} revokes {grant}", authority.name()));
            authority.revoke(grant);
        }
    }

    /// The host stops the process in good order, and starts another one. What did not finish in time
    /// is lost with it.
    fn stop_and_start(&mut self) {
        self.begin(What::Shutdown);
        let stopped = |world: &Self| world.deeds.iter().all(|deed| !deed.is_shutdown());
        for _ in 0..30 {
            if stopped(self) {
                break;
            }
            self.pass(Duration::from_millis(500));
        }
        assert!(stopped(self), "a shutdown takes no longer than it was given");
        self.end();
    }

    /// After a start: what was acknowledged is there.
    pub(crate) fn check_what_was_stored(&mut self) {
        for number in 0..self.slots.len() {
            let id = self.slots[number].id.clone();
            let snapshot = self
                .wait_for(|runtime| async move { runtime.credential(&id).await?.inspect().await });
            self.watch(number);
            let snapshot = snapshot.expect("the vault is well");
            let slot = &self.slots[number];
            let shown = in_force(&self.authorities[slot.authority], &snapshot, &self.time);
            // A key that is refused, or a token that is over, does not tell which it is.
            let Some(shown) = shown else { continue };
            assert!(
                slot.stored.contains(&shown),
                "{} has {shown:?} after a restart, and should have one of {:?}",
                slot.id,
                slot.stored
            );
            let (durable, generation) = slot.durable;
            assert!(
                durable != shown || snapshot.generation() >= generation,
                "{} is back at {:?} after {generation:?} was durable",
                slot.id,
                snapshot.generation()
            );
        }
        for number in 0..self.sessions.len() {
            let opened = self.sessions[number].clone();
            let (user, id) = (opened.user.clone(), opened.id.clone());
            let found = self.wait_for(|runtime| async move {
                runtime.user(user.as_str()).session(&id).await.map(|session| session.view())
            });
            match found {
                Ok(_) => {
                    assert_ne!(opened.open, Some(false), "{opened:?} was closed");
                    self.sessions[number].open = Some(true);
                }
                Err(error) => {
                    assert!(error.is_not_found(), "{opened:?}: {error:?}");
                    assert_ne!(opened.open, Some(true), "{opened:?} was open");
                    self.sessions[number].open = Some(false);
                }
            }
        }
        self.settle();
    }

    /// Nothing fails any more: whoever is signed in has a token that the provider takes.
    fn check_that_all_is_well(&mut self) {
        assert!(self.deeds.is_empty(), "still under way: {:?}", self.deeds);
        for number in 0..self.slots.len() {
            let slot = self.slots[number].clone();
            let authority = self.authorities[slot.authority].clone();
            let mut answer = self.token_of(number);
            if let Err(error) = &answer
                && let Some(wait) = error.retry_after().filter(|wait| *wait <= LONGEST_WAIT)
            {
                // Whoever is told to wait asks once more.
                self.pass(wait);
                answer = self.token_of(number);
            }
            let is_over = |it: &InForce| it.is_none_or(|it| authority.ended(it).is_some());
            match answer {
                Ok(snapshot) => {
                    let now = self.time.clock.sources().now();
                    let headers = snapshot.headers(now).expect("what is answered can be used");
                    let token = authority.resource(headers);
                    assert!(snapshot.is_durable(), "{}: {snapshot:?}", slot.id);
                    let mut well = vec![CredentialState::Valid, CredentialState::ExpiringSoon];
                    if !token.is_alive && authority.ended(token.grant).is_some() {
                        // A key that is over is answered with all the same: nothing takes its place.
                        assert_eq!(slot.id.method, Method::ApiKey, "{}: {snapshot:?}", slot.id);
                        well = vec![CredentialState::ReauthorizationRequired];
                    } else {
                        assert!(token.is_alive, "{} has {snapshot:?}", slot.id);
                    }
                    assert!(well.contains(&snapshot.state()), "{}: {snapshot:?}", slot.id);
                }
                Err(error) => assert!(
                    error.needs_reauthorization() && slot.now.iter().any(is_over),
                    "{} is not well, with {:?}: {error:?}",
                    slot.id,
                    slot.now
                ),
            }
        }
    }

    /// A token that the provider takes, as every call gets it.
    fn token_of(&mut self, number: usize) -> Result<Arc<Snapshot>, Error> {
        let slot = &self.slots[number];
        let (id, authority) = (slot.id.clone(), self.authorities[slot.authority].clone());
        let clock = self.time.clock.clone();
        self.wait_for(|runtime| async move {
            let credential = runtime.credential(&id).await?;
            let snapshot = credential.acquire().await?;
            let headers = snapshot.headers(clock.now());
            let refused = headers.is_none_or(|headers| !authority.resource(headers).is_alive);
            if refused { credential.rejected(snapshot.generation()).await } else { Ok(snapshot) }
        })
    }

    /// Asks for something, and lets time pass until it is answered.
    fn wait_for<T, F>(&mut self, ask: impl FnOnce(Runtime) -> F) -> F::Output
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let runtime = self.process().runtime.clone();
        let task = self.process().spawn(ask(runtime));
        let begun = self.time.awake();
        self.settle();
        while !task.is_finished() {
            assert!(self.time.awake() < begun + PATIENCE, "no answer for {PATIENCE:?}");
            self.pass(Duration::from_secs(1));
        }
        self.process().outcome(task).expect("it does not panic")
    }
}
