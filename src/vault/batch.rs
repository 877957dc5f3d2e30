//! A batch: changes that become durable together or not at all, each with what it expects to find.

use zeroize::Zeroizing;

use super::audit::AuditEntry;
use super::error::VaultError;
use super::record::{RecordKey, RecordVersion, Tags};

/// The most changes and requirements in one batch.
pub(crate) const MOST_STEPS: usize = 256;

/// The most payload bytes in one batch.
pub(crate) const MOST_BYTES: usize = 1024 * 1024;

/// The most entries of the audit trail in one batch.
const MOST_ENTRIES: usize = 64;

/// What an entry of the audit trail counts for among the bytes.
const ENTRY_BYTES: usize = 1024;

/// The longest name of a record, in bytes.
const LONGEST_NAME: usize = 1024;

/// What must stand under a key for a batch to be applied.
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
/// let key = RecordKey::new(RecordKind::Probe, UserId::new("ada")?, "counter");
/// let put = |text: &[u8], expect| {
///     let payload = Zeroizing::new(text.to_vec());
///     Batch::new().put(key.clone(), payload, expect, Tags::default())
/// };
/// runtime.vault().commit(put(b"1", Expect::Absent)).await?;
///
/// // Another one that also believed to be the first changes nothing, and is told.
/// let error = runtime.vault().commit(put(b"1", Expect::Absent)).await.expect_err("too late");
/// assert!(error.is_conflict());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expect {
    /// Whatever stands there, as long as it opens.
    Anything,
    /// Nothing.
    Absent,
    /// Exactly this version.
    Version(RecordVersion),
    /// Whatever stands there, a quarantined record included: the way to replace or to remove one
    /// that can not be opened, by a fresh sign-in or by the decision of a person.
    AnythingOrQuarantined,
}

/// What a batch does to one key.
pub(crate) enum Change {
    Put { payload: Zeroizing<Vec<u8>>, tags: Tags },
    Delete,
    Nothing,
}

/// One key of a batch: what is expected there, and what is done to it.
pub(crate) struct Step {
    pub(crate) key: RecordKey,
    pub(crate) expect: Expect,
    pub(crate) change: Change,
}

/// Changes that are applied together or not at all.
///
/// Every expectation is judged against what stood there before the batch. A key is changed at most
/// once per batch; all records that are put get the same new version. At most 256 steps, 1 MiB
/// of payload, and 1 KiB for a name.
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
/// let ada = UserId::new("ada")?;
/// let key = |name| RecordKey::new(RecordKind::Probe, ada.clone(), name);
/// let (old, new) = (key("old"), key("new"));
/// # let text = Zeroizing::new(b"text".to_vec());
/// # let put = Batch::new().put(old.clone(), text, Expect::Absent, Tags::default());
/// # runtime.vault().commit(put).await?;
/// let kept = runtime.vault().read(&old).await?.expect("a record");
///
/// // Renamed: both steps or none, and only as long as nobody has changed it meanwhile.
/// let batch = Batch::new()
///     .put(new, kept.payload, Expect::Absent, Tags::default())
///     .delete(old.clone(), Expect::Version(kept.version));
/// runtime.vault().commit(batch).await?;
/// assert!(runtime.vault().read(&old).await?.is_none());
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
pub struct Batch {
    steps: Vec<Step>,
    entries: Vec<AuditEntry>,
}

impl Batch {
    /// A batch that does nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts `payload` under `key` if `expect` holds.
    #[must_use]
    pub fn put(
        mut self,
        key: RecordKey,
        payload: Zeroizing<Vec<u8>>,
        expect: Expect,
        tags: Tags,
    ) -> Self {
        self.steps.push(Step { key, expect, change: Change::Put { payload, tags } });
        self
    }

    /// Removes what stands under `key` if `expect` holds. Removing nothing is no failure, unless
    /// a version was expected.
    #[must_use]
    pub fn delete(mut self, key: RecordKey, expect: Expect) -> Self {
        self.steps.push(Step { key, expect, change: Change::Delete });
        self
    }

    /// Changes nothing under `key`, but lets the whole batch fail unless `expect` holds.
    #[must_use]
    pub fn require(mut self, key: RecordKey, expect: Expect) -> Self {
        self.steps.push(Step { key, expect, change: Change::Nothing });
        self
    }

    /// Records `entry` in the audit trail: it is durable when the changes are, or not at all. A
    /// batch that changes nothing may be recorded, too. At most 64 entries.
    #[must_use]
    pub fn record(mut self, entry: AuditEntry) -> Self {
        self.entries.push(entry);
        self
    }

    /// Whether there is nothing to do, nothing to check and nothing to record.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.entries.is_empty()
    }

    pub(crate) fn into_parts(self) -> (Vec<Step>, Vec<AuditEntry>) {
        (self.steps, self.entries)
    }

    pub(crate) fn len(&self) -> usize {
        self.steps.len() + self.entries.len()
    }

    /// The bytes of payload.
    pub(crate) fn bytes(&self) -> usize {
        let payload = |step: &Step| match &step.change {
            Change::Put { payload, .. } => payload.len(),
            Change::Delete | Change::Nothing => 0,
        };
        self.steps.iter().map(payload).sum::<usize>() + self.entries.len() * ENTRY_BYTES
    }

    /// Whether the batch can be taken at all.
    pub(crate) fn check(&self) -> Result<(), VaultError> {
        if self.entries.len() > MOST_ENTRIES {
            return Err(VaultError::too_large("a batch records more than 64 entries, split it"));
        }
        if self.len() > MOST_STEPS {
            return Err(VaultError::too_large("a batch has more than 256 steps, split it"));
        }
        if self.bytes() > MOST_BYTES {
            return Err(VaultError::too_large("a batch has more than 1 MiB of payload, split it"));
        }
        if self.steps.iter().any(|step| step.key.name.len() > LONGEST_NAME) {
            return Err(VaultError::too_large("a record's name has more than 1 KiB, shorten it"));
        }
        let mut changed: Vec<&RecordKey> = self
            .steps
            .iter()
            .filter(|step| !matches!(step.change, Change::Nothing))
            .map(|step| &step.key)
            .collect();
        changed.sort_unstable();
        if changed.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(VaultError::invalid("a batch changes one key twice, leave one change out"));
        }
        Ok(())
    }
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let keys: Vec<_> = self.steps.iter().map(|step| (&step.key, step.expect)).collect();
        f.debug_struct("Batch").field("steps", &keys).field("entries", &self.entries).finish()
    }
}
