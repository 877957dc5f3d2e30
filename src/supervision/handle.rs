//! The address of a supervised actor that outlives its restarts. The supervisor binds a handle's
//! slot to each new incarnation; everyone who holds the handle talks to whoever is bound.
//!
//! # Admission
//!
//! ractor's mailboxes are unbounded, so admission stands before them: a handle's slot has a fixed
//! number of permits, and where none is left the caller is refused with [`AskError::Overloaded`]
//! before anything is queued.
//!
//! A request holds its permit from [`Handle::ask`] until its reply port is used or dropped, which
//! is when the actor has answered it, has refused it, or has died. A caller who gives up does not
//! give the permit back early, since the request still stands in the mailbox or among the actor's
//! waiters: that is what the permits bound. A one-way message has no reply port. It carries its
//! [`Permit`] itself when it is sent by [`Handle::send_with`]; sent by [`Handle::send`] it must be
//! admitted, but is not counted.
//!
//! What an actor sends to itself (outcomes of its tasks, alarms) goes through its own
//! `ActorRef` and needs no permit, so that an overload can not lose it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use ractor::{ActorCell, ActorRef, Message, MessagingErr, RpcReplyPort};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};

use super::nursery::ChildStatus;
use crate::clock::Sources;
use crate::error::{Error, ErrorKind};

/// Where an actor sends the answer to a request.
///
/// The port does not tell whether the caller still waits: see the module's words on admission.
pub type Reply<T> = RpcReplyPort<T>;

/// The address of a supervised actor that takes messages of type `M`. Cheap to clone.
pub struct Handle<M: Message>(Arc<Slot<M>>);

impl<M: Message> Handle<M> {
    /// Sends `message` without waiting for anything.
    ///
    /// # Errors
    ///
    /// [`AskError::Overloaded`] when every permit is taken, [`AskError::Interrupted`] while the
    /// actor is being restarted, and the others as they say. The message was not delivered then.
    pub fn send(&self, message: M) -> Result<(), AskError> {
        if self.0.permits.available_permits() == 0 {
            return Err(AskError::Overloaded);
        }
        self.0.offer(message).map_err(Refusal::into_error)
    }

