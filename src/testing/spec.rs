//! The bridge to the code under test: the catalogue's own spec of a provider, pointed at the
//! simulation.

use std::time::Duration;

use super::SimulatedProvider;
use crate::provider::{ProviderSpec, RefreshPolicy};

/// The lifetime for which the refresh policies of the catalogue are meant.
const ORDINARY_LIFETIME: Duration = Duration::from_hours(1);

impl SimulatedProvider {
    /// The provider's spec from the catalogue with the endpoints, the client and the redirect
    /// ports of this simulation. All else is what the real provider gets: the same URL, bodies and
    /// headers.
    ///
    /// Where tokens live for less than an hour, the refresh policy is shortened in proportion, so
    /// that a minute of a simulation shows what an hour of the real one would.
    pub fn spec(&self) -> ProviderSpec {
        let registration = self.registration();
        let mut spec = self
            .catalogue_spec()
            .base_url(self.base_url())
            .client(&registration.client_id)
            .token_endpoint(self.token_endpoint());
        if let Some(secret) = &registration.client_secret {
            spec = spec.client_secret(secret.clone());
        }
        // What the simulation does not have must not be the real one's.
        spec.oauth.authorization_endpoint = self.authorization_endpoint();
        spec.oauth.revocation_endpoint = self.revocation_endpoint();
        for (name, value) in self.federation() {
            spec = spec.assertion_parameter(*name, *value);
        }
        spec.oauth.assertion.endpoint = None;
        let (paths, device) = (self.paths(), &mut spec.oauth.device);
        device.endpoint = self.endpoint(paths.device);
        device.poll_endpoint = self.endpoint(paths.device_poll);
        device.verification_uri =
            device.verification_uri.take().and_then(|_| self.endpoint(paths.verification));
        if let Some(redirect) = &mut spec.oauth.redirect {
            redirect.ports.clone_from(&registration.redirect_ports);
        }
        spec.refresh = shortened(spec.refresh, registration.token_lifetime);
        spec
    }
}

/// `policy` for tokens that live for `lifetime`, in proportion to those that live for an hour.
fn shortened(policy: RefreshPolicy, lifetime: Duration) -> RefreshPolicy {
    let share = lifetime.min(ORDINARY_LIFETIME).as_secs_f64() / ORDINARY_LIFETIME.as_secs_f64();
    RefreshPolicy {
        threshold: policy.threshold.mul_f64(share),
        unusable_before_expiry: policy.unusable_before_expiry.mul_f64(share),
        ..policy
    }
}
