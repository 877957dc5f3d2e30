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

pub use error::Error;
pub use runtime::Runtime;
