//! The token endpoint (RFC 6749 §3.2): client credentials in, an access token out.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::json;

use super::body;
use crate::server::answer;
use crate::server::application::{Application, GrantType};
use crate::server::authorization_server::AuthorizationServer;
use crate::server::claims::{ACCESS_TOKEN, AccessClaims};
use crate::server::issuer::Published;
use crate::server::jws;
use crate::server::refusal::Refusal;
use crate::server::request::{ClientCredentials, Parameters};
use crate::server::scope::Scope;
use crate::server::verify::since_1970;

pub(super) async fn issue(State(server): State<AuthorizationServer>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let outcome = match body::read(body, &*server.sources().clock).await {
        Ok(body) => answered(&server, &head.headers, &body),
        Err(refusal) => Err(refusal),
    };
    outcome.unwrap_or_else(|refusal| {
        tracing::debug!(error = refusal.code(), "no token was issued");
        refusal.into_response(server.realm())
    })
}

fn answered(
    server: &AuthorizationServer,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Response, Refusal> {
    let parameters = Parameters::parse(content_type(headers)?, body)?;
    let credentials = ClientCredentials::find(headers, &parameters)?;
    let published = server.issuer().published().map_err(|_| Refusal::Unavailable)?;
    let now = server.sources().now().wall;
    let application = authenticated(server, &published, &credentials, now)?;
    let grant = parameters
        .get("grant_type")
        .ok_or(Refusal::InvalidRequest("the parameter grant_type is missing"))?;
    let grant = GrantType::named(grant).ok_or(Refusal::UnsupportedGrantType)?;
    if !application.grants().any(|allowed| allowed == grant) {
        return Err(Refusal::UnauthorizedClient);
    }
    let scope = granted(parameters.get("scope"), &application)?;
    let token = signed(server, &published, &application, scope.clone(), now)?;
    server.note_issued(application.id().as_str());
    let body = json!({
        "access_token": token,
        "token_type": "Bearer",
        "expires_in": application.access_token_lifetime().as_secs(),
        "scope": scope,
    });
    Ok(answer::secret(StatusCode::OK, &body))
}

/// The one content type of a request.
fn content_type(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let first = types.next();
    if types.next().is_some() {
        return Err(Refusal::InvalidRequest("there are two content types"));
    }
    Ok(first.and_then(|name| name.to_str().ok()))
}

/// The application that these are the credentials of. An unknown one, a wrong secret and a disabled
/// application take the same work and get the same answer.
fn authenticated(
    server: &AuthorizationServer,
    published: &Published,
    credentials: &ClientCredentials,
    now: SystemTime,
) -> Result<Arc<Application>, Refusal> {
    let application = published.application(&credentials.id);
    let known = application.map(|application| &**application);
    let verified = published.hasher.verify(known, &credentials.secret, now);
    match application {
        Some(application) if verified && application.is_enabled() => Ok(Arc::clone(application)),
        _ => {
            server.note_denied(&credentials.id, "a token was asked for without a good secret");
            Err(Refusal::InvalidClient)
        }
    }
}

/// What is granted: what was asked for, all of it, or everything that the application has.
fn granted(asked: Option<&str>, application: &Application) -> Result<Scope, Refusal> {
    let has = application.permissions();
    let scope = match asked {
        Some(asked) => asked.parse().map_err(|_| Refusal::InvalidScope)?,
        None => has.clone(),
    };
    if scope.is_empty() || !has.contains_all(&scope) {
        return Err(Refusal::InvalidScope);
    }
    Ok(scope)
}

fn signed(
    server: &AuthorizationServer,
    published: &Published,
    application: &Application,
    scope: Scope,
    now: SystemTime,
) -> Result<String, Refusal> {
    let token_id = server.sources().entropy.token().map_err(|_| Refusal::Unavailable)?;
    let issued_at = Duration::from_secs(since_1970(now).as_secs());
    let claims = AccessClaims {
        issuer: server.settings().issuer.clone(),
        subject: application.id().to_string(),
        audience: vec![server.audience().to_owned()],
        client_id: application.id().to_string(),
        issued_at,
        expires_at: issued_at + application.access_token_lifetime(),
        not_before: None,
        token_id,
        scope,
    };
    let key = published.signing(now).ok_or(Refusal::Unavailable)?;
    jws::sign(key, ACCESS_TOKEN, &claims.to_payload()).map_err(|_| Refusal::Unavailable)
}
