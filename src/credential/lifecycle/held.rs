//! The facts that the lifecycle keeps: the material in force, what is tried again, and whether the
//! vault has been heard.

use std::sync::Arc;
use std::time::Duration;

use super::Evidence;
use crate::clock::Moment;
use crate::credential::material::{Life, Material};
use crate::credential::schedule::{Backoff, Plan};
use crate::identity::Generation;

/// Material in force, and what is known about it.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) material: Arc<Material>,
    pub(super) plan: Plan,
    /// Why it is out of use before it expires; none while it is not.
    pub(super) ended: Option<Ended>,
    /// What happened before.
    pub(super) before: Before,
    /// Its refresh token may be spent: a rotation's outcome is unknown.
    pub(super) in_doubt: bool,
    /// Not durable yet: the failed attempts, and the next one.
    pub(super) unsaved: Option<Retry>,
}

/// Why a token is out of use before it expires. Of two reasons the greater one counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ended {
    /// It was invalidated by its holder, or is of another client than the settings name.
    GivenUp,
    /// A resource refused it.
    Refused,
}

/// That a token is used although a resource refused it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kept {
    /// Until then it is not renewed for a refusal.
    pub(crate) until: Moment,
    /// Why the token was out of use whose place it took shortly before.
    pub(crate) former: Ended,
}

/// What happened before it came to the material in force as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    /// Nothing of that kind.
    Nothing,
    /// The generation before it ended so, because of which it was made.
    Ended(Ended),
    /// A resource then refused it, too, and too soon for it to be renewed for that: it is used on.
    AndRefused(Ended),
}

/// Something that is tried again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Retry {
    pub(super) attempts: u32,
    pub(super) at: Moment,
    pub(super) under_way: bool,
}

/// Whether the vault has been heard.
#[derive(Debug, Clone)]
pub(super) enum Knowledge {
    Asked,
    Refused { reason: String, lasting: bool, retry: Retry },
    Known,
}

/// What was asked of material that the vault had not answered with yet.
#[derive(Debug, Default)]
pub(super) struct Early {
    /// Somebody waits for a renewal.
    pub(super) renew: bool,
    /// Its holder gave it up.
    pub(super) invalidated: bool,
    /// A resource refused this generation.
    pub(super) refused: Option<Generation>,
}

/// A rejection of material younger than this, that was itself made because of a rejection or because
/// the one before it was given up, is not answered by another renewal: the resource refuses for
/// another reason.
pub(super) const REJECTED_TWICE_WITHIN: Duration = Duration::from_secs(30);

impl Early {
    /// Why this material, which the vault answered with, is out of use already.
    pub(super) fn end_of(&self, material: &Material) -> Option<Ended> {
        if material.life == Life::Unlimited {
            return None;
        }
        let refused = self.refused == Some(material.generation);
        let given_up = self.invalidated.then_some(Ended::GivenUp);
        given_up.max(refused.then_some(Ended::Refused))
    }
}

impl Held {
    /// Until when it is used whoever refuses it; none when a refusal leads to a renewal.
    pub(super) fn kept_until(&self, now: Moment) -> Option<Moment> {
        let end = self.material.obtained.after(REJECTED_TWICE_WITHIN);
        (self.before != Before::Nothing && !now.has_passed(end)).then_some(end)
    }

    /// A resource refused it while it is kept.
    pub(super) fn note_refusal(&mut self) {
        if let Before::Ended(former) = self.before {
            self.before = Before::AndRefused(former);
        }
    }

    /// It is out of use from now on.
    pub(super) fn end(&mut self, why: Ended) {
        self.ended = self.ended.max(Some(why));
    }

    pub(super) fn is_usable(&self, now: Moment) -> bool {
        self.ended.is_none() && self.plan.unusable_at.is_none_or(|end| !now.has_passed(end))
    }
}

impl Retry {
    pub(super) fn after(backoff: Backoff, attempts: u32, evidence: Evidence) -> Self {
        let wait = backoff.wait(attempts, None, evidence.noise);
        Self { attempts, at: evidence.now.after(wait), under_way: false }
    }

    /// After another attempt failed, with the longer waits that follow.
    pub(super) fn again(self, evidence: Evidence) -> Self {
        Self::after(Backoff::VAULT, self.attempts.saturating_add(1), evidence)
    }

    pub(super) fn first_try() -> Self {
        let at = Moment { wall: std::time::UNIX_EPOCH, monotonic: Duration::ZERO };
        Self { attempts: 0, at, under_way: true }
    }

    pub(super) fn due(&self) -> Option<Moment> {
        (!self.under_way).then_some(self.at)
    }

    pub(super) fn start_if_due(&mut self, now: Moment) -> bool {
        let start = !self.under_way && now.has_passed(self.at);
        self.under_way |= start;
        start
    }
}
