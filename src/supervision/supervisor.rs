//! A supervisor as its users see it: children are added, stopped, crashed, shown and drained
//! through it. Its actor is in `actor.rs`.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ractor::{Actor as _, Message};
use tokio::sync::watch;

use super::actor::SupervisorActor;
use super::child::ChildSpec;
use super::events::EventBus;
use super::failure;
use super::handle::{Handle, Reply};
use super::messages::SupervisorMessage;
use super::nursery::{ChildStatus, Nursery, TreeNode};
use super::restart::Restart;
use super::slot::{Binding, Limits};
use crate::clock::Sources;
use crate::error::{Error, ErrorKind};

/// A supervisor of actors that come and go. Cheap to clone; dropping it stops nothing.
///
/// A child that dies is restarted as its [`ChildSpec`] says. Its siblings do not notice. A
/// supervisor that dies itself takes its children with it, is restarted by the supervisor above,
/// and starts them again.
///
/// [`ChildSpec`](super::ChildSpec) shows an actor beneath one.
///
/// ```
/// use std::time::Duration;
/// use tokenward::clock::Sources;
/// use tokenward::supervision::{ChildStatus, EventBus, Supervisor};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let sources = Sources::system();
/// let root = Supervisor::start("host", sources.clone(), EventBus::new(sources)).await?;
/// root.start_supervisor("workers").await?;
///
/// let tree = root.tree().await;
/// assert_eq!(tree.children[0].status, ChildStatus::Running);
/// let unfinished = root.drain(Duration::from_secs(1)).await;
/// assert!(unfinished.is_empty());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Supervisor {
    handle: Handle<SupervisorMessage>,
    family: Arc<Family>,
}

impl Supervisor {
    /// Starts the root of a tree. Several can live in one process, with equal names.
    ///
    /// # Errors
    ///
    /// When the supervisor's actor can not be started.
    pub async fn start(
        name: impl Into<Arc<str>>,
        sources: Sources,
        events: EventBus,
    ) -> Result<Self, Error> {
        let name = name.into();
        let family = Arc::new(Family {
            name: Arc::clone(&name),
            path: String::new(),
            sources: sources.clone(),
            events,
            escalation: Arc::new(watch::Sender::new(None)),
            nursery: Mutex::default(),
        });
        let actor = SupervisorActor::new(Arc::clone(&family));
        let (root, running) = SupervisorActor::spawn(None, actor, ())
            .await
            .map_err(|error| failure::of_a_first_start(&name, error))?;
        let handle = Handle::unbound(name, Limits::SUPERVISOR, sources);
        let slot = handle.slot();
        slot.rebind(Binding::Running(root.get_cell()));
        tokio::spawn({
            let family = Arc::clone(&family);
            async move {
                let _ = running.await;
                slot.rebind(Binding::Stopped);
                family.the_root_is_gone();
            }
        });
        Ok(Self { handle, family })
    }

    /// Starts a supervisor beneath this one, for children that are each other's equals.
    ///
    /// # Errors
    ///
    /// As [`Supervisor::start_child`].
    pub async fn start_supervisor(&self, name: impl Into<Arc<str>>) -> Result<Self, Error> {
        let name = name.into();
        let family = Arc::new(Family {
            name: Arc::clone(&name),
            path: self.family.path_of(&name) + "/",
            sources: self.family.sources.clone(),
            events: self.family.events.clone(),
            escalation: Arc::clone(&self.family.escalation),
            nursery: Mutex::default(),
        });
        let spec = ChildSpec::new(name, {
            let family = Arc::clone(&family);
            move |spawning| {
                let actor = SupervisorActor::new(Arc::clone(&family));
                Box::pin(SupervisorActor::spawn_linked(None, actor, (), spawning.supervisor))
            }
        });
        // A drained supervisor stops normally, and is not to come back.
        let spec = spec.restart(Restart::Transient).admission(Limits::SUPERVISOR.admission);
        let handle = self.add(spec, Some(Arc::clone(&family))).await?;
        Ok(Self { handle, family })
    }

    /// Starts a child and returns once it runs.
    ///
    /// # Errors
    ///
    /// When there is a child of that name, when the first start fails (the starter's own
    /// [`Error`], where it gave one; there is no second try), and when the supervisor stops. A
    /// caller that gives up does not stop the child from being started.
    pub async fn start_child<M: Message>(&self, spec: ChildSpec<M>) -> Result<Handle<M>, Error> {
        self.add(spec, None).await
    }

    /// Stops a child for good: it takes no more messages, handles those it has, and ends. Returns
    /// when it is gone; `false` when there is no such child.
    pub async fn stop_child(&self, name: &str) -> bool {
        let stop = |reply| SupervisorMessage::Stop { name: Arc::from(name), reply };
        self.handle.ask_again(stop).await.unwrap_or(false)
    }

