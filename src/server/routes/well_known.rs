//! What the server says of itself to everybody: its keys (RFC 7517) and its metadata (RFC 8414).

use axum::extract::State;
use axum::response::Response;
use serde_json::json;

use super::{INTROSPECT, KEY_SET, REVOKE, TOKEN};
use crate::server::answer;
use crate::server::application::GrantType;
use crate::server::authorization_server::AuthorizationServer;
use crate::server::refusal::Refusal;

/// How long the metadata may be kept, in seconds.
const METADATA_MAX_AGE: u64 = 3_600;

pub(super) async fn key_set(State(server): State<AuthorizationServer>) -> Response {
    match server.issuer().published() {
        Ok(published) => {
            let max_age = server.settings().key_set_max_age.as_secs();
            answer::public(published.jwks.clone(), max_age)
        }
        Err(_) => Refusal::Unavailable.into_response(server.realm()),
    }
}

pub(super) async fn metadata(State(server): State<AuthorizationServer>) -> Response {
    let settings = server.settings();
    let methods = ["client_secret_basic", "client_secret_post"];
    let body = json!({
        "issuer": settings.issuer,
        "token_endpoint": settings.endpoint(TOKEN),
        "jwks_uri": settings.endpoint(KEY_SET),
        "grant_types_supported": GrantType::ALL.map(GrantType::as_str),
        "token_endpoint_auth_methods_supported": methods,
        "revocation_endpoint": settings.endpoint(REVOKE),
        "revocation_endpoint_auth_methods_supported": methods,
        "introspection_endpoint": settings.endpoint(INTROSPECT),
        "introspection_endpoint_auth_methods_supported": methods,
        // Required, and there is no authorization endpoint (RFC 8414 §2).
        "response_types_supported": [],
    });
    answer::public(body.to_string(), METADATA_MAX_AGE)
}
