//! How calls to one upstream are made, all knobs in one value.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{BreakerPolicy, BudgetPolicy, RetryPolicy};
use crate::error::{Error, ErrorKind};

/// How calls to one upstream are made: how long they may take, how many at once, and what happens
/// when they fail.
///
/// The deadline is outermost; within it a call is attempted as [`CallPolicy::retry`] says, and each
/// attempt asks the breaker, then for one of the [`CallPolicy::concurrency`] places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CallPolicy {
    /// The longest that a call may take, with all its attempts and the waits between them, until
    /// the head of its answer is there. The body may take longer: completions are streamed.
    #[serde(with = "crate::config::duration")]
    pub deadline: Duration,
    /// The longest that one attempt may take, until the head of its answer is there.
    #[serde(with = "crate::config::duration")]
    pub attempt_timeout: Duration,
    /// How many calls are under way at once; a call is over when its body is read or dropped. More
    /// wait, within their deadline.
    pub concurrency: u32,
    /// Which calls are made again.
    pub retry: RetryPolicy,
    /// How many retries all calls together may make.
    pub budget: BudgetPolicy,
    /// When calls are held back.
    pub breaker: BreakerPolicy,
}

impl Default for CallPolicy {
    /// Ten minutes, which a long completion that is not streamed can take.
    fn default() -> Self {
        Self {
            deadline: Duration::from_mins(10),
            attempt_timeout: Duration::from_mins(10),
            concurrency: 512,
            retry: RetryPolicy::default(),
            budget: BudgetPolicy::default(),
            breaker: BreakerPolicy::default(),
        }
    }
}

impl CallPolicy {
    /// Checks that calls can be made by this policy.
    ///
    /// # Errors
    ///
    /// Names what in it makes no sense.
    pub fn validate(&self) -> Result<(), Error> {
        let wrong = [
            (self.deadline.is_zero(), "deadline has to be longer than zero"),
            (self.attempt_timeout.is_zero(), "attempt_timeout has to be longer than zero"),
            (self.concurrency == 0, "concurrency has to be at least 1"),
            (self.retry.attempts == 0, "retry.attempts has to be at least 1"),
            (self.budget.within.is_zero(), "budget.within has to be longer than zero"),
        ];
        let wrong: Vec<_> = wrong.iter().filter_map(|(is, what)| is.then_some(*what)).collect();
        if !wrong.is_empty() {
            let message = format!("the call policy can not be followed: {}", wrong.join("; "));
            return Err(Error::new(ErrorKind::Configuration, message));
        }
        self.breaker.validate()
    }
}
