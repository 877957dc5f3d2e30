//! A supervised credential runtime.

pub mod clock;
pub mod config;
pub mod credential;
mod error;
pub mod event;
pub mod http;
pub mod identity;
pub mod login;
pub mod oauth;
pub mod provider;
pub mod runtime;
pub mod secret;
pub mod session;
pub mod supervision;
#[cfg(feature = "testing")]
pub mod testing;
pub mod vault;

pub use credential::{CredentialHandle, Snapshot};
pub use error::Error;
pub use event::{CredentialState, Event, EventKind};
pub use http::Client;
pub use identity::{CredentialId, Generation, Label, Method, ProviderId, SessionId, UserId};
pub use login::Login;
pub use provider::{Provider, ProviderSpec, catalog};
pub use runtime::{Runtime, RuntimeBuilder, Session, SignIn, User};
pub use secret::Secret;
pub use supervision::{Events, Notice};
pub use vault::{MasterKey, Vault};
