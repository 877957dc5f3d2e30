//! One session of one user: which provider is active, and requests that go to it.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::{ArcSwapOption, Guard};
use http::{HeaderMap, StatusCode};
use url::Url;

use super::{Runtime, Upstream, User};
use crate::clock::Sources;
use crate::credential::{CredentialHandle, Fallback, Snapshot};
use crate::error::{Error, ErrorKind};
use crate::event::CredentialState;
use crate::identity::{CredentialId, Generation, Label, Method, ProviderId, SessionId, UserId};
use crate::oauth::Clients;
use crate::provider::Provider;
use crate::session::{ProviderContext, SessionHandle, SessionView};

/// One session of one user. Cheap to clone; it outlives restarts of the session manager, and of
/// the process: [`User::session`] finds it again by its id.
///
/// ```
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let anthropic = SimulatedProvider::anthropic().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(anthropic.spec()).start().await?;
/// # let ada = runtime.user("ada");
/// # ada.sign_in("anthropic").with_api_key(anthropic.issue_api_key()).await?;
/// let session = ada.open_session().await?;
/// session.use_provider("anthropic").await?;
/// let reply = session.client().get("/v1/models").send().await?;
/// assert_eq!(reply.status(), 200);
///
/// // Later, perhaps in another process, by its id.
/// let again = ada.session(&session.id()).await?;
/// let active = again.active()?.expect("still the same provider");
/// assert_eq!(active.provider.as_str(), "anthropic");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Session(Arc<Inside>);

struct Inside {
    runtime: Runtime,
    user: UserId,
    handle: SessionHandle,
    /// What was found for the view that was read last, so that it is not looked up for each request.
    found: ArcSwapOption<Found>,
}

/// What the session's next request uses.
#[derive(Clone)]
pub(crate) struct Active {
    pub(crate) provider: Arc<dyn Provider>,
    pub(crate) credential: CredentialHandle,
}

/// What is active by one view of a session. It stays so for as long as the runtime runs.
struct Found {
    by: Arc<SessionView>,
    active: Active,
}

/// What one request is authenticated with.
pub(crate) struct Admitted {
    pub(crate) credential: CredentialHandle,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) fallback: Option<Fallback>,
}

impl Admitted {
    /// What was admitted a while ago as it is now; none when it has to be admitted again.
    pub(crate) fn still(self) -> Option<Self> {
        let Self { credential, snapshot, fallback } = self;
        let snapshot = credential.still(snapshot)?;
        Some(Self { credential, snapshot, fallback })
    }

    /// Reports that it was refused in a request that was sent once more with it. A sign-in is not renewed
    /// for that; an API key that stands in is out of use, as any key that is refused.
    pub(crate) async fn refused_again(&self) {
        let generation = self.snapshot.generation();
        // What became of it is in the credential's snapshot.
        let _ = match &self.fallback {
            Some(_) => self.credential.rejected(generation).await,
            None => self.credential.refused_again(generation).await,
        };
    }
}

/// What authenticates one request of a host with an HTTP client of its own.
///
/// Send it to an address that [`Authentication::url`] made, and follow no redirect to another origin with it. When the answer
/// [is a refusal](Authentication::is_refusal), send the request once more with what
/// [`Authentication::after_refusal`] gives, and take the answer to that as it is.
///
/// See [`Session::authentication`] for a request that is sent with it.
///
/// ```
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let anthropic = SimulatedProvider::anthropic().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(anthropic.spec()).start().await?;
/// # let ada = runtime.user("ada");
/// # ada.sign_in("anthropic").with_api_key(anthropic.issue_api_key()).await?;
/// # let session = ada.open_session().await?;
/// # session.use_provider("anthropic").await?;
/// let authentication = session.authentication().await?;
/// assert!(authentication.headers["x-api-key"].is_sensitive());
/// assert!(authentication.url("/v1/models")?.as_str().starts_with(anthropic.base_url().as_str()));
///
/// // Not to another place, whoever asks for it.
/// assert!(authentication.url("https://elsewhere.example/").is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Authentication {
    /// Where the provider's requests go.
    pub base_url: Url,
    /// The headers, in the order in which they are sent. They hold the secret, and the values that
    /// do are marked sensitive.
    pub headers: HeaderMap,
    /// The credential, for what its answer says about it.
    pub credential: CredentialHandle,
    /// The generation of the token in the headers.
    pub generation: Generation,
    /// Set when the credential is not the session's own but the user's API key, which
    /// [the user allowed](User::allow_fallback) to be spent.
    pub fallback: Option<Fallback>,
    with: With,
}

