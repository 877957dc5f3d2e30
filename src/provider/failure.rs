//! How a provider's failures are told apart: one closed list of classes, each with one meaning for
//! the credential's life.

use std::fmt;
use std::time::Duration;

use crate::error::{Error, ErrorKind};
use crate::oauth::TransportError;

/// Why an exchange with a provider did not produce a grant.
///
/// ```
/// use std::time::Duration;
/// use tokenward::provider::{Failure, FailureClass};
///
/// // A provider of your own was told to wait, before anything could be spent.
/// let retry_after = Some(Duration::from_secs(30));
/// let failure = Failure::new(FailureClass::RateLimited { retry_after }, "asked too often");
/// assert_eq!(failure.retry_after(), retry_after);
/// assert!(tokenward::Error::from(failure).is_rate_limited());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failure {
    /// What it means for the credential.
    pub class: FailureClass,
    /// What happened, for people: status and error code, never a body, never a secret.
    pub reason: String,
    /// Whether the provider may have received the request. An authorization code that was sent is
    /// never sent again, whatever the answer was.
    pub sent: bool,
}

/// What a failure means for the credential's life.
///
/// ```
/// use std::time::Duration;
/// use tokenward::provider::{Failure, FailureClass};
///
/// /// What an answer to a renewal means, at a provider of your own.
/// fn failure_of(status: u16) -> Failure {
///     let class = match status {
///         400 => FailureClass::ReauthorizationRequired,
///         401 | 403 => FailureClass::Misconfigured,
///         429 => FailureClass::RateLimited { retry_after: Some(Duration::from_secs(60)) },
///         500.. => FailureClass::Transient { retry_after: None },
///         _ => FailureClass::Unlisted,
///     };
///     Failure::new(class, format!("the token endpoint answered {status}"))
/// }
///
/// // Whoever waits for the token is told what can be done about it.
/// assert!(tokenward::Error::from(failure_of(400)).needs_reauthorization());
/// assert!(tokenward::Error::from(failure_of(401)).is_configuration());
/// assert!(tokenward::Error::from(failure_of(503)).is_transient());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FailureClass {
    /// The provider or the way to it failed before anything was spent: keep the credential, try
    /// again with back-off, no sooner than the provider asked for.
    ///
    /// An answer of 5xx, 408 or an HTML 403 is taken for this. A gateway may answer 502, 503 or 504
    /// though the server behind it has spent a single-use refresh token; then the next attempt, which
    /// is not held back as one in doubt would be, meets the refusal of a token that was spent, and
    /// the user signs in again. The other way round each outage would put every credential in doubt.
    Transient {
        /// The provider's `Retry-After`, when it gave one.
        retry_after: Option<Duration>,
    },
    /// The endpoint limits the rate: as transient, and no sooner than the provider asked for.
    RateLimited {
        /// The provider's `Retry-After`, when it gave one.
        retry_after: Option<Duration>,
    },
    /// The provider said that this grant is over. Only codes of the provider's table say so.
    ReauthorizationRequired,
    /// The operator has to act: a wrong client, scope or endpoint. The credential is kept.
    Misconfigured,
    /// The endpoint refused in words of its own that its table does not know. Nothing was spent: the
    /// credential is kept, and tried again with a long back-off.
    Unlisted,
    /// The answer makes no sense: HTML, torn JSON, a missing token. The credential is kept and
    /// tried again with a long back-off. A single-use refresh token may be spent.
    Protocol,
    /// The request may have reached the provider, and no usable answer came back: a single-use
    /// refresh token may be spent.
    Uncertain,
}

impl FailureClass {
    /// The name, as metrics write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Transient { .. } => "transient",
            Self::RateLimited { .. } => "rate-limited",
            Self::ReauthorizationRequired => "reauthorization-required",
            Self::Misconfigured => "misconfigured",
            Self::Unlisted => "unlisted",
            Self::Protocol => "protocol",
            Self::Uncertain => "uncertain",
        }
    }

    /// Whether a single-use token that was sent may be spent: nobody can tell, because no answer
    /// came, or none that can be read.
    pub fn may_have_spent(self) -> bool {
        matches!(self, Self::Uncertain | Self::Protocol)
    }
}

