//! One credential's life: its material, the pure core that decides, and the actor around it.

mod actor;
mod cell;
mod credentials;
mod endpoints;
mod fallback;
mod flight;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod handle;
mod horizon;
mod idle;
mod journal;
mod lifecycle;
mod material;
mod messages;
mod records;
pub(crate) mod revocations;
mod schedule;
mod snapshot;
mod stored;
#[cfg(test)]
mod tests;
mod upcoming;

pub(crate) use actor::Shared;
pub(crate) use credentials::{Credentials, Providers};
pub(crate) use endpoints::TokenEndpoints;
pub use fallback::Fallback;
pub(crate) use fallback::{needs_user, stands_in};
pub use handle::CredentialHandle;
pub(crate) use idle::{IDLE_AFTER, Rest};
pub(crate) use lifecycle::Ended;
pub use messages::{Answer, Internal, ProviderMessage, SignInWith, SignedOut};
pub(crate) use revocations::Revocations;
pub use snapshot::{Peeked, Snapshot};
