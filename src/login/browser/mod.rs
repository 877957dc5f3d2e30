//! A pending sign-in by authorization code (RFC 6749 §4.1): the user consents in a browser, which
//! comes back to a listener, or shows what the user pastes.

mod flow;
mod handle;
mod kind;
mod messages;

pub(super) use flow::{EXPIRES_AFTER, Terms};
pub(super) use handle::Face;
pub use handle::Login;
pub(super) use kind::{BrowserLogin, Opening};
pub use messages::{Internal, LoginMessage};
