//! Pending sign-ins as the rest of the crate sees them: how one begins, and how any front end
//! finds it and completes it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ractor::Message;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use super::actor::{Kind, child};
use super::browser::{BrowserLogin, EXPIRES_AFTER, Face, Login, Opening, Terms};
use super::course::Course;
use super::desk::{GrantSink, Materials, Means};
use super::device::{DeviceLogin, DeviceOpening, DeviceProgress, OnDevice};
use super::outcome::Outcome;
use crate::clock::Sources;
use crate::error::{Error, ErrorKind};
use crate::identity::{CredentialId, Label, LoginId, Method, ProviderId, UserId};
use crate::oauth::redirect::Loopback;
use crate::oauth::{AuthorizationRequest, Pkce, Transport};
use crate::provider::{Provider, RedirectRules, in_time};
use crate::secret::Secret;
use crate::supervision::{EventBus, Handle, Supervisor, Timekeeper};
use crate::vault::audit::{AuditEntry, AuditKind, AuditSink};

/// How many sign-ins one user may have pending. Each may hold a port.
const MOST_PENDING: usize = 16;

/// How a provider's answer is to come back.
///
/// [`Logins::begin`] takes it. [`SignIn::in_browser`](crate::SignIn::in_browser) and
/// [`SignIn::by_paste`](crate::SignIn::by_paste) choose it.
///
/// ```
/// use tokenward::login::{LoginRequest, Receiver};
/// # use std::sync::Arc;
/// # use tokenward::login::GrantSink;
/// # use tokenward::{Generation, Label, UserId};
///
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let openai = SimulatedProvider::openai().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(openai.spec()).start().await?;
/// # let (user, provider) = (UserId::new("ada")?, runtime.providers().remove(0));
/// # let sink: GrantSink = Arc::new(|_| Box::pin(async { Ok(Generation::default()) }));
/// # let request = LoginRequest::new(user, provider, Label::default(), sink);
/// // For a user whose browser runs on another machine.
/// let login = runtime.logins().begin(request, Receiver::Paste).await?;
/// println!("open {}, and paste what it ends with", login.url());
/// # Ok(())
/// # }
/// ```
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
///
/// [`Logins::begin`] takes it; [`SignIn`](crate::SignIn) makes one for a user.
///
/// ```
/// use std::sync::Arc;
/// use tokenward::credential::SignInWith;
/// use tokenward::login::{GrantSink, LoginRequest, Receiver};
/// use tokenward::{Label, Method};
///
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let openai = SimulatedProvider::openai().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(openai.spec()).start().await?;
/// # let ada = runtime.user("ada");
/// let label = Label::new("work")?;
/// let credential = ada.credential("openai", Method::AuthorizationCode, &label).await?;
/// let sink: GrantSink = Arc::new(move |grant| {
///     let credential = credential.clone();
///     Box::pin(async move { credential.sign_in(SignInWith::Grant(grant)).await })
/// });
/// let provider = runtime.providers().remove(0);
/// let request = LoginRequest::new(ada.id()?.clone(), provider, label, sink);
/// let login = runtime.logins().begin(request, Receiver::Loopback).await?;
/// # login.paste(&openai.approve(login.url())?).await?;
/// assert_eq!(login.finished().await?.to_string(), "ada/openai/authorization-code/work");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[non_exhaustive]
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

impl LoginRequest {
    /// A sign-in of `user` at `provider`, as the account of `label`, whose grant `sink` stores.
    pub fn new(user: UserId, provider: Arc<dyn Provider>, label: Label, sink: GrantSink) -> Self {
        Self { user, provider, label, sink }
    }
}

/// The pending sign-ins of a runtime. Cheap to clone.
///
/// ```
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let openai = SimulatedProvider::openai().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(openai.spec()).start().await?;
/// # let ada = runtime.user("ada");
/// let login = ada.sign_in("openai").by_paste().await?;
/// // Another front end of the same host completes it.
/// let pending = runtime.logins().pending(ada.id()?);
/// let found = pending.first().expect("it is pending");
/// found.paste(&openai.approve_for_paste(found.url())?).await?;
/// login.finished().await?;
/// assert!(runtime.logins().pending(ada.id()?).is_empty());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Logins(Arc<Shared>);

struct Shared {
    supervisor: Supervisor,
    means: Means,
    /// Whose pages a browser sees at the end.
    application: Option<Arc<str>>,
    /// Held while one begins, so that those that begin at once are counted too.
    beginning: tokio::sync::Mutex<()>,
    /// What is pending. Those that are over are removed when the next one begins.
    pending: Mutex<BTreeMap<LoginId, Front>>,
}