    /// Sends what a task of the actor has to tell it. It needs no admission, so that an overload
    /// can not lose it, and waits for an actor that is being started, also for the first time.
    /// A message to one that is just dying is gone: what must not be is left where the next
    /// incarnation finds it.
    pub(crate) fn post(&self, message: M) {
        let Err(Refusal::NotNow(message)) = self.0.offer(message) else { return };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let handle = self.clone();
            runtime.spawn(async move { handle.0.offer_until_taken(message).await });
        }
    }

    /// Sends a message that carries its permit, without waiting for anything. The permit is given
    /// back when the actor drops the message, so that this one-way message counts.
    ///
    /// # Errors
    ///
    /// As [`Handle::send`].
    pub fn send_with(&self, make: impl FnOnce(Permit) -> M) -> Result<(), AskError> {
        let permit = self.0.admit()?;
        self.0.offer(make(permit)).map_err(Refusal::into_error)
    }

    /// Sends the request that `make` builds around a reply port, and waits for the answer. Waits
    /// for an actor that is being restarted, as long as
    /// [`ChildSpec::patience`](super::ChildSpec::patience) says.
    ///
    /// # Errors
    ///
    /// [`AskError::Interrupted`] when the actor died with the request, or was not back in time:
    /// the request may or may not have been acted on. The others as they say; nothing was
    /// delivered then.
    pub async fn ask<T>(&self, make: impl FnOnce(Reply<T>) -> M) -> Result<T, AskError>
    where
        T: Send + 'static,
    {
        self.request(make).await?.answer().await
    }

    /// As [`Handle::ask`], with one transparent retry when the actor died with the request. Only
    /// for requests that may be acted on twice.
    ///
    /// # Errors
    ///
    /// As [`Handle::ask`], after the retry.
    pub async fn ask_again<T>(&self, make: impl Fn(Reply<T>) -> M) -> Result<T, AskError>
    where
        T: Send + 'static,
    {
        match self.request(&make).await?.answer().await {
            Err(AskError::Interrupted) => self.request(&make).await?.answer().await,
            outcome => outcome,
        }
    }

    /// The child's name beneath its supervisor.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// How many requests wait for an answer.
    pub fn waiting(&self) -> usize {
        self.0.admitted.saturating_sub(self.0.permits.available_permits())
    }

    /// How the child fares.
    pub fn status(&self) -> ChildStatus {
        match &**self.0.bound.load() {
            Bound::Running(_) => ChildStatus::Running,
            Bound::Restarting => ChildStatus::Restarting,
            Bound::Quarantined { .. } => ChildStatus::Quarantined,
            Bound::Stopped => ChildStatus::Stopped,
        }
    }

    /// The incarnation that is bound.
    pub(super) fn running(&self) -> Option<ActorCell> {
        match &**self.0.bound.load() {
            Bound::Running(actor) => Some(actor.get_cell()),
            _ => None,
        }
    }

    /// Resolves when the child has stopped for good.
    pub(super) async fn stopped(&self) {
        loop {
            let rebound = self.0.rebound.notified();
            if self.status() == ChildStatus::Stopped {
                return;
            }
            rebound.await;
        }
    }

    /// A handle that is bound to nothing yet, and its slot for the supervisor.
    pub(super) fn unbound(name: Arc<str>, limits: Limits, sources: Sources) -> Self {
        let permits = limits.admission.min(Semaphore::MAX_PERMITS);
        Self(Arc::new(Slot {
            name,
            bound: ArcSwap::from_pointee(Bound::Restarting),
            rebound: Notify::new(),
            permits: Arc::new(Semaphore::new(permits)),
            admitted: permits,
            patience: limits.patience,
            sources,
        }))
    }

    /// The supervisor's side of this handle.
    pub(super) fn slot(&self) -> Arc<dyn Rebind> {
        Arc::clone(&self.0) as _
    }

    /// Gets the request into the mailbox of a living incarnation.
    async fn request<T>(
        &self,
        make: impl FnOnce(Reply<T>) -> M,
    ) -> Result<PendingAnswer<T>, AskError>
    where
        T: Send + 'static,
    {
        let permit = self.0.admit()?;
        let (sender, answer) = oneshot::channel();
        match self.0.offer(make(sender.into())) {
            Ok(()) => {}
            Err(Refusal::NotNow(message)) => {
                // Boxed: the rare long way must not make every request's future bigger.
                Box::pin(tokio::time::timeout(self.0.patience, self.0.offer_until_taken(message)))
                    .await
                    .unwrap_or(Err(AskError::Interrupted))?;
            }
            Err(Refusal::Never(error)) => return Err(error),
        }
        Ok(PendingAnswer { waiting: Some((answer, permit)) })
    }
}

impl<M: Message> Clone for Handle<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M: Message> fmt::Debug for Handle<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Handle").field(&self.0.name).finish()
    }
}

/// Why a request to an actor was not met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// As many requests as are admitted are under way.
    #[error("too many requests are under way, try again shortly")]
    Overloaded,
    /// The actor died with the request, or is not back yet. Asking again is safe where acting
    /// twice is.
    #[error("the actor was restarted before it answered, ask again")]
    Interrupted,
    /// The actor failed too often and is kept down.
    #[error("the actor failed too often and is kept down, retry in {}s", retry_in.as_secs())]
    Quarantined {
        /// How long until it is tried again.
        retry_in: Duration,
    },
    /// The actor was stopped and does not come back.
    #[error("the actor was stopped")]
    Stopped,
}

impl From<AskError> for Error {
    fn from(error: AskError) -> Self {
        let kind = match error {
            AskError::Overloaded => ErrorKind::Overloaded,
            AskError::Interrupted => ErrorKind::Interrupted,
            AskError::Quarantined { retry_in } => {
                return Self::retry_in(ErrorKind::Transient, error.to_string(), retry_in);
            }
            AskError::Stopped => ErrorKind::ShuttingDown,
        };
        Self::new(kind, error.to_string())
    }
}

/// The right to stand in an actor's mailbox; given back when it is dropped.
#[derive(Debug)]
pub struct Permit(#[allow(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

/// What callers can ask of one child.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// How many requests may wait for an answer at a time.
    pub(super) admission: usize,
    /// How long a request waits for a restart.
    pub(super) patience: Duration,
}

impl Limits {
    /// For a supervisor's own messages, of which there are as many as there are children.
    pub(super) const SUPERVISOR: Self = Self { admission: Semaphore::MAX_PERMITS, ..Self::DEFAULT };

