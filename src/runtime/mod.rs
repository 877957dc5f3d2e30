//! The runtime as a host sees it: a builder, the tree put together, and the faces of users and
//! sessions. Every method here is a message or two; both ways do the same.

mod audit;
mod builder;
mod explain;
mod health;
mod outbound;
mod root;
mod session;
mod sign_in;
mod upstream;
mod user;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Sources;
use crate::credential::{CredentialHandle, Credentials};
use crate::error::{Error, ErrorKind};
use crate::event::EventKind;
use crate::health::ProviderHealth;
use crate::identity::{CredentialId, ProviderId, UserId};
use crate::login::Logins;
use crate::oauth::Clients;
use crate::provider::Provider;
use crate::resilience::Breaker;
use crate::session::Sessions;
use crate::settings::{OfferedKey, Settings};
#[cfg(feature = "server")]
use crate::supervision::Timekeeper;
use crate::supervision::{EventBus, Events, TreeNode};
use crate::vault::{Inspection, VaultHandle};

pub use builder::RuntimeBuilder;
pub use explain::{Candidate, Choice, Why};
use root::Root;
pub(crate) use session::{Active, Admitted};
pub use session::{Authentication, Session};
pub use sign_in::{KeyChoice, SignIn};
pub use upstream::Upstream;
pub use user::User;

use upstream::Upstreams;

/// A supervised credential runtime. A value: several can live in one process. Cheap to clone.
///
/// Call [`Runtime::shutdown`] before the process ends, so that renewals under way finish and are
/// durable. Nothing that was acknowledged is lost without it, but a renewal that is cut off may
/// cost its user a new sign-in.
///
/// ```
/// use tokenward::testing::SimulatedProvider;
/// use tokenward::{Runtime, Vault};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let anthropic = SimulatedProvider::anthropic().start().await?;
/// let runtime = Runtime::builder()
///     .vault(Vault::in_memory())
///     .provider(anthropic.spec())
///     .start()
///     .await?;
///
/// // A clone is the same runtime, for another task of the host.
/// let ada = runtime.clone().user("ada");
/// ada.sign_in("anthropic").with_api_key(anthropic.issue_api_key()).await?;
///
/// let unfinished = runtime.shutdown(std::time::Duration::from_secs(5)).await;
/// assert!(unfinished.is_empty(), "everything is durable");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Runtime(Arc<Inside>);

pub(crate) struct Inside {
    pub(crate) root: Root,
    pub(crate) sources: Sources,
    pub(crate) events: EventBus,
    pub(crate) vault: VaultHandle,
    #[cfg(feature = "server")]
    pub(crate) timekeeper: Timekeeper,
    pub(crate) credentials: Credentials,
    pub(crate) sessions: Sessions,
    pub(crate) logins: Logins,
    pub(crate) health: ProviderHealth,
    pub(crate) outbound: Clients,
    pub(crate) upstreams: Upstreams,
    pub(crate) settings: Settings,
    pub(crate) api_keys: BTreeMap<ProviderId, OfferedKey>,
    pub(crate) _audit_care: audit::AuditCare,
}

impl Runtime {
    /// What a runtime is made of, to be filled in.
    pub fn builder() -> RuntimeBuilder {
        RuntimeBuilder::default()
    }

    /// The face of one user. A name that can not be used is told by the first call that uses it.
    pub fn user(&self, name: &str) -> User {
        User::new(self.clone(), UserId::new(name))
    }

    /// Everything that happens from now on. A subscriber that is too slow is told what it missed.
    pub fn events(&self) -> Events {
        self.0.events.subscribe()
    }

    /// The address of any credential, its actor started: for hosts that rather send messages.
    ///
    /// # Errors
    ///
    /// When there is no such provider, it does not offer the method, or the runtime is stopping.
    pub async fn credential(&self, id: &CredentialId) -> Result<CredentialHandle, Error> {
        self.0.credentials.open(id).await
    }

    /// All credentials, for tests of what they take.
    #[cfg(test)]
    pub(crate) fn credentials(&self) -> &Credentials {
        &self.0.credentials
    }

    /// The providers, in order of their names.
    pub fn providers(&self) -> Vec<Arc<dyn Provider>> {
        self.0.credentials.providers()
    }

    /// The session manager, for hosts that rather send messages: a method or a
    /// [`SessionMessage`](crate::session::SessionMessage), as they like.
    pub fn sessions(&self) -> &Sessions {
        &self.0.sessions
    }

    /// The pending sign-ins, so that any front end can find and complete one that another began.
    pub fn logins(&self) -> &Logins {
        &self.0.logins
    }

