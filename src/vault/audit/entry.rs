//! What is to be recorded: one event, in names and closed lists. There is no way to give an entry a
//! secret, nor any text that is not part of the program or an error of it.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::identity::{CredentialId, Label, Method, ProviderId, SessionId, UserId};

/// The longest reason that is kept, in bytes.
const LONGEST_REASON: usize = 500;

/// What an entry tells of.
///
/// ```
/// use tokenward::vault::audit::{AuditKind, AuditOutcome};
///
/// assert_eq!(AuditKind::AccessDenied.as_str(), "access-denied");
/// assert_eq!(AuditKind::AccessDenied.outcome(), AuditOutcome::Denied);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum AuditKind {
    /// A user signed in: a credential was stored.
    SignedIn,
    /// A sign-in ended without a credential.
    SignInFailed,
    /// A token was obtained without a refresh token: at a sign-in, or by client credentials or an
    /// assertion.
    TokenGenerated,
    /// A token could not be had. Of the failures in a row of one credential the first, the second,
    /// the fourth, the eighth and so on are told, each with how many there were since the last one
    /// that was told.
    GenerationFailed,
    /// A token was renewed with a refresh token.
    Refreshed,
    /// A user signed out: a credential was erased.
    SignedOut,
    /// An access token was taken out of use before its time.
    TokenCleared,
    /// The provider confirmed that a token is revoked.
    Revoked,
    /// The provider did not confirm a revocation.
    RevocationFailed,
    /// A session was opened.
    SessionOpened,
    /// A session's active provider changed.
    SessionSwitched,
    /// A session was closed by its user.
    SessionClosed,
    /// A session was not used for too long, and is gone.
    SessionExpired,
    /// The vault was sealed under another master key.
    MasterKeyRotated,
    /// The vault has a new data key.
    DataKeyRotated,
    /// A data key is not needed any more, and is gone.
    DataKeyRetired,
    /// The keys that sign tokens were changed: there is a fresh one, or one is gone.
    SigningKeysRotated,
    /// An application was registered.
    ApplicationRegistered,
    /// An application was changed.
    ApplicationChanged,
    /// An application was removed.
    ApplicationRemoved,
    /// Somebody who may ask was told what a token of the authorization server is good for.
    TokenIntrospected,
    /// An application with the permission for it did something over HTTP: what, and how it was answered.
    /// What that changed has an entry of its own.
    Administered,
    /// Something was asked for by somebody who may not have it.
    AccessDenied,
    /// A record that did not open was removed, by the decision of a person.
    RecordDiscarded,
    /// Everything about a user was erased.
    UserErased,
    /// The vault was exported.
    VaultExported,
    /// The vault was filled from an export.
    VaultImported,
    /// The vault was moved to another engine, since it was open before.
    VaultMoved,
    /// The oldest entries were removed by policy; the count says how many.
    RetentionApplied,
    /// Something that only a newer release knows.
    #[serde(other)]
    Unknown,
}

/// How what an entry tells of came out.
///
/// [`AuditKind::outcome`] tells it.
///
/// ```
/// use tokenward::vault::audit::{AuditEntry, AuditKind, AuditOutcome, AuditQuery};
///
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let orange = SimulatedProvider::orange().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(orange.spec()).start().await?;
/// # runtime.vault().note(AuditEntry::new(AuditKind::AccessDenied).because("no licence"));
/// let page = runtime.audit().entries(AuditQuery::all().newest_first()).await?;
/// for entry in &page.entries {
///     match entry.kind.outcome() {
///         AuditOutcome::Done => {}
///         AuditOutcome::Denied => println!("somebody may try doors: {entry}"),
///         _ => println!("{entry}"),
///     }
/// }
/// # assert!(page.entries.iter().any(|entry| entry.kind.outcome() == AuditOutcome::Denied));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum AuditOutcome {
    /// It was done.
    Done,
    /// It was tried, and failed.
    Failed,
    /// It was refused.
    Denied,
}