/// What an [`Authentication`] was made of.
#[derive(Clone)]
struct With {
    session: Session,
    provider: Arc<dyn Provider>,
    snapshot: Arc<Snapshot>,
}

impl Authentication {
    fn new(
        session: &Session,
        provider: Arc<dyn Provider>,
        admitted: Admitted,
    ) -> Result<Self, Error> {
        let Admitted { credential, snapshot, fallback } = admitted;
        let headers = snapshot.usable_headers(session.sources())?.clone();
        let (base_url, generation) = (provider.base_url().clone(), snapshot.generation());
        let with = With { session: session.clone(), provider, snapshot };
        Ok(Self { base_url, headers, credential, generation, fallback, with })
    }

    /// The address of `path` at the provider, as [`Session::client`] makes it: a path that begins
    /// with a slash is put after the base URL, a whole URL is taken when it is of the same origin.
    ///
    /// # Errors
    ///
    /// When it is no address, or one that the credential must not be sent to.
    pub fn url(&self, path: &str) -> Result<Url, Error> {
        crate::http::target(self.with.provider.as_ref(), path)
    }

    /// Whether an answer of this status says that the credential was refused. Some providers say so
    /// in the body of another status than 401; where that was not read, give an empty one.
    pub fn is_refusal(&self, status: StatusCode, body: &[u8]) -> bool {
        self.with.provider.refuses_credential(status, body)
    }

    /// Whether an answer of this status may say in its body that the credential was refused.
    pub fn wants_body(&self, status: StatusCode) -> bool {
        self.with.provider.body_may_refuse(status)
    }

    /// Reports that the provider refused this generation, which renews the token, once for all who
    /// report it: what to send the request once more with, the API key that may stand in included.
    /// None when there is nothing else, so that the refusal is the answer. Why, is in the
    /// credential's [snapshot](CredentialHandle::snapshot).
    ///
    /// When the request that was sent once more is refused as well, there is no third one: say
    /// [`refused_again`](Self::refused_again) of what it was sent with.
    pub async fn after_refusal(&self) -> Option<Self> {
        let With { session, provider, .. } = &self.with;
        let next = session.in_place_of(self.admitted()).await?;
        Self::new(session, provider.clone(), next).ok()
    }

    /// Reports that the provider refused the request that was sent once more with this, too. Nothing is
    /// renewed and nothing sent for it, but [`Session::explain`] tells a second refusal that was reported,
    /// and of another one it does not know.
    ///
    /// ```
    /// # use tokenward::testing::{Endpoint, Fault, SimulatedProvider};
    /// # use tokenward::{Runtime, Vault};
    /// use tokenward::runtime::Why;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let orange = SimulatedProvider::orange().start().await?;
    /// # let builder = Runtime::builder().vault(Vault::in_memory());
    /// # let runtime = builder.provider(orange.spec()).start().await?;
    /// # let ada = runtime.user("ada");
    /// # ada.sign_in("orange").with_client_credentials().await?;
    /// # let session = ada.open_session().await?;
    /// # session.use_provider("orange").await?;
    /// let authentication = session.authentication().await?;
    /// // … which was refused, and so was what came in its place:
    /// let renewed = authentication.after_refusal().await.ok_or("there is nothing else")?;
    /// renewed.refused_again().await;
    /// let choice = session.explain().await?;
    /// assert_eq!(choice.candidates[0].why, Why::OwnRefusedTwice);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn refused_again(&self) {
        self.admitted().refused_again().await;
    }

    fn admitted(&self) -> Admitted {
        let (credential, snapshot) = (self.credential.clone(), self.with.snapshot.clone());
        Admitted { credential, snapshot, fallback: self.fallback.clone() }
    }
}

impl fmt::Debug for With {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("With").field("session", &self.session.id()).finish_non_exhaustive()
    }
}

impl Session {
    pub(super) fn new(runtime: Runtime, user: UserId, handle: SessionHandle) -> Self {
        Self(Arc::new(Inside { runtime, user, handle, found: ArcSwapOption::empty() }))
    }

    /// Its id, by which [`User::session`] finds it again.
    pub fn id(&self) -> SessionId {
        self.0.handle.view().id().clone()
    }

    /// The session as it is now, without a message.
    pub fn view(&self) -> Arc<SessionView> {
        self.0.handle.view()
    }

    /// When it was used last.
    pub fn last_activity(&self) -> SystemTime {
        self.0.handle.last_activity()
    }

    /// Makes `provider` the active one, from the next request on: as this session used it last,
    /// else by [the credential that the user prefers](User::preferred_credential) there. Nothing
    /// is signed out.
    ///
    /// # Errors
    ///
    /// When the user is not signed in there, there is no such provider, or the session is gone.
    pub async fn use_provider(&self, provider: &str) -> Result<CredentialId, Error> {
        let id = self.credential_at(provider).await?;
        self.switch(&id).await?;
        Ok(id)
    }

