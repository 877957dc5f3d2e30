//! What a pending device sign-in does, as a plain function of events: when it asks, what it makes
//! of the answer, and how it ends. The actor beside it only carries out.

use std::time::Duration;

use super::super::storing::{NotStored, Storing};
use super::super::verdict::{
    cancelled, code_expired, denied, may_ask_again, may_try_again, not_exchanged, not_polled,
};
use super::polls::Polls;
use crate::clock::Moment;
use crate::error::Error;
use crate::provider::{DeviceAnswer, DeviceCode, Failure, Grant};

/// A pending device sign-in.
#[derive(Debug)]
pub(super) struct Flow {
    polls: Polls,
    phase: Phase,
    attempts: u32,
}

#[derive(Debug)]
enum Phase {
    /// For the user, and for the next poll.
    Waiting,
    /// For the answer to a poll.
    Polling,
    /// For the next try to exchange a code that could not be sent.
    Holding { code: DeviceCode },
    /// For the answer to the exchange of a code.
    Exchanging { code: DeviceCode },
    /// For the grant to be durable.
    Storing(Storing),
    /// For nothing any more.
    Over,
}

/// What happens to a sign-in.
#[derive(Debug)]
pub(super) enum Event {
    /// The moment of [`Flow::next`] has come.
    AlarmRang,
    /// A poll was answered, or was not.
    Polled { attempt: u32, result: Result<DeviceAnswer, Failure> },
    /// The exchange of a code ended.
    Exchanged { attempt: u32, result: Result<Grant, Failure> },
    /// The grant is durable, or could not be made so.
    Stored(Result<(), Error>),
    /// Nobody wants it any more.
    Cancelled,
}

/// What is to be done.
#[derive(Debug)]
pub(super) enum Effect {
    /// Ask the provider once, and report the result with the same attempt number.
    Poll { attempt: u32 },
    /// Exchange the code, and report the result with the same attempt number.
    Exchange { attempt: u32, code: DeviceCode },
    /// Wait for `after`, make the grant durable, and report.
    Store { grant: Grant, after: Duration },
    /// Tell the provider that this grant is not wanted any more.
    GiveBack(Grant),
    /// The sign-in is over. Comes once.
    Finish(Result<(), Error>),
}

impl Flow {
    /// A sign-in whose code is shown to the user now, and is good until `end`.
    pub(super) fn new(interval: Duration, now: Moment, end: Moment) -> Self {
        Self { polls: Polls::new(interval, now, end), phase: Phase::Waiting, attempts: 0 }
    }

    /// Takes `event` in, and says what is to be done, in this order.
    pub(super) fn step(&mut self, event: Event, now: Moment) -> Vec<Effect> {
        let effect = match event {
            Event::AlarmRang => self.alarm_rang(now),
            Event::Polled { attempt, result } => self.polled(attempt, result, now),
            Event::Exchanged { attempt, result } => self.exchanged(attempt, result, now),
            Event::Stored(result) => return self.stored(result),
            Event::Cancelled => self.cancelled(),
        };
        effect.into_iter().collect()
    }

    /// When there is something to do without anything happening; none while something is under way.
    pub(super) fn next(&self) -> Option<Moment> {
        matches!(self.phase, Phase::Waiting | Phase::Holding { .. }).then(|| self.polls.next())
    }

    /// How long it waits between two polls now.
    pub(super) fn interval(&self) -> Duration {
        self.polls.interval()
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    fn alarm_rang(&mut self, now: Moment) -> Option<Effect> {
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Waiting | Phase::Holding { .. } if self.polls.is_over(now) => {
                Some(self.finish(Err(code_expired())))
            }
            Phase::Waiting if self.polls.is_due(now) => {
                self.phase = Phase::Polling;
                self.attempts += 1;
                Some(Effect::Poll { attempt: self.attempts })
            }
            Phase::Holding { code } if self.polls.is_due(now) => Some(self.exchange(code)),
            other => {
                self.phase = other;
                None
            }
        }
    }

