//! Revocation (RFC 7009): an application gives back a token of its own.

use std::time::UNIX_EPOCH;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use super::asked::{Asked, asked};
use crate::error::Error;
use crate::server::answer;
use crate::server::application::Application;
use crate::server::authorization_server::AuthorizationServer;
use crate::server::claims::{ACCESS_TOKEN, AccessClaims};
use crate::server::denials::Denied;
use crate::server::jws;
use crate::server::refresh::ReadToken;
use crate::server::refusal::Refusal;
use crate::vault::Batch;
use crate::vault::audit::{AuditEntry, AuditKind};

pub(super) async fn revoke(
    State(server): State<AuthorizationServer>,
    request: Request,
) -> Response<Body> {
    let outcome = match asked(&server, request).await {
        Ok(asked) => revoked(&server, &asked).await,
        Err(refusal) => Err(refusal),
    };
    match outcome {
        Ok(()) => answer::secret(StatusCode::OK, &json!({})),
        Err(refusal) => refusal.into_response(server.realm()),
    }
}

/// Revokes whatever the token is: the hint is no more than a hint (RFC 7009 §2.1). One that is not
/// good any more, or never was, is as revoked as can be (§2.2).
async fn revoked(server: &AuthorizationServer, asked: &Asked) -> Result<(), Refusal> {
    let token = asked
        .parameters
        .get("token")
        .ok_or(Refusal::InvalidRequest("the parameter token is missing"))?;
    match asked.published.refresh_tokens.read(token, asked.application.id()) {
        ReadToken::Issued(token) => {
            return Ok(server.families().revoke(&token, &asked.application).await?);
        }
        ReadToken::OfAnother => return Err(Refusal::InvalidGrant),
        ReadToken::None => {}
    }
    let Ok(payload) = jws::verify(&asked.published.verifying, ACCESS_TOKEN, token) else {
        return Ok(());
    };
    let Ok(claims) = AccessClaims::parse(&payload) else { return Ok(()) };
    if claims.client_id != asked.application.id().as_str() {
        return Err(Refusal::InvalidGrant);
    }
    Ok(deny(server, &asked.application, &claims).await?)
}

/// Denies one access token: durably, and then for everybody to see.
async fn deny(
    server: &AuthorizationServer,
    application: &Application,
    claims: &AccessClaims,
) -> Result<(), Error> {
    let Some(expires) = UNIX_EPOCH.checked_add(claims.expires_at) else { return Ok(()) };
    let denied = Denied::token(&claims.token_id, expires);
    let owner = application.id().owner();
    let entry = AuditEntry::new(AuditKind::Revoked).user(&owner).origin("token-issuer");
    server.vault().commit(denied.put(Batch::new().record(entry), &owner)).await?;
    server.issuer().denials().add(denied);
    Ok(())
}
