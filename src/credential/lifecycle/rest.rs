//! When the actor of a credential may end for a while, and how the next one goes on from there. It
//! may, when the one that comes after it will know and show exactly the same.

use std::time::Duration;

use super::held::{Knowledge, REJECTED_TWICE_WITHIN};
use super::{Event, Evidence, Lifecycle, Loaded};
use crate::clock::Moment;
use crate::credential::schedule::Usable;
use crate::event::CredentialState;
use crate::identity::Generation;

impl Lifecycle {
    /// Goes on where an earlier actor of the same credential ended, which had reported `shown` and
    /// seen `generation`.
    #[must_use]
    pub(crate) fn after(mut self, shown: CredentialState, generation: Generation) -> Self {
        self.shown = shown;
        self.generation = self.generation.max(generation);
        self
    }

    /// Whether nothing is under way, and nothing is due for `as_long_as` this.
    pub(crate) fn is_at_rest(&self, now: Moment, as_long_as: Duration) -> bool {
        let is_unsaved = self.is_unsaved();
        let is_tried_again = self.retry_at().is_some();
        let has_begun =
            self.renewing || self.waiting || self.erasing.is_some() || !self.unreported.is_empty();
        // What is asked of tokens that are refused one after another is in no record.
        let was_renewed =
            self.last_renewal.is_some_and(|last| now.since(last) < REJECTED_TWICE_WITHIN);
        let is_due = self.next_deadline(now).is_some_and(|next| now.until(next) < as_long_as);
        matches!(self.knowledge, Knowledge::Known)
            && !(has_begun || was_renewed || is_unsaved || is_tried_again || is_due)
    }

    /// Whether one that is told `loaded` would show the same, and do nothing.
    pub(crate) fn would_come_back(&self, loaded: Loaded, evidence: Evidence) -> bool {
        let next = Self::new(self.id.clone(), self.policy);
        let mut next = next.after(self.shown, self.generation);
        let effects = next.step(Event::Loaded(loaded), evidence);
        let now = evidence.now;
        effects.is_empty()
            && next.state(now) == self.state(now)
            && next.generation() == self.generation()
            && no_longer(next.usable(now), self.usable(now), now)
            && next.reason() == self.reason()
            && next.kept(now) == self.kept(now)
            && next.stands_in() == self.stands_in()
            && next.is_at_rest(now, Duration::ZERO)
    }
}

/// Whether a token that the next actor would serve by `next` is served no longer than by `own`: what a
/// record tells of its age goes by the wall clock, which may have been set back since.
fn no_longer(next: Usable, own: Usable, now: Moment) -> bool {
    /// A record tells milliseconds.
    const ROUNDING: Duration = Duration::from_secs(1);
    match (next, own) {
        (Usable::No, Usable::No) | (Usable::WithoutEnd, Usable::WithoutEnd) => true,
        (Usable::Until(next), Usable::Until(own)) => now.until(next) <= now.until(own) + ROUNDING,
        _ => false,
    }
}
