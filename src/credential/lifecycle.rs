//! One credential's life as a pure state machine: events and evidence go in, effects come out.
//!
//! Nothing here waits, draws a random number, or reads a clock. What can be derived (the state that
//! people see, the next deadline, whether the token may be used) is derived from the facts, so no
//! two of them can disagree.

use std::sync::Arc;
use std::time::Duration;

use super::material::{Life, Material};
use super::schedule::{Backoff, Plan, SHORTEST_INTERVAL, Usable};
use crate::clock::Moment;
use crate::error::{Error, ErrorKind};
use crate::event::{CredentialState, EventKind};
use crate::identity::{CredentialId, Generation};
use crate::provider::{Failure, FailureClass, RefreshPolicy};

/// A rejection of material younger than this, that was itself made because of a rejection, is not
/// answered by another renewal: the resource refuses for another reason.
const REJECTED_TWICE_WITHIN: Duration = Duration::from_secs(30);

/// What the shell knows at the moment of an event.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Evidence {
    /// Both clocks.
    pub(crate) now: Moment,
    /// A random number, for jitter.
    pub(crate) noise: u64,
}

/// What happens to a credential.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// The vault answered what it has.
    Loaded(Loaded),
    /// The vault could not say what it has.
    LoadFailed { reason: String },
    /// A caller wants a usable token.
    Acquire,
    /// A caller wants a renewal, due or not.
    Refresh,
    /// A resource refused the token of this generation.
    Rejected { generation: Generation },
    /// The holder says that the access token must not be used any more.
    Invalidate,
    /// The alarm rang.
    Deadline,
    /// A renewal ended.
    Renewed { base: Generation, outcome: RenewalOutcome },
    /// The material of a sign-in is durable, or has to be held until it can be.
    SignedIn { material: Arc<Material>, unsaved: Option<String> },
    /// Another try to make held material durable ended.
    Saved { generation: Generation, result: Result<(), String> },
    /// The user signs out.
    SignOut,
    /// A try to erase what was signed out of ended; `generation` is that of the sign-out.
    Erased { generation: Generation, result: Result<(), String>, revoked: bool },
}

/// What the vault and the memory of this process have of a credential when its actor starts.
#[derive(Debug, Clone, Default)]
#[allow(clippy::struct_excessive_bools, reason = "four facts, none of which follows from another")]
pub(crate) struct Loaded {
    /// The newest material.
    pub(crate) material: Option<Arc<Material>>,
    /// Its refresh token may be spent: a rotation record stands, and what left it is not under
    /// way any more, or was in doubt itself.
    pub(crate) in_doubt: bool,
    /// The last trouble, remembered over the restart.
    pub(crate) trouble: Option<Trouble>,
    /// A renewal that an earlier incarnation started is still under way.
    pub(crate) under_way: bool,
    /// The material could not be written to the vault yet.
    pub(crate) unsaved: bool,
    /// The user has signed out, and the vault has not confirmed the erasure yet.
    pub(crate) signed_out: bool,
}

/// How a renewal ended.
#[derive(Debug, Clone)]
pub(crate) enum RenewalOutcome {
    /// New material, durable; or not, and why.
    Granted { material: Arc<Material>, unsaved: Option<String> },
    /// The provider, or the way to it, failed.
    Failed(Failure),
    /// Nothing was sent: the vault could not record the intent, or the runtime stops.
    NotStarted { reason: String },
    /// The vault holds other material than the one that was renewed.
    Superseded,
}

