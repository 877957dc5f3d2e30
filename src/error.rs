//! The one error type of the public interface: opaque, cheap to clone, asked by predicates.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::resilience::GiveUp;

/// Why a request to tokenward could not be met.
///
/// The kind is private, so that kinds can be added; callers decide by the predicates. One failure
/// is shared by everyone who waited for it, so a clone costs a reference count. Neither the text
/// nor the sources ever hold a secret or the body of an answer.
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
/// let session = ada.open_session().await?;
/// let error = session.use_provider("anthropic").await.expect_err("nobody signed in");
/// let advice = if error.needs_reauthorization() {
///     "let the user sign in".to_owned()
/// } else if error.is_transient() {
///     format!("try again, in {:?}", error.retry_after())
/// } else if error.is_configuration() {
///     "tell the operator".to_owned()
/// } else {
///     error.to_string() // It holds no secret: it can be shown.
/// };
/// assert_eq!(advice, "let the user sign in");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Error(Arc<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    retry_after: Option<Duration>,
    was_sent: bool,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What kind of failure it was. Rooms of the crate make errors by kind; the public sees predicates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrorKind {
    /// The caller gave something that can not be used.
    InvalidInput,
    /// A setting is missing or wrong.
    Configuration,
    /// There is no such user, provider, session, sign-in or credential.
    NotFound,
    /// There is a name for it but it is over: a session or sign-in that has expired, or that a later
    /// one overtook.
    Expired,
    /// The user has to sign in (again).
    ReauthorizationRequired,
    /// The other side, or the way to it, failed for now.
    Transient,
    /// The other side asked for patience.
    RateLimited,
    /// The other side answered something that makes no sense.
    Protocol,
    /// The outcome of a renewal is not known.
    Uncertain,
    /// More is asked than is admitted.
    Overloaded,
    /// The other side fails, and is left alone for a while.
    CircuitOpen,
    /// The actor that worked on it died; asking again is safe.
    Interrupted,
    /// The runtime is stopping or has stopped.
    ShuttingDown,
    /// The vault is sealed with another key, or there is no key for it.
    VaultLocked,
    /// Another process has the vault open.
    VaultInUse,
    /// The vault can not be read or written for now.
    VaultUnavailable,
    /// The vault, or a record in it, does not open, and never will by itself.
    VaultUnreadable,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self::made(kind, message.into(), None, None)
    }

    pub(crate) fn with_source(
        kind: ErrorKind,
        message: impl Into<String>,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self::made(kind, message.into(), None, Some(Box::new(source)))
    }

    pub(crate) fn retry_in(kind: ErrorKind, message: impl Into<String>, after: Duration) -> Self {
        Self::made(kind, message.into(), Some(after), None)
    }

    fn made(
        kind: ErrorKind,
        message: String,
        retry_after: Option<Duration>,
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self(Arc::new(Inner { kind, message, retry_after, was_sent: false, source }))
    }

    /// The same failure, with how often it was attempted and why no further attempt was made.
    /// `was_sent`: something of one of the attempts may have left.
    pub(crate) fn after_attempts(self, made: u32, gave_up: Option<GiveUp>, was_sent: bool) -> Self {
        let times = if made == 1 { "attempt" } else { "attempts" };
        let why = gave_up.map_or_else(String::new, |gave_up| format!(", {gave_up}"));
        let message = format!("{self} ({made} {times}{why})");
        let Inner { kind, retry_after, .. } = *self.0;
        let source = Some(Box::new(self) as _);
        Self(Arc::new(Inner { kind, message, retry_after, was_sent, source }))
    }

    /// Whether it is the failure of a request of which something may have left
    /// ([`Error::after_attempts`]).
    pub(crate) fn was_sent(&self) -> bool {
        self.0.was_sent
    }

    /// For rooms that tell apart what no predicate does.
    pub(crate) fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether the same request may succeed later with nothing changed by the user: an outage, a
    /// rate limit, an overload, a restart.
    pub fn is_transient(&self) -> bool {
        matches!(
            self.0.kind,
            ErrorKind::Transient
                | ErrorKind::RateLimited
                | ErrorKind::Overloaded
                | ErrorKind::CircuitOpen
                | ErrorKind::Interrupted
                | ErrorKind::VaultUnavailable
        )
    }

    /// How long to wait before asking again, where that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Whether the user has to sign in (again) before the request can succeed.
    pub fn needs_reauthorization(&self) -> bool {
        self.0.kind == ErrorKind::ReauthorizationRequired
    }

    /// Whether the other side limits the rate. [`Error::retry_after`] says how long, where it said so.
    pub fn is_rate_limited(&self) -> bool {
        self.0.kind == ErrorKind::RateLimited
    }

    /// Whether the provider's answer made no sense: HTML, torn JSON, a token that is missing. Nobody is
    /// signed out by it; the operator should look.
    pub fn is_malformed_answer(&self) -> bool {
        self.0.kind == ErrorKind::Protocol
    }

    /// Whether nobody knows what became of a renewal, so that a refresh token which is good for one use
    /// may be spent. The old token is served while it lives, and the next one who needs it has the
    /// refresh token tried once more.
    pub fn is_uncertain(&self) -> bool {
        self.0.kind == ErrorKind::Uncertain
    }

    /// Whether what worked on the request died and was started again. Asking again is safe.
    pub fn is_interrupted(&self) -> bool {
        self.0.kind == ErrorKind::Interrupted
    }

    /// Whether the request was refused because too many are under way.
    pub fn is_overloaded(&self) -> bool {
        self.0.kind == ErrorKind::Overloaded
    }

    /// Whether calls to the upstream fail, so that this one was held back. Nothing was sent.
    pub fn is_circuit_open(&self) -> bool {
        self.0.kind == ErrorKind::CircuitOpen
    }

    /// Whether the vault's master key is missing or is not the one it was sealed with.
    pub fn is_vault_locked(&self) -> bool {
        self.0.kind == ErrorKind::VaultLocked
    }

    /// Whether another process has the vault open.
    pub fn is_vault_in_use(&self) -> bool {
        self.0.kind == ErrorKind::VaultInUse
    }

    /// Whether the vault can not be read or written for now: a disk that is full, fails, or is not
    /// there. It may pass, so it is [`Error::is_transient`] as well.
    pub fn is_vault_unavailable(&self) -> bool {
        self.0.kind == ErrorKind::VaultUnavailable
    }

    /// Whether what the vault keeps can not be read, however often it is tried: a record that does not
    /// open, files that are damaged or of a newer release. Somebody has to restore a copy, to discard or
    /// replace the record, or to install that release.
    pub fn is_vault_unreadable(&self) -> bool {
        self.0.kind == ErrorKind::VaultUnreadable
    }

    /// Whether what the caller gave can not be used as it is.
    pub fn is_invalid_input(&self) -> bool {
        self.0.kind == ErrorKind::InvalidInput
    }

    /// Whether a setting is missing or wrong, or the provider refuses this client.
    pub fn is_configuration(&self) -> bool {
        self.0.kind == ErrorKind::Configuration
    }

    /// Whether the user, provider, session, sign-in or credential that was named does not exist.
    pub fn is_not_found(&self) -> bool {
        self.0.kind == ErrorKind::NotFound
    }

    /// Whether the session or the sign-in that was named has expired, or was overtaken by a later
    /// sign-in or sign-out.
    pub fn is_expired(&self) -> bool {
        self.0.kind == ErrorKind::Expired
    }

    /// Whether the runtime is stopping or has stopped.
    pub fn is_shutting_down(&self) -> bool {
        self.0.kind == ErrorKind::ShuttingDown
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Error");
        debug.field("kind", &self.0.kind).field("message", &self.0.message);
        if let Some(after) = self.0.retry_after {
            debug.field("retry_after", &after);
        }
        if let Some(source) = &self.0.source
            && source.to_string() != self.0.message
        {
            debug.field("source", source);
        }
        debug.finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

impl From<crate::identity::NameError> for Error {
    fn from(error: crate::identity::NameError) -> Self {
        Self::new(ErrorKind::InvalidInput, error.to_string())
    }
}

impl From<crate::clock::EntropyError> for Error {
    fn from(error: crate::clock::EntropyError) -> Self {
        Self::new(ErrorKind::Transient, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kind after `kind`, in their order. A kind that is new does not compile until it stands here.
    fn after(kind: ErrorKind) -> Option<ErrorKind> {
        use ErrorKind as Kind;
        Some(match kind {
            Kind::InvalidInput => Kind::Configuration,
            Kind::Configuration => Kind::NotFound,
            Kind::NotFound => Kind::Expired,
            Kind::Expired => Kind::ReauthorizationRequired,
            Kind::ReauthorizationRequired => Kind::Transient,
            Kind::Transient => Kind::RateLimited,
            Kind::RateLimited => Kind::Protocol,
            Kind::Protocol => Kind::Uncertain,
            Kind::Uncertain => Kind::Overloaded,
            Kind::Overloaded => Kind::CircuitOpen,
            Kind::CircuitOpen => Kind::Interrupted,
            Kind::Interrupted => Kind::ShuttingDown,
            Kind::ShuttingDown => Kind::VaultLocked,
            Kind::VaultLocked => Kind::VaultInUse,
            Kind::VaultInUse => Kind::VaultUnavailable,
            Kind::VaultUnavailable => Kind::VaultUnreadable,
            Kind::VaultUnreadable => return None,
        })
    }

    #[test]
    fn every_kind_but_a_plain_failure_of_the_other_side_has_a_predicate_of_its_own() {
        let predicates: [fn(&Error) -> bool; 16] = [
            Error::is_invalid_input,
            Error::is_configuration,
            Error::is_not_found,
            Error::is_expired,
            Error::needs_reauthorization,
            Error::is_rate_limited,
            Error::is_malformed_answer,
            Error::is_uncertain,
            Error::is_overloaded,
            Error::is_circuit_open,
            Error::is_interrupted,
            Error::is_shutting_down,
            Error::is_vault_locked,
            Error::is_vault_in_use,
            Error::is_vault_unavailable,
            Error::is_vault_unreadable,
        ];
        for kind in std::iter::successors(Some(ErrorKind::InvalidInput), |kind| after(*kind)) {
            let error = Error::new(kind, "it failed");
            let holding = predicates.iter().filter(|holds| holds(&error)).count();
            let expected = usize::from(kind != ErrorKind::Transient);
            assert_eq!(holding, expected, "{kind:?}");
            assert!(holding == 1 || error.is_transient(), "{kind:?}");
        }
    }

    #[test]
    fn predicates_follow_the_kind() {
        let error = Error::retry_in(
            ErrorKind::RateLimited,
            "openai asks for patience, retry in 3s",
            Duration::from_secs(3),
        );
        assert!(error.is_transient());
        assert_eq!(error.retry_after(), Some(Duration::from_secs(3)));
        assert!(!error.needs_reauthorization());
        assert_eq!(error.clone().to_string(), "openai asks for patience, retry in 3s");
    }
}
