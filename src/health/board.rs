//! What is known of each provider's health, for everyone to read. It outlives the actor that
//! writes it, so a restart forgets nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use serde::Serialize;

use crate::event::HealthState;
use crate::identity::ProviderId;

/// One provider's health, as it was after the last check.
///
/// ```
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let openai = SimulatedProvider::openai().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(openai.spec()).start().await?;
/// runtime.check_health("openai").await?;
/// let health = runtime.health().of("openai").expect("a provider of this runtime");
/// assert_eq!(health.consecutive_failures, 0);
/// assert!(health.last_success.is_some() && health.last_failure.is_none());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Health {
    /// Whether it works.
    pub state: HealthState,
    /// How long the last good check took, from before its request to the end of the answer.
    pub latency: Option<Duration>,
    /// When a check was good last, by the wall clock.
    pub last_success: Option<SystemTime>,
    /// The last check that was not good.
    pub last_failure: Option<LastFailure>,
    /// How many checks failed since the last good one.
    pub consecutive_failures: u32,
}

/// What a check found that was good: the provider answered or, where that is asked of it, granted
/// a token.
///
/// [`Runtime::check_health`](crate::Runtime::check_health) answers with it.
///
/// ```
/// use std::time::Duration;
///
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let openai = SimulatedProvider::openai().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(openai.spec()).start().await?;
/// let check = runtime.check_health("openai").await?;
/// if check.latency > Duration::from_secs(1) {
///     println!("it answers, after {:?}", check.latency);
/// }
/// # assert!(check.latency < Duration::from_mins(1));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct HealthCheck {
    /// From before the request was sent to the end of the answer.
    pub latency: Duration,
}

/// A check that was not good.
///
/// ```
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let openai = SimulatedProvider::openai().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(openai.spec()).start().await?;
/// openai.stop().await?;
/// runtime.check_health("openai").await.expect_err("nothing listens there");
/// let health = runtime.health().of("openai").expect("a provider of this runtime");
/// let failure = health.last_failure.as_ref().expect("it failed");
/// println!("{:?}: {}", failure.at, failure.reason);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LastFailure {
    /// When, by the wall clock.
    pub at: SystemTime,
    /// Why; never a secret, never a body.
    pub reason: String,
}

impl Health {
    /// Of a provider that was not looked at yet.
    pub(super) const UNKNOWN: Self = Self {
        state: HealthState::Unknown,
        latency: None,
        last_success: None,
        last_failure: None,
        consecutive_failures: 0,
    };
}

/// What is known of all providers.
#[derive(Debug)]
pub(super) struct Board(BTreeMap<ProviderId, ArcSwap<Health>>);

impl Board {
    pub(super) fn of(providers: impl Iterator<Item = ProviderId>) -> Self {
        Self(providers.map(|id| (id, ArcSwap::from_pointee(Health::UNKNOWN))).collect())
    }

    pub(super) fn read(&self, provider: &ProviderId) -> Option<Arc<Health>> {
        Some(self.0.get(provider)?.load_full())
    }

    pub(super) fn all(&self) -> Vec<(ProviderId, Arc<Health>)> {
        self.0.iter().map(|(id, health)| (id.clone(), health.load_full())).collect()
    }

    pub(super) fn publish(&self, provider: &ProviderId, health: Health) {
        if let Some(published) = self.0.get(provider) {
            published.store(Arc::new(health));
        }
    }
}
