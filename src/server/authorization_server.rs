//! The server as its host holds it: started on a runtime, mounted as a router, asked to guard routes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use ring::digest::{SHA256, digest};
use tokio::sync::Semaphore;

use super::application::{Application, ApplicationId, GrantType, RateLimit};
use super::claims::Expectation;
use super::denials::Denied;
use super::detached::{Insistence, UnderWay};
use super::guard::Guard;
use super::issuer::TokenIssuer;
use super::limiter::{ClientAddress, Limiter};
use super::refresh::Families;
use super::refusal::Refusal;
use super::routes;
use super::scope::Scope;
use super::settings::{Capability, ServerSettings};
use super::vault_watch::VaultWatch;
use super::verify::{self, Caller, TokenRefused};
use crate::clock::Sources;
use crate::credential::{CredentialHandle, Credentials};
use crate::error::Error;
use crate::health::ProviderHealth;
use crate::metrics::Metrics;
use crate::resilience::Breaker;
use crate::runtime::Runtime;
use crate::vault::VaultHandle;
use crate::vault::audit::{AuditEntry, AuditKind};

/// How often a secret may be wrong in a minute, from one address for one client.
const FAILURES_FOR_CLIENT: u32 = 10;

/// How often a secret may be wrong in a minute, from one address.
const FAILURES: u32 = 100;

/// What is counted, each by who did it.
struct Limits {
    failures_for_client: Limiter<(ClientAddress, [u8; 32])>,
    failures: Limiter<ClientAddress>,
    requests: Limiter<ApplicationId>,
}

/// An authorization server on a runtime. Cheap to clone; it stops with the runtime.
///
/// ```
/// use tokenward::server::{ApplicationSpec, AuthorizationServer, ServerSettings};
///
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let orange = SimulatedProvider::orange().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(orange.spec()).start().await?;
/// let settings = ServerSettings::new("https://host.example", "https://host.example/api");
/// let server = AuthorizationServer::start(&runtime, settings).await?;
/// let spec = ApplicationSpec::new("reports").permissions("memories:read".parse()?);
/// let registered = server.issuer().register(spec).await?;
/// println!("{} {}", registered.application.id(), registered.secret.expose());
///
/// // Beside the host's own routes; what is not a token of its own is refused.
/// let app: axum::Router = axum::Router::new().merge(server.router());
/// assert!(server.verify("not a token").is_err());
/// # let _ = app;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct AuthorizationServer(Arc<Inside>);

struct Inside {
    settings: ServerSettings,
    expectation: Expectation,
    issuer: TokenIssuer,
    families: Families,
    insistence: Insistence,
    limits: Limits,
    /// A place for each request that may be under way.
    places: Arc<Semaphore>,
    credentials: Credentials,
    watched: Vec<CredentialHandle>,
    health: ProviderHealth,
    vault: VaultHandle,
    vault_watch: VaultWatch,
    sources: Sources,
    metrics: Metrics,
}

impl AuthorizationServer {
    /// Starts a server on `runtime`: its token issuer becomes an actor beneath the runtime's root,
    /// and its keys are made where the vault has none. There is at most one on a runtime. A start that nobody
    /// waits for to its end is undone.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings, at once; or why the keys can not be had.
    pub async fn start(runtime: &Runtime, settings: ServerSettings) -> Result<Self, Error> {
        settings.check()?;
        let parts = runtime.inside();
        let mut watched = Vec::new();
        for id in &settings.watched {
            watched.push(runtime.credential(id).await?);
        }
        let issuer = TokenIssuer::start(
            settings.key_policy(),
            settings.trusted.clone(),
            parts.vault.clone(),
            parts.timekeeper.clone(),
            &parts.root,
            parts.sources.clone(),
        )
        .await?;
        let actor = issuer.messages().clone();
        parts.events.meters().add_queue("token-issuer", move || actor.waiting());
        for credential in &watched {
            let credential = credential.clone();
            // Readiness does not wait for the first caller. How it went is in the snapshot.
            tokio::spawn(async move { credential.acquire().await });
        }
        let (vault, sources) = (parts.vault.clone(), parts.sources.clone());
        let insistence = Insistence::new(Arc::clone(&sources.clock));
        let denials = issuer.denials().clone();
        let families = Families::new(vault, sources, denials, insistence.clone());
        Ok(Self(Arc::new(Inside {
            families,
            insistence,
            limits: Limits {
                failures_for_client: Limiter::new(),
                failures: Limiter::new(),
                requests: Limiter::new(),
            },
            watched,
            places: Arc::new(Semaphore::new(settings.most_requests)),
            credentials: parts.credentials.clone(),
            health: parts.health.clone(),
            expectation: settings.expectation(),
            settings,
            issuer,
            vault_watch: VaultWatch::new(parts.vault.clone(), parts.sources.clone()),
            vault: parts.vault.clone(),
            sources: parts.sources.clone(),
            metrics: runtime.metrics(),
        })))
    }

