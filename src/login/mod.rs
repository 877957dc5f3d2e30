//! Pending sign-ins: each is a supervised actor that any front end can complete.
//!
//! One actor runs them all; what differs is its kind: in a browser, or on another
//! device. A kind is a pure flow, the messages it takes, and a handle for its holders.

mod actor;
mod browser;
mod course;
mod desk;
mod device;
mod logins;
mod outcome;
mod storing;
mod transit;
mod verdict;

pub use browser::{Internal, Login, LoginMessage};
pub use desk::GrantSink;
pub use device::{DeviceInternal, DeviceLogin, DeviceMessage, DeviceProgress};
pub use logins::{LoginRequest, Logins, Receiver};

#[cfg(test)]
mod tests;
