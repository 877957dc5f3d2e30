//! An opened vault: the store, the keys and the index together, as plain calls that block. The
//! writer's thread owns it; nothing else sees it.

use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::audit::{AuditFinding, Mentions, Trail};
use super::error::VaultError;
use super::export::Exporting;
use super::head::{Digest, DigestKey};
use super::index::{Index, Meta, Unknown};
use super::keys::{FoundIn, KeyRing, Sweep, VaultHeader};
use super::names::BlindName;
use super::offline::Backup;
use super::quarantine::Quarantine;
use super::record::{Entry, Query, Record, RecordKey, RecordVersion};
use super::seal::{KeyBytes, Place, VaultId};
use super::settings::Vault;
use super::store::{StoreError, Stored, VaultStore};
use crate::clock::{Moment, Sources};
use crate::event::EventKind;
use crate::identity::QuarantineId;

/// Takes what is to be reported.
pub(crate) type Report = Arc<dyn Fn(EventKind) + Send + Sync>;

/// A vault that is open.
pub(crate) struct OpenVault {
    pub(super) store: Box<dyn VaultStore>,
    pub(super) header: VaultHeader,
    /// The master key, since a rotation of a data key seals the ring again.
    pub(super) master: KeyBytes,
    /// Where the master key was found.
    pub(super) found: FoundIn,
    pub(super) keys: KeyRing,
    pub(super) index: Index,
    /// The version of the last batch.
    pub(super) last: RecordVersion,
    /// What the head says of the live records.
    pub(super) digest: Digest,
    /// Where the audit trail begins and ends.
    pub(super) trail: Trail,
    /// What was wrong with the end of the trail when the vault was opened.
    pub(super) trail_damage: Option<AuditFinding>,
    /// Whom the audit trail is about, while that is looked for.
    pub(super) mentions: Option<Mentions>,
    /// How often the newest data key has sealed.
    pub(super) seals: u64,
    /// The header from before a rotation of the master key is still there.
    pub(super) unfinished_rotation: bool,
    /// Where the re-sealing with the newest data key has come to.
    pub(super) sweep: Sweep,
    /// What does not open, and why.
    pub(super) quarantine: Quarantine,
    /// Without the master key: `master` is the only copy that an open vault has.
    pub(super) settings: Vault,
    pub(super) sources: Sources,
    pub(super) report: Report,
    /// The export and the backup that are under way.
    pub(super) export: Option<Exporting>,
    pub(super) backup: Option<Backup>,
    /// What was last found wrong with the store although it works, and when.
    pub(super) watched: Watched,
}

/// What the store was found like.
#[derive(Debug, Default)]
pub(super) struct Watched {
    at: Option<Moment>,
    warnings: Vec<String>,
}

/// How long after a look at the store the next write lets it be looked at again.
const NEXT_LOOK: Duration = Duration::from_mins(1);

/// What a record sealed, or why it does not open.
pub(super) type OpenedRecord = Result<(Meta, Zeroizing<Vec<u8>>), String>;

impl OpenVault {
    /// The record under `key`.
    pub(crate) fn read(&mut self, key: &RecordKey) -> Result<Option<Record>, VaultError> {
        let name = BlindName::new(&self.keys.name_key, key);
        if self.quarantine.contains_key(&name) {
            return Err(quarantined(key));
        }
        let Some(slot) = self.index.get(&name) else { return Ok(None) };
        let (version, created, updated) =
            (slot.entry.version, slot.entry.created, slot.entry.updated);
        match self.open_record(&name, version)? {
            Ok((_, payload)) => {
                self.index.prove(&name);
                Ok(Some(Record { version, payload, created, updated }))
            }
            Err(reason) => {
                self.set_quarantined(name, Some(key), reason);
                Err(quarantined(key))
            }
        }
    }

    /// The index entries that meet `query`.
    pub(crate) fn list(&self, query: &Query) -> Vec<Entry> {
        self.index.list(query, |user| BlindName::of_user(&self.keys.name_key, user))
    }

    /// Whether the store has not been looked at for a while.
    pub(crate) fn wants_a_look(&self) -> bool {
        let now = self.sources.now();
        self.watched.at.is_none_or(|at| now.since(at) >= NEXT_LOOK)
    }

