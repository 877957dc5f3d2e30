//! How each event is handled.

use std::sync::Arc;

use super::answers::Availability;
use super::held::{Before, Early, Ended, Held, Knowledge, Retry};
use super::{Effect, Evidence, Lifecycle, Loaded, RenewalOutcome, Trouble};
use crate::credential::material::{Life, Material};
use crate::credential::schedule::{Backoff, Plan, SHORTEST_INTERVAL};
use crate::event::EventKind;
use crate::identity::Generation;
use crate::provider::{Failure, FailureClass};

impl Lifecycle {
    pub(super) fn loaded(&mut self, loaded: Loaded, evidence: Evidence, to: &mut Vec<Effect>) {
        self.stands_in.get_or_insert(loaded.stands_in && !loaded.signed_out);
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
            self.unreported.insert(self.generation);
            self.settle(evidence, to);
            return self.tick(evidence, to);
        }
        let newest = loaded.material.as_ref().map(|material| material.generation);
        self.generation = self.generation.max(newest.unwrap_or_default());
        let unsaved =
            loaded.unsaved.then_some(Retry { attempts: 1, at: evidence.now, under_way: false });
        self.held = loaded.material.map(|material| Held {
            plan: Plan::new(&self.policy, &material, evidence.noise),
            ended: early.end_of(&material),
            material,
            before: Before::Nothing,
            in_doubt: loaded.in_doubt,
            unsaved,
        });
        self.renewing = loaded.under_way;
        self.trouble = loaded.trouble;
        if let Some(conflict) = loaded.conflict {
            self.give_up_for_now(conflict);
        }
        if early.refused.is_some_and(|refused| self.holds_key(refused)) {
            self.note_refusal(to);
        }
        if early.renew && self.may_renew() && self.trouble.is_none() {
            self.renew(evidence, to);
        } else if early.renew && self.renewing {
            // Whoever asked is answered by the renewal that is under way, as at any other time.
            self.tick(evidence, to);
        } else {
            self.settle(evidence, to);
            self.tick(evidence, to);
        }
    }

    /// The material in force was issued to another client than the settings name: it is not used.
    /// Nothing of that is written, so that it is used again once the settings are put back.
    fn give_up_for_now(&mut self, conflict: String) {
        let Some(held) = &mut self.held else { return };
        held.end(Ended::GivenUp);
        // What needs no user is asked for anew, and the trouble was that of the other client.
        self.trouble = (!self.id.method.needs_no_user()).then(|| Trouble {
            failure: Failure::new(FailureClass::ReauthorizationRequired, conflict),
            attempts: 1,
            retry_at: None,
        });
    }

    pub(super) fn load_failed(
        &mut self,
        reason: String,
        lasting: bool,
        evidence: Evidence,
        to: &mut Vec<Effect>,
    ) {
        if matches!(self.knowledge, Knowledge::Known) {
            return;
        }
        let retry = match &self.knowledge {
            Knowledge::Refused { retry, .. } => retry.again(evidence),
            _ => Retry::after(Backoff::VAULT, 1, evidence),
        };
        let error = self.unreadable(&reason, lasting);
        self.early.renew = false;
        self.knowledge = Knowledge::Refused { reason, lasting, retry };
        self.answer_all(Err(error), to);
    }

    pub(super) fn acquire(&mut self, evidence: Evidence, to: &mut Vec<Effect>) {
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

    pub(super) fn refresh(&mut self, evidence: Evidence, to: &mut Vec<Effect>) {
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

    pub(super) fn invalidate(&mut self, to: &mut Vec<Effect>) {
        match &mut self.held {
            Some(held) if held.material.life != Life::Unlimited => held.end(Ended::GivenUp),
            Some(_) => {}
            None => self.early.invalidated = !matches!(self.knowledge, Knowledge::Known),
        }
        to.push(Effect::Answer(Ok(())));
    }

    pub(super) fn rejected(
        &mut self,
        generation: Generation,
        evidence: Evidence,
        to: &mut Vec<Effect>,
    ) {
        if self.held.is_none() && !matches!(self.knowledge, Knowledge::Known) {
            self.early.refused = self.early.refused.max(Some(generation));
        }
        if let Some(held) = &mut self.held
            && generation == held.material.generation
        {
            if held.material.life == Life::Unlimited {
                return self.key_refused(to);
            }
            match held.kept_until(evidence.now) {
                Some(_) => held.note_refusal(),
                None => held.end(Ended::Refused),
            }
        }
        self.acquire(evidence, to);
    }

    /// Only noted: whoever reports it has sent its request twice, and wants no other token.
    pub(super) fn refused_again(
        &mut self,
        generation: Generation,
        evidence: Evidence,
        to: &mut Vec<Effect>,
    ) {
        if let Some(held) = &mut self.held
            && generation == held.material.generation
            && held.kept_until(evidence.now).is_some()
        {
            held.note_refusal();
        }
        to.push(Effect::Answer(Ok(())));
    }

    pub(super) fn renewed(
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
                let former = self.held.as_ref().and_then(|held| held.ended);
                self.adopt(material, unsaved, former, evidence, to);
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

    pub(super) fn signed_in(
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
        for _ in std::mem::take(&mut self.unreported) {
            // What the provider says of the revocation comes too late to be told.
            self.report_sign_out(false, to);
        }
        let credential = self.id.clone();
        self.install(material, None, evidence);
        to.push(Effect::Emit(EventKind::SignedIn { credential, generation }));
        if let Some(reason) = unsaved {
            self.hold(reason, evidence, to);
        }
        self.settle(evidence, to);
    }

    pub(super) fn saved(
        &mut self,
        generation: Generation,
        saved: Option<Arc<Material>>,
        evidence: Evidence,
        to: &mut Vec<Effect>,
    ) {
        let Some(held) = &mut self.held else { return };
        let Some(retry) = held.unsaved.filter(|_| held.material.generation == generation) else {
            return;
        };
        if let Some(saved) = saved {
            held.unsaved = None;
            let generation = saved.generation;
            held.material = saved;
            self.generation = self.generation.max(generation);
            let credential = self.id.clone();
            to.push(Effect::Emit(EventKind::HeldMaterialStored { credential, generation }));
            self.tick(evidence, to);
        } else {
            held.unsaved = Some(retry.again(evidence));
        }
    }

    pub(super) fn sign_out(&mut self, to: &mut Vec<Effect>) {
        let material = self.held.take().map(|held| held.material);
        // Whatever is under way refers to the generation before this one, and changes nothing.
        self.generation = self.generation.next();
        self.knowledge = Knowledge::Known;
        self.early = Early::default();
        self.renewing = false;
        self.trouble = None;
        self.stands_in = Some(false);
        self.erasing = Some(Retry::first_try());
        self.unreported.insert(self.generation);
        to.push(Effect::Erase { generation: self.generation, material });
        let error = self.absent();
        self.answer_all(Err(error), to);
    }

    pub(super) fn erased(
        &mut self,
        generation: Generation,
        erased: bool,
        revoked: bool,
        evidence: Evidence,
        to: &mut Vec<Effect>,
    ) {
        let in_force = generation == self.generation;
        match self.erasing {
            Some(retry) if in_force && !erased => {
                self.erasing = Some(retry.again(evidence));
                return;
            }
            Some(_) if in_force => self.erasing = None,
            // A later sign-out, or a sign-in, has taken its place: it is reported and no more.
            _ => {}
        }
        if self.unreported.remove(&generation) && erased {
            self.report_sign_out(revoked, to);
        }
    }

    fn report_sign_out(&self, revoked: bool, to: &mut Vec<Effect>) {
        let credential = self.id.clone();
        to.push(Effect::Emit(EventKind::SignedOut { credential, revoked }));
    }

    /// Does whatever is due.
    pub(super) fn tick(&mut self, evidence: Evidence, to: &mut Vec<Effect>) {
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
