//! A request that is being built, like any other. What is wrong with it is told when it is sent.

use std::fmt;
use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, Method};
use reqwest::{Body, Request, Response};
use serde::Serialize;
use tracing::Instrument as _;

use super::attempt::of_the_request;
use super::call::Call;
use super::prepared::PreparedRequest;
use super::target::target;
use crate::credential::CredentialHandle;
use crate::error::{Error, ErrorKind};
use crate::runtime::{Active, Session};

/// A request that is being built. Mistakes are kept and told by [`RequestBuilder::send`].
///
/// ```
/// use std::time::Duration;
/// use tokenward::http::Attempts;
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
/// let body = serde_json::json!({ "model": "m", "max_tokens": 16, "messages": [] });
/// let reply = session
///     .client()
///     .post("/v1/messages")
///     .header("Idempotency-Key", "order-17") // may be made again, though it is a POST
///     .json(&body)
///     .timeout(Duration::from_secs(30))
///     .whole_body(1024 * 1024) // read within the attempt
///     .send()
///     .await?;
/// assert_eq!(reply.status(), 200);
/// assert_eq!(reply.extensions().get::<Attempts>().map(|it| it.made), Some(1));
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing is sent before send()"]
pub struct RequestBuilder {
    session: Session,
    /// None: that of whatever provider is active.
    credential: Option<CredentialHandle>,
    method: Method,
    path: String,
    headers: HeaderMap,
    query: Vec<(String, String)>,
    body: Option<Body>,
    timeout: Option<Duration>,
    whole: Option<usize>,
    class: Option<&'static str>,
    mistake: Option<Error>,
}

impl RequestBuilder {
    pub(crate) fn new(
        session: Session,
        credential: Option<CredentialHandle>,
        method: Method,
        path: String,
    ) -> Self {
        Self {
            session,
            credential,
            method,
            path,
            headers: HeaderMap::new(),
            query: Vec::new(),
            body: None,
            timeout: None,
            whole: None,
            class: None,
            mistake: None,
        }
    }

    /// Adds a header. One of the provider's own headers is replaced by it, in its place; those
    /// that carry the credential can not be.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        match (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            (Ok(name), Ok(value)) => {
                self.headers.append(name, value);
            }
            _ => self.mistake(format!("{name:?} with its value is not a header, correct it")),
        }
        self
    }

    /// Adds a parameter to the query; it is percent-encoded.
    pub fn query(mut self, name: &str, value: &str) -> Self {
        self.query.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sends `value` as JSON.
    pub fn json<T: Serialize + ?Sized>(mut self, value: &T) -> Self {
        match serde_json::to_vec(value) {
            Ok(text) => {
                self.headers
                    .entry(CONTENT_TYPE)
                    .or_insert(HeaderValue::from_static("application/json"));
                self.body = Some(text.into());
            }
            Err(error) => self.mistake(format!("the body can not be written as json: {error}")),
        }
        self
    }

    /// Sends `body`. One that is a stream can be sent only once, so its request is never made
    /// again.
    pub fn body(mut self, body: impl Into<Body>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// Bounds the request with all its attempts, to the last byte of the answer, in real time.
    /// Without it the provider's own bound counts, to the head of the answer
    /// ([`CallPolicy::deadline`](crate::resilience::CallPolicy::deadline)).
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Reads the body of the answer within the attempt, as far as it has at most `most` bytes: when
    /// it breaks off there, that is a failure like any other, and the attempt is made again where
    /// that is safe. What is beyond comes as a stream.
    pub fn whole_body(mut self, most: usize) -> Self {
        self.whole = Some(most);
        self
    }

    /// Says that the request is of a class of routes with a breaker of its own
    /// ([`Upstream::route_class`](crate::runtime::Upstream::route_class)), for upstreams of which one
    /// part can fail while the others work.
    pub fn route_class(mut self, class: &'static str) -> Self {
        self.class = Some(class);
        self
    }

    /// Sends the request as the session's active provider, or as the one that the client was made
    /// for.
    ///
    /// An answer is an answer whatever its status, also a 401 that a renewed credential did not
    /// mend. When the credential needs its user and an API key was spent instead, the answer's
    /// extensions hold a [`Fallback`](crate::credential::Fallback).
    ///
    /// A failure that another attempt may mend is attempted again, as the provider's
    /// [`CallPolicy`](crate::resilience::CallPolicy) says, when the request may be carried out twice:
    /// by its method (RFC 9110 §9.2.2), by an `Idempotency-Key` header, or because nothing of it was
    /// sent. How often is in the answer's extensions, as [`Attempts`](super::Attempts).
    ///
    /// # Errors
    ///
    /// When the session is gone or has no active provider, no usable credential is to be had, the
    /// request is malformed or would carry the credential elsewhere, no answer came, or calls to
    /// the provider fail and are held back ([`Error::is_circuit_open`]).
    pub async fn send(mut self) -> Result<Response, Error> {
        let begun = self.session.sources().monotonic();
        let (active, request) = self.addressed().await?;
        let upstream = self.session.upstream(active.provider.id(), self.class)?;
        let Self { session, headers, timeout, whole, .. } = self;
        let headers = of_the_request(headers);
        let span = upstream.span(request.method());
        let call = Call { session, active, upstream, headers, timeout, whole };
        // So that the futures of hosts do not all have room for a call.
        Box::pin(call.make(request, begun).instrument(span)).await
    }

    /// The request with everything that authenticates it, to be sent by an HTTP client of the
    /// host's own. Nothing is sent, and neither the breaker nor the retry policy is asked.
    ///
    /// # Errors
    ///
    /// As [`RequestBuilder::send`], as far as that is before anything is sent.
    pub async fn prepare(mut self) -> Result<PreparedRequest, Error> {
        let (active, mut request) = self.addressed().await?;
        *request.timeout_mut() = self.timeout;
        let authentication = self.session.authenticated(active).await?;
        PreparedRequest::new(request, of_the_request(self.headers), authentication)
    }

    /// Whom the request goes to, and the request without any header.
    async fn addressed(&mut self) -> Result<(Active, Request), Error> {
        if let Some(mistake) = self.mistake.take() {
            return Err(mistake);
        }
        let active = match &self.credential {
            None => self.session.active_credential().await?,
            Some(credential) => self.session.beside_the_active(credential)?,
        };
        let mut url = target(active.provider.as_ref(), &self.path)?;
        if !self.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&self.query);
        }
        let mut request = Request::new(self.method.clone(), url);
        *request.body_mut() = self.body.take();
        Ok((active, request))
    }

    fn mistake(&mut self, text: String) {
        self.mistake.get_or_insert_with(|| Error::new(ErrorKind::InvalidInput, text));
    }
}

impl fmt::Debug for RequestBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBuilder")
            .field("method", &self.method)
            .field("path", &shown(&self.path))
            .finish_non_exhaustive()
    }
}

/// A path without its query, in which a key may stand; of a whole URL nothing.
fn shown(path: &str) -> &str {
    let path = if path.starts_with('/') { path } else { "" };
    path.split(['?', '#']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_shows_neither_the_query_nor_a_whole_address() {
        for (path, told) in [
            ("/v1/models?key=s3cret#s3cret", "/v1/models"),
            ("/v1", "/v1"),
            ("https://ada:s3cret@api.example/v1", ""),
        ] {
            assert_eq!(shown(path), told);
        }
    }
}
