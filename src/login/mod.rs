//! Pending sign-ins: each is a supervised actor that any front end can complete.

mod actor;
mod device;
mod flow;
mod handle;
mod logins;
mod messages;
mod outcome;
mod verdict;

pub use actor::GrantSink;
pub use device::{DeviceInternal, DeviceLogin, DeviceMessage, DeviceProgress};
pub use handle::Login;
pub use logins::{LoginRequest, Logins, Receiver};
pub use messages::{Internal, LoginMessage};

#[cfg(test)]
mod tests;
