//! Whether a call that failed is made again, and after how long: only when that is safe, promising,
//! and in time. The budget is asked after that, by whoever makes the call.

use std::fmt;
use std::time::Duration;

use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};

use super::Backoff;

/// When calls are made again.
///
/// ```
/// use std::time::Duration;
/// use tokenward::resilience::{Failed, GiveUp, RetryPolicy, Verdict};
///
/// let (policy, left, noise) = (RetryPolicy::default(), Duration::from_mins(1), 0);
/// // What never left may be sent again, whatever it was.
/// let verdict = policy.decide(1, Failed::BeforeSending, false, left, noise);
/// assert!(matches!(verdict, Verdict::RetryIn(_)));
/// // What may have arrived, only if it can be carried out twice.
/// let verdict = policy.decide(1, Failed::Unanswered, false, left, noise);
/// assert_eq!(verdict, Verdict::GiveUp(GiveUp::NotSafe));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetryPolicy {
    /// The most attempts, the first one included. One: nothing is made again.
    pub attempts: u32,
    /// How long to wait between them.
    pub backoff: Backoff,
    /// An upstream that asks to be left alone for longer than this (`Retry-After`) is not asked
    /// again; the caller is told for how long.
    #[serde(with = "crate::config::duration")]
    pub longest_wait: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { attempts: 3, backoff: Backoff::default(), longest_wait: Duration::from_secs(30) }
    }
}

/// How an attempt failed.
///
/// ```
/// use std::time::Duration;
/// use http::StatusCode;
/// use tokenward::resilience::Failed;
///
/// let busy = Failed::Answered(StatusCode::TOO_MANY_REQUESTS, Some(Duration::from_secs(7)));
/// assert!(busy.is_promising(), "another attempt may mend it");
/// assert_eq!(busy.retry_after(), Some(Duration::from_secs(7)));
/// assert!(!Failed::Answered(StatusCode::NOT_FOUND, None).is_promising());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failed {
    /// Before anything was sent: no address, no connection, no TLS.
    BeforeSending,
    /// After the first byte may have left: reset, timed out, cut short.
    Unanswered,
    /// With an answer of this status, which may ask to be left alone for a while.
    Answered(StatusCode, Option<Duration>),
}

/// What comes after an attempt that failed.
///
/// ```
/// use std::time::Duration;
/// use tokenward::resilience::{Failed, RetryPolicy, Verdict};
/// # use tokenward::clock::Sources;
///
/// # let sources = Sources::system();
/// let (policy, left) = (RetryPolicy::default(), Duration::from_secs(20));
/// match policy.decide(1, Failed::Unanswered, true, left, sources.noise()) {
///     Verdict::RetryIn(wait) => println!("again in {wait:?}"),
///     Verdict::GiveUp(why) => println!("no further attempt: {why}"),
///     _ => {}
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// Another attempt, after this long.
    RetryIn(Duration),
    /// None, because of this.
    GiveUp(GiveUp),
}

/// Why there is no further attempt.
///
/// [`Attempts::gave_up`](crate::http::Attempts::gave_up) tells it of a call that was made.
///
/// ```
/// use std::time::Duration;
/// use http::StatusCode;
/// use tokenward::resilience::{Failed, GiveUp, RetryPolicy, Verdict};
///
/// let (policy, left) = (RetryPolicy::default(), Duration::from_secs(20));
/// // The upstream asks to be left alone for longer than the caller has time.
/// let failed = Failed::Answered(StatusCode::TOO_MANY_REQUESTS, Some(Duration::from_mins(5)));
/// let verdict = policy.decide(1, failed, true, left, 0);
/// assert_eq!(verdict, Verdict::GiveUp(GiveUp::TooLongToWait));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum GiveUp {
    /// It would fail the same way.
    NotPromising,
    /// The request may have been carried out, and must not be twice.
    NotSafe,
    /// All attempts are used up.
    AttemptsUsedUp,
    /// The upstream asks to be left alone for longer than the policy or the deadline allows.
    TooLongToWait,
    /// The deadline comes first.
    NoTimeLeft,
    /// All calls together have made as many retries as the upstream can bear.
    BudgetEmpty,
    /// The breaker holds calls back by now.
    HeldBack,
    /// It could not begin: there is no credential for it any more, or the runtime stops.
    NotBegun,
}

impl fmt::Display for GiveUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotPromising => "it would fail the same way",
            Self::NotSafe => "it may have been carried out and must not be twice",
            Self::AttemptsUsedUp => "all attempts are used up",
            Self::TooLongToWait => "it asks to be left alone for too long",
            Self::NoTimeLeft => "there is no time left",
            Self::BudgetEmpty => "the retry budget is empty",
            Self::HeldBack => "calls are held back by now",
            Self::NotBegun => "another one could not begin",
        })
    }
}

