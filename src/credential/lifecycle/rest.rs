//! When the actor of a credential may end for a while, and how the next one goes on from there. It
//! may, when the one that comes after it will know and show exactly the same.

use std::mem::discriminant;
use std::time::Duration;

use super::held::Knowledge;
use super::{Event, Evidence, Lifecycle, Loaded};
use crate::clock::Moment;
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
        let is_due = self.next_deadline(now).is_some_and(|next| now.until(next) < as_long_as);
        matches!(self.knowledge, Knowledge::Known)
            && !(has_begun || is_unsaved || is_tried_again || is_due)
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
            && discriminant(&next.usable(now)) == discriminant(&self.usable(now))
            && next.reason() == self.reason()
            && next.stands_in() == self.stands_in()
            && next.is_at_rest(now, Duration::ZERO)
    }
}
