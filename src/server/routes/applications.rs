//! Administration of applications, for those with the permission for it. Bodies are JSON; what stands
//! in none stays as it is, and a member that nobody knows is refused.

use std::num::NonZeroU32;
use std::time::{Duration, SystemTime};

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use super::admin::{Failed, finished, json_body};
use crate::error::{Error, ErrorKind};
use crate::server::answer;
use crate::server::application::{
    Application, ApplicationChange, ApplicationId, ApplicationSpec, GrantType, RateLimit,
};
use crate::server::authorization_server::AuthorizationServer;
use crate::server::issuer::Registered;
use crate::server::refresh::RefreshPolicy;
use crate::server::refusal::Refusal;
use crate::server::verify::since_1970;

/// What an application is to be. Times are whole seconds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    id: Option<String>,
    name: Option<String>,
    permissions: Option<String>,
    grant_types: Option<Vec<String>>,
    access_token_lifetime: Option<u64>,
    refresh: Option<WantedRefresh>,
    /// Zero: as often as it likes.
    requests_per_minute: Option<u32>,
    enabled: Option<bool>,
}

/// How long refresh tokens are to live.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WantedRefresh {
    idle: Option<u64>,
    absolute: Option<u64>,
    grace: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WantedSecret {
    /// For how many seconds the former secret is good still.
    overlap: u64,
}

/// All applications.
pub(super) async fn list(State(server): State<AuthorizationServer>) -> Response {
    let now = server.sources().now().wall;
    let all = server.issuer().applications();
    let all: Vec<Value> = all.iter().map(|application| described(application, now)).collect();
    answer::secret(StatusCode::OK, &json!({ "applications": all }))
}

/// Registers one, and shows its secret this once.
pub(super) async fn register(
    State(server): State<AuthorizationServer>,
    request: Request,
) -> Response {
    let registered = async {
        let wanted: Wanted = json_body(&server, request).await?;
        let id = wanted.id.as_deref().map(id).transpose()?;
        let name = wanted.name.as_deref();
        let name = name.ok_or(Refusal::InvalidRequest("the member name is missing"))?;
        let mut spec = ApplicationSpec::new(name).changed(wanted.change()?);
        if let Some(id) = id {
            spec = spec.id(id);
        }
        let Registered { application, secret } = server.issuer().register(spec).await?;
        let mut body = described(&application, server.sources().now().wall);
        body["client_secret"] = json!(secret.expose());
        Ok((StatusCode::CREATED, body))
    };
    let registered = registered.await;
    finished(&server, registered)
}

/// One application.
pub(super) async fn show(
    State(server): State<AuthorizationServer>,
    Path(named): Path<String>,
) -> Response {
    let shown = id(&named).and_then(|id| body_of(&server, &id));
    finished(&server, shown)
}

/// Changes one. It is in force when this is answered, also for tokens that are out.
pub(super) async fn change(
    State(server): State<AuthorizationServer>,
    Path(named): Path<String>,
    request: Request,
) -> Response {
    let changed = async {
        let id = id(&named)?;
        let wanted: Wanted = json_body(&server, request).await?;
        if wanted.id.is_some() {
            return Err(
                Refusal::InvalidRequest("the id of an application can not be changed").into()
            );
        }
        server.issuer().change(&id, wanted.change()?).await?;
        body_of(&server, &id)
    };
    let changed = changed.await;
    finished(&server, changed)
}

/// Removes one. Its tokens are not good any more.
pub(super) async fn remove(
    State(server): State<AuthorizationServer>,
    Path(named): Path<String>,
) -> Response {
    let removed = async {
        server.issuer().remove(&id(&named)?).await?;
        Ok((StatusCode::OK, json!({})))
    };
    let removed = removed.await;
    finished(&server, removed)
}

