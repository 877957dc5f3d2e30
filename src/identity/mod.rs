//! The names of things: users, providers, methods, labels, credentials, sessions, generations, records
//! that do not open.
//! Each is a type of its own, checked where it is made, so that none can be taken for another.

mod credential;
mod method;
mod name;
mod quarantine;
mod random;
#[cfg(test)]
mod tests;
mod user;

pub use self::credential::{CredentialId, Generation};
pub use self::method::Method;
pub use self::name::{Label, NameError, ProviderId};
pub use self::quarantine::QuarantineId;
pub use self::random::{LoginId, SessionId};
pub use self::user::UserId;