impl Failure {
    /// A failure of `class`, explained by `reason`, of a request that may have been received.
    pub fn new(class: FailureClass, reason: impl Into<String>) -> Self {
        Self { class, reason: reason.into(), sent: true }
    }

    /// The same of a request that the provider can not have received.
    #[must_use]
    pub fn not_sent(self) -> Self {
        Self { sent: false, ..self }
    }

    /// The same of a request that gives nothing away which is good only once, such as one with client
    /// credentials: where nobody knows what became of it, it is asked again.
    #[must_use]
    pub fn spending_nothing(self) -> Self {
        let class = match self.class {
            FailureClass::Uncertain => FailureClass::Transient { retry_after: None },
            class => class,
        };
        Self { class, ..self }
    }

    /// What the provider asked for by `Retry-After`.
    pub fn retry_after(&self) -> Option<Duration> {
        match self.class {
            FailureClass::Transient { retry_after } | FailureClass::RateLimited { retry_after } => {
                retry_after
            }
            _ => None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Failure {}

impl From<TransportError> for Failure {
    /// Of a request that gives away a token or a code which may be good only once; of any other see
    /// [`Failure::spending_nothing`].
    fn from(error: TransportError) -> Self {
        let class = match error {
            TransportError::Refused(_) => FailureClass::Misconfigured,
            TransportError::Unreached(_) => FailureClass::Transient { retry_after: None },
            TransportError::Ambiguous(_) => FailureClass::Uncertain,
            TransportError::TooLong => FailureClass::Protocol,
        };
        Self { class, reason: error.to_string(), sent: error.may_have_been_sent() }
    }
}

impl From<Failure> for Error {
    /// What a caller learns who waited for the exchange.
    fn from(failure: Failure) -> Self {
        let kind = match failure.class {
            FailureClass::Transient { .. } => ErrorKind::Transient,
            FailureClass::RateLimited { .. } => ErrorKind::RateLimited,
            FailureClass::ReauthorizationRequired => ErrorKind::ReauthorizationRequired,
            FailureClass::Misconfigured => ErrorKind::Configuration,
            FailureClass::Unlisted | FailureClass::Protocol => ErrorKind::Protocol,
            FailureClass::Uncertain => ErrorKind::Uncertain,
        };
        match failure.retry_after() {
            Some(after) => Self::retry_in(kind, failure.reason, after),
            None if kind == ErrorKind::ReauthorizationRequired => {
                Self::new(kind, format!("{}, sign in again", failure.reason))
            }
            None => Self::new(kind, failure.reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_sent_spent_nothing_and_what_may_have_been_sent_is_in_doubt() {
        let failed = |error: TransportError| Failure::from(error);
        let unreached = failed(TransportError::Unreached("no connection".to_owned()));
        assert!(!unreached.sent && !unreached.class.may_have_spent());
        let refused = failed(TransportError::Refused("plain text".to_owned()));
        assert_eq!((refused.sent, refused.class), (false, FailureClass::Misconfigured));

        let ambiguous = failed(TransportError::Ambiguous("it broke off".to_owned()));
        assert!(ambiguous.sent && ambiguous.class == FailureClass::Uncertain);
        assert!(failed(TransportError::TooLong).class.may_have_spent());
        let again = ambiguous.spending_nothing();
        assert_eq!(again.class, FailureClass::Transient { retry_after: None });
        assert!(again.sent);
    }

    #[test]
    fn a_caller_learns_what_to_do_about_a_failure() {
        let wait = Duration::from_secs(3);
        let limited = FailureClass::RateLimited { retry_after: Some(wait) };
        let error = Error::from(Failure::new(limited, "the provider asks for patience"));
        assert!(error.is_transient());
        assert_eq!(error.retry_after(), Some(wait));
        assert_eq!(error.to_string(), "the provider asks for patience");

        let over = Error::from(Failure::new(FailureClass::ReauthorizationRequired, "over"));
        assert!(over.needs_reauthorization() && !over.is_transient());
        let wrong = Error::from(Failure::new(FailureClass::Misconfigured, "wrong client"));
        assert!(wrong.is_configuration() && !wrong.is_transient());
    }
}