/// What the shell has to do, in this order.
#[derive(Debug, Clone)]
pub(crate) enum Effect {
    /// Ask the vault what it has.
    Load,
    /// Renew this material. `in_doubt`: a refresh token that may be spent is tried once more.
    Renew { material: Arc<Material>, in_doubt: bool },
    /// Try again to make this material durable.
    Save { material: Arc<Material> },
    /// Erase what the vault has, and revoke `material` at the provider.
    Erase { generation: Generation, material: Option<Arc<Material>> },
    /// Remember this trouble over a restart.
    Remember { generation: Generation, trouble: Trouble },
    /// Keep the caller of this event waiting for [`Effect::AnswerAll`].
    Park,
    /// Answer the caller of this event: with the snapshot, or with a failure.
    Answer(Result<(), Error>),
    /// Answer every waiting caller.
    AnswerAll(Result<(), Error>),
    /// Report.
    Emit(EventKind),
}

/// Why a credential is not renewed now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// What went wrong last.
    pub(crate) failure: Failure,
    /// How many attempts failed in a row.
    pub(crate) attempts: u32,
    /// The next attempt; none when only the user can help.
    pub(crate) retry_at: Option<Moment>,
}

/// Material in force, and what is known about it.
#[derive(Debug, Clone)]
struct Held {
    material: Arc<Material>,
    plan: Plan,
    /// Refused by a resource, or invalidated by its holder.
    refused: bool,
    /// Made because the generation before it was refused.
    after_refusal: bool,
    /// Its refresh token may be spent: a rotation's outcome is unknown.
    in_doubt: bool,
    /// Not durable yet: the failed attempts, and the next one.
    unsaved: Option<Retry>,
}

/// Something that is tried again.
#[derive(Debug, Clone, Copy)]
struct Retry {
    attempts: u32,
    at: Moment,
    under_way: bool,
}

/// Whether the vault has been heard.
#[derive(Debug, Clone)]
enum Knowledge {
    Asked,
    Refused { reason: String, retry: Retry },
    Known,
}

/// What was asked of material that the vault had not answered with yet.
#[derive(Debug, Default)]
struct Early {
    /// Somebody waits for a renewal.
    renew: bool,
    /// Its holder gave it up.
    invalidated: bool,
    /// A resource refused this generation.
    refused: Option<Generation>,
}

/// The life of one credential.
#[derive(Debug)]
pub(crate) struct Lifecycle {
    id: CredentialId,
    policy: RefreshPolicy,
    knowledge: Knowledge,
    /// The newest generation ever seen here; never goes back, so that late outcomes stay late.
    generation: Generation,
    held: Option<Held>,
    renewing: bool,
    trouble: Option<Trouble>,
    last_renewal: Option<Moment>,
    /// A sign-out that the vault has not confirmed.
    erasing: Option<Retry>,
    /// Somebody waits for [`Effect::AnswerAll`].
    waiting: bool,
    early: Early,
    /// The state that was reported last.
    shown: CredentialState,
}

impl Lifecycle {
    /// A credential of which nothing is known yet. Step [`Event::Loaded`] when the vault answers.
    pub(crate) fn new(id: CredentialId, policy: RefreshPolicy) -> Self {
        Self {
            id,
            policy,
            knowledge: Knowledge::Asked,
            generation: Generation::default(),
            held: None,
            renewing: false,
            trouble: None,
            last_renewal: None,
            erasing: None,
            waiting: false,
            early: Early::default(),
            shown: CredentialState::Loading,
        }
    }

    /// Takes one event, and says what is to be done about it.
    pub(crate) fn step(&mut self, event: Event, evidence: Evidence) -> Vec<Effect> {
        let mut effects = Vec::new();
        let to = &mut effects;
        match event {
            Event::Loaded(loaded) => self.loaded(loaded, evidence, to),
            Event::LoadFailed { reason } => self.load_failed(reason, evidence, to),
            Event::Acquire => self.acquire(evidence, to),
            Event::Refresh => self.refresh(evidence, to),
            Event::Rejected { generation } => self.rejected(generation, evidence, to),
            Event::Invalidate => self.invalidate(to),
            Event::Deadline => self.tick(evidence, to),
            Event::Renewed { base, outcome } => self.renewed(base, outcome, evidence, to),
            Event::SignedIn { material, unsaved } => {
                self.signed_in(material, unsaved, evidence, to);
            }
            Event::Saved { generation, result } => {
                self.saved(generation, result.is_ok(), evidence, to);
            }
            Event::SignOut => self.sign_out(to),
            Event::Erased { generation, result, revoked } => {
                self.erased(generation, result.is_ok(), revoked, evidence, to);
            }
        }
        let state = self.state(evidence.now);
        let from = std::mem::replace(&mut self.shown, state);
        if state != from {
            effects.push(Effect::Emit(EventKind::StateChanged {
                credential: self.id.clone(),
                from,
                to: state,
                generation: self.generation,
                reason: self.reason(),
            }));
        }
        effects
    }

