//! Pending sign-ins as the rest of the crate sees them: how one begins, and how any front end
//! finds it and completes it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ractor::Actor as _;
use tokio::sync::watch;

use super::actor::{GrantSink, LoginActor, LoginArguments};
use super::device::{DeviceActor, DeviceArguments, DeviceLogin, DeviceProgress};
use super::flow::{EXPIRES_AFTER, Terms};
use super::handle::{Face, Login};
use crate::clock::Sources;
use crate::error::{Error, ErrorKind};
use crate::identity::{CredentialId, Label, LoginId, Method, ProviderId, UserId};
use crate::oauth::redirect::Loopback;
use crate::oauth::{AuthorizationRequest, Pkce, Transport};
use crate::provider::{Provider, RedirectRules};
use crate::secret::Secret;
use crate::supervision::{ChildSpec, EventBus, Restart, Supervisor, Timekeeper};

/// How many sign-ins one user may have pending. Each may hold a port.
const MOST_PENDING: usize = 16;

/// How many requests one sign-in admits at a time.
const ADMISSION: usize = 64;

/// How a provider's answer is to come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Receiver {
    /// With the browser, to a listener on this machine. Pasting works as well, and is what is
    /// left when no listener can be had.
    #[default]
    Loopback,
    /// By paste, from the page on which the provider shows the code. Where it has no such page,
    /// from the address at which the browser ends.
    Paste,
}

/// What a sign-in is to be.
#[derive(Clone)]
pub struct LoginRequest {
    /// Who signs in.
    pub user: UserId,
    /// Where.
    pub provider: Arc<dyn Provider>,
    /// As which of several accounts.
    pub label: Label,
    /// Stores the grant.
    pub sink: GrantSink,
}

/// The pending sign-ins of a runtime. Cheap to clone.
#[derive(Clone)]
pub struct Logins(Arc<Shared>);

struct Shared {
    supervisor: Supervisor,
    transport: Transport,
    timekeeper: Timekeeper,
    sources: Sources,
    events: EventBus,
    /// Whose pages a browser sees at the end.
    application: Option<Arc<str>>,
    /// Held while one begins, so that those that begin at once are counted too.
    beginning: tokio::sync::Mutex<()>,
    pending: Mutex<Table>,
}

/// What is pending. Those that are over are removed when the next one begins.
#[derive(Default)]
struct Table {
    logins: BTreeMap<LoginId, Login>,
    devices: BTreeMap<LoginId, DeviceLogin>,
}

impl Logins {
    /// Starts the supervisor of all sign-ins beneath `under`. `application` is the program that
    /// users go back to, as the page says at which a browser ends.
    ///
    /// # Errors
    ///
    /// As [`Supervisor::start_supervisor`].
    pub async fn start(
        under: &Supervisor,
        transport: Transport,
        timekeeper: Timekeeper,
        sources: Sources,
        events: EventBus,
        application: Option<Arc<str>>,
    ) -> Result<Self, Error> {
        let supervisor = under.start_supervisor("logins").await?;
        Ok(Self(Arc::new(Shared {
            supervisor,
            transport,
            timekeeper,
            sources,
            events,
            application,
            beginning: tokio::sync::Mutex::default(),
            pending: Mutex::default(),
        })))
    }

