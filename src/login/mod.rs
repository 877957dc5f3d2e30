//! Pending sign-ins: each is a supervised actor that any front end can complete.

mod actor;
mod flow;
mod logins;
mod messages;
mod verdict;

pub use actor::GrantSink;
pub use logins::{Login, LoginRequest, Logins, Receiver};
pub use messages::{Internal, LoginMessage};

#[cfg(test)]
mod tests;
