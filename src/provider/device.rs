//! How a provider signs users in on another device (RFC 8628): the data, and the protocol as it
//! says.

use std::time::Duration;

use http::StatusCode;
use serde::{Deserialize, Serialize};
use url::Url;

use super::errors::{Spends, failure};
use super::{Failure, FailureClass, Grant, ProviderSpec};
use crate::oauth::{
    self, DeviceAuthorization, DeviceManner, DevicePoll, ExchangeError, RequestProfile, Transport,
};
use crate::secret::Secret;

/// How a provider speaks RFC 8628, or its own variant of it.
///
/// ```
/// use tokenward::catalog;
///
/// let device = catalog::google().oauth.device;
/// assert_eq!(device.endpoint.map(|url| url.to_string()).as_deref(),
///     Some("https://oauth2.googleapis.com/device/code"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeviceSpec {
    /// Where device codes are issued (RFC 8628 §3.1).
    pub endpoint: Option<Url>,
    /// How the request for a device code is written.
    pub request: RequestProfile,
    /// Where polls go; none: the token endpoint (RFC 8628 §3.4).
    pub poll_endpoint: Option<Url>,
    /// How a poll is written. The device code has two names, of which one is to stand here:
    /// `device_code` and `device_auth_id`; `user_code` may be sent along.
    pub poll: RequestProfile,
    /// Where the user goes when the answer names no address.
    pub verification_uri: Option<Url>,
    /// How long a device code lives when the answer does not say.
    #[serde(with = "crate::config::duration")]
    pub lifetime: Duration,
    /// Statuses of a poll that mean that the user is not done, whatever the body says.
    pub pending_statuses: Vec<u16>,
    /// Where a poll ends in a code and its verifier rather than in tokens: the redirect URI with
    /// which they are exchanged.
    pub exchange_redirect_uri: Option<String>,
}

/// What a poll was answered.
///
/// [`Provider::poll_device`](super::Provider::poll_device) answers with it.
///
/// ```
/// use tokenward::Provider as _;
/// use tokenward::provider::DeviceAnswer;
/// # use std::time::SystemTime;
/// # use tokenward::{oauth::Transport, testing::{ManualClock, SimulatedProvider}};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let clock = ManualClock::new(SystemTime::now());
/// # let google = SimulatedProvider::google().sources(clock.sources()).start().await?;
/// # let (spec, transport) = (google.spec(), Transport::new(clock.sources())?);
/// let device = spec.authorize_device(&transport).await?;
/// # clock.advance(device.interval);
/// assert_eq!(spec.poll_device(&transport, &device).await?, DeviceAnswer::Pending);
///
/// google.approve_device(&device.user_code)?; // as its user would, on another device
/// # clock.advance(device.interval);
/// let answer = spec.poll_device(&transport, &device).await?;
/// assert!(matches!(answer, DeviceAnswer::Granted(grant) if grant.refresh_token.is_some()));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeviceAnswer {
    /// The user consented.
    Granted(Grant),
    /// The user consented, and this is to be exchanged like any other code, once.
    Code(DeviceCode),
    /// The user is not done: ask again after the interval.
    Pending,
    /// As pending, and the polls come too fast: the interval is longer from now on.
    SlowDown {
        /// The new interval, where the provider names one. None: five seconds more
        /// (RFC 8628 §3.5).
        interval: Option<Duration>,
    },
    /// The user, or the provider, refused.
    Denied,
    /// The device code is over.
    Expired,
}

/// A code that a poll brought, with what its exchange needs.
///
/// [`DeviceAnswer::Code`] has it.
///
/// ```
/// use tokenward::provider::{DeviceAnswer, DeviceCode};
///
/// // What a provider of your own answers with, where a poll brings a code in place of tokens.
/// let code = DeviceCode::new("the-code", "the-verifier", "https://example.com/done");
/// let answer = DeviceAnswer::Code(code);
/// assert!(!format!("{answer:?}").contains("the-code"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceCode {
    /// The authorization code.
    pub code: Secret,
    /// Its PKCE verifier, which the provider made.
    pub code_verifier: Secret,
    /// The redirect URI that belongs to it.
    pub redirect_uri: String,
}

impl DeviceCode {
    /// The code, the PKCE verifier and the redirect URI with which it is exchanged.
    pub fn new(
        code: impl Into<Secret>,
        code_verifier: impl Into<Secret>,
        redirect_uri: impl Into<String>,
    ) -> Self {
        let (code, code_verifier) = (code.into(), code_verifier.into());
        Self { code, code_verifier, redirect_uri: redirect_uri.into() }
    }
}

impl Default for DeviceSpec {
    fn default() -> Self {
        Self {
            endpoint: None,
            request: RequestProfile::form(&["client_id", "scope"]),
            poll_endpoint: None,
            poll: RequestProfile::form(&[
                "grant_type",
                "device_code",
                "client_id",
                "client_secret",
            ]),
            verification_uri: None,
            lifetime: Duration::from_mins(15),
            pending_statuses: Vec::new(),
            exchange_redirect_uri: None,
        }
    }
}

impl DeviceSpec {
    fn manner(&self) -> DeviceManner<'_> {
        DeviceManner {
            verification_uri: self.verification_uri.as_ref(),
            lifetime: self.lifetime,
            pending_statuses: &self.pending_statuses,
            gives_code: self.exchange_redirect_uri.is_some(),
        }
    }
}

impl ProviderSpec {
    pub(super) async fn ask_for_device_code(
        &self,
        transport: &Transport,
    ) -> Result<DeviceAuthorization, Failure> {
        let device = &self.oauth.device;
        let url = device.endpoint.as_ref().ok_or_else(|| {
            let text = format!("{} has no device endpoint, configure it", self.id);
            Failure::new(FailureClass::Misconfigured, text)
        })?;
        let endpoint = self.endpoint(url, &device.request)?;
        let asked =
            oauth::authorize_device(transport, endpoint, &self.scope(), device.manner()).await;
        asked.map_err(|error| match error {
            ExchangeError::Refused(refusal) if refusal.status == StatusCode::NOT_FOUND => {
                let text = format!(
                    "{} does not offer device sign-in to this client (404), use another method",
                    self.id
                );
                Failure::new(FailureClass::Misconfigured, text)
            }
            error => failure(&self.errors, &error, Spends::Nothing),
        })
    }

    /// A poll whose answer was lost is no loss: the next one tells.
    pub(super) async fn ask_for_device_grant(
        &self,
        transport: &Transport,
        authorization: &DeviceAuthorization,
    ) -> Result<DeviceAnswer, Failure> {
        let device = &self.oauth.device;
        let endpoint = match &device.poll_endpoint {
            Some(url) => self.endpoint(url, &device.poll)?,
            None => self.token_endpoint_for(&device.poll)?,
        };
        let polled = oauth::poll_device(transport, endpoint, authorization, device.manner()).await;
        Ok(match polled.map_err(|error| failure(&self.errors, &error, Spends::Nothing))? {
            DevicePoll::Granted(grant) => {
                DeviceAnswer::Granted(self.granted(Ok(grant), Spends::Nothing)?)
            }
            DevicePoll::Code { code, code_verifier } => DeviceAnswer::Code(DeviceCode {
                code,
                code_verifier,
                redirect_uri: device.exchange_redirect_uri.clone().unwrap_or_default(),
            }),
            DevicePoll::Pending => DeviceAnswer::Pending,
            DevicePoll::SlowDown { interval } => DeviceAnswer::SlowDown { interval },
            DevicePoll::Denied => DeviceAnswer::Denied,
            DevicePoll::Expired => DeviceAnswer::Expired,
        })
    }
}
