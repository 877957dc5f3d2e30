//! The token endpoint (RFC 6749 §3.2): client credentials or a refresh token in, an access token out.

use std::time::{Duration, SystemTime};

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use super::asked::{Asked, asked};
use crate::secret::Secret;
use crate::server::answer;
use crate::server::application::{Application, GrantType};
use crate::server::authorization_server::AuthorizationServer;
use crate::server::claims::{ACCESS_TOKEN, AccessClaims};
use crate::server::jws;
use crate::server::refresh::{ReadToken, Refreshed};
use crate::server::refusal::Refusal;
use crate::server::scope::Scope;
use crate::server::settings::Capability;
use crate::server::verify::since_1970;

pub(super) async fn issue(State(server): State<AuthorizationServer>, request: Request) -> Response {
    let outcome = match asked(&server, request).await {
        Ok(asked) => answered(&server, &asked).await,
        Err(refusal) => Err(refusal),
    };
    outcome.unwrap_or_else(|refusal| {
        tracing::debug!(error = refusal.code(), "no token was issued");
        refusal.into_response(server.realm())
    })
}

/// What an access token is issued with.
struct Granted {
    scope: Scope,
    family: Option<String>,
    refresh_token: Option<Secret>,
}

async fn answered(server: &AuthorizationServer, asked: &Asked) -> Result<Response, Refusal> {
    let grant = asked
        .parameters
        .get("grant_type")
        .ok_or(Refusal::InvalidRequest("the parameter grant_type is missing"))?;
    let grant = GrantType::named(grant).filter(|grant| {
        *grant != GrantType::RefreshToken || server.settings().has(Capability::RefreshTokens)
    });
    let grant = grant.ok_or(Refusal::UnsupportedGrantType)?;
    if !asked.application.may_use(grant) {
        return Err(Refusal::UnauthorizedClient);
    }
    let granted = match grant {
        GrantType::ClientCredentials => by_credentials(server, asked).await?,
        GrantType::RefreshToken => by_refresh_token(server, asked).await?,
    };
    let token = signed(server, asked, &granted)?;
    server.note_issued(asked.application.id(), grant.as_str());
    let mut body = json!({
        "access_token": token,
        "token_type": "Bearer",
        "expires_in": asked.application.access_token_lifetime().as_secs(),
        "scope": granted.scope,
    });
    if let Some(refresh_token) = granted.refresh_token {
        body["refresh_token"] = json!(refresh_token.expose());
    }
    Ok(answer::secret(StatusCode::OK, &body))
}

/// What the application may have, or what it asked for of it; and a refresh token, where it may use
/// one.
async fn by_credentials(server: &AuthorizationServer, asked: &Asked) -> Result<Granted, Refusal> {
    let scope = granted(asked.parameters.get("scope"), &asked.application)?;
    let refreshes = server.settings().has(Capability::RefreshTokens);
    if !refreshes || !asked.application.may_use(GrantType::RefreshToken) {
        return Ok(Granted { scope, family: None, refresh_token: None });
    }
    let tokens = &asked.published.refresh_tokens;
    let (family, token) =
        server.families().begin(tokens, &asked.application, scope.clone()).await?;
    Ok(Granted { scope, family: Some(family), refresh_token: Some(token) })
}

/// What was granted before, or what is asked for of it (RFC 6749 §6).
async fn by_refresh_token(server: &AuthorizationServer, asked: &Asked) -> Result<Granted, Refusal> {
    let token = asked
        .parameters
        .get("refresh_token")
        .ok_or(Refusal::InvalidRequest("the parameter refresh_token is missing"))?;
    let scope = asked.parameters.get("scope").map(str::parse).transpose();
    let scope = scope.map_err(|_| Refusal::InvalidScope)?;
    let tokens = &asked.published.refresh_tokens;
    let ReadToken::Issued(token) = tokens.read(token, asked.application.id()) else {
        return Err(Refusal::InvalidGrant);
    };
    let refreshed =
        server.families().refresh(tokens, &token, &asked.application, scope.as_ref()).await?;
    match refreshed {
        Refreshed::Granted { family, scope, successor } => {
            Ok(Granted { scope, family: Some(family), refresh_token: Some(successor) })
        }
        Refreshed::InvalidScope => Err(Refusal::InvalidScope),
        Refreshed::InvalidGrant => Err(Refusal::InvalidGrant),
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
    asked: &Asked,
    granted: &Granted,
) -> Result<String, Refusal> {
    let token_id = server.sources().entropy.token().map_err(|_| Refusal::Unavailable)?;
    let issued_at = whole_seconds(asked.now);
    let claims = AccessClaims {
        issuer: server.settings().issuer.clone(),
        subject: asked.application.id().to_string(),
        audience: vec![server.audience().to_owned()],
        client_id: asked.application.id().to_string(),
        issued_at,
        expires_at: issued_at + asked.application.access_token_lifetime(),
        not_before: None,
        token_id,
        family: granted.family.clone(),
        generation: Some(asked.application.generation().to_string()),
        scope: granted.scope.clone(),
    };
    let key = asked.published.signing(asked.now).ok_or(Refusal::Unavailable)?;
    jws::sign(key, ACCESS_TOKEN, &claims.to_payload()).map_err(|_| Refusal::Unavailable)
}

fn whole_seconds(now: SystemTime) -> Duration {
    Duration::from_secs(since_1970(now).as_secs())
}
