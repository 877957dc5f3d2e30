//! The lifecycle against a small world: a vault, a provider whose refresh tokens can be spent once,
//! clocks that jump, and crashes between any two effects. Whatever happens, in any order, the
//! promises at the bottom of [`World`] hold.

mod many;
mod order;
mod shell;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;

use super::lifecycle::{
    Effect, Ended, Event, Evidence, Kept, Lifecycle, Loaded, RenewalOutcome, Trouble,
};
use super::material::{Life, Material};
use super::schedule::{SHORTEST_INTERVAL, Usable};
use crate::clock::Moment;
use crate::event::{CredentialState, EventKind};
use crate::identity::{CredentialId, Generation, Label, Method, ProviderId, UserId};
use crate::provider::{Failure, FailureClass, RefreshPolicy, Registration};
use crate::secret::Secret;

/// One thing that happens in the world.
#[derive(Debug, Clone)]
enum Op {
    Acquire,
    Refresh,
    RejectCurrent,
    RejectOlder,
    RefusedAgain,
    Invalidate,
    Advance(u16),
    Suspend(u16),
    StepBack(u16),
    Ring,
    Progress(Luck),
    CrashActor,
    CrashProcess,
    Rest,
    SignIn,
    SignOut,
    Vault { up: bool },
    Settle,
}

/// What the network and the provider do to the next step of a renewal.
#[derive(Debug, Clone, Copy)]
enum Luck {
    Good,
    Refused,
    Outage,
    LostRequest,
    LostAnswer,
}

/// A renewal on its way.
#[derive(Debug, Clone)]
struct Flight {
    base: Arc<Material>,
    in_doubt: bool,
    stage: Stage,
    /// A sign-in or sign-out came in between: nobody waits for the outcome.
    orphaned: bool,
}

#[derive(Debug, Clone)]
enum Stage {
    Started,
    Intended,
    Answered(RenewalOutcome),
    Landed(RenewalOutcome),
}

/// What everybody can see of a credential.
#[derive(Debug, PartialEq)]
struct Seen {
    state: CredentialState,
    usable: Usable,
    generation: Generation,
    reason: Option<String>,
    retry_at: Option<Moment>,
    kept: Option<Kept>,
}

#[allow(clippy::struct_excessive_bools, reason = "facts of the world")]
struct World {
    policy: RefreshPolicy,
    core: Lifecycle,
    now: Moment,
    noise: u64,
    // The vault.
    vault_up: bool,
    stored: Option<Arc<Material>>,
    intent: Option<Generation>,
    remembered: Option<(Generation, Trouble)>,
    // The memory that outlives the actor but not the process.
    flight: Option<Flight>,
    unsaved: Option<Arc<Material>>,
    loading: bool,
    saving: Option<Arc<Material>>,
    erasing: bool,
    signed_out: bool,
    // The provider.
    /// The refresh tokens that would be accepted, one per grant.
    live: HashSet<String>,
    minted: u32,
    // What was seen.
    sent: HashMap<String, u32>,
    refused: HashSet<String>,
    waiting: u32,
    really_refused: bool,
    signed_in: bool,
}

impl World {
    fn new() -> Self {
        Self::with(RefreshPolicy::default())
    }

