//! When a breaker trips and how it comes back, as data. A policy that makes no sense is refused
//! when a breaker is made from it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};

/// When calls to an upstream are held back, and when they are tried again.
///
/// [`Default`] is the one place of defaults.
///
/// ```
/// use std::time::Duration;
/// use tokenward::resilience::BreakerPolicy;
///
/// // For an upstream that is called now and then, and is slow when it is ill.
/// let policy = BreakerPolicy {
///     minimum_calls: 5,
///     slow_after: Duration::from_secs(20),
///     ..BreakerPolicy::default()
/// };
/// assert!(policy.validate().is_ok());
///
/// let senseless = BreakerPolicy { failure_percent: 0, ..policy };
/// assert!(senseless.validate().expect_err("told before anything is called").is_configuration());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BreakerPolicy {
    /// How far back calls count.
    #[serde(with = "crate::config::duration")]
    pub window: Duration,
    /// In how many steps the window moves on; what it remembers takes memory of this order.
    pub buckets: u32,
    /// The most calls that count. Where there are more within the window, the oldest steps of it
    /// are forgotten first. None: all of them.
    pub newest_calls: Option<u32>,
    /// With fewer calls than this within the window nothing is concluded.
    pub minimum_calls: u32,
    /// The share of calls that failed, in percent, at which the breaker opens. 1 to 100.
    pub failure_percent: u8,
    /// A call that took longer than this was slow.
    #[serde(with = "crate::config::duration")]
    pub slow_after: Duration,
    /// The share of slow calls, in percent, at which the breaker opens. 1 to 100.
    pub slow_percent: u8,
    /// How long the breaker stays open the first time. Each time that a probe fails it is twice as
    /// long; a fifth is added or taken away at random.
    #[serde(with = "crate::config::duration")]
    pub open_for: Duration,
    /// The longest that it stays open, also when the upstream asks for more.
    #[serde(with = "crate::config::duration")]
    pub longest_open: Duration,
    /// How many calls are let through to find out whether the upstream is back. All of them have
    /// to succeed.
    pub probes: u32,
    /// How long the breaker waits for an answer to a probe before it opens again. It is counted while a
    /// probe is under way, over all that are given up, and anew from each that succeeds; while none is, nothing
    /// is counted, since few calls are no sign that an upstream is unwell. As long as an attempt may
    /// take, at least, or an upstream that is slow to recover is never seen to be back.
    #[serde(with = "crate::config::duration")]
    pub half_open_for: Duration,
    /// Whether an answer of 429 counts as a failure. It says that there is too much of us, not that
    /// the upstream is unwell.
    pub rate_limits_fail: bool,
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(30),
            buckets: 10,
            newest_calls: None,
            minimum_calls: 10,
            failure_percent: 50,
            // A completion that is not streamed takes minutes, and nothing is wrong with it.
            slow_after: Duration::from_mins(5),
            slow_percent: 100,
            open_for: Duration::from_secs(30),
            longest_open: Duration::from_mins(5),
            probes: 3,
            // As long as an attempt may take, unless its policy says otherwise.
            half_open_for: Duration::from_mins(10),
            rate_limits_fail: false,
        }
    }
}

/// More steps than this make a window no more exact.
const MOST_BUCKETS: u32 = 1_000;

impl BreakerPolicy {
    /// Everything in it that makes no sense: the name of the field, and what it has to be.
    pub(crate) fn problems(&self) -> Vec<(&'static str, &'static str)> {
        let percent = 1..=100;
        let too_few = self.newest_calls.is_some_and(|newest| newest < self.minimum_calls);
        [
            ("window", "has to be longer than zero", self.window.is_zero()),
            ("buckets", "has to be from 1 to 1000", !(1..=MOST_BUCKETS).contains(&self.buckets)),
            ("newest_calls", "has to be at least minimum_calls, or nothing is concluded", too_few),
            ("minimum_calls", "has to be at least 1", self.minimum_calls == 0),
            ("failure_percent", FROM_1_TO_100, !percent.contains(&self.failure_percent)),
            ("slow_percent", FROM_1_TO_100, !percent.contains(&self.slow_percent)),
            ("slow_after", "has to be longer than zero", self.slow_after.is_zero()),
            ("open_for", "has to be longer than zero", self.open_for.is_zero()),
            ("longest_open", "has to be at least open_for", self.longest_open < self.open_for),
            ("probes", "has to be at least 1", self.probes == 0),
            ("half_open_for", "has to be longer than zero", self.half_open_for.is_zero()),
        ]
        .into_iter()
        .filter_map(|(field, text, wrong)| wrong.then_some((field, text)))
        .collect()
    }

    /// Checks that a breaker can follow this policy.
    ///
    /// # Errors
    ///
    /// Names everything in it that makes no sense.
    pub fn validate(&self) -> Result<(), Error> {
        refuse("breaker policy", &self.problems())
    }
}

const FROM_1_TO_100: &str = "has to be from 1 to 100";

/// Refuses a policy that has problems.
pub(crate) fn refuse<F: fmt::Display>(what: &str, problems: &[(F, &str)]) -> Result<(), Error> {
    if problems.is_empty() {
        return Ok(());
    }
    let told: Vec<_> = problems.iter().map(|(field, text)| format!("{field} {text}")).collect();
    let message = format!("the {what} can not be followed: {}", told.join("; "));
    Err(Error::new(ErrorKind::Configuration, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_can_be_followed() {
        assert!(BreakerPolicy::default().validate().is_ok());
    }

    /// B-8: checked when it is made.
    #[test]
    fn everything_that_makes_no_sense_is_named_at_once() {
        let policy = BreakerPolicy {
            buckets: 0,
            failure_percent: 101,
            probes: 0,
            longest_open: Duration::from_secs(1),
            ..BreakerPolicy::default()
        };
        let error = policy.validate().expect_err("refused").to_string();
        for name in ["buckets", "failure_percent", "probes", "longest_open"] {
            assert!(error.contains(name), "{error} names {name}");
        }
    }
}
