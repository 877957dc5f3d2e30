//! The host put together: a runtime whose one user is signed in at a simulated provider, the server,
//! and three guarded routes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Extension, Router};
use tokenward::server::{
    ApplicationSpec, AuthorizationServer, Caller, Registered, ServerSettings, UpstreamGuard,
};
use tokenward::testing::SimulatedProvider;
use tokenward::{
    CredentialId, Label, MasterKey, Method, ProviderId, Runtime, Secret, Session, UserId, Vault,
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
        let mut settings = ServerSettings::new(issuer, audience).ready_with(upstream.clone());
        for capability in &config.switched_off {
            settings = settings.without(*capability);
        }
        if let Some(requests) = config.most_requests {
            settings = settings.most_requests(requests);
        }
        let server = AuthorizationServer::start(&runtime, settings).await?;
        let applications = provide(&server, config).await?;

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

/// Makes the applications those of the file, whatever they were: the file is the truth. Answers those
/// that were registered just now.
async fn provide(
    server: &AuthorizationServer,
    config: &Config,
) -> Result<Vec<Registered>, Box<dyn std::error::Error>> {
    let issuer = server.issuer();
    let ids: Result<Vec<_>, _> = config.applications.iter().map(ApplicationConfig::id).collect();
    let ids = ids?;
    for former in issuer.applications() {
        if !ids.contains(former.id()) {
            issuer.remove(former.id()).await?;
        }
    }
    let mut registered = Vec::new();
    for (application, id) in config.applications.iter().zip(ids) {
        let secret = application.secret.as_deref().map(Secret::new);
        let change = application.to_change(config);
        if issuer.application(&id).is_none() {
            let mut spec = ApplicationSpec::new(&application.name).id(id).changed(change);
            if let Some(secret) = secret {
                spec = spec.secret(secret);
            }
            registered.push(issuer.register(spec).await?);
            continue;
        }
        if let Some(secret) = secret {
            // Another one in the file ends the former one at once, and nothing changes otherwise.
            issuer.set_secret(&id, secret, Duration::ZERO).await?;
        }
        issuer.change(&id, change).await?;
    }
    Ok(registered)
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
