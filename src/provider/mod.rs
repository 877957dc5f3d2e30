//! What a provider is: the trait, the data that implements it, and the catalogue of built-in ones.

mod answer;
mod assertion;
pub mod catalog;
mod check;
mod configured;
mod contract;
mod device;
mod discovered;
mod errors;
mod failure;
mod health;
mod interpret;
mod patience;
mod probe;
mod registration;
mod spec;
mod template;

use crate::error::{Error, ErrorKind};
use crate::identity::ProviderId;

pub use assertion::{AssertionSource, AssertionSpec};
pub use contract::{
    Exchanging, Grant, KeyVerdict, Provider, RedirectRules, RefreshPolicy, Renewal, Revocation,
    RevocationOutcome,
};
pub use device::{DeviceAnswer, DeviceCode, DeviceSpec};
pub use discovered::Discovered;
pub use errors::{ErrorTable, Otherwise, RefusalSign};
pub use failure::{Failure, FailureClass};
pub use health::{HealthProbe, HealthSpec};
pub(crate) use patience::{in_time, shortly};
pub use registration::Registration;
pub use spec::{ApiKeyShape, HeaderTemplate, OAuthSpec, Parameter, ProviderSpec, RequestHeaders};

pub use crate::oauth::{
    AuthorizationRequest, BodyEncoding, ClientAuthentication, CodeExchange, DeviceAuthorization,
    RequestProfile, TokenFields, TokenInForce,
};

/// There is no provider `id`; the text names those that there are.
pub(crate) fn unknown<'a>(id: &ProviderId, known: impl Iterator<Item = &'a ProviderId>) -> Error {
    let mut known: Vec<_> = known.map(ProviderId::as_str).collect();
    known.sort_unstable();
    let text = format!("there is no provider {id}, there are: {}", known.join(", "));
    Error::new(ErrorKind::NotFound, text)
}
