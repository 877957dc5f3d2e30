//! What the session manager can be asked. [`Sessions`](super::Sessions) has a method for each.

use super::view::{ProviderContext, SessionHandle};
use crate::error::Error;
use crate::identity::{SessionId, UserId};
use crate::supervision::Reply;

/// A request to the session manager.
///
/// Every request names the user. A session of another user is answered as if it did not exist
/// ([`Error::is_not_found`]); one that was not used for too long is answered as expired
/// ([`Error::is_expired`]). What changes a session is answered once it is durable.
///
/// ```
/// use tokenward::UserId;
/// use tokenward::session::SessionMessage;
///
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let anthropic = SimulatedProvider::anthropic().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(anthropic.spec()).start().await?;
/// let user = UserId::new("ada")?;
/// let sessions = runtime.sessions().messages();
/// let opened = sessions.ask(|reply| SessionMessage::Open { user, reply }).await??;
/// assert!(opened.view().active().is_none());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum SessionMessage {
    /// Opens a session.
    Open {
        /// For whom.
        user: UserId,
        /// Gets the session.
        reply: Reply<Result<SessionHandle, Error>>,
    },
    /// Finds a session that is open, for instance after a restart of the process.
    Attach {
        /// Whose it is.
        user: UserId,
        /// Which.
        session: SessionId,
        /// Gets the session.
        reply: Reply<Result<SessionHandle, Error>>,
    },
    /// Makes a context the active one, from the next request on.
    Switch {
        /// Whose session it is.
        user: UserId,
        /// Which.
        session: SessionId,
        /// What the next request uses. It is also remembered for its provider.
        context: ProviderContext,
        /// Gets the outcome.
        reply: Reply<Result<(), Error>>,
    },
    /// Remembers a context for its provider. Which provider is active does not change.
    Prefer {
        /// Whose session it is.
        user: UserId,
        /// Which.
        session: SessionId,
        /// What the session uses at this provider from now on.
        context: ProviderContext,
        /// Gets the outcome.
        reply: Reply<Result<(), Error>>,
    },
    /// Reads the active context.
    Active {
        /// Whose session it is.
        user: UserId,
        /// Which.
        session: SessionId,
        /// Gets the context; none before the first switch.
        reply: Reply<Result<Option<ProviderContext>, Error>>,
    },
    /// Lists the context of every provider of a session.
    Providers {
        /// Whose session it is.
        user: UserId,
        /// Which.
        session: SessionId,
        /// Gets the contexts, by the provider's name.
        reply: Reply<Result<Vec<ProviderContext>, Error>>,
    },
    /// Lists the user's sessions.
    List {
        /// Whose.
        user: UserId,
        /// Gets the open ones, oldest first.
        reply: Reply<Result<Vec<SessionHandle>, Error>>,
    },
    /// Marks a session as used.
    Touch {
        /// Whose session it is.
        user: UserId,
        /// Which.
        session: SessionId,
        /// Gets the outcome.
        reply: Reply<Result<(), Error>>,
    },
    /// Closes a session.
    Close {
        /// Whose session it is.
        user: UserId,
        /// Which.
        session: SessionId,
        /// Gets the outcome.
        reply: Reply<Result<(), Error>>,
    },
    /// What the manager tells itself.
    Internal(Internal),
}

/// What the manager tells itself; nobody else can make one.
#[derive(Debug)]
#[doc(hidden)]
pub struct Internal(pub(super) News);

#[derive(Debug, Clone, Copy)]
pub(super) enum News {
    /// Load the sessions.
    Load,
    /// A task has an outcome.
    ErrandReturned,
    /// It is time to clean up.
    SweepDue,
}

impl From<News> for SessionMessage {
    fn from(news: News) -> Self {
        Self::Internal(Internal(news))
    }
}

impl SessionMessage {
    /// Answers the request with `error`.
    pub(super) fn refuse(self, error: Error) {
        // Sending fails only when nobody waits any more.
        match self {
            Self::Open { reply, .. } | Self::Attach { reply, .. } => drop(reply.send(Err(error))),
            Self::Switch { reply, .. }
            | Self::Prefer { reply, .. }
            | Self::Touch { reply, .. }
            | Self::Close { reply, .. } => drop(reply.send(Err(error))),
            Self::Active { reply, .. } => drop(reply.send(Err(error))),
            Self::Providers { reply, .. } => drop(reply.send(Err(error))),
            Self::List { reply, .. } => drop(reply.send(Err(error))),
            Self::Internal(_) => {}
        }
    }
}
