//! When the secrets of applications were last used. Known at once in memory, and made durable so seldom that
//! no answer waits for it: with the first use, and then with one in ten minutes.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use dashmap::DashMap;

use crate::clock::Moment;
use crate::server::application::StoredSecret;

/// How much earlier the vault may say that a secret was last used.
const RESOLUTION: Duration = Duration::from_mins(10);

/// How long after a failure the next use is written.
const PATIENCE: Duration = Duration::from_mins(1);

/// The last uses, by the hash of the secret.
#[derive(Debug, Default)]
pub(crate) struct Uses(DashMap<[u8; 32], Use>);

#[derive(Debug)]
struct Use {
    last: SystemTime,
    /// From when on a use is to be written, by the monotonic clock.
    due: Duration,
}

impl Uses {
    /// Notes a use of `secret`, which is as it was published. Answers whether it is to be written.
    pub(super) fn note(&self, secret: &StoredSecret, now: Moment) -> bool {
        let mut known = self.0.entry(secret.hash).or_insert_with(|| {
            let written = secret.used.map(|used| between(used, now.wall));
            let wait = written.map_or(Duration::ZERO, |ago| RESOLUTION.saturating_sub(ago));
            Use { last: now.wall, due: now.monotonic + wait }
        });
        known.last = now.wall;
        let is_due = known.due <= now.monotonic;
        if is_due {
            known.due = now.monotonic + RESOLUTION;
        }
        is_due
    }

    /// A use was not written: another one is to be, before long.
    pub(super) fn unwritten(&self, hash: &[u8; 32], now: Moment) {
        if let Some(mut known) = self.0.get_mut(hash) {
            known.due = now.monotonic + PATIENCE;
        }
    }

    /// When `secret` was last used; none: never.
    pub(super) fn last(&self, secret: &StoredSecret) -> Option<SystemTime> {
        self.0.get(&secret.hash).map(|known| known.last).or(secret.used)
    }

    /// Forgets all secrets but these.
    pub(super) fn keep(&self, secrets: &HashSet<[u8; 32]>) {
        self.0.retain(|hash, _| secrets.contains(hash));
    }
}

/// How far two times are apart, whichever is the later one.
fn between(one: SystemTime, other: SystemTime) -> Duration {
    one.duration_since(other).unwrap_or_else(|other_is_later| other_is_later.duration())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        let since = Duration::from_secs(seconds);
        Moment { monotonic: since, wall: SystemTime::UNIX_EPOCH + since }
    }

    fn secret(used: Option<u64>) -> StoredSecret {
        let used = used.map(|seconds| at(seconds).wall);
        StoredSecret { hash: [1; 32], created: at(0).wall, ends: None, used }
    }

    #[test]
    fn the_first_use_is_written_and_then_one_in_ten_minutes() {
        let uses = Uses::default();
        let written =
            [0, 1, 599, 600, 601, 1_199, 1_200].map(|now| uses.note(&secret(None), at(now)));
        assert_eq!(written, [true, false, false, true, false, false, true]);
        assert_eq!(uses.last(&secret(None)), Some(at(1_200).wall), "to the second, in memory");
    }

    #[test]
    fn a_use_that_was_written_before_a_restart_counts_whatever_the_clock_did() {
        for (written, is_due) in
            [(1_000, false), (401, false), (400, true), (1_599, false), (1_600, true)]
        {
            assert_eq!(
                Uses::default().note(&secret(Some(written)), at(1_000)),
                is_due,
                "{written}"
            );
        }
    }

    #[test]
    fn what_could_not_be_written_is_written_with_a_use_a_minute_later() {
        let uses = Uses::default();
        assert!(uses.note(&secret(None), at(0)));
        uses.unwritten(&[1; 32], at(1));
        assert_eq!([60, 61, 62].map(|now| uses.note(&secret(None), at(now))), [false, true, false]);
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let uses = Uses::default();
        uses.note(&secret(None), at(5));
        uses.keep(&HashSet::from([[1; 32]]));
        assert_eq!(uses.last(&secret(None)), Some(at(5).wall));
        uses.keep(&HashSet::new());
        assert_eq!(uses.last(&secret(None)), None);
    }
}
