//! Whether the providers work, as a host sees it.

use super::Runtime;
use crate::error::Error;
use crate::health::{HealthCheck, ProviderHealth};

impl Runtime {
    /// What is known of the providers' health. Reading it sends no message; providers are looked at
    /// by themselves when [`RuntimeBuilder::health`](super::RuntimeBuilder::health) says so.
    pub fn health(&self) -> &ProviderHealth {
        &self.0.health
    }

    /// Looks at a provider now: the same as [`ProviderHealth::check`].
    ///
    /// # Errors
    ///
    /// As [`ProviderHealth::check`].
    pub async fn check_health(&self, provider: &str) -> Result<HealthCheck, Error> {
        self.0.health.check(provider).await
    }
}
