//! What the endpoints for clients have in common: a body that is read and understood, and a client
//! that is who it says.

use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;

use super::body;
use crate::server::application::Application;
use crate::server::authorization_server::AuthorizationServer;
use crate::server::detached::UnderWay;
use crate::server::issuer::Published;
use crate::server::limiter::ClientAddress;
use crate::server::refresh::{Presentation, ReadToken};
use crate::server::refusal::Refusal;
use crate::server::request::{ClientCredentials, Parameters};

/// A request by an application that has authenticated.
pub(super) struct Asked {
    /// Which endpoint was asked, as the audit trail names it.
    origin: &'static str,
    pub(super) published: Arc<Published>,
    pub(super) application: Arc<Application>,
    pub(super) parameters: Parameters,
    pub(super) now: SystemTime,
    /// Its place among the requests that are under way.
    pub(super) under_way: UnderWay,
}

/// What a text is among the refresh tokens.
pub(super) enum Presented {
    /// One of the application that asks.
    Own(Box<Presentation>),
    /// One of another application.
    OfAnother,
    /// None that this server has issued.
    NoRefreshToken,
}

impl Asked {
    /// Answers with `refusal`, and records it.
    pub(super) fn refused(&self, server: &AuthorizationServer, refusal: Refusal) -> Response {
        tracing::debug!(error = refusal.code(), origin = self.origin, "a request was refused");
        server.note_refused(Some(self.application.id().as_str()), self.origin, refusal);
        refusal.into_response(server.realm())
    }

    /// What `text` is to the application that asks.
    pub(super) fn presented(&self, text: &str) -> Presented {
        let tokens = &self.published.refresh_tokens;
        match tokens.read(text, self.application.id()) {
            ReadToken::Issued(token) => Presented::Own(Box::new(Presentation {
                tokens: tokens.clone(),
                token,
                application: Arc::clone(&self.application),
                under_way: Arc::clone(&self.under_way),
            })),
            ReadToken::OfAnother => Presented::OfAnother,
            ReadToken::None => Presented::NoRefreshToken,
        }
    }
}

/// Reads a request to the endpoint `origin`, and authenticates whose it is. What is refused is
/// recorded, with the application that it said it is.
pub(super) async fn asked(
    server: &AuthorizationServer,
    origin: &'static str,
    request: Request,
) -> Result<Asked, Refusal> {
    let mut claimed = None;
    let outcome = understood(server, origin, request, &mut claimed).await;
    outcome.inspect_err(|refusal| server.note_refused(claimed.as_deref(), origin, *refusal))
}

async fn understood(
    server: &AuthorizationServer,
    origin: &'static str,
    request: Request,
    claimed: &mut Option<String>,
) -> Result<Asked, Refusal> {
    let (head, body) = request.into_parts();
    let body = body::read(body, &*server.sources().clock).await?;
    // Not before: whoever sends slowly takes nobody's place.
    let under_way = server.place().ok_or(Refusal::Crowded)?;
    let parameters = Parameters::parse(content_type(&head.headers)?, &body)?;
    let credentials = ClientCredentials::find(&head.headers, &parameters)?;
    *claimed = Some(credentials.id.clone());
    let address = ClientAddress::of(&head.extensions);
    if let Some(address) = address {
        server.may_try(address, &credentials.id).map_err(Refusal::TooMany)?;
    }
    let published = server.issuer().published()?;
    let now = server.sources().now();
    let authenticated = authenticated(&published, &credentials, now.wall);
    let (application, secret) = authenticated.inspect_err(|_| {
        if let Some(address) = address {
            server.count_failure(address, &credentials.id);
        }
    })?;
    server.issuer().note_use(&application, &secret, now);
    server.count_request(&application).map_err(Refusal::TooMany)?;
    Ok(Asked { origin, published, application, parameters, now: now.wall, under_way })
}

/// The one content type of a request.
pub(super) fn content_type(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let first = types.next();
    if types.next().is_some() {
        return Err(Refusal::InvalidRequest("there are two content types"));
    }
    Ok(first.and_then(|name| name.to_str().ok()))
}

/// The application that these are the credentials of, and the hash of its secret. An unknown one, a wrong secret and a disabled
/// application take the same work and get the same answer.
fn authenticated(
    published: &Published,
    credentials: &ClientCredentials,
    now: SystemTime,
) -> Result<(Arc<Application>, [u8; 32]), Refusal> {
    let application = published.application(&credentials.id);
    let known = application.map(|application| &**application);
    let verified = published.hasher.verify(known, &credentials.secret, now);
    match application.zip(verified) {
        Some((application, secret)) if application.is_enabled() => {
            Ok((Arc::clone(application), secret))
        }
        _ => Err(Refusal::InvalidClient),
    }
}
