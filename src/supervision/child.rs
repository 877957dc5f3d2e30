//! What a supervisor has to know to run a child: how to start it, how it is restarted, how many
//! requests it admits.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use ractor::concurrency::JoinHandle;
use ractor::{ActorCell, ActorRef, Message, SpawnErr};

use super::handle::Handle;
use super::restart::{Restart, RestartLedger, RestartPolicy};
use super::slot::{Limits, Rebind};
use super::supervisor::Family;
use crate::clock::Sources;

/// What a child's starter is given at each start and restart.
///
/// ```
/// use ractor::{Actor as _, ActorProcessingErr, ActorRef};
/// use tokenward::supervision::{ChildSpec, Handle, Reply, Spawning};
/// # use tokenward::clock::Sources;
/// # use tokenward::supervision::{EventBus, Supervisor};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// struct Worker;
///
/// /// Asks for the address at which the worker is found after a restart, too.
/// struct Address(Reply<Handle<Address>>);
///
/// #[ractor::actor(message = Address, state = Handle<Address>, arguments = Handle<Address>)]
/// impl Worker {
///     async fn pre_start(
///         &self,
///         _: ActorRef<Address>,
///         own: Handle<Address>,
///     ) -> Result<Handle<Address>, ActorProcessingErr> {
///         Ok(own)
///     }
///
///     async fn handle(
///         &self,
///         _: ActorRef<Address>,
///         Address(reply): Address,
///         own: &mut Handle<Address>,
///     ) -> Result<(), ActorProcessingErr> {
///         let _ = reply.send(own.clone());
///         Ok(())
///     }
/// }
///
/// # let sources = Sources::system();
/// # let root = Supervisor::start("host", sources.clone(), EventBus::new(sources)).await?;
/// let spec = ChildSpec::new("worker", |Spawning { handle, supervisor, .. }| {
///     Box::pin(Worker::spawn_linked(None, Worker, handle, supervisor))
/// });
/// let worker = root.start_child(spec).await?;
/// assert_eq!(worker.ask(Address).await?.name(), "worker");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Spawning<M: Message> {
    /// Whom to link the new actor to, with `Actor::spawn_linked`.
    pub supervisor: ActorCell,
    /// The child's own handle, which will be bound to the new actor.
    pub handle: Handle<M>,
}

/// How to run one child.
///
/// The starter spawns the actor linked to [`Spawning::supervisor`] and without a name, since names
/// live in a process-wide registry. It runs in a task of its own, after the former incarnation is
/// entirely gone, its state dropped. When it fails or panics, that is an exit like any other, and
/// the policy decides.
///
/// Events and logs quote what a child dies of, shortened, where it is a [`tokenward::Error`](crate::Error).
/// They quote no panic and no other error, since nobody knows what stands in it: an actor logs that itself.
///
/// ```
/// use ractor::{Actor as _, ActorProcessingErr, ActorRef};
/// use tokenward::clock::Sources;
/// use tokenward::supervision::{ChildSpec, EventBus, Reply, Spawning, Supervisor};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// struct Counter;
///
/// enum Ask {
///     Next(Reply<u32>),
/// }
///
/// #[ractor::actor(message = Ask, state = u32)]
/// impl Counter {
///     async fn pre_start(&self, _: ActorRef<Ask>, (): ()) -> Result<u32, ActorProcessingErr> {
///         Ok(0)
///     }
///
///     async fn handle(
///         &self,
///         _: ActorRef<Ask>,
///         Ask::Next(reply): Ask,
///         count: &mut u32,
///     ) -> Result<(), ActorProcessingErr> {
///         *count += 1;
///         let _ = reply.send(*count);
///         Ok(())
///     }
/// }
///
/// # let sources = Sources::system();
/// # let root = Supervisor::start("host", sources.clone(), EventBus::new(sources)).await?;
/// let spec = ChildSpec::new("counter", |spawning: Spawning<Ask>| {
///     Box::pin(Counter::spawn_linked(None, Counter, (), spawning.supervisor))
/// });
/// let counter = root.start_child(spec).await?;
/// assert_eq!(counter.ask(Ask::Next).await, Ok(1));
///
/// // It crashes, and is started again. The handle is the same, the state anew.
/// root.crash_child("counter").await;
/// assert_eq!(counter.ask_again(Ask::Next).await, Ok(1));
/// # Ok(())
/// # }
/// ```
pub struct ChildSpec<M: Message> {
    name: Arc<str>,
    start: Box<StartFn<M>>,
    restart: Restart,
    policy: RestartPolicy,
    escalates: bool,
    limits: Limits,
}

