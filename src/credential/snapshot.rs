//! What anyone may read of a credential without asking its actor: an immutable snapshot, replaced
//! as a whole.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::Guard;
use http::HeaderMap;

use super::lifecycle::{Ended, Kept};
use super::schedule::Usable;
use crate::clock::{Moment, Sources};
use crate::error::{Error, ErrorKind};
use crate::event::CredentialState;
use crate::identity::{CredentialId, Generation};

/// A credential as it was when it last changed.
///
/// ```
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let orange = SimulatedProvider::orange().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(orange.spec()).start().await?;
/// # let ada = runtime.user("ada");
/// # ada.sign_in("orange").with_client_credentials().await?;
/// let credential = ada.preferred_credential("orange").await?;
/// let snapshot = credential.acquire().await?;
/// println!("{} until {:?}", snapshot.state(), snapshot.expires_at());
/// assert!(snapshot.is_durable());
///
/// // Its headers, for as long as it can be used.
/// let now = tokenward::clock::Sources::system().now();
/// let headers = snapshot.headers(now).expect("just acquired");
/// assert!(headers["authorization"].is_sensitive());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Snapshot {
    pub(crate) id: CredentialId,
    pub(crate) state: CredentialState,
    pub(crate) generation: Generation,
    pub(crate) usable: Usable,
    pub(crate) expires_at: Option<SystemTime>,
    pub(crate) retry_at: Option<Moment>,
    pub(crate) kept: Option<Kept>,
    pub(crate) reason: Option<String>,
    pub(crate) durable: bool,
    pub(crate) scopes: Option<Vec<String>>,
    pub(crate) account: Option<String>,
    pub(crate) advice: Option<String>,
    pub(crate) stands_in: bool,
    pub(crate) headers: Arc<HeaderMap>,
}

impl Snapshot {
    pub(crate) fn loading(id: CredentialId) -> Self {
        Self {
            id,
            state: CredentialState::Loading,
            generation: Generation::default(),
            usable: Usable::No,
            expires_at: None,
            retry_at: None,
            kept: None,
            reason: None,
            durable: true,
            scopes: None,
            account: None,
            advice: None,
            stands_in: false,
            headers: Arc::default(),
        }
    }

    /// Which credential it is.
    pub fn id(&self) -> &CredentialId {
        &self.id
    }

    /// The state it is in.
    pub fn state(&self) -> CredentialState {
        self.state
    }

    /// Why, where there is more to say.
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// The generation of its material.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// When the access token expires, by the wall clock; none when it does not, or the provider
    /// did not say.
    pub fn expires_at(&self) -> Option<SystemTime> {
        self.expires_at
    }

    /// When a failed renewal is tried again, by the wall clock.
    pub fn retry_at(&self) -> Option<SystemTime> {
        self.retry_at.map(|moment| moment.wall)
    }

    /// Until when the token is not renewed although a resource refuses it, by the wall clock: it was
    /// refused within 30 seconds after it had been renewed because the one before it was refused or
    /// invalidated, so that the resource refuses for another reason than the token, and the next one
    /// would be refused, too. It is used meanwhile. A renewal for another reason, such as that it
    /// expires, comes as ever, also before that time. None where nothing of that kind was heard of this
    /// token, or it is out of use itself.
    pub fn kept_until(&self) -> Option<SystemTime> {
        self.kept.map(|kept| kept.until.wall)
    }

    /// While that time has not come yet: why the token before it was out of use.
    pub(crate) fn kept_after(&self, now: Moment) -> Option<Ended> {
        let Kept { until, former } = self.kept?;
        (!now.has_passed(until)).then_some(former)
    }

    /// Whether the vault has this material. False only while the vault can not be written.
    pub fn is_durable(&self) -> bool {
        self.durable
    }

    /// What was granted, when the provider said so.
    pub fn scopes(&self) -> Option<&[String]> {
        self.scopes.as_deref()
    }

