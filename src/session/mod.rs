//! Sessions: which provider a user works with at the moment, kept across restarts, and isolated
//! from those of other users.

mod actor;
mod board;
mod entry;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod keeping;
mod messages;
mod record;
mod sessions;
mod state;
mod view;

pub use messages::{Internal, SessionMessage};
pub use sessions::Sessions;
pub use state::SessionPolicy;
pub use view::{ProviderContext, SessionHandle, SessionView, Standing};

#[cfg(test)]
mod tests;
