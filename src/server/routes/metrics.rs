//! What is counted, for Prometheus; and the counting of requests to the other endpoints.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::MethodRouter;
use tracing::{Instrument as _, field, info_span};

use crate::metrics::{self, Meters};
use crate::server::authorization_server::AuthorizationServer;

pub(super) async fn metrics(State(server): State<AuthorizationServer>) -> Response {
    let mut response = Response::new(Body::from(server.metrics().encode()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(metrics::CONTENT_TYPE));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Counts the requests to `endpoint`, which is at `route`, and how long they take.
pub(super) fn counted(
    server: &AuthorizationServer,
    route: &'static str,
    endpoint: MethodRouter<AuthorizationServer>,
) -> MethodRouter<AuthorizationServer> {
    let state = (server.metrics().meters().clone(), route);
    endpoint.layer(from_fn_with_state(state, count))
}

async fn count(
    State((meters, route)): State<(Meters, &'static str)>,
    request: Request,
    next: Next,
) -> Response {
    let since = meters.now();
    let span = info_span!("request", route, status = field::Empty);
    let response = next.run(request).instrument(span.clone()).await;
    span.record("status", response.status().as_u16());
    meters.server_request(route, response.status().as_u16(), since);
    response
}
