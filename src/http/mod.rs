//! For callers: a client whose requests carry the session's active credential, renewed when need
//! be, and the same credential as plain headers.

mod attempt;
mod call;
mod client;
mod peek;
mod request;
mod watched;

pub use call::Attempts;
pub use client::Client;
pub use request::RequestBuilder;
