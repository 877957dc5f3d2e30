//! What a runtime is made of, and the order in which its tree is put together.

use std::collections::HashMap;
use std::sync::Arc;

use tokio_util::task::TaskTracker;

use super::{Inside, Runtime};
use crate::clock::Sources;
use crate::config::{Problem, Problems};
use crate::credential::{Credentials, Providers, Shared};
use crate::error::Error;
use crate::http::Outbound;
use crate::login::Logins;
use crate::oauth::{Limits, Transport};
use crate::provider::Provider;
use crate::session::{SessionPolicy, Sessions};
use crate::supervision::{EventBus, Supervisor, Timekeeper};
use crate::vault::{Vault, VaultHandle};

/// What a runtime is made of. A vault and at least one provider are needed; everything else has a
/// default.
#[derive(Debug, Default)]
pub struct RuntimeBuilder {
    vault: Option<Vault>,
    providers: Vec<Arc<dyn Provider>>,
    sources: Option<Sources>,
    limits: Limits,
    sessions: SessionPolicy,
}

impl RuntimeBuilder {
    /// Where credentials and sessions are kept.
    #[must_use]
    pub fn vault(mut self, vault: Vault) -> Self {
        self.vault = Some(vault);
        self
    }

    /// Adds a provider: one of the catalogue, or any other.
    #[must_use]
    pub fn provider(mut self, provider: impl Provider) -> Self {
        self.providers.push(Arc::new(provider));
        self
    }

    /// Time and randomness from elsewhere than the operating system, for tests.
    #[must_use]
    pub fn sources(mut self, sources: Sources) -> Self {
        self.sources = Some(sources);
        self
    }

    /// The bounds of requests to token endpoints.
    #[must_use]
    pub fn token_request_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// When sessions expire: after 24 hours of inactivity, unless set otherwise.
    #[must_use]
    pub fn sessions(mut self, policy: SessionPolicy) -> Self {
        self.sessions = policy;
        self
    }

    /// Puts the tree together and starts it.
    ///
    /// # Errors
    ///
    /// Every setting that is missing or wrong, all at once, before anything starts; or why the
    /// vault does not open: the predicates tell a wrong or missing key from a vault in use.
    pub async fn start(self) -> Result<Runtime, Error> {
        let (vault, providers) = self.checked()?;
        let sources = self.sources.unwrap_or_else(Sources::system);
        let transport = Transport::with_limits(sources.clone(), self.limits)?;
        let outbound = Outbound::new()?;
        let events = EventBus::new(sources.clone());
        let root = Supervisor::start("runtime", sources.clone(), events.clone()).await?;

        // In this order, since a shutdown goes the other way: the vault is the last to stop.
        let vault = VaultHandle::start(vault, &root, sources.clone(), events.clone()).await?;
        let timekeeper = Timekeeper::start(&root, sources.clone(), events.clone()).await?;
        let shared = Shared {
            sources: sources.clone(),
            events: events.clone(),
            vault: vault.clone(),
            transport: transport.clone(),
            timekeeper: timekeeper.clone(),
            tasks: TaskTracker::new(),
        };
        let sessions = Sessions::start(
            self.sessions,
            vault.clone(),
            timekeeper.clone(),
            &root,
            sources.clone(),
            events.clone(),
        )
        .await?;
        let supervisor = root.start_supervisor("credentials").await?;
        let credentials = Credentials::new(shared, supervisor, providers);
        credentials.wake_stored().await?;

        let logins =
            Logins::start(&root, transport, timekeeper, sources.clone(), events.clone()).await?;
        let inside = Arc::new(Inside {
            root,
            sources,
            events,
            vault,
            credentials,
            sessions,
            logins,
            outbound,
        });
        inside.stop_when_it_fails();
        Ok(Runtime(inside))
    }

    fn checked(&self) -> Result<(Vault, Providers), Problems> {
        let mut problems = Vec::new();
        let mut problem = |setting: &str, text: String| {
            let (setting, source) = (setting.to_owned(), "builder".to_owned());
            problems.push(Problem { setting, source, text });
        };
        if self.vault.is_none() {
            problem("vault", "is missing, give one by .vault(Vault::open(path))".to_owned());
        }
        if self.providers.is_empty() {
            problem("provider", "is missing, give at least one by .provider(…)".to_owned());
        }
        let mut providers = HashMap::new();
        for provider in &self.providers {
            if providers.insert(provider.id().clone(), provider.clone()).is_some() {
                problem("provider", format!("{} is given twice, leave one out", provider.id()));
            }
        }
        problems.extend(self.providers.iter().flat_map(|provider| provider.problems()));
        Problems::check(problems)?;
        let vault = self.vault.clone().unwrap_or_else(Vault::in_memory);
        Ok((vault, Arc::new(providers)))
    }
}
