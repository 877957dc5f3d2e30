//! What the server says of itself to everybody: its keys (RFC 7517) and its metadata (RFC 8414).

use axum::extract::State;
use axum::response::Response;
use serde_json::json;

use super::{INTROSPECT, KEY_SET, REVOKE, TOKEN};
use crate::server::answer;
use crate::server::application::GrantType;
use crate::server::authorization_server::AuthorizationServer;
use crate::server::refusal::Refusal;
use crate::server::settings::Capability;

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
    let methods = json!(["client_secret_basic", "client_secret_post"]);
    let refreshes = settings.has(Capability::RefreshTokens);
    let grants =
        GrantType::ALL.into_iter().filter(|it| refreshes || *it != GrantType::RefreshToken);
    let mut body = json!({
        "issuer": settings.issuer,
        "jwks_uri": settings.endpoint(KEY_SET),
        "grant_types_supported": grants.map(GrantType::as_str).collect::<Vec<_>>(),
        // Required, and there is no authorization endpoint (RFC 8414 §2).
        "response_types_supported": [],
    });
    for (capability, name, path) in [
        (Capability::TokenIssue, "token_endpoint", TOKEN),
        (Capability::Revocation, "revocation_endpoint", REVOKE),
        (Capability::Introspection, "introspection_endpoint", INTROSPECT),
    ] {
        if settings.has(capability) {
            body[name] = json!(settings.endpoint(path));
            body[format!("{name}_auth_methods_supported")] = methods.clone();
        }
    }
    answer::public(body.to_string(), METADATA_MAX_AGE)
}
