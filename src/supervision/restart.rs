//! When a dead child is started again, as a pure function of its exits and the time. The
//! supervisor carries out what a [`RestartLedger`] decides; there is one ledger per child.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::{Moment, share};

/// Which exits of a child are followed by a restart.
///
/// ```
/// use tokenward::clock::Sources;
/// use tokenward::supervision::{Decision, Exit, Restart, RestartLedger, RestartPolicy};
///
/// let now = Sources::system().now();
/// let policy = RestartPolicy::default();
/// // Started again after a fault only: one that is done is done.
/// let mut task = RestartLedger::new(Restart::Transient, policy, false);
/// assert_eq!(task.on_exit(Exit::Fault, now, 0), Decision::Restart);
/// assert_eq!(task.on_exit(Exit::Normal, now, 0), Decision::Forget);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Restart {
    /// Every exit.
    #[default]
    Permanent,
    /// Only a fault: a panic, an error, a kill. A normal stop ends the child.
    Transient,
    /// No exit.
    Temporary,
}

/// How often and how fast a child is restarted. Data; [`Default`] is the one place of defaults.
///
/// [`ChildSpec::policy`](super::ChildSpec::policy) takes it.
///
/// ```
/// use std::time::Duration;
/// use tokenward::supervision::RestartPolicy;
///
/// // Kept down for five minutes when it falls more than three times within one.
/// let policy = RestartPolicy {
///     intensity: 3,
///     quarantine: Duration::from_mins(5),
///     ..RestartPolicy::default()
/// };
/// assert_eq!(policy.within, Duration::from_mins(1));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestartPolicy {
    /// The most restarts within [`RestartPolicy::within`]; the next exit quarantines the child.
    pub intensity: u32,
    /// The window in which restarts are counted, on the monotonic clock: a machine that sleeps
    /// gives a child neither time to run nor time to be forgiven.
    pub within: Duration,
    /// The longest wait before the second restart in the window; the first is immediate. Every
    /// further one may wait twice as long.
    pub backoff: Duration,
    /// The longest wait before any restart.
    pub backoff_limit: Duration,
    /// How long a quarantined child is kept down before it is tried again, at least. Up to a
    /// quarter is added at random, so that children that fell together do not rise together.
    pub quarantine: Duration,
    /// How long a child has to run after a quarantine to count as recovered. An exit before that
    /// quarantines it again.
    pub probation: Duration,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            intensity: 5,
            within: Duration::from_mins(1),
            backoff: Duration::from_millis(100),
            backoff_limit: Duration::from_secs(10),
            quarantine: Duration::from_mins(1),
            probation: Duration::from_secs(10),
        }
    }
}

/// How an incarnation of a child ended.
///
/// [`RestartLedger::on_exit`] takes it.
///
/// ```
/// use tokenward::clock::Sources;
/// use tokenward::supervision::{Decision, Exit, Restart, RestartLedger, RestartPolicy};
///
/// // A transient child is missed when it failed, and not when it was done.
/// let now = Sources::system().now();
/// let mut ledger = RestartLedger::new(Restart::Transient, RestartPolicy::default(), false);
/// assert_eq!(ledger.on_exit(Exit::Fault, now, 0), Decision::Restart);
/// assert_eq!(ledger.on_exit(Exit::Normal, now, 0), Decision::Forget);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Exit {
    /// It stopped because it wanted to.
    Normal,
    /// It panicked, failed, was killed, or did not start.
    Fault,
}

/// What to do about an exit.
///
/// [`RestartLedger::on_exit`] answers with it.
///
/// ```
/// use tokenward::clock::Sources;
/// use tokenward::supervision::{Decision, Exit, Restart, RestartLedger, RestartPolicy};
///
/// let now = Sources::system().now();
/// let policy = RestartPolicy { intensity: 2, ..RestartPolicy::default() };
/// // Nothing works without this child.
/// let mut ledger = RestartLedger::new(Restart::Permanent, policy, true);
/// let mut decide = || ledger.on_exit(Exit::Fault, now, 0);
/// assert_eq!(decide(), Decision::Restart);
/// assert!(matches!(decide(), Decision::RestartAfter(wait) if !wait.is_zero()));
/// assert_eq!(decide(), Decision::Escalate);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decision {
    /// Start it again at once.
    Restart,
    /// Start it again after this long.
    RestartAfter(Duration),
    /// Keep it down for this long, report it, then try it again.
    Quarantine(Duration),
    /// It is over, and no one misses it.
    Forget,
    /// It can not come back, and nothing works without it.
    Escalate,
}

