//! The actor machinery, without any domain: supervisors that restart by policy, handles that
//! outlive restarts, one timer service, and events. Everything here is a value of one runtime.

mod actor;
mod attendant;
mod child;
mod deadlines;
mod errands;
pub mod events;
mod failure;
mod handle;
mod messages;
mod nursery;
mod restart;
mod slot;
mod supervisor;
#[cfg(test)]
mod tests;
mod timekeeper;
mod turns;

pub use child::{ChildSpec, Spawning};
pub(crate) use errands::Errands;
pub use events::{EventBus, Events, Notice};
pub(crate) use handle::SHUT_DOWN;
pub use handle::{AskError, Handle, Reply};
pub use nursery::{ChildStatus, TreeNode};
pub use restart::{Decision, Exit, Restart, RestartLedger, RestartPolicy};
pub use slot::Permit;
pub use supervisor::Supervisor;
pub use timekeeper::{Alarm, Timekeeper};