    /// Whose account it is at the provider, when it said so.
    pub fn account(&self) -> Option<&str> {
        self.account.as_deref()
    }

    /// What its user may want to know although nothing is wrong: that the provider granted other
    /// scopes than were asked for, or that the settings ask for other scopes by now, which counts
    /// from the next sign-in.
    pub fn advice(&self) -> Option<&str> {
        self.advice.as_deref()
    }

    /// Whether its user allows this API key to be spent while the other sign-ins at its provider,
    /// under the same label, need the user.
    pub fn may_stand_in(&self) -> bool {
        self.stands_in
    }

    /// Whether it may authenticate a request that is sent now.
    pub fn is_usable(&self, now: Moment) -> bool {
        self.is_usable_by(|| now)
    }

    /// As [`Snapshot::is_usable`], by a clock that is only read for what has an end.
    pub(crate) fn is_usable_by(&self, now: impl FnOnce() -> Moment) -> bool {
        match self.usable {
            Usable::No => false,
            Usable::Until(end) => !now().has_passed(end),
            Usable::WithoutEnd => true,
        }
    }

    /// The headers that authenticate a request, in the order in which they are sent; none when it
    /// may not be used any more. They hold the secret: values that do are marked sensitive.
    pub fn headers(&self, now: Moment) -> Option<&HeaderMap> {
        self.is_usable(now).then_some(&*self.headers)
    }

    /// As [`Snapshot::headers`], with why there are none.
    pub(crate) fn usable_headers(&self, sources: &Sources) -> Result<&HeaderMap, Error> {
        let usable = self.is_usable_by(|| sources.now_coarse());
        usable.then_some(&*self.headers).ok_or_else(|| {
            let text = "the token expired while the request was made, try again";
            Error::new(ErrorKind::Transient, text)
        })
    }

    /// Whether nobody could tell it from `other`. Headers are built once for each material.
    pub(crate) fn looks_like(&self, other: &Self) -> bool {
        self.generation == other.generation
            && self.state == other.state
            && self.usable == other.usable
            && self.expires_at == other.expires_at
            && self.retry_at == other.retry_at
            && self.kept == other.kept
            && self.durable == other.durable
            && self.reason == other.reason
            && self.stands_in == other.stands_in
            && Arc::ptr_eq(&self.headers, &other.headers)
    }
}

/// A usable token for as long as a request is put together:
/// [`CredentialHandle::peek`](super::CredentialHandle::peek).
///
/// ```
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let orange = SimulatedProvider::orange().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(orange.spec()).start().await?;
/// # let ada = runtime.user("ada");
/// # ada.sign_in("orange").with_client_credentials().await?;
/// let credential = ada.preferred_credential("orange").await?;
/// let token = credential.peek().expect("she signed in just now");
/// let mut request = http::Request::get("/sms").body(())?;
/// for (name, value) in token.headers() {
///     request.headers_mut().insert(name, value.clone());
/// }
/// assert!(request.headers()["authorization"].is_sensitive());
///
/// let snapshot = token.keep(); // for longer than it takes to put a request together
/// assert_eq!(snapshot.id(), credential.id());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Peeked(pub(super) Guard<Arc<Snapshot>>);

impl Peeked {
    /// The headers that authenticate a request, in the order in which they are sent. They hold the
    /// secret: values that do are marked sensitive.
    pub fn headers(&self) -> &HeaderMap {
        &self.0.headers
    }

    /// The snapshot, to be kept for longer.
    pub fn keep(self) -> Arc<Snapshot> {
        Guard::into_inner(self.0)
    }
}

impl Deref for Peeked {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        &self.0
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("id", &self.id)
            .field("state", &self.state)
            .field("generation", &self.generation)
            .field("usable", &self.usable)
            .field("expires_at", &self.expires_at)
            .field("reason", &self.reason)
            .field("durable", &self.durable)
            .finish_non_exhaustive()
    }
}
