//! A sign-in that is being described: to which provider, under which label, by which method.

use std::fmt;
use std::sync::Arc;

use tracing::{Instrument as _, Span, info_span};

use super::User;
use crate::config::Origin;
use crate::credential::SignInWith;
use crate::error::{Error, ErrorKind};
use crate::event::EventKind;
use crate::identity::{CredentialId, Label, Method, NameError, ProviderId};
use crate::login::{DeviceLogin, GrantSink, Login, LoginRequest, Receiver};
use crate::provider::{KeyVerdict, Renewal, in_time};
use crate::secret::Secret;
use crate::vault::audit::{AuditEntry, AuditKind};

/// What became of an API key that the settings offer.
///
/// ```
/// use tokenward::runtime::KeyChoice;
/// use tokenward::testing::SimulatedProvider;
/// use tokenward::{Runtime, Settings, Vault};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let openai = SimulatedProvider::openai().start().await?;
/// # let key = openai.issue_api_key().expose().to_owned();
/// let settings = Settings::new()
///     .with_toml("host.toml", "[providers.openai]")
///     .with_variables(move |name| (name == "OPENAI_API_KEY").then(|| key.clone()));
/// let runtime = Runtime::builder().settings(settings).vault(Vault::in_memory()).start().await?;
/// let ada = runtime.user("ada");
///
/// let choice = ada.sign_in("openai").with_offered_key().await?;
/// assert!(matches!(choice, KeyChoice::Stored { .. }));
/// // The next start finds her signed in, and touches nothing.
/// let choice = ada.sign_in("openai").with_offered_key().await?;
/// assert!(matches!(choice, KeyChoice::Kept { .. }));
/// println!("{choice}");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyChoice {
    /// The user was not signed in, and is now, with the key.
    Stored {
        /// What the key became.
        credential: CredentialId,
        /// Where the key came from.
        from: Origin,
    },
    /// The user was signed in already, and that was not touched.
    Kept {
        /// What is used instead of the key.
        credential: CredentialId,
        /// Where the key that is not used comes from.
        offered: Origin,
    },
}

impl fmt::Display for KeyChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stored { credential, from } => {
                write!(f, "{credential} has the api key of {from}, since there was no sign-in")
            }
            Self::Kept { credential, offered } => write!(
                f,
                "{credential} is kept and the api key of {offered} is not used, since a stored \
                 sign-in is never replaced by itself; sign out first to use the key"
            ),
        }
    }
}

/// A sign-in of one user to one provider. One of the `with_…` and `in_…` methods carries it out.
///
/// ```
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let openai = SimulatedProvider::openai().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(openai.spec()).start().await?;
/// let ada = runtime.user("ada");
///
/// // By a key, which is stored, or first shown to the provider.
/// let key = openai.issue_api_key();
/// let credential = ada.sign_in("openai").label("work").with_verified_api_key(key).await?;
/// assert_eq!(credential.to_string(), "ada/openai/api-key/work");
///
/// // In a browser elsewhere, whose last address or code the user pastes here.
/// let login = ada.sign_in("openai").by_paste().await?;
/// println!("open {}", login.url());
/// # let pasted = openai.approve_for_paste(login.url())?;
/// login.paste(&pasted).await?;
/// let credential = login.finished().await?;
/// assert_eq!(credential.to_string(), "ada/openai/authorization-code");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "say how to sign in, for example with_api_key"]
pub struct SignIn {
    user: User,
    provider: String,
    label: Result<Label, NameError>,
}

impl SignIn {
    pub(super) fn new(user: User, provider: &str) -> Self {
        Self { user, provider: provider.to_owned(), label: Ok(Label::default()) }
    }

    /// Tells this account apart from others of the same user at the same provider.
    pub fn label(mut self, label: &str) -> Self {
        self.label = Label::new(label);
        self
    }

    /// Stores an API key, after a look at its shape.
    ///
    /// # Errors
    ///
    /// When it can not be a key of this provider, or the vault does not take it.
    pub async fn with_api_key(self, key: impl Into<Secret>) -> Result<CredentialId, Error> {
        let id = self.id(Method::ApiKey)?;
        self.store_key(&id, key.into()).instrument(span(&id)).await?;
        Ok(id)
    }

