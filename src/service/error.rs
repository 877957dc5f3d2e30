//! Why a call to a service could not be met, by what a caller can do about it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use crate::error::{Error, ErrorKind};

/// Why a call to a service failed. Its text names the service and what to do, and never holds the
/// body of an answer.
///
/// ```
/// use tokenward::service::ServiceErrorKind;
/// use tokenward::service::memory_bank::MemoryBank;
///
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let bank = SimulatedProvider::memory_bank().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(bank.spec()).start().await?;
/// # let ada = runtime.user("ada");
/// # ada.sign_in("memory-bank").with_client_credentials().await?;
/// # let session = ada.open_session().await?;
/// # session.use_provider("memory-bank").await?;
/// # let bank_of_hers = MemoryBank::new(session.client_for("memory-bank").await?);
/// let error = bank_of_hers.get(&"none".parse()?).await.expect_err("there is no such memory");
/// match error.kind() {
///     ServiceErrorKind::NotFound => println!("it is gone"),
///     ServiceErrorKind::Invalid => println!("mend {:?}", error.field()),
///     _ if error.is_transient() => println!("again in {:?}", error.retry_after()),
///     _ => println!("{error}"),
/// }
/// # assert_eq!(error.kind(), ServiceErrorKind::NotFound);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ServiceError(Arc<Inner>);

struct Inner {
    kind: ServiceErrorKind,
    message: String,
    status: Option<StatusCode>,
    field: Option<String>,
    scope: Option<String>,
    retry_after: Option<Duration>,
    idempotency_key: Option<String>,
    may_have_arrived: bool,
    source: Option<Error>,
}

/// What kind of failure it was.
///
/// ```
/// use tokenward::service::ServiceErrorKind;
/// use tokenward::service::memory_bank::{MemoryBank, NewMemory};
///
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let bank = SimulatedProvider::memory_bank().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(bank.spec()).start().await?;
/// # let ada = runtime.user("ada");
/// # ada.sign_in("memory-bank").with_client_credentials().await?;
/// # let session = ada.open_session().await?;
/// # session.use_provider("memory-bank").await?;
/// # let bank = MemoryBank::new(session.client_for("memory-bank").await?);
/// let error = bank.create(&NewMemory::new(" ")).await.expect_err("nothing to remember");
/// // What a host answers its own caller.
/// let status = match error.kind() {
///     ServiceErrorKind::Invalid => 400,
///     ServiceErrorKind::NotFound => 404,
///     _ if error.is_transient() => 503,
///     _ => 502,
/// };
/// assert_eq!((status, error.field()), (400, Some("content")));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServiceErrorKind {
    /// The service does not have what was asked for.
    NotFound,
    /// The request can not be used as it is; [`ServiceError::field`] names what to correct.
    Invalid,
    /// It stands against what the service has by now.
    Conflict,
    /// There is no credential that the service takes: sign in again, or correct the client.
    Unauthorized,
    /// The credential is good, and does not allow this; [`ServiceError::scope`] names what is
    /// missing where the service says so.
    Forbidden,
    /// There is too much of us; [`ServiceError::retry_after`] tells for how long.
    RateLimited,
    /// The service, or the way to it or to a token, fails for now.
    /// [`ServiceError::may_have_arrived`] tells whether it may have been carried out all the same.
    Unavailable,
    /// It was held back here: calls to the service fail, or more is asked than is admitted.
    HeldBack,
    /// The service, or whoever issues its tokens, answered what its documentation does not have.
    Malformed,
    /// The vault with the credential can not be opened: its key is missing or another one, another
    /// process has it, or it is damaged.
    Vault,
    /// The session or the credential is gone, or the runtime is stopping.
    Gone,
}

impl ServiceError {
    pub(super) fn new(kind: ServiceErrorKind, message: impl Into<String>) -> Self {
        Self(Arc::new(Inner {
            kind,
            message: message.into(),
            status: None,
            field: None,
            scope: None,
            retry_after: None,
            idempotency_key: None,
            may_have_arrived: false,
            source: None,
        }))
    }

