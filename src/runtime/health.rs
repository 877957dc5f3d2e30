//! Whether a provider can be reached and grants tokens, and how long it takes.

use std::time::Duration;

use super::Runtime;
use crate::error::{Error, ErrorKind};
use crate::identity::{Method, ProviderId};
use crate::provider::Renewal;

/// What a health check found: the provider granted a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct HealthCheck {
    /// From before the request was sent to the end of the answer.
    pub latency: Duration,
}

impl Runtime {
    /// Asks a provider for a token by the client credentials that it is configured with, and
    /// throws the token away: no credential is read, renewed or stored.
    ///
    /// # Errors
    ///
    /// Why no token was granted: [`Error::is_transient`] tells an outage from a client that is
    /// refused ([`Error::is_configuration`]). When there is no such provider, or it does not offer
    /// client credentials: what it grants otherwise would be spent by a check.
    pub async fn check_health(&self, provider: &str) -> Result<HealthCheck, Error> {
        let credentials = &self.0.credentials;
        let provider = credentials.provider(&ProviderId::new(provider)?)?;
        let method = Method::ClientCredentials;
        if !provider.methods().contains(&method) {
            let text =
                format!("{} does not offer {method}, nothing else is checked", provider.id());
            return Err(Error::new(ErrorKind::InvalidInput, text));
        }
        let begun = self.0.sources.now().monotonic;
        let renewal = Renewal { method, refresh_token: None, in_force: None };
        provider.renew(&credentials.shared().transport, renewal).await?;
        let latency = self.0.sources.now().monotonic.saturating_sub(begun);
        Ok(HealthCheck { latency })
    }
}