/// The history of one child's restarts, as far as it matters for the next decision.
///
/// ```
/// use tokenward::clock::Sources;
/// use tokenward::supervision::{Decision, Exit, Restart, RestartLedger, RestartPolicy};
///
/// let now = Sources::system().now();
/// let policy = RestartPolicy { intensity: 1, ..RestartPolicy::default() };
/// let mut ledger = RestartLedger::new(Restart::Permanent, policy, false);
/// assert_eq!(ledger.on_exit(Exit::Fault, now, 0), Decision::Restart);
/// // The second fall within the window is one too many.
/// assert!(matches!(ledger.on_exit(Exit::Fault, now, 0), Decision::Quarantine(_)));
/// assert!(ledger.probation().is_some(), "and then it has to run for a while");
/// ```
#[derive(Debug, Clone)]
pub struct RestartLedger {
    restart: Restart,
    policy: RestartPolicy,
    escalates: bool,
    /// When the child was restarted, on the monotonic clock, within the window.
    restarts: VecDeque<Duration>,
    /// Whether the child was quarantined and has not recovered since.
    on_probation: bool,
}

impl RestartLedger {
    /// An empty history. With `escalates`, exhausted restarts escalate instead of quarantining.
    pub fn new(restart: Restart, policy: RestartPolicy, escalates: bool) -> Self {
        Self { restart, policy, escalates, restarts: VecDeque::new(), on_probation: false }
    }

    /// Decides about an exit at `now`. `noise` is a random number for the jitter.
    pub fn on_exit(&mut self, exit: Exit, now: Moment, noise: u64) -> Decision {
        if !self.is_restarted_after(exit) {
            return Decision::Forget;
        }
        self.forget_restarts_before_the_window(now.monotonic);
        if self.on_probation || self.restarts() >= self.policy.intensity {
            return self.give_up_for_now(noise);
        }
        self.restarts.push_back(now.monotonic);
        match self.restarts() {
            1 => Decision::Restart,
            nth => Decision::RestartAfter(self.backoff(nth, noise)),
        }
    }

    /// The child has run through its probation: it starts over with a clean history. Whether it
    /// was on probation at all.
    pub fn on_recovered(&mut self) -> bool {
        self.restarts.clear();
        std::mem::take(&mut self.on_probation)
    }

    /// Restarts within the window, as of the last exit; none while on probation.
    pub fn restarts(&self) -> u32 {
        u32::try_from(self.restarts.len()).unwrap_or(u32::MAX)
    }

    /// How long the child has to run on to count as recovered; none when it was not quarantined.
    pub fn probation(&self) -> Option<Duration> {
        self.on_probation.then_some(self.policy.probation)
    }

    fn is_restarted_after(&self, exit: Exit) -> bool {
        match self.restart {
            Restart::Permanent => true,
            Restart::Transient => exit == Exit::Fault,
            Restart::Temporary => false,
        }
    }

    fn forget_restarts_before_the_window(&mut self, now: Duration) {
        while self.restarts.front().is_some_and(|at| now.saturating_sub(*at) >= self.policy.within)
        {
            self.restarts.pop_front();
        }
    }

    fn give_up_for_now(&mut self, noise: u64) -> Decision {
        if self.escalates {
            return Decision::Escalate;
        }
        self.on_probation = true;
        self.restarts.clear();
        let extra = share(self.policy.quarantine / 4, noise);
        Decision::Quarantine(self.policy.quarantine.saturating_add(extra))
    }

