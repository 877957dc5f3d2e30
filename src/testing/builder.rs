//! What a simulated provider is started with.

use std::fmt;
use std::io;
use std::time::Duration;

use super::SimulatedProvider;
use super::dialect::{Dialect, Registration};
use super::simulation::{Memory, Simulation};
use crate::clock::Sources;
use crate::error::{Error, ErrorKind};
use crate::secret::Secret;

const TOKEN_LIFETIME: Duration = Duration::from_mins(1);

/// Says how a simulated provider is to be, and starts it.
///
/// ```
/// use std::time::Duration;
/// use tokenward::testing::SimulatedProvider;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let google = SimulatedProvider::google()
///     .token_lifetime(Duration::from_secs(5))
///     .client("mine")
///     .account("ada@example.com")
///     .start()
///     .await?;
/// assert_eq!(google.client_id(), "mine");
/// # Ok(())
/// # }
/// ```
pub struct SimulatedProviderBuilder {
    dialect: Box<dyn Dialect>,
    registration: Registration,
    sources: Sources,
    canary: String,
    memory: Memory,
}

impl SimulatedProviderBuilder {
    pub(super) fn new(dialect: Box<dyn Dialect>) -> Self {
        let (client_id, client_secret) = dialect.default_client();
        let registration = Registration {
            client_id: client_id.to_owned(),
            client_secret: client_secret.map(Secret::from),
            redirect_ports: Vec::new(),
            token_lifetime: TOKEN_LIFETIME,
            scopes: None,
        };
        let memory = Memory { account: "account-1".to_owned(), ..Memory::default() };
        Self { dialect, registration, sources: Sources::system(), canary: String::new(), memory }
    }

    /// The clock that decides when tokens expire and what `Date` says, and the randomness that
    /// tokens are made of. Without it: those of the operating system.
    ///
    /// A provider that shares its clock with the code under test shares its clock's faults too;
    /// for a machine whose clock is wrong, give the provider a clock of its own.
    #[must_use]
    pub fn sources(mut self, sources: Sources) -> Self {
        self.sources = sources;
        self
    }

    /// How long access tokens live. Without it: 60 seconds.
    #[must_use]
    pub fn token_lifetime(mut self, lifetime: Duration) -> Self {
        self.registration.token_lifetime = lifetime;
        self
    }

    /// The client that is registered, in place of the simulation's own.
    #[must_use]
    pub fn client(mut self, id: &str) -> Self {
        id.clone_into(&mut self.registration.client_id);
        self
    }

    /// The secret of the client that is registered.
    #[must_use]
    pub fn client_secret(mut self, secret: impl Into<Secret>) -> Self {
        self.registration.client_secret = Some(secret.into());
        self
    }

    /// What the client may be granted at a Memory Bank, in place of whatever it asks for.
    #[must_use]
    pub fn scopes<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.registration.scopes = Some(scopes.into_iter().map(Into::into).collect());
        self
    }

    /// The ports of loopback redirects that are registered. Without it any port is, so that tests
    /// can run in parallel; `OpenAI` itself has 1455 and 1457.
    #[must_use]
    pub fn redirect_ports(mut self, ports: &[u16]) -> Self {
        self.registration.redirect_ports = ports.to_vec();
        self
    }

    /// Whose account the users sign in with.
    #[must_use]
    pub fn account(mut self, account: &str) -> Self {
        account.clone_into(&mut self.memory.account);
        self
    }

    /// A text that stands readably in every token, code and key that is issued, so that a test can
    /// search everything that its code has written for it.
    ///
    /// # Panics
    ///
    /// When it has characters other than letters, digits, `-` and `_`: they could not stand in
    /// every token.
    #[must_use]
    pub fn canary(mut self, canary: &str) -> Self {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        assert!(canary.bytes().all(plain), "a canary has letters, digits, - and _ alone");
        canary.clone_into(&mut self.canary);
        self
    }

    /// Goes on with what [`SimulatedProvider::memory`] gave.
    ///
    /// # Errors
    ///
    /// When it is not such a text.
    pub fn remember(mut self, memory: &str) -> Result<Self, Error> {
        self.memory = serde_json::from_str(memory).map_err(|error| {
            let message = "the memory of the simulated provider can not be read, start without it";
            Error::with_source(ErrorKind::InvalidInput, message, error)
        })?;
        Ok(self)
    }

    /// Starts it at a free port of the loopback address.
    ///
    /// # Errors
    ///
    /// When the operating system does not let it listen.
    #[allow(clippy::unused_async, reason = "it needs a tokio runtime, and says so this way")]
    pub async fn start(self) -> io::Result<SimulatedProvider> {
        let Self { dialect, registration, sources, canary, memory } = self;
        SimulatedProvider::serve(Simulation::new(dialect, registration, sources, canary, memory))
    }
}

impl fmt::Debug for SimulatedProviderBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedProviderBuilder")
            .field("dialect", &self.dialect)
            .field("registration", &self.registration)
            .finish_non_exhaustive()
    }
}
