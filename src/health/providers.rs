//! The health of all providers as the rest of the crate sees it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use dashmap::DashSet;
use ractor::Actor as _;

use super::actor::{Arguments, Watch};
use super::board::{Board, Health, HealthCheck};
use super::messages::HealthMessage;
use super::monitor::HealthPolicy;
use crate::clock::Sources;
use crate::error::Error;
use crate::identity::ProviderId;
use crate::oauth::Transport;
use crate::provider::Provider;
use crate::resilience::{Breaker, BreakerStatus};
use crate::supervision::{ChildSpec, EventBus, Handle, Supervisor, Timekeeper};

/// The health of all providers of a runtime. Cheap to clone; it outlives restarts of its actor.
///
/// ```
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let openai = SimulatedProvider::openai().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(openai.spec()).start().await?;
/// let health = runtime.health();
/// let check = health.check("openai").await?;
/// println!("it answered in {:?}", check.latency);
///
/// for (provider, found) in health.all() {
///     println!("{provider} is {}, last failure {:?}", found.state, found.last_failure);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ProviderHealth {
    actor: Handle<HealthMessage>,
    board: Arc<Board>,
    breakers: Arc<BTreeMap<ProviderId, Breaker>>,
}

/// What the watch over the providers needs from the rest of the runtime.
pub(crate) struct Surroundings {
    pub(crate) providers: Vec<Arc<dyn Provider>>,
    /// The providers that somebody has used; the others are not looked at unless asked.
    pub(crate) in_use: Arc<DashSet<ProviderId>>,
    /// What stands before calls to each of them.
    pub(crate) breakers: BTreeMap<ProviderId, Breaker>,
    pub(crate) transport: Transport,
    pub(crate) timekeeper: Timekeeper,
    pub(crate) sources: Sources,
    pub(crate) events: EventBus,
}

impl ProviderHealth {
    /// Starts the actor as a permanent child of `under`. Without a policy it looks at a provider
    /// only when somebody asks.
    ///
    /// # Errors
    ///
    /// As [`Supervisor::start_child`].
    pub(crate) async fn start(
        policy: Option<HealthPolicy>,
        surroundings: Surroundings,
        under: &Supervisor,
    ) -> Result<Self, Error> {
        let Surroundings { providers, in_use, breakers, transport, timekeeper, sources, events } =
            surroundings;
        let board = Arc::new(Board::of(providers.iter().map(|it| it.id().clone())));
        let arguments = Arguments {
            policy,
            providers,
            in_use,
            board: Arc::clone(&board),
            transport,
            timekeeper,
            sources,
            events,
        };
        let spec = ChildSpec::new("health", move |spawning| {
            let (arguments, supervisor) = (arguments.clone(), spawning.supervisor);
            Box::pin(Watch::spawn_linked(None, Watch, arguments, supervisor))
        });
        let actor = under.start_child(spec).await?;
        Ok(Self { actor, board, breakers: Arc::new(breakers) })
    }

    /// What is known of a provider, without a message; none when there is no such provider.
    pub fn of(&self, provider: &str) -> Option<Arc<Health>> {
        self.board.read(&ProviderId::new(provider).ok()?)
    }

    /// Whether calls to a provider go out at the moment, without a message; none when there is no
    /// such provider. It follows from the calls themselves, where the rest follows from checks.
    pub fn breaker(&self, provider: &str) -> Option<BreakerStatus> {
        Some(self.breakers.get(&ProviderId::new(provider).ok()?)?.status())
    }

    /// What is known of all providers, by name, without a message.
    pub fn all(&self) -> Vec<(ProviderId, Arc<Health>)> {
        self.board.all()
    }

    /// Looks at a provider now, due or not: asks whether it answers or, where its data says so, for
    /// a token by the client credentials that it is configured with, which is thrown away. No
    /// user's credential is read, renewed or stored.
    ///
    /// # Errors
    ///
    /// Why the check was not good: [`Error::is_transient`] tells an outage from a client that is
    /// refused ([`Error::is_configuration`]). When there is no such provider, or it is not to be
    /// checked ([`Error::is_invalid_input`]).
    pub async fn check(&self, provider: &str) -> Result<HealthCheck, Error> {
        let provider = ProviderId::new(provider)?;
        let ask = |reply| HealthMessage::Check { provider: provider.clone(), reply };
        self.actor.ask_again(ask).await?
    }

    /// The same as messages.
    pub fn messages(&self) -> &Handle<HealthMessage> {
        &self.actor
    }
}

impl fmt::Debug for ProviderHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ProviderHealth").field(&self.actor).finish()
    }
}
