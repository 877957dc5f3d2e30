//! When the secrets of applications were last used. Known at once in memory, and made durable so seldom that
//! no answer waits for it: with the first use, and then with one in ten minutes.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use dashmap::DashMap;

use crate::clock::Moment;
use crate::server::application::{ApplicationId, StoredSecret};

/// How much earlier the vault may say that a secret was last used.
const RESOLUTION: Duration = Duration::from_mins(10);

/// How long after a failure the next use is written.
const PATIENCE: Duration = Duration::from_mins(1);

/// The last uses, by the hash of the secret.
#[derive(Debug, Default)]
pub(crate) struct Uses {
    known: DashMap<[u8; 32], Use>,
    /// Those that wait to be written.
    to_write: Mutex<BTreeMap<[u8; 32], (ApplicationId, SystemTime)>>,
    /// Whether the issuer was told and has not looked yet.
    told: AtomicBool,
}

#[derive(Debug)]
struct Use {
    last: SystemTime,
    /// From when on a use is to be written, by the monotonic clock.
    due: Duration,
}

impl Uses {
    /// Notes a use of a secret, which is as it was published. Answers whether the issuer is to be told that
    /// there is something to write.
    pub(super) fn note(&self, of: &ApplicationId, secret: &StoredSecret, now: Moment) -> bool {
        let mut known = self.known.entry(secret.hash).or_insert_with(|| {
            let written = secret.used.map(|used| between(used, now.wall));
            let wait = written.map_or(Duration::ZERO, |ago| RESOLUTION.saturating_sub(ago));
            Use { last: now.wall, due: now.monotonic + wait }
        });
        known.last = now.wall;
        if now.monotonic < known.due {
            return false;
        }
        known.due = now.monotonic + RESOLUTION;
        drop(known);
        self.to_write().insert(secret.hash, (of.clone(), now.wall));
        !self.told.swap(true, Ordering::AcqRel)
    }

    /// Takes one that is to be written.
    pub(super) fn next_to_write(&self) -> Option<([u8; 32], ApplicationId, SystemTime)> {
        self.told.store(false, Ordering::Release);
        let (hash, (of, used)) = self.to_write().pop_first()?;
        Some((hash, of, used))
    }

    /// A use was not written: another one is to be, before long.
    pub(super) fn unwritten(&self, hash: &[u8; 32], now: Moment) {
        if let Some(mut known) = self.known.get_mut(hash) {
            known.due = now.monotonic + PATIENCE;
        }
    }

    /// When `secret` was last used; none: never.
    pub(super) fn last(&self, secret: &StoredSecret) -> Option<SystemTime> {
        self.known.get(&secret.hash).map(|known| known.last).or(secret.used)
    }

    /// Forgets all secrets but these.
    pub(super) fn keep(&self, secrets: &HashSet<[u8; 32]>) {
        self.known.retain(|hash, _| secrets.contains(hash));
        self.to_write().retain(|hash, _| secrets.contains(hash));
    }

    fn to_write(&self) -> MutexGuard<'_, BTreeMap<[u8; 32], (ApplicationId, SystemTime)>> {
        // Nothing between two changes can panic, so a poisoned one is whole.
        self.to_write.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Notes a use, and says whether it is to be written.
    fn is_written(uses: &Uses, secret: &StoredSecret, seconds: u64) -> bool {
        let application = "app_one".parse().expect("an id");
        let told = uses.note(&application, secret, at(seconds));
        let next = uses.next_to_write();
        assert_eq!(told, next.is_some());
        assert!(next.is_none_or(|next| next == ([1; 32], application, at(seconds).wall)));
        told
    }

    #[test]
    fn the_first_use_is_written_and_then_one_in_ten_minutes() {
        let uses = Uses::default();
        let written =
            [0, 1, 599, 600, 601, 1_199, 1_200].map(|now| is_written(&uses, &secret(None), now));
        assert_eq!(written, [true, false, false, true, false, false, true]);
        assert_eq!(uses.last(&secret(None)), Some(at(1_200).wall), "to the second, in memory");
    }

    #[test]
    fn a_use_that_was_written_before_a_restart_counts_whatever_the_clock_did() {
        for (written, is_due) in
            [(1_000, false), (401, false), (400, true), (1_599, false), (1_600, true)]
        {
            let is_written = is_written(&Uses::default(), &secret(Some(written)), 1_000);
            assert_eq!(is_written, is_due, "{written}");
        }
    }

    #[test]
    fn what_could_not_be_written_is_written_with_a_use_a_minute_later() {
        let uses = Uses::default();
        assert!(is_written(&uses, &secret(None), 0));
        uses.unwritten(&[1; 32], at(1));
        assert_eq!(
            [60, 61, 62].map(|now| is_written(&uses, &secret(None), now)),
            [false, true, false]
        );
    }

    #[test]
    fn the_issuer_is_told_once_of_many_uses_and_a_secret_waits_once() {
        let (uses, application) = (Uses::default(), "app_one".parse().expect("an id"));
        let other = StoredSecret { hash: [2; 32], ..secret(None) };
        let told = [(&other, 0), (&secret(None), 0), (&other, 600)]
            .map(|(secret, now)| uses.note(&application, secret, at(now)));
        assert_eq!(told, [true, false, false]);
        let waiting = [uses.next_to_write(), uses.next_to_write(), uses.next_to_write()];
        let times = waiting.map(|next| next.map(|(_, _, used)| used));
        assert_eq!(times, [Some(at(0).wall), Some(at(600).wall), None]);
        assert!(uses.note(&application, &other, at(1_200)), "it has looked");
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let uses = Uses::default();
        uses.note(&"app_one".parse().expect("an id"), &secret(None), at(5));
        uses.keep(&HashSet::from([[1; 32]]));
        assert_eq!(uses.last(&secret(None)), Some(at(5).wall));
        uses.keep(&HashSet::new());
        assert_eq!((uses.last(&secret(None)), uses.next_to_write()), (None, None));
    }
}