    /// Begins a sign-in by authorization code, whose answer is to come back to `receiver`. It is
    /// over after ten minutes.
    ///
    /// # Errors
    ///
    /// When the provider has no such sign-in or is not configured for it
    /// ([`Error::is_configuration`]), when the user has too many pending
    /// ([`Error::is_overloaded`]), and when there is neither a port to listen on nor another
    /// address at which the browser could end.
    pub async fn begin(&self, request: LoginRequest, receiver: Receiver) -> Result<Login, Error> {
        let LoginRequest { user, provider, label, sink } = request;
        // Beforehand, since a lock is not held while the provider is asked.
        provider.prepare(&self.0.transport).await?;
        let _beginning = self.0.beginning.lock().await;
        self.admit(&user)?;
        let (method, name) = (Method::AuthorizationCode, provider.id().clone());
        let rules = provider.redirect().ok_or_else(|| no_browser_sign_in(&name))?;
        let credential = CredentialId { user, provider: name, method, label };
        let (redirect_uri, loopback, no_listener) = redirect(rules, receiver).await?;
        let Shared { supervisor, transport, timekeeper, sources, events, .. } = &*self.0;
        let loopback = loopback.map(|it| it.application(self.0.application.clone()));
        let pkce = Pkce::generate(&*sources.entropy)?;
        let state = Secret::from(sources.entropy.token()?);
        let url = provider.authorization_url(&AuthorizationRequest {
            redirect_uri: &redirect_uri,
            code_challenge: &pkce.challenge,
            state: &state,
        })?;
        let id = LoginId::random(&*sources.entropy)?;
        let issuer = provider.issuer().map(str::to_owned);
        let expires_at = sources.now().after(EXPIRES_AFTER);
        let (sender, outcome) = watch::channel(None);
        let arguments = Arc::new(Mutex::new(Some(LoginArguments {
            id: id.clone(),
            credential: credential.clone(),
            provider,
            transport: transport.clone(),
            sink,
            terms: Terms { state, redirect_uri, issuer, expires_at },
            verifier: pkce.verifier,
            loopback,
            outcome: sender,
            timekeeper: timekeeper.clone(),
            sources: sources.clone(),
            events: events.clone(),
        })));
        let spec = ChildSpec::new(name_of(&id), move |spawning| {
            let (arguments, supervisor) = (Arc::clone(&arguments), spawning.supervisor);
            Box::pin(LoginActor::spawn_linked(None, LoginActor, arguments, supervisor))
        });
        let spec = spec.restart(Restart::Temporary).admission(ADMISSION);
        let messages = supervisor.start_child(spec).await?;
        let expires_at = expires_at.wall;
        let face =
            Face { id: id.clone(), credential, url, expires_at, no_listener, messages, outcome };
        let login = Login::new(face);
        self.table().logins.insert(id, login.clone());
        Ok(login)
    }

    /// Begins a sign-in on another device (RFC 8628): asks the provider for a code, and returns
    /// when there is one to show. It is over when the code is.
    ///
    /// # Errors
    ///
    /// When the provider has no such sign-in or is not configured for it
    /// ([`Error::is_configuration`]), can not be reached, or the user has too many pending
    /// ([`Error::is_overloaded`]).
    pub async fn begin_device(&self, request: LoginRequest) -> Result<DeviceLogin, Error> {
        // A look beforehand, since a lock is not held while the provider is asked.
        self.admit(&request.user)?;
        let LoginRequest { user, provider, label, sink } = request;
        let (method, name) = (Method::DeviceCode, provider.id().clone());
        let credential = CredentialId { user, provider: name, method, label };
        let Shared { supervisor, transport, timekeeper, sources, events, .. } = &*self.0;
        let authorization = provider.authorize_device(transport).await?;
        let id = LoginId::random(&*sources.entropy)?;
        let (sender, outcome) = watch::channel(None);
        let (progress, seen) = watch::channel(DeviceProgress::beginning(&authorization));
        let shown = authorization.clone();
        let arguments = Arc::new(Mutex::new(Some(DeviceArguments {
            id: id.clone(),
            credential: credential.clone(),
            provider,
            transport: transport.clone(),
            sink,
            authorization,
            progress,
            outcome: sender,
            timekeeper: timekeeper.clone(),
            sources: sources.clone(),
            events: events.clone(),
        })));
        let spec = ChildSpec::new(name_of(&id), move |spawning| {
            let (arguments, supervisor) = (Arc::clone(&arguments), spawning.supervisor);
            Box::pin(DeviceActor::spawn_linked(None, DeviceActor, arguments, supervisor))
        });
        let spec = spec.restart(Restart::Temporary).admission(ADMISSION);
        let _beginning = self.0.beginning.lock().await;
        self.admit(&credential.user)?;
        let messages = supervisor.start_child(spec).await?;
        let login = DeviceLogin::new(id.clone(), credential, &shown, messages, seen, outcome);
        self.table().devices.insert(id, login.clone());
        Ok(login)
    }

