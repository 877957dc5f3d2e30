//! How a provider is looked at to see whether it works, without the credential of any user.

use std::time::Duration;

use http::HeaderMap;
use http::header::{HeaderValue, USER_AGENT};
use serde::{Deserialize, Serialize};
use url::Url;

use super::errors::{Spends, failure};
use super::{ErrorTable, Exchanging, Failure, FailureClass, Provider as _, ProviderSpec, Renewal};
use crate::identity::Method;
use crate::oauth::{self, Probed, Transport};

/// How long a look may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How a provider is looked at.
///
/// ```
/// use std::time::Duration;
/// use tokenward::catalog;
/// use tokenward::provider::HealthSpec;
///
/// // Asked at a path of its own, every five minutes.
/// let health = HealthSpec {
///     path: Some("/status".to_owned()),
///     every: Some(Duration::from_mins(5)),
///     ..HealthSpec::default()
/// };
/// assert!(health.is_checked());
/// let provider = catalog::openai().with_health(health);
/// # let _ = provider;
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HealthSpec {
    /// What is asked of it.
    pub probe: HealthProbe,
    /// The path beneath the base URL that is asked whether it answers; none: the base URL itself.
    pub path: Option<String>,
    /// How long it is from one look to the next; none: as the runtime's policy has it.
    #[serde(with = "crate::config::duration::option", skip_serializing_if = "Option::is_none")]
    pub every: Option<Duration>,
}

/// What is asked of a provider to see whether it works.
///
/// ```
/// use tokenward::catalog;
/// use tokenward::provider::{HealthProbe, HealthSpec};
///
/// // Left alone, whatever the policy of the runtime says.
/// let off = HealthSpec { probe: HealthProbe::Off, ..HealthSpec::default() };
/// assert!(!catalog::openai().with_health(off).health.is_checked());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum HealthProbe {
    /// Whether it answers a request without any credential. Any answer below 500 will do: that the
    /// request is refused is what it should be.
    #[default]
    Reach,
    /// Whether it grants a token for the client credentials that it is configured with
    /// (RFC 6749 §4.4). The token is thrown away.
    Token,
    /// Nothing: it is not looked at.
    Off,
}

impl HealthSpec {
    /// Whether it is looked at.
    pub fn is_checked(&self) -> bool {
        self.probe != HealthProbe::Off
    }
}

impl ProviderSpec {
    /// How it is looked at to see whether it works, in place of the preset.
    #[must_use]
    pub fn with_health(mut self, health: HealthSpec) -> Self {
        self.health = health;
        self
    }

    pub(super) fn look<'a>(&'a self, transport: &'a Transport) -> Exchanging<'a, ()> {
        let misconfigured =
            |text: String| Failure::new(FailureClass::Misconfigured, text).not_sent();
        Box::pin(async move {
            match self.health.probe {
                HealthProbe::Reach => {
                    let base = self.base_url.as_str().trim_end_matches('/');
                    let path = self.health.path.as_deref().unwrap_or("/");
                    let url = Url::parse(&format!("{base}{path}")).map_err(|_| {
                        misconfigured(format!("health.path of {} is not a path", self.id))
                    })?;
                    reach(transport, &url, &self.user_agent).await
                }
                HealthProbe::Token => {
                    let method = Method::ClientCredentials;
                    let renewal = Renewal { method, refresh_token: None, in_force: None };
                    self.renew(&transport.within(PATIENCE), renewal).await.map(|_| ())
                }
                HealthProbe::Off => {
                    Err(misconfigured(format!("{} is not to be looked at", self.id)))
                }
            }
        })
    }
}

/// Whether `url` answers at all, asked without any credential.
pub(super) async fn reach(
    transport: &Transport,
    url: &Url,
    user_agent: &str,
) -> Result<(), Failure> {
    let mut headers = HeaderMap::new();
    if let Ok(user_agent) = HeaderValue::from_str(user_agent) {
        headers.insert(USER_AGENT, user_agent);
    }
    let probed = oauth::probe(&transport.within(PATIENCE), url, headers).await;
    let Probed { status, retry_after, .. } =
        probed.map_err(|error| failure(&ErrorTable::default(), &error, Spends::Nothing))?;
    if status.is_server_error() {
        let host = url.host_str().unwrap_or_default();
        let text = format!("{host} answers {}", status.as_u16());
        return Err(Failure::new(FailureClass::Transient { retry_after }, text));
    }
    Ok(())
}
