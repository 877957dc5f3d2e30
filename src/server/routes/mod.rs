//! The endpoints of the server, as a router that a host merges into its own.

mod asked;
mod body;
mod health;
mod introspect;
mod revoke;
mod token;
mod well_known;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};

use super::authorization_server::AuthorizationServer;
use super::refusal::Refusal;

/// Where tokens are issued.
const TOKEN: &str = "/auth/token";

/// Where tokens are given back.
const REVOKE: &str = "/auth/revoke";

/// Where is asked whether a token is good.
const INTROSPECT: &str = "/auth/introspect";

/// Where is asked how the host fares.
const HEALTH: &str = "/health";

/// Where the keys are published.
const KEY_SET: &str = "/.well-known/jwks.json";

/// Where the server describes itself.
const METADATA: &str = "/.well-known/oauth-authorization-server";

pub(super) fn router(server: AuthorizationServer) -> Router {
    let base = server.settings().base_path();
    Router::new()
        .route(&format!("{base}{TOKEN}"), post(token::issue).fallback(other_method))
        .route(&format!("{base}{REVOKE}"), post(revoke::revoke).fallback(other_method))
        .route(&format!("{base}{INTROSPECT}"), post(introspect::introspect).fallback(other_method))
        .route(&format!("{base}{HEALTH}"), get(health::health))
        .route(&format!("{base}{HEALTH}/live"), get(health::live))
        .route(&format!("{base}{HEALTH}/ready"), get(health::ready))
        .route(&format!("{base}{KEY_SET}"), get(well_known::key_set))
        // The path of the issuer comes last (RFC 8414 §3.1).
        .route(&format!("{METADATA}{base}"), get(well_known::metadata))
        .with_state(server)
}

/// Only POST carries a secret where no log keeps it (RFC 6749 §3.2).
async fn other_method(State(server): State<AuthorizationServer>) -> Response {
    Refusal::Method.into_response(server.realm())
}
