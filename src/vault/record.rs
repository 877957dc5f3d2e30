//! What the vault keeps and how it is named: kinds, keys, versions, records, index entries.

use std::fmt;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::identity::{ProviderId, UserId};

/// What a record is about. The kind is part of a record's name, so that one user can have a
/// credential and a session of the same name.
///
/// [`Query`] and [`RecordKey`] name one.
///
/// ```
/// use tokenward::vault::{Query, RecordKind};
///
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let orange = SimulatedProvider::orange().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(orange.spec()).start().await?;
/// # runtime.user("ada").sign_in("orange").with_client_credentials().await?;
/// for kind in [RecordKind::Credential, RecordKind::Session] {
///     let records = runtime.vault().list(Query::all(kind)).await?;
///     println!("{:12} {}", kind, records.len());
/// }
/// # assert_eq!(RecordKind::AuditIdentity.to_string(), "audit-identity");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum RecordKind {
    /// The material of a credential.
    Credential,
    /// The journal of a rotation that was begun.
    Rotation,
    /// How long a credential's next attempt has to wait.
    Backoff,
    /// That an API key may stand in for the user's other sign-ins at its provider.
    Fallback,
    /// A token that was signed out of, and whose revocation the provider has not confirmed.
    Revocation,
    /// A session.
    Session,
    /// A pending sign-in.
    Login,
    /// What gives the entries about a user in the audit trail their names.
    AuditIdentity,
    /// The keys that sign the tokens of the authorization server.
    SigningKeys,
    /// An application that the authorization server issues tokens to.
    Application,
    /// A family of refresh tokens that the authorization server issued.
    TokenFamily,
    /// An access token, or all of a family, that is not good any more before it expires.
    RevokedToken,
    /// What [`Runtime::doctor`](crate::Runtime::doctor) writes, to remove it at once.
    Probe,
}

impl RecordKind {
    /// The name, as events write it. It is also what stands in a record's name inside the vault,
    /// so it never changes.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Credential => "credential",
            Self::Rotation => "rotation",
            Self::Backoff => "backoff",
            Self::Fallback => "fallback",
            Self::Revocation => "revocation",
            Self::Session => "session",
            Self::Login => "login",
            Self::AuditIdentity => "audit-identity",
            Self::SigningKeys => "signing-keys",
            Self::Application => "application",
            Self::TokenFamily => "token-family",
            Self::RevokedToken => "revoked-token",
            Self::Probe => "probe",
        }
    }
}

impl fmt::Display for RecordKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Names one record. There is at most one record under each key.
///
/// ```
/// use tokenward::UserId;
/// use tokenward::vault::{RecordKey, RecordKind};
///
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let orange = SimulatedProvider::orange().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(orange.spec()).start().await?;
/// // The same name under another user, or of another kind, is another record.
/// let key = RecordKey::new(RecordKind::Probe, UserId::new("ada")?, "a note of the host");
/// assert!(runtime.vault().read(&key).await?.is_none());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordKey {
    /// What it is about.
    pub kind: RecordKind,
    /// Whose it is.
    pub user: UserId,
    /// Its canonical name among the records of this kind and user.
    pub name: String,
}

impl RecordKey {
    /// The key of the record of `kind` that `user` has under `name`.
    pub fn new(kind: RecordKind, user: UserId, name: impl Into<String>) -> Self {
        Self { kind, user, name: name.into() }
    }
}

/// Tells one writing of a record from every other, of any record of the same vault: each committed
/// batch has a higher version than the one before it.
///
/// [`Expect::Version`](super::Expect::Version) takes the one that was read.
///
/// ```
/// use tokenward::UserId;
/// use tokenward::vault::{Batch, Expect, RecordKey, RecordKind, Tags};
/// use zeroize::Zeroizing;
///
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let orange = SimulatedProvider::orange().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(orange.spec()).start().await?;
/// # let key = RecordKey::new(RecordKind::Probe, UserId::new("ada")?, "counter");
/// # let tags = Tags::default();
/// # let put = Batch::new().put(key.clone(), Zeroizing::new(vec![1]), Expect::Absent, tags);
/// # runtime.vault().commit(put).await?;
/// let read = runtime.vault().read(&key).await?.expect("a counter");
/// let next = || {
///     let payload = Zeroizing::new(vec![read.payload[0] + 1]);
///     Batch::new().put(key.clone(), payload, Expect::Version(read.version), Tags::default())
/// };
/// runtime.vault().commit(next()).await?;
/// // By now another version stands there, so nothing is counted twice.
/// let error = runtime.vault().commit(next()).await.expect_err("it was changed");
/// assert!(error.is_conflict());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RecordVersion(pub u64);

