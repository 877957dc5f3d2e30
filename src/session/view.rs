//! What a session looks like to those who use it: an immutable view that is read without a
//! message, and the handle that finds the current one.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use arc_swap::{ArcSwap, Guard};
use serde::Serialize;

use crate::clock::{Moment, Sources};
use crate::error::{Error, ErrorKind};
use crate::identity::{CredentialId, Label, Method, ProviderId, SessionId, UserId};

/// Which of a user's credentials a session uses at one provider.
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
/// let context = session.active()?.expect("a provider");
/// // With a user it names a credential.
/// let id = context.credential(ada.id()?);
/// assert_eq!(id.to_string(), "ada/anthropic/api-key");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct ProviderContext {
    /// Where.
    pub provider: ProviderId,
    /// By which method.
    pub method: Method,
    /// As which account.
    pub label: Label,
}

impl ProviderContext {
    /// The credential of `user` that this is about.
    pub fn credential(&self, user: &UserId) -> CredentialId {
        CredentialId {
            user: user.clone(),
            provider: self.provider.clone(),
            method: self.method,
            label: self.label.clone(),
        }
    }
}

/// Whether a session can be used.
///
/// ```
/// use tokenward::session::Standing;
///
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
/// assert_eq!(session.view().standing(), Standing::Open);
/// session.close().await?;
/// assert_eq!(session.view().standing(), Standing::Closed);
/// assert!(session.acquire().await.is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Standing {
    /// It can.
    Open,
    /// Its user closed it.
    Closed,
    /// It was not used for too long.
    Expired,
}

impl Standing {
    /// Why a session of this standing can not be used.
    pub(super) fn error(self) -> Error {
        match self {
            Self::Open | Self::Closed => not_found(),
            Self::Expired => expired(),
        }
    }
}

/// A session as it was at one moment.
///
/// ```
/// use tokenward::session::Standing;
///
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
/// let view = session.view();
/// assert_eq!(view.standing(), Standing::Open);
/// assert_eq!(view.user().as_str(), "ada");
/// let active = view.active().expect("it was switched to");
/// assert_eq!(active.provider.as_str(), "anthropic");
/// # session.close().await?;
/// # assert_eq!(session.view().standing(), Standing::Closed);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionView {
    pub(super) id: SessionId,
    pub(super) user: UserId,
    pub(super) created: SystemTime,
    pub(super) active: Option<ProviderId>,
    pub(super) contexts: BTreeMap<ProviderId, ProviderContext>,
    pub(super) standing: Standing,
}

impl SessionView {
    /// Which session it is.
    pub fn id(&self) -> &SessionId {
        &self.id
    }

    /// Whose it is.
    pub fn user(&self) -> &UserId {
        &self.user
    }

    /// When it was opened.
    pub fn created(&self) -> SystemTime {
        self.created
    }

    /// The provider that the next request goes to, and how; none before the first switch.
    pub fn active(&self) -> Option<&ProviderContext> {
        self.active.as_ref().and_then(|provider| self.contexts.get(provider))
    }

    /// How the session uses `provider`; none when it never did.
    pub fn context(&self, provider: &ProviderId) -> Option<&ProviderContext> {
        self.contexts.get(provider)
    }

    /// Every provider that the session has a context for, by name.
    pub fn contexts(&self) -> impl Iterator<Item = &ProviderContext> {
        self.contexts.values()
    }

    /// Whether it can be used.
    pub fn standing(&self) -> Standing {
        self.standing
    }
}

/// One session, for whoever works in it. Cheap to clone; it outlives restarts of the manager, and
/// reading through it sends no message and takes no lock.
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
/// let sessions = runtime.sessions();
/// let handle = sessions.open(ada.id()?).await?;
/// // A request enters, which counts as activity, and fails once the session is over.
/// let view = handle.enter()?;
/// assert!(view.active().is_none());
///
/// sessions.close(ada.id()?, view.id()).await?;
/// assert!(handle.enter().is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SessionHandle {
    cell: Arc<Cell>,
    sources: Sources,
}

impl SessionHandle {
    pub(super) fn new(cell: Arc<Cell>, sources: Sources) -> Self {
        Self { cell, sources }
    }

    /// The session as it is now, whatever its standing.
    pub fn view(&self) -> Arc<SessionView> {
        self.cell.view.load_full()
    }