    /// Kills the running incarnation of a child in the middle of whatever it does, as a fault
    /// would; it is restarted by its policy. `name` may go on beneath a supervisor, after a
    /// slash. `false` when there is no such child or it does not run.
    pub async fn crash_child(&self, name: &str) -> bool {
        let crash = |reply| SupervisorMessage::Crash { path: Arc::from(name), reply };
        self.handle.ask_again(crash).await.unwrap_or(false)
    }

    /// Forgets a child that sleeps, where nobody but the caller holds its handle: whether it did.
    pub(crate) fn forget_asleep<M: Message>(&self, handle: &Handle<M>) -> bool {
        self.family.nursery().forget_asleep(handle)
    }

    /// The tree beneath this supervisor, this one included.
    pub async fn tree(&self) -> TreeNode {
        let tree = self.handle.ask_again(|reply| SupervisorMessage::Tree { reply }).await;
        let status = if tree.is_ok() { ChildStatus::Running } else { ChildStatus::Stopped };
        TreeNode {
            name: self.family.name.to_string(),
            status,
            restarts: 0,
            children: tree.unwrap_or_else(|_| self.family.nursery().tree()),
        }
    }

    /// Stops everything: the children one after another, last-started first, so that each may
    /// rely on those before it to its end; children of supervisors beneath, being equals, at
    /// once. Then this supervisor itself.
    ///
    /// A child that does not finish may use up half of the time that is left, so that it can not
    /// starve the ones before it, and is killed then. Returns the paths of those.
    pub async fn drain(&self, within: Duration) -> Vec<String> {
        let clock = &self.family.sources.clock;
        let deadline = clock.now().monotonic.saturating_add(within);
        let close = |reply| SupervisorMessage::Close { reply };
        let mut names = self.handle.ask_again(close).await.unwrap_or_default();
        let mut unfinished = Vec::new();
        names.reverse();
        while let Some(name) = names.pop() {
            let left = deadline.saturating_sub(clock.now().monotonic);
            let share = if names.is_empty() { left } else { left / 2 };
            tokio::select! {
                biased;
                _ = self.stop_child(&name) => {}
                () = clock.wait(share) => {
                    unfinished.extend(self.family.nursery().kill(&name));
                }
            }
        }
        // It has stopped by itself, unless something does not even let itself be killed.
        if let Some(cell) = self.handle.running() {
            cell.stop(None);
        }
        self.handle.stopped().await;
        for path in &mut unfinished {
            *path = self.family.path_of(path);
            tracing::warn!(actor = %path, "actor did not finish in time and was killed");
        }
        unfinished
    }

    /// Stops everything at once, in the middle of whatever it does: for a host that goes without
    /// [draining](Supervisor::drain). Does not wait.
    pub fn kill(&self) {
        let mut nursery = self.family.nursery();
        nursery.kill_all();
        nursery.clear();
        // A normal stop, so that a supervisor above does not bring this one back.
        if let Some(cell) = self.handle.running() {
            cell.stop(None);
        }
    }

    /// Set once, when a child that [escalates](ChildSpec::escalates) can not come back, wherever
    /// in the whole tree it is: the host is to stop.
    pub fn escalation(&self) -> watch::Receiver<Option<Error>> {
        self.family.escalation.subscribe()
    }

    async fn add<M: Message>(
        &self,
        spec: ChildSpec<M>,
        family: Option<Arc<Family>>,
    ) -> Result<Handle<M>, Error> {
        let (handle, mut newcomer) = spec.into_parts(&self.family.sources);
        newcomer.family = family;
        let start = |reply: Reply<_>| SupervisorMessage::Start { newcomer, reply };
        self.handle.ask(start).await??;
        Ok(handle)
    }
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Supervisor").field(&self.family.name).finish()
    }
}

/// What the incarnations of one supervisor and its handles share.
pub(super) struct Family {
    pub(super) name: Arc<str>,
    /// What comes before a child's name in its path: nothing, or names that end with a slash.
    path: String,
    pub(super) sources: Sources,
    pub(super) events: EventBus,
    escalation: Arc<watch::Sender<Option<Error>>>,
    nursery: Mutex<Nursery>,
}

impl Family {
    pub(super) fn nursery(&self) -> MutexGuard<'_, Nursery> {
        // A panic while it was held has ended that incarnation; the next one reviews every child.
        self.nursery.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The place in the tree of a child, the root's own name left out.
    pub(super) fn path_of(&self, child: &str) -> String {
        format!("{}{child}", self.path)
    }

    pub(super) fn escalate(&self, error: Error) {
        self.escalation.send_if_modified(|escalated| {
            let first = escalated.is_none();
            if first {
                *escalated = Some(error);
            }
            first
        });
    }

    fn the_root_is_gone(&self) {
        let mut nursery = self.nursery();
        if !nursery.closed {
            let message = format!("the supervisor {} died, start the runtime again", self.name);
            self.escalate(Error::new(ErrorKind::ShuttingDown, message));
        }
        nursery.clear();
    }
}
