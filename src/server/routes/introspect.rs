//! Introspection (RFC 7662): whether a token is good, for its application and for those that guard
//! routes elsewhere.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use super::asked::{Asked, Presented, asked};
use crate::server::answer;
use crate::server::authorization_server::AuthorizationServer;
use crate::server::refusal::Refusal;
use crate::server::verify::since_1970;

pub(super) async fn introspect(
    State(server): State<AuthorizationServer>,
    request: Request,
) -> Response<Body> {
    let asked = match asked(&server, "introspection-endpoint", request).await {
        Ok(asked) => asked,
        Err(refusal) => return refusal.into_response(server.realm()),
    };
    match described(&server, &asked).await {
        Ok(described) => {
            // Nothing else of a token that is not good, or is none of the caller's business (§2.2).
            let body = described.unwrap_or_else(|| json!({ "active": false }));
            answer::secret(StatusCode::OK, &body)
        }
        Err(refusal) => asked.refused(&server, refusal),
    }
}

/// What there is to say of a token that is good, to this caller; none otherwise.
async fn described(server: &AuthorizationServer, asked: &Asked) -> Result<Option<Value>, Refusal> {
    let token = asked
        .parameters
        .get("token")
        .ok_or(Refusal::InvalidRequest("the parameter token is missing"))?;
    let by = asked.application.id();
    match asked.presented(token) {
        Presented::Own(_) if !server.refreshes(&asked.application) => {
            server.note_introspected(by, true);
            return Ok(None);
        }
        Presented::Own(presentation) => {
            let living = server.families().living(&presentation).await?;
            server.note_introspected(by, true);
            // Without a type: nobody may take it for a bearer token.
            return Ok(living.map(|(family, scope)| {
                json!({
                    "active": true,
                    "client_id": asked.application.id(),
                    "scope": scope,
                    "iat": since_1970(family.created).as_secs(),
                    "exp": since_1970(family.end()).as_secs(),
                })
            }));
        }
        // A refresh token is its application's own business.
        Presented::OfAnother => {
            server.note_introspected(by, false);
            return Ok(None);
        }
        Presented::NoRefreshToken => {}
    }
    let Ok(caller) = server.verify(token) else {
        server.note_introspected(by, true);
        return Ok(None);
    };
    let is_own = caller.client_id() == by.as_str();
    let may = is_own || asked.application.permissions().contains(&server.settings().introspection);
    server.note_introspected(by, may);
    if !may {
        return Ok(None);
    }
    let claims = caller.claims();
    Ok(Some(json!({
        "active": true,
        "token_type": "Bearer",
        "client_id": claims.client_id,
        "scope": caller.permissions(),
        "iss": claims.issuer,
        "sub": claims.subject,
        "aud": claims.audience,
        "jti": claims.token_id,
        "iat": claims.issued_at.as_secs(),
        "exp": claims.expires_at.as_secs(),
    })))
}