impl AuditKind {
    /// The name, as the export writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SignedIn => "signed-in",
            Self::SignInFailed => "sign-in-failed",
            Self::TokenGenerated => "token-generated",
            Self::GenerationFailed => "generation-failed",
            Self::Refreshed => "refreshed",
            Self::SignedOut => "signed-out",
            Self::TokenCleared => "token-cleared",
            Self::Revoked => "revoked",
            Self::RevocationFailed => "revocation-failed",
            Self::SessionOpened => "session-opened",
            Self::SessionSwitched => "session-switched",
            Self::SessionClosed => "session-closed",
            Self::SessionExpired => "session-expired",
            Self::MasterKeyRotated => "master-key-rotated",
            Self::DataKeyRotated => "data-key-rotated",
            Self::DataKeyRetired => "data-key-retired",
            Self::SigningKeysRotated => "signing-keys-rotated",
            Self::ApplicationRegistered => "application-registered",
            Self::ApplicationChanged => "application-changed",
            Self::ApplicationRemoved => "application-removed",
            Self::TokenIntrospected => "token-introspected",
            Self::Administered => "administered",
            Self::AccessDenied => "access-denied",
            Self::RecordDiscarded => "record-discarded",
            Self::UserErased => "user-erased",
            Self::VaultExported => "vault-exported",
            Self::VaultImported => "vault-imported",
            Self::VaultMoved => "vault-moved",
            Self::RetentionApplied => "retention-applied",
            Self::Unknown => "unknown",
        }
    }

    /// How it came out.
    pub const fn outcome(self) -> AuditOutcome {
        match self {
            Self::SignInFailed | Self::GenerationFailed | Self::RevocationFailed => {
                AuditOutcome::Failed
            }
            Self::AccessDenied => AuditOutcome::Denied,
            _ => AuditOutcome::Done,
        }
    }
}

impl fmt::Display for AuditKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One event that is to be recorded.
///
/// It goes into the batch of the change that it tells of ([`Batch::record`](crate::vault::Batch::record)),
/// so that both are durable together. What changes nothing durable is noted
/// ([`VaultHandle::note`](crate::vault::VaultHandle::note)).
///
/// ```
/// use tokenward::vault::audit::{AuditEntry, AuditKind, AuditQuery};
///
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let orange = SimulatedProvider::orange().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(orange.spec()).start().await?;
/// # let ada = runtime.user("ada");
/// // The host refused something of its own. It is noted, and nobody waits for that.
/// let entry = AuditEntry::new(AuditKind::AccessDenied).user(ada.id()?).because("no licence");
/// runtime.vault().note(entry);
///
/// let denied = AuditQuery::all().of_kind(AuditKind::AccessDenied);
/// let page = runtime.audit().entries(denied).await?;
/// assert_eq!(page.entries[0].reason.as_deref(), Some("no licence"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    pub(crate) what: What,
    /// When it happened; none: when it is written.
    pub(crate) at: Option<SystemTime>,
    /// How often it happened.
    pub(crate) count: u64,
}

/// Everything that tells two entries apart, but for when and how often.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct What {
    pub(crate) kind: AuditKind,
    pub(crate) user: Option<UserId>,
    pub(crate) provider: Option<ProviderId>,
    pub(crate) method: Option<Method>,
    pub(crate) label: Option<Label>,
    pub(crate) session: Option<SessionId>,
    pub(crate) reason: Option<Arc<str>>,
    pub(crate) origin: Option<&'static str>,
}

impl AuditEntry {
    /// An entry of `kind`, about nobody and nothing yet.
    pub fn new(kind: AuditKind) -> Self {
        let what = What {
            kind,
            user: None,
            provider: None,
            method: None,
            label: None,
            session: None,
            reason: None,
            origin: None,
        };
        Self { what, at: None, count: 1 }
    }

    /// An entry about a credential.
    pub fn of_credential(kind: AuditKind, id: &CredentialId) -> Self {
        let mut entry = Self::new(kind).user(&id.user).provider(&id.provider).method(id.method);
        entry.what.label = Some(id.label.clone());
        entry
    }

    /// An entry about a session.
    pub fn of_session(kind: AuditKind, user: &UserId, session: &SessionId) -> Self {
        let mut entry = Self::new(kind).user(user);
        entry.what.session = Some(session.clone());
        entry
    }

