//! Whether the process is there, and whether it can do its work: for those who start, stop and watch
//! it. Nothing here is a secret, and nothing waits for a provider.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use crate::credential::CredentialHandle;
use crate::server::answer;
use crate::server::authorization_server::AuthorizationServer;

/// Whether the process answers at all.
pub(super) async fn live() -> Response {
    answer::secret(StatusCode::OK, &json!({ "status": "live" }))
}

/// Whether everything can be used that the host named: 200, or 503.
pub(super) async fn ready(State(server): State<AuthorizationServer>) -> Response {
    let state = Findings::of(&server).await;
    answer::secret(state.status(), &json!({ "status": state.word() }))
}

/// The same, in full.
pub(super) async fn health(State(server): State<AuthorizationServer>) -> Response {
    let state = Findings::of(&server).await;
    let body = json!({
        "status": state.word(),
        "vault": { "ready": state.vault },
        "credentials": state.credentials,
    });
    answer::secret(state.status(), &body)
}

/// What was found.
struct Findings {
    vault: bool,
    ready: bool,
    credentials: Vec<Value>,
}

impl Findings {
    async fn of(server: &AuthorizationServer) -> Self {
        let vault = server.vault_watch().is_usable().await;
        let mut ready = vault;
        let mut credentials = Vec::new();
        for credential in server.watched() {
            let usable = credential.snapshot().is_usable(server.sources().now());
            ready &= usable;
            credentials.push(described(server, credential, usable));
        }
        Self { vault, ready, credentials }
    }

    fn status(&self) -> StatusCode {
        if self.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
    }

    fn word(&self) -> &'static str {
        if self.ready { "ready" } else { "not-ready" }
    }
}

/// One credential, and how its provider fares as far as that is watched.
fn described(server: &AuthorizationServer, credential: &CredentialHandle, usable: bool) -> Value {
    let (id, snapshot) = (credential.id(), credential.snapshot());
    let provider = server.provider_health().of(id.provider.as_str());
    let latency = provider.as_ref().and_then(|health| health.latency);
    json!({
        "credential": id.to_string(),
        "ready": usable,
        "state": snapshot.state(),
        "reason": snapshot.reason(),
        "provider": provider.map(|health| health.state),
        "latency_ms": latency.map(|latency| u64::try_from(latency.as_millis()).unwrap_or(u64::MAX)),
    })
}