    /// What calls to a provider share: the breaker before it, which can be read and changed by
    /// hand, and how calls are made.
    ///
    /// # Errors
    ///
    /// When there is no such provider.
    pub fn upstream(&self, provider: &str) -> Result<Upstream, Error> {
        let id = ProviderId::new(provider)?;
        self.0.upstreams.get(&id).cloned()
    }

    /// Every upstream once, in the order of their providers' names.
    pub fn upstreams(&self) -> Vec<Upstream> {
        self.0.upstreams.all().cloned().collect()
    }

    /// Every breaker of this runtime at the moment: before calls by the origin of the upstream, with the
    /// class of routes where there is one, and before renewals by the name that events have for the
    /// token endpoint.
    pub fn breakers(&self) -> BTreeMap<String, Breaker> {
        self.0.breakers()
    }

    /// What this runtime was configured with: where each value comes from, and what it won over.
    /// Without [`RuntimeBuilder::settings`] they are the defaults.
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// The vault's address, for hosts that keep records of their own beside the credentials.
    pub fn vault(&self) -> &VaultHandle {
        &self.0.vault
    }

    /// What the vault says about itself.
    ///
    /// # Errors
    ///
    /// When the vault can not be reached.
    pub async fn inspect_vault(&self) -> Result<Inspection, Error> {
        Ok(self.0.vault.inspect().await?)
    }

    /// The supervision tree as it is now.
    pub async fn tree(&self) -> TreeNode {
        self.0.root.tree().await
    }

    /// Kills an actor in the middle of whatever it does, as a fault would. `path` is as in
    /// [`Runtime::tree`] beneath the root, such as `credentials/ada/openai/api-key`. Answers
    /// whether there was one. For drills and tests.
    pub async fn crash_actor(&self, path: &str) -> bool {
        self.0.root.crash_child(path).await
    }

    /// Resolves when the runtime can not go on, because its vault is gone for good, and says why.
    /// It stops by itself then, and every request to it fails.
    pub async fn failed(&self) -> Error {
        let mut escalation = self.0.root.escalation();
        let failure = escalation.wait_for(Option::is_some).await;
        let stopped = || Error::new(ErrorKind::ShuttingDown, "the runtime has stopped");
        failure.ok().and_then(|failure| failure.clone()).unwrap_or_else(stopped)
    }

    /// Stops: no renewal begins any more, those under way finish and are durable, what the vault
    /// could not take before is written, then every actor ends, the vault last.
    ///
    /// Returns what did not finish within the time, and the credentials that the vault does not
    /// have as they are: what is new of them is lost with the process.
    pub async fn shutdown(&self, within: Duration) -> Vec<String> {
        let inside = &self.0;
        inside.events.emit(EventKind::ShuttingDown);
        let clock = &inside.sources.clock;
        let deadline = clock.now().monotonic.saturating_add(within);
        let tasks = &inside.credentials.shared().tasks;
        tasks.close();
        let finishing = async {
            tasks.wait().await;
            inside.credentials.write_what_is_left().await;
        };
        let mut unfinished = Vec::new();
        tokio::select! {
            biased;
            () = finishing => {}
            // The rest of the time belongs to the actors and to the vault.
            () = clock.wait(within.mul_f32(0.8)) => {
                unfinished.push(format!("{} renewals, sign-ins or sign-outs", tasks.len()));
            }
        }
        unfinished.extend(inside.credentials.unwritten_paths());
        let left = deadline.saturating_sub(clock.now().monotonic);
        unfinished.extend(inside.root.drain(left).await);
        let left = deadline.saturating_sub(clock.now().monotonic);
        tokio::select! {
            biased;
            () = inside.logins.settled() => {}
            () = clock.wait(left) => unfinished.push("requests of sign-ins that are over".to_owned()),
        }
        unfinished
    }
}

impl Runtime {
    /// The parts, for what is built on them.
    pub(crate) fn inside(&self) -> &Arc<Inside> {
        &self.0
    }
}

impl Inside {
    pub(crate) fn breakers(&self) -> BTreeMap<String, Breaker> {
        let mut all = self.credentials.shared().endpoints.breakers();
        for whole in self.upstreams.all() {
            for calls in whole.route_classes().iter().chain([whole]) {
                all.insert(calls.origin().to_owned(), calls.breaker().clone());
            }
        }
        all
    }

    /// Stops the tree when a part that nothing works without can not come back.
    fn stop_when_it_fails(self: &Arc<Self>) {
        let mut escalation = self.root.escalation();
        let inside = Arc::downgrade(self);
        tokio::spawn(async move {
            if escalation.wait_for(Option::is_some).await.is_ok()
                && let Some(inside) = inside.upgrade()
            {
                inside.events.emit(EventKind::ShuttingDown);
                inside.root.kill();
            }
        });
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").field("credentials", &self.0.credentials).finish_non_exhaustive()
    }
}
