//! Revocation (RFC 7009): an application gives back a token of its own.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use super::asked::{Asked, Presented, asked};
use crate::server::answer;
use crate::server::authorization_server::AuthorizationServer;
use crate::server::claims::{ACCESS_TOKEN, AccessClaims, ClaimsError};
use crate::server::denials::Denied;
use crate::server::jws;
use crate::server::refusal::Refusal;
use crate::server::verify::since_1970;

pub(super) async fn revoke(
    State(server): State<AuthorizationServer>,
    request: Request,
) -> Response<Body> {
    match asked(&server, "revocation-endpoint", request).await {
        Ok(asked) => match revoked(&server, &asked).await {
            Ok(()) => answer::secret(StatusCode::OK, &json!({})),
            Err(refusal) => asked.refused(&server, refusal),
        },
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
    match asked.presented(token) {
        Presented::Own(presentation) => return Ok(server.families().revoke(&presentation).await?),
        Presented::OfAnother => return Err(Refusal::InvalidGrant),
        Presented::NoRefreshToken => {}
    }
    let Ok(payload) = jws::verify(&asked.published.verifying, ACCESS_TOKEN, token) else {
        return Ok(());
    };
    let Ok(claims) = AccessClaims::parse(&payload) else { return Ok(()) };
    if claims.client_id != asked.application.id().as_str() {
        return Err(Refusal::InvalidGrant);
    }
    // One that is never good here again need not be remembered. One that is not good yet has to be, or
    // its time comes.
    let checked = claims.check(server.expectation(), since_1970(asked.now));
    if matches!(checked, Err(ClaimsError::Issuer | ClaimsError::Audience | ClaimsError::Expired)) {
        return Ok(());
    }
    let expires = UNIX_EPOCH.checked_add(claims.expires_at);
    match expires.and_then(|at| Denied::token(&claims.token_id, at, asked.now)) {
        Some(denied) => {
            let under_way = Arc::clone(&asked.under_way);
            Ok(server.revoke(asked.application.id(), denied, under_way).await?)
        }
        None => Ok(()),
    }
}
