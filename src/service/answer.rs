//! The answer of a service: read whole within its bound, and taken for what it says or for an
//! error that says what it is, without its body.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, StatusCode};
use reqwest::Response;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::error::Category;

use super::{ServiceError, ServiceErrorKind};
use crate::http::{Attempts, Client, RequestBuilder};
use crate::resilience::retry_after;

/// A name that a service repeats in an error is shown up to this length.
const LONGEST_NAME: usize = 80;

/// How one service speaks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manner {
    /// What it is called in errors.
    pub(super) name: &'static str,
    /// The largest body that is read, in bytes.
    pub(super) most: usize,
    /// What it says in the JSON of a refusal.
    pub(super) refusal: fn(&Value) -> Refusal,
}

/// What the body of a refusal says.
#[derive(Debug, Default)]
pub(super) struct Refusal {
    pub(super) code: Option<String>,
    pub(super) field: Option<String>,
    pub(super) scope: Option<String>,
}

/// An answer that came to its end.
pub(super) struct Answer {
    manner: Manner,
    status: StatusCode,
    pub(super) headers: HeaderMap,
    body: Bytes,
    /// How many attempts of which something may have left were made for it.
    pub(super) sent: u32,
    retry_after: Option<Duration>,
}

impl Answer {
    /// Sends `request`, and waits for the whole answer.
    pub(super) async fn to(
        request: RequestBuilder,
        client: &Client,
        manner: Manner,
    ) -> Result<Self, ServiceError> {
        let answered = request.whole_body(manner.most).send().await;
        let response = answered.map_err(ServiceError::from)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let now = client.session().sources().now().wall;
        let sent = response.extensions().get::<Attempts>().map_or(1, |told| told.sent);
        let body = match read(response, manner).await {
            Ok(body) => body,
            Err(error) if status.is_success() => return Err(error),
            // The status of a refusal says enough.
            Err(_) => Bytes::new(),
        };
        let retry_after = retry_after(&headers, now);
        Ok(Self { manner, status, headers, body, sent, retry_after })
    }

    /// One that was read already, for the fuzz targets.
    #[cfg(fuzzing)]
    pub(super) fn read_already(
        manner: Manner,
        status: StatusCode,
        headers: HeaderMap,
        body: Bytes,
    ) -> Self {
        let retry_after = retry_after(&headers, std::time::UNIX_EPOCH);
        Self { manner, status, headers, body, sent: 1, retry_after }
    }

