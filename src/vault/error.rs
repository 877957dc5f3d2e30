//! Why the vault could not do what it was asked: opaque, cheap to clone, asked by predicates.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::store::StoreError;
use crate::clock::EntropyError;
use crate::error::{Error, ErrorKind};
use crate::supervision::{AskError, SHUT_DOWN};

/// Why the vault could not do what it was asked.
///
/// The kind is private; callers decide by the predicates. The text holds no secret.
///
/// ```
/// use tokenward::{MasterKey, Vault};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("agent.vault");
/// # let key = MasterKey::from_file(folder.path().join("agent.key")).create_if_missing();
/// let vault = Vault::open(&path).master_key(key).create_if_missing(false);
/// let error = vault.inspect().await.expect_err("nobody made one there");
/// assert!(error.is_absent());
///
/// // The public error says the same in wider words.
/// println!("{}", tokenward::Error::from(error));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct VaultError(Arc<Inner>);

struct Inner {
    kind: Kind,
    message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Conflict,
    Quarantined,
    TooLarge,
    Invalid,
    WrongKey,
    MissingKey,
    UnusableKey,
    InUse,
    NewerFormat,
    Damaged,
    Absent,
    OtherEngine,
    Occupied,
    Full,
    Unavailable,
    Overloaded,
    Interrupted,
    Stopped,
}

impl VaultError {
    fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self(Arc::new(Inner { kind, message: message.into() }))
    }

    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new(Kind::Conflict, message)
    }

    pub(crate) fn quarantined(message: impl Into<String>) -> Self {
        Self::new(Kind::Quarantined, message)
    }

    pub(crate) fn too_large(message: impl Into<String>) -> Self {
        Self::new(Kind::TooLarge, message)
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, message)
    }

    pub(crate) fn wrong_key(message: impl Into<String>) -> Self {
        Self::new(Kind::WrongKey, message)
    }

    pub(crate) fn missing_key(message: impl Into<String>) -> Self {
        Self::new(Kind::MissingKey, message)
    }

    pub(crate) fn unusable_key(message: impl Into<String>) -> Self {
        Self::new(Kind::UnusableKey, message)
    }

    pub(crate) fn newer_format(message: impl Into<String>) -> Self {
        Self::new(Kind::NewerFormat, message)
    }

    pub(crate) fn damaged(message: impl Into<String>) -> Self {
        Self::new(Kind::Damaged, message)
    }

    pub(crate) fn absent(message: impl Into<String>) -> Self {
        Self::new(Kind::Absent, message)
    }

    pub(crate) fn occupied(path: &Path) -> Self {
        StoreError::Occupied(path.display().to_string()).into()
    }

    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(Kind::Unavailable, message)
    }

    /// Why a rotation of the master key is not over, although the new key is in force.
    pub(super) fn of_unfinished_rotation(&self) -> Self {
        let message = format!(
            "the new master key opens the vault, and the former one may still open it too: keep \
             both until the vault can be written again, which ends the rotation ({self})"
        );
        Self::new(self.0.kind, message)
    }

    /// Whether a batch found something else than it expected. Nothing was changed.
    pub fn is_conflict(&self) -> bool {
        self.0.kind == Kind::Conflict
    }

    /// Whether the record can not be opened. It stays as it is until it is replaced on purpose
    /// (see [`super::Expect::AnythingOrQuarantined`]).
    pub fn is_quarantined(&self) -> bool {
        self.0.kind == Kind::Quarantined
    }

    /// Whether the batch is larger than one batch may be. Nothing was changed.
    pub fn is_too_large(&self) -> bool {
        self.0.kind == Kind::TooLarge
    }

    /// Whether the master key is not the one that the vault was sealed with.
    pub fn is_wrong_key(&self) -> bool {
        self.0.kind == Kind::WrongKey
    }

    /// Whether there is no master key where it was to be found.
    pub fn is_missing_key(&self) -> bool {
        self.0.kind == Kind::MissingKey
    }

    /// Whether what was found as the master key can not be one, or can be read by others.
    pub fn is_unusable_key(&self) -> bool {
        self.0.kind == Kind::UnusableKey
    }

    /// Whether another process, or another runtime of this one, has the vault open.
    pub fn is_in_use(&self) -> bool {
        self.0.kind == Kind::InUse
    }

    /// Whether the vault was written by a newer release than this one.
    pub fn is_newer_format(&self) -> bool {
        self.0.kind == Kind::NewerFormat
    }

    /// Whether the vault's files are damaged, or were changed by something else than the vault.
    pub fn is_damaged(&self) -> bool {
        self.0.kind == Kind::Damaged
    }

    /// Whether there is no vault and none was to be created.
    pub fn is_absent(&self) -> bool {
        self.0.kind == Kind::Absent
    }

    /// Whether another engine keeps the vault than the one it was to be opened with.
    pub fn is_other_engine(&self) -> bool {
        self.0.kind == Kind::OtherEngine
    }

    /// Whether something else stands where a vault is looked for, or where a vault, a backup or an
    /// export was to be put. It was left as it is.
    pub fn is_occupied(&self) -> bool {
        self.0.kind == Kind::Occupied
    }

    /// Whether the disk is full.
    pub fn is_full(&self) -> bool {
        self.0.kind == Kind::Full
    }

    /// Whether a failure to open may be over later, without anybody changing the vault: a disk that
    /// is full, unwell or not mounted, a directory that someone else uses.
    pub(crate) fn may_pass(&self) -> bool {
        self.is_unavailable() || self.is_absent() || self.is_in_use()
    }

    /// Whether the vault can not be read or written for now.
    ///
    /// A batch that fails so may or may not have become durable: read before putting it again.
    pub fn is_unavailable(&self) -> bool {
        matches!(
            self.0.kind,
            Kind::Unavailable | Kind::Full | Kind::Overloaded | Kind::Interrupted | Kind::Stopped
        )
    }
}

