//! What a simulated provider is started with.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::SimulatedProvider;
use super::dialect::{Dialect, Registration};
use super::kept::{self, KeptIn};
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
    kept_in: Option<PathBuf>,
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
        let provider = dialect.name().to_owned();
        let memory = Memory { provider, account: "account-1".to_owned(), ..Memory::default() };
        Self {
            dialect,
            registration,
            sources: Sources::system(),
            canary: String::new(),
            memory,
            kept_in: None,
        }
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
    /// When it is not such a text, or one of another provider.
    pub fn remember(mut self, memory: &str) -> Result<Self, Error> {
        let name = self.dialect.name();
        let memory: Memory = serde_json::from_str(memory).map_err(|error| {
            let message = format!(
                "this is no memory of a simulated provider, remove it and sign in to {name} anew"
            );
            Error::with_source(ErrorKind::InvalidInput, message, error)
        })?;
        if memory.provider != name {
            let message = format!("this is the memory of {}, give {name} its own", memory.provider);
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        self.memory = memory;
        Ok(self)
    }

    /// Goes on with what stands in the file at `path`, and keeps in it what the provider knows. The file
    /// has each change before anybody is answered, so the process may be killed at any moment, and its
    /// sign-ins still count in the next one; where the file can not be written later on, that is logged as a
    /// warning, and the provider answers all the same. Folders that are missing are made. No token, code or
    /// key stands in it, but what they are recognised by.
    ///
    /// # Errors
    ///
    /// When the file can not be read, or as [`SimulatedProviderBuilder::remember`].
    ///
    /// ```
    /// use tokenward::testing::SimulatedProvider;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let folder = tempfile::tempdir()?;
    /// let file = folder.path().join("openai.json");
    /// let openai = SimulatedProvider::openai().kept_in(&file)?.start().await?;
    /// let before = openai.memory()?;
    /// drop(openai);
    ///
    /// let openai = SimulatedProvider::openai().kept_in(&file)?.start().await?;
    /// assert_eq!(openai.memory()?, before);
    /// # Ok(())
    /// # }
    /// ```
    pub fn kept_in(mut self, path: impl Into<PathBuf>) -> Result<Self, Error> {
        let path = path.into();
        let unreadable = |error| {
            let message = format!(
                "{} can not be read or made, correct the path or remove the file: {error}",
                path.display()
            );
            Error::with_source(ErrorKind::InvalidInput, message, error)
        };
        if let Some(memory) = kept::read(&path).map_err(unreadable)? {
            self = self.remember(&memory).map_err(|error| {
                let message = format!("{}: {error}", path.display());
                Error::with_source(ErrorKind::InvalidInput, message, error)
            })?;
        }
        self.kept_in = Some(path);
        Ok(self)
    }

    /// Starts it at a free port of the loopback address.
    ///
    /// # Errors
    ///
    /// When the operating system does not let it listen, or the file that it is
    /// [kept in](SimulatedProviderBuilder::kept_in) can not be written.
    #[allow(clippy::unused_async, reason = "it needs a tokio runtime, and says so this way")]
    pub async fn start(self) -> io::Result<SimulatedProvider> {
        let Self { dialect, registration, sources, canary, memory, kept_in } = self;
        let mut simulation = Simulation::new(dialect, registration, sources, canary, memory);
        if let Some(path) = kept_in {
            simulation.keep_in(KeptIn::new(path))?;
        }
        SimulatedProvider::serve(simulation)
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