    /// Removes everything that a server has in the vault of `runtime`, its keys included, and says how
    /// many records there were: to begin anew, where the keys are lost or known to others. No server may
    /// run on it. Every secret and every token is void after that, and every application has to be
    /// registered again.
    ///
    /// # Errors
    ///
    /// When the vault can not be read or written for now. What was removed stays so; call again.
    pub async fn erase(runtime: &Runtime) -> Result<usize, Error> {
        TokenIssuer::erase(runtime.inside().vault.clone()).await
    }

    /// The token issuer: applications and signing keys.
    pub fn issuer(&self) -> &TokenIssuer {
        &self.0.issuer
    }

    /// The server's endpoints, to be merged into the host's own router:
    ///
    /// - `POST /auth/token`
    /// - `POST /auth/revoke` (RFC 7009)
    /// - `POST /auth/introspect` (RFC 7662)
    /// - `POST /admin/refresh`, `POST /admin/signing-key`, with the permission for it, as what follows
    /// - `GET` and `POST /admin/applications`; `GET`, `PATCH` and `DELETE` with an id behind it, and
    ///   `POST` with `/secret` behind that
    /// - `GET` and `POST /admin/breakers`
    /// - `GET /health`, `GET /health/live`, `GET /health/ready`
    /// - `GET /metrics`, for Prometheus
    /// - `GET /.well-known/jwks.json`
    /// - `GET /.well-known/oauth-authorization-server`
    ///
    /// beneath the path of the issuer where it has one, but for the last, which the path comes after
    /// (RFC 8414 §3.1).
    pub fn router(&self) -> Router {
        routes::router(self.clone())
    }

    /// A layer that lets through who has a good token with all of these permissions, and nobody else.
    pub fn guard(&self, permissions: Scope) -> Guard {
        Guard::new(self.clone(), permissions)
    }

    /// Verifies a token, as the guard does, for hosts that get it in another way than by HTTP.
    ///
    /// # Errors
    ///
    /// When it is not good here and now.
    pub fn verify(&self, token: &str) -> Result<Caller, TokenRefused> {
        let now = self.0.sources.now().wall;
        verify::verify(&self.0.issuer, &self.0.expectation, token, now)
    }

    /// Whether `client` may try another secret from `address`. A limit counts what came from one
    /// address, so nobody can lock out a client that comes from another one.
    pub(crate) fn may_try(&self, address: ClientAddress, client: &str) -> Result<(), Duration> {
        let (limits, now) = (&self.0.limits, self.0.sources.now().monotonic);
        limits.failures.check(&address, FAILURES, now)?;
        let key = (address, named(client));
        limits.failures_for_client.check(&key, FAILURES_FOR_CLIENT, now)
    }

    /// Counts a wrong secret.
    pub(crate) fn count_failure(&self, address: ClientAddress, client: &str) {
        let (limits, now) = (&self.0.limits, self.0.sources.now().monotonic);
        let key = (address, named(client));
        // What is over its limit already is not counted twice.
        let _ = limits.failures.take(address, FAILURES, now);
        let _ = limits.failures_for_client.take(key, FAILURES_FOR_CLIENT, now);
    }

    /// Counts a request of an application, or says how long it has to wait.
    pub(crate) fn count_request(&self, application: &Application) -> Result<(), Duration> {
        let RateLimit::PerMinute(times) = application.rate_limit() else { return Ok(()) };
        let now = self.0.sources.now().monotonic;
        self.0.limits.requests.take(application.id().clone(), times.get(), now)
    }

    /// A place among the requests that are under way, for as long as it is held; none when there are
    /// as many as may be.
    pub(crate) fn place(&self) -> Option<UnderWay> {
        Arc::clone(&self.0.places).try_acquire_owned().ok().map(Arc::new)
    }

    /// The breakers before the host's upstreams at the moment, by name.
    pub(crate) fn breakers(&self) -> BTreeMap<String, Breaker> {
        self.0.metrics.breakers()
    }

    pub(crate) fn credentials(&self) -> &Credentials {
        &self.0.credentials
    }

    /// The credentials that readiness depends on.
    pub(crate) fn watched(&self) -> &[CredentialHandle] {
        &self.0.watched
    }

    pub(crate) fn provider_health(&self) -> &ProviderHealth {
        &self.0.health
    }

    /// The refresh tokens.
    pub(crate) fn families(&self) -> &Families {
        &self.0.families
    }

