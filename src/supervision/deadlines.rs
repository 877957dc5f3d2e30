//! The delay queue of the timekeeper, without time or threads: deadlines ordered by both clocks.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, SystemTime};

use crate::clock::Moment;

/// Whose deadline it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key(pub(super) u64);

/// At most one deadline per key, each due when either clock reaches it.
#[derive(Debug)]
pub(super) struct Deadlines<T> {
    entries: HashMap<Key, (Moment, T)>,
    by_monotonic: BTreeSet<(Duration, Key)>,
    by_wall: BTreeSet<(SystemTime, Key)>,
}

impl<T> Default for Deadlines<T> {
    fn default() -> Self {
        Self { entries: HashMap::new(), by_monotonic: BTreeSet::new(), by_wall: BTreeSet::new() }
    }
}

impl<T> Deadlines<T> {
    /// Sets the key's deadline in place of the one it may have.
    pub(super) fn set(&mut self, key: Key, at: Moment, what: T) {
        self.clear(key);
        self.by_monotonic.insert((at.monotonic, key));
        self.by_wall.insert((at.wall, key));
        self.entries.insert(key, (at, what));
    }

    /// The key's deadline.
    pub(super) fn get(&self, key: Key) -> Option<Moment> {
        self.entries.get(&key).map(|(at, _)| *at)
    }

    /// Removes the key's deadline and returns what hung on it.
    pub(super) fn clear(&mut self, key: Key) -> Option<T> {
        let (at, what) = self.entries.remove(&key)?;
        self.by_monotonic.remove(&(at.monotonic, key));
        self.by_wall.remove(&(at.wall, key));
        Some(what)
    }

    /// Takes one deadline that has passed, those by the monotonic clock first: whose it is, when it
    /// was, and what hung on it.
    pub(super) fn pop_due(&mut self, now: Moment) -> Option<(Key, Moment, T)> {
        let by_monotonic = self.by_monotonic.first().filter(|(at, _)| *at <= now.monotonic);
        let by_wall = self.by_wall.first().filter(|(at, _)| *at <= now.wall);
        let key = by_monotonic.map(|(_, key)| *key).or(by_wall.map(|(_, key)| *key))?;
        let at = self.entries.get(&key)?.0;
        Some((key, at, self.clear(key)?))
    }

    /// How long until the next deadline passes if neither clock is disturbed; none when there is
    /// no deadline.
    pub(super) fn next_in(&self, now: Moment) -> Option<Duration> {
        let (monotonic, _) = self.by_monotonic.first()?;
        let (wall, _) = self.by_wall.first()?;
        Some(now.until(Moment { wall: *wall, monotonic: *monotonic }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Change {
        Set(u64, u64, u64),
        Clear(u64),
        Advance(u64),
        Suspend(u64),
        StepBack(u64),
    }

    fn any_change() -> impl Strategy<Value = Change> {
        prop_oneof![
            4 => (0_u64..8, 0_u64..1_000, 0_u64..1_000).prop_map(|(k, m, w)| Change::Set(k, m, w)),
            1 => (0_u64..8).prop_map(Change::Clear),
            3 => (0_u64..300).prop_map(Change::Advance),
            1 => (0_u64..300).prop_map(Change::Suspend),
            1 => (0_u64..300).prop_map(Change::StepBack),
        ]
    }

    fn moment(monotonic: u64, wall: u64) -> Moment {
        Moment {
            wall: SystemTime::UNIX_EPOCH + Duration::from_secs(wall),
            monotonic: Duration::from_secs(monotonic),
        }
    }

    proptest! {
        /// Against the plainest model: a list of deadlines, searched from end to end.
        #[test]
        fn what_is_due_is_what_a_plain_list_says(changes in proptest::collection::vec(any_change(), 1..80)) {
            let mut queue = Deadlines::default();
            let mut model: HashMap<u64, Moment> = HashMap::new();
            let (mut monotonic, mut wall) = (0, 10_000);
            for change in changes {
                match change {
                    Change::Set(key, m, w) => {
                        let at = moment(monotonic + m, wall + w);
                        queue.set(Key(key), at, key);
                        model.insert(key, at);
                    }
                    Change::Clear(key) => {
                        let had = model.remove(&key).map(|_| key);
                        prop_assert_eq!(queue.clear(Key(key)), had);
                    }
                    Change::Advance(by) => { monotonic += by; wall += by; }
                    Change::Suspend(by) => wall += by,
                    Change::StepBack(by) => wall -= by,
                }
                let now = moment(monotonic, wall);
                let mut due: Vec<u64> = std::iter::from_fn(|| queue.pop_due(now))
                    .map(|(_, _, key)| key)
                    .collect();
                let mut expected: Vec<u64> = model
                    .iter()
                    .filter(|(_, at)| now.has_passed(**at))
                    .map(|(key, _)| *key)
                    .collect();
                due.sort_unstable();
                expected.sort_unstable();
                prop_assert_eq!(due, expected);
                model.retain(|_, at| !now.has_passed(*at));
                let next = model.values().map(|at| now.until(*at)).min();
                prop_assert_eq!(queue.next_in(now), next);
            }
        }
    }

    #[test]
    fn a_deadline_is_due_once() {
        let mut queue = Deadlines::default();
        queue.set(Key(1), moment(10, 10), "one");
        assert_eq!(queue.pop_due(moment(9, 9)), None);
        assert_eq!(queue.pop_due(moment(0, 10)), Some((Key(1), moment(10, 10), "one")));
        assert_eq!(queue.pop_due(moment(99, 99)), None);
        assert_eq!(queue.next_in(moment(99, 99)), None);
    }
}