    /// The wait before the `nth` restart in the window, from half of the exponential step to all
    /// of it.
    fn backoff(&self, nth: u32, noise: u64) -> Duration {
        let doublings = nth.saturating_sub(2).min(31);
        let step = self.policy.backoff.saturating_mul(1 << doublings);
        let step = step.min(self.policy.backoff_limit);
        step / 2 + share(step / 2, noise)
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use proptest::prelude::*;

    use super::*;

    fn at(millis: u64) -> Moment {
        let monotonic = Duration::from_millis(millis);
        Moment { wall: SystemTime::UNIX_EPOCH + monotonic, monotonic }
    }

    fn permanent() -> RestartLedger {
        RestartLedger::new(Restart::Permanent, RestartPolicy::default(), false)
    }

    /// Lets a child crash at the given distances and returns when it was started again.
    fn crash_at(ledger: &mut RestartLedger, gaps: &[(u64, u64)]) -> Vec<(u64, Decision)> {
        let mut now = 0;
        let mut decisions = Vec::new();
        for (gap, noise) in gaps {
            now += gap;
            decisions.push((now, ledger.on_exit(Exit::Fault, at(now), *noise)));
        }
        decisions
    }

    #[test]
    fn the_first_restart_is_immediate_and_the_next_ones_back_off() {
        let mut ledger = permanent();
        let decisions = crash_at(&mut ledger, &[(0, u64::MAX); 6]);
        let waits: Vec<_> = decisions.into_iter().map(|(_, decision)| decision).collect();
        assert_eq!(waits[0], Decision::Restart);
        for (decision, longest) in waits[1..5].iter().zip([100, 200, 400, 800]) {
            let Decision::RestartAfter(wait) = decision else { panic!("{decision:?}") };
            assert_eq!(wait.as_millis().next_multiple_of(100), longest);
        }
        assert!(matches!(waits[5], Decision::Quarantine(_)));
    }

    #[test]
    fn a_child_gets_one_try_after_its_quarantine() {
        let mut ledger = permanent();
        crash_at(&mut ledger, &[(0, 0); 6]);
        let later = at(3_600_000);
        assert!(matches!(ledger.on_exit(Exit::Fault, later, 0), Decision::Quarantine(_)));
        assert_eq!(ledger.probation(), Some(Duration::from_secs(10)));
    }

    #[test]
    fn recovery_gives_a_clean_history() {
        let mut ledger = permanent();
        crash_at(&mut ledger, &[(0, 0); 6]);
        assert!(ledger.on_recovered());
        assert_eq!(ledger.probation(), None);
        assert_eq!(ledger.on_exit(Exit::Fault, at(1), 0), Decision::Restart);
        assert!(!ledger.on_recovered(), "it was not quarantined again");
    }

    fn any_restart() -> impl Strategy<Value = Restart> {
        prop_oneof![Just(Restart::Permanent), Just(Restart::Transient), Just(Restart::Temporary)]
    }

    fn any_gaps() -> impl Strategy<Value = Vec<(u64, u64)>> {
        proptest::collection::vec((0_u64..40_000, any::<u64>()), 1..60)
    }

    proptest! {
        #[test]
        fn no_window_sees_more_restarts_than_the_intensity(gaps in any_gaps()) {
            let mut ledger = permanent();
            let policy = RestartPolicy::default();
            let decisions = crash_at(&mut ledger, &gaps);
            let restarts: Vec<u64> = decisions
                .iter()
                .filter(|(_, d)| matches!(d, Decision::Restart | Decision::RestartAfter(_)))
                .map(|(at, _)| *at)
                .collect();
            for window in restarts.windows(policy.intensity as usize + 1) {
                let spread = Duration::from_millis(window[window.len() - 1] - window[0]);
                prop_assert!(spread >= policy.within);
            }
        }

        #[test]
        fn every_wait_keeps_within_its_bounds(gaps in any_gaps()) {
            let policy = RestartPolicy::default();
            for (_, decision) in crash_at(&mut permanent(), &gaps) {
                match decision {
                    Decision::RestartAfter(wait) => {
                        prop_assert!(wait >= policy.backoff / 2 && wait <= policy.backoff_limit);
                    }
                    Decision::Quarantine(wait) => {
                        prop_assert!(wait >= policy.quarantine);
                        prop_assert!(wait <= policy.quarantine + policy.quarantine / 4);
                    }
                    Decision::Restart => {}
                    other => prop_assert!(false, "{other:?}"),
                }
            }
        }

        #[test]
        fn any_policy_and_any_time_is_decided_without_overflow(
            intensity in any::<u32>(),
            durations in any::<[u32; 5]>(),
            gaps in proptest::collection::vec((0_u64..u64::MAX / 100, any::<u64>()), 1..60),
        ) {
            let [within, backoff, limit, quarantine, probation] =
                durations.map(|seconds| Duration::from_secs(u64::from(seconds) << 24));
            let policy = RestartPolicy {
                intensity, within, backoff, backoff_limit: limit, quarantine, probation,
            };
            let mut ledger = RestartLedger::new(Restart::Permanent, policy, false);
            for (_, decision) in crash_at(&mut ledger, &gaps) {
                if let Decision::RestartAfter(wait) = decision {
                    prop_assert!(wait <= limit);
                }
            }
        }

        #[test]
        fn only_a_child_that_escalates_escalates(gaps in any_gaps(), escalates: bool) {
            let policy = RestartPolicy::default();
            let mut ledger = RestartLedger::new(Restart::Permanent, policy, escalates);
            for (_, decision) in crash_at(&mut ledger, &gaps) {
                match decision {
                    Decision::Escalate => prop_assert!(escalates),
                    Decision::Quarantine(_) => prop_assert!(!escalates),
                    _ => {}
                }
            }
        }

        #[test]
        fn a_quiet_window_forgives(gaps in proptest::collection::vec((0_u64..9_000, any::<u64>()), 1..6)) {
            let mut ledger = permanent();
            let decisions = crash_at(&mut ledger, &gaps);
            let last = decisions.last().expect("at least one").0;
            prop_assert_eq!(
                ledger.on_exit(Exit::Fault, at(last + 60_000), 0),
                Decision::Restart
            );
        }

        #[test]
        fn only_the_exits_that_the_kind_names_are_followed_by_a_restart(
            restart in any_restart(), fault: bool, escalates: bool,
        ) {
            let exit = if fault { Exit::Fault } else { Exit::Normal };
            let mut ledger = RestartLedger::new(restart, RestartPolicy::default(), escalates);
            let expected = match (restart, exit) {
                (Restart::Temporary, _) | (Restart::Transient, Exit::Normal) => Decision::Forget,
                _ => Decision::Restart,
            };
            prop_assert_eq!(ledger.on_exit(exit, at(0), 7), expected);
        }
    }
}
