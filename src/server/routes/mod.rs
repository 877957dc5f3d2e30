//! The endpoints of the server, as a router that a host merges into its own.

mod admin;
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
use axum::routing::{MethodRouter, get, post};

use super::authorization_server::AuthorizationServer;
use super::refusal::Refusal;
use super::settings::Capability;

/// Where tokens are issued.
const TOKEN: &str = "/auth/token";

/// Where tokens are given back.
const REVOKE: &str = "/auth/revoke";

/// Where is asked whether a token is good.
const INTROSPECT: &str = "/auth/introspect";

/// Where is asked how the host fares.
const HEALTH: &str = "/health";

/// Where an administrator renews a credential.
const ADMIN_REFRESH: &str = "/admin/refresh";

/// Where an administrator exchanges the signing key.
const ADMIN_KEY: &str = "/admin/signing-key";

/// Where the keys are published.
const KEY_SET: &str = "/.well-known/jwks.json";

/// Where the server describes itself.
const METADATA: &str = "/.well-known/oauth-authorization-server";

pub(super) fn router(server: AuthorizationServer) -> Router {
    let settings = server.settings();
    let base = settings.base_path();
    let at = |path: &str| format!("{base}{path}");
    let mut router = Router::new()
        .route(&at(KEY_SET), get(well_known::key_set))
        // The path of the issuer comes last (RFC 8414 §3.1).
        .route(&format!("{METADATA}{base}"), get(well_known::metadata));
    if settings.has(Capability::TokenIssue) {
        router = router.route(&at(TOKEN), only(post(token::issue)));
    }
    if settings.has(Capability::Revocation) {
        router = router.route(&at(REVOKE), only(post(revoke::revoke)));
    }
    if settings.has(Capability::Introspection) {
        router = router.route(&at(INTROSPECT), only(post(introspect::introspect)));
    }
    if settings.has(Capability::Health) {
        router = router
            .route(&at(HEALTH), get(health::health))
            .route(&at(&format!("{HEALTH}/live")), get(health::live))
            .route(&at(&format!("{HEALTH}/ready")), get(health::ready));
    }
    // A permission that can not be one keeps everybody out; the settings were checked for it.
    if settings.has(Capability::Administration)
        && let Ok(needed) = settings.administration.parse()
    {
        let guard = server.guard(needed);
        router = router
            .route(&at(ADMIN_REFRESH), only(post(admin::refresh).layer(guard.clone())))
            .route(&at(ADMIN_KEY), only(post(admin::rotate_signing_key).layer(guard)));
    }
    router.with_state(server)
}

/// Answers any other method with what RFC 6749 §3.2 wants.
fn only(route: MethodRouter<AuthorizationServer>) -> MethodRouter<AuthorizationServer> {
    route.fallback(other_method)
}

/// Only POST carries a secret where no log keeps it (RFC 6749 §3.2).
async fn other_method(State(server): State<AuthorizationServer>) -> Response {
    Refusal::Method.into_response(server.realm())
}