    /// The session for a request that is about to be made, which counts as activity.
    ///
    /// # Errors
    ///
    /// When the session was closed ([`Error::is_not_found`]) or has expired
    /// ([`Error::is_expired`]).
    pub fn enter(&self) -> Result<Arc<SessionView>, Error> {
        self.pass().map(Guard::into_inner)
    }

    /// As [`SessionHandle::enter`], for as long as the view is read.
    pub(crate) fn pass(&self) -> Result<Guard<Arc<SessionView>>, Error> {
        let now = self.sources.now_coarse();
        let view = self.open_at(now)?;
        self.cell.activity.mark(now);
        Ok(view)
    }

    /// As [`SessionHandle::enter`], without counting as activity.
    pub(crate) fn look(&self) -> Result<Arc<SessionView>, Error> {
        self.open_at(self.sources.now_coarse()).map(Guard::into_inner)
    }

    fn open_at(&self, now: Moment) -> Result<Guard<Arc<SessionView>>, Error> {
        let view = self.cell.view.load();
        match view.standing {
            Standing::Open if now.since(self.cell.activity.last()) < self.cell.timeout => Ok(view),
            Standing::Open | Standing::Expired => Err(expired()),
            Standing::Closed => Err(not_found()),
        }
    }

    /// When it was used last.
    pub fn last_activity(&self) -> SystemTime {
        self.cell.activity.last().wall
    }
}

impl fmt::Debug for SessionHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let view = self.view();
        f.debug_struct("SessionHandle").field("id", &view.id).field("user", &view.user).finish()
    }
}

/// The answer for a session that does not exist, which is also the answer for one of another
/// user: nobody learns from it that there is one.
pub(super) fn not_found() -> Error {
    Error::new(ErrorKind::NotFound, "there is no such session, open one")
}

/// The answer for a session that was not used for too long.
pub(super) fn expired() -> Error {
    Error::new(ErrorKind::Expired, "the session has expired, open a new one")
}

/// Where the current view of one session stands. The manager writes it; its incarnations and the
/// handles share it.
pub(super) struct Cell {
    pub(super) view: ArcSwap<SessionView>,
    pub(super) activity: Activity,
    pub(super) timeout: Duration,
}

/// When a session was used last, on both clocks to the millisecond, and whether the manager has
/// heard of it. Requests mark it by themselves, so that they need no message.
///
/// The two clocks are not written in one step: a reader may see them from two uses at the same
/// time, which are milliseconds apart.
pub(super) struct Activity {
    wall: AtomicU64,
    monotonic: AtomicU64,
    news: AtomicBool,
}

impl Activity {
    pub(super) fn at(moment: Moment) -> Self {
        let activity = Self {
            wall: AtomicU64::new(0),
            monotonic: AtomicU64::new(0),
            news: AtomicBool::new(false),
        };
        activity.store(moment);
        activity
    }

    /// Marks a use of the session that the manager has not heard of.
    pub(super) fn mark(&self, moment: Moment) {
        // Threads that use a session at once would wait for each other to write the same.
        if self.stamps() != stamps(moment) {
            self.store(moment);
            self.news.store(true, Ordering::Release);
        }
    }

    /// The last use.
    pub(super) fn last(&self) -> Moment {
        let (wall, monotonic) = self.stamps();
        Moment {
            wall: SystemTime::UNIX_EPOCH + Duration::from_millis(wall),
            monotonic: Duration::from_millis(monotonic),
        }
    }

    /// The last use, if the manager has not heard of it.
    pub(super) fn take_news(&self) -> Option<Moment> {
        self.news.swap(false, Ordering::Acquire).then(|| self.last())
    }

    fn store(&self, moment: Moment) {
        let (wall, monotonic) = stamps(moment);
        self.wall.store(wall, Ordering::Relaxed);
        self.monotonic.fetch_max(monotonic, Ordering::Relaxed);
    }

    fn stamps(&self) -> (u64, u64) {
        (self.wall.load(Ordering::Relaxed), self.monotonic.load(Ordering::Relaxed))
    }
}

/// Both clocks in whole milliseconds.
fn stamps(moment: Moment) -> (u64, u64) {
    let wall = moment.wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    (millis(wall), millis(moment.monotonic))
}

/// Whole milliseconds, without the division of 128 bits that `as_millis` takes.
fn millis(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000).saturating_add(u64::from(duration.subsec_millis()))
}
