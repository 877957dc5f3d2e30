//! Rotations that may be durable although nobody got the answer. Whoever presents the same token again is
//! no thief, as far as anybody can know.

use std::time::Duration;

use dashmap::DashMap;

/// For how long it is remembered.
const KEPT: Duration = Duration::from_hours(1);

/// The most that are remembered.
const MOST: usize = 10_000;

/// By family, the token that was presented. Times are of the monotonic clock.
#[derive(Debug, Default)]
pub(super) struct Unanswered(DashMap<String, Mark>);

#[derive(Debug)]
struct Mark {
    presented: [u8; 32],
    since: Duration,
}

impl Unanswered {
    /// Remembers that nobody got an answer to the token with the hash `presented`.
    pub(super) fn remember(&self, family: &str, presented: [u8; 32], now: Duration) {
        if self.0.len() >= MOST {
            self.0.retain(|_, mark| mark.is_kept(now));
        }
        if self.0.len() < MOST || self.0.contains_key(family) {
            self.0.insert(family.to_owned(), Mark { presented, since: now });
        }
    }

    /// Whether that is so.
    pub(super) fn has(&self, family: &str, presented: [u8; 32], now: Duration) -> bool {
        self.0.get(family).is_some_and(|mark| mark.presented == presented && mark.is_kept(now))
    }

    /// Forgets it: somebody got an answer.
    pub(super) fn forget(&self, family: &str) {
        self.0.remove(family);
    }
}

impl Mark {
    fn is_kept(&self, now: Duration) -> bool {
        now.saturating_sub(self.since) < KEPT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_bounded_in_time_and_number() {
        let unanswered = Unanswered::default();
        unanswered.remember("one", [1; 32], Duration::ZERO);
        assert!(unanswered.has("one", [1; 32], KEPT.saturating_sub(Duration::from_secs(1))));
        assert!(!unanswered.has("one", [1; 32], KEPT), "that long ago");
        assert!(!unanswered.has("one", [2; 32], Duration::ZERO), "another token");
        for number in 0..2 * MOST {
            unanswered.remember(&number.to_string(), [1; 32], Duration::ZERO);
        }
        assert_eq!(unanswered.0.len(), MOST);
        unanswered.remember("later", [1; 32], KEPT);
        assert!(unanswered.has("later", [1; 32], KEPT), "there is room when the others are over");
    }
}
