//! A client bound to a session: each request goes to whatever provider is active when it is sent,
//! or to the one that the client was made for.

use http::Method;

use super::request::RequestBuilder;
use crate::credential::CredentialHandle;
use crate::error::Error;
use crate::runtime::{Authentication, Session};

/// Sends requests as the user of a session.
///
/// The active provider gives the base URL and the credential, so a path such as `/v1/messages` is
/// all a request needs. A request whose credential is refused (401) is sent once more with a
/// renewed one, when there is one and the body can be sent again.
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
/// let client = session.client();
/// let reply = client.get("/v1/models").query("limit", "20").send().await?;
/// assert_eq!(reply.status(), 200);
///
/// // Only to the provider that is active in the session, and to no other place.
/// let elsewhere = client.get("https://elsewhere.example/v1/models").send().await;
/// assert!(elsewhere.expect_err("refused").is_invalid_input());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Client {
    session: Session,
    /// None: that of whatever provider is active.
    credential: Option<CredentialHandle>,
}

impl Session {
    /// A client that authenticates as this session's active provider. Costs a reference count;
    /// connections are shared by the whole runtime.
    pub fn client(&self) -> Client {
        Client { session: self.clone(), credential: None }
    }

    /// A client that uses `provider`, whichever is active: by the credential that
    /// [`Session::use_provider`] would choose now. It is how a host calls a service beside the
    /// session's active provider, and no switch changes where its requests go.
    ///
    /// # Errors
    ///
    /// When the user is not signed in there, there is no such provider, or the session is gone.
    pub async fn client_for(&self, provider: &str) -> Result<Client, Error> {
        let credential = self.credential_for(provider).await?;
        Ok(Client { session: self.clone(), credential: Some(credential) })
    }
}

impl Client {
    /// A `GET` of `path`.
    pub fn get(&self, path: impl Into<String>) -> RequestBuilder {
        self.request(Method::GET, path)
    }

    /// A `POST` to `path`.
    pub fn post(&self, path: impl Into<String>) -> RequestBuilder {
        self.request(Method::POST, path)
    }

    /// A `PUT` to `path`.
    pub fn put(&self, path: impl Into<String>) -> RequestBuilder {
        self.request(Method::PUT, path)
    }

    /// A `PATCH` of `path`.
    pub fn patch(&self, path: impl Into<String>) -> RequestBuilder {
        self.request(Method::PATCH, path)
    }

    /// A `DELETE` of `path`.
    pub fn delete(&self, path: impl Into<String>) -> RequestBuilder {
        self.request(Method::DELETE, path)
    }

    /// A `HEAD` of `path`.
    pub fn head(&self, path: impl Into<String>) -> RequestBuilder {
        self.request(Method::HEAD, path)
    }

    /// A request of any method. `path` begins with a slash, and may hold a query; a whole URL is
    /// taken when it is of the active provider's own origin.
    pub fn request(&self, method: Method, path: impl Into<String>) -> RequestBuilder {
        RequestBuilder::new(self.session.clone(), self.credential.clone(), method, path.into())
    }

    /// What authenticates one request, for hosts with an HTTP client of their own.
    ///
    /// # Errors
    ///
    /// As [`Session::authentication`].
    pub async fn authentication(&self) -> Result<Authentication, Error> {
        match &self.credential {
            None => self.session.authentication().await,
            Some(credential) => {
                let active = self.session.beside_the_active(credential)?;
                self.session.authenticated(active).await
            }
        }
    }

    /// The credential that requests carry now: for what is known of its token, to renew it, or to
    /// stop using it.
    ///
    /// # Errors
    ///
    /// When the session is gone or has no active provider.
    pub async fn credential(&self) -> Result<CredentialHandle, Error> {
        match &self.credential {
            None => Ok(self.session.active_credential().await?.credential),
            Some(credential) => Ok(credential.clone()),
        }
    }

    /// The session that it is bound to.
    pub fn session(&self) -> &Session {
        &self.session
    }
}