    /// Revokes one access token of an application.
    pub(crate) async fn revoke(
        &self,
        of: &ApplicationId,
        denied: Denied,
        under_way: UnderWay,
    ) -> Result<(), Error> {
        let (vault, insistence) = (self.0.vault.clone(), &self.0.insistence);
        self.0.issuer.denials().deny(denied, of, vault, insistence, under_way).await
    }

    /// Whether the vault can be used.
    pub(crate) fn vault_watch(&self) -> &VaultWatch {
        &self.0.vault_watch
    }

    pub(crate) fn settings(&self) -> &ServerSettings {
        &self.0.settings
    }

    pub(crate) fn sources(&self) -> &Sources {
        &self.0.sources
    }

    /// Whether an application gets refresh tokens, and may use them.
    pub(crate) fn refreshes(&self, application: &Application) -> bool {
        self.0.settings.has(Capability::RefreshTokens)
            && application.may_use(GrantType::RefreshToken)
    }

    /// What tokens have to say.
    pub(crate) fn expectation(&self) -> &Expectation {
        &self.0.expectation
    }

    /// Who the tokens are for.
    pub(crate) fn audience(&self) -> &str {
        &self.0.expectation.audience
    }

    /// What the challenges of the server name.
    pub(crate) fn realm(&self) -> &str {
        &self.0.settings.issuer
    }

    /// What the runtime counts, the server's part included.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// Records that a token was issued.
    pub(crate) fn note_issued(&self, to: &ApplicationId, grant: &'static str) {
        self.0.metrics.meters().token_issued(grant);
        let entry = AuditEntry::new(AuditKind::TokenGenerated).because(grant);
        self.note(entry.origin("token-endpoint"), Some(to.as_str()));
    }

    /// Records that an endpoint refused something, to an application where one asked, or said so. What
    /// fails within the server is told apart from what is denied.
    pub(crate) fn note_refused(&self, to: Option<&str>, origin: &'static str, refusal: Refusal) {
        let kind = match refusal {
            Refusal::Unavailable | Refusal::Crowded => AuditKind::GenerationFailed,
            _ => AuditKind::AccessDenied,
        };
        if kind == AuditKind::AccessDenied {
            self.0.metrics.meters().access_denied(refusal.description());
        }
        let entry = AuditEntry::new(kind).because(refusal.description());
        self.note(entry.origin(origin), to);
    }

    /// Counts what the guard decided of a request, and why it refused it where it did.
    pub(crate) fn count_guarded(&self, word: &'static str, denied: Option<&'static str>) {
        let meters = self.0.metrics.meters();
        meters.guarded_request("bearer", word);
        if let Some(why) = denied {
            meters.access_denied(why);
        }
    }

    /// Records that the guard refused a request.
    pub(crate) fn note_guarded(&self, from: Option<&str>, why: &dyn std::error::Error) {
        let entry = AuditEntry::new(AuditKind::AccessDenied).because_of(why);
        self.note(entry.origin("guard"), from);
    }

    /// Records that an application was told about a token, or what it may not be told.
    pub(crate) fn note_introspected(&self, by: &ApplicationId, may: bool) {
        let entry = if may {
            AuditEntry::new(AuditKind::TokenIntrospected)
        } else {
            AuditEntry::new(AuditKind::AccessDenied).because("the token is another application's")
        };
        self.note(entry.origin("introspection-endpoint"), Some(by.as_str()));
    }

    /// Records what an administrator did, or was refused.
    pub(crate) fn note_administered(&self, by: &str, act: &str, done: bool) {
        let kind = if done { AuditKind::Administered } else { AuditKind::AccessDenied };
        let entry = AuditEntry::new(kind).in_words(act);
        self.note(entry.origin("administration"), Some(by));
    }

    /// Notes an entry, about an application if it is one of ours. It is bounded how many are written,
    /// and equal ones are counted, so nobody can fill the disk by being refused.
    fn note(&self, entry: AuditEntry, client_id: Option<&str>) {
        let published = self.0.issuer.published().ok();
        let ours = published.as_ref().zip(client_id);
        let ours = ours.and_then(|(published, client_id)| published.application(client_id));
        let owner = ours.map(|application| application.id().owner());
        self.0.vault.note(owner.iter().fold(entry, AuditEntry::user));
    }
}

/// What a client is counted by: a text of any length is not kept.
fn named(client: &str) -> [u8; 32] {
    let mut name = [0; 32];
    name.copy_from_slice(digest(&SHA256, client.as_bytes()).as_ref());
    name
}

impl fmt::Debug for AuthorizationServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthorizationServer")
            .field("issuer", &self.0.settings.issuer)
            .finish_non_exhaustive()
    }
}