    /// The state that people see.
    pub(crate) fn state(&self, now: Moment) -> CredentialState {
        let Some(held) = &self.held else {
            return match &self.knowledge {
                Knowledge::Asked => CredentialState::Loading,
                Knowledge::Refused { .. } => CredentialState::Unreadable,
                Knowledge::Known => CredentialState::Absent,
            };
        };
        let usable = held.is_usable(now);
        let over = match &self.trouble {
            Some(trouble) => trouble.retry_at.is_none(),
            None => !usable && !held.material.is_renewable(self.id.method),
        };
        if over {
            CredentialState::ReauthorizationRequired
        } else if held.in_doubt {
            CredentialState::Uncertain
        } else if self.renewing {
            if usable { CredentialState::ExpiringSoon } else { CredentialState::Refreshing }
        } else if usable {
            if self.trouble.is_some() { CredentialState::Degraded } else { CredentialState::Valid }
        } else {
            CredentialState::Expired
        }
    }

    /// Whether the vault has not been heard yet.
    pub(crate) fn is_loading(&self) -> bool {
        self.held.is_none() && matches!(self.knowledge, Knowledge::Asked)
    }

    /// Why it is in that state, where there is more to say.
    pub(crate) fn reason(&self) -> Option<String> {
        match &self.knowledge {
            Knowledge::Refused { reason, .. } => Some(reason.clone()),
            _ => self.trouble.as_ref().map(|trouble| trouble.failure.reason.clone()),
        }
    }

    /// The material in force.
    pub(crate) fn material(&self) -> Option<&Arc<Material>> {
        self.held.as_ref().map(|held| &held.material)
    }

    /// The newest generation seen.
    pub(crate) fn generation(&self) -> Generation {
        self.generation
    }

    /// Until when the token in force may be used.
    pub(crate) fn usable(&self, now: Moment) -> Usable {
        match self.held.as_ref().filter(|held| held.is_usable(now)) {
            None => Usable::No,
            Some(held) => held.plan.unusable_at.map_or(Usable::WithoutEnd, Usable::Until),
        }
    }

    /// Whether the material in force is not durable yet.
    pub(crate) fn is_unsaved(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.unsaved.is_some())
    }

    /// The next attempt to renew after a failure.
    pub(crate) fn retry_at(&self) -> Option<Moment> {
        self.trouble.as_ref().and_then(|trouble| trouble.retry_at)
    }

    /// When the alarm has to ring next.
    pub(crate) fn next_deadline(&self, now: Moment) -> Option<Moment> {
        let mut next: Option<Moment> = None;
        let mut consider = |candidate: Option<Moment>| {
            if let Some(candidate) = candidate
                && next.is_none_or(|next| now.until(candidate) < now.until(next))
            {
                next = Some(candidate);
            }
        };
        if let Knowledge::Refused { retry, .. } = &self.knowledge {
            consider(retry.due());
        }
        consider(self.erasing.and_then(|retry| retry.due()));
        if let Some(held) = &self.held {
            consider(held.unsaved.and_then(|retry| retry.due()));
            if held.is_usable(now) {
                consider(held.plan.unusable_at);
            }
            if self.may_renew() && self.wants_renewal(held, now) {
                consider(self.renewal_due(held));
            }
        }
        next
    }
}

