//! Why a call does not go out.

use std::time::Duration;

use crate::error::{Error, ErrorKind};

/// A call was held back. Nothing was sent.
///
/// [`Breaker::admit`](super::Breaker::admit) answers with it. Its text says when to call again, or that a
/// person has to close the breaker.
///
/// ```
/// use tokenward::resilience::{Breaker, BreakerPolicy};
/// # use tokenward::clock::Sources;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let breaker = Breaker::new(BreakerPolicy::default(), Sources::system(), |_| {})?;
/// breaker.force_open();
/// let held_back = breaker.admit().expect_err("by hand");
/// assert_eq!(held_back.retry_in, None, "nobody knows when");
/// assert_eq!(held_back.to_string(), "calls are held back by hand, close the breaker to go on");
/// assert!(tokenward::Error::from(held_back).is_circuit_open());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", told("calls", *self))]
#[non_exhaustive]
pub struct HeldBack {
    /// How long until another call may go out. None: a person holds the breaker open.
    pub retry_in: Option<Duration>,
}

impl HeldBack {
    /// The same of certain `calls`, such as those to one upstream.
    pub(crate) fn of(self, calls: &str) -> Error {
        let text = told(calls, self);
        match self.retry_in {
            Some(wait) => Error::retry_in(ErrorKind::CircuitOpen, text, wait),
            None => Error::new(ErrorKind::CircuitOpen, text),
        }
    }

    /// Why certain `calls` are, without a time: for what is read again later.
    pub(crate) fn why(self, calls: &str) -> String {
        match self.retry_in {
            Some(_) => format!("{calls} fail and are held back"),
            None => format!("{calls} are held back by hand, close the breaker to go on"),
        }
    }
}

impl From<HeldBack> for Error {
    fn from(held_back: HeldBack) -> Self {
        held_back.of("calls")
    }
}

fn told(calls: &str, held_back: HeldBack) -> String {
    let why = held_back.why(calls);
    let Some(wait) = held_back.retry_in else { return why };
    // In whole seconds, and not too early.
    let seconds = wait.as_millis().div_ceil(1000);
    let seconds = Duration::from_secs(u64::try_from(seconds).unwrap_or(u64::MAX));
    let shown = humantime::format_duration(seconds);
    format!("{why}, retry in {shown}")
}