impl RetryPolicy {
    /// Decides after attempt number `attempt`, counted from one. `repeatable` tells whether the
    /// request may be carried out twice ([`is_repeatable`]), `left` is the time to the deadline,
    /// `noise` a random number.
    pub fn decide(
        &self,
        attempt: u32,
        failed: Failed,
        repeatable: bool,
        left: Duration,
        noise: u64,
    ) -> Verdict {
        if !failed.is_promising() {
            return Verdict::GiveUp(GiveUp::NotPromising);
        }
        if !repeatable && failed != Failed::BeforeSending {
            return Verdict::GiveUp(GiveUp::NotSafe);
        }
        if attempt >= self.attempts {
            return Verdict::GiveUp(GiveUp::AttemptsUsedUp);
        }
        let asked = failed.retry_after().unwrap_or_default();
        if asked > self.longest_wait || asked >= left && !asked.is_zero() {
            return Verdict::GiveUp(GiveUp::TooLongToWait);
        }
        let wait = self.backoff.wait(attempt, noise).max(asked);
        if wait >= left { Verdict::GiveUp(GiveUp::NoTimeLeft) } else { Verdict::RetryIn(wait) }
    }
}

impl Failed {
    /// Whether another attempt may end otherwise.
    pub fn is_promising(self) -> bool {
        match self {
            Self::BeforeSending | Self::Unanswered => true,
            Self::Answered(status, _) => {
                matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502 | 503 | 504)
            }
        }
    }

    /// How long the upstream asked to be left alone, with a status of which `Retry-After` says so
    /// (RFC 9110 §10.2.3, RFC 6585 §4).
    pub fn retry_after(self) -> Option<Duration> {
        match self {
            Self::Answered(status, asked) => {
                let says_so = matches!(status.as_u16(), 429 | 503) || status.is_redirection();
                asked.filter(|_| says_so)
            }
            Self::BeforeSending | Self::Unanswered => None,
        }
    }
}

/// Whether a request with this method may be carried out twice: the idempotent methods
/// (RFC 9110 §9.2.2), and whatever carries an `Idempotency-Key`.
pub fn is_repeatable(method: &Method, has_idempotency_key: bool) -> bool {
    has_idempotency_key || method.is_idempotent()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PLENTY: Duration = Duration::from_mins(10);

    fn decide(failed: Failed, repeatable: bool) -> Verdict {
        RetryPolicy::default().decide(1, failed, repeatable, PLENTY, u64::MAX)
    }

    fn answered(status: u16, retry_after: Option<u64>) -> Failed {
        let status = StatusCode::from_u16(status).expect("a status");
        Failed::Answered(status, retry_after.map(Duration::from_secs))
    }

    /// T-2.
    #[test]
    fn what_a_second_attempt_can_mend_is_tried_again() {
        for status in [408, 425, 429, 500, 502, 503, 504] {
            assert!(
                matches!(decide(answered(status, None), true), Verdict::RetryIn(_)),
                "{status}"
            );
        }
        for status in [400, 401, 403, 404, 409, 422, 501, 505] {
            let verdict = decide(answered(status, None), true);
            assert_eq!(verdict, Verdict::GiveUp(GiveUp::NotPromising), "{status}");
        }
    }

    /// T-1.
    #[test]
    fn what_may_have_been_carried_out_is_tried_again_only_when_it_is_repeatable() {
        for failed in [Failed::Unanswered, answered(503, None), answered(500, None)] {
            assert_eq!(decide(failed, false), Verdict::GiveUp(GiveUp::NotSafe));
        }
        assert!(matches!(decide(Failed::BeforeSending, false), Verdict::RetryIn(_)));
    }

    /// T-1: RFC 9110 §9.2.2.
    #[test]
    fn the_methods_that_are_repeatable() {
        for method in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"] {
            assert!(is_repeatable(&method.parse().expect("a method"), false), "{method}");
        }
        for method in [Method::POST, Method::PATCH] {
            assert!(!is_repeatable(&method, false));
            assert!(is_repeatable(&method, true));
        }
    }

    #[test]
    fn the_upstream_is_left_alone_as_long_as_it_asks_or_not_asked_again() {
        let wait = Duration::from_secs(20);
        assert_eq!(decide(answered(503, Some(20)), true), Verdict::RetryIn(wait));
        assert_eq!(decide(answered(429, Some(31)), true), Verdict::GiveUp(GiveUp::TooLongToWait));
    }

    /// T-4.
    #[test]
    fn only_a_429_or_a_503_can_ask_to_be_left_alone() {
        for status in [408, 425, 500, 502, 504] {
            assert_eq!(answered(status, Some(31)).retry_after(), None);
            assert!(matches!(decide(answered(status, Some(31)), true), Verdict::RetryIn(_)));
        }
    }

    #[test]
    fn the_third_attempt_is_the_last() {
        let policy = RetryPolicy::default();
        let third = policy.decide(3, Failed::Unanswered, true, PLENTY, 0);
        assert_eq!(third, Verdict::GiveUp(GiveUp::AttemptsUsedUp));
    }

    proptest! {
        /// T-4 and T-6.
        #[test]
        fn no_wait_reaches_the_deadline_or_undercuts_what_was_asked(
            attempt in 1_u32..2_000,
            status in 100_u16..600,
            asked in prop::option::of(0_u64..100),
            repeatable: bool,
            left in 0_u64..60_000,
            noise: u64,
        ) {
            let policy = RetryPolicy { attempts: 1_500, ..RetryPolicy::default() };
            let left = Duration::from_millis(left);
            let failed = answered(status, asked);
            if let Verdict::RetryIn(wait) =
                policy.decide(attempt, failed, repeatable, left, noise)
            {
                prop_assert!(repeatable && attempt < 1_500);
                prop_assert!(wait < left);
                prop_assert!(wait >= failed.retry_after().unwrap_or_default());
                prop_assert!(wait <= policy.longest_wait);
            }
        }
    }
}