    /// For a child that does not say.
    pub(super) const DEFAULT: Self = Self { admission: 16_384, patience: Duration::from_secs(5) };
}

/// What a supervisor binds a child's handle to.
#[derive(Debug, Clone)]
pub(super) enum Binding {
    /// This incarnation.
    Running(ActorCell),
    /// No one yet; someone soon.
    Restarting,
    /// No one for a while.
    Quarantined {
        /// Until when, on the monotonic clock.
        until: Duration,
    },
    /// No one any more.
    Stopped,
}

/// The supervisor's side of a handle.
pub(super) trait Rebind: Send + Sync {
    /// Binds the handle anew and lets the waiting requests see it.
    fn rebind(&self, to: Binding);
}

struct Slot<M: Message> {
    name: Arc<str>,
    bound: ArcSwap<Bound<M>>,
    rebound: Notify,
    permits: Arc<Semaphore>,
    /// How many permits there are.
    admitted: usize,
    patience: Duration,
    sources: Sources,
}

enum Bound<M: Message> {
    Running(ActorRef<M>),
    Restarting,
    Quarantined { until: Duration },
    Stopped,
}

/// Why a message was not taken.
enum Refusal<M> {
    /// It may be taken soon; here it is again.
    NotNow(M),
    Never(AskError),
}

impl<M> Refusal<M> {
    fn into_error(self) -> AskError {
        match self {
            Self::NotNow(_) => AskError::Interrupted,
            Self::Never(error) => error,
        }
    }
}

impl<M: Message> Slot<M> {
    fn admit(&self) -> Result<Permit, AskError> {
        let permit = Arc::clone(&self.permits).try_acquire_owned();
        permit.map(Permit).map_err(|_| AskError::Overloaded)
    }

    fn offer(&self, message: M) -> Result<(), Refusal<M>> {
        match &**self.bound.load() {
            Bound::Running(actor) => match actor.send_message(message) {
                Ok(()) => Ok(()),
                // Dead, and the supervisor has not heard of it yet.
                Err(MessagingErr::SendErr(message)) => Err(Refusal::NotNow(message)),
                Err(_) => Err(Refusal::Never(AskError::Stopped)),
            },
            Bound::Restarting => Err(Refusal::NotNow(message)),
            Bound::Quarantined { until } => {
                let retry_in = until.saturating_sub(self.sources.now().monotonic);
                Err(Refusal::Never(AskError::Quarantined { retry_in }))
            }
            Bound::Stopped => Err(Refusal::Never(AskError::Stopped)),
        }
    }

    async fn offer_until_taken(&self, mut message: M) -> Result<(), AskError> {
        loop {
            // Made before the offer, so that a rebinding in between is not missed.
            let rebound = self.rebound.notified();
            match self.offer(message) {
                Ok(()) => return Ok(()),
                Err(Refusal::Never(error)) => return Err(error),
                Err(Refusal::NotNow(returned)) => message = returned,
            }
            rebound.await;
        }
    }
}

impl<M: Message> Rebind for Slot<M> {
    fn rebind(&self, to: Binding) {
        let bound = match to {
            Binding::Running(cell) => Bound::Running(cell.into()),
            Binding::Restarting => Bound::Restarting,
            Binding::Quarantined { until } => Bound::Quarantined { until },
            Binding::Stopped => Bound::Stopped,
        };
        self.bound.store(Arc::new(bound));
        self.rebound.notify_waiters();
    }
}

/// A request that stands in a mailbox or among an actor's waiters, and its permit.
struct PendingAnswer<T: Send + 'static> {
    waiting: Option<(oneshot::Receiver<T>, Permit)>,
}

impl<T: Send + 'static> PendingAnswer<T> {
    async fn answer(mut self) -> Result<T, AskError> {
        let Some((answer, _)) = &mut self.waiting else { return Err(AskError::Interrupted) };
        let outcome = answer.await.map_err(|_| AskError::Interrupted);
        self.waiting = None;
        outcome
    }
}

impl<T: Send + 'static> Drop for PendingAnswer<T> {
    /// Where the caller gave up, the permit stays with the request until the actor is done with
    /// it. These tasks are as many as there are permits, at most.
    fn drop(&mut self) {
        let Some((answer, permit)) = self.waiting.take() else { return };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let _ = answer.await;
                drop(permit);
            });
        }
    }
}