    /// As [`SignIn::with_api_key`], after asking the provider whether it takes the key: one small
    /// request that costs nothing.
    ///
    /// # Errors
    ///
    /// As [`SignIn::with_api_key`]; when the provider does not take it
    /// ([`Error::is_invalid_input`]), does not say for now ([`Error::is_transient`]), or has no
    /// address at which a key can be checked ([`Error::is_configuration`]).
    pub async fn with_verified_api_key(
        self,
        key: impl Into<Secret>,
    ) -> Result<CredentialId, Error> {
        let id = self.id(Method::ApiKey)?;
        self.store_verified_key(&id, key.into()).instrument(span(&id)).await?;
        Ok(id)
    }

    async fn store_verified_key(&self, id: &CredentialId, key: Secret) -> Result<(), Error> {
        let runtime = &self.user.runtime;
        let provider = runtime.0.credentials.provider(&id.provider)?;
        self.recorded(id, AuditKind::SignInFailed, provider.check_api_key(&key))?;
        let transport = &runtime.0.credentials.shared().transport;
        let verified = in_time(transport, provider.verify_api_key(transport, &key)).await;
        let verified = verified.map_err(Error::from).and_then(|verdict| match verdict {
            KeyVerdict::Accepted => Ok(()),
            KeyVerdict::Refused => Err(Error::new(
                ErrorKind::InvalidInput,
                format!("{} does not take this api key, paste another", id.provider),
            )),
            KeyVerdict::NotOffered => Err(Error::new(
                ErrorKind::Configuration,
                format!("{} can not check an api key, set api_key.probe", id.provider),
            )),
        });
        self.recorded(id, AuditKind::SignInFailed, verified)?;
        self.store_key(id, key).await
    }

    async fn store_key(&self, id: &CredentialId, key: Secret) -> Result<(), Error> {
        let credential = self.user.runtime.credential(id).await?;
        let provider = self.user.runtime.0.credentials.provider(&id.provider)?;
        let stored = match provider.check_api_key(&key) {
            Ok(()) => credential.store(SignInWith::ApiKey(key)).await,
            Err(error) => Err(error),
        };
        self.recorded(id, AuditKind::SignInFailed, stored)?;
        Ok(())
    }

    /// Stores the API key that the settings offer for this provider (a variable such as
    /// `OPENAI_API_KEY`, or `api_key.value`), unless the user is signed in there under this label
    /// already, by whichever method. The answer says what was chosen, and why.
    ///
    /// # Errors
    ///
    /// When the settings offer no key, or the vault does not take it.
    pub async fn with_offered_key(self) -> Result<KeyChoice, Error> {
        let id = self.id(Method::ApiKey)?;
        let Some(offered) = self.user.runtime.0.api_keys.get(&id.provider).cloned() else {
            return Err(no_offered_key(&id.provider));
        };
        let ids = self.user.credential_ids().await?;
        let credentials = &self.user.runtime.0.credentials;
        let same_account = |other: &CredentialId| {
            other.provider == id.provider && other.label == id.label && credentials.offers(other)
        };
        if let Some(credential) = ids.into_iter().find(same_account) {
            return Ok(KeyChoice::Kept { credential, offered: offered.origin });
        }
        let credential = self.with_api_key(offered.key).await?;
        Ok(KeyChoice::Stored { credential, from: offered.origin })
    }

    /// Obtains a token by the client credentials that the provider is configured with
    /// (RFC 6749 §4.4).
    ///
    /// # Errors
    ///
    /// When the provider has no client configured or refuses it, or can not be reached.
    pub async fn with_client_credentials(self) -> Result<CredentialId, Error> {
        self.obtain(Method::ClientCredentials).await
    }

    /// Obtains a token for the assertion that the provider is configured with (RFC 7523;
    /// Anthropic's Workload Identity Federation). The assertion is read afresh from its source
    /// now, and again for each renewal.
    ///
    /// # Errors
    ///
    /// When no assertion is configured or its source gives none, the provider refuses it, or it
    /// can not be reached.
    pub async fn with_assertion(self) -> Result<CredentialId, Error> {
        self.obtain(Method::JwtBearer).await
    }

    /// Begins a sign-in in a browser (RFC 6749 §4.1 with PKCE, RFC 7636): open
    /// [`Login::url`], and wait for [`Login::finished`]. The browser comes back to a listener on
    /// the loopback address; where that can not be, [`Login::paste`] does.
    ///
    /// # Errors
    ///
    /// When the provider has no browser sign-in or no client configured, or the user has too many
    /// sign-ins pending.
    pub async fn in_browser(self) -> Result<Login, Error> {
        self.begin(Receiver::Loopback).await
    }

