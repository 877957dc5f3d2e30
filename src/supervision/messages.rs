//! What a supervisor's actor is told: by its users, and by the tasks that it started.

use std::sync::Arc;

use ractor::concurrency::JoinHandle;
use ractor::{ActorCell, SpawnErr};

use super::child::Newcomer;
use super::handle::Reply;
use super::nursery::{ChildId, TreeNode, Turn};
use crate::error::Error;

pub(super) enum SupervisorMessage {
    /// Add a child; the reply comes with its first start.
    Start { newcomer: Newcomer, reply: Reply<Result<(), Error>> },
    /// A child's starting task is done.
    Started { child: ChildId, turn: Turn, outcome: Result<(ActorCell, JoinHandle<()>), SpawnErr> },
    /// A child's back-off, quarantine or probation is over.
    Waited { child: ChildId, turn: Turn },
    /// A child that sleeps is needed.
    Wake { child: ChildId },
    /// The last incarnation of a child that is to end is entirely gone.
    Gone { child: ChildId },
    /// Drain a child; the reply comes with its end.
    Stop { name: Arc<str>, reply: Reply<bool> },
    /// Kill a child's running incarnation.
    Crash { path: Arc<str>, reply: Reply<bool> },
    /// Show the children.
    Tree { reply: Reply<Vec<TreeNode>> },
    /// Take no more children, and stop after the last one; the reply has the names of those there
    /// are, last-started first.
    Close { reply: Reply<Vec<Arc<str>>> },
    /// Drain all children at once, then stop.
    DrainAll,
}