    /// About whom.
    #[must_use]
    pub fn user(mut self, user: &UserId) -> Self {
        self.what.user = Some(user.clone());
        self
    }

    /// At which provider.
    #[must_use]
    pub fn provider(mut self, provider: &ProviderId) -> Self {
        self.what.provider = Some(provider.clone());
        self
    }

    /// By which method.
    #[must_use]
    pub fn method(mut self, method: Method) -> Self {
        self.what.method = Some(method);
        self
    }

    /// As which of several accounts.
    #[must_use]
    pub fn label(mut self, label: &Label) -> Self {
        self.what.label = Some(label.clone());
        self
    }

    /// Which part of the program saw it, such as `sessions`.
    #[must_use]
    pub fn origin(mut self, origin: &'static str) -> Self {
        self.what.origin = Some(origin);
        self
    }

    /// Why, in words of the program.
    #[must_use]
    pub fn because(self, reason: &'static str) -> Self {
        self.in_words(reason)
    }

    /// Why, in the words of an error. The errors of this crate hold no secret and no body; those of
    /// others must not be given. At most 500 bytes are kept.
    #[must_use]
    pub fn because_of(self, error: &(impl std::error::Error + ?Sized)) -> Self {
        self.in_words(&error.to_string())
    }

    /// That it happened so often since the last entry of its kind.
    #[must_use]
    pub fn times(mut self, count: u64) -> Self {
        self.count = count;
        self
    }

    /// Whom it is about.
    pub(crate) fn about(&self) -> Option<&UserId> {
        self.what.user.as_ref()
    }

    /// The kind.
    pub fn kind(&self) -> AuditKind {
        self.what.kind
    }

    /// Why, in words that hold no secret.
    pub(crate) fn in_words(mut self, reason: &str) -> Self {
        let plain: String = reason
            .chars()
            .map(|char| if char.is_control() { ' ' } else { char })
            .scan(0, |length, char| {
                *length += char.len_utf8();
                (*length <= LONGEST_REASON).then_some(char)
            })
            .collect();
        self.what.reason = Some(plain.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_stored_by_the_name_that_it_shows() {
        for kind in [
            AuditKind::SignedIn,
            AuditKind::SignInFailed,
            AuditKind::TokenGenerated,
            AuditKind::GenerationFailed,
            AuditKind::Refreshed,
            AuditKind::SignedOut,
            AuditKind::TokenCleared,
            AuditKind::Revoked,
            AuditKind::RevocationFailed,
            AuditKind::SessionOpened,
            AuditKind::SessionSwitched,
            AuditKind::SessionClosed,
            AuditKind::SessionExpired,
            AuditKind::MasterKeyRotated,
            AuditKind::DataKeyRotated,
            AuditKind::DataKeyRetired,
            AuditKind::SigningKeysRotated,
            AuditKind::ApplicationRegistered,
            AuditKind::ApplicationChanged,
            AuditKind::ApplicationRemoved,
            AuditKind::TokenIntrospected,
            AuditKind::Administered,
            AuditKind::AccessDenied,
            AuditKind::RecordDiscarded,
            AuditKind::UserErased,
            AuditKind::VaultExported,
            AuditKind::VaultImported,
            AuditKind::VaultMoved,
            AuditKind::RetentionApplied,
        ] {
            let stored = serde_json::to_string(&kind).expect("text");
            assert_eq!(stored, format!("\"{kind}\""));
            assert_eq!(serde_json::from_str::<AuditKind>(&stored).expect("a kind"), kind);
        }
        let newer = serde_json::from_str::<AuditKind>("\"teleported\"").expect("a kind");
        assert_eq!(newer, AuditKind::Unknown);
    }

    #[test]
    fn a_reason_is_one_line_of_bounded_length() {
        let error = std::io::Error::other(format!("a\r\nb{}", "\u{e9}".repeat(1_000)));
        let entry = AuditEntry::new(AuditKind::SignInFailed).because_of(&error);
        let reason = entry.what.reason.expect("a reason");
        assert!(reason.starts_with("a  b\u{e9}") && reason.len() <= LONGEST_REASON);
    }
}
