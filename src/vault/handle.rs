//! The vault as the rest of the crate sees it: a handle that outlives restarts of its actor.

use std::path::PathBuf;
use std::sync::Arc;

use ractor::Actor as _;
use tracing::{Instrument as _, debug_span};

use super::actor::{VaultActor, VaultArguments};
use super::audit::RetentionProgress;
use super::audit::{AuditEntry, AuditSink, Notebook};
use super::audit::{AuditMark, AuditPage, AuditProgress, AuditQuery, AuditRetention};
use super::batch::Batch;
use super::error::VaultError;
use super::export::{ExportFile, Exported};
use super::inspection::Inspection;
use super::keys::MasterKey;
use super::messages::VaultMessage;
use super::quarantine::Quarantined;
use super::record::{Entry, Query, Record, RecordKey};
use super::settings::Vault;
use super::writer::Writer;
use crate::clock::Sources;
use crate::identity::{QuarantineId, UserId};
use crate::metrics::{Latency, Meters};
use crate::supervision::{ChildSpec, EventBus, Handle, Supervisor};

/// An open vault. Clones are the same vault.
///
/// ```
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
/// let vault = runtime.vault();
/// let key = RecordKey::new(RecordKind::Probe, UserId::new("ada")?, "a note of the host");
/// let text = Zeroizing::new(b"sealed on disk".to_vec());
/// vault.commit(Batch::new().put(key.clone(), text, Expect::Absent, Tags::default())).await?;
///
/// let record = vault.read(&key).await?.expect("it is durable");
/// assert_eq!(*record.payload, b"sealed on disk");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct VaultHandle(Handle<VaultMessage>, Notebook, Timing);

/// How long the vault takes to answer.
#[derive(Debug, Clone)]
struct Timing {
    meters: Meters,
    reads: Latency,
    commits: Latency,
    lists: Latency,
}

impl Timing {
    fn new(meters: &Meters) -> Self {
        Self {
            meters: meters.clone(),
            reads: meters.vault("read"),
            commits: meters.vault("commit"),
            lists: meters.vault("list"),
        }
    }

    /// Waits for `answer`, and counts how long that took.
    async fn of<T>(
        &self,
        latency: &Latency,
        request: &'static str,
        answer: impl Future<Output = T>,
    ) -> T {
        let since = self.meters.now();
        let answer = answer.instrument(debug_span!("vault", request)).await;
        latency.observe(self.meters.now().saturating_sub(since));
        answer
    }
}

impl VaultHandle {
    /// Opens `vault` and puts its actor beneath `under`.
    ///
    /// The actor is permanent; when the vault can not be opened again after a failure, that is
    /// escalated. An orderly stop of the actor closes the vault.
    ///
    /// # Errors
    ///
    /// When the vault does not open: see the predicates of [`VaultError`].
    pub async fn start(
        vault: Vault,
        under: &Supervisor,
        sources: Sources,
        events: EventBus,
    ) -> Result<Self, VaultError> {
        let timing = Timing::new(events.meters());
        let bus = events.clone();
        let report = Arc::new(move |kind| bus.emit(kind));
        let notes = Notebook::new(sources.clone());
        let writer = Arc::new(Writer::start(vault, notes.clone(), sources.clone(), report)?);
        // One that only takes reads for now is good enough to start; the actor looks after it.
        let _takes_writes = writer.open().await?;
        let arguments = VaultArguments { writer, sources, events };
        let spec = ChildSpec::new("vault", move |spawning| {
            let (arguments, supervisor) = (arguments.clone(), spawning.supervisor);
            Box::pin(VaultActor::spawn_linked(None, VaultActor, arguments, supervisor))
        });
        let handle = under.start_child(spec.escalates()).await.map_err(|error| {
            VaultError::unavailable(format!("the vault's actor does not start: {error}"))
        })?;
        Ok(Self(handle, notes, timing))
    }

    /// The record under `key`, or none when there is none.
    ///
    /// # Errors
    ///
    /// [`VaultError::is_quarantined`] when there is one that does not open, which is never taken
    /// for none; [`VaultError::is_unavailable`] when the vault can not be read for now.
    pub async fn read(&self, key: &RecordKey) -> Result<Option<Record>, VaultError> {
        let read = self.0.ask_again(|reply| VaultMessage::Read { key: key.clone(), reply });
        self.2.of(&self.2.reads, "read", read).await?
    }