    fn polled(
        &mut self,
        attempt: u32,
        result: Result<DeviceAnswer, Failure>,
        now: Moment,
    ) -> Option<Effect> {
        if attempt != self.attempts || !matches!(self.phase, Phase::Polling) {
            // Nobody waits for it any more, and nobody will ever see it.
            return match result {
                Ok(DeviceAnswer::Granted(grant)) => Some(Effect::GiveBack(grant)),
                _ => None,
            };
        }
        self.phase = Phase::Waiting;
        match result {
            Ok(DeviceAnswer::Granted(grant)) => {
                return Some(self.store(Storing::of(grant), Duration::ZERO));
            }
            Ok(DeviceAnswer::Code(code)) => return Some(self.exchange(code)),
            Ok(DeviceAnswer::Denied) => return Some(self.finish(Err(denied()))),
            Ok(DeviceAnswer::Expired) => return Some(self.finish(Err(code_expired()))),
            Ok(DeviceAnswer::Pending) => self.polls.pending(now),
            Ok(DeviceAnswer::SlowDown { interval }) => self.polls.slow_down(interval, now),
            Err(failure) if may_ask_again(&failure) => {
                self.polls.failed(failure.retry_after(), now);
            }
            Err(failure) => return Some(self.finish(Err(not_polled(&failure)))),
        }
        self.unless_over(now)
    }

    fn exchange(&mut self, code: DeviceCode) -> Effect {
        self.attempts += 1;
        self.phase = Phase::Exchanging { code: code.clone() };
        Effect::Exchange { attempt: self.attempts, code }
    }

    fn exchanged(
        &mut self,
        attempt: u32,
        result: Result<Grant, Failure>,
        now: Moment,
    ) -> Option<Effect> {
        let code = match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Exchanging { code } if attempt == self.attempts => code,
            other => {
                self.phase = other;
                return result.ok().map(Effect::GiveBack);
            }
        };
        match result {
            Ok(grant) => Some(self.store(Storing::of(grant), Duration::ZERO)),
            // It was not sent.
            Err(failure) if may_try_again(&failure) => {
                self.polls.failed(failure.retry_after(), now);
                self.phase = Phase::Holding { code };
                self.unless_over(now)
            }
            Err(failure) => Some(self.finish(Err(not_exchanged(&failure)))),
        }
    }

    fn store(&mut self, storing: Storing, after: Duration) -> Effect {
        let grant = storing.grant();
        self.phase = Phase::Storing(storing);
        Effect::Store { grant, after }
    }

    fn stored(&mut self, result: Result<(), Error>) -> Vec<Effect> {
        match (std::mem::replace(&mut self.phase, Phase::Over), result) {
            (Phase::Storing(_), Ok(())) => vec![self.finish(Ok(()))],
            (Phase::Storing(storing), Err(error)) => {
                let unwanted = match storing.failed(&error) {
                    NotStored::Again(storing, after) => return vec![self.store(storing, after)],
                    NotStored::GivenUp(grant) => Some(Effect::GiveBack(grant)),
                    NotStored::Overtaken => None,
                };
                unwanted.into_iter().chain([self.finish(Err(error))]).collect()
            }
            (other, _) => {
                self.phase = other;
                Vec::new()
            }
        }
    }

    fn cancelled(&mut self) -> Option<Effect> {
        match self.phase {
            // The grant exists and is on its way into the vault: too late to take back.
            Phase::Storing(_) | Phase::Over => None,
            _ => Some(self.finish(Err(cancelled()))),
        }
    }

    fn unless_over(&mut self, now: Moment) -> Option<Effect> {
        self.polls.is_over(now).then(|| self.finish(Err(code_expired())))
    }

    fn finish(&mut self, result: Result<(), Error>) -> Effect {
        self.phase = Phase::Over;
        Effect::Finish(result)
    }
}

#[cfg(test)]
mod tests;
