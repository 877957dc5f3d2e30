//! The catalogue's description of a provider, with its endpoints and its client at the simulation.

use super::SimulatedProvider;
use crate::provider::{ProviderSpec, catalog};

impl SimulatedProvider {
    /// The built-in provider that is simulated, pointed at this server and signed in as the client
    /// that is registered here. All else is the catalogue's.
    ///
    /// # Panics
    ///
    /// Never: each simulation is of a provider in the catalogue.
    pub fn spec(&self) -> ProviderSpec {
        let preset = match self.name() {
            "anthropic" => catalog::anthropic(),
            "openai" => catalog::openai(),
            "google" => catalog::google(),
            "orange" => catalog::orange(),
            other => unreachable!("{other} is simulated and not in the catalogue"),
        };
        let mut spec = preset
            .base_url(self.base_url())
            .token_endpoint(self.token_endpoint())
            .client(self.client_id());
        // What the simulation does not have must not be the real one's.
        spec.oauth.authorization_endpoint = self.authorization_endpoint();
        spec.oauth.revocation_endpoint = self.revocation_endpoint();
        match self.client_secret() {
            Some(secret) => spec.client_secret(secret.clone()),
            None => spec,
        }
    }
}
