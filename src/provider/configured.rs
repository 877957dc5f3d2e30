//! What the environment says about a provider, applied to its data.

use super::ProviderSpec;
use crate::config::Environment;

impl ProviderSpec {
    /// Applies the settings of the environment that concern this provider: client id and secret,
    /// token endpoint, scopes, whether tokens are kept, and, where it has tokens to renew, when.
    ///
    /// An API key is not applied: it is offered by [`Environment::api_key`], and using it is a
    /// sign-in like any other.
    #[must_use]
    pub fn with_environment(mut self, environment: &Environment) -> Self {
        if let Some(client) = environment.client(&self.id) {
            self = self.client(&client.id);
            if let Some(secret) = &client.secret {
                self = self.client_secret(secret.clone());
            }
        }
        if let Some(url) = environment.token_endpoint(&self.id) {
            self = self.token_endpoint(url.clone());
        }
        if let Some(scopes) = environment.scopes(&self.id) {
            self = self.scopes(scopes);
        }
        if let Some(keep) = environment.cache_tokens() {
            self = self.cache_tokens(keep);
        }
        if let Some(threshold) = environment.refresh_threshold() {
            self.refresh.threshold = threshold;
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::provider::{ClientAuthentication, catalog};
    use crate::secret::Secret;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        Environment::read(|name| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        })
        .expect("usable variables")
    }

    #[test]
    fn the_environment_configures_each_provider_and_no_other() {
        let environment = environment(&[
            ("OPENAI_OAUTH_CLIENT_ID", "mine"),
            ("GOOGLE_OAUTH_CLIENT_ID", "desktop"),
            ("GOOGLE_OAUTH_CLIENT_SECRET", "shh"),
            ("ORANGE_CLIENT_ID", "id"),
            ("ORANGE_CLIENT_SECRET", "secret"),
            ("ORANGE_TOKEN_ENDPOINT", "https://api.orange.com/oauth/v2/token"),
            ("ORANGE_OAUTH_SCOPE", "sms"),
            ("OAUTH_CACHE_ENABLED", "false"),
            ("OAUTH_REFRESH_THRESHOLD_MINUTES", "20"),
        ]);
        let openai = catalog::openai()
            .client(catalog::OPENAI_PUBLIC_CLIENT_ID)
            .with_environment(&environment);
        assert_eq!(openai.oauth.client_id.as_deref(), Some("mine"), "the environment overrides");
        assert_eq!(openai.oauth.client_authentication, ClientAuthentication::None);

        let google = catalog::google().with_environment(&environment);
        assert_eq!(google.oauth.client_secret, Some(Secret::new("shh")));
        assert_eq!(google.oauth.client_authentication, ClientAuthentication::Post);

        let orange = catalog::orange().with_environment(&environment);
        let endpoint = orange.oauth.token_endpoint.as_ref().map(url::Url::as_str);
        assert_eq!(endpoint, Some("https://api.orange.com/oauth/v2/token"));
        assert_eq!(orange.oauth.scopes, ["sms"]);
        assert_eq!(orange.oauth.client_authentication, ClientAuthentication::Basic);
        assert!(!orange.cache_tokens);
        assert_eq!(orange.refresh.threshold, Duration::from_mins(20));

        let anthropic = catalog::anthropic().with_environment(&environment);
        assert_eq!(anthropic.oauth.client_id, None);
    }

    #[test]
    fn an_empty_environment_changes_nothing() {
        let untouched = catalog::orange().with_environment(&Environment::default());
        assert_eq!(untouched, catalog::orange());
    }
}