// Events.
impl Lifecycle {
    fn loaded(&mut self, loaded: Loaded, evidence: Evidence, to: &mut Vec<Effect>) {
        if matches!(self.knowledge, Knowledge::Known) {
            // A sign-in or a sign-out ended while the vault was read: what is in force is newer.
            return;
        }
        self.knowledge = Knowledge::Known;
        let early = std::mem::take(&mut self.early);
        if loaded.signed_out {
            let newest = loaded.material.map(|material| material.generation);
            self.generation = self.generation.max(newest.unwrap_or_default()).next();
            self.erasing = Some(Retry { attempts: 1, at: evidence.now, under_way: false });
            self.settle(evidence, to);
            return self.tick(evidence, to);
        }
        let newest = loaded.material.as_ref().map(|material| material.generation);
        self.generation = self.generation.max(newest.unwrap_or_default());
        let unsaved =
            loaded.unsaved.then_some(Retry { attempts: 1, at: evidence.now, under_way: false });
        self.held = loaded.material.map(|material| Held {
            plan: Plan::new(&self.policy, &material, evidence.noise),
            refused: material.life != Life::Unlimited
                && (early.invalidated || early.refused == Some(material.generation)),
            material,
            after_refusal: false,
            in_doubt: loaded.in_doubt,
            unsaved,
        });
        self.renewing = loaded.under_way;
        self.trouble = loaded.trouble;
        if early.renew && self.may_renew() && self.trouble.is_none() {
            self.renew(evidence, to);
        } else {
            self.settle(evidence, to);
            self.tick(evidence, to);
        }
    }

    fn load_failed(&mut self, reason: String, evidence: Evidence, to: &mut Vec<Effect>) {
        if matches!(self.knowledge, Knowledge::Known) {
            return;
        }
        let retry = match &self.knowledge {
            Knowledge::Refused { retry, .. } => retry.again(evidence),
            _ => Retry::after(Backoff::VAULT, 1, evidence),
        };
        let error = self.unreadable(&reason);
        self.early.renew = false;
        self.knowledge = Knowledge::Refused { reason, retry };
        self.answer_all(Err(error), to);
    }

    fn acquire(&mut self, evidence: Evidence, to: &mut Vec<Effect>) {
        match self.availability(evidence.now) {
            Availability::Usable => {
                self.tick(evidence, to);
                to.push(Effect::Answer(Ok(())));
            }
            Availability::Failed(error) => to.push(Effect::Answer(Err(error))),
            Availability::Later => {
                self.park(to);
                self.tick(evidence, to);
            }
        }
    }

    fn refresh(&mut self, evidence: Evidence, to: &mut Vec<Effect>) {
        let now = evidence.now;
        let Some(held) = &self.held else {
            self.early.renew = !matches!(self.knowledge, Knowledge::Known);
            return self.acquire(evidence, to);
        };
        let renewable = held.material.is_renewable(self.id.method);
        if renewable && (self.renewing || self.is_asking()) {
            self.early.renew = !self.renewing;
            return self.park(to);
        }
        let just_renewed =
            self.last_renewal.is_some_and(|last| now.since(last) < SHORTEST_INTERVAL);
        if !renewable || just_renewed {
            return self.acquire(evidence, to);
        }
        // Asked for by hand, an outage's back-off is skipped; what a provider asked for is not.
        if let Some(trouble) = &self.trouble
            && trouble.failure.retry_after().is_none()
            && trouble.retry_at.is_some()
        {
            self.trouble = None;
        }
        if self.may_renew() && self.trouble.is_none() {
            self.park(to);
            self.renew(evidence, to);
        } else {
            let error = self.failure(now);
            to.push(Effect::Answer(Err(error)));
        }
    }

    fn invalidate(&mut self, to: &mut Vec<Effect>) {
        match &mut self.held {
            Some(held) => held.refused |= held.material.life != Life::Unlimited,
            None => self.early.invalidated = !matches!(self.knowledge, Knowledge::Known),
        }
        to.push(Effect::Answer(Ok(())));
    }

