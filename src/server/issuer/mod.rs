//! The token issuer: the supervised actor that owns signing keys and applications. Who issues and
//! verifies tokens reads what it publishes, without a message.

mod actor;
mod fresh;
mod keeping;
mod messages;
mod published;
mod state;
mod uses;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ractor::Actor as _;
use tokio::sync::oneshot;

use super::application::{Application, ApplicationChange, ApplicationId, ApplicationSpec};
use super::denials::Denials;
use super::detached::died;
use super::jws::VerificationKey;
use super::keys::KeyPolicy;
use crate::clock::{Moment, Sources};
use crate::error::Error;
use crate::secret::Secret;
use crate::supervision::{ChildSpec, Handle, Supervisor, Timekeeper};
use crate::vault::VaultHandle;

use actor::{IssuerActor, IssuerArguments};
pub use fresh::FreshSecret;
use keeping::Keeper;
use messages::News;
pub use messages::{Internal, IssuerMessage, KeyRotation, Registered};
use published::Board;
pub(crate) use published::Published;

/// What the actor is called beneath its supervisor.
const ISSUER: &str = "token-issuer";

/// The token issuer of a server. Cheap to clone; it outlives restarts of its actor.
///
/// Every asynchronous method sends the [`IssuerMessage`] of the same name.
///
/// ```
/// use tokenward::server::{ApplicationSpec, AuthorizationServer, KeyRotation, ServerSettings};
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
/// let issuer = server.issuer();
/// let registered = issuer.register(ApplicationSpec::new("reports")).await?;
/// assert_eq!(issuer.applications().len(), 1);
///
/// // A signing key was seen by somebody: another one signs at once, and old tokens are refused.
/// issuer.rotate_signing_key(KeyRotation::Compromised).await?;
/// issuer.remove(registered.application.id()).await?;
/// assert!(issuer.applications().is_empty());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct TokenIssuer {
    actor: Handle<IssuerMessage>,
    board: Arc<Board>,
}

impl TokenIssuer {
    /// Starts the actor as a permanent child of `under`, and waits until there are keys. When nobody waits
    /// for that any more, the actor is stopped again.
    pub(crate) async fn start(
        policy: KeyPolicy,
        trusted: Vec<VerificationKey>,
        vault: VaultHandle,
        timekeeper: Timekeeper,
        under: &Supervisor,
        sources: Sources,
    ) -> Result<Self, Error> {
        let under = under.clone();
        let (tell, told) = oneshot::channel();
        tokio::spawn(async move {
            let started = Self::begin(policy, trusted, vault, timekeeper, &under, sources).await;
            // What nobody takes is dropped, and undoes itself.
            let runtime = tokio::runtime::Handle::current();
            let _ =
                tell.send(started.map(|issuer| Started { issuer: Some(issuer), under, runtime }));
        });
        told.await.unwrap_or_else(|_| Err(died()))?.take()
    }

    async fn begin(
        policy: KeyPolicy,
        trusted: Vec<VerificationKey>,
        vault: VaultHandle,
        timekeeper: Timekeeper,
        under: &Supervisor,
        sources: Sources,
    ) -> Result<Self, Error> {
        let trusts_others = !trusted.is_empty();
        let board = Arc::new(Board::new(trusted));
        let arguments = IssuerArguments {
            policy,
            keeper: Keeper { vault, trusts_others },
            board: Arc::clone(&board),
            timekeeper,
            sources,
        };
        let spec = ChildSpec::new(ISSUER, move |spawning| {
            let (arguments, supervisor) = (arguments.clone(), spawning.supervisor);
            Box::pin(IssuerActor::spawn_linked(None, IssuerActor, arguments, supervisor))
        });
        let issuer = Self { actor: under.start_child(spec).await?, board };
        let ready = issuer.actor.ask_again(|reply| IssuerMessage::Ready { reply }).await;
        match ready.map_err(Error::from).and_then(|ready| ready) {
            Ok(()) => Ok(issuer),
            // Nothing is left of it, so that the start can be tried again.
            Err(error) => {
                under.stop_child(ISSUER).await;
                Err(error)
            }
        }
    }

    /// Removes everything that a server has in the vault.
    pub(crate) async fn erase(vault: VaultHandle) -> Result<usize, Error> {
        Keeper { vault, trusts_others: false }.erase().await
    }

    /// Registers an application. Its secret is shown this once.
    ///
    /// # Errors
    ///
    /// [`Error::is_invalid_input`] when it can not be as it is to be, or its id is taken;
    /// [`Error::is_vault_unreadable`] when it is taken by one whose record is damaged, which can be
    /// [removed](Self::remove).
    pub async fn register(&self, spec: ApplicationSpec) -> Result<Registered, Error> {
        let spec = Box::new(spec);
        self.actor.ask(|reply| IssuerMessage::Register { spec, reply }).await?
    }

