//! A supervised credential runtime: API keys and OAuth tokens that are alive at the moment of the
//! call.
//!
//! A host makes one [`Runtime`], over a [`Vault`] and some providers. A [`User`] signs in, opens a
//! [`Session`], and calls whatever provider is active in it:
//!
//! ```no_run
//! use tokenward::{MasterKey, Runtime, Vault, catalog};
//!
//! # async fn example(key: String) -> Result<(), tokenward::Error> {
//! let key_file = MasterKey::from_file("agent.key").create_if_missing();
//! let runtime = Runtime::builder()
//!     .vault(Vault::open("agent.vault").master_key(key_file))
//!     .provider(catalog::anthropic())
//!     .start()
//!     .await?;
//!
//! let ada = runtime.user("ada");
//! ada.sign_in("anthropic").with_api_key(key).await?;
//!
//! let session = ada.open_session().await?;
//! session.use_provider("anthropic").await?;
//! let reply = session.client().get("/v1/models").send().await?;
//! # Ok(())
//! # }
//! ```
//!
//! Behind it, each credential is an actor under supervision. It renews its token before it expires,
//! once for everybody who waits, and makes the new one durable before anyone sees it. Whoever
//! holds a [`CredentialHandle`] reads the published [`Snapshot`] without a message.
//!
//! # Where to look
//!
//! - [`runtime`]: the builder, users, sign-ins, sessions. Start here.
//! - [`http`]: authenticated requests; the headers alone are
//!   [`Session::authentication`].
//! - [`service`]: typed clients of services: a Memory Bank, Orange's SMS.
//! - [`provider`]: what a provider is, as data and as a trait, and the [`catalog`].
//! - [`vault`]: where everything is kept, and where the master key comes from.
//! - [`event`]: what is reported, and [`Runtime::events`], where.
//! - [`credential`], [`session`], [`login`]: the same as messages to actors.
//! - [`health`]: whether the providers work, looked at by themselves or when asked.
//! - [`doctor`]: what fails between this host and its providers, layer by layer.
//! - [`metrics`]: what a runtime counts about itself, for Prometheus.
//! - [`supervision`]: the actor machinery, which knows nothing of credentials.
//! - [`oauth`]: the protocol as a client, without actors.
//! - [`resilience`]: circuit breaker, retry policy and retry budget, without a client.
//! - [`settings`]: everything from a TOML file, the environment and the program, merged.
//! - [`config`]: what settings are made of: origins, problems, the environment.
//! - [`identity`], [`secret`], [`clock`]: names, values that are not shown, and time as a value.
//! - `server` (feature `server`): tokens for other applications, and guarded routes.
//! - `testing` (feature `testing`): simulated providers that break on command, and a clock that is
//!   moved by hand.
//!
//! Policies and limits are built with `..Default::default()`, other structs by their constructors: so
//! one more field is no breaking change. The guides, from a first sign-in to operation, are in `docs/` of the
//! repository.
//!
//! # Features
//!
//! - `redb`: redb as a second embedded engine of the vault.
//! - `server`: an authorization server and guards, as an axum router and layers.
//! - `keyring`: the keyring of the operating system as a place of the master key.
//! - `testing`: the test kit. Nothing else depends on it.

pub mod clock;
pub mod config;
pub mod credential;
pub mod doctor;
mod error;
pub mod event;
#[cfg(doctest)]
mod guides;
pub mod health;
pub mod http;
pub mod identity;
pub mod login;
pub mod metrics;
pub mod oauth;
pub mod provider;
pub mod resilience;
pub mod runtime;
pub mod secret;
#[cfg(feature = "server")]
pub mod server;
pub mod service;
pub mod session;
pub mod settings;
pub mod supervision;
#[cfg(feature = "testing")]
pub mod testing;
pub mod vault;

pub use credential::{CredentialHandle, Fallback, Snapshot};
pub use error::Error;
pub use event::{CredentialState, Event, EventKind};
pub use http::Client;
pub use identity::{CredentialId, Generation, Label, Method, ProviderId, SessionId, UserId};
pub use login::{DeviceLogin, Login};
pub use provider::{Provider, ProviderSpec, catalog};
pub use runtime::{Runtime, RuntimeBuilder, Session, SignIn, User};
pub use secret::Secret;
pub use settings::Settings;
pub use supervision::{Events, Notice};
pub use vault::{MasterKey, Vault};