    fn rejected(&mut self, generation: Generation, evidence: Evidence, to: &mut Vec<Effect>) {
        if self.held.is_none() && !matches!(self.knowledge, Knowledge::Known) {
            self.early.refused = self.early.refused.max(Some(generation));
        }
        if let Some(held) = &mut self.held
            && generation == held.material.generation
        {
            if held.material.life == Life::Unlimited {
                let error = Error::new(
                    ErrorKind::ReauthorizationRequired,
                    format!("{} refuses the API key, sign in with another one", self.id.provider),
                );
                to.push(Effect::Answer(Err(error)));
                return;
            }
            let young = evidence.now.since(held.material.obtained) < REJECTED_TWICE_WITHIN;
            if !(held.after_refusal && young) {
                held.refused = true;
            }
        }
        self.acquire(evidence, to);
    }

    fn renewed(
        &mut self,
        base: Generation,
        outcome: RenewalOutcome,
        evidence: Evidence,
        to: &mut Vec<Effect>,
    ) {
        let current = self.held.as_ref().is_some_and(|held| held.material.generation == base);
        if !current || !self.renewing {
            return;
        }
        self.renewing = false;
        match outcome {
            RenewalOutcome::Granted { material, unsaved } => {
                let after_refusal = self.held.as_ref().is_some_and(|held| held.refused);
                self.adopt(material, unsaved, after_refusal, evidence, to);
            }
            RenewalOutcome::Failed(failure) => self.failed(failure, evidence, to),
            RenewalOutcome::NotStarted { reason } => {
                let class = FailureClass::Transient { retry_after: None };
                let failure = Failure::new(class, format!("nothing was sent: {reason}"));
                // Not remembered: it says nothing about the provider.
                self.fail(failure, self.attempts(), evidence, to);
            }
            RenewalOutcome::Superseded => {
                self.knowledge = Knowledge::Asked;
                to.push(Effect::Load);
            }
        }
    }

    fn signed_in(
        &mut self,
        material: Arc<Material>,
        unsaved: Option<String>,
        evidence: Evidence,
        to: &mut Vec<Effect>,
    ) {
        let generation = material.generation;
        let known = self.held.as_ref().is_some_and(|held| held.material.generation == generation);
        if generation <= self.generation && !known {
            // Signed out, or signed in again, while this one was written.
            return;
        }
        self.knowledge = Knowledge::Known;
        self.early = Early::default();
        self.renewing = false;
        self.erasing = None;
        let credential = self.id.clone();
        self.install(material, false, evidence);
        to.push(Effect::Emit(EventKind::SignedIn { credential, generation }));
        if let Some(reason) = unsaved {
            self.hold(reason, evidence, to);
        }
        self.settle(evidence, to);
    }

    fn saved(
        &mut self,
        generation: Generation,
        saved: bool,
        evidence: Evidence,
        to: &mut Vec<Effect>,
    ) {
        let Some(held) = &mut self.held else { return };
        let Some(retry) = held.unsaved.filter(|_| held.material.generation == generation) else {
            return;
        };
        if saved {
            held.unsaved = None;
            let credential = self.id.clone();
            to.push(Effect::Emit(EventKind::HeldMaterialStored { credential, generation }));
            self.tick(evidence, to);
        } else {
            held.unsaved = Some(retry.again(evidence));
        }
    }

    fn sign_out(&mut self, to: &mut Vec<Effect>) {
        let material = self.held.take().map(|held| held.material);
        // Whatever is under way refers to the generation before this one, and changes nothing.
        self.generation = self.generation.next();
        self.knowledge = Knowledge::Known;
        self.early = Early::default();
        self.renewing = false;
        self.trouble = None;
        self.erasing = Some(Retry::first_try());
        to.push(Effect::Erase { generation: self.generation, material });
        let error = self.absent();
        self.answer_all(Err(error), to);
    }