    /// Changes an application. It is in force when this returns, also for tokens that were issued
    /// before.
    ///
    /// # Errors
    ///
    /// [`Error::is_not_found`] when there is no such application, [`Error::is_invalid_input`] when
    /// it can not be as it is to be, [`Error::is_vault_unreadable`] when its record is damaged.
    pub async fn change(&self, id: &ApplicationId, change: ApplicationChange) -> Result<(), Error> {
        let ask = |reply| IssuerMessage::Change {
            id: id.clone(),
            change: Box::new(change.clone()),
            reply,
        };
        self.actor.ask_again(ask).await?
    }

    /// Gives an application another secret, which is shown this once. The newest of its former ones
    /// is good for `overlap` longer, at most 30 days; zero ends it at once. While nobody has used the
    /// newest, and somebody uses the one before it, or when nobody got the newest, it is that one that stays,
    /// to the end that it has: so an exchange whose answer was lost can be done again.
    ///
    /// # Errors
    ///
    /// As [`TokenIssuer::change`].
    pub async fn rotate_secret(
        &self,
        id: &ApplicationId,
        overlap: Duration,
    ) -> Result<Secret, Error> {
        let id = id.clone();
        let ask = |reply| IssuerMessage::RotateSecret { id, overlap, reply };
        self.actor.ask(ask).await?.map(FreshSecret::take)
    }

    /// Gives an application this secret, such as one from a configuration: 16 to 200 characters of
    /// ASCII that are printed. Otherwise as [`TokenIssuer::rotate_secret`]. Nothing changes when it is
    /// its newest one already.
    ///
    /// # Errors
    ///
    /// As [`TokenIssuer::change`].
    pub async fn set_secret(
        &self,
        id: &ApplicationId,
        secret: Secret,
        overlap: Duration,
    ) -> Result<(), Error> {
        let ask = |reply| {
            let (id, secret) = (id.clone(), secret.clone());
            IssuerMessage::SetSecret { id, secret, overlap, reply }
        };
        self.actor.ask_again(ask).await?
    }

    /// Removes an application, also one whose record is damaged. Its tokens are not good any more.
    ///
    /// # Errors
    ///
    /// [`Error::is_not_found`] when there is no such application.
    pub async fn remove(&self, id: &ApplicationId) -> Result<(), Error> {
        let id = id.clone();
        self.actor.ask(|reply| IssuerMessage::Remove { id, reply }).await?
    }

    /// Gives the server another signing key.
    ///
    /// # Errors
    ///
    /// When the vault can not be written for now.
    pub async fn rotate_signing_key(&self, how: KeyRotation) -> Result<(), Error> {
        self.actor.ask(|reply| IssuerMessage::RotateSigningKey { how, reply }).await?
    }

    /// The application, as it is now: a look-up in memory.
    pub fn application(&self, id: &ApplicationId) -> Option<Application> {
        let published = self.board.read().ok()?;
        published.application(id.as_str()).map(|found| self.as_used(found))
    }

    /// All applications, in the order of their ids.
    pub fn applications(&self) -> Vec<Application> {
        let Ok(published) = self.board.read() else { return Vec::new() };
        let mut all: Vec<_> = published.applications().map(|found| self.as_used(found)).collect();
        all.sort_by(|one, two| one.id().cmp(two.id()));
        all
    }

    /// The same issuer as messages.
    pub fn messages(&self) -> &Handle<IssuerMessage> {
        &self.actor
    }

    /// Notes that the secret with this hash authenticated an application, which is as it was published.
    /// Nobody waits for it to be written.
    pub(crate) fn note_use(&self, application: &Application, hash: &[u8; 32], now: Moment) {
        let Some(secret) = application.secrets.iter().find(|it| it.hash == *hash) else { return };
        if self.board.uses.note(application.id(), secret, now) {
            self.actor.post(News::SecretsUsed.into());
        }
    }

    /// An application, with the last uses of its secrets.
    fn as_used(&self, published: &Application) -> Application {
        let mut application = published.clone();
        for secret in &mut application.secrets {
            secret.used = self.board.uses.last(secret);
        }
        application
    }

    /// The tokens that are denied.
    pub(crate) fn denials(&self) -> &Denials {
        &self.board.denials
    }

    /// The keys and the applications as they are now.
    pub(crate) fn published(&self) -> Result<Arc<Published>, Error> {
        self.board.read()
    }
}

/// An issuer on its way to who asked for it.
struct Started {
    issuer: Option<TokenIssuer>,
    under: Supervisor,
    /// Whoever drops it need not be within the runtime any more.
    runtime: tokio::runtime::Handle,
}

impl Started {
    fn take(mut self) -> Result<TokenIssuer, Error> {
        self.issuer.take().ok_or_else(died)
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if self.issuer.take().is_some() {
            let under = self.under.clone();
            self.runtime.spawn(async move { under.stop_child(ISSUER).await });
        }
    }
}

impl fmt::Debug for TokenIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TokenIssuer").field(&self.actor).finish()
    }
}
