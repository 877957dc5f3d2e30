//! One request: built like any other, authenticated when it is sent, and sent once more when its
//! credential was refused and a newer one is to be had.

use std::fmt;
use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, Method};
use reqwest::{Body, Request, Response};
use serde::Serialize;
use tracing::debug;
use url::Url;

use super::peek::peek;
use crate::clock::Sources;
use crate::credential::Snapshot;
use crate::error::{Error, ErrorKind};
use crate::event::CredentialState;
use crate::oauth::root_cause;
use crate::provider::Provider;
use crate::runtime::{Active, Admitted, Session};

/// A request that is being built. Mistakes are kept and told by [`RequestBuilder::send`].
pub struct RequestBuilder {
    session: Session,
    method: Method,
    path: String,
    headers: HeaderMap,
    query: Vec<(String, String)>,
    body: Option<Body>,
    timeout: Option<Duration>,
    mistake: Option<Error>,
}

impl RequestBuilder {
    pub(crate) fn new(session: Session, method: Method, path: String) -> Self {
        Self {
            session,
            method,
            path,
            headers: HeaderMap::new(),
            query: Vec::new(),
            body: None,
            timeout: None,
            mistake: None,
        }
    }

    /// Adds a header. One of the provider's own headers is replaced by it, in its place; those
    /// that carry the credential can not be.
    #[must_use]
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
    #[must_use]
    pub fn query(mut self, name: &str, value: &str) -> Self {
        self.query.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sends `value` as JSON.
    #[must_use]
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

    /// Sends `body`. One that is a stream can be sent only once, so its request is not repeated
    /// after a 401.
    #[must_use]
    pub fn body(mut self, body: impl Into<Body>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// Bounds the request, from its first byte to the last byte of the answer, in real time.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sends the request as the session's active provider.
    ///
    /// An answer is an answer whatever its status, also a 401 that a renewed credential did not
    /// mend. When the credential needs its user and an API key was spent instead, the answer's
    /// extensions hold a [`Fallback`](crate::credential::Fallback).
    ///
    /// # Errors
    ///
    /// When the session is gone or has no active provider, no usable credential is to be had, the
    /// request is malformed or would carry the credential elsewhere, or no answer came.
    pub async fn send(mut self) -> Result<Response, Error> {
        if let Some(mistake) = self.mistake.take() {
            return Err(mistake);
        }
        let session = self.session.clone();
        let Active { provider, credential } = session.active_credential().await?;
        let url = self.url(provider.as_ref())?;
        let client = session.outbound().for_url(&url)?;

        let first = session.admit(credential).await?;
        let mut request = Request::new(self.method, url);
        *request.headers_mut() = headers(&self.headers, &first.snapshot, session.sources())?;
        *request.body_mut() = self.body;
        *request.timeout_mut() = self.timeout;
        let again = request.try_clone();
        let (response, refused) = attempt(client, request, provider.as_ref(), &first).await?;
        if !refused {
            return Ok(response);
        }
        let next = in_place_of(first, &session).await;
        let (Some(mut again), Some(next)) = (again, next) else { return Ok(response) };
        let Ok(headers) = headers(&self.headers, &next.snapshot, session.sources()) else {
            return Ok(response);
        };
        debug!(provider = %provider.id(), "the credential was refused, sending with another");
        *again.headers_mut() = headers;
        let (response, refused) = attempt(client, again, provider.as_ref(), &next).await?;
        if refused && next.fallback.is_some() {
            // There is no third attempt, but everyone shall see that the key is refused.
            let _ = next.credential.rejected(next.snapshot.generation()).await;
        }
        Ok(response)
    }

    fn url(&self, provider: &dyn Provider) -> Result<Url, Error> {
        let base = provider.base_url();
        let invalid = |text: String| Error::new(ErrorKind::InvalidInput, text);
        let mut url = if self.path.starts_with('/') {
            let prefix = base.as_str().trim_end_matches('/');
            Url::parse(&format!("{prefix}{}", self.path))
        } else {
            Url::parse(&self.path)
        }
        .map_err(|error| {
            let path = &self.path;
            invalid(format!("{path:?} is no address ({error}), begin a path with a slash"))
        })?;
        if url.origin() != base.origin() {
            let origin = base.origin().ascii_serialization();
            return Err(invalid(format!(
                "the credential of {} goes to {origin} only, use a path",
                provider.id()
            )));
        }
        if !self.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&self.query);
        }
        Ok(url)
    }

    fn mistake(&mut self, text: String) {
        self.mistake.get_or_insert_with(|| Error::new(ErrorKind::InvalidInput, text));
    }
}

impl fmt::Debug for RequestBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBuilder")
            .field("method", &self.method)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// Sends one request, and says whether the answer refuses its credential.
async fn attempt(
    client: &reqwest::Client,
    request: Request,
    provider: &dyn Provider,
    with: &Admitted,
) -> Result<(Response, bool), Error> {
    let response = client.execute(request).await.map_err(|error| unanswered(&error))?;
    let status = response.status();
    let (mut response, body) = if provider.body_may_refuse(status) {
        peek(response).await
    } else {
        (response, Vec::new())
    };
    if let Some(fallback) = &with.fallback {
        response.extensions_mut().insert(fallback.clone());
    }
    let was_refused = with.snapshot.state() == CredentialState::ReauthorizationRequired;
    if was_refused && status.is_success() {
        with.credential.accepted(with.snapshot.generation());
    }
    Ok((response, provider.refuses_credential(status, &body)))
}

/// What to send once more with, after `refused` was: what it was renewed to, else the API key that
/// may stand in for it.
async fn in_place_of(refused: Admitted, session: &Session) -> Option<Admitted> {
    let Admitted { credential, snapshot, fallback } = refused;
    match credential.rejected(snapshot.generation()).await {
        Ok(renewed) if renewed.generation() == snapshot.generation() => None,
        Ok(renewed) => Some(Admitted { credential, snapshot: renewed, fallback }),
        Err(_) => session.fall_back(&credential).await,
    }
}

/// The provider's headers, in their order, and then the caller's own `more`.
fn headers(more: &HeaderMap, snapshot: &Snapshot, sources: &Sources) -> Result<HeaderMap, Error> {
    let mut headers = snapshot.usable_headers(sources.now())?.clone();
    for name in more.keys() {
        if headers.get(name).is_some_and(HeaderValue::is_sensitive) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("{name} carries the credential, leave it out of the request"),
            ));
        }
        for (index, value) in more.get_all(name).iter().enumerate() {
            if index == 0 {
                headers.insert(name, value.clone());
            } else {
                headers.append(name, value.clone());
            }
        }
    }
    Ok(headers)
}

fn unanswered(error: &reqwest::Error) -> Error {
    let cause = root_cause(error);
    let host = error.url().and_then(Url::host_str).unwrap_or("the provider");
    Error::new(ErrorKind::Transient, format!("{host} gave no answer: {cause}"))
}