impl fmt::Display for RecordVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A record as it was opened.
///
/// [`VaultHandle::read`](super::VaultHandle::read) answers with it.
///
/// ```
/// use tokenward::UserId;
/// use tokenward::vault::{RecordKey, RecordKind};
/// # use tokenward::vault::{Batch, Expect, Tags};
/// # use zeroize::Zeroizing;
///
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let orange = SimulatedProvider::orange().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(orange.spec()).start().await?;
/// let key = RecordKey::new(RecordKind::Probe, UserId::new("ada")?, "note");
/// # let payload = Zeroizing::new(b"hidden".to_vec());
/// # let put = Batch::new().put(key.clone(), payload, Expect::Absent, Tags::default());
/// # runtime.vault().commit(put).await?;
/// let record = runtime.vault().read(&key).await?.expect("it was put");
/// assert_eq!(record.payload.as_slice(), b"hidden");
/// assert!(record.created <= record.updated);
/// println!("{record:?}"); // how long it is, and not what it says
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record {
    /// Which writing of the record this is.
    pub version: RecordVersion,
    /// What was put; wiped on drop.
    pub payload: Zeroizing<Vec<u8>>,
    /// When a record was first put under this key, in microseconds.
    pub created: SystemTime,
    /// When this version was put, in microseconds.
    pub updated: SystemTime,
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("version", &self.version)
            .field("bytes", &self.payload.len())
            .field("created", &self.created)
            .field("updated", &self.updated)
            .finish_non_exhaustive()
    }
}

/// What a record can be looked up by, besides its key.
///
/// [`Query::for_provider`] and [`Query::due_before`] find records by them.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use tokenward::UserId;
/// use tokenward::vault::{Batch, Expect, Query, RecordKey, RecordKind, Tags};
/// use zeroize::Zeroizing;
///
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let orange = SimulatedProvider::orange().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(orange.spec()).start().await?;
/// let key = RecordKey::new(RecordKind::Probe, UserId::new("ada")?, "reminder");
/// let in_an_hour = SystemTime::now() + Duration::from_hours(1);
/// let tags = Tags { due: Some(in_an_hour), ..Tags::default() };
/// let payload = Zeroizing::new(b"call Grace".to_vec());
/// runtime.vault().commit(Batch::new().put(key, payload, Expect::Absent, tags)).await?;
///
/// // Found without a record being opened.
/// let today = Query::all(RecordKind::Probe).due_before(in_an_hour + Duration::from_hours(1));
/// assert_eq!(runtime.vault().list(today).await?.len(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tags {
    /// The provider it is for.
    pub provider: Option<ProviderId>,
    /// When something is to be done about it.
    pub due: Option<SystemTime>,
}

/// What the index knows of a record without opening it.
///
/// ```
/// use tokenward::vault::{Query, RecordKind};
///
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let orange = SimulatedProvider::orange().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(orange.spec()).start().await?;
/// # runtime.user("ada").sign_in("orange").with_client_credentials().await?;
/// for entry in runtime.vault().list(Query::all(RecordKind::Credential)).await? {
///     println!("{} {} since {:?}", entry.key.user, entry.key.name, entry.updated);
///     assert!(entry.tags.provider.is_some_and(|provider| provider.as_str() == "orange"));
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// Its key.
    pub key: RecordKey,
    /// Its version.
    pub version: RecordVersion,
    /// What it was tagged with.
    pub tags: Tags,
    /// When a record was first put under this key.
    pub created: SystemTime,
    /// When this version was put.
    pub updated: SystemTime,
}

/// Which entries to list: those that meet every condition.
///
/// ```
/// use tokenward::vault::{Query, RecordKind};
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
/// let query = Query::all(RecordKind::Credential).of_user(ada.id()?.clone());
/// for entry in runtime.vault().list(query).await? {
///     println!("{} of {:?}, version {}", entry.key.name, entry.tags.provider, entry.version);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Query {
    /// Of this kind.
    pub kind: RecordKind,
    /// Of this user.
    pub user: Option<UserId>,
    /// For this provider.
    pub provider: Option<ProviderId>,
    /// Due later than this time.
    pub due_after: Option<SystemTime>,
    /// Due at this time or earlier.
    pub due_before: Option<SystemTime>,
}

impl Query {
    /// Every record of `kind`.
    pub const fn all(kind: RecordKind) -> Self {
        Self { kind, user: None, provider: None, due_after: None, due_before: None }
    }

    /// Only those of `user`.
    #[must_use]
    pub fn of_user(mut self, user: UserId) -> Self {
        self.user = Some(user);
        self
    }

    /// Only those for `provider`.
    #[must_use]
    pub fn for_provider(mut self, provider: ProviderId) -> Self {
        self.provider = Some(provider);
        self
    }

    /// Only those that are due later than `time`.
    #[must_use]
    pub fn due_after(mut self, time: SystemTime) -> Self {
        self.due_after = Some(time);
        self
    }

    /// Only those that are due at `time` or earlier.
    #[must_use]
    pub fn due_before(mut self, time: SystemTime) -> Self {
        self.due_before = Some(time);
        self
    }
}
