//! The children of one supervisor and the phase each of them is in. It is shared by the
//! supervisor's incarnations and its handles, so that a supervisor's own crash forgets no child.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use ractor::concurrency::JoinHandle;
use ractor::{ActorCell, ActorId, Message};

use super::child::{Newcomer, Starter};
use super::handle::{Handle, Reply};
use super::restart::{Exit, RestartLedger};
use super::slot::{Binding, Rebind};
use super::supervisor::Family;
use crate::error::Error;

/// How a child fares.
///
/// [`Handle::status`](super::Handle::status) and [`TreeNode`] tell it.
///
/// ```
/// use tokenward::supervision::ChildStatus;
///
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let orange = SimulatedProvider::orange().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(orange.spec()).start().await?;
/// for child in runtime.tree().await.children {
///     match child.status {
///         ChildStatus::Running | ChildStatus::Asleep => {}
///         ChildStatus::Restarting => println!("{} is about to be back", child.name),
///         _ => eprintln!("{} is down after {} restarts", child.name, child.restarts),
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChildStatus {
    /// It serves.
    Running,
    /// It is being started, or waits to be started again.
    Restarting,
    /// Nobody has needed it for a while: it is started again as soon as somebody does.
    Asleep,
    /// It failed too often and is kept down for a while.
    Quarantined,
    /// It does not come back.
    Stopped,
}

/// A supervision tree as it is now, for display.
///
/// ```
/// use tokenward::supervision::TreeNode;
///
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let orange = SimulatedProvider::orange().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(orange.spec()).start().await?;
/// # let ada = runtime.user("ada");
/// # ada.sign_in("orange").with_client_credentials().await?;
/// fn print(node: &TreeNode, depth: usize) {
///     println!("{:depth$}{} {:?}, {} restarts", "", node.name, node.status, node.restarts);
///     node.children.iter().for_each(|child| print(child, depth + 2));
/// }
///
/// let tree = runtime.tree().await;
/// print(&tree, 0);
/// assert!(tree.children.iter().any(|child| child.name.ends_with("vault")));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TreeNode {
    /// The name beneath the parent.
    pub name: String,
    /// How it fares.
    pub status: ChildStatus,
    /// How often it was restarted since it was added.
    pub restarts: u32,
    /// What is beneath it, in the order in which it was added.
    pub children: Vec<TreeNode>,
}

/// A child's number within its supervisor; later children have higher ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ChildId(u64);

/// One waiting or starting task's number within its child; older ones' reports are ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Turn(u64);

/// How an incarnation ended, and of what.
#[derive(Debug, Clone)]
pub(super) struct Death {
    pub(super) exit: Exit,
    pub(super) reason: String,
}

/// A task that ends with its owner.
#[derive(Debug)]
pub(super) struct Task(JoinHandle<()>);

impl Task {
    pub(super) fn spawn(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(work))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub(super) enum Phase {
    Unstarted,
    Starting {
        _task: Task,
    },
    Running {
        cell: ActorCell,
        probation: Option<Task>,
    },
    BackingOff {
        _task: Task,
    },
    Quarantined {
        _task: Task,
    },
    /// It ended since nobody needed it, and is started when somebody does.
    Asleep,
    /// It is dead, or done, and its last incarnation is about to be gone.
    Ending {
        _task: Task,
    },
    /// It escalated: the tree is about to be taken down.
    GivenUp,
}

pub(super) struct Child {
    pub(super) name: Arc<str>,
    pub(super) start: Starter,
    pub(super) slot: Arc<dyn Rebind>,
    pub(super) ledger: RestartLedger,
    pub(super) family: Option<Arc<Family>>,
    pub(super) phase: Phase,
    pub(super) turn: Turn,
    /// Ends when the last incarnation is entirely gone.
    pub(super) former: Option<JoinHandle<()>>,
    /// What the last incarnation died of.
    pub(super) last_reason: String,
    pub(super) restarts: u32,
    /// Who waits for the first start.
    pub(super) starter: Option<Reply<Result<(), Error>>>,
    /// Who waits for the end.
    pub(super) stoppers: Vec<Reply<bool>>,
    /// It is to end, or has ended, and is not restarted.
    pub(super) stopping: bool,
    /// It is started because it was needed, which is no restart.
    pub(super) woken: bool,
}

impl Child {
    pub(super) fn next_turn(&mut self) -> Turn {
        self.turn.0 += 1;
        self.turn
    }

    fn status(&self) -> ChildStatus {
        match self.phase {
            Phase::Running { .. } => ChildStatus::Running,
            Phase::Unstarted | Phase::Starting { .. } | Phase::BackingOff { .. } => {
                ChildStatus::Restarting
            }
            Phase::Quarantined { .. } => ChildStatus::Quarantined,
            Phase::Asleep => ChildStatus::Asleep,
            Phase::Ending { .. } | Phase::GivenUp => ChildStatus::Stopped,
        }
    }

