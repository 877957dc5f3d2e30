//! What the vault's actor can be asked.

use std::path::PathBuf;

use super::audit::RetentionProgress;
use super::audit::{AuditMark, AuditPage, AuditProgress, AuditQuery, AuditRetention};
use super::batch::Batch;
use super::error::VaultError;
use super::export::{ExportFile, Exported};
use super::inspection::Inspection;
use super::keys::MasterKey;
use super::quarantine::Quarantined;
use super::record::{Entry, Query, Record, RecordKey};
use crate::identity::{QuarantineId, UserId};
use crate::supervision::Reply;

/// Where the vault's answer goes.
///
/// [`VaultMessage`] shows one that is asked for.
///
/// ```
/// use tokenward::vault::{Answer, Inspection, VaultMessage};
///
/// fn inspect(reply: Answer<Inspection>) -> VaultMessage {
///     VaultMessage::Inspect { reply }
/// }
///
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let orange = SimulatedProvider::orange().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(orange.spec()).start().await?;
/// let inspection = runtime.vault().messages().ask_again(inspect).await??;
/// println!("{} records", inspection.records);
/// # Ok(())
/// # }
/// ```
pub type Answer<T> = Reply<Result<T, VaultError>>;

/// What the vault's actor can be asked. [`super::VaultHandle`] has a method for each.
///
/// ```
/// use tokenward::vault::{Query, RecordKind, VaultMessage};
///
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let orange = SimulatedProvider::orange().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(orange.spec()).start().await?;
/// let vault = runtime.vault().messages();
/// let query = Query::all(RecordKind::Credential);
/// let list = |reply| VaultMessage::List { query: query.clone(), reply };
/// assert!(vault.ask_again(list).await??.is_empty(), "nobody is signed in");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum VaultMessage {
    /// Reads one record.
    Read {
        /// Its key.
        key: RecordKey,
        /// Takes the record, or none when there is none.
        reply: Answer<Option<Record>>,
    },
    /// Applies a batch.
    Commit {
        /// The batch.
        batch: Batch,
        /// Told when the batch would survive a power cut.
        reply: Answer<()>,
    },
    /// Lists index entries.
    List {
        /// Which.
        query: Query,
        /// Takes the entries.
        reply: Answer<Vec<Entry>>,
    },
    /// Looks at the vault as a whole.
    Inspect {
        /// Takes what there is to say.
        reply: Answer<Inspection>,
    },
    /// Writes what was noted for the audit trail, as far as there is leave for it.
    WriteNotes {
        /// Told when it is durable; none when nobody waits.
        reply: Option<Answer<()>>,
    },
    /// Reads a page of the audit trail.
    ReadAudit {
        /// Which entries.
        query: AuditQuery,
        /// Takes the page.
        reply: Answer<AuditPage>,
    },
    /// Verifies a part of the audit trail.
    VerifyAudit {
        /// Where the last part ended; none: from the beginning.
        from: Option<AuditMark>,
        /// A mark that was kept outside of the vault, and must be in the trail.
        marked: Option<AuditMark>,
        /// Takes how far it got and what it found.
        reply: Answer<AuditProgress>,
    },
    /// Removes the oldest segment of the audit trail, if it is old enough, or forgets users whom
    /// nothing names any more; a part at a time, until it is done.
    ApplyAuditRetention {
        /// How long entries are kept.
        policy: AuditRetention,
        /// Takes what was done.
        reply: Answer<RetentionProgress>,
    },
    /// Writes every record to an export.
    Export {
        /// Where to.
        to: ExportFile,
        /// Told what is in it, once it is durable.
        reply: Answer<Exported>,
    },
    /// Makes a copy of the vault, as it is, in another directory.
    Backup {
        /// The directory, which must not be there or be empty.
        to: PathBuf,
        /// Told when the copy is durable, and was read again and compared.
        reply: Answer<()>,
    },
    /// Erases everything of a user, and rewrites the files so that nothing of it remains in them.
    EraseUser {
        /// Whose.
        user: UserId,
        /// Told how many records there were, when the files are rewritten.
        reply: Answer<usize>,
    },
    /// Lets the vault hang on another master key.
    RotateMasterKey {
        /// Where that one is.
        key: MasterKey,
        /// Told when the vault opens with it.
        reply: Answer<()>,
    },
    /// Lets a fresh data key seal from now on, and what is there be re-sealed by and by.
    RotateDataKey {
        /// Told when the new key seals.
        reply: Answer<()>,
    },
    /// Lists the records that do not open.
    Quarantined {
        /// Takes them.
        reply: Answer<Vec<Quarantined>>,
    },
    /// Removes a record that does not open.
    Discard {
        /// Which.
        id: QuarantineId,
        /// Told when it is gone.
        reply: Answer<()>,
    },
    /// What the actor tells itself.
    Internal(Internal),
}

/// What the actor tells itself; made only inside the vault.
#[derive(Debug)]
#[doc(hidden)]
pub struct Internal(pub(super) Inner);

#[derive(Debug)]
pub(super) enum Inner {
    /// End, because the store can not be opened again, for this reason: the supervisor decides what
    /// becomes of the runtime.
    GiveUp(VaultError),
}

impl VaultMessage {
    pub(super) fn give_up(reason: VaultError) -> Self {
        Self::Internal(Internal(Inner::GiveUp(reason)))
    }
}