    /// Makes one certain credential of the user the active one.
    ///
    /// # Errors
    ///
    /// As [`Session::use_provider`].
    pub async fn use_credential(
        &self,
        provider: &str,
        method: Method,
        label: &Label,
    ) -> Result<CredentialId, Error> {
        let credential = self.user().credential(provider, method, label).await?;
        if credential.inspect().await?.state() == CredentialState::Absent {
            return Err(Error::new(
                ErrorKind::ReauthorizationRequired,
                format!(
                    "{} is not signed in to {provider} by {method}, sign in first",
                    self.0.user
                ),
            ));
        }
        self.switch(credential.id()).await?;
        Ok(credential.id().clone())
    }

    /// The active provider, and how it is used; none before the first switch.
    ///
    /// # Errors
    ///
    /// When the session was closed or has expired.
    pub fn active(&self) -> Result<Option<ProviderContext>, Error> {
        Ok(self.0.handle.enter()?.active().cloned())
    }

    /// A usable token of the active provider; the snapshot has its headers. It is of another
    /// credential ([`Snapshot::id`]) when the session's own needs its user, and the user allowed
    /// that requests [go on with an API key](User::allow_fallback).
    ///
    /// # Errors
    ///
    /// As [`CredentialHandle::acquire`], and when the session is gone or has no active provider.
    pub async fn acquire(&self) -> Result<Arc<Snapshot>, Error> {
        let published = self.found(&*self.0.handle.pass()?, |active| active.credential.published());
        if let Some(snapshot) = published.flatten() {
            return Ok(snapshot);
        }
        let active = self.active_credential().await?;
        Ok(self.admit(active.credential).await?.snapshot)
    }

    /// What authenticates one request, for hosts with an HTTP client of their own.
    ///
    /// ```
    /// # async fn example(
    /// #     session: tokenward::Session,
    /// #     client: reqwest::Client,
    /// # ) -> Result<(), Box<dyn std::error::Error>> {
    /// let authentication = session.authentication().await?;
    /// let url = authentication.url("/v1/models")?;
    /// let mut reply = client.get(url.clone()).headers(authentication.headers.clone()).send().await?;
    /// if authentication.is_refusal(reply.status(), b"")
    ///     && let Some(renewed) = authentication.after_refusal().await
    /// {
    ///     reply = client.get(url).headers(renewed.headers).send().await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Session::acquire`].
    pub async fn authentication(&self) -> Result<Authentication, Error> {
        self.authenticated(self.active_credential().await?).await
    }

    /// As [`Session::authentication`], by a credential that need not be the active one.
    pub(crate) async fn authenticated(&self, by: Active) -> Result<Authentication, Error> {
        let Active { provider, credential } = by;
        let admitted = self.admit(credential).await?;
        Authentication::new(self, provider, admitted)
    }

    /// Counts as activity, without a request.
    ///
    /// # Errors
    ///
    /// When the session was closed or has expired.
    pub async fn touch(&self) -> Result<(), Error> {
        self.0.runtime.0.sessions.touch(&self.0.user, &self.id()).await
    }

    /// Ends the session. The user stays signed in.
    ///
    /// # Errors
    ///
    /// When it is gone already, or the vault can not be written.
    pub async fn close(&self) -> Result<(), Error> {
        self.0.runtime.0.sessions.close(&self.0.user, &self.id()).await
    }

    /// The user whose session it is.
    pub fn user(&self) -> User {
        User { runtime: self.0.runtime.clone(), id: Ok(self.0.user.clone()) }
    }

