//! Sign-in on another device (RFC 8628): the request for a device code, and one poll at a time. When
//! to poll is decided above.

use std::fmt;
use std::time::Duration;

use http::StatusCode;
use url::Url;

use super::call::{ExchangeError, TokenEndpoint, TokenGrant};
use super::post::{granted, post, refused};
use super::response::{
    self, DeviceCodeIssued, DeviceIssued, Problem, Refusal, Verdict, asked_interval,
};
use super::transport::Transport;
use crate::clock::Moment;
use crate::secret::Secret;

const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// A device code, and what the user has to do with it (RFC 8628 §3.2).
///
/// ```
/// use std::time::Duration;
/// use tokenward::clock::Sources;
/// use tokenward::oauth::DeviceAuthorization;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // What a provider of your own answers with in `Provider::authorize_device`.
/// let page = "https://example.com/device".parse()?;
/// let (lifetime, now) = (Duration::from_mins(15), Sources::system().now());
/// let device = DeviceAuthorization::new("the-device-code", "WDJB-MJHT", page, lifetime, now)
///     .with_interval(Duration::from_secs(10));
/// println!("open {} and enter {}", device.verification_uri, device.user_code);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceAuthorization {
    /// Asks for the grant; never shown.
    pub device_code: Secret,
    /// What the user types at `verification_uri`.
    pub user_code: String,
    /// Where the user types it.
    pub verification_uri: Url,
    /// The same with the code in it; the code is shown all the same, for comparison (§3.3.1).
    pub verification_uri_complete: Option<Url>,
    /// How long the codes live, counted from `requested_at`.
    pub lifetime: Duration,
    /// How long to wait between two polls.
    pub interval: Duration,
    /// Both clocks just before the request was sent.
    pub requested_at: Moment,
}

impl DeviceAuthorization {
    /// Codes that live for `lifetime` from `requested_at` on, both clocks just before they were asked
    /// for. Between two polls are five seconds (RFC 8628 §3.2), unless `interval` is set to another
    /// time.
    pub fn new(
        device_code: impl Into<Secret>,
        user_code: impl Into<String>,
        verification_uri: Url,
        lifetime: Duration,
        requested_at: Moment,
    ) -> Self {
        Self {
            device_code: device_code.into(),
            user_code: user_code.into(),
            verification_uri,
            verification_uri_complete: None,
            lifetime,
            interval: response::INTERVAL,
            requested_at,
        }
    }

    /// With an address that has the code in it (RFC 8628 §3.3.1).
    #[must_use]
    pub fn with_complete_uri(self, uri: Url) -> Self {
        Self { verification_uri_complete: Some(uri), ..self }
    }

    /// With the time to wait between two polls that the provider asked for.
    #[must_use]
    pub fn with_interval(self, interval: Duration) -> Self {
        Self { interval, ..self }
    }
}

/// How a provider's device sign-in differs from RFC 8628.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DeviceManner<'a> {
    /// The address to open when the answer names none.
    pub(crate) verification_uri: Option<&'a Url>,
    /// The life of a device code when the answer does not say.
    pub(crate) lifetime: Duration,
    /// Statuses that mean that the user is not done, whatever the body.
    pub(crate) pending_statuses: &'a [u16],
    /// Whether a poll ends in a code to exchange rather than in tokens.
    pub(crate) gives_code: bool,
}

/// What a poll was answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum DevicePoll {
    /// The user consented.
    Granted(TokenGrant),
    /// The user consented, and this code is to be exchanged.
    Code { code: Secret, code_verifier: Secret },
    /// The user is not done.
    Pending,
    /// The user is not done, and the polls come too fast.
    SlowDown { interval: Option<Duration> },
    /// The user, or the provider, refused.
    Denied,
    /// The device code is over.
    Expired,
}

/// Asks for a device code.
pub(crate) async fn authorize_device(
    transport: &Transport,
    endpoint: TokenEndpoint<'_>,
    scope: &str,
    manner: DeviceManner<'_>,
) -> Result<DeviceAuthorization, ExchangeError> {
    let values: &[_] = if scope.is_empty() { &[] } else { &[("scope", scope)] };
    let answer = post(transport, endpoint, values).await?;
    let body = match response::examine(answer.status, &answer.body)? {
        Verdict::Success(body) => body,
        Verdict::Refusal(refusal) => return Err(refused(refusal, &answer)),
    };
    let issued = DeviceIssued::read(body)?;
    let verification_uri = issued.verification_uri.or_else(|| manner.verification_uri.cloned());
    Ok(DeviceAuthorization {
        device_code: issued.device_code,
        user_code: issued.user_code,
        verification_uri: verification_uri.ok_or(Problem::VerificationUriMissing)?,
        verification_uri_complete: issued.verification_uri_complete,
        lifetime: issued.lifetime.unwrap_or(manner.lifetime),
        interval: issued.interval,
        requested_at: answer.requested_at,
    })
}

/// Asks once whether the user is done. Decided by `error` before the status: servers answer
/// `authorization_pending` with 200, 400, 403 and 428 (RFC 8628 §3.5 has 400).
pub(crate) async fn poll_device(
    transport: &Transport,
    endpoint: TokenEndpoint<'_>,
    device: &DeviceAuthorization,
    manner: DeviceManner<'_>,
) -> Result<DevicePoll, ExchangeError> {
    let values = [
        ("grant_type", GRANT_TYPE),
        ("device_code", device.device_code.expose()),
        ("device_auth_id", device.device_code.expose()),
        ("user_code", device.user_code.as_str()),
    ];
    let answer = post(transport, endpoint, &values).await?;
    match response::examine(answer.status, &answer.body)? {
        Verdict::Success(body) if manner.gives_code => {
            let DeviceCodeIssued { code, code_verifier } = DeviceCodeIssued::read(body)?;
            Ok(DevicePoll::Code { code, code_verifier })
        }
        Verdict::Success(body) => granted(&answer, body, endpoint).map(DevicePoll::Granted),
        Verdict::Refusal(refusal) => {
            let interval = || asked_interval(&answer.body);
            told(&refusal, interval, manner).ok_or_else(|| refused(refusal, &answer))
        }
    }
}

/// What a refusal means for the sign-in, when it is one of those that belong to it.
fn told(
    refusal: &Refusal,
    interval: impl FnOnce() -> Option<Duration>,
    manner: DeviceManner<'_>,
) -> Option<DevicePoll> {
    let pending = |status: StatusCode| manner.pending_statuses.contains(&status.as_u16());
    Some(match refusal.code.as_deref() {
        Some("authorization_pending") => DevicePoll::Pending,
        Some("slow_down") => DevicePoll::SlowDown { interval: interval() },
        Some("access_denied") => DevicePoll::Denied,
        Some("expired_token") => DevicePoll::Expired,
        _ if pending(refusal.status) => DevicePoll::Pending,
        _ => return None,
    })
}

impl fmt::Debug for DeviceAuthorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceAuthorization")
            .field("verification_uri", &self.verification_uri.as_str())
            .field("lifetime", &self.lifetime)
            .field("interval", &self.interval)
            .finish_non_exhaustive()
    }
}