    /// A world whose provider has its tokens renewed by `policy`.
    fn with(policy: RefreshPolicy) -> Self {
        let mut world = Self {
            policy,
            core: Lifecycle::new(id(), policy),
            now: Moment {
                wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000),
                monotonic: Duration::from_secs(1_000_000),
            },
            noise: 1,
            vault_up: true,
            stored: None,
            intent: None,
            remembered: None,
            flight: None,
            unsaved: None,
            loading: true,
            saving: None,
            erasing: false,
            signed_out: false,
            live: HashSet::new(),
            minted: 0,
            sent: HashMap::new(),
            refused: HashSet::new(),
            waiting: 0,
            really_refused: false,
            signed_in: false,
        };
        world.apply(&Op::Settle);
        world
    }

    fn mint(&mut self, generation: Generation) -> Arc<Material> {
        self.minted += 1;
        let refresh = Secret::new(&format!("refresh-{}", self.minted));
        self.live.insert(refresh.expose().to_owned());
        Arc::new(Material {
            generation,
            access: Secret::new(&format!("access-{}", self.minted)),
            refresh: Some(refresh),
            obtained: self.now,
            life: Life::For(Duration::from_hours(1)),
            scopes: None,
            account: None,
            issued_to: Registration::default(),
        })
    }

    fn step(&mut self, event: Event) {
        // An odd multiplier walks through all numbers: repeatable, and never the same twice.
        self.noise = self.noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let evidence = Evidence { now: self.now, noise: self.noise };
        for effect in self.core.step(event, evidence) {
            self.carry_out(effect);
        }
        self.check();
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Load => self.loading = true,
            Effect::Renew { material, in_doubt } => {
                assert!(
                    self.flight.as_ref().is_none_or(|flight| flight.base != material),
                    "one generation is renewed by one renewal at a time"
                );
                self.flight = Some(Flight {
                    base: material,
                    in_doubt,
                    stage: Stage::Started,
                    orphaned: false,
                });
            }
            Effect::Save { material } => self.saving = Some(material),
            Effect::Erase { .. } => {
                self.erasing = true;
                self.signed_out = true;
                self.orphan();
                self.unsaved = None;
            }
            Effect::Park => self.waiting += 1,
            Effect::AnswerAll(_) => {
                assert!(self.waiting > 0, "somebody was waiting");
                self.waiting = 0;
            }
            Effect::Answer(Err(error)) => assert!(!error.to_string().is_empty()),
            Effect::Remember { generation, trouble } => {
                if self.vault_up {
                    self.remembered = Some((generation, trouble));
                }
            }
            Effect::Forget { .. } => panic!("what a token needs is not mended by its use"),
            Effect::Emit(EventKind::StateChanged { from, to, .. }) => assert_ne!(from, to),
            Effect::Answer(Ok(())) | Effect::Emit(_) => {}
        }
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Acquire => self.step(Event::Acquire),
            Op::Refresh => self.step(Event::Refresh),
            Op::RejectCurrent => {
                let generation = self.core.material().map(|m| m.generation).unwrap_or_default();
                self.step(Event::Rejected { generation });
            }
            Op::RejectOlder => {
                let before = self.core.usable(self.now);
                let older = self.core.material().map_or(0, |m| m.generation.0.saturating_sub(1));
                self.step(Event::Rejected { generation: Generation(older) });
                assert_eq!(before, self.core.usable(self.now), "late 401s change nothing");
            }
            Op::RefusedAgain => {
                let before = (self.core.usable(self.now), self.core.state(self.now));
                let generation = self.core.material().map(|m| m.generation).unwrap_or_default();
                self.step(Event::RefusedAgain { generation });
                let after = (self.core.usable(self.now), self.core.state(self.now));
                assert_eq!(before, after, "it is only noted");
            }
            Op::Invalidate => self.step(Event::Invalidate),
            Op::Advance(seconds) => {
                self.now = self.now.after(Duration::from_secs(u64::from(*seconds)));
            }
            Op::Suspend(seconds) => self.now.wall += Duration::from_secs(u64::from(*seconds)),
            Op::StepBack(seconds) => self.now.wall -= Duration::from_secs(u64::from(*seconds)),
            Op::Ring => self.ring(),
            Op::Progress(luck) => self.progress(*luck),
            Op::CrashActor => self.start_again_after_an_actor(),
            Op::Rest => {
                self.rest();
            }
            Op::CrashProcess => {
                self.flight = None;
                self.unsaved = None;
                if std::mem::take(&mut self.signed_out) {
                    // The process died before the vault could erase: the user is signed in still.
                    self.signed_in = self.stored.is_some();
                }
                self.start_again();
            }
            Op::SignIn => self.sign_in(),
            Op::SignOut => {
                self.signed_in = false;
                self.step(Event::SignOut);
                assert_eq!(self.core.state(self.now), CredentialState::Absent);
            }
            Op::Vault { up } => self.vault_up = *up,
            Op::Settle => self.settle(),
        }
    }

    /// The actor ends because nobody needs it, and another one takes its place: whether it was so.
    fn rest(&mut self) -> bool {
        let nothing_is_under_way = self.flight.as_ref().is_none_or(|flight| flight.orphaned)
            && self.saving.is_none()
            && !(self.loading || self.erasing || self.signed_out)
            && self.unsaved.is_none();
        let evidence = Evidence { now: self.now, noise: self.noise };
        let rests = nothing_is_under_way
            && self.vault_up
            && self.core.is_at_rest(self.now, Duration::from_mins(10))
            && self.core.would_come_back(self.known(), evidence);
        if rests {
            assert_eq!(self.waiting, 0, "nobody waits for one that ends");
            let before = self.seen();
            self.start_again_after_an_actor();
            self.progress(Luck::Good);
            assert_eq!(self.seen(), before, "nobody can tell");
        }
        rests
    }

    /// What everybody can see.
    fn seen(&self) -> Seen {
        let core = &self.core;
        Seen {
            state: core.state(self.now),
            usable: core.usable(self.now),
            generation: core.generation(),
            reason: core.reason(),
            retry_at: core.retry_at(),
            kept: core.kept(self.now),
        }
    }

    /// Another actor, in the same process: what was published and seen is known to it.
    fn start_again_after_an_actor(&mut self) {
        let (shown, generation) = (self.core.state(self.now), self.core.generation());
        self.start_again();
        let core = std::mem::replace(&mut self.core, Lifecycle::new(id(), self.policy));
        self.core = core.after(shown, generation);
    }

    fn start_again(&mut self) {
        self.core = Lifecycle::new(id(), self.policy);
        // Callers whose actor died are told so by the handle.
        self.waiting = 0;
        self.saving = None;
        self.loading = true;
        self.erasing = false;
    }

    fn ring(&mut self) {
        let due = self.core.next_deadline(self.now);
        if due.is_some_and(|due| self.now.has_passed(due)) {
            self.step(Event::Deadline);
            let next = self.core.next_deadline(self.now);
            assert!(
                next.is_none_or(|next| !self.now.has_passed(next)),
                "an alarm that rang is not set for the past again: {next:?}, {:?}",
                self.core
            );
        }
    }

    /// Moves what is under way by one step: a load, a save, an erasure, or a renewal.
    fn progress(&mut self, luck: Luck) {
        if std::mem::take(&mut self.loading) {
            return self.load();
        }
        if let Some(material) = self.saving.take() {
            let result = if self.vault_up { Ok(()) } else { Err("disk full".to_owned()) };
            if result.is_ok() {
                self.stored = Some(material.clone());
                self.intent = None;
                self.unsaved = None;
            }
            let (generation, result) = (material.generation, result.map(|()| material));
            return self.step(Event::Saved { generation, result });
        }
        if self.erasing {
            let result = if self.vault_up { Ok(()) } else { Err("disk full".to_owned()) };
            if result.is_ok() {
                self.signed_out = false;
                self.stored = None;
                self.intent = None;
                self.remembered = None;
            }
            self.erasing = false;
            let generation = self.core.generation();
            return self.step(Event::Erased { generation, result, revoked: true });
        }
        if let Some(flight) = self.flight.take() {
            self.fly(flight, luck);
        }
    }

    fn load(&mut self) {
        if !self.vault_up {
            return self
                .step(Event::LoadFailed { reason: "disk on fire".to_owned(), lasting: false });
        }
        let known = self.known();
        self.step(Event::Loaded(known));
    }

    /// What the vault and the memory of the process have.
    fn known(&self) -> Loaded {
        let newest = self.unsaved.clone().or_else(|| self.stored.clone());
        let generation = newest.as_ref().map(|material| material.generation);
        let flight = self
            .flight
            .as_ref()
            .filter(|flight| !flight.orphaned && Some(flight.base.generation) == generation);
        let in_doubt = match flight {
            Some(flight) => flight.in_doubt,
            None => self.intent.is_some() && self.intent == generation,
        };
        let under_way = flight.is_some();
        Loaded {
            in_doubt,
            trouble: self
                .remembered
                .clone()
                .filter(|(remembered, _)| Some(*remembered) == generation)
                .map(|(_, trouble)| trouble),
            conflict: None,
            under_way,
            unsaved: self.unsaved.is_some(),
            signed_out: self.signed_out,
            stands_in: false,
            material: newest,
        }
    }

    fn fly(&mut self, mut flight: Flight, luck: Luck) {
        let base = flight.base.generation;
        flight.stage = match flight.stage.clone() {
            Stage::Started => {
                if !self.vault_up {
                    let reason = "disk full".to_owned();
                    Stage::Landed(RenewalOutcome::NotStarted { reason })
                } else if self.stored.as_ref() != Some(&flight.base) {
                    Stage::Landed(RenewalOutcome::Superseded)
                } else {
                    self.intent = Some(base);
                    Stage::Intended
                }
            }
            Stage::Intended => Stage::Answered(self.send(&flight, luck)),
            Stage::Answered(outcome) => Stage::Landed(self.commit(&flight, outcome)),
            Stage::Landed(_) if flight.orphaned => return,
            Stage::Landed(outcome) => {
                return self.step(Event::Renewed { base, outcome });
            }
        };
        self.flight = Some(flight);
    }

    fn send(&mut self, flight: &Flight, luck: Luck) -> RenewalOutcome {
        let token = flight.base.refresh.clone().expect("a refresh token");
        let name = token.expose().to_owned();
        let times = self.sent.entry(name.clone()).or_default();
        *times += 1;
        // Counted as a spend of ours only when the provider could have taken it for one.
        let spent_before = *times > 1 && !self.live.contains(token.expose());
        if spent_before {
            assert!(flight.in_doubt, "{name} is spent twice, and nobody was in doubt");
        }
        assert!(!self.refused.contains(&name), "a token that was refused is sent no more");
        let failed = |class, text: &str| RenewalOutcome::Failed(Failure::new(class, text));
        match luck {
            Luck::Outage => failed(FailureClass::Transient { retry_after: None }, "503"),
            Luck::LostRequest => failed(FailureClass::Uncertain, "time-out"),
            Luck::Refused => {
                self.live.remove(token.expose());
                self.really_refused = true;
                failed(FailureClass::ReauthorizationRequired, "invalid_grant")
            }
            Luck::Good | Luck::LostAnswer if !self.live.contains(token.expose()) => {
                self.really_refused = true;
                failed(FailureClass::ReauthorizationRequired, "refresh_token_reused")
            }
            Luck::Good => {
                self.live.remove(token.expose());
                let material = self.mint(flight.base.generation.next());
                RenewalOutcome::Granted { material, unsaved: None }
            }
            Luck::LostAnswer => {
                self.live.remove(token.expose());
                self.mint(flight.base.generation.next());
                failed(FailureClass::Uncertain, "connection reset")
            }
        }
    }

    fn commit(&mut self, flight: &Flight, outcome: RenewalOutcome) -> RenewalOutcome {
        let current = self.stored.as_ref() == Some(&flight.base);
        let base = flight.base.generation;
        match outcome {
            RenewalOutcome::Granted { material, .. } => {
                if !current {
                    RenewalOutcome::Superseded
                } else if self.vault_up {
                    self.stored = Some(material.clone());
                    self.intent = None;
                    RenewalOutcome::Granted { material, unsaved: None }
                } else {
                    self.unsaved = Some(material.clone());
                    RenewalOutcome::Granted { material, unsaved: Some("disk full".to_owned()) }
                }
            }
            RenewalOutcome::Failed(failure) => {
                // The answer that ends a grant is durable together with the end of the intent.
                let over = failure.class == FailureClass::ReauthorizationRequired;
                let definite = failure.class != FailureClass::Uncertain && !flight.in_doubt;
                if self.vault_up && current {
                    if over {
                        let trouble =
                            Trouble { failure: failure.clone(), attempts: 1, retry_at: None };
                        self.remembered = Some((base, trouble));
                        let token = flight.base.refresh.as_ref().expect("a refresh token");
                        self.refused.insert(token.expose().to_owned());
                    }
                    if over || definite {
                        self.intent = None;
                    }
                }
                RenewalOutcome::Failed(failure)
            }
            other => other,
        }
    }

    fn sign_in(&mut self) {
        if self.loading || self.erasing || self.saving.is_some() || !self.vault_up {
            return;
        }
        let stored = self.stored.as_ref().map(|m| m.generation).unwrap_or_default();
        let material = self.mint(stored.max(self.core.generation()).next());
        self.orphan();
        self.stored = Some(material.clone());
        self.intent = None;
        self.remembered = None;
        self.unsaved = None;
        self.really_refused = false;
        self.signed_in = true;
        self.signed_out = false;
        self.step(Event::SignedIn { material, unsaved: None });
        assert_eq!(self.core.state(self.now), CredentialState::Valid);
    }

    fn orphan(&mut self) {
        if let Some(flight) = &mut self.flight {
            flight.orphaned = true;
        }
    }

    /// Nothing fails any more, and time passes: everybody gets an answer, nothing loops.
    fn settle(&mut self) {
        self.vault_up = true;
        for _ in 0..200 {
            self.progress(Luck::Good);
            let calm = self.waiting == 0
                && self.core.state(self.now) != CredentialState::Unreadable
                && !self.core.is_unsaved();
            if let Some(due) = self.core.next_deadline(self.now)
                && !calm
            {
                self.now = self.now.after(self.now.until(due));
            }
            self.ring();
        }
        assert_eq!(self.waiting, 0, "everybody who waits is answered: {:?}", self.core);
        let state = self.core.state(self.now);
        assert!(
            !matches!(state, CredentialState::Loading | CredentialState::Refreshing),
            "nothing is stuck: {state}"
        );
        assert_eq!(self.core.material().is_some(), self.signed_in, "signed in is signed in");
    }

    /// The promises that hold after every step.
    fn check(&self) {
        let is_renewing = self.flight.as_ref().is_some_and(|flight| !flight.orphaned);
        let due = self.core.next_deadline(self.now).map(|due| self.now.until(due));
        let at_once = due.is_some_and(|due| due <= SHORTEST_INTERVAL);
        assert!(
            self.waiting == 0 || is_renewing || self.loading || at_once,
            "somebody waits, and nothing is done about it for {due:?}: {:?}",
            self.core
        );
        if let Usable::Until(end) = self.core.usable(self.now) {
            assert!(!self.now.has_passed(end), "an expired token is not served");
        }
        if let Some(Kept { until, .. }) = self.core.kept(self.now) {
            assert_ne!(self.core.usable(self.now), Usable::No, "what is kept is used");
            assert!(!self.now.has_passed(until), "and said to be kept until a time to come");
        }
        if self.core.state(self.now) == CredentialState::ReauthorizationRequired {
            assert!(self.really_refused, "nobody is signed out by a fault that is not theirs");
        }
        if let Some(material) = self.core.material() {
            let durable = self.stored.as_ref() == Some(material);
            assert!(
                durable || self.core.is_unsaved() || self.stored.as_ref() > Some(material),
                "what is visible is durable, or known not to be"
            );
        }
    }
}