    fn erased(
        &mut self,
        generation: Generation,
        erased: bool,
        revoked: bool,
        evidence: Evidence,
        to: &mut Vec<Effect>,
    ) {
        // A later sign-out is another matter.
        let Some(retry) = self.erasing.filter(|_| generation == self.generation) else { return };
        if erased {
            self.erasing = None;
            let credential = self.id.clone();
            to.push(Effect::Emit(EventKind::SignedOut { credential, revoked }));
        } else {
            self.erasing = Some(retry.again(evidence));
        }
    }

    /// Does whatever is due.
    fn tick(&mut self, evidence: Evidence, to: &mut Vec<Effect>) {
        let now = evidence.now;
        if let Knowledge::Refused { retry, .. } = &mut self.knowledge
            && retry.start_if_due(now)
        {
            to.push(Effect::Load);
        }
        if let Some(retry) = &mut self.erasing
            && retry.start_if_due(now)
        {
            to.push(Effect::Erase { generation: self.generation, material: None });
        }
        let Some(held) = &mut self.held else { return };
        if let Some(retry) = &mut held.unsaved
            && retry.start_if_due(now)
        {
            to.push(Effect::Save { material: held.material.clone() });
        }
        let Some(held) = &self.held else { return };
        if self.may_renew()
            && self.wants_renewal(held, now)
            && self.renewal_due(held).is_some_and(|due| now.has_passed(due))
        {
            self.renew(evidence, to);
        }
    }
}

// Facts and transitions that several events share.
impl Lifecycle {
    /// Whether a renewal could be started at all, due or not.
    fn may_renew(&self) -> bool {
        !self.renewing
            && matches!(self.knowledge, Knowledge::Known)
            && self.trouble.as_ref().is_none_or(|trouble| trouble.retry_at.is_some())
            && self.held.as_ref().is_some_and(|held| {
                held.unsaved.is_none() && held.material.is_renewable(self.id.method)
            })
    }

    /// Whether a due renewal is started by itself. In doubt, an attempt is made only when a token
    /// is needed and there is none, not because a timer says so.
    fn wants_renewal(&self, held: &Held, now: Moment) -> bool {
        !held.in_doubt || (self.waiting && !held.is_usable(now))
    }

    /// When the next renewal is due.
    fn renewal_due(&self, held: &Held) -> Option<Moment> {
        if let Some(trouble) = &self.trouble {
            return trouble.retry_at;
        }
        let floor = self.last_renewal.map(|last| last.after(SHORTEST_INTERVAL));
        if held.refused { floor.or(Some(held.material.obtained)) } else { held.plan.renew_at }
    }

    fn renew(&mut self, evidence: Evidence, to: &mut Vec<Effect>) {
        let Some(held) = &self.held else { return };
        self.renewing = true;
        self.last_renewal = Some(evidence.now);
        to.push(Effect::Renew { material: held.material.clone(), in_doubt: held.in_doubt });
    }

    fn install(&mut self, material: Arc<Material>, after_refusal: bool, evidence: Evidence) {
        self.generation = material.generation;
        self.trouble = None;
        self.held = Some(Held {
            plan: Plan::new(&self.policy, &material, evidence.noise),
            material,
            refused: false,
            after_refusal,
            in_doubt: false,
            unsaved: None,
        });
    }

    fn adopt(
        &mut self,
        material: Arc<Material>,
        unsaved: Option<String>,
        after_refusal: bool,
        evidence: Evidence,
        to: &mut Vec<Effect>,
    ) {
        let generation = material.generation;
        let expires_at = material.expires_at();
        let attempts = self.attempts();
        self.install(material, after_refusal, evidence);
        let credential = self.id.clone();
        to.push(Effect::Emit(EventKind::Refreshed { credential, generation, expires_at }));
        if let Some(reason) = unsaved {
            self.hold(reason, evidence, to);
        }
        if self.held.as_ref().is_some_and(|held| held.is_usable(evidence.now)) {
            self.answer_all(Ok(()), to);
        } else {
            // Expired when it came: asking again at once would only spin.
            let failure = Failure::new(
                FailureClass::Protocol,
                format!("{} granted a token that has already expired", self.id.provider),
            );
            self.fail(failure, attempts, evidence, to);
            self.remember(to);
        }
    }

