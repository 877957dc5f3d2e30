//! The circuit breaker: it holds calls back from an upstream that fails, and finds out with a few
//! probes when it is back. The core decides; the breaker around it adds the clock and the lock.

mod core;
mod held_back;
mod permit;
mod policy;
mod status;
#[cfg(test)]
mod tests;
mod window;

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use self::core::{ByHand, Core};
use crate::clock::Sources;
use crate::error::Error;

pub use self::held_back::HeldBack;
pub use self::permit::{Answered, Permit};
pub use self::policy::BreakerPolicy;
pub(super) use self::policy::refuse;
pub use self::status::{BreakerStatus, Change, Reason, State};
pub use self::window::Counts;

/// A breaker before one upstream. Clones are the same breaker.
///
/// ```
/// use tokenward::clock::Sources;
/// use tokenward::resilience::{Breaker, BreakerPolicy, State};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let policy = BreakerPolicy { minimum_calls: 2, ..BreakerPolicy::default() };
/// let breaker = Breaker::new(policy, Sources::system(), |change| {
///     println!("{} to {}: {:?}", change.from, change.to, change.reason);
/// })?;
///
/// for _ in 0..2 {
///     let permit = breaker.admit().expect("closed");
///     // … the call, which found nobody there.
///     permit.failed(None);
/// }
/// assert!(matches!(breaker.status().state, State::Open { .. }));
/// let held_back = breaker.admit().expect_err("nothing may be sent");
/// println!("ask again in {:?}", held_back.retry_in);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Breaker(Arc<Inside>);

struct Inside {
    guarded: Mutex<Guarded>,
    sources: Sources,
    report: Box<dyn Fn(Change) + Send + Sync>,
    ended: Box<Ended>,
}

/// What the lock guards.
struct Guarded {
    core: Core,
    /// The changes that were not told yet, in order.
    untold: VecDeque<Change>,
    /// Whether somebody tells them.
    is_told: bool,
}

impl Guarded {
    fn new(core: Core) -> Mutex<Self> {
        Mutex::new(Self { core, untold: VecDeque::new(), is_told: false })
    }
}

/// Told how each call ended that says something about the upstream, and how long it took.
type Ended = dyn Fn(CallEnd, Duration) + Send + Sync;

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallEnd {
    /// The upstream answered, and was able to do its work.
    Answered,
    /// It did not.
    Failed,
}

impl Breaker {
    /// A closed breaker that follows `policy`. `report` is told each change of state, in order,
    /// and must not wait. It may ask this breaker, and change it: what comes of that is told next.
    ///
    /// # Errors
    ///
    /// When the policy makes no sense ([`BreakerPolicy::validate`]).
    pub fn new(
        policy: BreakerPolicy,
        sources: Sources,
        report: impl Fn(Change) + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        Self::observed(policy, sources, report, |_, _| {})
    }

    /// As [`Breaker::new`]; `ended` is told how each call ended, and must not wait either.
    ///
    /// # Errors
    ///
    /// As [`Breaker::new`].
    pub(crate) fn observed(
        policy: BreakerPolicy,
        sources: Sources,
        report: impl Fn(Change) + Send + Sync + 'static,
        ended: impl Fn(CallEnd, Duration) + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        policy.validate()?;
        let guarded = Guarded::new(Core::new(policy));
        let (report, ended) = (Box::new(report), Box::new(ended));
        Ok(Self(Arc::new(Inside { guarded, sources, report, ended })))
    }

    /// Another one by the same policy and clock, closed and with nothing remembered.
    pub(crate) fn alike(
        &self,
        report: impl Fn(Change) + Send + Sync + 'static,
        ended: impl Fn(CallEnd, Duration) + Send + Sync + 'static,
    ) -> Self {
        let guarded = Guarded::new(self.guarded().core.anew());
        let (report, ended) = (Box::new(report), Box::new(ended));
        Self(Arc::new(Inside { guarded, sources: self.0.sources.clone(), report, ended }))
    }

    /// Asks for leave to make one call now.
    ///
    /// # Errors
    ///
    /// When the call is held back. Nothing may be sent then.
    pub fn admit(&self) -> Result<Permit, HeldBack> {
        let now = self.now();
        let mut guarded = self.guarded();
        let (verdict, change) = guarded.core.admit(now, || self.0.sources.noise());
        self.tell(guarded, change);
        match verdict {
            Ok(generation) => Ok(Permit::new(self.clone(), generation, now)),
            Err(retry_in) => Err(HeldBack { retry_in }),
        }
    }

    /// Whether a call would be held back now. It takes no leave: the call asks for that when it is
    /// about to be sent.
    ///
    /// # Errors
    ///
    /// When it would be held back.
    pub fn look(&self) -> Result<(), HeldBack> {
        let now = self.now();
        self.guarded().core.look(now).map_err(|retry_in| HeldBack { retry_in })
    }

    /// Whether it is held open by hand.
    pub(crate) fn is_forced_open(&self) -> bool {
        self.guarded().core.is_forced_open()
    }

    /// What it says about itself.
    pub fn status(&self) -> BreakerStatus {
        let now = self.now();
        let mut guarded = self.guarded();
        let core = &mut guarded.core;
        BreakerStatus {
            state: core.state(now),
            generation: core.generation(),
            counts: core.counts(now),
            late: core.late(),
        }
    }

    /// Holds all calls back until told otherwise.
    pub fn force_open(&self) {
        self.set(ByHand::ForcedOpen);
    }

    /// Lets all calls through, uncounted, until told otherwise.
    pub fn disable(&self) {
        self.set(ByHand::Disabled);
    }

    /// Closes it, with nothing remembered.
    pub fn close(&self) {
        self.set(ByHand::Closed);
    }

    fn set(&self, to: ByHand) {
        let now = self.now();
        let mut guarded = self.guarded();
        let change = guarded.core.set(to, now);
        self.tell(guarded, change);
    }

    /// Reports a change, after those before it. The lock is not held while somebody is told, who may ask
    /// the breaker; what changes meanwhile is told by whoever tells already.
    fn tell<'a>(&'a self, mut guarded: MutexGuard<'a, Guarded>, change: Option<Change>) {
        let Some(change) = change else { return };
        guarded.untold.push_back(change);
        if std::mem::replace(&mut guarded.is_told, true) {
            return;
        }
        let mut telling = Telling { breaker: self, is_over: false };
        while let Some(change) = guarded.untold.pop_front() {
            drop(guarded);
            (self.0.report)(change);
            guarded = self.guarded();
        }
        guarded.is_told = false;
        telling.is_over = true;
    }

    fn guarded(&self) -> MutexGuard<'_, Guarded> {
        // The core is whole between its steps, whoever panicked meanwhile.
        self.0.guarded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.0.sources.monotonic()
    }
}

/// Lets others tell changes when a report panics.
struct Telling<'a> {
    breaker: &'a Breaker,
    is_over: bool,
}

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.breaker.guarded().is_told = false;
        }
    }
}

impl fmt::Debug for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Breaker").field("status", &self.status()).finish_non_exhaustive()
    }
}
