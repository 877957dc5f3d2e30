//! One pending sign-in as its front ends see it: what the user opens, and the ways to complete it.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::watch;

use super::super::outcome::{self, Outcome};
use super::super::verdict::{interrupted, over};
use super::messages::LoginMessage;
use crate::error::Error;
use crate::identity::{CredentialId, LoginId};
use crate::secret::Secret;
use crate::supervision::{AskError, Handle};

/// A pending sign-in. Clones are the same one, and any of them can complete it; so can the
/// browser that comes back to the listener. Dropping it ends nothing.
///
/// ```
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let google = SimulatedProvider::google().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(google.spec()).start().await?;
/// # let ada = runtime.user("ada");
/// let login = ada.sign_in("google").in_browser().await?;
/// println!("open {} before {:?}", login.url(), login.expires_at());
/// if let Some(error) = login.no_listener() {
///     println!("{error}"); // Then the user pastes where the browser ends: login.paste(text)
/// }
/// # login.paste(&google.approve(login.url())?).await?;
///
/// // Once the browser has come back, and the token is durable.
/// let credential = login.finished().await?;
/// assert_eq!(credential.to_string(), "ada/google/authorization-code");
/// assert!(login.is_over());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "nobody is signed in before the user has been to url()"]
pub struct Login(Arc<Face>);

/// What a sign-in shows of itself.
pub(in crate::login) struct Face {
    pub(in crate::login) id: LoginId,
    pub(in crate::login) credential: CredentialId,
    pub(in crate::login) url: String,
    pub(in crate::login) expires_at: SystemTime,
    pub(in crate::login) no_listener: Option<Error>,
    pub(in crate::login) messages: Handle<LoginMessage>,
    pub(in crate::login) outcome: watch::Receiver<Outcome>,
}

impl Login {
    pub(in crate::login) fn new(face: Face) -> Self {
        Self(Arc::new(face))
    }

    /// Its name.
    pub fn id(&self) -> &LoginId {
        &self.0.id
    }

    /// The credential that is to result.
    pub fn credential(&self) -> &CredentialId {
        &self.0.credential
    }

    /// The address that the user opens, in a browser of their own (RFC 8252 §8.12).
    pub fn url(&self) -> &str {
        &self.0.url
    }

    /// When it is over if nobody has completed it.
    pub fn expires_at(&self) -> SystemTime {
        self.0.expires_at
    }

    /// Why there is no listener for the browser to come back to, where one was wanted: the user
    /// has to paste.
    pub fn no_listener(&self) -> Option<&Error> {
        self.0.no_listener.as_ref()
    }

    /// Hands in what the user pasted: the code, `code#state`, or the whole address at which the
    /// browser ended. Returns when the credential is stored.
    ///
    /// # Errors
    ///
    /// [`Error::is_invalid_input`] when the text is no such thing or belongs to another sign-in;
    /// this one still waits then, as it does when the provider could not be reached, which is
    /// [transient](Error::is_transient). Otherwise the sign-in is over ([`Login::is_over`]), and
    /// [`Login::finished`] says the same.
    pub async fn paste(&self, text: &str) -> Result<(), Error> {
        let text = Secret::new(text);
        let told = self.0.messages.ask(|reply| LoginMessage::Paste { text, reply }).await;
        told.map_err(|error| self.why_not(error))?
    }

    /// Waits for the end: the credential is stored, or there will be none.
    ///
    /// # Errors
    ///
    /// When the provider or the user refused ([`Error::needs_reauthorization`]), the sign-in was
    /// cancelled or not completed in time ([`Error::is_expired`]), was interrupted
    /// ([`Error::is_transient`]), or the exchange or the storing failed. The text says what to do.
    pub async fn finished(&self) -> Result<CredentialId, Error> {
        outcome::finished(&self.0.outcome).await?;
        Ok(self.0.credential.clone())
    }

    /// Ends it, unless its grant is on its way into the vault already.
    pub async fn cancel(&self) {
        // One that does not answer is over.
        let _ = self.0.messages.ask(|reply| LoginMessage::Cancel { reply }).await;
    }

    /// Whether it has ended.
    pub fn is_over(&self) -> bool {
        outcome::is_over(&self.0.outcome)
    }

    /// The same sign-in as messages.
    pub fn messages(&self) -> &Handle<LoginMessage> {
        &self.0.messages
    }

    fn why_not(&self, error: AskError) -> Error {
        match error {
            AskError::Stopped | AskError::Interrupted if self.is_over() => over(),
            AskError::Interrupted => interrupted(),
            other => other.into(),
        }
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("id", &self.0.id)
            .field("credential", &self.0.credential)
            .field("over", &self.is_over())
            .finish_non_exhaustive()
    }
}
