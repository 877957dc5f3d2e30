//! The authorization server (feature `server`): tokens for other applications, and a guard for the
//! host's own routes.
//!
//! ```no_run
//! use axum::Router;
//! use axum::routing::get;
//! use tokenward::server::{ApplicationSpec, AuthorizationServer, ServerSettings};
//!
//! # async fn example(runtime: tokenward::Runtime) -> Result<(), Box<dyn std::error::Error>> {
//! let settings = ServerSettings::new("https://host.example", "https://host.example/api");
//! let server = AuthorizationServer::start(&runtime, settings).await?;
//!
//! let spec = ApplicationSpec::new("reports").permissions("memories:read".parse()?);
//! let registered = server.issuer().register(spec).await?;
//! println!("{} {}", registered.application.id(), registered.secret.expose());
//!
//! let app = Router::new()
//!     .route("/memories", get(|| async { "what the caller may read" }))
//!     .route_layer(server.guard("memories:read".parse()?))
//!     .merge(server.router());
//! # Ok(())
//! # }
//! ```
//!
//! Signing keys and applications belong to the [`TokenIssuer`], an actor beneath the runtime's root,
//! and are kept in its vault. Tokens are issued and verified from what it publishes, without a
//! message, so a change is in force at once, also for tokens that were issued before.

mod answer;
mod application;
mod authorization_server;
mod claims;
mod denials;
mod detached;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod guard;
mod issuer;
pub mod jws;
mod kept;
mod keys;
mod limiter;
mod refresh;
mod refusal;
mod request;
mod routes;
mod scope;
mod settings;
mod strict;
mod upstream_guard;
mod vault_watch;
mod verify;

pub use application::{
    Application, ApplicationChange, ApplicationId, ApplicationSpec, GrantType,
    LONGEST_TOKEN_LIFETIME, RateLimit, SecretStatus,
};
pub use authorization_server::AuthorizationServer;
pub use guard::{Guard, Guarded};
pub use issuer::{FreshSecret, Internal, IssuerMessage, KeyRotation, Registered, TokenIssuer};
pub use limiter::ClientAddress;
pub use refresh::RefreshPolicy;
pub use scope::{Scope, ScopeError};
pub use settings::{Capability, ServerSettings};
pub use upstream_guard::{UpstreamGuard, UpstreamGuarded};
pub use verify::{Caller, TokenRefused};
