//! What a pending sign-in can be told. [`Login`](super::Login) has a method for each.

use tokio::sync::oneshot;

use crate::error::Error;
use crate::oauth::redirect::{AuthorizationResponse, Page};
use crate::secret::Secret;
use crate::supervision::Reply;

/// A message to a pending sign-in.
///
/// [`Login::messages`](super::super::Login::messages) is where to send one. Each method of
/// [`Login`](super::super::Login) does the same.
///
/// ```
/// use tokenward::Secret;
/// use tokenward::login::LoginMessage;
///
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let openai = SimulatedProvider::openai().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(openai.spec()).start().await?;
/// # let ada = runtime.user("ada");
/// let login = ada.sign_in("openai").by_paste().await?;
/// # let pasted = openai.approve_for_paste(login.url())?;
/// let text = Secret::from(pasted);
/// login.messages().ask(|reply| LoginMessage::Paste { text, reply }).await??;
/// assert!(login.is_over());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum LoginMessage {
    /// Hands in what the user pasted: the code, `code#state`, or the whole address at which the
    /// browser ended.
    Paste {
        /// The text as it was pasted.
        text: Secret,
        /// Gets what became of it, once the credential is stored or it is clear that it will not
        /// be.
        reply: Reply<Result<(), Error>>,
    },
    /// Ends the sign-in, unless its grant is on its way into the vault already.
    Cancel {
        /// Gets an answer when that is done.
        reply: Reply<()>,
    },
    /// What the sign-in is told by its own parts.
    Internal(Internal),
}

/// What the sign-in is told by its own parts; nobody else can make one.
#[derive(Debug)]
#[doc(hidden)]
pub struct Internal(pub(super) News);

#[derive(Debug)]
pub(super) enum News {
    /// The browser came back to the loopback listener, and waits for a page.
    Redirected { response: AuthorizationResponse, page: oneshot::Sender<Page> },
    /// A task has an outcome.
    ErrandReturned,
    /// The time is up.
    DeadlineReached,
}

impl From<News> for LoginMessage {
    fn from(news: News) -> Self {
        Self::Internal(Internal(news))
    }
}
