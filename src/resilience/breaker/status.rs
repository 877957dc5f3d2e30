//! What a breaker says about itself: where it stands, what it counts, and each change with its reason.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::window::Counts;

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
/// [`Breaker::new`](super::Breaker::new) is told of each, and the event
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
