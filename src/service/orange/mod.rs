//! Orange's service APIs: authenticated headers and requests, what is known of the token, and
//! messages that are sent once.
//!
//! When Orange refuses the token (401, 403, or what its
//! [error table](crate::provider::ErrorTable::credential_refused) names), it is thrown away, renewed,
//! and the request is sent once more; a refusal of what was renewed just now ends there, since an
//! application that causes many errors may lose its access. The rules are data, in
//! [`catalog::orange`](crate::provider::catalog::orange).

mod number;
mod sms;

use std::sync::Arc;

use http::{HeaderMap, Method, StatusCode};
use serde_json::Value;

pub use number::{PhoneNumber, PhoneNumberError};
pub use sms::{SentSms, Sms};

use super::ServiceError;
use super::answer::{Answer, Manner, Refusal, text};
use crate::credential::Snapshot;
use crate::error::Error;
use crate::health::HealthCheck;
use crate::http::{Client, RequestBuilder};

/// The largest answer that is read, in bytes.
const LARGEST_ANSWER: usize = 1024 * 1024;

/// Orange, as the user of a session. Cheap to clone.
///
/// ```
/// use tokenward::service::orange::{Orange, Sms};
///
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let orange = SimulatedProvider::orange().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(orange.spec()).start().await?;
/// # let ada = runtime.user("ada");
/// # ada.sign_in("orange").with_client_credentials().await?;
/// # let session = ada.open_session().await?;
/// # session.use_provider("orange").await?;
/// let service = Orange::new(session.client_for("orange").await?);
/// let sms = Sms::new("+33600000000".parse()?, "+33612345678".parse()?, "hello");
/// let sent = service.send_sms(&sms).await?;
/// println!("{:?}", sent.resource_url);
///
/// // Of its other APIs, any address beneath its base.
/// let contracts = service.request(http::Method::GET, "/sms/admin/v1/contracts");
/// # let _ = contracts;
/// # assert_eq!(orange.messages().len(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Orange {
    client: Client,
}

impl Orange {
    /// Orange, by a client that was made for it: `session.client_for("orange")`.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// The headers that authenticate a request now, in their order. They hold the token, and go to
    /// Orange's own origin alone.
    ///
    /// # Errors
    ///
    /// When no usable token is to be had.
    pub async fn headers(&self) -> Result<HeaderMap, Error> {
        Ok(self.client.authentication().await?.headers)
    }

    /// A request to any of Orange's APIs. [`send`](RequestBuilder::send) sends it and recovers from
    /// a refused token; [`prepare`](RequestBuilder::prepare) gives it authenticated, for a client of
    /// your own, with its [`Recovery`](crate::http::Recovery).
    pub fn request(&self, method: Method, path: impl Into<String>) -> RequestBuilder {
        self.client.request(method, path)
    }

    /// Sends a message. It is never sent twice after its first byte left, since each is delivered
    /// and paid for; but for the one repeat after a refused token, which is safe: Orange checks
    /// the token before it looks at a message, so that one it refuses was not delivered.
    ///
    /// # Errors
    ///
    /// When Orange does not take it. After
    /// [`Unavailable`](super::ServiceErrorKind::Unavailable) it may have been delivered, unless
    /// [`ServiceError::may_have_arrived`] says that nothing of it was sent.
    pub async fn send_sms(&self, sms: &Sms) -> Result<SentSms, ServiceError> {
        sms.check()?;
        let request = self.client.post(sms.path()).json(&sms.body());
        let answer = self.ask(request).await?.with_status(StatusCode::CREATED)?;
        Ok(SentSms::of(&answer))
    }

    /// What is known of the token: its state, generation, end and scopes, and never the token.
    ///
    /// # Errors
    ///
    /// When the runtime is stopping.
    pub async fn token(&self) -> Result<Arc<Snapshot>, Error> {
        self.client.credential().await?.inspect().await
    }

    /// Stops using the token; the next request gets a new one.
    ///
    /// # Errors
    ///
    /// When the runtime is stopping.
    pub async fn clear(&self) -> Result<(), Error> {
        self.client.credential().await?.invalidate().await.map(drop)
    }

    /// Gets a new token now, due or not.
    ///
    /// # Errors
    ///
    /// When Orange grants none.
    pub async fn refresh(&self) -> Result<Arc<Snapshot>, Error> {
        self.client.credential().await?.refresh().await
    }

    /// Asks Orange for a token and throws it away: whether that works, and how long it takes.
    ///
    /// # Errors
    ///
    /// As [`ProviderHealth::check`](crate::health::ProviderHealth::check).
    pub async fn check_health(&self) -> Result<HealthCheck, Error> {
        let credential = self.client.credential().await?;
        let runtime = self.client.session().runtime();
        runtime.check_health(credential.id().provider.as_str()).await
    }

    /// Sends a request that must not be carried out twice.
    async fn ask(&self, request: RequestBuilder) -> Result<Answer, ServiceError> {
        let manner = Manner { name: "orange", most: LARGEST_ANSWER, refusal };
        Answer::to(request, &self.client, manner).await
    }
}

/// How its answers are read, for the fuzz targets.
#[cfg(fuzzing)]
pub(super) fn reading() -> (Manner, fn(&Answer)) {
    let read = |answer: &Answer| drop(SentSms::of(answer));
    (Manner { name: "orange", most: LARGEST_ANSWER, refusal }, read)
}

/// `{"code": 42, …}`, or `{"requestError": {"serviceException": {"messageId": …, "variables": […]}}}`
/// with `policyException` for what is not allowed.
fn refusal(body: &Value) -> Refusal {
    if let Some(code) = body.get("code").and_then(Value::as_u64) {
        return Refusal { code: Some(format!("code {code}")), ..Refusal::default() };
    }
    let exceptions = ["serviceException", "policyException"].into_iter();
    let mut said = exceptions.filter_map(|kind| body.get("requestError")?.get(kind));
    let Some(exception) = said.next() else {
        return Refusal { code: text(body, "error"), ..Refusal::default() };
    };
    let field = exception.get("variables").and_then(|list| list.get(0)?.as_str());
    let field = field.map(str::to_owned);
    Refusal { code: text(exception, "messageId"), field, scope: None }
}
