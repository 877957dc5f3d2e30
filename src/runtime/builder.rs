//! What a runtime is made of, and the order in which its tree is put together.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use tokio_util::task::TaskTracker;

use super::audit::AuditCare;
use super::root::Root;
use super::upstream::Upstreams;
use super::{Inside, Runtime, outbound};
use crate::clock::Sources;
use crate::config::{Problem, Problems};
use crate::credential::{
    Credentials, Providers, Rest, Revocations, Shared, TokenEndpoints, revocations,
};
use crate::error::Error;
use crate::health::{HealthPolicy, ProviderHealth, Surroundings};
use crate::identity::ProviderId;
use crate::login::Logins;
use crate::oauth::{Limits, Tls, Transport};
use crate::provider::Provider;
use crate::session::{SessionPolicy, Sessions};
use crate::settings::{OfferedKey, Resolved, Settings};
use crate::supervision::{EventBus, Timekeeper};
use crate::vault::audit::AuditRetention;
use crate::vault::{Vault, VaultHandle};

/// What a runtime is made of. A vault and at least one provider are needed; everything else has a
/// default.
///
/// ```
/// use std::time::Duration;
/// use tokenward::health::HealthPolicy;
/// use tokenward::testing::SimulatedProvider;
/// use tokenward::{Runtime, Vault};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let openai = SimulatedProvider::openai().start().await?;
/// let runtime = Runtime::builder()
///     .application("Notes")
///     .vault(Vault::in_memory())
///     .provider(openai.spec())
///     .idle_after(Duration::from_mins(2))
///     .health(HealthPolicy::default())
///     .start()
///     .await?;
/// assert_eq!(runtime.providers()[0].id().as_str(), "openai");
///
/// // Whatever is missing or wrong is told at once, before anything starts.
/// let error = Runtime::builder().start().await.expect_err("neither vault nor provider");
/// assert!(error.is_configuration());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Default)]
#[must_use = "nothing runs before start()"]
pub struct RuntimeBuilder {
    vault: Option<Vault>,
    providers: Vec<Arc<dyn Provider>>,
    sources: Option<Sources>,
    limits: Option<Limits>,
    sessions: Option<SessionPolicy>,
    idle_after: Option<Duration>,
    health: Option<HealthPolicy>,
    audit_retention: Option<AuditRetention>,
    application: Option<String>,
    settings: Option<Settings>,
}

