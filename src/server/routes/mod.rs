//! The endpoints of the server, as a router that a host merges into its own.

mod admin;
mod applications;
mod asked;
mod body;
mod breakers;
mod health;
mod introspect;
mod metrics;
mod revoke;
mod token;
mod well_known;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};

use self::metrics::counted;
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

/// Where is asked whether the process is there.
const HEALTH_LIVE: &str = "/health/live";

/// Where is asked whether it can do its work.
const HEALTH_READY: &str = "/health/ready";

/// Where an administrator renews a credential.
const ADMIN_REFRESH: &str = "/admin/refresh";

/// Where an administrator exchanges the signing key.
const ADMIN_KEY: &str = "/admin/signing-key";

/// Where an administrator finds and registers applications.
const APPLICATIONS: &str = "/admin/applications";

/// Where an administrator changes one.
const APPLICATION: &str = "/admin/applications/{id}";

/// Where an administrator gives one another secret.
const APPLICATION_SECRET: &str = "/admin/applications/{id}/secret";

/// Where an administrator sees and sets the breakers.
const BREAKERS: &str = "/admin/breakers";

/// Where Prometheus reads.
const METRICS: &str = "/metrics";

/// Where the keys are published.
const KEY_SET: &str = "/.well-known/jwks.json";

/// Where the server describes itself.
const METADATA: &str = "/.well-known/oauth-authorization-server";

pub(super) fn router(server: AuthorizationServer) -> Router {
    let settings = server.settings();
    let base = settings.base_path();
    let mut router = Router::new();
    // The path of the issuer comes first, but for the metadata, where it comes last (RFC 8414 §3.1).
    let mut at = |path: &'static str, endpoint: MethodRouter<AuthorizationServer>| {
        let whole =
            if path == METADATA { format!("{path}{base}") } else { format!("{base}{path}") };
        router = std::mem::take(&mut router).route(&whole, counted(&server, path, endpoint));
    };
    at(KEY_SET, get(well_known::key_set));
    at(METADATA, get(well_known::metadata));
    if settings.has(Capability::TokenIssue) {
        at(TOKEN, only(post(token::issue)));
    }
    if settings.has(Capability::Revocation) {
        at(REVOKE, only(post(revoke::revoke)));
    }
    if settings.has(Capability::Introspection) {
        at(INTROSPECT, only(post(introspect::introspect)));
    }
    if settings.has(Capability::Health) {
        at(HEALTH, get(health::health));
        at(HEALTH_LIVE, get(health::live));
        at(HEALTH_READY, get(health::ready));
    }
    // A permission that can not be one keeps everybody out; the settings were checked for it.
    if settings.has(Capability::Administration)
        && let Ok(needed) = settings.administration.parse()
    {
        let guard = server.guard(needed);
        let all = get(applications::list).post(applications::register);
        let one = get(applications::show).patch(applications::change).delete(applications::remove);
        at(APPLICATIONS, all.layer(guard.clone()));
        at(APPLICATION, one.layer(guard.clone()));
        at(APPLICATION_SECRET, only(post(applications::rotate_secret).layer(guard.clone())));
        at(BREAKERS, get(breakers::list).post(breakers::set).layer(guard.clone()));
        at(ADMIN_REFRESH, only(post(admin::refresh).layer(guard.clone())));
        at(ADMIN_KEY, only(post(admin::rotate_signing_key).layer(guard)));
    }
    if settings.has(Capability::Metrics) {
        match settings.metrics.as_deref().map(str::parse) {
            None => at(METRICS, get(metrics::metrics)),
            Some(Ok(needed)) => at(METRICS, get(metrics::metrics).layer(server.guard(needed))),
            Some(Err(_)) => {}
        }
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