    /// Applies `batch`, all of it or nothing. Returns once it would survive a power cut.
    ///
    /// # Errors
    ///
    /// [`VaultError::is_conflict`] when something else stands there than was expected,
    /// [`VaultError::is_quarantined`] when a record that does not open stands in the way,
    /// [`VaultError::is_too_large`]: nothing was changed. [`VaultError::is_unavailable`]: the
    /// batch may or may not be there later; read before it is put again.
    pub async fn commit(&self, batch: Batch) -> Result<(), VaultError> {
        batch.check()?;
        let commit = self.0.ask(|reply| VaultMessage::Commit { batch, reply });
        self.2.of(&self.2.commits, "commit", commit).await?
    }

    /// The index entries that meet `query`, by due time where the query has one, else by user and
    /// name. No record is opened.
    ///
    /// # Errors
    ///
    /// [`VaultError::is_unavailable`] when the vault can not be read for now.
    pub async fn list(&self, query: Query) -> Result<Vec<Entry>, VaultError> {
        let list = self.0.ask_again(|reply| VaultMessage::List { query: query.clone(), reply });
        self.2.of(&self.2.lists, "list", list).await?
    }

    /// What the vault says about itself; when it is closed after a failure, what it said last, and
    /// why it is closed.
    ///
    /// # Errors
    ///
    /// [`VaultError::is_unavailable`] when the vault can not be asked for now.
    pub async fn inspect(&self) -> Result<Inspection, VaultError> {
        self.0.ask_again(|reply| VaultMessage::Inspect { reply }).await?
    }

    /// Lets the vault hang on another master key, while it is in use. When this returns, the vault
    /// opens with `key` and with no other; a crash before leaves one that opens with the former key
    /// or with the new one. Data is not sealed again. A key that is missing is created where `key`
    /// allows it.
    ///
    /// # Errors
    ///
    /// Those of a key that is missing or unusable; [`VaultError::is_unavailable`] when the vault
    /// can not be written. The former key stays then, which the next opening makes sure of; or the text
    /// says that the new one is in force already, and that the former one is to be kept until the
    /// vault was written again, which ends the rotation by itself.
    pub async fn rotate_master_key(&self, key: MasterKey) -> Result<(), VaultError> {
        self.0.ask(|reply| VaultMessage::RotateMasterKey { key, reply }).await?
    }

    /// Lets a fresh data key seal from now on, while the vault is in use. What the former one
    /// sealed is re-sealed in the background; then the former key is removed. The vault does this by
    /// itself, too (see [`super::DataKeyPolicy`]).
    ///
    /// # Errors
    ///
    /// [`VaultError::is_unavailable`] when the vault can not be written for now.
    pub async fn rotate_data_key(&self) -> Result<(), VaultError> {
        self.0.ask(|reply| VaultMessage::RotateDataKey { reply }).await?
    }

    /// The records that do not open, as far as known. Each is left as it is, and nothing is written
    /// in its place, until it is discarded, replaced by a fresh sign-in, or restored.
    ///
    /// # Errors
    ///
    /// [`VaultError::is_unavailable`] when the vault can not be read for now.
    pub async fn quarantined(&self) -> Result<Vec<Quarantined>, VaultError> {
        self.0.ask_again(|reply| VaultMessage::Quarantined { reply }).await?
    }

    /// Removes a record that does not open, for good, and records that in the audit trail.
    ///
    /// # Errors
    ///
    /// [`VaultError::is_conflict`] when it is not quarantined (any more);
    /// [`VaultError::is_unavailable`] when the vault can not be written for now.
    pub async fn discard(&self, id: QuarantineId) -> Result<(), VaultError> {
        self.0.ask(|reply| VaultMessage::Discard { id, reply }).await?
    }

    /// Records in the audit trail what changes nothing durable, such as something that was refused.
    /// It is written soon, and nobody waits for it. Equal notes in short order become one entry with
    /// their count, and what many different ones can write is bounded, so that nobody can fill the
    /// disk by being refused.
    pub fn note(&self, entry: AuditEntry) {
        if self.1.add(entry) {
            self.0.post(VaultMessage::WriteNotes { reply: None });
        }
    }

    /// What takes notes, for those who know no vault.
    pub fn audit_sink(&self) -> AuditSink {
        let vault = self.clone();
        Arc::new(move |entry| vault.note(entry))
    }