impl RuntimeBuilder {
    /// Takes what `settings` say: the vault, the providers, the bounds. What this builder is given
    /// beside them wins over them; providers are added to theirs.
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = Some(settings);
        self
    }

    /// Where credentials and sessions are kept.
    pub fn vault(mut self, vault: Vault) -> Self {
        self.vault = Some(vault);
        self
    }

    /// Adds a provider: one of the catalogue, or any other.
    pub fn provider(mut self, provider: impl Provider) -> Self {
        self.providers.push(Arc::new(provider));
        self
    }

    /// Time and randomness from elsewhere than the operating system, for tests.
    pub fn sources(mut self, sources: Sources) -> Self {
        self.sources = Some(sources);
        self
    }

    /// The bounds of requests to token endpoints.
    pub fn token_request_limits(mut self, limits: Limits) -> Self {
        self.limits = Some(limits);
        self
    }

    /// When sessions expire: after 24 hours of inactivity, unless set otherwise.
    pub fn sessions(mut self, policy: SessionPolicy) -> Self {
        self.sessions = Some(policy);
        self
    }

    /// How long nobody has to need the actor of a credential before it sleeps: ten minutes, unless
    /// set otherwise, and no less than a second. A caller can not tell one that sleeps: it starts
    /// again when it is needed, or when its credential is due.
    pub fn idle_after(mut self, idle_after: Duration) -> Self {
        self.idle_after = Some(idle_after);
        self
    }

    /// The name of the program, as its users know it. The page at which a browser sign-in ends
    /// tells them to go back there.
    pub fn application(mut self, name: impl Into<String>) -> Self {
        self.application = Some(name.into());
        self
    }

    /// Looks at the providers that are in use from time to time, by itself. Without this, or the
    /// setting `health.enabled`, they are looked at only when somebody asks.
    pub fn health(mut self, policy: HealthPolicy) -> Self {
        self.health = Some(policy);
        self
    }

    /// How long entries of the audit trail are kept: 400 days, unless set otherwise. It is applied at
    /// the start and once a day.
    pub fn audit_retention(mut self, policy: AuditRetention) -> Self {
        self.audit_retention = Some(policy);
        self
    }

    /// Puts the tree together and starts it. A start that fails, or that nobody waits for to its end,
    /// leaves nothing running, and gives the vault back.
    ///
    /// # Errors
    ///
    /// Every setting that is missing or wrong, all at once, before anything starts; or why the
    /// vault does not open: the predicates tell a wrong or missing key from a vault in use.
    pub async fn start(self) -> Result<Runtime, Error> {
        let Checked {
            vault,
            audit_retention,
            providers,
            limits,
            sessions,
            idle_after,
            health,
            application,
            settings,
            api_keys,
        } = self.checked()?;
        warn_of(&settings);
        let sources = self.sources.unwrap_or_else(Sources::system);
        let tls = Tls::of_the_platform()?;
        let transport = Transport::with_tls(sources.clone(), limits, &tls)?;
        let outbound = outbound::clients(&tls)?;
        let events = EventBus::new(sources.clone());
        let upstreams = Upstreams::of(&providers, &sources, &events)?;
        let endpoints = TokenEndpoints::of(&providers, &sources, &events)?;
        let root = Root::start(sources.clone(), events.clone()).await?;

        // In this order, since a shutdown goes the other way: the vault is the last to stop.
        let vault = VaultHandle::start(vault, &root, sources.clone(), events.clone()).await?;
        let timekeeper = Timekeeper::start(&root, sources.clone(), events.clone()).await?;
        let tasks = TaskTracker::new();
        let revocations = Revocations::new(revocations::Inside {
            sources: sources.clone(),
            events: events.clone(),
            vault: vault.clone(),
            transport: transport.clone(),
            timekeeper: timekeeper.clone(),
            tasks: tasks.clone(),
            providers: Arc::clone(&providers),
            next: DashMap::new(),
        });
        revocations.resume().await?;
        let shared = Shared {
            sources: sources.clone(),
            events: events.clone(),
            vault: vault.clone(),
            transport: transport.clone(),
            endpoints,
            timekeeper: timekeeper.clone(),
            revocations,
            rest: Rest::after(idle_after),
            tasks,
        };
        let sessions = Sessions::start(
            sessions,
            vault.clone(),
            timekeeper.clone(),
            &root,
            sources.clone(),
            events.clone(),
        )
        .await?;
        let under = root.start_supervisor("credentials").await?;
        let credentials = Credentials::new(shared, under, providers);
        credentials.wake_stored().await?;

        let surroundings = Surroundings {
            providers: credentials.providers(),
            in_use: Arc::clone(credentials.in_use()),
            breakers: upstreams.breakers(),
            transport: transport.clone(),
            timekeeper: timekeeper.clone(),
            sources: sources.clone(),
            events: events.clone(),
        };
        let health = ProviderHealth::start(health, surroundings, &root).await?;
        let logins = Logins::start(
            &root,
            transport,
            timekeeper.clone(),
            sources.clone(),
            events.clone(),
            application.map(Arc::from),
            vault.audit_sink(),
        )
        .await?;
        let audit_care = AuditCare::begin(&vault, audit_retention, &timekeeper, &sources);
        let inside = Arc::new(Inside {
            root,
            sources,
            events,
            vault,
            #[cfg(feature = "server")]
            timekeeper,
            credentials,
            sessions,
            logins,
            health,
            outbound,
            upstreams,
            settings,
            api_keys,
            _audit_care: audit_care,
        });
        inside.stop_when_it_fails();
        Ok(Runtime(inside))
    }

    /// What this builder was given and can not be used. What settings say they check themselves.
    fn senseless(&self) -> Vec<Problem> {
        let sessions = self.sessions.iter().flat_map(|policy| {
            [("sessions.timeout", policy.timeout), ("sessions.sweep_every", policy.sweep_every)]
        });
        let health = self.health.iter().map(|policy| ("health.every", policy.every));
        let limits = self.limits.iter().flat_map(|limits| {
            [
                ("token_requests.connect", limits.connect),
                ("token_requests.deadline", limits.deadline),
            ]
        });
        let spans = sessions.chain(health).chain(limits).filter(|(_, span)| span.is_zero());
        let mut found: Vec<_> =
            spans.map(|(setting, _)| problem(setting, Problem::NO_TIME)).collect();
        if self.limits.is_some_and(|limits| limits.body == 0) {
            found.push(problem("token_requests.body", Problem::NO_ROOM));
        }
        found
    }

    /// Everything that this runtime is made of, or everything that is wrong with it.
    fn checked(&self) -> Result<Checked, Problems> {
        let settings = self.settings.clone().unwrap_or_default();
        let with_vault = self.settings.is_some() && self.vault.is_none();
        let (resolved, mut problems) = settings.resolve(with_vault);
        problems.extend(self.senseless());
        if self.vault.is_none() && self.settings.is_none() {
            problems.push(no_vault());
        }
        let mut providers = HashMap::new();
        for provider in resolved.providers.iter().chain(&self.providers) {
            if providers.insert(provider.id().clone(), provider.clone()).is_some() {
                let text = format!("{} is given twice, leave one out", provider.id());
                problems.push(problem("provider", text));
            }
        }
        problems.extend(self.providers.iter().flat_map(|provider| provider.problems()));
        if providers.is_empty() && (problems.is_empty() || self.settings.is_none()) {
            problems.push(no_provider());
        }
        Problems::check(problems)?;
        let Resolved {
            vault,
            audit_retention,
            limits,
            sessions,
            idle_after,
            health,
            application,
            settings,
            api_keys,
            ..
        } = resolved;
        Ok(Checked {
            // Never one in memory, where whatever is signed in would be gone with the process.
            vault: self.vault.clone().or(vault).ok_or_else(no_vault)?,
            audit_retention: self.audit_retention.unwrap_or(audit_retention),
            providers: Arc::new(providers),
            limits: self.limits.unwrap_or(limits),
            sessions: self.sessions.unwrap_or(sessions),
            idle_after: self.idle_after.unwrap_or(idle_after).max(Duration::from_secs(1)),
            health: self.health.or(health),
            application: self.application.clone().or(application),
            settings,
            api_keys,
        })
    }
}

/// What a runtime is made of, once nothing is wrong with it.
struct Checked {
    vault: Vault,
    audit_retention: AuditRetention,
    providers: Providers,
    limits: Limits,
    sessions: SessionPolicy,
    idle_after: Duration,
    health: Option<HealthPolicy>,
    application: Option<String>,
    settings: Settings,
    api_keys: BTreeMap<ProviderId, OfferedKey>,
}

fn no_vault() -> Problem {
    problem("vault", "is missing, give one by .vault(Vault::open(path))")
}

fn warn_of(settings: &Settings) {
    for warning in settings.warnings() {
        tracing::warn!(%warning, "a setting needs attention");
    }
}

fn no_provider() -> Problem {
    problem(
        "provider",
        "is missing, give at least one by .provider(…), or by a section [providers.NAME] of the \
         settings",
    )
}

fn problem(setting: &str, text: impl Into<String>) -> Problem {
    Problem { setting: setting.to_owned(), source: "builder".to_owned(), text: text.into() }
}
