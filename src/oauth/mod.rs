//! The OAuth 2.0 protocol as a client: requests, answers, and the way out to the endpoints. It
//! knows no provider and no actor; what a refusal means for a credential is decided above.

mod assertion;
mod authorize;
mod call;
mod client_credentials;
mod clients;
mod device;
mod exchange;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod jwt;
mod metadata;
mod pkce;
mod post;
mod probe;
mod profile;
pub mod redirect;
mod refresh;
mod response;
mod revoke;
mod tls;
mod transport;

pub use authorize::AuthorizationRequest;
pub use device::DeviceAuthorization;
pub use exchange::CodeExchange;
pub use pkce::Pkce;
pub use profile::{BodyEncoding, ClientAuthentication, RequestProfile};
pub use refresh::TokenInForce;
pub use response::TokenFields;
pub use transport::{Answer, Limits, Transport, TransportError};

pub(crate) use assertion::exchange_assertion;
pub(crate) use authorize::authorization_url;
pub(crate) use call::{ExchangeError, TokenEndpoint, TokenGrant};
pub(crate) use client_credentials::request_client_credentials;
pub(crate) use clients::{Clients, root_cause};
pub(crate) use device::{DeviceManner, DevicePoll, authorize_device, poll_device};
pub(crate) use exchange::exchange_code;
pub(crate) use jwt::claim_at;
pub(crate) use metadata::{Metadata, MetadataError, fetch_metadata, issuer_url};
pub(crate) use post::read_token_answer;
pub(crate) use probe::{Probed, probe};
pub(crate) use profile::Client;
pub(crate) use refresh::refresh;
pub(crate) use response::{Refusal, RefusalBody};
pub(crate) use revoke::revoke;
pub(crate) use tls::Tls;
pub(crate) use transport::OUR_USER_AGENT;
