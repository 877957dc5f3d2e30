//! The way out to token endpoints: one request, one bounded answer, and a precise word on what
//! became of a request that got none.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{ACCEPT, USER_AGENT};
use http::{HeaderMap, HeaderValue, StatusCode};
use tracing::{Instrument as _, debug_span};
use url::Url;
use zeroize::Zeroizing;

use super::clients::{Clients, NoClient, root_cause};
use super::tls::Tls;
use crate::clock::{Moment, Sources};
use crate::error::Error;
use crate::resilience::{retry_after, server_date};

/// What the crate calls itself to providers, unless configured otherwise.
pub(crate) const OUR_USER_AGENT: &str = concat!("tokenward/", env!("CARGO_PKG_VERSION"));

/// Carries requests to token endpoints, also those of a [`Provider`](crate::Provider) that is written
/// by hand ([`Transport::send`]).
///
/// It follows no redirect, refuses plain text to anything but loopback, bounds the time and the
/// size of each answer, and opens a new connection for each request: a socket that went stale
/// while idle would leave open whether a refresh token was spent.
///
/// ```
/// use tokenward::clock::Sources;
/// use tokenward::oauth::Transport;
/// # use tokenward::testing::SimulatedProvider;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let orange = SimulatedProvider::orange().start().await?;
/// # let url = orange.url("/").to_string();
/// let transport = Transport::new(Sources::system())?;
/// let request = http::Request::get(url).body(Vec::new())?;
/// match transport.send(request).await {
///     Ok(answer) => println!("{}, retry after {:?}", answer.status, answer.retry_after()),
///     // May it have been carried out? Then what it spent may be spent.
///     Err(error) => println!("{error}: {}", error.may_have_been_sent()),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Transport {
    shared: Arc<Shared>,
    limits: Limits,
}

struct Shared {
    sources: Sources,
    clients: Clients,
}

/// The bounds of one request.
///
/// ```
/// use std::time::Duration;
/// use tokenward::Runtime;
/// use tokenward::oauth::Limits;
///
/// // On a slow line.
/// let limits = Limits { connect: Duration::from_secs(20), ..Limits::default() };
/// let builder = Runtime::builder().token_request_limits(limits);
/// # let _ = builder;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// To have a connection, the name resolved and TLS agreed. Never more than half the deadline.
    pub connect: Duration,
    /// From the beginning to the last byte of the answer, however steadily it drips.
    pub deadline: Duration,
    /// The longest answer, in bytes.
    pub body: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            deadline: Duration::from_secs(30),
            body: 1024 * 1024,
        }
    }
}

impl Transport {
    /// A transport with the default limits: 10 s to connect, 30 s in all, 1 MiB of answer.
    ///
    /// Where the platform has no trusted roots it still speaks to loopback, and says what is
    /// missing when asked to go further.
    ///
    /// # Errors
    ///
    /// When the HTTP client can not be set up.
    pub fn new(sources: Sources) -> Result<Self, Error> {
        Self::with_limits(sources, Limits::default())
    }

    /// A transport with limits of the caller's choice.
    ///
    /// # Errors
    ///
    /// As [`Transport::new`].
    pub fn with_limits(sources: Sources, limits: Limits) -> Result<Self, Error> {
        Self::with_tls(sources, limits, &Tls::of_the_platform()?)
    }

    /// A transport that shares its TLS with others.
    pub(crate) fn with_tls(sources: Sources, limits: Limits, tls: &Tls) -> Result<Self, Error> {
        let clients = Clients::new(tls, || builder(limits))?;
        Ok(Self { shared: Arc::new(Shared { sources, clients }), limits })
    }

    /// The clients that it sends with, which keep no connection.
    pub(crate) fn clients(&self) -> &Clients {
        &self.shared.clients
    }

    /// The clock and the randomness that this transport was made with.
    pub fn sources(&self) -> &Sources {
        &self.shared.sources
    }