    /// The answer, when it has this status.
    ///
    /// # Errors
    ///
    /// What any other status means.
    pub(super) fn with_status(self, expected: StatusCode) -> Result<Self, ServiceError> {
        if self.status == expected { Ok(self) } else { Err(self.refused()) }
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// The JSON of its body.
    ///
    /// # Errors
    ///
    /// When it is none, or is of another shape than is documented.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, ServiceError> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let what = match error.classify() {
                Category::Data => "json of another shape than is documented",
                Category::Eof => "json that is cut short",
                Category::Syntax | Category::Io => "something that is no json",
            };
            self.malformed(what)
        })
    }

    /// An answer that its documentation does not have.
    pub(super) fn malformed(&self, what: &str) -> ServiceError {
        let (name, status) = (self.manner.name, self.status.as_u16());
        let media_type = self.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        // Without its parameters.
        let media_type = media_type.and_then(|value| shown(value.split(';').next()?));
        let media_type = media_type.map_or_else(String::new, |shown| format!(", {shown}"));
        let text = format!("{name} answers {what} ({status}{media_type}), check its address");
        ServiceError::new(ServiceErrorKind::Malformed, text).with_status(self.status)
    }

    /// When to try again.
    fn when(&self) -> String {
        match self.retry_after {
            Some(wait) => format!("retry in {}s", wait.as_secs()),
            None => "retry later".to_owned(),
        }
    }

    /// What it means that the answer has not the status of a success.
    fn refused(self) -> ServiceError {
        use ServiceErrorKind as Kind;
        let said = serde_json::from_slice(&self.body).map(|body| (self.manner.refusal)(&body));
        let Refusal { code, field, scope } = said.unwrap_or_default();
        let field = field.as_deref().and_then(shown);
        let scope = scope.as_deref().or_else(|| challenged_scope(&self.headers)).and_then(shown);
        let name = self.manner.name;
        let seen = match code.as_deref().and_then(shown) {
            Some(code) => format!("{} {code}", self.status.as_u16()),
            None => self.status.as_u16().to_string(),
        };
        let (kind, text) = match self.status.as_u16() {
            401 => (
                Kind::Unauthorized,
                format!("{name} does not take the credential ({seen}), check the client"),
            ),
            403 => (
                Kind::Forbidden,
                match &scope {
                    Some(scope) => format!("{name} wants the scope {scope} for this ({seen})"),
                    None => {
                        format!("{name} does not allow this ({seen}), check what the client may do")
                    }
                },
            ),
            404 | 410 => (Kind::NotFound, format!("{name} does not have it ({seen})")),
            409 => (Kind::Conflict, format!("{name} has something else by now ({seen})")),
            429 => {
                (Kind::RateLimited, format!("{name} asks for patience ({seen}), {}", self.when()))
            }
            400 | 413 | 414 | 422 => (
                Kind::Invalid,
                match &field {
                    Some(field) => format!("{name} refuses {field} ({seen}), correct it"),
                    None => format!("{name} refuses the request ({seen}), correct it"),
                },
            ),
            408 | 425 | 500..=599 => {
                (Kind::Unavailable, format!("{name} fails for now ({seen}), {}", self.when()))
            }
            300..=399 => return self.malformed("with a redirect that is not followed"),
            _ => return self.malformed("with a status that is not documented"),
        };
        ServiceError::new(kind, text)
            .with_status(self.status)
            .with_field(field)
            .with_scope(scope)
            .with_retry_after(self.retry_after)
    }
}

/// A longer body than the bound is not read on.
async fn read(mut response: Response, manner: Manner) -> Result<Bytes, ServiceError> {
    let Manner { name, most, .. } = manner;
    let status = response.status();
    let mut body = BytesMut::new();
    loop {
        match response.chunk().await {
            Ok(None) => return Ok(body.freeze()),
            Ok(Some(chunk)) if body.len() + chunk.len() <= most => body.extend_from_slice(&chunk),
            Ok(Some(_)) => {
                let text = format!("{name} answers more than {most} bytes, ask for less at once");
                let error = ServiceError::new(ServiceErrorKind::Malformed, text);
                return Err(error.with_status(status));
            }
            Err(_) => {
                let text = format!("the answer of {name} broke off, retry later");
                let error = ServiceError::new(ServiceErrorKind::Unavailable, text);
                return Err(error.with_status(status));
            }
        }
    }
}

/// The scope that a challenge asks for (RFC 6750 §3).
fn challenged_scope(headers: &HeaderMap) -> Option<&str> {
    let challenge = headers.get(WWW_AUTHENTICATE)?.to_str().ok()?;
    let (_, rest) = challenge.split_once("scope=\"")?;
    rest.split('"').next()
}

/// A name out of an answer, when it is one: short, and without anything that could be content. In
/// names a digit is not followed by a letter; in random tokens it is.
fn shown(name: &str) -> Option<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/;= []".contains(&byte);
    let fits = !name.is_empty() && name.len() <= LONGEST_NAME && name.bytes().all(plain);
    let is_random = |pair: &[u8]| pair[0].is_ascii_digit() && pair[1].is_ascii_alphabetic();
    let is_name = fits && !name.as_bytes().windows(2).any(is_random);
    is_name.then(|| name.to_owned())
}

/// The text at a member of `value`.
pub(super) fn text(value: &Value, member: &str) -> Option<String> {
    value.get(member)?.as_str().map(str::to_owned)
}
