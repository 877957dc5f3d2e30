//! How calls to one upstream are made, all knobs in one value.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::breaker::refuse;
use super::{BreakerPolicy, BudgetPolicy, RetryPolicy};
use crate::error::Error;

/// How calls to one upstream are made: how long they may take, how many at once, and what happens
/// when they fail.
///
/// The deadline is outermost; within it a call is attempted as [`CallPolicy::retry`] says, and each
/// attempt waits for a credential, then for one of the [`CallPolicy::concurrency`] places, and is let
/// through by the breaker when it is about to be sent.
///
/// ```
/// use std::time::Duration;
/// use tokenward::catalog;
/// use tokenward::resilience::{CallPolicy, RetryPolicy};
///
/// let impatient = CallPolicy {
///     deadline: Duration::from_secs(30),
///     attempt_timeout: Duration::from_secs(10),
///     retry: RetryPolicy { attempts: 2, ..RetryPolicy::default() },
///     ..CallPolicy::default()
/// };
/// assert!(impatient.validate().is_ok());
/// let provider = catalog::openai().with_call_policy(impatient);
/// # let _ = provider;
/// ```
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
    /// How many calls wait for the head of their answer at once. More of them wait for a place,
    /// within their deadline.
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
    /// Everything in it that makes no sense: the path of the field, and what it has to be.
    pub(crate) fn problems(&self) -> Vec<(String, &'static str)> {
        let longer = "has to be longer than zero";
        let at_least_one = "has to be at least 1";
        let too_soon = self.breaker.half_open_for < self.attempt_timeout;
        let own = [
            ("deadline", longer, self.deadline.is_zero()),
            ("attempt_timeout", longer, self.attempt_timeout.is_zero()),
            ("concurrency", at_least_one, self.concurrency == 0),
            ("retry.attempts", at_least_one, self.retry.attempts == 0),
            ("budget.within", longer, self.budget.within.is_zero()),
            ("breaker.half_open_for", "has to be at least attempt_timeout", too_soon),
        ]
        .into_iter()
        .filter(|(.., wrong)| *wrong)
        .map(|(field, text, _)| (field.to_owned(), text));
        let breaker = self.breaker.problems().into_iter();
        own.chain(breaker.map(|(field, text)| (format!("breaker.{field}"), text))).collect()
    }

    /// Checks that calls can be made by this policy.
    ///
    /// # Errors
    ///
    /// Names everything in it that makes no sense.
    pub fn validate(&self) -> Result<(), Error> {
        refuse("call policy", &self.problems())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_can_be_followed() {
        CallPolicy::default().validate().expect("they make sense");
    }

    /// B-5 and B-8: a probe that is as slow as it may be has to be seen to succeed.
    #[test]
    fn probes_have_as_long_as_an_attempt_may_take() {
        let attempt_timeout = CallPolicy::default().breaker.half_open_for + Duration::from_secs(1);
        let policy = CallPolicy { attempt_timeout, ..CallPolicy::default() };
        let error = policy.validate().expect_err("refused").to_string();
        assert!(error.contains("half_open_for has to be at least attempt_timeout"), "{error}");
    }
}