    fn failed(&mut self, mut failure: Failure, evidence: Evidence, to: &mut Vec<Effect>) {
        let attempts = self.attempts();
        let Some(held) = &mut self.held else { return };
        match failure.class {
            class
                if class.may_have_spent()
                    && held.material.spends_a_refresh_token(self.id.method) =>
            {
                held.in_doubt = true;
            }
            FailureClass::ReauthorizationRequired if held.in_doubt => {
                held.in_doubt = false;
                failure.reason =
                    format!("the answer of a renewal was lost, sign in again ({})", failure.reason);
            }
            _ => {}
        }
        self.fail(failure, attempts, evidence, to);
        self.remember(to);
    }

    fn fail(&mut self, failure: Failure, attempts: u32, evidence: Evidence, to: &mut Vec<Effect>) {
        let attempts = attempts.saturating_add(1);
        let backoff = match failure.class {
            FailureClass::ReauthorizationRequired => None,
            FailureClass::Misconfigured | FailureClass::Protocol => Some(Backoff::SLOW),
            _ => Some(Backoff::TRANSIENT),
        };
        let wait =
            backoff.map(|backoff| backoff.wait(attempts, failure.retry_after(), evidence.noise));
        let retry_at = wait.map(|wait| evidence.now.after(wait));
        let reason = failure.reason.clone();
        self.trouble = Some(Trouble { failure, attempts, retry_at });
        to.push(Effect::Emit(EventKind::RefreshFailed {
            credential: self.id.clone(),
            generation: self.generation,
            reason,
            retry_in: wait,
        }));
        let error = self.failure(evidence.now);
        self.answer_all(Err(error), to);
    }

    fn remember(&self, to: &mut Vec<Effect>) {
        if let Some(trouble) = self.trouble.clone() {
            to.push(Effect::Remember { generation: self.generation, trouble });
        }
    }

    /// How many renewals failed in a row.
    fn attempts(&self) -> u32 {
        self.trouble.as_ref().map_or(0, |trouble| trouble.attempts)
    }

    fn hold(&mut self, reason: String, evidence: Evidence, to: &mut Vec<Effect>) {
        if let Some(held) = &mut self.held {
            held.unsaved = Some(Retry::after(Backoff::VAULT, 1, evidence));
        }
        let credential = self.id.clone();
        let generation = self.generation;
        to.push(Effect::Emit(EventKind::HeldInMemory { credential, generation, reason }));
    }

    /// Answers whoever waits, if there is an answer now.
    fn settle(&mut self, evidence: Evidence, to: &mut Vec<Effect>) {
        if !self.waiting {
            return;
        }
        match self.availability(evidence.now) {
            Availability::Usable => self.answer_all(Ok(()), to),
            Availability::Failed(error) => self.answer_all(Err(error), to),
            Availability::Later => self.tick(evidence, to),
        }
    }

    fn availability(&self, now: Moment) -> Availability {
        let Some(held) = &self.held else {
            return match &self.knowledge {
                Knowledge::Refused { reason, .. } if !self.is_asking() => {
                    Availability::Failed(self.unreadable(reason))
                }
                Knowledge::Asked | Knowledge::Refused { .. } => Availability::Later,
                Knowledge::Known => Availability::Failed(self.absent()),
            };
        };
        // Without trouble the next renewal is due by now, or within the shortest interval.
        let about_to_renew = self.may_renew()
            && self.trouble.as_ref().is_none_or(|trouble| {
                trouble.retry_at.is_some_and(|retry_at| now.has_passed(retry_at))
            });
        if held.is_usable(now) {
            Availability::Usable
        } else if self.renewing || about_to_renew || self.is_asking() {
            Availability::Later
        } else {
            Availability::Failed(self.failure(now))
        }
    }

