//! Renewals: whether one may start and when it is due, and what its outcome does to the material
//! in force.

use std::sync::Arc;

use super::held::{Before, Ended, Held, Knowledge, Retry};
use super::{Effect, Evidence, Lifecycle, Trouble};
use crate::clock::Moment;
use crate::credential::material::Material;
use crate::credential::schedule::{Backoff, Plan, SHORTEST_INTERVAL};
use crate::event::EventKind;
use crate::provider::{Failure, FailureClass};

impl Lifecycle {
    /// Whether a renewal could be started at all, due or not.
    pub(super) fn may_renew(&self) -> bool {
        !self.renewing
            && matches!(self.knowledge, Knowledge::Known)
            && self.trouble.as_ref().is_none_or(|trouble| trouble.retry_at.is_some())
            && self.held.as_ref().is_some_and(|held| {
                held.unsaved.is_none() && held.material.is_renewable(self.id.method)
            })
    }

    /// Whether a due renewal is started by itself. In doubt, an attempt is made only when a token
    /// is needed and there is none, not because a timer says so.
    pub(super) fn wants_renewal(&self, held: &Held, now: Moment) -> bool {
        !held.in_doubt || (self.waiting && !held.is_usable(now))
    }

    /// When the next renewal is due.
    pub(super) fn renewal_due(&self, held: &Held) -> Option<Moment> {
        if let Some(trouble) = &self.trouble {
            return trouble.retry_at;
        }
        let floor = self.last_renewal.map(|last| last.after(SHORTEST_INTERVAL));
        match held.ended {
            Some(_) => floor.or(Some(held.material.obtained)),
            None => held.plan.renew_at,
        }
    }

    pub(super) fn renew(&mut self, evidence: Evidence, to: &mut Vec<Effect>) {
        let Some(held) = &self.held else { return };
        self.renewing = true;
        self.last_renewal = Some(evidence.now);
        to.push(Effect::Renew { material: held.material.clone(), in_doubt: held.in_doubt });
    }

    pub(super) fn install(
        &mut self,
        material: Arc<Material>,
        former: Option<Ended>,
        evidence: Evidence,
    ) {
        self.generation = material.generation;
        self.trouble = None;
        self.held = Some(Held {
            plan: Plan::new(&self.policy, &material, evidence.noise),
            material,
            ended: None,
            before: former.map_or(Before::Nothing, Before::Ended),
            in_doubt: false,
            unsaved: None,
        });
    }

    pub(super) fn adopt(
        &mut self,
        material: Arc<Material>,
        unsaved: Option<String>,
        former: Option<Ended>,
        evidence: Evidence,
        to: &mut Vec<Effect>,
    ) {
        let generation = material.generation;
        let expires_at = material.expires_at();
        let attempts = self.attempts();
        self.install(material, former, evidence);
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

    pub(super) fn failed(
        &mut self,
        mut failure: Failure,
        evidence: Evidence,
        to: &mut Vec<Effect>,
    ) {
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
                failure.reason = format!("the answer of a renewal was lost ({})", failure.reason);
            }
            _ => {}
        }
        self.fail(failure, attempts, evidence, to);
        self.remember(to);
    }

    pub(super) fn fail(
        &mut self,
        failure: Failure,
        attempts: u32,
        evidence: Evidence,
        to: &mut Vec<Effect>,
    ) {
        let attempts = attempts.saturating_add(1);
        let wait = Backoff::after(failure.class)
            .map(|backoff| backoff.wait(attempts, failure.retry_after(), evidence.noise));
        let retry_at = wait.map(|wait| evidence.now.after(wait));
        let reason = failure.reason.clone();
        self.trouble = Some(Trouble { failure, attempts, retry_at });
        to.push(Effect::Emit(EventKind::RefreshFailed {
            credential: self.id.clone(),
            generation: self.generation,
            reason,
            // In doubt, no timer leads to the next attempt but the next need of a token.
            retry_in: wait.filter(|_| self.held.as_ref().is_some_and(|held| !held.in_doubt)),
        }));
        let error = self.failure(evidence.now);
        self.answer_all(Err(error), to);
    }

    pub(super) fn remember(&self, to: &mut Vec<Effect>) {
        if let Some(trouble) = self.trouble.clone() {
            to.push(Effect::Remember { generation: self.generation, trouble });
        }
    }

    /// How many renewals failed in a row.
    pub(super) fn attempts(&self) -> u32 {
        self.trouble.as_ref().map_or(0, |trouble| trouble.attempts)
    }

    pub(super) fn hold(&mut self, reason: String, evidence: Evidence, to: &mut Vec<Effect>) {
        if let Some(held) = &mut self.held {
            held.unsaved = Some(Retry::after(Backoff::VAULT, 1, evidence));
        }
        let credential = self.id.clone();
        let generation = self.generation;
        to.push(Effect::Emit(EventKind::HeldInMemory { credential, generation, reason }));
    }
}
