//! A request that is authenticated here and sent elsewhere, and what to do, once, when the answer
//! refuses its credential.

use std::fmt;

use http::{HeaderMap, StatusCode};
use reqwest::Request;

use super::attempt::with_headers_of;
use crate::error::Error;
use crate::runtime::Authentication;

/// A request with the headers of a usable token, for hosts with an HTTP client of their own.
///
/// Send it soon, since its token expires, and follow no redirect to another origin with it.
///
/// [`Recovery`] shows how one is sent.
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
/// let prepared = session.client().get("/v1/models").prepare().await?;
/// let request = prepared.request();
/// assert_eq!(request.url().path(), "/v1/models");
/// assert!(request.headers()["x-api-key"].is_sensitive());
/// # Ok(())
/// # }
/// ```
pub struct PreparedRequest {
    request: Request,
    recovery: Recovery,
}

/// What can be done about an answer that refuses the credential: to renew it and to send the
/// request once more. It is used up by that, so that no loop can come of it.
///
/// ```
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let openai = SimulatedProvider::openai().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(openai.spec()).start().await?;
/// # let ada = runtime.user("ada");
/// # let login = ada.sign_in("openai").by_paste().await?;
/// # login.paste(&openai.approve_for_paste(login.url())?).await?;
/// # let session = ada.open_session().await?;
/// # session.use_provider("openai").await?;
/// # let ring = rustls::crypto::ring::default_provider().into();
/// # let tls = rustls::ClientConfig::builder_with_provider(ring)
/// #     .with_safe_default_protocol_versions()?
/// #     .with_root_certificates(rustls::RootCertStore::empty())
/// #     .with_no_client_auth();
/// # let own = reqwest::Client::builder().tls_backend_preconfigured(tls).build()?;
/// # openai.expire_access_tokens();
/// let prepared = session.client().get("/v1/models").prepare().await?;
/// let (request, recovery) = prepared.into_parts();
/// let mut reply = own.execute(request).await?;
/// // No body to look at here: this provider says by its status that it refuses a credential.
/// if let Some(again) = recovery.after(reply.status(), b"").await {
///     reply = own.execute(again).await?;
/// }
/// assert_eq!(reply.status(), 200);
/// # Ok(())
/// # }
/// ```
pub struct Recovery {
    again: Option<Request>,
    /// The caller's own headers.
    headers: HeaderMap,
    authentication: Authentication,
}

impl PreparedRequest {
    /// `request` has no headers yet; `headers` are the caller's own, without those of its connection.
    pub(super) fn new(
        mut request: Request,
        headers: HeaderMap,
        authentication: Authentication,
    ) -> Result<Self, Error> {
        let again = request.try_clone();
        *request.headers_mut() = with_headers_of(&headers, authentication.headers.clone())?;
        Ok(Self { request, recovery: Recovery { again, headers, authentication } })
    }

    /// The request as it is to be sent. Its headers hold the secret, marked as sensitive.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// The request, and what may follow it.
    pub fn into_parts(self) -> (Request, Recovery) {
        (self.request, self.recovery)
    }
}

impl Recovery {
    /// Whether an answer with this status has to be read before [`Recovery::after`] can tell
    /// whether it refuses the credential.
    pub fn wants_body(&self, status: StatusCode) -> bool {
        self.authentication.wants_body(status)
    }

    /// The request to send instead, with another token, when an answer with this status and this
    /// body refuses the credential; none when it does not, no other token is to be had, or the
    /// body of the request was a stream. `body` may be empty unless [`Recovery::wants_body`].
    ///
    /// It is used up by that. When the other request is refused as well, nobody is told, and
    /// [`Session::explain`](crate::Session::explain) does not say it before the refusal of a later request is
    /// reported; where that matters, take [`Session::authentication`](crate::Session::authentication).
    pub async fn after(self, status: StatusCode, body: &[u8]) -> Option<Request> {
        if !self.authentication.is_refusal(status, body) {
            return None;
        }
        // Renewed also when this request can not be sent again: the next one needs it.
        let next = self.authentication.after_refusal().await?;
        let mut again = self.again?;
        *again.headers_mut() = with_headers_of(&self.headers, next.headers).ok()?;
        Some(again)
    }
}

impl fmt::Debug for PreparedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PreparedRequest")
            .field("method", self.request.method())
            .field("host", &self.request.url().host_str())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recovery")
            .field("credential", &self.authentication.credential)
            .finish_non_exhaustive()
    }
}