    /// The pending sign-in of this user with this id, for a front end that did not begin it.
    pub fn find(&self, user: &UserId, id: &LoginId) -> Option<Login> {
        let found = self.table().logins.get(id).cloned();
        found.filter(|login| login.credential().user == *user && !login.is_over())
    }

    /// As [`Logins::find`], for a sign-in on another device.
    pub fn find_device(&self, user: &UserId, id: &LoginId) -> Option<DeviceLogin> {
        let found = self.table().devices.get(id).cloned();
        found.filter(|login| login.credential().user == *user && !login.is_over())
    }

    /// The pending sign-ins of a user.
    pub fn pending(&self, user: &UserId) -> Vec<Login> {
        let pending = |login: &&Login| login.credential().user == *user && !login.is_over();
        self.table().logins.values().filter(pending).cloned().collect()
    }

    /// The pending sign-ins of a user on other devices.
    pub fn pending_devices(&self, user: &UserId) -> Vec<DeviceLogin> {
        let pending = |login: &&DeviceLogin| login.credential().user == *user && !login.is_over();
        self.table().devices.values().filter(pending).cloned().collect()
    }

    /// Checks that the user may begin another one.
    fn admit(&self, user: &UserId) -> Result<(), Error> {
        if self.pending(user).len() + self.pending_devices(user).len() >= MOST_PENDING {
            return Err(too_many());
        }
        let mut table = self.table();
        table.logins.retain(|_, login| !login.is_over());
        table.devices.retain(|_, login| !login.is_over());
        Ok(())
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Nothing between two changes of the maps can panic, so poisoned ones are whole.
        self.0.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Logins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = self.table();
        f.debug_struct("Logins")
            .field("known", &(table.logins.len() + table.devices.len()))
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for LoginRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoginRequest")
            .field("user", &self.user)
            .field("provider", self.provider.id())
            .field("label", &self.label)
            .finish_non_exhaustive()
    }
}

/// The redirect URI, the listener at it, and why there is none where one was wanted.
async fn redirect(
    rules: &RedirectRules,
    receiver: Receiver,
) -> Result<(String, Option<Loopback>, Option<Error>), Error> {
    if let (Receiver::Paste, Some(page)) = (receiver, &rules.manual) {
        return Ok((page.clone(), None, None));
    }
    let error = match Loopback::bind(&rules.host, &rules.path, &rules.ports).await {
        Ok(loopback) => return Ok((loopback.redirect_uri(), Some(loopback), None)),
        Err(error) => Error::from(error),
    };
    tracing::warn!(%error, "no loopback listener");
    // Without a listener the browser ends at an address that answers nothing, and shows it.
    let first_port =
        rules.ports.first().map(|port| format!("http://{}:{port}{}", rules.host, rules.path));
    match rules.manual.clone().or(first_port) {
        Some(redirect_uri) => Ok((redirect_uri, None, Some(error))),
        None => Err(error),
    }
}

/// The actor's name in the tree: enough of the id to tell sign-ins apart.
fn name_of(id: &LoginId) -> String {
    format!("login-{}", id.as_str().get(..8).unwrap_or_default())
}

fn no_browser_sign_in(provider: &ProviderId) -> Error {
    let text = format!("{provider} has no sign-in by browser, use another method");
    Error::new(ErrorKind::Configuration, text)
}

fn too_many() -> Error {
    Error::new(
        ErrorKind::Overloaded,
        format!("{MOST_PENDING} sign-ins are pending, complete or cancel one first"),
    )
}