impl fmt::Display for VaultError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for VaultError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VaultError")
            .field("kind", &self.0.kind)
            .field("message", &self.0.message)
            .finish()
    }
}

impl std::error::Error for VaultError {}

impl From<StoreError> for VaultError {
    fn from(error: StoreError) -> Self {
        let kind = match error {
            StoreError::TooLarge => Kind::TooLarge,
            StoreError::Full | StoreError::NoRoom => Kind::Full,
            StoreError::Poisoned(_) | StoreError::Io(_) => Kind::Unavailable,
            // Nothing but the vault writes, so what it does not know of is damage.
            StoreError::Conflict | StoreError::Damaged(_) => Kind::Damaged,
            StoreError::Locked(_) => Kind::InUse,
            StoreError::Absent(_) => Kind::Absent,
            StoreError::OtherEngine { .. } => Kind::OtherEngine,
            StoreError::Occupied(_) | StoreError::NoDirectory(_) => Kind::Occupied,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<std::io::Error> for VaultError {
    fn from(error: std::io::Error) -> Self {
        StoreError::from(error).into()
    }
}

impl From<EntropyError> for VaultError {
    fn from(error: EntropyError) -> Self {
        Self::unavailable(error.to_string())
    }
}

impl From<AskError> for VaultError {
    fn from(error: AskError) -> Self {
        let kind = match error {
            AskError::Overloaded => Kind::Overloaded,
            AskError::Interrupted => Kind::Interrupted,
            AskError::Quarantined { .. } => Kind::Unavailable,
            AskError::Stopped => return Self::new(Kind::Stopped, SHUT_DOWN),
        };
        Self::new(kind, format!("the vault did not answer: {error}"))
    }
}

impl From<VaultError> for Error {
    fn from(error: VaultError) -> Self {
        Self::with_source(error.0.kind.to_public(), error.to_string(), error)
    }
}

impl Kind {
    /// What a failure of the vault is to a host, and with that whether it helps to ask again.
    ///
    /// | kinds | to a host | asked again |
    /// | --- | --- | --- |
    /// | conflict, overloaded, interrupted | the same | may succeed at once |
    /// | full, unavailable | the vault is unavailable | may succeed when the disk is well |
    /// | quarantined, damaged, newer format | the vault is unreadable | fails until somebody mends it |
    /// | wrong, missing and unusable key | the vault is locked | fails until the key is there |
    /// | in use, stopped | the same | fails until the other one, or this one, has begun anew |
    /// | absent, other engine, occupied | the configuration is wrong | fails until it is changed |
    /// | invalid, too large | the input is invalid | fails |
    const fn to_public(self) -> ErrorKind {
        match self {
            Self::Conflict => ErrorKind::Transient,
            Self::Overloaded => ErrorKind::Overloaded,
            Self::Interrupted => ErrorKind::Interrupted,
            Self::Full | Self::Unavailable => ErrorKind::VaultUnavailable,
            Self::Quarantined | Self::Damaged | Self::NewerFormat => ErrorKind::VaultUnreadable,
            Self::WrongKey | Self::MissingKey | Self::UnusableKey => ErrorKind::VaultLocked,
            Self::InUse => ErrorKind::VaultInUse,
            Self::Stopped => ErrorKind::ShuttingDown,
            Self::Absent | Self::OtherEngine | Self::Occupied => ErrorKind::Configuration,
            Self::Invalid | Self::TooLarge => ErrorKind::InvalidInput,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_told_to_ask_again_where_that_can_help_and_nowhere_else() {
        let (passes, stays) = (true, false);
        for (kind, expected) in [
            (Kind::Conflict, passes),
            (Kind::Overloaded, passes),
            (Kind::Interrupted, passes),
            (Kind::Full, passes),
            (Kind::Unavailable, passes),
            (Kind::Quarantined, stays),
            (Kind::Damaged, stays),
            (Kind::NewerFormat, stays),
            (Kind::WrongKey, stays),
            (Kind::MissingKey, stays),
            (Kind::UnusableKey, stays),
            (Kind::InUse, stays),
            (Kind::Stopped, stays),
            (Kind::Absent, stays),
            (Kind::OtherEngine, stays),
            (Kind::Occupied, stays),
            (Kind::Invalid, stays),
            (Kind::TooLarge, stays),
        ] {
            let error = Error::from(VaultError::new(kind, "it failed"));
            assert_eq!(error.is_transient(), expected, "{kind:?}");
            let unreadable = matches!(kind, Kind::Quarantined | Kind::Damaged | Kind::NewerFormat);
            assert_eq!(error.is_vault_unreadable(), unreadable, "{kind:?}");
        }
    }
}
