//! Why an endpoint does not do what was asked, and how that is answered (RFC 6749 §5.2). The texts
//! are ours, fixed, and repeat nothing of a request.

use std::time::Duration;

use axum::http::header::{ALLOW, CONNECTION, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use serde_json::json;

use super::answer;
use crate::error::Error;

/// Why an endpoint refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The request can not be understood.
    InvalidRequest(&'static str),
    /// The body is longer than is read.
    TooLarge,
    /// The body did not come in time.
    TooSlow,
    /// The method is not one of the endpoint.
    Method,
    /// The client is not known, or not by that secret.
    InvalidClient,
    /// The refresh token is not good, or not the client's.
    InvalidGrant,
    /// The client may not use the grant.
    UnauthorizedClient,
    /// There is no such grant.
    UnsupportedGrantType,
    /// The scope is malformed, unknown, or more than the client has.
    InvalidScope,
    /// Too much is asked, or guessed; after so long it may be tried again.
    TooMany(Duration),
    /// Too many requests are under way at the server.
    Crowded,
    /// The server can not answer for now.
    Unavailable,
}

impl From<Error> for Refusal {
    /// Whatever fails within the server is for it to mend, and no fault of the request.
    fn from(error: Error) -> Self {
        tracing::warn!(%error, "a request can not be answered for now");
        Self::Unavailable
    }
}

impl Refusal {
    pub(crate) const fn status(self) -> StatusCode {
        match self {
            Self::InvalidRequest(_)
            | Self::InvalidGrant
            | Self::UnauthorizedClient
            | Self::UnsupportedGrantType
            | Self::InvalidScope => StatusCode::BAD_REQUEST,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::InvalidClient => StatusCode::UNAUTHORIZED,
            Self::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Crowded | Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The member `error`.
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::InvalidRequest(_) | Self::TooLarge | Self::TooSlow | Self::Method => {
                "invalid_request"
            }
            Self::InvalidClient => "invalid_client",
            Self::InvalidGrant => "invalid_grant",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::InvalidScope => "invalid_scope",
            Self::TooMany(_) | Self::Crowded | Self::Unavailable => "temporarily_unavailable",
        }
    }

    /// The member `error_description`, in the characters that RFC 6749 §5.2 allows.
    pub(crate) const fn description(self) -> &'static str {
        match self {
            Self::InvalidRequest(problem) => problem,
            Self::TooLarge => "the body is longer than 16 KiB",
            Self::TooSlow => "the body did not come in time",
            Self::Method => "this endpoint takes POST only",
            Self::InvalidClient => "the client is unknown or its secret is wrong",
            Self::InvalidGrant => "the token is not good, or was issued to another client",
            Self::UnauthorizedClient => "the client may not use this grant",
            Self::UnsupportedGrantType => "this grant is not supported",
            Self::InvalidScope => "the scope is malformed or more than the client may have",
            Self::TooMany(_) => "too many requests, wait as long as the header says",
            Self::Crowded => "too many requests are under way, try again shortly",
            Self::Unavailable => "the server can not answer for now, try again shortly",
        }
    }

    /// The answer, from a server that protects `realm`.
    pub(crate) fn into_response(self, realm: &str) -> Response {
        let body = json!({ "error": self.code(), "error_description": self.description() });
        let mut response = answer::secret(self.status(), &body);
        let headers = response.headers_mut();
        match self {
            Self::TooLarge | Self::TooSlow => {
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Self::Method => {
                headers.insert(ALLOW, HeaderValue::from_static("POST"));
            }
            Self::InvalidClient => {
                let challenge = format!("Basic realm=\"{realm}\", charset=\"UTF-8\"");
                if let Ok(challenge) = challenge.try_into() {
                    headers.insert(WWW_AUTHENTICATE, challenge);
                }
            }
            Self::TooMany(wait) => {
                // Rounded up, so that nobody comes too early.
                let seconds = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0));
                headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
            }
            Self::Crowded | Self::Unavailable => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s_err_3_every_text_is_of_the_characters_that_the_standard_allows() {
        for refusal in [
            Refusal::InvalidRequest("a parameter stands twice"),
            Refusal::TooLarge,
            Refusal::TooSlow,
            Refusal::Method,
            Refusal::InvalidClient,
            Refusal::InvalidGrant,
            Refusal::UnauthorizedClient,
            Refusal::UnsupportedGrantType,
            Refusal::InvalidScope,
            Refusal::TooMany(Duration::from_secs(1)),
            Refusal::Crowded,
            Refusal::Unavailable,
        ] {
            for text in [refusal.code(), refusal.description()] {
                let allowed = |byte| matches!(byte, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e);
                assert!(text.bytes().all(allowed), "{text}");
            }
        }
    }
}
