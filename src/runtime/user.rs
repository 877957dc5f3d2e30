//! One user of the host: signs in and out, and opens sessions.

use std::sync::Arc;

use tracing::{Instrument as _, info_span};

use super::{Runtime, Session, SignIn};
use crate::credential::{CredentialHandle, SignedOut, Snapshot};
use crate::error::{Error, ErrorKind};
use crate::identity::{CredentialId, Label, Method, NameError, ProviderId, SessionId, UserId};

/// The face of one user. Cheap to make and to clone.
///
/// ```
/// use tokenward::Method;
///
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let anthropic = SimulatedProvider::anthropic().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(anthropic.spec()).start().await?;
/// let ada = runtime.user("ada");
/// ada.sign_in("anthropic").with_api_key(anthropic.issue_api_key()).await?;
/// ada.sign_in("anthropic").label("work").with_api_key(anthropic.issue_api_key()).await?;
///
/// for credential in ada.credentials().await? {
///     assert_eq!(credential.id().method, Method::ApiKey);
///     println!("{} is {}", credential.id(), credential.state());
/// }
/// // What belongs to ada can not be reached under another name.
/// assert!(runtime.user("grace").credentials().await?.is_empty());
///
/// // Out of use at once, and erased.
/// assert_eq!(ada.sign_out("anthropic").await?.len(), 2);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct User {
    pub(super) runtime: Runtime,
    pub(super) id: Result<UserId, NameError>,
}

impl User {
    pub(super) fn new(runtime: Runtime, id: Result<UserId, NameError>) -> Self {
        Self { runtime, id }
    }

    /// The user's name.
    ///
    /// # Errors
    ///
    /// When the name can not be used.
    pub fn id(&self) -> Result<&UserId, Error> {
        self.id.as_ref().map_err(|error| error.clone().into())
    }

    /// Begins a sign-in to a provider; the methods of [`SignIn`] say how.
    pub fn sign_in(&self, provider: &str) -> SignIn {
        SignIn::new(self.clone(), provider)
    }

