//! What becomes of an answer, and how a sign-in ends, in the words of a browser page and of errors.

use crate::error::{Error, ErrorKind};
use crate::oauth::redirect::{Page, Refusal};
use crate::provider::{Failure, FailureClass};

/// What became of an answer that was handed in.
#[derive(Debug, Clone)]
pub(super) enum Verdict {
    /// The credential is stored.
    SignedIn,
    /// The provider, or the user there, refused. The sign-in is over.
    Refused(Refusal),
    /// It led to the end of the sign-in without a credential.
    Failed(Error),
    /// It could not be used yet; the same answer may be handed in again.
    TryAgain(Error),
    /// It has the state of another sign-in, or none. This one still waits.
    WrongState,
    /// It arrived at an address that is not this sign-in's. This one still waits.
    WrongAddress,
    /// Another answer was taken, and is being worked on.
    InProgress,
    /// The sign-in was over before.
    Over,
}

impl Verdict {
    /// What a browser is shown.
    pub(super) fn page(&self) -> Page {
        match self {
            Self::SignedIn => Page::SignedIn,
            Self::Refused(refusal) => Page::Refused(refusal.to_string()),
            Self::Failed(error) => Page::Failed(error.to_string()),
            Self::TryAgain(error) => Page::TryAgain(error.to_string()),
            Self::WrongState => Page::WrongState,
            Self::WrongAddress => Page::Malformed(wrong_address().to_string()),
            Self::InProgress => Page::InProgress,
            Self::Over => Page::Over,
        }
    }

    /// What a caller gets.
    pub(super) fn into_result(self) -> Result<(), Error> {
        Err(match self {
            Self::SignedIn => return Ok(()),
            Self::Refused(refusal) => refused(&refusal),
            Self::Failed(error) | Self::TryAgain(error) => error,
            Self::WrongState => Error::new(
                ErrorKind::InvalidInput,
                "this is the answer to another sign-in, paste the one to the address opened last",
            ),
            Self::WrongAddress => wrong_address(),
            Self::InProgress => Error::new(
                ErrorKind::Interrupted,
                "the sign-in is already in progress, wait for it to finish",
            ),
            Self::Over => over(),
        })
    }
}

/// The answer to whatever comes too late.
pub(super) fn over() -> Error {
    Error::new(ErrorKind::Expired, "the sign-in is over, start a new one")
}

/// How a sign-in ends whose actor died.
pub(super) fn interrupted() -> Error {
    Error::new(ErrorKind::Interrupted, "the sign-in was interrupted, start it again")
}

/// How a sign-in ends whose storing died.
pub(super) fn not_stored() -> Error {
    Error::new(ErrorKind::Interrupted, "storing the credential was interrupted, sign in again")
}

/// How a sign-in ends that the runtime did not wait for.
pub(super) fn stopping() -> Error {
    Error::new(
        ErrorKind::ShuttingDown,
        "the runtime stopped before the sign-in was completed, start it again",
    )
}

pub(super) fn expired() -> Error {
    Error::new(
        ErrorKind::Expired,
        "the sign-in was not completed within 10 minutes, start it again",
    )
}

pub(super) fn cancelled() -> Error {
    Error::new(ErrorKind::Expired, "the sign-in was cancelled, start a new one when it is wanted")
}

pub(super) fn mixed_up() -> Error {
    Error::new(
        ErrorKind::Protocol,
        "the answer came from another server than the one asked, start the sign-in again",
    )
}

fn wrong_address() -> Error {
    Error::new(
        ErrorKind::InvalidInput,
        "this is not the address at which this sign-in ends, copy the whole one that the browser \
         shows last",
    )
}

/// The provider's refusal, by what can be done about it (RFC 6749 §4.1.2.1).
pub(super) fn refused(refusal: &Refusal) -> Error {
    let (kind, advice) = match refusal.code.as_str() {
        "server_error" | "temporarily_unavailable" => (ErrorKind::Transient, "try again later"),
        "invalid_request"
        | "unauthorized_client"
        | "unsupported_response_type"
        | "invalid_scope" => {
            (ErrorKind::Configuration, "check the client id, the scopes and the redirect address")
        }
        _ => (ErrorKind::ReauthorizationRequired, "start it again and allow the access"),
    };
    Error::new(kind, format!("the provider refused the sign-in: {refusal}, {advice}"))
}

