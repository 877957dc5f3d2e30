//! What a provider is: the trait, the data that implements it, and the catalogue of built-in ones.

mod contract;
mod failure;

pub use contract::{
    AuthorizationRequest, CodeExchange, Exchanging, Grant, Provider, RedirectRules, RefreshPolicy,
    Renewal, Revocation, RevocationOutcome,
};
pub use failure::{Failure, FailureClass};
