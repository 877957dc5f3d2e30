//! A sign-in that is being described: to which provider, under which label, by which method.

use std::sync::Arc;

use super::User;
use crate::credential::SignInWith;
use crate::error::Error;
use crate::identity::{CredentialId, Label, Method, NameError};
use crate::login::{GrantSink, Login, LoginRequest, Receiver};
use crate::provider::Renewal;
use crate::secret::Secret;

/// A sign-in of one user to one provider. One of the `with_…` and `in_…` methods carries it out.
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
        let key = key.into();
        let id = self.id(Method::ApiKey)?;
        let credential = self.user.runtime.credential(&id).await?;
        self.user.runtime.0.credentials.provider(&id.provider)?.check_api_key(&key)?;
        credential.sign_in(SignInWith::ApiKey(key)).await?;
        Ok(id)
    }

    /// Obtains a token by the client credentials that the provider is configured with
    /// (RFC 6749 §4.4).
    ///
    /// # Errors
    ///
    /// When the provider has no client configured or refuses it, or can not be reached.
    pub async fn with_client_credentials(self) -> Result<CredentialId, Error> {
        let id = self.id(Method::ClientCredentials)?;
        let runtime = &self.user.runtime;
        let credential = runtime.credential(&id).await?;
        let provider = runtime.0.credentials.provider(&id.provider)?;
        let renewal = Renewal { method: id.method, refresh_token: None, in_force: None };
        let transport = &runtime.0.credentials.shared().transport;
        let grant = provider.renew(transport, renewal).await?;
        credential.sign_in(SignInWith::Grant(grant)).await?;
        Ok(id)
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

    /// As [`SignIn::in_browser`] on another machine's browser: no listener is opened, and the user
    /// pastes what the provider shows into [`Login::paste`].
    ///
    /// # Errors
    ///
    /// As [`SignIn::in_browser`].
    pub async fn by_paste(self) -> Result<Login, Error> {
        self.begin(Receiver::Paste).await
    }

    async fn begin(self, receiver: Receiver) -> Result<Login, Error> {
        let id = self.id(Method::AuthorizationCode)?;
        let runtime = &self.user.runtime;
        let credential = runtime.credential(&id).await?;
        let provider = runtime.0.credentials.provider(&id.provider)?.clone();
        let CredentialId { user, label, .. } = id;
        let sink: GrantSink = Arc::new(move |grant| {
            let credential = credential.clone();
            Box::pin(async move { credential.sign_in(SignInWith::Grant(grant)).await })
        });
        runtime.0.logins.begin(LoginRequest { user, provider, label, receiver, sink }).await
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