    /// What the caller gave for `field` can not be sent.
    pub(super) fn invalid(field: &str, message: impl Into<String>) -> Self {
        Self::new(ServiceErrorKind::Invalid, message).with_field(Some(field.to_owned()))
    }

    pub(super) fn with_status(self, status: StatusCode) -> Self {
        self.changed(|inner| {
            inner.status = Some(status);
            inner.may_have_arrived = true;
        })
    }

    pub(super) fn with_field(self, field: Option<String>) -> Self {
        self.changed(|inner| inner.field = field)
    }

    pub(super) fn with_scope(self, scope: Option<String>) -> Self {
        self.changed(|inner| inner.scope = scope)
    }

    pub(super) fn with_retry_after(self, retry_after: Option<Duration>) -> Self {
        self.changed(|inner| inner.retry_after = retry_after)
    }

    pub(super) fn with_idempotency_key(self, key: &str) -> Self {
        self.changed(|inner| inner.idempotency_key = Some(key.to_owned()))
    }

    /// Errors are changed while they are made, when nobody else holds them.
    fn changed(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            change(inner);
        }
        self
    }

    /// What kind of failure it was.
    pub fn kind(&self) -> ServiceErrorKind {
        self.0.kind
    }

    /// The status of the answer; none when there was no answer.
    pub fn status(&self) -> Option<StatusCode> {
        self.0.status
    }

    /// The field of the request that can not be used.
    pub fn field(&self) -> Option<&str> {
        self.0.field.as_deref()
    }

    /// The scope that the access token has to have.
    pub fn scope(&self) -> Option<&str> {
        self.0.scope.as_deref()
    }

    /// How long to wait before asking again, where that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// The idempotency key of a creation that failed. To ask again under the same key makes sure
    /// that it is carried out once, also when this attempt was carried out unnoticed.
    pub fn idempotency_key(&self) -> Option<&str> {
        self.0.idempotency_key.as_deref()
    }

    /// Whether the service may have got the request, and may have carried it out. False: nothing of
    /// it was sent, so that to ask again can not do it twice. In doubt it is true.
    pub fn may_have_arrived(&self) -> bool {
        self.0.may_have_arrived
    }

    /// Whether the same call may succeed later with nothing changed.
    pub fn is_transient(&self) -> bool {
        use ServiceErrorKind as Kind;
        matches!(self.0.kind, Kind::RateLimited | Kind::Unavailable | Kind::HeldBack)
    }
}

impl From<Error> for ServiceError {
    fn from(error: Error) -> Self {
        use ServiceErrorKind as Kind;
        let kind = match error.kind() {
            ErrorKind::Transient | ErrorKind::Interrupted | ErrorKind::VaultUnavailable => {
                Kind::Unavailable
            }
            ErrorKind::RateLimited => Kind::RateLimited,
            ErrorKind::CircuitOpen | ErrorKind::Overloaded => Kind::HeldBack,
            ErrorKind::ReauthorizationRequired
            | ErrorKind::Configuration
            | ErrorKind::Uncertain => Kind::Unauthorized,
            ErrorKind::InvalidInput => Kind::Invalid,
            ErrorKind::NotFound | ErrorKind::Expired | ErrorKind::ShuttingDown => Kind::Gone,
            ErrorKind::VaultLocked | ErrorKind::VaultInUse | ErrorKind::VaultUnreadable => {
                Kind::Vault
            }
            ErrorKind::Protocol => Kind::Malformed,
        };
        let may_have_arrived = error.was_sent();
        let retry_after = error.retry_after();
        Self::new(kind, error.to_string()).with_retry_after(retry_after).changed(|inner| {
            inner.may_have_arrived = may_have_arrived;
            inner.source = Some(error);
        })
    }
}

impl fmt::Display for ServiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for ServiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceError")
            .field("kind", &self.0.kind)
            .field("message", &self.0.message)
            .field("status", &self.0.status)
            .field("field", &self.0.field)
            .field("retry_after", &self.0.retry_after)
            .field("may_have_arrived", &self.0.may_have_arrived)
            .finish_non_exhaustive()
    }
}

impl std::error::Error for ServiceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|source| source as _)
    }
}
