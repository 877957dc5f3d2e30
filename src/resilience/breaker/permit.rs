//! Leave to make one call, and how it is said what came of the call.

use std::time::Duration;

use super::core::Outcome;
use super::{Breaker, CallEnd};

/// Leave to make one call. Say how it ended; a permit that is dropped says nothing about the
/// upstream and gives its place back.
///
/// ```
/// use std::time::Duration;
/// use tokenward::resilience::{Breaker, BreakerPolicy};
/// # use tokenward::clock::Sources;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let breaker = Breaker::new(BreakerPolicy::default(), Sources::system(), |_| {})?;
/// # let call = || (503, Some(Duration::from_secs(5)));
/// if let Ok(permit) = breaker.admit() {
///     let (status, retry_after) = call();
///     if status < 500 {
///         permit.succeeded();
///     } else {
///         permit.failed(retry_after);
///     }
/// }
/// # assert_eq!(breaker.status().counts.failures, 1);
/// # Ok(())
/// # }
/// ```
#[must_use = "say how the call ended, or it is not counted"]
#[derive(Debug)]
pub struct Permit {
    breaker: Breaker,
    generation: u64,
    since: Duration,
    settled: bool,
}

impl Permit {
    pub(super) fn new(breaker: Breaker, generation: u64, since: Duration) -> Self {
        Self { breaker, generation, since, settled: false }
    }

    /// The upstream answered, and was able to do its work. What is still to come of its answer
    /// may break off; say so then.
    pub fn succeeded(self) -> Answered {
        let answered = Answered { breaker: self.breaker.clone(), generation: self.generation };
        self.settle(Outcome::Success);
        answered
    }

    /// The upstream did not answer or was not able to do its work. `retry_after` is how long it
    /// asked to be left alone.
    pub fn failed(self, retry_after: Option<Duration>) {
        self.settle(Outcome::Failure { retry_after });
    }

    fn settle(mut self, outcome: Outcome) {
        self.settled = true;
        let breaker = &self.breaker;
        let now = breaker.now();
        let took = now.saturating_sub(self.since);
        let noise = || breaker.0.sources.noise();
        let mut guarded = breaker.guarded();
        let change = guarded.core.settle(self.generation, outcome, took, now, noise);
        breaker.tell(guarded, change);
        let end = match outcome {
            Outcome::Success => CallEnd::Answered,
            Outcome::Failure { .. } => CallEnd::Failed,
        };
        (breaker.0.ended)(end, took);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.settled {
            let now = self.breaker.now();
            self.breaker.guarded().core.release(self.generation, now);
        }
    }
}

/// A call that the upstream answered. There is nothing to do with it unless the answer breaks off.
///
/// ```
/// use tokenward::resilience::{Breaker, BreakerPolicy};
/// # use tokenward::clock::Sources;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let breaker = Breaker::new(BreakerPolicy::default(), Sources::system(), |_| {})?;
/// # let read_body = || Err::<(), _>(std::io::ErrorKind::ConnectionReset);
/// let permit = breaker.admit().expect("closed");
/// let answered = permit.succeeded(); // the head of an answer is here
/// if read_body().is_err() {
///     answered.broke_off();
/// }
/// assert_eq!(breaker.status().counts.failures, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Answered {
    breaker: Breaker,
    generation: u64,
}

impl Answered {
    /// The answer broke off before its end: the call failed after all.
    pub fn broke_off(self) {
        let (breaker, now) = (&self.breaker, self.breaker.now());
        let mut guarded = breaker.guarded();
        let change = guarded.core.broke(self.generation, now, || breaker.0.sources.noise());
        breaker.tell(guarded, change);
    }
}
