//! For callers: a client whose requests carry the session's active credential, renewed when need
//! be; the same as a `tower` layer around a client of the host, and as plain headers.

mod attempt;
mod body;
mod call;
mod client;
mod layer;
mod peek;
mod prepared;
mod request;
mod sending;
mod target;
mod verdict;

pub use body::ResponseBody;
pub use call::Attempts;
pub use client::Client;
pub use layer::{Authenticate, AuthenticateLayer, RouteClass};
pub use prepared::{PreparedRequest, Recovery};
pub use request::RequestBuilder;
pub(crate) use target::target;