/// A pending sign-in of any kind, as its front ends see it.
#[derive(Clone)]
enum Front {
    Browser(Login),
    Device(DeviceLogin),
}

/// A sign-in that runs.
struct Started<M: Message> {
    id: LoginId,
    messages: Handle<M>,
    outcome: watch::Receiver<Outcome>,
}

impl Logins {
    /// Starts the supervisor of all sign-ins beneath `under`. `application` is the program that
    /// users go back to, as the page says at which a browser ends; `audit` takes what is recorded of
    /// sign-ins that come to nothing.
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
        audit: AuditSink,
    ) -> Result<Self, Error> {
        let supervisor = under.start_supervisor("logins").await?;
        Ok(Self(Arc::new(Shared {
            supervisor,
            means: Means {
                transport,
                timekeeper,
                sources,
                events,
                audit,
                tasks: TaskTracker::new(),
            },
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
        let course = course(&request, Method::AuthorizationCode);
        course.around(self.begin_in(request, receiver, course.clone())).await
    }

    async fn begin_in(
        &self,
        request: LoginRequest,
        receiver: Receiver,
        course: Course,
    ) -> Result<Login, Error> {
        let LoginRequest { user, provider, label, sink } = request;
        let Means { transport, sources, .. } = &self.0.means;
        // Beforehand, since a lock is not held while the provider is asked.
        in_time(transport, provider.prepare(transport)).await?;
        let _beginning = self.0.beginning.lock().await;
        self.admit(&user)?;
        let (method, name) = (Method::AuthorizationCode, provider.id().clone());
        let rules = provider.redirect().ok_or_else(|| no_browser_sign_in(&name))?;
        let credential = CredentialId { user, provider: name, method, label };
        let (redirect_uri, loopback, no_listener) = redirect(rules, receiver).await?;
        let loopback = loopback.map(|it| it.application(self.0.application.clone()));
        let pkce = Pkce::generate(&*sources.entropy)?;
        let state = Secret::from(sources.entropy.token()?);
        let url = provider.authorization_url(&AuthorizationRequest {
            redirect_uri: &redirect_uri,
            code_challenge: &pkce.challenge,
            state: &state,
        })?;
        let issuer = provider.issuer().map(str::to_owned);
        let expires_at = sources.now().after(EXPIRES_AFTER);
        // What the provider was not told can bind nothing, whatever it is configured to do.
        let has_challenge = url.contains(&pkce.challenge);
        let terms = Terms { state, redirect_uri, pkce: has_challenge, issuer, expires_at };
        let opening = Opening { terms, verifier: pkce.verifier, loopback };
        let started =
            self.run::<BrowserLogin>(&credential, provider, sink, opening, course).await?;
        let Started { id, messages, outcome } = started;
        let expires_at = expires_at.wall;
        let face =
            Face { id: id.clone(), credential, url, expires_at, no_listener, messages, outcome };
        let login = Login::new(face);
        self.pending_of_all().insert(id, Front::Browser(login.clone()));
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
        let course = course(&request, Method::DeviceCode);
        course.around(self.begin_device_in(request, course.clone())).await
    }

    async fn begin_device_in(
        &self,
        request: LoginRequest,
        course: Course,
    ) -> Result<DeviceLogin, Error> {
        // A look beforehand, since a lock is not held while the provider is asked.
        self.admit(&request.user)?;
        let LoginRequest { user, provider, label, sink } = request;
        let (method, name) = (Method::DeviceCode, provider.id().clone());
        let credential = CredentialId { user, provider: name, method, label };
        let transport = &self.0.means.transport;
        let authorization = in_time(transport, provider.authorize_device(transport)).await?;
        let (progress, seen) = watch::channel(DeviceProgress::beginning(&authorization));
        let shown = authorization.clone();
        let _beginning = self.0.beginning.lock().await;
        self.admit(&credential.user)?;
        let opening = DeviceOpening { authorization, progress };
        let started = self.run::<OnDevice>(&credential, provider, sink, opening, course).await?;
        let Started { id, messages, outcome } = started;
        let login = DeviceLogin::new(id.clone(), credential, &shown, messages, seen, outcome);
        self.pending_of_all().insert(id, Front::Device(login.clone()));
        Ok(login)
    }

    /// The pending sign-in of this user with this id, for a front end that did not begin it.
    pub fn find(&self, user: &UserId, id: &LoginId) -> Option<Login> {
        self.note_if_denied(user, id);
        self.pending(user).into_iter().find(|login| login.id() == id)
    }

    /// As [`Logins::find`], for a sign-in on another device.
    pub fn find_device(&self, user: &UserId, id: &LoginId) -> Option<DeviceLogin> {
        self.note_if_denied(user, id);
        self.pending_devices(user).into_iter().find(|login| login.id() == id)
    }

    /// The pending sign-ins of a user.
    pub fn pending(&self, user: &UserId) -> Vec<Login> {
        let browser = |front| match front {
            Front::Browser(login) => Some(login),
            Front::Device(_) => None,
        };
        self.pending_of(user).into_iter().filter_map(browser).collect()
    }

    /// The pending sign-ins of a user on other devices.
    pub fn pending_devices(&self, user: &UserId) -> Vec<DeviceLogin> {
        let device = |front| match front {
            Front::Device(login) => Some(login),
            Front::Browser(_) => None,
        };
        self.pending_of(user).into_iter().filter_map(device).collect()
    }

    /// How many requests wait for the answer of a sign-in's actor.
    pub(crate) fn waiting(&self) -> usize {
        self.pending_of_all().values().map(Front::waiting).sum()
    }

    /// Resolves once no request of a sign-in is under way any more, be it that the sign-in is over:
    /// what was granted is stored, or given back. For when all of them have ended.
    pub(crate) async fn settled(&self) {
        let tasks = &self.0.means.tasks;
        tasks.close();
        tasks.wait().await;
    }

    /// Records that `user` asks for a sign-in of somebody else.
    fn note_if_denied(&self, user: &UserId, id: &LoginId) {
        let credential = match self.pending_of_all().get(id) {
            Some(Front::Browser(login)) => login.credential().clone(),
            Some(Front::Device(login)) => login.credential().clone(),
            None => return,
        };
        if credential.user != *user {
            let entry = AuditEntry::new(AuditKind::AccessDenied).user(user).origin("logins");
            let entry = entry.provider(&credential.provider).method(credential.method);
            (self.0.means.audit)(entry.because("the sign-in belongs to another user"));
        }
    }

    /// Starts the actor of a sign-in of kind `K`.
    async fn run<K: Kind>(
        &self,
        credential: &CredentialId,
        provider: Arc<dyn Provider>,
        sink: GrantSink,
        terms: K::Terms,
        course: Course,
    ) -> Result<Started<K::Message>, Error> {
        let means = self.0.means.clone();
        let id = LoginId::random(&*means.sources.entropy)?;
        let (sender, outcome) = watch::channel(None);
        let materials = Materials {
            id: id.clone(),
            credential: credential.clone(),
            provider,
            sink,
            outcome: sender,
            means,
            course,
        };
        let spec = child::<K>(name_of(&id), materials, terms);
        let messages = self.0.supervisor.start_child(spec).await?;
        Ok(Started { id, messages, outcome })
    }

    /// Checks that the user may begin another one.
    fn admit(&self, user: &UserId) -> Result<(), Error> {
        self.pending_of_all().retain(|_, front| !front.is_over());
        if self.pending_of(user).len() >= MOST_PENDING { Err(too_many()) } else { Ok(()) }
    }

    fn pending_of(&self, user: &UserId) -> Vec<Front> {
        let all = self.pending_of_all();
        let pending = all.values().filter(|it| it.credential().user == *user && !it.is_over());
        pending.cloned().collect()
    }

    fn pending_of_all(&self) -> MutexGuard<'_, BTreeMap<LoginId, Front>> {
        // Nothing between two changes of the map can panic, so a poisoned one is whole.
        self.0.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Front {
    fn credential(&self) -> &CredentialId {
        match self {
            Self::Browser(login) => login.credential(),
            Self::Device(login) => login.credential(),
        }
    }

    fn waiting(&self) -> usize {
        match self {
            Self::Browser(login) => login.messages().waiting(),
            Self::Device(login) => login.messages().waiting(),
        }
    }

    fn is_over(&self) -> bool {
        match self {
            Self::Browser(login) => login.is_over(),
            Self::Device(login) => login.is_over(),
        }
    }
}

impl fmt::Debug for Logins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.pending_of_all().len();
        f.debug_struct("Logins").field("known", &known).finish_non_exhaustive()
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
    // Without a listener of ours the browser ends at an address that answers nothing, or something
    // else, and shows it: the user pastes that.
    let first_port =
        rules.ports.first().map(|port| format!("http://{}:{port}{}", rules.host, rules.path));
    match rules.manual.clone().or(first_port) {
        Some(redirect_uri) => Ok((redirect_uri, None, Some(error))),
        None => Err(error),
    }
}

/// The span of a sign-in that begins.
fn course(request: &LoginRequest, method: Method) -> Course {
    let LoginRequest { user, provider, label, .. } = request;
    let (user, provider, label) = (user.clone(), provider.id().clone(), label.clone());
    Course::begin(&CredentialId { user, provider, method, label })
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
