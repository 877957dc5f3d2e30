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
//! What an actor sends to itself (outcomes of its tasks, alarms) needs no permit, so that an
//! overload can not lose it.
//!
//! # Sleep
//!
//! An actor that nobody needs for a while may end and leave its handle asleep
//! ([`Handle::fall_asleep`]): the next message wakes it, which is to say that the supervisor starts
//! it again, and is delivered then. Nobody who holds the handle can tell.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use ractor::{ActorCell, Message, RpcReplyPort};
use tokio::sync::oneshot;
use tracing::Instrument as _;

use super::nursery::ChildStatus;
use super::slot::{Limits, Permit, Rebind, Refusal, Slot};
use crate::clock::Sources;
use crate::error::{Error, ErrorKind};

/// Where an actor sends the answer to a request.
///
/// The port does not tell whether the caller still waits: see the module's words on admission.
///
/// [`Handle::ask`] makes one; [`ChildSpec`](super::ChildSpec) shows an actor that answers.
///
/// ```
/// use tokenward::supervision::Reply;
///
/// // At the end of what an actor does about a request.
/// fn answer(count: u32, reply: Reply<u32>) {
///     if reply.send(count).is_err() {
///         println!("nobody waits for that any more");
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (tell, told) = ractor::concurrency::oneshot();
/// # answer(17, tell.into());
/// # assert_eq!(told.await?, 17);
/// # Ok(())
/// # }
/// ```
pub type Reply<T> = RpcReplyPort<T>;

/// The address of a supervised actor that takes messages of type `M`. Cheap to clone.
///
/// ```
/// use tokenward::supervision::ChildStatus;
/// use tokenward::vault::VaultMessage;
///
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let orange = SimulatedProvider::orange().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(orange.spec()).start().await?;
/// // Every actor of a runtime has one: here the vault's.
/// let vault = runtime.vault().messages();
/// assert_eq!((vault.name(), vault.status()), ("vault", ChildStatus::Running));
///
/// // A question that may be asked twice survives a crash of whoever answers it.
/// runtime.crash_actor("vault").await;
/// let inspection = vault.ask_again(|reply| VaultMessage::Inspect { reply }).await??;
/// println!("{} records", inspection.records);
/// # Ok(())
/// # }
/// ```
pub struct Handle<M: Message>(Arc<Slot<M>>);

impl<M: Message> Handle<M> {
    /// Sends `message` without waiting for anything. Messages that wake an actor which sleeps may
    /// reach it in another order than they were sent in.
    ///
    /// # Errors
    ///
    /// [`AskError::Overloaded`] when every permit is taken, [`AskError::Interrupted`] while the
    /// actor is being restarted, and the others as they say. The message was not delivered then.
    pub fn send(&self, message: M) -> Result<(), AskError> {
        let _admitted = self.0.admit()?;
        self.deliver(message)
    }

    /// Sends what a task of the actor has to tell it. It needs no admission, so that an overload
    /// can not lose it, and waits for an actor that is being started, also for the first time.
    /// A message to one that is just dying is gone: what must not be is left where the next
    /// incarnation finds it.
    pub(crate) fn post(&self, message: M) {
        // Admitted or not, it is sent; but nobody falls asleep over a message on its way.
        let _admitted = self.0.admit();
        if let Err(Refusal::NotNow(message) | Refusal::Asleep(message)) = self.0.offer(message) {
            let _lost_without_a_runtime = self.deliver_later(message);
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
        self.deliver(make(permit))
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
        self.0.name()
    }

    /// How many requests wait for an answer.
    pub fn waiting(&self) -> usize {
        self.0.waiting()
    }

    /// How the child fares.
    pub fn status(&self) -> ChildStatus {
        self.0.status()
    }

    /// For the actor itself, which nobody needs for now and which ends after this: the next message
    /// starts it again. `false`, and nothing changed, while a request waits for an answer.
    ///
    /// What is in the mailbox already is handled before the end: hand it to [`Handle::post`].
    pub(crate) fn fall_asleep(&self) -> bool {
        self.0.fall_asleep()
    }

    /// The same handle, for whoever must not keep it from being forgotten.
    pub(crate) fn downgrade(&self) -> WeakHandle<M> {
        WeakHandle(Arc::downgrade(&self.0))
    }

    /// The incarnation that is bound.
    pub(super) fn running(&self) -> Option<ActorCell> {
        self.0.running()
    }

    /// How many hold it, or a clone of it.
    pub(super) fn holders(&self) -> usize {
        Arc::strong_count(&self.0)
    }

    /// Resolves when the child has stopped for good.
    pub(super) async fn stopped(&self) {
        loop {
            let rebound = self.0.rebound();
            if self.status() == ChildStatus::Stopped {
                return;
            }
            rebound.await;
        }
    }

    /// A handle that is bound to nothing yet, and its slot for the supervisor.
    pub(super) fn unbound(name: Arc<str>, limits: Limits, sources: Sources) -> Self {
        Self(Arc::new(Slot::unbound(name, limits, sources)))
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
            Err(Refusal::NotNow(message) | Refusal::Asleep(message)) => {
                // Boxed: the rare long way must not make every request's future bigger.
                Box::pin(tokio::time::timeout(
                    self.0.patience(),
                    self.0.offer_until_taken(message),
                ))
                .await
                .unwrap_or(Err(AskError::Interrupted))?;
            }
            Err(Refusal::Never(error)) => return Err(error),
        }
        Ok(PendingAnswer { waiting: Some((answer, permit)) })
    }

    /// Sends a message that was admitted.
    fn deliver(&self, message: M) -> Result<(), AskError> {
        match self.0.offer(message) {
            Err(Refusal::Asleep(message)) => self.deliver_later(message),
            outcome => outcome.map_err(Refusal::into_error),
        }
    }

    /// Sends a message as soon as there is somebody to take it.
    fn deliver_later(&self, message: M) -> Result<(), AskError> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| AskError::Interrupted)?;
        let handle = self.clone();
        let delivery = async move { handle.0.offer_until_taken(message).await };
        runtime.spawn(delivery.in_current_span());
        Ok(())
    }
}

/// A [`Handle`] that does not count as held.
pub(crate) struct WeakHandle<M: Message>(Weak<Slot<M>>);

impl<M: Message> WeakHandle<M> {
    /// The handle, while anybody holds it.
    pub(crate) fn upgrade(&self) -> Option<Handle<M>> {
        self.0.upgrade().map(Handle)
    }
}

impl<M: Message> Clone for Handle<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M: Message> fmt::Debug for Handle<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Handle").field(self.0.name()).finish()
    }
}

/// Why a request to an actor was not met.
///
/// ```
/// use tokenward::Error;
/// use tokenward::supervision::AskError;
///
/// // Nothing was delivered; the same question may be asked again shortly.
/// assert!(Error::from(AskError::Overloaded).is_overloaded());
/// assert!(Error::from(AskError::Stopped).is_shutting_down());
/// ```
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

/// What whoever asks the actors of a runtime is told once they are stopped.
pub(crate) const SHUT_DOWN: &str = "the runtime was shut down, start another one";

impl From<AskError> for Error {
    fn from(error: AskError) -> Self {
        let kind = match error {
            AskError::Overloaded => ErrorKind::Overloaded,
            AskError::Interrupted => ErrorKind::Interrupted,
            AskError::Quarantined { retry_in } => {
                return Self::retry_in(ErrorKind::Transient, error.to_string(), retry_in);
            }
            AskError::Stopped => return Self::new(ErrorKind::ShuttingDown, SHUT_DOWN),
        };
        Self::new(kind, error.to_string())
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