    pub(crate) async fn active_credential(&self) -> Result<Active, Error> {
        let view = self.0.handle.pass()?;
        if let Some(active) = self.found(&view, Active::clone) {
            return Ok(active);
        }
        let view = Guard::into_inner(view);
        let Some(context) = view.active() else {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "the session has no active provider, choose one with use_provider",
            ));
        };
        let credentials = &self.0.runtime.0.credentials;
        let provider = credentials.provider(&context.provider)?.clone();
        let credential = credentials.open(&context.credential(&self.0.user)).await?;
        let active = Active { provider, credential };
        self.0.found.store(Some(Arc::new(Found { by: view, active: active.clone() })));
        Ok(active)
    }

    /// Reads what was found for `view` before.
    fn found<T>(&self, view: &Arc<SessionView>, read: impl FnOnce(&Active) -> T) -> Option<T> {
        let found = self.0.found.load();
        let found = found.as_ref().filter(|found| Arc::ptr_eq(&found.by, view))?;
        Some(read(&found.active))
    }

    /// The user's credential at a provider that need not be the active one.
    pub(crate) async fn credential_for(&self, provider: &str) -> Result<CredentialHandle, Error> {
        self.0.handle.enter()?;
        let id = self.credential_at(provider).await?;
        self.0.runtime.0.credentials.open(&id).await
    }

    /// What a request uses that goes by a certain credential of the user.
    pub(crate) fn beside_the_active(&self, credential: &CredentialHandle) -> Result<Active, Error> {
        self.0.handle.enter()?;
        let provider = self.0.runtime.0.credentials.provider(&credential.id().provider)?.clone();
        Ok(Active { provider, credential: credential.clone() })
    }

    /// A usable token of `own`; or, where that needs its user, the API key that may stand in.
    pub(crate) async fn admit(&self, own: CredentialHandle) -> Result<Admitted, Error> {
        if let Some(snapshot) = own.published() {
            return Ok(Admitted { credential: own, snapshot, fallback: None });
        }
        // On the heap: the future of every call would be as large as that of the rare ones.
        Box::pin(self.admit_later(own)).await
    }

    async fn admit_later(&self, own: CredentialHandle) -> Result<Admitted, Error> {
        if !own.needs_user() {
            match own.acquire().await {
                Ok(snapshot) => return Ok(Admitted { credential: own, snapshot, fallback: None }),
                Err(error) if !own.needs_user() => return Err(error),
                Err(_) => {}
            }
        }
        if let Some(admitted) = self.fall_back(&own).await {
            return Ok(admitted);
        }
        let snapshot = own.acquire().await?;
        Ok(Admitted { credential: own, snapshot, fallback: None })
    }

    /// The user's API key in place of `own`, where the user allows that and `own` needs it.
    pub(crate) async fn fall_back(&self, own: &CredentialHandle) -> Option<Admitted> {
        if !own.needs_user() {
            return None;
        }
        let id = CredentialId { method: Method::ApiKey, ..own.id().clone() };
        let key = self.0.runtime.0.credentials.open(&id).await.ok()?;
        let snapshot = key.inspect().await.ok()?;
        let fallback = own.fall_back(&snapshot, &self.0.runtime.0.events)?;
        Some(Admitted { credential: key, snapshot, fallback: Some(fallback) })
    }

    /// What to send once more with, after `refused` was: what it was renewed to, else the API key
    /// that may stand in for it.
    pub(crate) async fn in_place_of(&self, refused: Admitted) -> Option<Admitted> {
        let Admitted { credential, snapshot, fallback } = refused;
        match credential.rejected(snapshot.generation()).await {
            Ok(renewed) if renewed.generation() == snapshot.generation() => None,
            Ok(renewed) => Some(Admitted { credential, snapshot: renewed, fallback }),
            Err(_) => self.fall_back(&credential).await,
        }
    }

    /// The upstream of a provider, as calls of this class of routes see it.
    pub(crate) fn upstream(
        &self,
        provider: &ProviderId,
        class: Option<&'static str>,
    ) -> Result<Upstream, Error> {
        let upstream = self.0.runtime.0.upstreams.get(provider)?;
        Ok(class.map_or_else(|| upstream.clone(), |class| upstream.route_class(class)))
    }

    pub(super) fn handle(&self) -> &SessionHandle {
        &self.0.handle
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        &self.0.runtime
    }

    pub(crate) fn outbound(&self) -> &Clients {
        &self.0.runtime.0.outbound
    }

    pub(crate) fn sources(&self) -> &Sources {
        &self.0.runtime.0.sources
    }

    /// The credential of this session's context at a provider while the user is signed in by it and
    /// the provider offers its method, else the one that the user prefers.
    async fn credential_at(&self, provider: &str) -> Result<CredentialId, Error> {
        let provider_id = self.user().provider(provider)?;
        let view = self.0.handle.view();
        let chosen = view.context(&provider_id).map(|context| context.credential(&self.0.user));
        if let Some(chosen) = chosen.filter(|id| self.0.runtime.0.credentials.offers(id)) {
            let credential = self.0.runtime.credential(&chosen).await?;
            if credential.inspect().await?.state() != CredentialState::Absent {
                return Ok(credential.id().clone());
            }
        }
        Ok(self.user().preferred_credential(provider).await?.id().clone())
    }

    async fn switch(&self, id: &CredentialId) -> Result<(), Error> {
        let context = ProviderContext {
            provider: id.provider.clone(),
            method: id.method,
            label: id.label.clone(),
        };
        self.0.runtime.0.sessions.switch(&self.0.user, &self.id(), context).await
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("user", &self.0.user).finish_non_exhaustive()
    }
}