    /// The same transport with a shorter deadline for each request.
    #[must_use]
    pub(crate) fn within(&self, deadline: Duration) -> Self {
        let deadline = deadline.min(self.limits.deadline);
        Self { shared: Arc::clone(&self.shared), limits: Limits { deadline, ..self.limits } }
    }

    /// How long a request takes at most.
    pub(crate) fn deadline(&self) -> Duration {
        self.limits.deadline
    }

    /// Sends `request` once and reads the whole answer, whatever its status. Nothing is followed or
    /// sent again. Unless the request has them, it gets `Accept: application/json` and the name of
    /// this crate as `User-Agent`.
    ///
    /// # Errors
    ///
    /// When there is no whole answer within the bounds; [`TransportError::may_have_been_sent`] says
    /// whether the endpoint may have acted upon the request all the same.
    pub async fn send(&self, request: http::Request<Vec<u8>>) -> Result<Answer, TransportError> {
        let (parts, body) = request.into_parts();
        let body = Bytes::from_owner(Zeroizing::new(body));
        let url = Url::parse(&parts.uri.to_string())
            .map_err(|error| TransportError::Refused(format!("the endpoint is no url: {error}")))?;
        let client = self.shared.clients.for_url(&url)?;
        let host = host_and_port(&url);

        let mut request = reqwest::Request::new(parts.method, url);
        *request.headers_mut() = with_defaults(parts.headers);
        if !body.is_empty() {
            *request.body_mut() = Some(body.into());
        }

        let requested_at = self.shared.sources.now();
        let exchange = async {
            let response =
                client.execute(request).await.map_err(|error| unanswered(&error, &host))?;
            let status = response.status();
            let headers = response.headers().clone();
            let body = read_body(response, self.limits.body, &host).await?;
            Ok(Answer { status, headers, body, requested_at })
        };
        // The network lives in real time, also where a test moves the runtime's clock by hand.
        let exchange = tokio::time::timeout(self.limits.deadline, exchange);
        exchange.instrument(debug_span!("token request", %host)).await.unwrap_or_else(|_| {
            let within = humantime::format_duration(self.limits.deadline);
            Err(TransportError::Ambiguous(format!("{host} gave no whole answer within {within}")))
        })
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("limits", &self.limits)
            .field("clients", &self.shared.clients)
            .finish_non_exhaustive()
    }
}

/// An answer of an endpoint, read to its end.
///
/// ```
/// use std::time::Duration;
/// use tokenward::oauth::Transport;
/// use tokenward::testing::{Endpoint, Fault};
/// # use tokenward::{clock::Sources, testing::SimulatedProvider};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let orange = SimulatedProvider::orange().start().await?;
/// # let transport = Transport::new(Sources::system())?;
/// let busy = Fault::RateLimited { retry_after: Some(Duration::from_secs(5)) };
/// orange.faults().on(Endpoint::Token).next(1, busy);
/// let request = http::Request::post(orange.token_endpoint().as_str()).body(Vec::new())?;
/// let answer = transport.send(request).await?;
/// assert_eq!(answer.status, 429);
/// assert_eq!(answer.retry_after(), Some(Duration::from_secs(5)));
/// assert!(!format!("{answer:?}").contains(std::str::from_utf8(&answer.body)?));
/// # Ok(())
/// # }
/// ```
#[non_exhaustive]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body. It is wiped when it is dropped.
    pub body: Zeroizing<Vec<u8>>,
    /// Both clocks just before the request was sent.
    pub requested_at: Moment,
}

impl Answer {
    /// The server's own clock, from its `Date`.
    pub fn date(&self) -> Option<SystemTime> {
        server_date(&self.headers)
    }