    /// Looks at the store, reports what is newly wrong although it works, and answers whether it
    /// takes writes.
    pub(crate) fn look_after(&mut self) -> Result<bool, VaultError> {
        let health = self.store.health()?;
        for warning in &health.warnings {
            if !self.watched.warnings.contains(warning) {
                tracing::warn!(warning, "the vault's store needs attention");
                (self.report)(EventKind::VaultWarning { warning: warning.clone() });
            }
        }
        self.watched = Watched { at: Some(self.sources.now()), warnings: health.warnings };
        Ok(!health.refuses_writes)
    }

    /// What the head says when it counts what the index holds.
    pub(super) fn live(&self) -> Digest {
        let (key, mut digest) = (DigestKey::new(&self.keys.name_key), Digest::default());
        for (name, version) in self.index.versions() {
            digest.toggle(&key, name, version);
        }
        digest
    }

    /// Seals `plain` for the place `key` at `version`, with the newest data key.
    ///
    /// Whatever is sealed so has to be re-sealed by [`OpenVault::upkeep`] before that key is removed.
    pub(super) fn seal(
        &self,
        key: &[u8],
        version: RecordVersion,
        plain: &[u8],
    ) -> Result<Stored, VaultError> {
        let place = Place { vault: &self.header.vault, key, version: version.0 };
        let value = self.keys.seal(place, plain, &*self.sources.entropy)?;
        Ok(Stored { version: version.0, value })
    }

    /// Opens the record under `name` at `version`. The outer error is the store's; the inner one
    /// says why the record does not open.
    pub(super) fn open_record(
        &self,
        name: &BlindName,
        version: RecordVersion,
    ) -> Result<OpenedRecord, VaultError> {
        let plain = self.unseal_record(name, version)?;
        Ok(plain.and_then(|plain| split(&plain)))
    }

    /// What the record under `name` seals at `version`, as it is. The errors are as in
    /// [`OpenVault::open_record`].
    pub(super) fn unseal_record(
        &self,
        name: &BlindName,
        version: RecordVersion,
    ) -> Result<Result<Zeroizing<Vec<u8>>, String>, VaultError> {
        let key = name.record_key();
        let stored = match self.store.read(&key) {
            Ok(Some(stored)) => stored,
            Ok(None) => return Ok(Err("it is gone".to_owned())),
            Err(StoreError::Damaged(reason)) => return Ok(Err(reason)),
            Err(error) => return Err(error.into()),
        };
        Ok(open_stored(&self.keys, &self.header.vault, &key, version, &stored))
    }

    /// Leaves what stands under `name` as it is, says so once, and lets nobody overwrite it.
    pub(super) fn set_quarantined(
        &mut self,
        name: BlindName,
        key: Option<&RecordKey>,
        reason: String,
    ) {
        let record = key.map_or("record", |key| key.kind.as_str());
        let id = QuarantineId::from(name);
        tracing::error!(record, %id, reason, "vault record does not open, it is quarantined");
        (self.report)(EventKind::RecordQuarantined {
            id,
            record: record.to_owned(),
            reason: reason.clone(),
        });
        self.quarantine.insert(name, reason);
    }
}

/// Opens what is stored under `key` as `version`, with why it does not.
pub(super) fn open_stored(
    keys: &KeyRing,
    vault: &VaultId,
    key: &[u8],
    version: RecordVersion,
    stored: &Stored,
) -> Result<Zeroizing<Vec<u8>>, String> {
    let place = Place { vault, key, version: version.0 };
    keys.open(place, &stored.value).map_err(|error| error.to_string())
}

/// What an index entry seals.
pub(super) fn encode(entry: &Entry, unknown: &Unknown) -> Result<Vec<u8>, VaultError> {
    serde_json::to_vec(&Meta::new(entry, unknown.clone()))
        .map_err(|_| VaultError::invalid("a record's name or tags can not be written"))
}

/// What stands before a record's index entry where it is sealed; its payload follows that.
pub(super) fn length_of(meta: &[u8]) -> [u8; 4] {
    u32::try_from(meta.len()).unwrap_or(u32::MAX).to_be_bytes()
}

/// Takes apart what a record seals: its index entry, after its length, and its payload.
pub(super) fn split(plain: &[u8]) -> OpenedRecord {
    let parts = plain.split_first_chunk().and_then(|(length, rest)| {
        rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
    });
    let (meta, payload) = parts.ok_or("its content is cut short")?;
    let meta = Meta::parse(meta).map_err(|error| error.to_string())?;
    Ok((meta, Zeroizing::new(payload.to_vec())))
}

fn quarantined(key: &RecordKey) -> VaultError {
    VaultError::quarantined(format!(
        "the stored {} can not be opened, sign in again to replace it or restore a backup",
        key.kind
    ))
}
