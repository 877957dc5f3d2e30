//! What a simulated provider noted: every request as it came, and how often what happened.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use http::HeaderMap;
use serde_json::Value;

use crate::clock::Moment;

/// The parts of a provider that can fail separately.
///
/// [`Faults::on`](super::Faults::on) and
/// [`SimulatedProvider::requests_at`](super::SimulatedProvider::requests_at) take it.
///
/// ```
/// use tokenward::testing::{Endpoint, Fault};
///
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let anthropic = SimulatedProvider::anthropic().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(anthropic.spec()).start().await?;
/// # let ada = runtime.user("ada");
/// # ada.sign_in("anthropic").with_api_key(anthropic.issue_api_key()).await?;
/// # let session = ada.open_session().await?;
/// # session.use_provider("anthropic").await?;
/// // What the key is for is busy, and nothing else.
/// let busy = Fault::RateLimited { retry_after: None };
/// anthropic.faults().on(Endpoint::Resource).next(1, busy);
/// let reply = session.client().post("/v1/messages").json("hello").send().await?;
/// assert_eq!(reply.status(), 429, "a POST is not made again");
/// assert_eq!(anthropic.requests_at(Endpoint::Resource).len(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Endpoint {
    /// Where the user consents.
    Authorization,
    /// Where codes, refresh tokens and client credentials are exchanged for tokens.
    Token,
    /// Where tokens are revoked.
    Revocation,
    /// Where device codes are issued, and polled for where that is not the token endpoint.
    Device,
    /// What the tokens are for.
    Resource,
    /// Any other path: the provider answers 404.
    Other,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Authorization => "authorization",
            Self::Token => "token",
            Self::Revocation => "revocation",
            Self::Device => "device",
            Self::Resource => "resource",
            Self::Other => "other",
        })
    }
}

/// A text that names no endpoint.
///
/// ```
/// use tokenward::testing::{Endpoint, EndpointError};
///
/// // A command of a test bench, say.
/// let error: EndpointError = "tokens".parse::<Endpoint>().expect_err("no such endpoint");
/// println!("{error}"); // and which there are
/// assert_eq!("token".parse(), Ok(Endpoint::Token));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no endpoint, use authorization, token, revocation, device or resource")]
pub struct EndpointError(String);

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        [Self::Authorization, Self::Token, Self::Revocation, Self::Device, Self::Resource]
            .into_iter()
            .find(|endpoint| endpoint.to_string() == text)
            .ok_or_else(|| EndpointError(text.to_owned()))
    }
}

/// A request as it came over the wire. `Debug` shows neither header values nor the query nor the
/// body: they hold secrets.
///
/// ```
/// use tokenward::testing::Endpoint;
///
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let orange = SimulatedProvider::orange().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(orange.spec()).start().await?;
/// # let ada = runtime.user("ada");
/// # ada.sign_in("orange").with_client_credentials().await?;
/// let request = &orange.requests_at(Endpoint::Token)[0];
/// assert_eq!(request.header("accept"), Some("application/json"));
/// let (name, value) = &request.form()[0];
/// assert_eq!((name.as_str(), value.as_str()), ("grant_type", "client_credentials"));
/// assert!(!format!("{request:?}").contains("Basic "), "what is logged has no secret");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct RecordedRequest {
    /// The part of the provider that it was for.
    pub endpoint: Endpoint,
    /// The HTTP method.
    pub method: http::Method,
    /// The path, as sent.
    pub path: String,
    /// What stood after the question mark, as sent.
    pub query: Option<String>,
    /// The headers; iteration keeps the order in which they came.
    pub headers: HeaderMap,
    /// The body, as sent.
    pub body: Bytes,
    /// When it came, on the provider's clock.
    pub at: Moment,
}

impl RecordedRequest {
    /// The value of a header; none when it is missing or not text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The names of the headers in the order in which they came.
    pub fn header_names(&self) -> Vec<&str> {
        self.headers.keys().map(http::HeaderName::as_str).collect()
    }

    /// The body as text.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }

    /// The body as JSON; `null` when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The body as form fields, in order.
    pub fn form(&self) -> Vec<(String, String)> {
        url::form_urlencoded::parse(&self.body).into_owned().collect()
    }

    /// Whether somebody only looks whether the provider answers: without a credential, and not for one.
    pub(super) fn is_look(&self) -> bool {
        let credentials = ["authorization", "x-api-key", "x-goog-api-key"];
        matches!(self.endpoint, Endpoint::Resource | Endpoint::Other)
            && credentials.iter().all(|name| self.header(name).is_none())
    }

    /// Whether the body is declared as `media_type`, parameters such as `charset` aside.
    pub(super) fn is_of(&self, media_type: &str) -> bool {
        let declared = self.header("content-type").unwrap_or_default();
        declared.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(media_type)
    }
}

impl fmt::Debug for RecordedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordedRequest")
            .field("endpoint", &self.endpoint)
            .field("method", &self.method)
            .field("path", &self.path)
            .field("headers", &self.header_names())
            .field("body_bytes", &self.body.len())
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

/// How often what happened at a simulated provider since it was started.
///
/// ```
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let orange = SimulatedProvider::orange().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(orange.spec()).start().await?;
/// # let ada = runtime.user("ada");
/// # ada.sign_in("orange").with_client_credentials().await?;
/// let counters = orange.counters();
/// assert_eq!((counters.client_credentials, counters.refusals), (1, 0));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Counters {
    /// Requests to the token endpoint, whatever became of them.
    pub token_requests: usize,
    /// Requests to the revocation endpoint, whatever became of them.
    pub revocation_requests: usize,
    /// Requests to resources that brought a credential, whatever became of them.
    pub resource_requests: usize,
    /// Requests to resources, or to any other path, that brought no credential, as those of
    /// [`Runtime::check_health`](crate::Runtime::check_health) and
    /// [`Runtime::doctor`](crate::Runtime::doctor) do. They are not among the refusals.
    pub looks: usize,
    /// Authorization codes that were exchanged.
    pub code_exchanges: usize,
    /// Renewals by refresh token that were carried out, whether or not the answer arrived.
    pub refreshes: usize,
    /// Tokens for client credentials that were issued.
    pub client_credentials: usize,
    /// Assertions that were exchanged.
    pub assertions: usize,
    /// Device codes that were issued.
    pub device_authorizations: usize,
    /// Polls for the grant of a device code that were carried out.
    pub device_polls: usize,
    /// Polls that came before the interval was over: each is a defect of the client.
    pub hasty_polls: usize,
    /// Access tokens issued.
    pub issued_access_tokens: usize,
    /// Refresh tokens issued.
    pub issued_refresh_tokens: usize,
    /// Refresh tokens that were used up by a renewal.
    pub spent_refresh_tokens: usize,
    /// Attempts to use a refresh token that was used up: each is a defect of the client, or the
    /// consequence of an answer that was lost.
    pub reused_refresh_tokens: usize,
    /// Requests that the provider refused by its own rules.
    pub refusals: usize,
    /// Requests that a scripted fault befell.
    pub faults: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_reads_what_it_writes() {
        for endpoint in [Endpoint::Token, Endpoint::Resource, Endpoint::Revocation] {
            assert_eq!(endpoint.to_string().parse(), Ok(endpoint));
        }
        assert!("everything".parse::<Endpoint>().is_err());
    }
}
