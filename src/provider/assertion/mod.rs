//! How a provider takes assertions in place of a user (RFC 7523): the data, and the exchange as it
//! says. The assertion is read afresh for each exchange, since whoever issues it replaces it.

mod source;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use url::Url;

use super::errors::{Spends, failure};
use super::{Failure, FailureClass, Grant, ProviderSpec};
use crate::oauth::{self, ExchangeError, RequestProfile, Transport};

pub use source::AssertionSource;

/// How a provider takes assertions.
///
/// ```
/// use tokenward::catalog;
/// use tokenward::provider::AssertionSource;
///
/// // A workload that gets its token by a JWT which its platform writes into a file.
/// let provider = catalog::anthropic()
///     .assertion(AssertionSource::file("/run/secrets/assertion.jwt"))
///     .assertion_parameter("organization_id", "…");
/// assert_eq!(provider.oauth.assertion.parameters.len(), 1);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AssertionSpec {
    /// Where the assertion is found, each time anew.
    pub source: Option<AssertionSource>,
    /// Where it is exchanged; none: the token endpoint.
    pub endpoint: Option<Url>,
    /// How the exchange is written. A client id is sent where there is one and it is named here.
    pub request: RequestProfile,
    /// What else is sent, by name; what `request` does not name is not.
    pub parameters: BTreeMap<String, String>,
    /// The parameters that the provider insists on.
    pub required: Vec<String>,
}

impl Default for AssertionSpec {
    fn default() -> Self {
        Self {
            source: None,
            endpoint: None,
            request: RequestProfile::form(&[
                "grant_type",
                "assertion",
                "scope",
                "client_id",
                "client_secret",
            ]),
            parameters: BTreeMap::new(),
            required: Vec::new(),
        }
    }
}

impl ProviderSpec {
    /// Where the assertion for [`Method::JwtBearer`](crate::Method::JwtBearer) is found, each time
    /// anew.
    #[must_use]
    pub fn assertion(mut self, source: AssertionSource) -> Self {
        self.oauth.assertion.source = Some(source);
        self
    }

    /// What goes along with an assertion, such as `federation_rule_id`.
    #[must_use]
    pub fn assertion_parameter(
        mut self,
        name: impl Into<String>,
        value: impl Into<String>,
    ) -> Self {
        self.oauth.assertion.parameters.insert(name.into(), value.into());
        self
    }

    pub(super) async fn exchange_assertion(&self, transport: &Transport) -> Result<Grant, Failure> {
        let spec = &self.oauth.assertion;
        let misconfigured =
            |text: String| Failure::new(FailureClass::Misconfigured, text).not_sent();
        let missing = |name: &&String| spec.parameters.get(*name).is_none_or(String::is_empty);
        if let Some(name) = spec.required.iter().find(missing) {
            let text = format!("{} wants {name} with an assertion, configure it", self.id);
            return Err(misconfigured(text));
        }
        let source = spec.source.as_ref().ok_or_else(|| {
            misconfigured(format!("no assertion is configured for {}, name its source", self.id))
        })?;
        let assertion = source.read().await.map_err(misconfigured)?;
        let url = spec.endpoint.as_ref().or(self.oauth.token_endpoint.as_ref());
        let url = url.ok_or_else(|| {
            misconfigured(format!("{} has no token endpoint, configure it", self.id))
        })?;
        let endpoint = self.endpoint_of(url, &spec.request, self.client_id().unwrap_or_default());
        let parameters: Vec<_> =
            spec.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let scope = self.scope();
        let result =
            oauth::exchange_assertion(transport, endpoint, &assertion, &scope, &parameters).await;
        if let Err(error @ ExchangeError::Refused(refusal)) = &result
            && failure(&self.errors, error, Spends::Nothing).class
                == FailureClass::ReauthorizationRequired
        {
            // There is no user to sign in again: a better assertion will be taken.
            let code = refusal.printable_code().unwrap_or("without a code");
            return Err(Failure::new(
                FailureClass::Misconfigured,
                format!(
                    "{} refuses the assertion ({} {code}), check that its source gives a current \
                     one, and what it may be exchanged for",
                    self.id,
                    refusal.status.as_u16()
                ),
            ));
        }
        self.granted(result, Spends::Nothing)
    }
}