    /// The value of `Retry-After`, as a wait from the request.
    pub fn retry_after(&self) -> Option<Duration> {
        retry_after(&self.headers, self.requested_at.wall)
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("status", &self.status)
            .field("length", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// Why there is no answer. The texts never hold a body or a header.
///
/// ```
/// use tokenward::oauth::{Transport, TransportError};
/// use tokenward::testing::{Endpoint, Fault};
/// # use tokenward::{clock::Sources, testing::SimulatedProvider};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let orange = SimulatedProvider::orange().start().await?;
/// # let transport = Transport::new(Sources::system())?;
/// orange.faults().on(Endpoint::Token).next(1, Fault::LostAnswer);
/// let request = http::Request::post(orange.token_endpoint().as_str()).body(Vec::new())?;
/// let lost = transport.send(request).await.expect_err("no answer");
/// assert!(lost.may_have_been_sent(), "what it spent may be spent");
///
/// let request = http::Request::post("http://example.com/token").body(Vec::new())?;
/// let refused = transport.send(request).await.expect_err("plain text, to another machine");
/// assert!(matches!(refused, TransportError::Refused(_)) && !refused.may_have_been_sent());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// We did not send it, and will not: plain text, no trusted roots, no URL.
    #[error("{0}")]
    Refused(String),
    /// It can not have been received: no address, no connection, no TLS.
    #[error("{0}")]
    Unreached(String),
    /// It was sent, or may have been, and no whole answer came back.
    #[error("{0}")]
    Ambiguous(String),
    /// An answer came that is longer than the limit.
    #[error("the answer is longer than it may be")]
    TooLong,
}

impl TransportError {
    /// Whether the endpoint may have received the request, and acted upon it.
    pub fn may_have_been_sent(&self) -> bool {
        matches!(self, Self::Ambiguous(_) | Self::TooLong)
    }
}

impl From<NoClient> for TransportError {
    fn from(error: NoClient) -> Self {
        Self::Refused(error.to_string())
    }
}

fn builder(limits: Limits) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .pool_max_idle_per_host(0)
        .http1_only()
        .connect_timeout(limits.connect.min(limits.deadline / 2))
        .retry(reqwest::retry::never())
}

fn with_defaults(mut headers: HeaderMap) -> HeaderMap {
    headers.entry(ACCEPT).or_insert(HeaderValue::from_static("application/json"));
    headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(OUR_USER_AGENT));
    headers
}

/// What errors call the other side of `url`. Nothing else of a url is safe to show.
fn host_and_port(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Each request has a fresh connection, so a failure to connect is a request that was not sent.
fn unanswered(error: &reqwest::Error, host: &str) -> TransportError {
    let cause = root_cause(error);
    if error.is_connect() {
        TransportError::Unreached(format!("can not reach {host}: {cause}"))
    } else if error.is_builder() {
        TransportError::Refused(format!("the request can not be formed: {cause}"))
    } else {
        TransportError::Ambiguous(format!("{host} gave no answer: {cause}"))
    }
}

async fn read_body(
    mut response: reqwest::Response,
    limit: usize,
    host: &str,
) -> Result<Zeroizing<Vec<u8>>, TransportError> {
    let mut body = Zeroizing::new(Vec::with_capacity(4096));
    loop {
        let chunk = response.chunk().await.map_err(|error| {
            let cause = root_cause(&error);
            TransportError::Ambiguous(format!("the answer of {host} broke off: {cause}"))
        })?;
        let Some(chunk) = chunk else { return Ok(body) };
        if chunk.len() > limit - body.len() {
            return Err(TransportError::TooLong);
        }
        append(&mut body, &chunk);
    }
}

/// Appends without leaving an unwiped copy behind when the buffer grows.
fn append(body: &mut Zeroizing<Vec<u8>>, chunk: &[u8]) {
    if body.capacity() - body.len() < chunk.len() {
        let mut larger = Zeroizing::new(Vec::with_capacity(2 * (body.len() + chunk.len())));
        larger.extend_from_slice(body);
        *body = larger;
    }
    body.extend_from_slice(chunk);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_growing_body_keeps_its_bytes() {
        let mut body = Zeroizing::new(Vec::with_capacity(2));
        for chunk in [&b"one"[..], b"", b"two", b"three"] {
            append(&mut body, chunk);
        }
        assert_eq!(body.as_slice(), b"onetwothree");
    }
}