    fn cell(&self) -> Option<&ActorCell> {
        match &self.phase {
            Phase::Running { cell, .. } => Some(cell),
            _ => None,
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.slot.rebind(Binding::Stopped);
        if let Some(family) = &self.family {
            family.nursery().clear();
        }
    }
}

/// The table of children.
#[derive(Default)]
pub(super) struct Nursery {
    pub(super) children: BTreeMap<ChildId, Box<Child>>,
    by_name: HashMap<Arc<str>, ChildId>,
    by_actor: HashMap<ActorId, ChildId>,
    /// Exits of actors that died before their start was reported.
    early_deaths: HashMap<ActorId, Death>,
    last_id: u64,
    /// No child is added any more. Those that are to serve to their end are still restarted.
    pub(super) closed: bool,
}

impl Nursery {
    pub(super) fn has(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// Takes a child in, to be started.
    pub(super) fn add(
        &mut self,
        newcomer: Newcomer,
        starter: Reply<Result<(), Error>>,
    ) -> (ChildId, &mut Child) {
        self.last_id += 1;
        let id = ChildId(self.last_id);
        let child = Box::new(Child {
            name: newcomer.name,
            start: newcomer.start,
            slot: newcomer.slot,
            ledger: newcomer.ledger,
            family: newcomer.family,
            phase: Phase::Unstarted,
            turn: Turn::default(),
            former: None,
            last_reason: String::new(),
            restarts: 0,
            starter: Some(starter),
            stoppers: Vec::new(),
            stopping: false,
            woken: false,
        });
        self.by_name.insert(Arc::clone(&child.name), id);
        (id, self.children.entry(id).or_insert(child))
    }

    pub(super) fn remove(&mut self, id: ChildId) -> Option<Box<Child>> {
        let child = self.children.remove(&id)?;
        self.by_name.remove(&child.name);
        if let Some(cell) = child.cell() {
            self.by_actor.remove(&cell.get_id());
        }
        Some(child)
    }

    /// Drops the child behind `handle` when it sleeps and nobody else holds that; whether it did.
    pub(super) fn forget_asleep<M: Message>(&mut self, handle: &Handle<M>) -> bool {
        /// The slot of the child, its starter, and the caller.
        const HOLDERS: usize = 3;
        let Some(id) = self.id_of(handle.name()) else { return false };
        let asleep =
            self.children.get(&id).is_some_and(|child| matches!(child.phase, Phase::Asleep));
        let forget = asleep && !self.closed && handle.holders() == HOLDERS;
        if forget {
            self.remove(id);
        }
        forget
    }

    pub(super) fn id_of(&self, name: &str) -> Option<ChildId> {
        self.by_name.get(name).copied()
    }

    /// Remembers whose incarnation `actor` is. Its death, if it was faster than this.
    pub(super) fn adopt(&mut self, actor: ActorId, id: ChildId) -> Option<Death> {
        self.by_actor.insert(actor, id);
        let death = self.early_deaths.remove(&actor);
        if !self.early_deaths.is_empty() && !self.is_anyone_starting() {
            self.early_deaths.clear();
        }
        death
    }

    /// Whose incarnation died. When it is no one's yet, the death is kept for [`Nursery::adopt`].
    pub(super) fn bury(&mut self, actor: ActorId, death: Death) -> Option<(ChildId, Death)> {
        if let Some(id) = self.by_actor.remove(&actor) {
            return Some((id, death));
        }
        if self.is_anyone_starting() {
            self.early_deaths.insert(actor, death);
        }
        None
    }

    /// The incarnations that were known are dead, since the supervisor died over them.
    pub(super) fn forget_incarnations(&mut self) {
        self.by_actor.clear();
        self.early_deaths.clear();
    }

    /// Drops all children, with their tasks, and takes no more.
    pub(super) fn clear(&mut self) {
        *self = Self { closed: true, last_id: self.last_id, ..Self::default() };
    }

    /// Names of the children, last-started first.
    pub(super) fn names_from_the_last(&self) -> Vec<Arc<str>> {
        self.children.values().rev().map(|child| Arc::clone(&child.name)).collect()
    }

    /// The running incarnation of the child at `path`: its name, or the name of a supervisor,
    /// a slash, and a path beneath it.
    pub(super) fn running(&self, path: &str) -> Option<ActorCell> {
        if let Some(child) = self.id_of(path).and_then(|id| self.children.get(&id)) {
            return child.cell().cloned();
        }
        self.children.values().find_map(|child| {
            let beneath = path.strip_prefix(&*child.name)?.strip_prefix('/')?;
            child.family.as_ref()?.nursery().running(beneath)
        })
    }

    /// Kills what is left of the child `name`: itself, or what is beneath it. Returns the paths.
    ///
    /// One by one, since ractor does not kill a draining child with its parent.
    pub(super) fn kill(&self, name: &str) -> Vec<String> {
        let Some(child) = self.id_of(name).and_then(|id| self.children.get(&id)) else {
            return Vec::new();
        };
        let beneath = child.family.as_ref().map(|family| family.nursery().kill_all());
        if let Some(cell) = child.cell() {
            cell.kill();
        }
        match beneath {
            Some(beneath) if !beneath.is_empty() => {
                beneath.into_iter().map(|path| format!("{name}/{path}")).collect()
            }
            _ => vec![name.to_owned()],
        }
    }

    /// Kills what is left of all children, and returns the paths.
    pub(super) fn kill_all(&self) -> Vec<String> {
        self.names_from_the_last().iter().flat_map(|name| self.kill(name)).collect()
    }

    pub(super) fn tree(&self) -> Vec<TreeNode> {
        let node = |child: &Child| TreeNode {
            name: child.name.to_string(),
            status: child.status(),
            restarts: child.restarts,
            children: child.family.as_ref().map_or_else(Vec::new, |family| family.nursery().tree()),
        };
        self.children.values().map(|child| node(child)).collect()
    }

    fn is_anyone_starting(&self) -> bool {
        self.children.values().any(|child| matches!(child.phase, Phase::Starting { .. }))
    }
}
