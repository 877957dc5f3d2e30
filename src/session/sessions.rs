//! Sessions as the rest of the crate sees them: a method for each message.

use std::fmt;
use std::sync::Arc;

use ractor::Actor as _;
use tracing::{Instrument as _, info_span};

use super::actor::{ManagerArguments, SessionManager};
use super::board::Board;
use super::keeping::Keeper;
use super::messages::SessionMessage;
use super::state::SessionPolicy;
use super::view::{ProviderContext, SessionHandle};
use crate::clock::Sources;
use crate::error::Error;
use crate::identity::{SessionId, UserId};
use crate::supervision::{AskError, ChildSpec, EventBus, Handle, Supervisor, Timekeeper};
use crate::vault::VaultHandle;

/// All sessions of a runtime. Cheap to clone; it outlives restarts of the manager.
///
/// Every asynchronous method sends the [`SessionMessage`] of the same name, which says what it does
/// and how sessions of other users are answered.
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
/// let (sessions, ada) = (runtime.sessions(), ada.id()?.clone());
/// let handle = sessions.open(&ada).await?;
/// let id = handle.view().id().clone();
/// assert_eq!(sessions.list(&ada).await?.len(), 1);
///
/// sessions.close(&ada, &id).await?;
/// assert!(sessions.list(&ada).await?.is_empty());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Sessions {
    manager: Handle<SessionMessage>,
    board: Arc<Board>,
}

impl Sessions {
    /// Starts the manager as a permanent child of `under`. It reads the sessions from `vault` by
    /// itself; requests wait for that.
    ///
    /// # Errors
    ///
    /// As [`Supervisor::start_child`].
    pub async fn start(
        policy: SessionPolicy,
        vault: VaultHandle,
        timekeeper: Timekeeper,
        under: &Supervisor,
        sources: Sources,
        events: EventBus,
    ) -> Result<Self, Error> {
        let board = Arc::new(Board::new(sources.clone(), policy.timeout));
        let keeper = Keeper { vault, timeout: policy.timeout };
        let arguments = ManagerArguments {
            policy,
            keeper,
            board: Arc::clone(&board),
            timekeeper,
            sources,
            events,
        };
        let spec = ChildSpec::new("sessions", move |spawning| {
            let (arguments, supervisor) = (arguments.clone(), spawning.supervisor);
            Box::pin(SessionManager::spawn_linked(None, SessionManager, arguments, supervisor))
        });
        Ok(Self { manager: under.start_child(spec).await?, board })
    }

    /// The session, without asking the manager: a look-up in memory. None when the user has no
    /// such open session, and for a moment after the start of the process, before the sessions are
    /// loaded; [`Sessions::attach`] waits for that.
    pub fn peek(&self, user: &UserId, session: &SessionId) -> Option<SessionHandle> {
        self.board.handle(session).filter(|found| found.view().user() == user)
    }

    /// How many sessions are open, as far as they are loaded.
    pub(crate) fn open_now(&self) -> usize {
        self.board.len()
    }

    /// Opens a session.
    pub async fn open(&self, user: &UserId) -> Result<SessionHandle, Error> {
        let asked = self.manager.ask(|reply| SessionMessage::Open { user: user.clone(), reply });
        traced("open", user, asked).await
    }

    /// Finds a session that is open.
    pub async fn attach(&self, user: &UserId, session: &SessionId) -> Result<SessionHandle, Error> {
        let ask =
            |reply| SessionMessage::Attach { user: user.clone(), session: session.clone(), reply };
        traced("attach", user, self.manager.ask_again(ask)).await
    }

    /// Makes `context` the active one, from the next request on.
    pub async fn switch(
        &self,
        user: &UserId,
        session: &SessionId,
        context: ProviderContext,
    ) -> Result<(), Error> {
        let ask = |reply| SessionMessage::Switch {
            user: user.clone(),
            session: session.clone(),
            context: context.clone(),
            reply,
        };
        traced("switch", user, self.manager.ask_again(ask)).await
    }

    /// Remembers `context` for its provider. Which provider is active does not change.
    pub async fn prefer(
        &self,
        user: &UserId,
        session: &SessionId,
        context: ProviderContext,
    ) -> Result<(), Error> {
        let ask = |reply| SessionMessage::Prefer {
            user: user.clone(),
            session: session.clone(),
            context: context.clone(),
            reply,
        };
        traced("prefer", user, self.manager.ask_again(ask)).await
    }

    /// The active context; none before the first switch.
    pub async fn active(
        &self,
        user: &UserId,
        session: &SessionId,
    ) -> Result<Option<ProviderContext>, Error> {
        let ask =
            |reply| SessionMessage::Active { user: user.clone(), session: session.clone(), reply };
        traced("active", user, self.manager.ask_again(ask)).await
    }

    /// The context of every provider of a session, by the provider's name.
    pub async fn providers(
        &self,
        user: &UserId,
        session: &SessionId,
    ) -> Result<Vec<ProviderContext>, Error> {
        let ask = |reply| SessionMessage::Providers {
            user: user.clone(),
            session: session.clone(),
            reply,
        };
        traced("providers", user, self.manager.ask_again(ask)).await
    }

    /// The user's open sessions, oldest first.
    pub async fn list(&self, user: &UserId) -> Result<Vec<SessionHandle>, Error> {
        let ask = |reply| SessionMessage::List { user: user.clone(), reply };
        traced("list", user, self.manager.ask_again(ask)).await
    }

    /// Marks a session as used.
    pub async fn touch(&self, user: &UserId, session: &SessionId) -> Result<(), Error> {
        let ask =
            |reply| SessionMessage::Touch { user: user.clone(), session: session.clone(), reply };
        traced("touch", user, self.manager.ask_again(ask)).await
    }

    /// Closes a session.
    pub async fn close(&self, user: &UserId, session: &SessionId) -> Result<(), Error> {
        let ask =
            |reply| SessionMessage::Close { user: user.clone(), session: session.clone(), reply };
        traced("close", user, self.manager.ask(ask)).await
    }

    /// The same sessions as messages.
    pub fn messages(&self) -> &Handle<SessionMessage> {
        &self.manager
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sessions").field(&self.manager).finish()
    }
}

/// What is asked of the manager for a user, in a span of its own, with what it says.
async fn traced<T>(
    request: &'static str,
    user: &UserId,
    asked: impl Future<Output = Result<Result<T, Error>, AskError>>,
) -> Result<T, Error> {
    asked.instrument(info_span!("session", request, %user)).await?
}
