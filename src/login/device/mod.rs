//! A pending sign-in on another device (RFC 8628): the user types a code there, and the provider is
//! asked, at its pace, whether that is done.

mod actor;
mod flow;
mod handle;
mod messages;
mod polls;

pub(super) use actor::{DeviceActor, DeviceArguments};
pub use handle::{DeviceLogin, DeviceProgress};
pub use messages::{DeviceInternal, DeviceMessage};
