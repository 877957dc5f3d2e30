//! The retry budget: retries may be a share of the calls, and a few more. In an outage it keeps
//! those who retry from multiplying the load.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Sources;

/// How many retries are allowed.
///
/// ```
/// use tokenward::resilience::{BudgetPolicy, CallPolicy};
///
/// // A retry for every tenth call, and one a second however little is called.
/// let budget = BudgetPolicy { percent: 10, reserve_per_second: 1, ..BudgetPolicy::default() };
/// let policy = CallPolicy { budget, ..CallPolicy::default() };
/// assert!(policy.validate().is_ok());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BudgetPolicy {
    /// Retries as a share of the calls, in percent.
    pub percent: u32,
    /// Retries per second that are allowed whatever the number of calls.
    pub reserve_per_second: u32,
    /// How far back calls and retries count.
    #[serde(with = "crate::config::duration")]
    pub within: Duration,
}

impl Default for BudgetPolicy {
    fn default() -> Self {
        Self { percent: 20, reserve_per_second: 10, within: Duration::from_secs(10) }
    }
}

/// A retry budget that all calls to one upstream share. Clones are the same budget.
///
/// ```
/// use tokenward::clock::Sources;
/// use tokenward::resilience::{Budget, BudgetPolicy};
///
/// let policy = BudgetPolicy { percent: 10, reserve_per_second: 0, ..BudgetPolicy::default() };
/// let budget = Budget::new(policy, Sources::system());
/// assert!(!budget.withdraw(), "nothing was called: there is nothing to make again");
///
/// // Ten calls allow for one retry.
/// (0..10).for_each(|_| budget.deposit());
/// assert!(budget.withdraw());
/// assert!(!budget.withdraw());
/// ```
#[derive(Clone)]
pub struct Budget {
    core: Arc<Mutex<Core>>,
    sources: Sources,
}

impl Budget {
    /// A budget in which nothing was deposited yet.
    pub fn new(policy: BudgetPolicy, sources: Sources) -> Self {
        Self { core: Arc::new(Mutex::new(Core::new(policy))), sources }
    }

    /// Counts a call: its first attempt.
    pub fn deposit(&self) {
        let now = self.sources.monotonic();
        self.core.lock().unwrap_or_else(PoisonError::into_inner).deposit(now);
    }

    /// Takes one retry, if there is one. Looking and taking are one step, so that concurrent
    /// callers can not overdraw it.
    #[must_use = "a retry that was not given must not be made"]
    pub fn withdraw(&self) -> bool {
        let now = self.sources.monotonic();
        self.core.lock().unwrap_or_else(PoisonError::into_inner).withdraw(now)
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget").finish_non_exhaustive()
    }
}

/// How finely a budget forgets.
const STEPS: u32 = 10;

/// What one retry takes, when one call deposits its percentage.
const RETRY: i64 = 100;

#[derive(Debug)]
struct Core {
    /// What was deposited and taken in each step of time, oldest first.
    steps: VecDeque<(u128, i64)>,
    balance: i64,
    deposit: i64,
    step_nanos: u128,
}

