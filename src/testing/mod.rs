//! For tests of code that uses this crate: simulated providers that are as strict as the real ones
//! and break on command, and a clock that is moved by hand.
//!
//! A [`SimulatedProvider`] is a real HTTP server on the loopback address. It issues tokens that
//! live for a minute, rotates refresh tokens where the real provider does, refuses what the real
//! one would refuse in its own words, counts, and keeps every request for inspection. Its
//! [`spec`](SimulatedProvider::spec) is the catalogue's, pointed at the simulation. A [`Fault`] is
//! one thing that goes wrong with one request, and a [`Gate`] holds a request where a test wants
//! it. A [`ManualClock`] moves when it is told to, so nothing has to sleep, and [`VaultFaults`] are a
//! disk that fills up, breaks, or vanishes under a vault.
//!
//! # A sign-in, an expiry, a rate limit, a renewal
//!
//! ```
//! use std::time::{Duration, SystemTime};
//!
//! use tokenward::identity::Method;
//! use tokenward::oauth::{AuthorizationRequest, CodeExchange, Pkce, Transport};
//! use tokenward::provider::{Provider, Renewal};
//! use tokenward::secret::Secret;
//! use tokenward::testing::{Endpoint, Fault, ManualClock, SimulatedProvider};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let clock = ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_hours(500_000));
//! let openai = SimulatedProvider::openai().sources(clock.sources()).start().await?;
//! let spec = openai.spec();
//! let transport = Transport::new(clock.sources())?;
//!
//! // A user opens the authorization URL and agrees.
//! let pkce = Pkce::generate(&*clock.sources().entropy)?;
//! let state = Secret::new("a random state");
//! let redirect_uri = "http://localhost:1455/auth/callback";
//! let request = AuthorizationRequest::new(redirect_uri, &pkce.challenge, &state);
//! let url = spec.authorization_url(&request)?;
//! let callback = url::Url::parse(&openai.approve(&url)?)?;
//! let (_, code) = callback.query_pairs().find(|(name, _)| name == "code").expect("a code");
//! let code = Secret::new(&code);
//! let exchange = CodeExchange::new(&code, &state, redirect_uri, &pkce.verifier);
//! let grant = spec.exchange_code(&transport, exchange).await?;
//! assert_eq!(grant.lifetime, Some(Duration::from_secs(60)));
//!
//! // A minute later the token has expired, and the token endpoint is busy.
//! clock.advance(Duration::from_secs(60));
//! let retry_after = Some(Duration::from_secs(5));
//! openai.faults().on(Endpoint::Token).next(1, Fault::RateLimited { retry_after });
//! let refresh_token = grant.refresh_token.as_ref();
//! let renewal = Renewal::new(Method::AuthorizationCode, refresh_token, None);
//! let failure = spec.renew(&transport, renewal).await.expect_err("a rate limit");
//! assert_eq!(failure.retry_after(), retry_after);
//!
//! // The next attempt goes through. Nothing was spent twice.
//! spec.renew(&transport, renewal).await?;
//! assert_eq!(openai.token_requests(), 3);
//! assert_eq!(openai.refreshes(), 1);
//! assert_eq!(openai.reused_refresh_tokens(), 0);
//! # Ok(())
//! # }
//! ```
//!
//! # Stopping a request at a point
//!
//! [`Fault::Hold`] stops a request before the provider carries it out, [`Fault::HoldAnswer`] after.
//! In between a test can do what a crash, a sign-out or a second caller would:
//!
//! ```
//! use tokenward::testing::{Endpoint, Fault, Gate, SimulatedProvider};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let orange = SimulatedProvider::orange().start().await?;
//! let gate = Gate::new();
//! orange.faults().on(Endpoint::Token).next(1, Fault::HoldAnswer(gate.clone()));
//! # use tokenward::{identity::Method, oauth::Transport, provider::{Provider, Renewal}};
//! # let spec = orange.spec();
//! # let transport = Transport::new(tokenward::clock::Sources::system())?;
//! let renewal = tokio::spawn(async move {
//!     // The code under test asks for a token here.
//! #   let renewal = Renewal::new(Method::ClientCredentials, None, None);
//! #   spec.renew(&transport, renewal).await
//! });
//! gate.until_arrived(1).await;
//! assert_eq!(orange.counters().issued_access_tokens, 1);
//! assert!(!renewal.is_finished(), "the token is issued, and the client does not know yet");
//! gate.open();
//! renewal.await??;
//! # Ok(())
//! # }
//! ```

mod answer;
mod builder;
mod devices;
mod dialect;
mod fault;
mod gate;
mod kept;
mod ledger;
mod manual_clock;
mod mint;
mod record;
mod resources;
mod script;
mod seeded_entropy;
mod server;
mod simulated_provider;
mod simulation;
mod spec;
#[cfg(test)]
mod tests;
mod vault_faults;

pub use builder::SimulatedProviderBuilder;
pub use fault::{Fault, FaultError, FaultKind};
pub use gate::Gate;
pub use manual_clock::ManualClock;
pub use record::{Counters, Endpoint, EndpointError, RecordedRequest};
pub use script::Faults;
pub use seeded_entropy::SeededEntropy;
pub use simulated_provider::SimulatedProvider;
pub use vault_faults::{VaultFault, VaultFaults};
