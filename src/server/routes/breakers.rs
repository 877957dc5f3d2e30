//! The breakers before the host's upstreams: how they stand, and a hand on them.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use super::admin::{finished, json_body};
use crate::error::{Error, ErrorKind};
use crate::resilience::Breaker;
use crate::server::answer;
use crate::server::authorization_server::AuthorizationServer;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    upstream: String,
    state: WantedState,
}

/// What a person may set a breaker to.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum WantedState {
    Closed,
    ForcedOpen,
    Disabled,
}

/// All breakers: those before calls, and those before renewals.
pub(super) async fn list(State(server): State<AuthorizationServer>) -> Response {
    let all: Vec<Value> =
        server.breakers().iter().map(|(name, breaker)| described(name, breaker)).collect();
    answer::secret(StatusCode::OK, &json!({ "breakers": all }))
}

/// Sets one by hand: holds all calls back, lets all through, or begins afresh.
pub(super) async fn set(State(server): State<AuthorizationServer>, request: Request) -> Response {
    let set = async {
        let wanted: Wanted = json_body(&server, request).await?;
        let breaker = server.breakers().remove(&wanted.upstream).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "there is no such upstream, GET /admin/breakers")
        })?;
        match wanted.state {
            WantedState::Closed => breaker.close(),
            WantedState::ForcedOpen => breaker.force_open(),
            WantedState::Disabled => breaker.disable(),
        }
        Ok((StatusCode::OK, described(&wanted.upstream, &breaker)))
    };
    let set = set.await;
    finished(&server, set)
}

fn described(upstream: &str, breaker: &Breaker) -> Value {
    let status = breaker.status();
    let mut body = json!({
        "upstream": upstream,
        "state": status.state.as_str(),
        "generation": status.generation,
        "counts": status.counts,
        "late": status.late,
    });
    if let Some(wait) = status.state.retry_in() {
        body["retry_in_ms"] = json!(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
    }
    body
}
