//! The endpoints of the server, as a router that a host merges into its own.

mod acts;
mod admin;
mod applications;
mod asked;
mod body;
mod breakers;
mod health;
mod introspect;
mod metrics;
mod revoke;
#[cfg(test)]
mod tests;
mod token;
mod well_known;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};

use self::acts::recorded;
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
    let base = server.settings().base_path();
    let mut router = Router::new();
    for (path, endpoint) in endpoints(&server) {
        // The path of the issuer comes first, but for the metadata, where it comes last (RFC 8414
        // §3.1).
        let whole =
            if path == METADATA { format!("{path}{base}") } else { format!("{base}{path}") };
        router = router.route(&whole, counted(&server, path, endpoint));
    }
    router.with_state(server)
}

type Endpoint = (&'static str, MethodRouter<AuthorizationServer>);

/// Every endpoint that is not switched off.
fn endpoints(server: &AuthorizationServer) -> Vec<Endpoint> {
    let settings = server.settings();
    let mut all = vec![(KEY_SET, get(well_known::key_set)), (METADATA, get(well_known::metadata))];
    if settings.has(Capability::TokenIssue) {
        all.push((TOKEN, only(post(token::issue))));
    }
    if settings.has(Capability::Revocation) {
        all.push((REVOKE, only(post(revoke::revoke))));
    }
    if settings.has(Capability::Introspection) {
        all.push((INTROSPECT, only(post(introspect::introspect))));
    }
    if settings.has(Capability::Health) {
        all.push((HEALTH, get(health::health)));
        all.push((HEALTH_LIVE, get(health::live)));
        all.push((HEALTH_READY, get(health::ready)));
    }
    if settings.has(Capability::Administration) {
        let acts = administration().map(|(path, acts)| (path, recorded(server, path, acts)));
        all.extend(guarded(server, &settings.administration, acts));
    }
    if settings.has(Capability::Metrics) {
        let metrics = (METRICS, get(metrics::metrics));
        match &settings.metrics {
            None => all.push(metrics),
            Some(needed) => all.extend(guarded(server, needed, [metrics])),
        }
    }
    all
}

fn administration() -> [Endpoint; 6] {
    let applications = get(applications::list).post(applications::register);
    let application =
        get(applications::show).patch(applications::change).delete(applications::remove);
    [
        (ADMIN_REFRESH, only(post(admin::refresh))),
        (ADMIN_KEY, only(post(admin::rotate_signing_key))),
        (APPLICATIONS, applications),
        (APPLICATION, application),
        (APPLICATION_SECRET, only(post(applications::rotate_secret))),
        (BREAKERS, get(breakers::list).post(breakers::set)),
    ]
}

/// These endpoints, for those who have the permission that is `needed`. One that can not be one keeps
/// everybody out; the settings were checked for it.
fn guarded(
    server: &AuthorizationServer,
    needed: &str,
    endpoints: impl IntoIterator<Item = Endpoint>,
) -> impl Iterator<Item = Endpoint> {
    let guard = needed.parse().ok().map(|needed| server.guard(needed));
    endpoints.into_iter().filter_map(move |(path, endpoint)| {
        // Another method is told so without a token.
        Some((path, endpoint.route_layer(guard.clone()?)))
    })
}

/// Answers any other method with what RFC 6749 §3.2 wants.
fn only(route: MethodRouter<AuthorizationServer>) -> MethodRouter<AuthorizationServer> {
    route.fallback(other_method)
}

/// Only POST carries a secret where no log keeps it (RFC 6749 §3.2).
async fn other_method(State(server): State<AuthorizationServer>) -> Response {
    Refusal::Method.into_response(server.realm())
}
