//! A message, and where it can be found once Orange has taken it.

use http::header::LOCATION;
use serde_json::{Value, json};
use url::Url;

use super::PhoneNumber;
use crate::service::ServiceError;
use crate::service::answer::Answer;

/// A message from one number to another.
///
/// [`Orange::send_sms`](super::Orange::send_sms) sends it.
///
/// ```
/// use tokenward::service::orange::Sms;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let sms = Sms::new("+33600000000".parse()?, "+33612345678".parse()?, "hello")
///     .sender_name("Host");
/// # let _ = sms;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sms {
    from: PhoneNumber,
    to: PhoneNumber,
    text: String,
    sender_name: Option<String>,
}

/// A message that Orange has taken. Whether it is delivered is known later.
///
/// [`Orange::send_sms`](super::Orange::send_sms) answers with it.
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
/// match sent.resource_url {
///     Some(url) => println!("its delivery is told at {url}"),
///     None => println!("it is sent; Orange does not say where it keeps it"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SentSms {
    /// Where Orange keeps it. None when the answer does not say so: the message is sent all the
    /// same, and an error would make somebody send it again. It is Orange's word, so authenticate
    /// no request to another origin because of it.
    pub resource_url: Option<Url>,
}

impl Sms {
    /// A message of `text`. `from` is the number that Orange gave the application.
    pub fn new(from: PhoneNumber, to: PhoneNumber, text: impl Into<String>) -> Self {
        Self { from, to, text: text.into(), sender_name: None }
    }

    /// The name that is shown in place of the number, where Orange has registered it.
    #[must_use]
    pub fn sender_name(mut self, name: impl Into<String>) -> Self {
        self.sender_name = Some(name.into());
        self
    }

    pub(super) fn check(&self) -> Result<(), ServiceError> {
        if self.text.is_empty() {
            return Err(ServiceError::invalid("message", "a message has some text, give it"));
        }
        Ok(())
    }

    /// A number has digits alone, so only its prefix has to be encoded.
    pub(super) fn path(&self) -> String {
        format!("/smsmessaging/v1/outbound/tel%3A%2B{}/requests", self.from.digits())
    }

    pub(super) fn body(&self) -> Value {
        let mut request = json!({
            "address": self.to.to_uri(),
            "senderAddress": self.from.to_uri(),
            "outboundSMSTextMessage": { "message": self.text },
        });
        if let Some(name) = &self.sender_name {
            request["senderName"] = name.as_str().into();
        }
        json!({ "outboundSMSMessageRequest": request })
    }
}

impl SentSms {
    /// What a 201 says.
    pub(super) fn of(answer: &Answer) -> Self {
        let body: Value = answer.json().unwrap_or_default();
        let told = body["outboundSMSMessageRequest"]["resourceURL"].as_str();
        let header = answer.headers.get(LOCATION).and_then(|value| value.to_str().ok());
        Self { resource_url: told.or(header).and_then(|text| Url::parse(text).ok()) }
    }
}
