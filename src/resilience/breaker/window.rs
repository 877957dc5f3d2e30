//! The calls of the last while, counted in steps of time. What is older is forgotten a step at a
//! time, so the memory is that of the steps, not of the calls.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;

use super::BreakerPolicy;

/// How many calls there were, and how they went.
///
/// [`BreakerStatus`](super::BreakerStatus) tells those that count at the moment.
///
/// ```
/// use tokenward::resilience::{Breaker, BreakerPolicy};
/// # use tokenward::clock::Sources;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let breaker = Breaker::new(BreakerPolicy::default(), Sources::system(), |_| {})?;
/// breaker.admit().expect("closed").succeeded();
/// breaker.admit().expect("closed").failed(None);
/// let counts = breaker.status().counts;
/// assert_eq!((counts.calls, counts.failures), (2, 1));
/// println!("{} of {} were slow", counts.slow, counts.calls);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct Counts {
    /// Calls that ended.
    pub calls: u32,
    /// Those that failed.
    pub failures: u32,
    /// Those that were slow, whether they failed or not.
    pub slow: u32,
}

#[derive(Debug, Clone)]
pub(super) struct Window {
    steps: VecDeque<(u128, Counts)>,
    total: Counts,
    step_nanos: u128,
    most_steps: u128,
    newest_calls: u32,
}

impl Window {
    pub(super) fn new(policy: &BreakerPolicy) -> Self {
        let most_steps = u128::from(policy.buckets.max(1));
        Self {
            steps: VecDeque::new(),
            total: Counts::default(),
            step_nanos: (policy.window.as_nanos() / most_steps).max(1),
            most_steps,
            newest_calls: policy.newest_calls.unwrap_or(u32::MAX),
        }
    }

    /// Counts a call that ended `now`, and gives what the window holds with it.
    pub(super) fn count(&mut self, now: Duration, failed: bool, slow: bool) -> Counts {
        self.forget_before(now);
        let step = now.as_nanos() / self.step_nanos;
        let call = Counts { calls: 1, failures: u32::from(failed), slow: u32::from(slow) };
        match self.steps.back_mut() {
            // A caller that read the clock before another one counts in the newer step.
            Some((newest, counts)) if *newest >= step => counts.add(call),
            _ => self.steps.push_back((step, call)),
        }
        self.total.add(call);
        while let Some((_, oldest)) = self.steps.front()
            && self.total.calls - oldest.calls >= self.newest_calls
        {
            self.drop_oldest();
        }
        self.total
    }

    /// Counts a call as failed that was counted as a success, and gives what the window holds.
    pub(super) fn turn_to_failure(&mut self, now: Duration) -> Counts {
        self.forget_before(now);
        match self.steps.back_mut() {
            Some((_, counts)) if counts.failures < counts.calls => {
                counts.failures += 1;
                self.total.failures += 1;
                self.total
            }
            // It was forgotten, but that it broke is news.
            _ => self.count(now, true, false),
        }
    }

    /// What the window holds.
    pub(super) fn counts(&mut self, now: Duration) -> Counts {
        self.forget_before(now);
        self.total
    }

    fn forget_before(&mut self, now: Duration) {
        let step = now.as_nanos() / self.step_nanos;
        while self.steps.front().is_some_and(|(oldest, _)| oldest + self.most_steps <= step) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some((_, counts)) = self.steps.pop_front() {
            self.total.calls -= counts.calls;
            self.total.failures -= counts.failures;
            self.total.slow -= counts.slow;
        }
    }
}

impl Counts {
    /// Whether at least `percent` of the calls are among `some` of them, in whole numbers.
    pub(super) fn reach(self, some: u32, percent: u8) -> bool {
        u64::from(some) * 100 >= u64::from(self.calls) * u64::from(percent)
    }

    fn add(&mut self, more: Self) {
        self.calls += more.calls;
        self.failures += more.failures;
        self.slow += more.slow;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn window(newest_calls: Option<u32>) -> Window {
        Window::new(&BreakerPolicy { newest_calls, ..BreakerPolicy::default() })
    }

    fn second(at: u64) -> Duration {
        Duration::from_secs(at)
    }

    #[test]
    fn a_call_counts_for_the_length_of_the_window() {
        let mut window = window(None);
        window.count(second(0), true, false);
        assert_eq!(window.counts(second(29)).calls, 1);
        assert_eq!(window.counts(second(30)), Counts::default());
    }

    #[test]
    fn the_oldest_steps_are_forgotten_where_enough_newer_calls_count() {
        let mut window = window(Some(10));
        for _ in 0..10 {
            window.count(second(0), true, false);
        }
        for _ in 0..9 {
            assert_eq!(window.count(second(6), false, false).failures, 10);
        }
        assert_eq!(
            window.count(second(6), false, false),
            Counts { calls: 10, failures: 0, slow: 0 }
        );
    }

    proptest! {
        #[test]
        fn the_total_is_that_of_the_steps_and_the_steps_are_few(
            calls in prop::collection::vec((0_u64..5_000, any::<bool>(), any::<bool>()), 1..500),
        ) {
            let mut window = window(None);
            let mut now = Duration::ZERO;
            for (millis, failed, slow) in calls {
                now += Duration::from_millis(millis);
                let total = window.count(now, failed, slow);
                let mut sum = Counts::default();
                window.steps.iter().for_each(|(_, counts)| sum.add(*counts));
                prop_assert_eq!(total, sum);
                prop_assert!(window.steps.len() <= 10);
            }
        }
    }
}