    /// As [`SignIn::in_browser`] in the browser of another machine: the user pastes what it shows at the
    /// end into [`Login::paste`], a code or the address that it could not open. A listener is opened
    /// only where the provider has no page of its own that shows the code, in case the browser is on
    /// this machine after all.
    ///
    /// # Errors
    ///
    /// As [`SignIn::in_browser`].
    pub async fn by_paste(self) -> Result<Login, Error> {
        self.begin(Receiver::Paste).await
    }

    /// Begins a sign-in on another device (RFC 8628): show the user [`DeviceLogin::user_code`] and
    /// [`DeviceLogin::verification_uri`], and wait for [`DeviceLogin::finished`].
    ///
    /// # Errors
    ///
    /// When the provider has no such sign-in or no client configured, can not be reached, or the
    /// user has too many sign-ins pending.
    pub async fn with_device_code(self) -> Result<DeviceLogin, Error> {
        let request = self.request(Method::DeviceCode).await?;
        self.user.runtime.0.logins.begin_device(request).await
    }

    async fn begin(self, receiver: Receiver) -> Result<Login, Error> {
        let request = self.request(Method::AuthorizationCode).await?;
        self.user.runtime.0.logins.begin(request, receiver).await
    }

    /// Signs in by a method that needs no user, which is the same as renewing by it.
    async fn obtain(self, method: Method) -> Result<CredentialId, Error> {
        let id = self.id(method)?;
        self.store_obtained(&id).instrument(span(&id)).await?;
        Ok(id)
    }

    async fn store_obtained(&self, id: &CredentialId) -> Result<(), Error> {
        let runtime = &self.user.runtime;
        let credential = runtime.credential(id).await?;
        let provider = runtime.0.credentials.provider(&id.provider)?;
        let method = id.method;
        let renewal = Renewal { method, refresh_token: None, in_force: None };
        let transport = &runtime.0.credentials.shared().transport;
        let granted = in_time(transport, provider.renew(transport, renewal)).await;
        let granted = granted.map_err(Error::from);
        let grant = self.recorded(id, AuditKind::GenerationFailed, granted)?;
        let stored = credential.store(SignInWith::Grant(grant)).await;
        self.recorded(id, AuditKind::SignInFailed, stored)?;
        Ok(())
    }

    async fn request(&self, method: Method) -> Result<LoginRequest, Error> {
        let id = self.id(method)?;
        let runtime = &self.user.runtime;
        let credential = runtime.credential(&id).await?;
        let provider = runtime.0.credentials.provider(&id.provider)?.clone();
        let CredentialId { user, label, .. } = id;
        let sink: GrantSink = Arc::new(move |grant| {
            let credential = credential.clone();
            Box::pin(async move { credential.store(SignInWith::Grant(grant)).await })
        });
        Ok(LoginRequest { user, provider, label, sink })
    }

    /// Records and reports the failure of a sign-in. Of one that succeeds the credential itself does.
    fn recorded<T>(
        &self,
        id: &CredentialId,
        kind: AuditKind,
        outcome: Result<T, Error>,
    ) -> Result<T, Error> {
        outcome.inspect_err(|error| {
            let entry = AuditEntry::of_credential(kind, id);
            let runtime = &self.user.runtime.0;
            runtime.vault.note(entry.origin("sign-in").because_of(error));
            let (credential, reason) = (id.clone(), error.to_string());
            runtime.events.emit(EventKind::SignInFailed { credential, reason });
        })
    }

    fn id(&self, method: Method) -> Result<CredentialId, Error> {
        Ok(CredentialId {
            user: self.user.id()?.clone(),
            provider: self.user.provider(&self.provider)?,
            method,
            label: self.label.clone()?,
        })
    }
}

/// What a sign-in that is carried out at once stands in.
fn span(id: &CredentialId) -> Span {
    info_span!("sign-in", credential = %id)
}

fn no_offered_key(provider: &ProviderId) -> Error {
    Error::new(
        ErrorKind::Configuration,
        format!(
            "the settings offer no api key for {provider}, set providers.{provider}.api_key.value \
             or the provider's variable"
        ),
    )
}