    /// Whether the vault is about to answer.
    fn is_asking(&self) -> bool {
        match &self.knowledge {
            Knowledge::Asked => true,
            Knowledge::Refused { retry, .. } => retry.under_way,
            Knowledge::Known => false,
        }
    }

    fn unreadable(&self, reason: &str) -> Error {
        let text = format!("the credential {} can not be read: {reason}", self.id);
        Error::new(ErrorKind::VaultUnavailable, text)
    }

    fn absent(&self) -> Error {
        Error::new(
            ErrorKind::ReauthorizationRequired,
            format!("{} is not signed in to {}, sign in first", self.id.user, self.id.provider),
        )
    }

    /// Why there is no token, as its callers are told.
    fn failure(&self, now: Moment) -> Error {
        let provider = &self.id.provider;
        if let Knowledge::Refused { reason, .. } = &self.knowledge {
            return self.unreadable(reason);
        }
        let Some(Trouble { failure, retry_at, .. }) = &self.trouble else {
            if self.is_unsaved() {
                return Error::new(
                    ErrorKind::VaultUnavailable,
                    "the token can not be renewed while the vault can not be written",
                );
            }
            return Error::new(
                ErrorKind::ReauthorizationRequired,
                format!("the token of {provider} has expired, sign in again"),
            );
        };
        let Some(retry_at) = retry_at else {
            return Error::with_source(
                ErrorKind::ReauthorizationRequired,
                format!("{provider} needs a new sign-in: {}", failure.reason),
                failure.clone(),
            );
        };
        let kind = match failure.class {
            FailureClass::RateLimited { .. } => ErrorKind::RateLimited,
            FailureClass::Misconfigured => ErrorKind::Configuration,
            FailureClass::Protocol => ErrorKind::Protocol,
            FailureClass::Uncertain => ErrorKind::Uncertain,
            _ => ErrorKind::Transient,
        };
        let text = format!("the token of {provider} could not be renewed: {}", failure.reason);
        Error::retry_in(kind, text, now.until(*retry_at))
    }

    fn park(&mut self, to: &mut Vec<Effect>) {
        self.waiting = true;
        to.push(Effect::Park);
    }

    fn answer_all(&mut self, answer: Result<(), Error>, to: &mut Vec<Effect>) {
        if std::mem::take(&mut self.waiting) {
            to.push(Effect::AnswerAll(answer));
        }
    }
}

/// What a caller can be told at once.
enum Availability {
    Usable,
    Later,
    Failed(Error),
}

impl Held {
    fn is_usable(&self, now: Moment) -> bool {
        !self.refused && self.plan.unusable_at.is_none_or(|end| !now.has_passed(end))
    }
}

impl Retry {
    fn after(backoff: Backoff, attempts: u32, evidence: Evidence) -> Self {
        let wait = backoff.wait(attempts, None, evidence.noise);
        Self { attempts, at: evidence.now.after(wait), under_way: false }
    }

    /// After another attempt failed, with the longer waits that follow.
    fn again(self, evidence: Evidence) -> Self {
        Self::after(Backoff::VAULT, self.attempts.saturating_add(1), evidence)
    }

    fn first_try() -> Self {
        let at = Moment { wall: std::time::UNIX_EPOCH, monotonic: Duration::ZERO };
        Self { attempts: 0, at, under_way: true }
    }

    fn due(&self) -> Option<Moment> {
        (!self.under_way).then_some(self.at)
    }

    fn start_if_due(&mut self, now: Moment) -> bool {
        let start = !self.under_way && now.has_passed(self.at);
        self.under_way |= start;
        start
    }
}
