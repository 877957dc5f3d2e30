//! When a device sign-in may ask again (RFC 8628 §3.5), as a plain value: the interval, what made it
//! longer, and the end of the code.

use std::time::Duration;

use crate::clock::Moment;

/// Polls are no closer than this, whatever a provider that is written by hand says of them.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);

/// What a `slow_down` adds to the interval, for good.
const SLOW_DOWN: Duration = Duration::from_secs(5);

/// The longest wait that failures alone lead to.
const LONGEST_BACKOFF: Duration = Duration::from_mins(1);

/// The schedule of one sign-in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Polls {
    interval: Duration,
    /// Polls in a row that got no answer.
    failures: u32,
    next: Moment,
    end: Moment,
}

impl Polls {
    /// The first poll comes one interval from `now`, which is a second at least; none comes at `end`
    /// or after it.
    pub(super) fn new(interval: Duration, now: Moment, end: Moment) -> Self {
        let interval = interval.max(SHORTEST_INTERVAL);
        Self { interval, failures: 0, next: now.after(interval), end }
    }

    /// The user is not done.
    pub(super) fn pending(&mut self, now: Moment) {
        self.failures = 0;
        self.next = now.after(self.interval);
    }

    /// The polls come too fast: the interval is longer from now on, by five seconds, or as the
    /// provider asks if that is more.
    pub(super) fn slow_down(&mut self, asked: Option<Duration>, now: Moment) {
        let longer = self.interval.saturating_add(SLOW_DOWN);
        self.interval = longer.max(asked.unwrap_or_default());
        self.pending(now);
    }

    /// There was no answer, or one that puts off: the next poll comes later each time, and no
    /// sooner than the provider asked for.
    pub(super) fn failed(&mut self, retry_after: Option<Duration>, now: Moment) {
        self.failures = self.failures.saturating_add(1);
        let doubled = self.interval.saturating_mul(1 << self.failures.min(16));
        let wait = doubled.min(LONGEST_BACKOFF.max(self.interval));
        self.next = now.after(wait.max(retry_after.unwrap_or_default()));
    }

    /// What has passed between two polls at least.
    pub(super) fn interval(&self) -> Duration {
        self.interval
    }

    /// When there is something to do: the next poll, or the end when that comes first.
    pub(super) fn next(&self) -> Moment {
        Moment {
            wall: self.next.wall.min(self.end.wall),
            monotonic: self.next.monotonic.min(self.end.monotonic),
        }
    }

    pub(super) fn is_due(&self, now: Moment) -> bool {
        now.has_passed(self.next)
    }

    pub(super) fn is_over(&self, now: Moment) -> bool {
        now.has_passed(self.end)
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> Moment {
        let start = Moment { wall: SystemTime::UNIX_EPOCH, monotonic: Duration::ZERO };
        start.after(Duration::from_secs(seconds))
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// C-DEV-3: the first poll comes only after one interval.
    #[test]
    fn the_first_poll_comes_after_one_interval() {
        let polls = Polls::new(seconds(5), at(100), at(1_000));
        assert_eq!(polls.next(), at(105));
        assert!(!polls.is_due(at(104)));
        assert!(polls.is_due(at(105)));
    }

    /// C-DEV-2: `slow_down` is five seconds more for good; a longer interval that it names counts.
    #[test]
    fn a_slow_down_is_for_good() {
        let mut polls = Polls::new(seconds(5), at(0), at(1_000));
        polls.slow_down(None, at(5));
        assert_eq!(polls.next(), at(15));
        polls.pending(at(15));
        assert_eq!(polls.next(), at(25));
        polls.slow_down(Some(seconds(30)), at(25));
        assert_eq!(polls.next(), at(55));
        polls.slow_down(Some(seconds(1)), at(55));
        assert_eq!(polls.interval(), seconds(35), "never less than five seconds more");
    }

    /// C-DEV-2: connection time-outs back off exponentially.
    #[test]
    fn failures_back_off_and_an_answer_ends_that() {
        let mut polls = Polls::new(seconds(5), at(0), at(10_000));
        let mut waits = Vec::new();
        for _ in 0..6 {
            polls.failed(None, at(0));
            waits.push(polls.next().monotonic.as_secs());
        }
        assert_eq!(waits, [10, 20, 40, 60, 60, 60]);
        polls.failed(Some(seconds(90)), at(0));
        assert_eq!(polls.next(), at(90));
        polls.pending(at(100));
        assert_eq!(polls.next(), at(105));
    }

    /// C-DEV-2: it stops at `expires_in`.
    #[test]
    fn there_is_something_to_do_at_the_end_too() {
        let mut polls = Polls::new(seconds(50), at(0), at(60));
        polls.pending(at(50));
        assert_eq!(polls.next(), at(60));
        assert!(polls.is_over(at(60)) && !polls.is_over(at(59)));
    }

    #[derive(Debug, Clone)]
    enum Answer {
        Pending,
        SlowDown(Option<u64>),
        Failed(Option<u64>),
    }

    fn answers() -> impl Strategy<Value = Vec<(Answer, u64)>> {
        let asked = || prop::option::of(prop_oneof![0_u64..120, Just(u64::MAX)]);
        let answer = prop_oneof![
            Just(Answer::Pending),
            asked().prop_map(Answer::SlowDown),
            asked().prop_map(Answer::Failed),
        ];
        prop::collection::vec((answer, 0_u64..40), 0..60)
    }

    proptest! {
        /// C-DEV-2, whatever is answered and however long each answer takes.
        #[test]
        fn two_polls_are_never_closer_than_the_interval_and_it_never_shrinks(
            interval in 0_u64..3_600, answers in answers(),
        ) {
            let mut polls = Polls::new(seconds(interval), at(0), at(1_000_000));
            let mut now = at(0);
            let mut failures = 0;
            for (answer, took) in answers {
                let before = polls.interval();
                now = now.after(seconds(took));
                let (least, asked) = match answer {
                    Answer::Pending => {
                        polls.pending(now);
                        (before, None)
                    }
                    Answer::SlowDown(asked) => {
                        polls.slow_down(asked.map(seconds), now);
                        (before.saturating_add(SLOW_DOWN), asked)
                    }
                    Answer::Failed(asked) => {
                        polls.failed(asked.map(seconds), now);
                        (before, asked)
                    }
                };
                failures = if matches!(answer, Answer::Failed(_)) { failures + 1 } else { 0 };
                prop_assert_eq!(polls.failures, failures);
                prop_assert!(polls.interval() >= before.max(SHORTEST_INTERVAL));
                let next = polls.next;
                prop_assert!(next.monotonic >= now.after(least).monotonic);
                prop_assert!(next.monotonic >= now.after(seconds(asked.unwrap_or(0))).monotonic);
                prop_assert!(polls.next().monotonic <= at(1_000_000).monotonic);
                now = polls.next();
            }
        }
    }
}
