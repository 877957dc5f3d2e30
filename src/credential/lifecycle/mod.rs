//! One credential's life as a pure state machine: events and evidence go in, effects come out.
//!
//! Nothing here waits, draws a random number, or reads a clock. What can be derived (the state that
//! people see, the next deadline, whether the token may be used) is derived from the facts, so no
//! two of them can disagree.

mod answers;
mod event;
mod handling;
mod held;
mod keys;
mod renewing;
mod rest;

use std::collections::BTreeSet;
use std::sync::Arc;

pub(crate) use event::{Effect, Event, Evidence, Loaded, RenewalOutcome, Trouble};
use held::{Before, Early, Held, Knowledge, Retry};
pub(crate) use held::{Ended, Kept};

use super::material::Material;
use super::schedule::Usable;
use crate::clock::Moment;
use crate::event::{CredentialState, EventKind};
use crate::identity::{CredentialId, Generation};
use crate::provider::RefreshPolicy;

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
    /// Sign-outs that were not reported yet, by their generations.
    unreported: BTreeSet<Generation>,
    /// Somebody waits for [`Effect::AnswerAll`].
    waiting: bool,
    early: Early,
    /// Whether this API key may stand in for other sign-ins; none while nobody has said.
    stands_in: Option<bool>,
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
            unreported: BTreeSet::new(),
            waiting: false,
            early: Early::default(),
            stands_in: None,
            shown: CredentialState::Loading,
        }
    }

    /// Takes one event, and says what is to be done about it.
    pub(crate) fn step(&mut self, event: Event, evidence: Evidence) -> Vec<Effect> {
        let mut effects = Vec::new();
        let to = &mut effects;
        match event {
            Event::Loaded(loaded) => self.loaded(loaded, evidence, to),
            Event::LoadFailed { reason, lasting } => {
                self.load_failed(reason, lasting, evidence, to);
            }
            Event::Acquire => self.acquire(evidence, to),
            Event::Refresh => self.refresh(evidence, to),
            Event::Rejected { generation } => self.rejected(generation, evidence, to),
            Event::RefusedAgain { generation } => self.refused_again(generation, evidence, to),
            Event::Invalidate => self.invalidate(to),
            Event::Accepted { generation } => self.accepted(generation, to),
            Event::StandIn { allowed } => self.stand_in(allowed, to),
            Event::Deadline => self.tick(evidence, to),
            Event::Renewed { base, outcome } => self.renewed(base, outcome, evidence, to),
            Event::SignedIn { material, unsaved } => {
                self.signed_in(material, unsaved, evidence, to);
            }
            Event::Saved { generation, result } => {
                self.saved(generation, result.ok(), evidence, to);
            }
            Event::SignOut => self.sign_out(to),
            Event::Erased { generation, result, revoked } => {
                self.erased(generation, result.is_ok(), revoked, evidence, to);
            }
        }
        self.show(evidence.now, to);
        effects
    }

    /// Reports the state, when it is another one than was reported last. That the vault is being
    /// asked is no state of a credential of which more was known before.
    fn show(&mut self, now: Moment, to: &mut Vec<Effect>) {
        let state = self.state(now);
        let from = self.shown;
        if state != from && state != CredentialState::Loading {
            self.shown = state;
            to.push(Effect::Emit(EventKind::StateChanged {
                credential: self.id.clone(),
                from,
                to: state,
                generation: self.generation,
                reason: self.reason(),
            }));
        }
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

    /// Whether the vault can not be read, so that nothing is known of it here.
    pub(crate) fn is_unreadable(&self) -> bool {
        self.held.is_none() && matches!(self.knowledge, Knowledge::Refused { .. })
    }

    /// Whether the material of this generation was refused or given up before the vault was heard.
    pub(crate) fn has_given_up(&self, generation: Generation) -> bool {
        self.early.invalidated || self.early.refused >= Some(generation)
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

    /// Whether the token in force is used although a resource refused it: it was refused soon after it
    /// had taken the place of one that was out of use.
    pub(crate) fn kept(&self, now: Moment) -> Option<Kept> {
        let held = self.held.as_ref().filter(|held| held.is_usable(now))?;
        let Before::AndRefused(former) = held.before else { return None };
        Some(Kept { until: held.kept_until(now)?, former })
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