type StartFn<M> = dyn Fn(Spawning<M>) -> BoxFuture<'static, Result<(ActorRef<M>, JoinHandle<()>), SpawnErr>>
    + Send
    + Sync;

impl<M: Message> ChildSpec<M> {
    /// A permanent child with the default policy, which admits 16,384 requests at a time.
    pub fn new(
        name: impl Into<Arc<str>>,
        start: impl Fn(
            Spawning<M>,
        ) -> BoxFuture<'static, Result<(ActorRef<M>, JoinHandle<()>), SpawnErr>>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            start: Box::new(start),
            restart: Restart::default(),
            policy: RestartPolicy::default(),
            escalates: false,
            limits: Limits::DEFAULT,
        }
    }

    /// Which exits are followed by a restart.
    #[must_use]
    pub fn restart(mut self, restart: Restart) -> Self {
        self.restart = restart;
        self
    }

    /// How often and how fast it is restarted.
    #[must_use]
    pub fn policy(mut self, policy: RestartPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Nothing works without this child: when its restarts are exhausted it is not quarantined,
    /// but the whole tree's [`escalation`](super::Supervisor::escalation) is set.
    #[must_use]
    pub fn escalates(mut self) -> Self {
        self.escalates = true;
        self
    }

    /// How many requests may wait for an answer at a time before callers are refused.
    #[must_use]
    pub fn admission(mut self, requests: usize) -> Self {
        self.limits.admission = requests;
        self
    }

    /// How long a request waits for the child while it is being restarted, five seconds by
    /// default. Counted by tokio's timer: it bounds a caller's patience, no one's decision.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.limits.patience = patience;
        self
    }

    /// The handle, and what the supervisor keeps, with the message's type erased.
    pub(super) fn into_parts(self, sources: &Sources) -> (Handle<M>, Newcomer) {
        let handle = Handle::unbound(Arc::clone(&self.name), self.limits, sources.clone());
        let (start, spawning_handle) = (self.start, handle.clone());
        let newcomer = Newcomer {
            name: self.name,
            slot: handle.slot(),
            start: Arc::new(move |supervisor| {
                let starting = start(Spawning { supervisor, handle: spawning_handle.clone() });
                Box::pin(async move {
                    starting.await.map(|(actor, running)| (actor.get_cell(), running))
                })
            }),
            ledger: RestartLedger::new(self.restart, self.policy, self.escalates),
            family: None,
        };
        (handle, newcomer)
    }
}

impl<M: Message> fmt::Debug for ChildSpec<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildSpec")
            .field("name", &self.name)
            .field("restart", &self.restart)
            .field("policy", &self.policy)
            .field("escalates", &self.escalates)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// Starts one incarnation beneath the given supervisor.
pub(super) type Starter = Arc<
    dyn Fn(ActorCell) -> BoxFuture<'static, Result<(ActorCell, JoinHandle<()>), SpawnErr>>
        + Send
        + Sync,
>;

/// A child that its supervisor does not have yet.
pub(super) struct Newcomer {
    pub(super) name: Arc<str>,
    pub(super) slot: Arc<dyn Rebind>,
    pub(super) start: Starter,
    pub(super) ledger: RestartLedger,
    /// What is beneath it, when it is a supervisor itself.
    pub(super) family: Option<Arc<Family>>,
}
