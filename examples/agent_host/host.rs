//! The host put together: a runtime whose one user is signed in at a simulated provider, the server,
//! and three guarded routes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Extension, Router};
use tokenward::server::{
    ApplicationChange, ApplicationSpec, AuthorizationServer, Caller, Registered, ServerSettings,
    UpstreamGuard,
};
use tokenward::testing::SimulatedProvider;
use tokenward::{
    CredentialId, Error, Label, MasterKey, Method, ProviderId, Runtime, Secret, Session, UserId,
    Vault,
};

use crate::config::{ApplicationConfig, Config};

/// The user on whose behalf the provider is called.
const USER: &str = "ada";

/// A host that runs.
pub(crate) struct Host {
    pub(crate) runtime: Runtime,
    pub(crate) router: Router,
    /// The applications that were registered just now, with their secrets.
    pub(crate) applications: Vec<Registered>,
    /// It answers for as long as it is held.
    _provider: SimulatedProvider,
}

/// What is remembered: by whom, and what.
type Memories = Arc<Mutex<Vec<(String, String)>>>;

impl Host {
    /// Starts a host that is reached at `base`.
    pub(crate) async fn start(
        config: &Config,
        base: &str,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let provider = SimulatedProvider::anthropic().start().await?;
        let runtime =
            Runtime::builder().vault(vault(config)).provider(provider.spec()).start().await?;
        let ada = runtime.user(USER);
        ada.sign_in("anthropic").with_api_key(provider.issue_api_key()).await?;
        let session = ada.open_session().await?;
        session.use_provider("anthropic").await?;

        let upstream = CredentialId {
            user: UserId::new(USER)?,
            provider: ProviderId::new("anthropic")?,
            method: Method::ApiKey,
            label: Label::default(),
        };
        let issuer = config.issuer.clone().unwrap_or_else(|| base.to_owned());
        let audience = config.audience.clone().unwrap_or_else(|| issuer.clone());
        let settings = ServerSettings::new(issuer, audience).ready_with(upstream.clone());
        let server = AuthorizationServer::start(&runtime, settings).await?;
        let mut applications = Vec::new();
        for application in &config.applications {
            applications.extend(provide(&server, application).await?);
        }

        let upstream = UpstreamGuard::new(runtime.credential(&upstream).await?);
        let may = |permission: &str| permission.parse().map(|scope| server.guard(scope));
        let router = Router::new()
            .route("/models", get(models))
            // Whoever may not call is told so first: the last layer is the outermost.
            .route_layer(upstream)
            .route_layer(may("models:read")?)
            .with_state(session)
            .merge(
                Router::new()
                    .route("/memories", get(recall).layer(may("memories:read")?))
                    .route("/memories", post(remember).layer(may("memories:write")?))
                    .with_state(Memories::default()),
            )
            .merge(server.router());
        Ok(Self { runtime, router, applications, _provider: provider })
    }
}

/// Registers an application, or makes the one that is there already what the file says.
async fn provide(
    server: &AuthorizationServer,
    config: &ApplicationConfig,
) -> Result<Option<Registered>, Error> {
    let lifetime = Duration::from_secs(config.access_token_lifetime);
    if let Some(id) = &config.id
        && server.issuer().application(id).is_some()
    {
        let change = ApplicationChange::new()
            .name(&config.name)
            .permissions(config.permissions.clone())
            .grants(config.grants.clone())
            .access_token_lifetime(lifetime);
        server.issuer().change(id, change).await?;
        return Ok(None);
    }
    let mut spec = ApplicationSpec::new(&config.name)
        .permissions(config.permissions.clone())
        .grants(config.grants.clone())
        .access_token_lifetime(lifetime);
    if let Some(id) = &config.id {
        spec = spec.id(id.clone());
    }
    if let Some(secret) = &config.secret {
        spec = spec.secret(Secret::new(secret));
    }
    server.issuer().register(spec).await.map(Some)
}

fn vault(config: &Config) -> Vault {
    let Some(path) = &config.vault else { return Vault::in_memory() };
    let key = config.key_file.clone().unwrap_or_else(|| path.with_extension("key"));
    Vault::open(path).master_key(MasterKey::from_file(key).create_if_missing())
}

/// What the provider offers, asked for with the user's credential, which no caller ever sees.
async fn models(State(session): State<Session>) -> Result<String, StatusCode> {
    let answer = session.client().get("/v1/models").send().await;
    let answer = answer.map_err(|_| StatusCode::BAD_GATEWAY)?;
    answer.text().await.map_err(|_| StatusCode::BAD_GATEWAY)
}

async fn recall(State(memories): State<Memories>) -> String {
    let memories = memories.lock().unwrap_or_else(PoisonError::into_inner);
    memories.iter().flat_map(|(by, what)| [by, ": ", what, "\n"]).collect()
}

async fn remember(
    State(memories): State<Memories>,
    Extension(caller): Extension<Caller>,
    what: String,
) -> StatusCode {
    let mut memories = memories.lock().unwrap_or_else(PoisonError::into_inner);
    memories.push((caller.client_id().to_owned(), what));
    StatusCode::CREATED
}