impl Core {
    fn new(policy: BudgetPolicy) -> Self {
        let reserve = policy.within.as_secs_f64() * f64::from(policy.reserve_per_second);
        Self {
            steps: VecDeque::new(),
            // Far below the limits of the type: the reserve of a year fits.
            #[allow(
                clippy::cast_possible_truncation,
                reason = "a float is cut to the type's range"
            )]
            balance: (reserve as i64).min(i64::MAX / (4 * RETRY)) * RETRY,
            deposit: i64::from(policy.percent),
            step_nanos: (policy.within.as_nanos() / u128::from(STEPS)).max(1),
        }
    }

    fn deposit(&mut self, now: Duration) {
        self.add(now, self.deposit);
    }

    fn withdraw(&mut self, now: Duration) -> bool {
        self.forget_before(now);
        let enough = self.balance >= RETRY;
        if enough {
            self.add(now, -RETRY);
        }
        enough
    }

    fn add(&mut self, now: Duration, amount: i64) {
        self.forget_before(now);
        let step = now.as_nanos() / self.step_nanos;
        match self.steps.back_mut() {
            Some((newest, sum)) if *newest >= step => *sum += amount,
            _ => self.steps.push_back((step, amount)),
        }
        self.balance += amount;
    }

    fn forget_before(&mut self, now: Duration) {
        let step = now.as_nanos() / self.step_nanos;
        while let Some((oldest, sum)) = self.steps.front()
            && oldest + u128::from(STEPS) <= step
        {
            self.balance -= sum;
            self.steps.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn without_reserve() -> BudgetPolicy {
        BudgetPolicy { reserve_per_second: 0, ..BudgetPolicy::default() }
    }

    /// T-5: a fifth.
    #[test]
    fn five_calls_pay_for_one_retry() {
        let mut core = Core::new(without_reserve());
        for _ in 0..4 {
            core.deposit(Duration::ZERO);
        }
        assert!(!core.withdraw(Duration::ZERO));
        core.deposit(Duration::ZERO);
        assert!(core.withdraw(Duration::ZERO));
        assert!(!core.withdraw(Duration::ZERO));
    }

    #[test]
    fn calls_of_long_ago_pay_for_nothing() {
        let mut core = Core::new(without_reserve());
        for _ in 0..50 {
            core.deposit(Duration::ZERO);
        }
        assert!(!core.withdraw(Duration::from_secs(10)));
    }

    /// T-5: the reserve.
    #[test]
    fn the_reserve_gives_ten_retries_a_second() {
        let mut core = Core::new(BudgetPolicy::default());
        let mut given = 0;
        for tenth in 0..1_000_u64 {
            given += u32::from(core.withdraw(Duration::from_millis(tenth * 100)));
        }
        assert_eq!(given, 1_000, "one each tenth of a second is within it");
        let burst = (0..1_000).filter(|_| core.withdraw(Duration::from_secs(200))).count();
        assert_eq!(burst, 100, "and no more than those of ten seconds at once");
    }

    /// T-5: one atomic step.
    #[test]
    fn threads_can_not_overdraw_it() {
        let budget = Budget::new(without_reserve(), Sources::system());
        for _ in 0..5_000 {
            budget.deposit();
        }
        let given: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| (0..1_000).filter(|_| budget.withdraw()).count()))
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
        });
        assert_eq!(given, 1_000);
    }

    proptest! {
        /// T-5: against a model that remembers every call and every retry.
        #[test]
        fn any_history_equals_the_model(
            acts in prop::collection::vec((0_u64..1_500, any::<bool>()), 1..400),
            percent in 0_u32..200,
            reserve_per_second in 0_u32..5,
        ) {
            let within = Duration::from_secs(10);
            let mut core = Core::new(BudgetPolicy { percent, reserve_per_second, within });
            let (mut now, mut remembered) = (Duration::ZERO, Vec::new());
            for (millis, call) in acts {
                now += Duration::from_millis(millis);
                // What counts are the ten seconds that end with the present one.
                let counts = |at: &Duration| at.as_secs() + 10 > now.as_secs();
                let worth = |kind: bool| {
                    remembered.iter().filter(|(at, it)| *it == kind && counts(at)).count()
                };
                let paid = worth(true) * percent as usize + 1_000 * reserve_per_second as usize;
                let is_given = paid >= (worth(false) + 1) * 100;
                if call {
                    core.deposit(now);
                    remembered.push((now, true));
                } else {
                    prop_assert_eq!(core.withdraw(now), is_given, "at {:?}", now);
                    remembered.extend(is_given.then_some((now, false)));
                }
            }
        }

        /// T-5: against any history.
        #[test]
        fn within_any_ten_seconds_retries_are_bounded_by_calls(
            acts in prop::collection::vec((0_u64..500, any::<bool>()), 1..600),
        ) {
            let mut core = Core::new(BudgetPolicy::default());
            let (mut now, mut calls, mut retries) = (Duration::ZERO, Vec::new(), Vec::new());
            for (millis, call) in acts {
                now += Duration::from_millis(millis);
                if call {
                    core.deposit(now);
                    calls.push(now);
                } else if core.withdraw(now) {
                    retries.push(now);
                }
                // The oldest step of the window may be partly older than the window.
                let since = |times: &[Duration], seconds| {
                    let seconds = Duration::from_secs(seconds);
                    times.iter().filter(|at| now.saturating_sub(**at) < seconds).count()
                };
                prop_assert!(since(&retries, 9) * 5 <= since(&calls, 20) + 100 * 5);
            }
        }
    }
}
