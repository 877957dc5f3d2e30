//! A pending sign-in on another device (RFC 8628): the user types a code there, and the provider is
//! asked, at its pace, whether that is done.

mod flow;
mod handle;
mod kind;
mod messages;
mod polls;

pub use handle::{DeviceLogin, DeviceProgress};
pub(super) use kind::{DeviceOpening, OnDevice};
pub use messages::{DeviceInternal, DeviceMessage};
