//! A breaker as a plain function of calls, their outcomes and the time. Every change of state has
//! a generation of its own; an outcome of an older one changes nothing.

use std::time::Duration;

use super::window::Window;
use super::{BreakerPolicy, Change, Counts, Reason, State};
use crate::clock::share;

/// While probes are under way nobody knows how long they take. They may tell in a moment.
const PROBING: Duration = Duration::from_secs(1);

/// How a call ended, as far as it says something about the upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The upstream answered and was able to do its work.
    Success,
    /// It did not, and may have said for how long.
    Failure { retry_after: Option<Duration> },
}

/// The core of one breaker. Times are on the monotonic clock.
#[derive(Debug, Clone)]
pub(super) struct Core {
    policy: BreakerPolicy,
    phase: Phase,
    generation: u64,
    /// How often probes failed since the breaker was closed.
    reopened: u32,
    /// Outcomes that came after their generation was over.
    late: u64,
}

#[derive(Debug, Clone)]
enum Phase {
    Closed(Window),
    Open {
        until: Duration,
    },
    /// `admitted` counts the probes that are under way and those that succeeded.
    HalfOpen {
        waiting: Waiting,
        admitted: u32,
        succeeded: u32,
    },
    ForcedOpen,
    Disabled,
}

/// How long answers to probes have been waited for since the last success. A time in which no probe is
/// under way is no waiting: nobody asked.
#[derive(Debug, Clone, Copy, Default)]
struct Waiting {
    /// The waits that are over, without an answer.
    before: Duration,
    /// Since when a probe is under way.
    since: Option<Duration>,
}

impl Waiting {
    fn begin(&mut self, now: Duration) {
        self.since.get_or_insert(now);
    }

    fn pause(&mut self, now: Duration) {
        self.before = self.so_far(now);
        self.since = None;
    }

    fn so_far(&self, now: Duration) -> Duration {
        let under_way = self.since.map_or(Duration::ZERO, |since| now.saturating_sub(since));
        self.before.saturating_add(under_way)
    }
}

impl Core {
    pub(super) fn new(policy: BreakerPolicy) -> Self {
        let phase = Phase::Closed(Window::new(&policy));
        Self { policy, phase, generation: 0, reopened: 0, late: 0 }
    }

    /// One by the same policy that nothing has happened to yet.
    pub(super) fn anew(&self) -> Self {
        Self::new(self.policy)
    }

    /// Whether a call may go out: the generation to settle it with, or how long to wait, where
    /// that is known.
    pub(super) fn admit(
        &mut self,
        now: Duration,
        noise: impl FnOnce() -> u64,
    ) -> (Result<u64, Option<Duration>>, Option<Change>) {
        let mut change = None;
        match self.phase {
            Phase::Open { until } if now >= until => {
                let half_open =
                    Phase::HalfOpen { waiting: Waiting::default(), admitted: 0, succeeded: 0 };
                change = Some(self.enter(half_open, Reason::TimeToProbe, Counts::default(), now));
            }
            Phase::HalfOpen { waiting, .. } if waiting.so_far(now) >= self.policy.half_open_for => {
                change = Some(self.reopen(Reason::ProbesUnanswered, None, now, noise));
            }
            _ => {}
        }
        let verdict = self.look(now).map(|()| {
            if let Phase::HalfOpen { waiting, admitted, .. } = &mut self.phase {
                *admitted += 1;
                waiting.begin(now);
            }
            self.generation
        });
        (verdict, change)
    }

    /// Whether a call would be held back now, and for how long, where that is known. Takes nothing
    /// and changes nothing.
    pub(super) fn look(&self, now: Duration) -> Result<(), Option<Duration>> {
        match self.phase {
            Phase::Open { until } if now < until => Err(Some(until.saturating_sub(now))),
            Phase::ForcedOpen => Err(None),
            Phase::HalfOpen { waiting, admitted, .. } if admitted >= self.policy.probes => {
                let left = self.policy.half_open_for.saturating_sub(waiting.so_far(now));
                // Over: the next call that asks for leave reopens it.
                if left.is_zero() { Ok(()) } else { Err(Some(left.min(PROBING))) }
            }
            _ => Ok(()),
        }
    }

    /// Takes in how a call ended that was admitted in `generation`.
    pub(super) fn settle(
        &mut self,
        generation: u64,
        outcome: Outcome,
        took: Duration,
        now: Duration,
        noise: impl FnOnce() -> u64,
    ) -> Option<Change> {
        if generation != self.generation {
            self.late = self.late.saturating_add(1);
            return None;
        }
        let slow = took > self.policy.slow_after;
        let (failed, retry_after) = match outcome {
            Outcome::Success => (false, None),
            Outcome::Failure { retry_after } => (true, retry_after),
        };
        match &mut self.phase {
            Phase::Closed(window) => {
                let counts = window.count(now, failed, slow);
                let reason = self.reason_to_open(counts)?;
                Some(self.open(reason, counts, retry_after, now, noise))
            }
            // Whatever is still slow would trip the breaker again.
            Phase::HalfOpen { .. } if failed || slow => {
                Some(self.reopen(Reason::ProbeFailed, retry_after, now, noise))
            }
            Phase::HalfOpen { waiting, admitted, succeeded } => {
                *succeeded += 1;
                let since = (*admitted > *succeeded).then_some(now);
                *waiting = Waiting { since, ..Waiting::default() };
                if *succeeded < self.policy.probes {
                    return None;
                }
                self.reopened = 0;
                let closed = Phase::Closed(Window::new(&self.policy));
                let counts = Counts { calls: self.policy.probes, ..Counts::default() };
                Some(self.enter(closed, Reason::ProbesSucceeded, counts, now))
            }
            Phase::Open { .. } | Phase::ForcedOpen | Phase::Disabled => None,
        }
    }