    /// Signs out of a provider: every credential of this user there is out of use at once, erased,
    /// and revoked where the provider can; also one whose method the provider does not offer any
    /// more. Answers with what was signed out, and is content when there was nothing. One credential
    /// alone is ended by [`CredentialHandle::sign_out`], of [`User::credential`].
    ///
    /// # Errors
    ///
    /// When there is no such provider, or the vault could not erase or be read: the first of what
    /// went wrong. Every credential that could be reached is out of use all the same, and is
    /// erased as soon as the vault can.
    pub async fn sign_out(&self, provider: &str) -> Result<Vec<(CredentialId, SignedOut)>, Error> {
        let provider = self.provider(provider)?;
        let (ids, mut failed) = match self.credential_ids().await {
            Ok(ids) => (ids, None),
            Err(error) => (self.runtime.0.credentials.running_of_user(self.id()?), Some(error)),
        };
        let mut done = Vec::new();
        for id in ids.into_iter().filter(|id| id.provider == provider) {
            match self.runtime.0.credentials.sign_out(&id).await {
                Ok(outcome) => done.push((id, outcome)),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(done), Err)
    }

    /// All credentials of this user as they are now.
    ///
    /// # Errors
    ///
    /// When the vault can not be read.
    pub async fn credentials(&self) -> Result<Vec<Arc<Snapshot>>, Error> {
        let mut snapshots = Vec::new();
        for id in self.credential_ids().await? {
            // One whose provider or method is not configured any more is kept, and not shown.
            if self.runtime.0.credentials.offers(&id) {
                snapshots.push(self.runtime.credential(&id).await?.inspect().await?);
            }
        }
        Ok(snapshots)
    }

    /// One credential of this user, by provider, method and label.
    ///
    /// # Errors
    ///
    /// When a name can not be used, or there is no such provider or method.
    pub async fn credential(
        &self,
        provider: &str,
        method: Method,
        label: &Label,
    ) -> Result<CredentialHandle, Error> {
        let (user, provider) = (self.id()?.clone(), self.provider(provider)?);
        let id = CredentialId { user, provider, method, label: label.clone() };
        self.runtime.credential(&id).await
    }

    /// The credential that this user would use at a provider: of the methods in the provider's
    /// order, the first that the user has signed in by, the default label before others. One whose
    /// method the provider does not offer any more is none.
    ///
    /// # Errors
    ///
    /// When the user is not signed in there, or there is no such provider.
    pub async fn preferred_credential(&self, provider: &str) -> Result<CredentialHandle, Error> {
        let provider = self.provider(provider)?;
        let credentials = &self.runtime.0.credentials;
        let methods = credentials.provider(&provider)?.methods();
        let rank = |id: &CredentialId| {
            let method = methods.iter().position(|method| *method == id.method);
            (method, id.label != Label::default(), id.label.clone())
        };
        let mut ids = self.credential_ids().await?;
        ids.retain(|id| id.provider == provider && credentials.offers(id));
        let best = ids.into_iter().min_by_key(rank);
        let Some(best) = best else {
            let user = self.id()?;
            return Err(Error::new(
                ErrorKind::ReauthorizationRequired,
                format!("{user} is not signed in to {provider}, sign in first"),
            ));
        };
        self.runtime.credential(&best).await
    }

    /// Allows that the API key of this user under `label` is spent while another sign-in at the
    /// same provider and under the same label needs the user again. Without this, requests fail
    /// then: a key is billed by its use, where the sign-in may be a subscription.
    ///
    /// Each request that goes on so says it ([`Fallback`](crate::credential::Fallback)), and an
    /// event tells when it begins and when it ends. It ends by itself as soon as the user has
    /// signed in again, or out. The permission holds over restarts, until it is withdrawn or the
    /// key is signed out.
    ///
    /// # Errors
    ///
    /// As [`CredentialHandle::allow_fallback`], and when the provider has no API keys.
    pub async fn allow_fallback(&self, provider: &str, label: &Label) -> Result<(), Error> {
        self.credential(provider, Method::ApiKey, label).await?.allow_fallback(true).await
    }

    /// Withdraws what [`User::allow_fallback`] allowed, from the next request on.
    ///
    /// # Errors
    ///
    /// As [`User::allow_fallback`]; there need not be a key.
    pub async fn forbid_fallback(&self, provider: &str, label: &Label) -> Result<(), Error> {
        self.credential(provider, Method::ApiKey, label).await?.allow_fallback(false).await
    }

    /// Opens a session. No provider is active in it yet.
    ///
    /// # Errors
    ///
    /// When the user's name can not be used, or the vault can not be written.
    pub async fn open_session(&self) -> Result<Session, Error> {
        let handle = self.runtime.0.sessions.open(self.id()?).await?;
        Ok(Session::new(self.runtime.clone(), self.id()?.clone(), handle))
    }

    /// The session of this user with this id, for instance after a restart of the process.
    ///
    /// # Errors
    ///
    /// When this user has no such session ([`Error::is_not_found`]), or it has expired.
    pub async fn session(&self, id: &SessionId) -> Result<Session, Error> {
        let handle = self.runtime.0.sessions.attach(self.id()?, id).await?;
        Ok(Session::new(self.runtime.clone(), self.id()?.clone(), handle))
    }

    /// The open sessions of this user, oldest first.
    ///
    /// # Errors
    ///
    /// When the user's name can not be used, or the session manager can not be reached.
    pub async fn sessions(&self) -> Result<Vec<Session>, Error> {
        let user = self.id()?;
        let handles = self.runtime.0.sessions.list(user).await?;
        let session = |handle| Session::new(self.runtime.clone(), user.clone(), handle);
        Ok(handles.into_iter().map(session).collect())
    }

    /// Erases everything of this user: sign-ins that are pending, sessions, credentials (each
    /// revoked where the provider can), and then every record in the vault, whose files are
    /// rewritten so that nothing of them remains. Answers how many records were left to erase.
    ///
    /// The vault goes on answering while its files are rewritten. Copies of the vault elsewhere are
    /// not reached.
    ///
    /// # Errors
    ///
    /// When the vault can not be read, written or rewritten, as when the disk is full: what was
    /// done stays done, and calling again does the rest. What a provider answers does not matter.
    pub async fn erase(&self) -> Result<usize, Error> {
        let user = self.id()?;
        self.erase_all_of(user).instrument(info_span!("erasure", %user)).await
    }

    async fn erase_all_of(&self, user: &UserId) -> Result<usize, Error> {
        let logins = &self.runtime.0.logins;
        // One whose grant is on its way into the vault can not be cancelled: it is waited for, so
        // that what it stores is erased with the rest.
        for login in logins.pending(user) {
            login.cancel().await;
            let _ = login.finished().await;
        }
        for login in logins.pending_devices(user) {
            login.cancel().await;
            let _ = login.finished().await;
        }
        for session in self.sessions().await? {
            match session.close().await {
                // It expired, or somebody else closed it, since it was listed.
                Err(gone) if gone.is_not_found() || gone.is_expired() => {}
                closed => closed?,
            }
        }
        for id in self.credential_ids().await? {
            // One whose provider is not configured any more has no actor, only records.
            if self.runtime.0.credentials.provider(&id.provider).is_ok() {
                self.runtime.0.credentials.sign_out(&id).await?;
            }
        }
        Ok(self.runtime.0.vault.erase_user(user).await?)
    }

    pub(super) async fn credential_ids(&self) -> Result<Vec<CredentialId>, Error> {
        self.runtime.0.credentials.of_user(self.id()?).await
    }

    /// Checks that there is such a provider.
    pub(super) fn provider(&self, name: &str) -> Result<ProviderId, Error> {
        let id = ProviderId::new(name)?;
        self.runtime.0.credentials.provider(&id)?;
        Ok(id)
    }
}
