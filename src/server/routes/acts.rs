//! The record of what administrators do: who, what, and how it was answered.

use axum::extract::{Request, State};
use axum::http::Method;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::MethodRouter;

use crate::server::authorization_server::AuthorizationServer;
use crate::server::verify::Caller;

/// Records the acts at `route`, which is behind the guard that says whose they are.
pub(super) fn recorded(
    server: &AuthorizationServer,
    route: &'static str,
    endpoint: MethodRouter<AuthorizationServer>,
) -> MethodRouter<AuthorizationServer> {
    endpoint.route_layer(from_fn_with_state((server.clone(), route), record))
}

async fn record(
    State((server, route)): State<(AuthorizationServer, &'static str)>,
    request: Request,
    next: Next,
) -> Response {
    let method = request.method().clone();
    let by = request.extensions().get::<Caller>().map(|caller| caller.client_id().to_owned());
    let response = next.run(request).await;
    // To look is no act.
    if let Some(by) = by.filter(|_| method != Method::GET && method != Method::HEAD) {
        let status = response.status();
        let act = format!("{method} {route} was answered {}", status.as_u16());
        server.note_administered(&by, &act, status.is_success());
    }
    response
}