    /// Takes in that an answer broke off, of a call that was settled as a success.
    pub(super) fn broke(
        &mut self,
        generation: u64,
        now: Duration,
        noise: impl FnOnce() -> u64,
    ) -> Option<Change> {
        if generation != self.generation {
            self.late = self.late.saturating_add(1);
            return None;
        }
        match &mut self.phase {
            Phase::Closed(window) => {
                let counts = window.turn_to_failure(now);
                let reason = self.reason_to_open(counts)?;
                Some(self.open(reason, counts, None, now, noise))
            }
            Phase::HalfOpen { .. } => Some(self.reopen(Reason::ProbeFailed, None, now, noise)),
            Phase::Open { .. } | Phase::ForcedOpen | Phase::Disabled => None,
        }
    }

    /// Takes in that a call ended without a word about the upstream: it was cancelled, or never
    /// went out.
    pub(super) fn release(&mut self, generation: u64, now: Duration) {
        if let Phase::HalfOpen { waiting, admitted, succeeded } = &mut self.phase
            && generation == self.generation
        {
            *admitted -= 1;
            if *admitted == *succeeded {
                waiting.pause(now);
            }
        }
    }

    /// Puts the breaker into a state by hand: open until told otherwise, out of the way, or
    /// closed and without memory.
    pub(super) fn set(&mut self, to: ByHand, now: Duration) -> Option<Change> {
        let counts = self.counts(now);
        let phase = match to {
            ByHand::ForcedOpen => Phase::ForcedOpen,
            ByHand::Disabled => Phase::Disabled,
            ByHand::Closed => Phase::Closed(Window::new(&self.policy)),
        };
        let to_itself = matches!(
            (&self.phase, to),
            (Phase::ForcedOpen, ByHand::ForcedOpen) | (Phase::Disabled, ByHand::Disabled)
        );
        if to_itself {
            return None;
        }
        self.reopened = 0;
        Some(self.enter(phase, Reason::ByHand, counts, now))
    }

    pub(super) fn is_forced_open(&self) -> bool {
        matches!(self.phase, Phase::ForcedOpen)
    }

    pub(super) fn state(&self, now: Duration) -> State {
        match self.phase {
            Phase::Closed(_) => State::Closed,
            Phase::Open { until } => State::Open { retry_in: until.saturating_sub(now) },
            Phase::HalfOpen { .. } => State::HalfOpen,
            Phase::ForcedOpen => State::ForcedOpen,
            Phase::Disabled => State::Disabled,
        }
    }

    /// What counts at the moment.
    pub(super) fn counts(&mut self, now: Duration) -> Counts {
        match &mut self.phase {
            Phase::Closed(window) => window.counts(now),
            Phase::HalfOpen { succeeded, .. } => Counts { calls: *succeeded, ..Counts::default() },
            Phase::Open { .. } | Phase::ForcedOpen | Phase::Disabled => Counts::default(),
        }
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn late(&self) -> u64 {
        self.late
    }

    fn reason_to_open(&self, counts: Counts) -> Option<Reason> {
        let policy = &self.policy;
        if counts.calls < policy.minimum_calls {
            None
        } else if counts.reach(counts.failures, policy.failure_percent) {
            Some(Reason::Failures)
        } else if counts.reach(counts.slow, policy.slow_percent) {
            Some(Reason::SlowCalls)
        } else {
            None
        }
    }

    fn reopen(
        &mut self,
        reason: Reason,
        retry_after: Option<Duration>,
        now: Duration,
        noise: impl FnOnce() -> u64,
    ) -> Change {
        self.reopened = self.reopened.saturating_add(1);
        let counts = self.counts(now);
        self.open(reason, counts, retry_after, now, noise)
    }

    fn open(
        &mut self,
        reason: Reason,
        counts: Counts,
        retry_after: Option<Duration>,
        now: Duration,
        noise: impl FnOnce() -> u64,
    ) -> Change {
        let policy = &self.policy;
        let doublings = self.reopened.min(31);
        let base = policy.open_for.saturating_mul(1 << doublings).min(policy.longest_open);
        let jittered = (base / 5 * 4).saturating_add(share(base / 5 * 2, noise()));
        let length = jittered.max(retry_after.unwrap_or_default()).min(policy.longest_open);
        self.enter(Phase::Open { until: now.saturating_add(length) }, reason, counts, now)
    }

    fn enter(&mut self, phase: Phase, reason: Reason, counts: Counts, now: Duration) -> Change {
        let from = self.state(now);
        self.phase = phase;
        self.generation += 1;
        Change { from, to: self.state(now), generation: self.generation, reason, counts }
    }
}

/// What a breaker can be told to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ByHand {
    ForcedOpen,
    Disabled,
    Closed,
}
