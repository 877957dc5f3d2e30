//! What the token issuer can be asked. [`TokenIssuer`](super::TokenIssuer) has a method for each.

use std::time::Duration;

use super::fresh::FreshSecret;
use crate::error::Error;
use crate::secret::Secret;
use crate::server::application::{Application, ApplicationChange, ApplicationId, ApplicationSpec};
use crate::supervision::Reply;

/// A request to the token issuer. What changes something is answered once it is durable and in
/// force: also for tokens that were issued before.
///
/// [`TokenIssuer::messages`](super::TokenIssuer::messages) is where to send one. Each method of
/// [`TokenIssuer`](super::TokenIssuer) does the same.
///
/// ```
/// use tokenward::server::{ApplicationSpec, AuthorizationServer, IssuerMessage, ServerSettings};
///
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let orange = SimulatedProvider::orange().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(orange.spec()).start().await?;
/// # let settings = ServerSettings::new("https://host.example", "https://host.example/api");
/// # let server = AuthorizationServer::start(&runtime, settings).await?;
/// # let issuer = server.issuer();
/// let spec = Box::new(ApplicationSpec::new("reports"));
/// let ask = |reply| IssuerMessage::Register { spec, reply };
/// let registered = issuer.messages().ask(ask).await??;
/// assert_eq!(issuer.applications(), [registered.application]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum IssuerMessage {
    /// Registers an application.
    Register {
        /// What it is to be.
        spec: Box<ApplicationSpec>,
        /// Gets the application, and its secret, which is shown this once.
        reply: Reply<Result<Registered, Error>>,
    },
    /// Changes an application.
    Change {
        /// Which.
        id: ApplicationId,
        /// What about it.
        change: Box<ApplicationChange>,
        /// Gets the outcome.
        reply: Reply<Result<(), Error>>,
    },
    /// Gives an application another secret.
    RotateSecret {
        /// Which.
        id: ApplicationId,
        /// How long the newest of its former secrets that is in use is good beside it: at most 30 days.
        overlap: Duration,
        /// Gets the secret, which is shown this once, and counts as known once it is taken.
        reply: Reply<Result<FreshSecret, Error>>,
    },
    /// Gives an application this secret, such as one from a configuration. Nothing changes when it is
    /// its newest one already.
    SetSecret {
        /// Which.
        id: ApplicationId,
        /// The secret: 16 to 200 characters of ASCII that are printed.
        secret: Secret,
        /// As with [`IssuerMessage::RotateSecret`].
        overlap: Duration,
        /// Gets the outcome.
        reply: Reply<Result<(), Error>>,
    },
    /// Removes an application, also one whose record is damaged. Its tokens are not good any more.
    Remove {
        /// Which.
        id: ApplicationId,
        /// Gets the outcome.
        reply: Reply<Result<(), Error>>,
    },
    /// Gives the server another signing key.
    RotateSigningKey {
        /// How.
        how: KeyRotation,
        /// Gets the outcome.
        reply: Reply<Result<(), Error>>,
    },
    /// Waits until there are keys to sign with.
    Ready {
        /// Gets the outcome.
        reply: Reply<Result<(), Error>>,
    },
    /// What the issuer tells itself.
    Internal(Internal),
}

/// An application that was registered just now.
///
/// [`TokenIssuer::register`](super::TokenIssuer::register) answers with it. The secret is shown
/// this once: only a hash of it is kept.
///
/// ```
/// use tokenward::server::{ApplicationSpec, AuthorizationServer, ServerSettings};
///
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let orange = SimulatedProvider::orange().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(orange.spec()).start().await?;
/// # let settings = ServerSettings::new("https://host.example", "https://host.example/api");
/// # let server = AuthorizationServer::start(&runtime, settings).await?;
/// let registered = server.issuer().register(ApplicationSpec::new("reports")).await?;
/// let (id, secret) = (registered.application.id(), registered.secret);
/// println!("client_id={id}\nclient_secret={}", secret.expose());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Registered {
    /// The application.
    pub application: Application,
    /// Its secret. It is not kept and can not be shown again.
    pub secret: Secret,
}

/// How another signing key takes over.
///
/// ```
/// use tokenward::server::{AuthorizationServer, KeyRotation, ServerSettings};
///
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let orange = SimulatedProvider::orange().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(orange.spec()).start().await?;
/// # let settings = ServerSettings::new("https://host.example", "https://host.example/api");
/// # let server = AuthorizationServer::start(&runtime, settings).await?;
/// // Ahead of its time: the next key is published now, and signs later.
/// server.issuer().rotate_signing_key(KeyRotation::Ordinary).await?;
/// // Somebody else may have the keys: what they signed is refused from now on.
/// server.issuer().rotate_signing_key(KeyRotation::Compromised).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyRotation {
    /// It is published first and signs later, and the former key is kept for as long as its tokens
    /// live: nobody notices. Nothing changes when one is on its way already.
    Ordinary,
    /// It signs at once, and every other key is gone, and with it every token: for keys that somebody
    /// else may have.
    Compromised,
}

/// What the issuer tells itself; nobody else can make one.
#[derive(Debug)]
#[doc(hidden)]
pub struct Internal(pub(super) News);

#[derive(Debug, Clone, Copy)]
pub(super) enum News {
    /// Load everything.
    Load,
    /// A task has an outcome.
    ErrandReturned,
    /// It is time to look after the keys.
    UpkeepDue,
    /// It is time to remove what is over.
    SweepDue,
    /// Secrets were used, and that is to be durable.
    SecretsUsed,
    /// A secret was taken by who asked for it, or was lost.
    SecretDelivered,
    /// A secret is on its way for too long.
    DeliveryOverdue,
}

impl From<News> for IssuerMessage {
    fn from(news: News) -> Self {
        Self::Internal(Internal(news))
    }
}

impl IssuerMessage {
    /// Answers the request with `error`.
    pub(super) fn refuse(self, error: Error) {
        // Sending fails only when nobody waits any more.
        match self {
            Self::Register { reply, .. } => drop(reply.send(Err(error))),
            Self::RotateSecret { reply, .. } => drop(reply.send(Err(error))),
            Self::Change { reply, .. }
            | Self::SetSecret { reply, .. }
            | Self::Remove { reply, .. }
            | Self::RotateSigningKey { reply, .. }
            | Self::Ready { reply } => drop(reply.send(Err(error))),
            Self::Internal(_) => {}
        }
    }
}
