//! Whether providers work: periodic checks that spend no user's credential, a snapshot of each that
//! is read without a message, and an event when one fails and when it is back.

mod actor;
mod board;
mod breakers;
mod messages;
mod monitor;
mod providers;

pub use board::{Health, HealthCheck, LastFailure};

pub(crate) use breakers::{observed_breaker, observers};
pub use messages::{HealthMessage, Internal};
pub use monitor::HealthPolicy;
pub use providers::ProviderHealth;
pub(crate) use providers::Surroundings;
