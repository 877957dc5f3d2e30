//! What stands behind the handles of one child: who is bound to them now, and how many requests are
//! admitted. The supervisor binds each new incarnation; the words on admission and on sleep are in
//! `handle.rs`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use ractor::{ActorCell, ActorRef, Message, MessagingErr};
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::handle::AskError;
use super::messages::SupervisorMessage;
use super::nursery::{ChildId, ChildStatus};
use crate::clock::Sources;

/// The right to stand in an actor's mailbox; given back when it is dropped.
///
/// ```
/// use tokenward::supervision::{AskError, Permit};
/// # use ractor::{Actor as _, ActorProcessingErr, ActorRef};
/// # use tokenward::clock::Sources;
/// # use tokenward::supervision::{ChildSpec, EventBus, Spawning, Supervisor};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// /// One line to write down. It stands in the mailbox for as long as it has its permit.
/// struct Line(&'static str, Permit);
/// # struct Writer;
/// # #[ractor::actor(message = Line, state = ())]
/// # impl Writer {
/// #     async fn pre_start(&self, _: ActorRef<Line>, (): ()) -> Result<(), ActorProcessingErr> {
/// #         Ok(())
/// #     }
/// #     async fn handle(
/// #         &self,
/// #         _: ActorRef<Line>,
/// #         Line(text, _permit): Line,
/// #         (): &mut (),
/// #     ) -> Result<(), ActorProcessingErr> {
/// #         println!("{text}");
/// #         Ok(())
/// #     }
/// # }
/// # let sources = Sources::system();
/// # let root = Supervisor::start("host", sources.clone(), EventBus::new(sources)).await?;
/// # let spec = ChildSpec::new("writer", |spawning: Spawning<Line>| {
/// #     Box::pin(Writer::spawn_linked(None, Writer, (), spawning.supervisor))
/// # });
/// let writer = root.start_child(spec.admission(1)).await?;
/// writer.send_with(|permit| Line("first", permit))?;
/// let second = writer.send_with(|permit| Line("second", permit));
/// assert_eq!(second, Err(AskError::Overloaded));
/// # Ok(())
/// # }
/// ```
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
    /// No one, until somebody needs the child.
    Asleep(Waker),
    /// No one for a while.
    Quarantined {
        /// Until when, on the monotonic clock.
        until: Duration,
    },
    /// No one any more.
    Stopped,
}

/// Whom to tell that a child is needed.
#[derive(Debug, Clone)]
pub(super) struct Waker {
    pub(super) supervisor: ActorRef<SupervisorMessage>,
    pub(super) child: ChildId,
}

/// The supervisor's side of a handle.
pub(super) trait Rebind: Send + Sync {
    /// Binds the handle anew and lets the waiting requests see it.
    fn rebind(&self, to: Binding);

    /// Whether the incarnation that was bound last wants to sleep.
    fn is_falling_asleep(&self) -> bool;
}

/// What the handles of one child share.
pub(super) struct Slot<M: Message> {
    name: Arc<str>,
    bound: ArcSwap<Bound<M>>,
    rebound: Notify,
    permits: Arc<Semaphore>,
    /// How many permits there are.
    admitted: usize,
    /// Held while all permits are taken for a moment, to see that nobody has one.
    settling: Mutex<()>,
    patience: Duration,
    sources: Sources,
}

enum Bound<M: Message> {
    Running(ActorRef<M>),
    Restarting,
    FallingAsleep,
    Asleep(Waker),
    Quarantined { until: Duration },
    Stopped,
}

/// Why a message was not taken.
pub(super) enum Refusal<M> {
    /// It may be taken soon; here it is again.
    NotNow(M),
    /// It will be taken: the actor sleeps, and is woken by this.
    Asleep(M),
    Never(AskError),
}

impl<M> Refusal<M> {
    pub(super) fn into_error(self) -> AskError {
        match self {
            Self::NotNow(_) | Self::Asleep(_) => AskError::Interrupted,
            Self::Never(error) => error,
        }
    }
}

impl<M: Message> Slot<M> {
    /// Bound to nothing yet.
    pub(super) fn unbound(name: Arc<str>, limits: Limits, sources: Sources) -> Self {
        let permits = limits.admission.min(Semaphore::MAX_PERMITS);
        Self {
            name,
            bound: ArcSwap::from_pointee(Bound::Restarting),
            rebound: Notify::new(),
            permits: Arc::new(Semaphore::new(permits)),
            admitted: permits,
            settling: Mutex::new(()),
            patience: limits.patience,
            sources,
        }
    }