fn id() -> CredentialId {
    CredentialId {
        user: UserId::new("ada").expect("a name"),
        provider: ProviderId::new("openai").expect("a name"),
        method: Method::AuthorizationCode,
        label: Label::default(),
    }
}

impl PartialOrd for Material {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        self.generation.partial_cmp(&other.generation)
    }
}

fn luck() -> impl Strategy<Value = Luck> {
    prop_oneof![
        6 => Just(Luck::Good),
        1 => Just(Luck::Refused),
        2 => Just(Luck::Outage),
        2 => Just(Luck::LostRequest),
        2 => Just(Luck::LostAnswer),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => Just(Op::Acquire),
        1 => Just(Op::Refresh),
        2 => Just(Op::RejectCurrent),
        1 => Just(Op::RejectOlder),
        2 => Just(Op::RefusedAgain),
        1 => Just(Op::Invalidate),
        4 => (0_u16..5_000).prop_map(Op::Advance),
        1 => (0_u16..u16::MAX).prop_map(Op::Suspend),
        1 => (0_u16..5_000).prop_map(Op::StepBack),
        4 => Just(Op::Ring),
        12 => luck().prop_map(Op::Progress),
        2 => Just(Op::CrashActor),
        1 => Just(Op::CrashProcess),
        3 => Just(Op::Rest),
        2 => Just(Op::SignIn),
        1 => Just(Op::SignOut),
        1 => any::<bool>().prop_map(|up| Op::Vault { up }),
        1 => Just(Op::Settle),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn whatever_happens_the_promises_hold(ops in proptest::collection::vec(op(), 1..80)) {
        let mut world = World::new();
        world.apply(&Op::SignIn);
        for op in &ops {
            world.apply(op);
        }
        world.apply(&Op::Acquire);
        world.apply(&Op::Settle);
    }
}

/// What a provider may say of itself, be it sensible or not.
fn policy() -> impl Strategy<Value = RefreshPolicy> {
    let time = || prop_oneof![Just(0_u64), 1..600_u64, 600..10_000_u64, Just(u64::MAX)];
    (time(), time(), any::<u8>()).prop_map(|(threshold, margin, jitter_percent)| RefreshPolicy {
        threshold: Duration::from_secs(threshold),
        unusable_before_expiry: Duration::from_secs(margin),
        jitter_percent,
        ..RefreshPolicy::default()
    })
}

proptest! {
    #[test]
    fn nobody_waits_for_nothing_by_any_policy(
        policy in policy(),
        ops in proptest::collection::vec(op(), 1..60),
    ) {
        let mut world = World::with(policy);
        world.apply(&Op::SignIn);
        for op in &ops {
            world.apply(op);
        }
        world.apply(&Op::Acquire);
        world.apply(&Op::Settle);
    }
}

#[test]
fn an_actor_rests_where_nothing_would_be_lost_by_it() {
    let mut world = World::new();
    assert!(world.rest(), "nobody is signed in");
    world.apply(&Op::SignIn);
    assert!(world.rest(), "a token that is good for an hour");
    world.apply(&Op::Advance(3_000));
    assert!(!world.rest(), "it is due before long");
    world.apply(&Op::SignOut);
    assert!(!world.rest(), "the vault has not erased it yet");
    world.apply(&Op::Settle);
    assert!(world.rest(), "signed out");
    assert_eq!(world.core.generation(), Generation(2), "a generation is given once");
    world.apply(&Op::SignIn);
    world.apply(&Op::Invalidate);
    assert!(!world.rest(), "the vault does not know that its token was given up");
    world.apply(&Op::Acquire);
    for _ in 0..8 {
        world.apply(&Op::Progress(Luck::Good));
    }
    assert!(!world.rest(), "what is asked of the next refusal is in no record");
    world.apply(&Op::Advance(30));
    assert!(world.rest(), "it has another one");
    world.apply(&Op::Advance(u16::MAX));
    world.apply(&Op::Acquire);
    for luck in [Luck::Good, Luck::Refused, Luck::Good, Luck::Good, Luck::Good] {
        world.apply(&Op::Progress(luck));
    }
    assert_eq!(world.core.state(world.now), CredentialState::ReauthorizationRequired);
    world.apply(&Op::Advance(30));
    assert!(world.rest(), "only the user can help");
}

#[test]
fn an_actor_that_knows_what_the_vault_does_not_stays_awake() {
    let mut world = World::new();
    world.apply(&Op::SignIn);
    world.apply(&Op::Advance(u16::MAX));
    world.apply(&Op::Acquire);
    world.apply(&Op::Progress(Luck::Good));
    world.apply(&Op::Vault { up: false });
    for _ in 0..3 {
        world.apply(&Op::Progress(Luck::Refused));
    }
    assert_eq!(world.core.state(world.now), CredentialState::ReauthorizationRequired);
    world.apply(&Op::Advance(30));
    world.apply(&Op::Vault { up: true });
    assert!(!world.rest(), "the next one would spend a refused token again");
}

/// Somebody who is signed in, and whose token is renewed because of `what` in so many seconds.
fn renewed_because_of(what: &[Op], seconds: u16) -> World {
    let mut world = World::new();
    world.apply(&Op::SignIn);
    let before = world.core.generation();
    for op in what {
        world.apply(op);
    }
    world.apply(&Op::Acquire);
    world.apply(&Op::Progress(Luck::Good));
    world.apply(&Op::Advance(seconds));
    for _ in 0..3 {
        world.apply(&Op::Progress(Luck::Good));
    }
    assert_eq!(world.core.generation(), before.next(), "it was renewed");
    assert_eq!(world.core.kept(world.now), None, "nobody has refused this one");
    world
}

#[test]
fn an_actor_that_keeps_a_refused_token_stays_awake_until_it_does_not_any_more() {
    let mut world = renewed_because_of(&[Op::RejectCurrent], 20);
    world.apply(&Op::RefusedAgain);
    world.apply(&Op::Advance(15));
    assert!(world.core.kept(world.now).is_some(), "it came 15 seconds ago");
    assert!(!world.rest(), "the next one would not know");
    world.apply(&Op::Advance(15));
    assert_eq!(world.core.kept(world.now), None);
    assert!(world.rest(), "and now there is nothing to know");
}

#[test]
fn two_refusals_are_told_only_where_there_were_two() {
    let cases: [(&[Op], Ended); 4] = [
        (&[Op::RejectCurrent], Ended::Refused),
        (&[Op::Invalidate], Ended::GivenUp),
        (&[Op::Invalidate, Op::RejectCurrent], Ended::Refused),
        (&[Op::RejectCurrent, Op::Invalidate], Ended::Refused),
    ];
    for (what, former) in cases {
        for again in [Op::RejectCurrent, Op::RefusedAgain] {
            let mut world = renewed_because_of(what, 1);
            let until = world.now.after(Duration::from_secs(30));
            world.apply(&Op::Advance(10));
            world.apply(&again);
            let kept = Some(Kept { until, former });
            assert_eq!(world.core.kept(world.now), kept, "{what:?}, {again:?}");
            assert!(world.flight.is_none(), "it is not renewed for that");
        }
    }
    let mut world = renewed_because_of(&[Op::Refresh], 1);
    world.apply(&Op::RefusedAgain);
    assert_eq!(world.core.kept(world.now), None, "its former was as good");
}

#[test]
fn a_token_that_is_given_up_is_not_shown_as_kept() {
    let mut world = renewed_because_of(&[Op::RejectCurrent], 1);
    world.apply(&Op::RejectCurrent);
    assert!(world.core.kept(world.now).is_some());
    world.apply(&Op::Invalidate);
    assert_eq!(world.core.usable(world.now), Usable::No);
    assert_eq!(world.core.kept(world.now), None);
}
