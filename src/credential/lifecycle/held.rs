//! The facts that the lifecycle keeps: the material in force, what is tried again, and whether the
//! vault has been heard.

use std::sync::Arc;
use std::time::Duration;

use super::Evidence;
use crate::clock::Moment;
use crate::credential::material::Material;
use crate::credential::schedule::{Backoff, Plan};
use crate::identity::Generation;

/// Material in force, and what is known about it.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) material: Arc<Material>,
    pub(super) plan: Plan,
    /// Refused by a resource, or invalidated by its holder.
    pub(super) refused: bool,
    /// What was refused before.
    pub(super) before: Before,
    /// Its refresh token may be spent: a rotation's outcome is unknown.
    pub(super) in_doubt: bool,
    /// Not durable yet: the failed attempts, and the next one.
    pub(super) unsaved: Option<Retry>,
}

/// What was refused before it came to the material in force as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    /// Nothing.
    Nothing,
    /// The generation before it, because of which it was made.
    TheFormer,
    /// It as well, too soon after that to be renewed for it: it is used on.
    Both,
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

/// A rejection of material younger than this, that was itself made because of a rejection, is not
/// answered by another renewal: the resource refuses for another reason.
pub(super) const REJECTED_TWICE_WITHIN: Duration = Duration::from_secs(30);

impl Held {
    /// Until when it is used whoever refuses it; none when a refusal leads to a renewal.
    pub(super) fn kept_until(&self, now: Moment) -> Option<Moment> {
        let end = self.material.obtained.after(REJECTED_TWICE_WITHIN);
        (self.before != Before::Nothing && !now.has_passed(end)).then_some(end)
    }

    pub(super) fn is_usable(&self, now: Moment) -> bool {
        !self.refused && self.plan.unusable_at.is_none_or(|end| !now.has_passed(end))
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