/// Gives one another secret, and shows it this once.
pub(super) async fn rotate_secret(
    State(server): State<AuthorizationServer>,
    Path(named): Path<String>,
    request: Request,
) -> Response {
    let rotated = async {
        let id = id(&named)?;
        let wanted: WantedSecret = json_body(&server, request).await?;
        let overlap = Duration::from_secs(wanted.overlap);
        let secret = server.issuer().rotate_secret(&id, overlap).await?;
        Ok((StatusCode::OK, json!({ "client_id": id.as_str(), "client_secret": secret.expose() })))
    };
    let rotated = rotated.await;
    finished(&server, rotated)
}

impl Wanted {
    /// The change that this is.
    fn change(&self) -> Result<ApplicationChange, Failed> {
        let mut change = ApplicationChange::new();
        if let Some(name) = &self.name {
            change = change.name(name);
        }
        if let Some(permissions) = &self.permissions {
            let permissions = permissions.parse().map_err(|_| Refusal::InvalidScope)?;
            change = change.permissions(permissions);
        }
        if let Some(names) = &self.grant_types {
            let grants: Option<Vec<_>> = names.iter().map(|name| GrantType::named(name)).collect();
            change = change.grants(grants.ok_or(Refusal::UnsupportedGrantType)?);
        }
        if let Some(seconds) = self.access_token_lifetime {
            change = change.access_token_lifetime(Duration::from_secs(seconds));
        }
        if let Some(wanted) = &self.refresh {
            change = wanted.added_to(change);
        }
        if let Some(times) = self.requests_per_minute {
            let limit = NonZeroU32::new(times).map_or(RateLimit::Unlimited, RateLimit::PerMinute);
            change = change.rate_limit(limit);
        }
        if let Some(enabled) = self.enabled {
            change = change.enabled(enabled);
        }
        Ok(change)
    }
}

impl WantedRefresh {
    fn added_to(&self, mut change: ApplicationChange) -> ApplicationChange {
        if let Some(idle) = self.idle {
            change = change.refresh_idle(Duration::from_secs(idle));
        }
        if let Some(absolute) = self.absolute {
            change = change.refresh_absolute(Duration::from_secs(absolute));
        }
        if let Some(grace) = self.grace {
            change = change.refresh_grace(Duration::from_secs(grace));
        }
        change
    }
}

fn id(named: &str) -> Result<ApplicationId, Failed> {
    named.parse().map_err(Failed::from)
}

fn not_found() -> Error {
    Error::new(ErrorKind::NotFound, "there is no such application, GET /admin/applications")
}

/// The application under `id`, as it is now.
fn body_of(
    server: &AuthorizationServer,
    id: &ApplicationId,
) -> Result<(StatusCode, Value), Failed> {
    let found = server.issuer().application(id).ok_or_else(not_found)?;
    Ok((StatusCode::OK, described(&found, server.sources().now().wall)))
}

/// An application without its secrets, which are known by their hashes only.
fn described(application: &Application, now: SystemTime) -> Value {
    let RefreshPolicy { idle, absolute, grace } = application.refresh_policy();
    let per_minute = match application.rate_limit() {
        RateLimit::Unlimited => 0,
        RateLimit::PerMinute(times) => times.get(),
    };
    let grants: Vec<&str> = application.grants().map(GrantType::as_str).collect();
    let seconds = |time: SystemTime| since_1970(time).as_secs();
    let secrets: Vec<Value> = application
        .secrets(now)
        .map(|secret| {
            json!({
                "created": seconds(secret.created),
                "ends": secret.ends.map(seconds),
                "last_used": secret.last_used.map(seconds),
            })
        })
        .collect();
    json!({
        "client_id": application.id().as_str(),
        "name": application.name(),
        "permissions": application.permissions(),
        "grant_types": grants,
        "access_token_lifetime": application.access_token_lifetime().as_secs(),
        "refresh": {
            "idle": idle.as_secs(), "absolute": absolute.as_secs(), "grace": grace.as_secs(),
        },
        "requests_per_minute": per_minute,
        "enabled": application.is_enabled(),
        "created": seconds(application.created()),
        "live_secrets": secrets.len(),
        "secrets": secrets,
    })
}
