//! For callers: a client whose requests carry the session's active credential, renewed when need
//! be, and the same credential as plain headers.

mod client;
mod peek;
mod request;

pub use client::Client;
pub use request::RequestBuilder;