/// Whether the same code may be handed in again: it was not sent. One that was is not sent a second
/// time whatever the answer said, since a server may take that for theft and revoke what it granted
/// (RFC 6749 §4.1.2).
pub(super) fn may_try_again(failure: &Failure) -> bool {
    !failure.sent && matches!(failure.class, FailureClass::Transient { .. })
}

/// Whether the provider refused the code itself, rather than the client or the request.
pub(super) fn is_about_the_code(failure: &Failure) -> bool {
    matches!(failure.class, FailureClass::ReauthorizationRequired)
}

/// What is said of a bare code that the provider does not take, when `left` more may be tried.
pub(super) fn not_taken(failure: &Failure, left: usize) -> Error {
    let times = if left == 1 { "once more".to_owned() } else { format!("{left} more times") };
    Error::new(
        ErrorKind::InvalidInput,
        format!(
            "this code was not taken: {failure}; paste the whole code that the provider shows once \
             you have agreed there, or the whole address at which the browser ended, which can be \
             tried {times}, or start a new sign-in"
        ),
    )
}

/// What is said of a code that the provider has refused before.
pub(super) fn sent_before() -> Error {
    Error::new(
        ErrorKind::InvalidInput,
        "the provider has refused this code already and it is not sent again, copy the whole of it \
         or start a new sign-in",
    )
}

/// Whether a poll may be repeated: the provider, or the way to it, failed for now.
pub(super) fn may_ask_again(failure: &Failure) -> bool {
    matches!(failure.class, FailureClass::Transient { .. } | FailureClass::RateLimited { .. })
}

/// A failed exchange, by what can be done about it.
pub(super) fn not_exchanged(failure: &Failure) -> Error {
    let (kind, advice) = match failure.class {
        FailureClass::Transient { .. } if may_try_again(failure) => {
            (ErrorKind::Transient, "try the same code again")
        }
        FailureClass::Transient { .. } => (ErrorKind::Transient, "start the sign-in again"),
        FailureClass::RateLimited { .. } => {
            (ErrorKind::RateLimited, "start the sign-in again later")
        }
        FailureClass::ReauthorizationRequired => {
            (ErrorKind::ReauthorizationRequired, "start the sign-in again")
        }
        FailureClass::Misconfigured => {
            (ErrorKind::Configuration, "check the client id, its secret and the endpoints")
        }
        FailureClass::Unlisted | FailureClass::Protocol => {
            (ErrorKind::Protocol, "check the token endpoint")
        }
        FailureClass::Uncertain => (ErrorKind::Uncertain, "start the sign-in again"),
    };
    let text = format!("the code could not be exchanged: {failure}, {advice}");
    failure.retry_after().map_or_else(
        || Error::new(kind, text.clone()),
        |after| Error::retry_in(kind, text.clone(), after),
    )
}

/// How a device sign-in ends that the user, or the provider, refused (RFC 8628 §3.5).
pub(super) fn denied() -> Error {
    Error::new(
        ErrorKind::ReauthorizationRequired,
        "the sign-in was refused on the other device, start it again and allow the access",
    )
}

/// How a device sign-in ends that nobody completed (RFC 8628 §3.5).
pub(super) fn code_expired() -> Error {
    Error::new(
        ErrorKind::Expired,
        "the code was not entered on the other device in time, start the sign-in again",
    )
}

/// How a device sign-in ends when the provider will not go on with it.
pub(super) fn not_polled(failure: &Failure) -> Error {
    let (kind, advice) = match failure.class {
        FailureClass::ReauthorizationRequired => {
            (ErrorKind::ReauthorizationRequired, "start the sign-in again")
        }
        FailureClass::Misconfigured => {
            (ErrorKind::Configuration, "check the client id, its secret and the endpoints")
        }
        FailureClass::Unlisted | FailureClass::Protocol => {
            (ErrorKind::Protocol, "check the token endpoint")
        }
        _ => (ErrorKind::Transient, "start the sign-in again"),
    };
    Error::new(kind, format!("the provider does not go on with the sign-in: {failure}, {advice}"))
}