    /// Writes what was noted, as far as there is leave for it, and returns once that would survive
    /// a power cut.
    ///
    /// # Errors
    ///
    /// [`VaultError::is_unavailable`] when the vault can not be written for now. What was noted waits
    /// on.
    pub async fn write_notes(&self) -> Result<(), VaultError> {
        self.0.ask_again(|reply| VaultMessage::WriteNotes { reply: Some(reply) }).await?
    }

    /// A page of the audit trail.
    ///
    /// # Errors
    ///
    /// [`VaultError::is_unavailable`] when the vault can not be read for now.
    pub async fn read_audit(&self, query: AuditQuery) -> Result<AuditPage, VaultError> {
        self.0.ask_again(|reply| VaultMessage::ReadAudit { query: query.clone(), reply }).await?
    }

    /// Verifies a part of the audit trail: from the beginning, or from where the last part ended.
    /// `marked` is a mark that was kept outside of the vault.
    ///
    /// # Errors
    ///
    /// [`VaultError::is_unavailable`] when the vault can not be read for now. What is wrong with the
    /// trail is no error but a finding.
    pub async fn verify_audit(
        &self,
        from: Option<AuditMark>,
        marked: Option<AuditMark>,
    ) -> Result<AuditProgress, VaultError> {
        self.0.ask_again(|reply| VaultMessage::VerifyAudit { from, marked, reply }).await?
    }

    /// Does a part of what `policy` asks for: removes the oldest segment of the audit trail, or looks for
    /// what the names of users were sealed with whom nothing names any more.
    ///
    /// # Errors
    ///
    /// [`VaultError::is_unavailable`] when the vault can not be written for now.
    pub async fn apply_audit_retention(
        &self,
        policy: AuditRetention,
    ) -> Result<RetentionProgress, VaultError> {
        self.0.ask_again(|reply| VaultMessage::ApplyAuditRetention { policy, reply }).await?
    }

    /// Writes every record to `to`, durably; records that do not open are left out and counted. The
    /// audit trail stays with the vault, and tells of the export. The file shows the vault as it was when
    /// the export began; other requests are answered between two pages.
    ///
    /// # Errors
    ///
    /// [`VaultError::is_unavailable`] when the vault can not be read or not record the export for
    /// now, or the file can not be written; there is no file then.
    pub async fn export(&self, to: ExportFile) -> Result<Exported, VaultError> {
        self.0.ask(|reply| VaultMessage::Export { to, reply }).await?
    }

    /// Makes a copy of the vault in the directory `to`, sealed as it is, and reads it again and
    /// compares. It shows the vault as it was when it was done; other requests are answered between
    /// two pages. It opens with the same master key and the same engine; see [`Vault::restore`].
    ///
    /// # Errors
    ///
    /// [`VaultError::is_occupied`] when there is something in that directory,
    /// [`VaultError::is_unavailable`] when the vault can not be read, or the copy not be written,
    /// [`VaultError::is_unusable_key`] for a vault in memory that was given no master key.
    pub async fn back_up(&self, to: impl Into<PathBuf>) -> Result<(), VaultError> {
        let to = to.into();
        self.0.ask(|reply| VaultMessage::Backup { to, reply }).await?
    }

    /// Erases every record of `user`, those that do not open too, and then rewrites the files: what
    /// is only deleted stays in them for long. Answers how many records there were.
    ///
    /// The records go by one commit; while the files are rewritten, other requests are answered between
    /// two pages. What a disk keeps of files that were removed, and copies
    /// of the vault elsewhere, are not reached by this.
    ///
    /// # Errors
    ///
    /// [`VaultError::is_unavailable`], and among it [`VaultError::is_full`] when there is no room
    /// to rewrite: the records may be deleted by then, and their bytes still stand in the files. The
    /// vault then tries again to rewrite them, by itself and after a crash too, and says so in its
    /// [`Inspection::warnings`] until it is done. A user without records is erased, too.
    pub async fn erase_user(&self, user: &UserId) -> Result<usize, VaultError> {
        // What was noted about the user goes the way of all other entries. What has to wait loses its
        // name with the deletion, or it would give the user a new identity in the trail.
        if let Err(error) = self.write_notes().await {
            tracing::debug!(%error, "what was noted for the audit trail waits on");
        }
        // Once the request is with the vault's thread, that answers it, whatever becomes of the actor. So
        // it is made again only if it was lost before, and no user is erased twice by one call.
        self.0.ask_again(|reply| VaultMessage::EraseUser { user: user.clone(), reply }).await?
    }

    /// The same vault as messages.
    pub fn messages(&self) -> &Handle<VaultMessage> {
        &self.0
    }
}
