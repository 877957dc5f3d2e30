//! Sessions: which provider a user works with at the moment, kept across restarts.

mod entry;
mod record;
mod state;
mod view;

pub use state::SessionPolicy;
pub use view::{ProviderContext, SessionHandle, SessionView, Standing};