    pub(super) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    pub(super) fn waiting(&self) -> usize {
        self.admitted.saturating_sub(self.permits.available_permits())
    }

    pub(super) fn status(&self) -> ChildStatus {
        match &**self.bound.load() {
            Bound::Running(_) => ChildStatus::Running,
            Bound::Restarting => ChildStatus::Restarting,
            Bound::FallingAsleep | Bound::Asleep(_) => ChildStatus::Asleep,
            Bound::Quarantined { .. } => ChildStatus::Quarantined,
            Bound::Stopped => ChildStatus::Stopped,
        }
    }

    pub(super) fn running(&self) -> Option<ActorCell> {
        match &**self.bound.load() {
            Bound::Running(actor) => Some(actor.get_cell()),
            _ => None,
        }
    }

    /// Resolves at the next rebinding after this call.
    pub(super) fn rebound(&self) -> Notified<'_> {
        self.rebound.notified()
    }

    pub(super) fn admit(&self) -> Result<Permit, AskError> {
        let permit = || Arc::clone(&self.permits).try_acquire_owned().map(Permit);
        // Where there is none, all of them may be taken for the moment of a settling.
        let after_settling = |_| {
            drop(self.settling());
            permit()
        };
        permit().or_else(after_settling).map_err(|_| AskError::Overloaded)
    }

    /// Lets nobody reach the incarnation that is bound any more, unless somebody has a permit: for
    /// a request that waits for an answer, or for a message on its way into the mailbox.
    pub(super) fn fall_asleep(&self) -> bool {
        let _settling = self.settling();
        let Ok(all) = u32::try_from(self.admitted) else { return false };
        let Ok(_all) = self.permits.try_acquire_many(all) else { return false };
        let is_bound = matches!(&**self.bound.load(), Bound::Running(_));
        if is_bound {
            self.bound.store(Arc::new(Bound::FallingAsleep));
        }
        is_bound
    }

    fn settling(&self) -> MutexGuard<'_, ()> {
        self.settling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn offer(&self, message: M) -> Result<(), Refusal<M>> {
        match &**self.bound.load() {
            Bound::Running(actor) => match actor.send_message(message) {
                Ok(()) => Ok(()),
                // Dead, and the supervisor has not heard of it yet.
                Err(MessagingErr::SendErr(message)) => Err(Refusal::NotNow(message)),
                Err(_) => Err(Refusal::Never(AskError::Stopped)),
            },
            Bound::Restarting => Err(Refusal::NotNow(message)),
            Bound::FallingAsleep => Err(Refusal::Asleep(message)),
            Bound::Asleep(Waker { supervisor, child }) => {
                // A supervisor that is dead wakes no one; the next one binds all of its children.
                let _ = supervisor.send_message(SupervisorMessage::Wake { child: *child });
                Err(Refusal::Asleep(message))
            }
            Bound::Quarantined { until } => {
                let retry_in = until.saturating_sub(self.sources.now().monotonic);
                Err(Refusal::Never(AskError::Quarantined { retry_in }))
            }
            Bound::Stopped => Err(Refusal::Never(AskError::Stopped)),
        }
    }

    pub(super) async fn offer_until_taken(&self, mut message: M) -> Result<(), AskError> {
        loop {
            // Made before the offer, so that a rebinding in between is not missed.
            let rebound = self.rebound.notified();
            match self.offer(message) {
                Ok(()) => return Ok(()),
                Err(Refusal::Never(error)) => return Err(error),
                Err(Refusal::NotNow(returned) | Refusal::Asleep(returned)) => message = returned,
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
            Binding::Asleep(waker) => Bound::Asleep(waker),
            Binding::Quarantined { until } => Bound::Quarantined { until },
            Binding::Stopped => Bound::Stopped,
        };
        // Not between the look and the step of one that falls asleep.
        let settling = self.settling();
        self.bound.store(Arc::new(bound));
        drop(settling);
        self.rebound.notify_waiters();
    }

    fn is_falling_asleep(&self) -> bool {
        matches!(&**self.bound.load(), Bound::FallingAsleep)
    }
}
