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
use crate::credential::Snapshot;
use crate::error::{Error, ErrorKind};
use crate::oauth::root_cause;
use crate::provider::Provider;
use crate::runtime::Session;

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
    /// mend.
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
        let active = session.active_credential().await?;
        let provider = active.provider.as_ref();
        let url = self.url(provider)?;
        let client = session.outbound().for_url(&url)?;

        let snapshot = active.credential.acquire().await?;
        let request = self.build(url, &snapshot, &session)?;
        let again = request.try_clone();
        let response = client.execute(request).await.map_err(|error| unanswered(&error))?;
        let status = response.status();
        let (response, body) = if provider.body_may_refuse(status) {
            peek(response).await
        } else {
            (response, Vec::new())
        };
        if !provider.refuses_credential(status, &body) {
            return Ok(response);
        }
        let renewed = active.credential.rejected(snapshot.generation()).await;
        let (Some(mut again), Ok(renewed)) = (again, renewed) else { return Ok(response) };
        if renewed.generation() == snapshot.generation() {
            return Ok(response);
        }
        debug!(provider = %provider.id(), "the credential was refused and renewed, sending again");
        // Replaced in their places, so the order of the headers stays.
        for (name, value) in renewed.usable_headers(session.sources().now())? {
            if value.is_sensitive() {
                again.headers_mut().insert(name, value.clone());
            }
        }
        client.execute(again).await.map_err(|error| unanswered(&error))
    }

    fn build(self, url: Url, snapshot: &Snapshot, session: &Session) -> Result<Request, Error> {
        let mut request = Request::new(self.method, url);
        let headers = request.headers_mut();
        *headers = snapshot.usable_headers(session.sources().now())?.clone();
        for name in self.headers.keys() {
            if headers.get(name).is_some_and(HeaderValue::is_sensitive) {
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    format!("{name} carries the credential, leave it out of the request"),
                ));
            }
            for (index, value) in self.headers.get_all(name).iter().enumerate() {
                if index == 0 {
                    headers.insert(name, value.clone());
                } else {
                    headers.append(name, value.clone());
                }
            }
        }
        *request.body_mut() = self.body;
        *request.timeout_mut() = self.timeout;
        Ok(request)
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

fn unanswered(error: &reqwest::Error) -> Error {
    let cause = root_cause(error);
    let host = error.url().and_then(Url::host_str).unwrap_or("the provider");
    Error::new(ErrorKind::Transient, format!("{host} gave no answer: {cause}"))
}
