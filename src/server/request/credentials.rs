//! Who asks: an application's id and secret, from the header or from the body, and never from both
//! (RFC 6749 §2.3).

use std::fmt;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::{Parameters, form};
use crate::server::refusal::Refusal;

/// What an application says that it is, not yet verified.
pub(crate) struct ClientCredentials {
    pub(crate) id: String,
    pub(crate) secret: Zeroizing<String>,
}

impl ClientCredentials {
    /// Finds the credentials of a request.
    pub(crate) fn find(headers: &HeaderMap, parameters: &Parameters) -> Result<Self, Refusal> {
        let mut headers = headers.get_all(AUTHORIZATION).iter();
        let (header, more) = (headers.next(), headers.next());
        if more.is_some() {
            return Err(Refusal::InvalidRequest("there are two authorization headers"));
        }
        let (id, secret) = (parameters.get("client_id"), parameters.get("client_secret"));
        let Some(header) = header else {
            let (Some(id), Some(secret)) = (id, secret) else { return Err(Refusal::InvalidClient) };
            return Ok(Self { id: id.to_owned(), secret: Zeroizing::new(secret.to_owned()) });
        };
        if secret.is_some() {
            return Err(Refusal::InvalidRequest("the client authenticates in two ways"));
        }
        let found = Self::basic(header.as_bytes()).ok_or(Refusal::InvalidClient)?;
        if id.is_some_and(|id| id != found.id) {
            return Err(Refusal::InvalidRequest("the client has two ids"));
        }
        Ok(found)
    }

    /// Reads HTTP Basic; both parts are form-encoded in it (RFC 6749 §2.3.1).
    fn basic(header: &[u8]) -> Option<Self> {
        let (scheme, rest) = header.split_at_checked(5)?;
        let encoded = rest.trim_ascii_start();
        if !scheme.eq_ignore_ascii_case(b"basic") || encoded.len() == rest.len() {
            return None;
        }
        let decoded = Zeroizing::new(STANDARD.decode(encoded).ok()?);
        let colon = decoded.iter().position(|byte| *byte == b':')?;
        let mut id = form::decoded(&decoded[..colon])?;
        let secret = form::decoded(&decoded[colon + 1..])?;
        (!id.is_empty() && !secret.is_empty())
            .then(|| Self { id: std::mem::take(&mut *id), secret })
    }
}

impl fmt::Debug for ClientCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCredentials").field("id", &self.id).finish_non_exhaustive()
    }
}
