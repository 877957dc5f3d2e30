//! How an authorization response comes back: over the loopback listener, or pasted by the user.
//! Both end in the same [`AuthorizationResponse`]; whose sign-in it belongs to is decided above.

mod loopback;
mod page;
mod paste;
mod response;

pub use loopback::{BindError, Listening, Loopback, Sink};
pub use page::Page;
pub use paste::{PasteError, Pasted};
pub use response::{AuthorizationResponse, Refusal, ResponseError};

#[cfg(test)]
mod tests;
