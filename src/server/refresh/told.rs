//! What the audit trail is told of the rotations of a family. A client rotates as often as it likes, and must
//! not fill the disk by it: so the family counts its rotations, and the trail has the counts.

use std::time::{Duration, SystemTime};

use super::family::Family;
use crate::server::application::ApplicationId;
use crate::vault::audit::{AuditEntry, AuditKind};

/// How often the trail is told of one family.
const TOLD_EVERY: Duration = Duration::from_mins(1);

/// The rotations of a family, as far as the trail is concerned. They stand in its record, so that each is
/// counted when it is durable, and only then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Told {
    /// How many the trail has not been told of.
    pub(super) untold: u64,
    /// When it was told last.
    pub(super) last: Option<SystemTime>,
}

impl Told {
    /// Counts one more.
    pub(super) fn rotated(&mut self) {
        self.untold = self.untold.saturating_add(1);
    }

    /// Takes what the trail is to be told at `now`: nothing within a minute of the last time.
    fn due(&mut self, now: SystemTime) -> Option<u64> {
        let is_told = |last| now.duration_since(last).is_ok_and(|since| since < TOLD_EVERY);
        if self.untold == 0 || self.last.is_some_and(is_told) {
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

impl Family {
    /// The entry that belongs to the rotation which led to this state, if it is time for one. It is to be
    /// durable with that state.
    pub(super) fn tell(&mut self, now: SystemTime) -> Option<AuditEntry> {
        let times = self.told.due(now)?;
        Some(rotations(&self.application, times))
    }

    /// The entry that belongs to the end of the family, if there is anything that the trail was not told of.
    pub(crate) fn last_words(&self) -> Option<AuditEntry> {
        let times = self.told.untold;
        (times > 0).then(|| rotations(&self.application, times))
    }
}

fn rotations(application: &ApplicationId, times: u64) -> AuditEntry {
    entry(AuditKind::Refreshed, application).times(times)
}

/// An entry about families of an application.
pub(super) fn entry(kind: AuditKind, application: &ApplicationId) -> AuditEntry {
    AuditEntry::new(kind).user(&application.owner()).origin("token-issuer")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_rotation_is_told_once_and_a_minute_has_one_entry(
            pauses in prop::collection::vec(0_u64..50, 1..200),
        ) {
            let (mut told, mut now, mut total, mut times) = (Told::default(), 0, 0, Vec::new());
            for pause in &pauses {
                now += pause;
                told.rotated();
                if let Some(some) = told.due(SystemTime::UNIX_EPOCH + Duration::from_secs(now)) {
                    total += some;
                    times.push(now);
                }
            }
            prop_assert_eq!(total + told.untold, pauses.len() as u64);
            prop_assert_eq!(times[0], pauses[0], "the first at once");
            prop_assert!(times.windows(2).all(|two| two[1] - two[0] >= 60));
        }
    }

    #[test]
    fn a_clock_that_was_set_back_keeps_nothing_from_being_told() {
        let mut told = Told { untold: 3, last: Some(SystemTime::UNIX_EPOCH + TOLD_EVERY) };
        assert_eq!(told.due(SystemTime::UNIX_EPOCH), Some(3));
    }
}
