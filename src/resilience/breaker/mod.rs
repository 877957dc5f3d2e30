//! The circuit breaker: it holds calls back from an upstream that fails, and finds out with a few
//! probes when it is back. The core decides; the breaker around it adds the clock and the lock.

mod core;
mod policy;
#[cfg(test)]
mod tests;
mod window;

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;

use self::core::{ByHand, Core, Outcome};
use crate::clock::Sources;
use crate::error::Error;

pub use self::policy::BreakerPolicy;
pub(super) use self::policy::refuse;
pub use self::window::Counts;

/// Where a breaker stands.
///
/// [`BreakerStatus`] and [`Change`] tell it.
///
/// ```
/// use tokenward::resilience::{Breaker, BreakerPolicy, State};
/// # use tokenward::clock::Sources;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let breaker = Breaker::new(BreakerPolicy::default(), Sources::system(), |_| {})?;
/// assert_eq!(breaker.status().state, State::Closed);
///
/// breaker.force_open();
/// let state = breaker.status().state;
/// match state.retry_in() {
///     Some(wait) => println!("{state}, and asks again in {wait:?}"),
///     None => println!("{state}"),
/// }
/// # assert_eq!(state.to_string(), "forced-open");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum State {
    /// Calls go out.
    Closed,
    /// Calls are held back.
    Open {
        /// How long until the upstream is probed. The first call after that is the probe: nothing
        /// happens by itself.
        retry_in: Duration,
    },
    /// A few calls go out as probes; the others are held back.
    HalfOpen,
    /// Held back by hand.
    ForcedOpen,
    /// Out of the way, by hand: calls go out and are not counted.
    Disabled,
}

impl State {
    /// How long until the upstream is probed, while it is open by itself.
    pub const fn retry_in(self) -> Option<Duration> {
        match self {
            Self::Open { retry_in } => Some(retry_in),
            _ => None,
        }
    }

    /// The name, as events and metrics write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open { .. } => "open",
            Self::HalfOpen => "half-open",
            Self::ForcedOpen => "forced-open",
            Self::Disabled => "disabled",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a breaker changed its state.
///
/// ```
/// use tokenward::EventKind;
/// use tokenward::resilience::Reason;
/// # use tokenward::supervision::Notice;
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let openai = SimulatedProvider::openai().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(openai.spec()).start().await?;
/// let mut events = runtime.events();
/// runtime.upstream("openai")?.breaker().force_open();
///
/// // Whoever is on duty is woken when calls fail, and not when a colleague was at work.
/// let Some(Notice::Event(event)) = events.next().await else { panic!("an event") };
/// let EventKind::BreakerChanged { upstream, change, .. } = &event.kind else { panic!("a change") };
/// let wakes = match change.reason {
///     Reason::ByHand | Reason::TimeToProbe | Reason::ProbesSucceeded => false,
///     reason => {
///         println!("calls to {upstream} are held back: {reason:?}");
///         true
///     }
/// };
/// assert!(!wakes);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Reason {
    /// Too large a share of the calls failed.
    Failures,
    /// Too large a share of the calls was slow.
    SlowCalls,
    /// It was open for long enough.
    TimeToProbe,
    /// A probe failed, or was slow.
    ProbeFailed,
    /// The probes did not come back in time.
    ProbesUnanswered,
    /// All probes succeeded.
    ProbesSucceeded,
    /// Somebody said so.
    ByHand,
}

/// One change of a breaker's state. There is exactly one for each generation.
///
/// [`Breaker::new`] is told of each, and the event
/// [`BreakerChanged`](crate::EventKind::BreakerChanged) has it.
///
/// ```
/// use tokenward::resilience::{Breaker, BreakerPolicy, Reason, State};
/// # use tokenward::clock::Sources;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (tell, changes) = std::sync::mpsc::channel();
/// let report = move |change| {
///     let _ = tell.send(change);
/// };
/// let breaker = Breaker::new(BreakerPolicy::default(), Sources::system(), report)?;
/// breaker.force_open();
///
/// let change = changes.recv()?;
/// assert_eq!((change.from, change.to), (State::Closed, State::ForcedOpen));
/// assert_eq!((change.generation, change.reason), (1, Reason::ByHand));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Change {
    /// The state it left.
    pub from: State,
    /// The state it is in.
    pub to: State,
    /// Counts the changes.
    pub generation: u64,
    /// Why.
    pub reason: Reason,
    /// The calls that led to it.
    pub counts: Counts,
}

/// What a breaker says about itself.
///
/// ```
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let openai = SimulatedProvider::openai().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(openai.spec()).start().await?;
/// let status = runtime.upstream("openai")?.status();
/// let counts = status.counts;
/// println!("{}: {} of {} calls failed", status.state, counts.failures, counts.calls);
/// assert_eq!(status.generation, 0, "it has never changed");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BreakerStatus {
    /// Where it stands.
    pub state: State,
    /// How often it changed.
    pub generation: u64,
    /// The calls that count at the moment.
    pub counts: Counts,
    /// Calls that ended after the state in which they began was over. They changed nothing.
    pub late: u64,
}

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
            Ok(generation) => {
                Ok(Permit { breaker: self.clone(), generation, since: now, settled: false })
            }
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

/// A call was held back. Nothing was sent.
///
/// [`Breaker::admit`] answers with it.
///
/// ```
/// use tokenward::resilience::{Breaker, BreakerPolicy};
/// # use tokenward::clock::Sources;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let breaker = Breaker::new(BreakerPolicy::default(), Sources::system(), |_| {})?;
/// breaker.force_open();
/// let held_back = breaker.admit().expect_err("by hand");
/// match held_back.retry_in {
///     Some(wait) => println!("ask again in {wait:?}"),
///     None => println!("until somebody closes it"),
/// }
/// # assert_eq!(held_back.retry_in, None);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeldBack {
    /// How long until another call may go out. None: a person holds the breaker open.
    pub retry_in: Option<Duration>,
}
