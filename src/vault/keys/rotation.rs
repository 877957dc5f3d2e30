//! Exchanging keys while the vault is in use. Each step is one commit of the store, so a crash
//! between two leaves a vault that opens, and whatever is unfinished is found and finished.

use super::header::{FORMER_HEADER_KEY, HEADER_KEY, VaultHeader, put_header, successor};
use super::master::NewMaster;
use crate::event::EventKind;
use crate::vault::audit::{AuditEntry, AuditKind, entry_key};
use crate::vault::commit::Failure;
use crate::vault::error::VaultError;
use crate::vault::names::BlindName;
use crate::vault::opened::{OpenVault, encode, open_stored};
use crate::vault::record::RecordVersion;
use crate::vault::seal::{Header, KeyId};
use crate::vault::slot::Slot;
use crate::vault::store::{StoreBatch, StoreError, Stored};

/// The most records, or entries of the audit trail, that one step of the sweep re-seals.
const MOST_ITEMS: usize = 64;

/// The most entries of the audit trail that one step looks at.
const MOST_READS: u64 = 1_024;

/// After so many bytes a step takes nothing more.
const ENOUGH_BYTES: usize = 256 * 1024;

/// Where the re-sealing of what older data keys sealed has come to. What is done already is cheap to
/// pass over, so nothing of this has to be kept for the next opening.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Sweep {
    /// It goes on with the records behind this name.
    Records(Option<BlindName>),
    /// It goes on with this entry of the audit trail. `mended`: all before it opened.
    Trail { number: u64, mended: bool },
    /// It is over. `mended`: whatever stands in the vault is sealed with the newest key.
    Done { mended: bool },
    /// There was nothing to do.
    #[default]
    Unneeded,
}

impl Sweep {
    /// From the beginning.
    pub(crate) fn start() -> Self {
        Self::Records(None)
    }
}

impl OpenVault {
    /// Lets a fresh data key seal from now on. What the older ones sealed is re-sealed by
    /// [`OpenVault::upkeep`].
    pub(crate) fn rotate_data_key(&mut self) -> Result<(), Failure> {
        if self.unfinished_rotation {
            self.finish_rotation()?;
        }
        let (entropy, now) = (&*self.sources.entropy, self.sources.now().wall);
        let ring = self.keys.rotated(entropy, now, self.seals)?;
        let (header, keys) = self.header.with_ring(ring, &self.master, entropy)?;
        let mut batch = StoreBatch::default();
        put_header(&*self.store, &mut batch, &header)?;
        // The head is sealed with the new key from here on, so that a header from before the rotation
        // is found when it is put back.
        let former = (std::mem::replace(&mut self.keys, keys), self.seals);
        self.seals = 0;
        reached("data-key-asked");
        if let Err(failure) =
            self.commit_recorded(batch, &AuditEntry::new(AuditKind::DataKeyRotated))
        {
            (self.keys, self.seals) = former;
            return Err(failure);
        }
        self.header = header;
        self.sweep = Sweep::start();
        reached("data-key-durable");
        let key = self.keys.newest()?.id.0;
        tracing::info!(key, "vault seals with a new data key");
        (self.report)(EventKind::DataKeyRotated { key });
        Ok(())
    }

    /// Lets the vault hang on another master key. Until the new header has been opened as it stands
    /// in the store, and [`OpenVault::finish_rotation`] has removed it, the old one stands beside it.
    pub(crate) fn rotate_master_key(&mut self, new: NewMaster) -> Result<(), Failure> {
        if self.unfinished_rotation {
            self.finish_rotation()?;
        }
        let (entropy, now) = (&*self.sources.entropy, self.sources.now().wall);
        let NewMaster { key, derivation, found, .. } = new;
        let (header, keys) =
            self.header.with_master(self.keys.clone(), &key, derivation, entropy, now)?;
        let mut batch = StoreBatch::default();
        put_header(&*self.store, &mut batch, &header)?;
        let former = self.store.version(FORMER_HEADER_KEY)?;
        let old = successor(former, &self.header)?;
        batch.writes.retain(|write| write.key != FORMER_HEADER_KEY);
        batch.write(FORMER_HEADER_KEY.to_vec(), former, Some(old));
        reached("master-key-asked");
        self.commit_to_store(&batch)?;
        reached("master-key-written");
        let kept = self.store.read(HEADER_KEY)?;
        let opened = kept.ok_or_else(not_kept).and_then(|kept| {
            let ring = VaultHeader::parse(&kept.value)?.unlock(&key)?;
            if ring.name_key == keys.name_key { Ok(()) } else { Err(not_kept()) }
        });
        if let Err(error) = opened {
            let mut batch = StoreBatch::default();
            put_header(&*self.store, &mut batch, &self.header)?;
            self.commit_to_store(&batch)?;
            return Err(error.into());
        }
        reached("master-key-opened");
        // From here on the rotation has happened.
        (self.header, self.keys, self.master, self.found) = (header, keys, key, found);
        self.unfinished_rotation = true;
        Ok(())
    }

    /// Removes the header from before a rotation of the master key, after the new one was opened.
    pub(crate) fn finish_rotation(&mut self) -> Result<(), Failure> {
        let mut batch = StoreBatch::default();
        let former = self.store.version(FORMER_HEADER_KEY)?;
        batch.write(FORMER_HEADER_KEY.to_vec(), former, None);
        self.commit_recorded(batch, &AuditEntry::new(AuditKind::MasterKeyRotated))?;
        self.unfinished_rotation = false;
        reached("master-key-durable");
        let source = self.found.source.clone();
        tracing::info!(source, "vault has a new master key");
        (self.report)(EventKind::MasterKeyRotated { source });
        Ok(())
    }

    /// Commits what was done to the header, together with the entry that tells of it.
    pub(in crate::vault) fn commit_recorded(
        &mut self,
        mut batch: StoreBatch,
        entry: &AuditEntry,
    ) -> Result<(), Failure> {
        let mut trail = self.trail;
        self.append_audit(&mut batch, &mut trail, entry, None)?;
        let version = RecordVersion(self.last.0.saturating_add(1));
        self.commit_with_head(batch, version, self.digest, trail)
    }

    /// Whether there is something for [`OpenVault::upkeep`] to do.
    pub(crate) fn needs_upkeep(&self) -> bool {
        self.unfinished_rotation
            || matches!(self.sweep, Sweep::Records(_) | Sweep::Trail { .. })
            || self.rotation_is_due()
            || self.has_unneeded_keys()
    }

    /// Does a small piece of what the keys need: finishes a rotation of the master key, re-seals a little of what older ones sealed,
    /// removes those that nothing needs, rotates a data key that is due.
    pub(crate) fn upkeep(&mut self) -> Result<(), Failure> {
        if self.unfinished_rotation {
            return self.finish_rotation();
        }
        match self.sweep {
            Sweep::Records(after) => self.sweep_records(after),
            Sweep::Trail { number, mended } => self.sweep_trail(number, mended),
            Sweep::Done { .. } | Sweep::Unneeded if self.has_unneeded_keys() => {
                self.remove_unneeded_keys()
            }
            Sweep::Done { .. } | Sweep::Unneeded if self.rotation_is_due() => {
                self.rotate_data_key()
            }
            Sweep::Done { .. } | Sweep::Unneeded => Ok(()),
        }
    }

    /// Seals records, and their index entries, again with the newest data key. One that does not
    /// open is quarantined.
    pub(crate) fn reseal(&mut self, names: &[BlindName]) -> Result<(), Failure> {
        let mut rest = names;
        while !rest.is_empty() {
            let done = self.reseal_some(rest)?;
            rest = rest.get(done..).unwrap_or_default();
        }
        Ok(())
    }

    fn sweep_records(&mut self, after: Option<BlindName>) -> Result<(), Failure> {
        let newest = self.keys.newest()?.id;
        let (names, last) = self.index.not_sealed_with(newest, after, MOST_ITEMS);
        let done = self.reseal_some(&names)?;
        // A step that had enough bytes ends before the search did.
        let at = if done < names.len() { names.get(done.saturating_sub(1)).copied() } else { last };
        self.sweep = match at {
            Some(name) => Sweep::Records(Some(name)),
            None => Sweep::Trail { number: *self.trail.numbers().start(), mended: true },
        };
        Ok(())
    }

    /// Seals entries of the audit trail again, from `from` on. One that does not open is evidence:
    /// it stays as it is, and so does the key that it may have been sealed with.
    fn sweep_trail(&mut self, from: u64, mut mended: bool) -> Result<(), Failure> {
        let newest = self.keys.newest()?.id;
        let from = from.max(*self.trail.numbers().start());
        let mut batch = StoreBatch::default();
        let mut number = from;
        let mut bytes = 0;
        while self.trail.numbers().contains(&number)
            && number - from < MOST_READS
            && batch.writes.len() < MOST_ITEMS
            && bytes < ENOUGH_BYTES
        {
            match self.resealed_entry(number, newest)? {
                Ok(Some(sealed)) => {
                    bytes += sealed.value.len();
                    batch.write(entry_key(number), Some(number), Some(sealed));
                }
                Ok(None) => {}
                Err(reason) => {
                    mended = false;
                    tracing::error!(number, reason, "an entry of the audit trail does not open");
                }
            }
            number += 1;
        }
        if !batch.is_empty() {
            reached("entries-sealed");
            self.commit_with_head(batch, self.last, self.digest, self.trail)?;
            reached("entries-durable");
        }
        self.sweep = if self.trail.numbers().contains(&number) {
            Sweep::Trail { number, mended }
        } else {
            reached("sweep-done");
            Sweep::Done { mended }
        };
        Ok(())
    }

    /// Entry `number` sealed again with the key `newest`; none if that key sealed it already. The
    /// inner error says why it does not open.
    fn resealed_entry(
        &self,
        number: u64,
        newest: KeyId,
    ) -> Result<Result<Option<Stored>, String>, VaultError> {
        let key = entry_key(number);
        let stored = match self.store.read(&key) {
            Ok(Some(stored)) => stored,
            Ok(None) => return Ok(Err("it is gone".to_owned())),
            Err(StoreError::Damaged(reason)) => return Ok(Err(reason)),
            Err(error) => return Err(error.into()),
        };
        if Header::of(&stored.value).is_ok_and(|sealed| sealed.key_id == newest) {
            return Ok(Ok(None));
        }
        let version = RecordVersion(number);
        match open_stored(&self.keys, &self.header.vault, &key, version, &stored) {
            Ok(plain) => Ok(Ok(Some(self.seal(&key, version, &plain)?))),
            Err(reason) => Ok(Err(reason)),
        }
    }

    /// Re-seals the first of `names`, in one commit, and says how many.
    fn reseal_some(&mut self, names: &[BlindName]) -> Result<usize, Failure> {
        let mut batch = StoreBatch::default();
        let mut resealed = Vec::new();
        let (mut bytes, mut done) = (0, 0);
        for name in names.iter().take(MOST_ITEMS) {
            done += 1;
            if self.quarantine.contains_key(name) {
                continue;
            }
            let Some(slot) = self.index.get(name) else { continue };
            match self.unseal_record(name, slot.entry.version)? {
                Ok(plain) => {
                    bytes += plain.len();
                    self.write_again(&mut batch, name, &slot, &plain)?;
                    resealed.push(*name);
                }
                Err(reason) => self.set_quarantined(*name, Some(&slot.entry.key), reason),
            }
            if bytes >= ENOUGH_BYTES {
                break;
            }
        }
        if !batch.is_empty() {
            reached("records-sealed");
            self.commit_with_head(batch, self.last, self.digest, self.trail)?;
            reached("records-durable");
            let newest = self.keys.newest()?.id;
            for name in resealed {
                self.index.prove(&name);
                self.index.resealed(&name, newest);
            }
        }
        Ok(done)
    }

    /// Adds to `batch` what seals a record and its index entry again, as they are and in the version
    /// that they have: the head does not change, and no reader can tell.
    fn write_again(
        &self,
        batch: &mut StoreBatch,
        name: &BlindName,
        slot: &Slot,
        plain: &[u8],
    ) -> Result<(), Failure> {
        let (record_key, entry_key) = (name.record_key(), name.entry_key());
        let version = slot.entry.version;
        let sealed = self.seal(&record_key, version, plain)?;
        batch.write(record_key, Some(version.0), Some(sealed));
        let sealed = self.seal(&entry_key, version, &encode(&slot.entry, &slot.unknown)?)?;
        // An entry that is being rebuilt may be there in an older version, or not at all.
        let standing = self.store.version(&entry_key)?;
        batch.write(entry_key, standing, Some(sealed));
        Ok(())
    }

    /// Whether the newest data key has sealed enough.
    fn rotation_is_due(&self) -> bool {
        self.keys.newest().is_ok_and(|newest| {
            self.settings.data_keys.is_due(newest.created, self.seals, self.sources.now().wall)
        })
    }

    /// Whether there are data keys that nothing needs. What does not open may still need one, if it
    /// is ever mended.
    fn has_unneeded_keys(&self) -> bool {
        self.sweep == Sweep::Done { mended: true }
            && self.quarantine.is_empty()
            && self.keys.data_keys().len() > 1
            && self
                .keys
                .newest()
                .is_ok_and(|newest| self.index.sealed_with(newest.id) == self.index.len())
    }

    fn remove_unneeded_keys(&mut self) -> Result<(), Failure> {
        let ring = self.keys.without_retired();
        let (header, keys) = self.header.with_ring(ring, &self.master, &*self.sources.entropy)?;
        let mut batch = StoreBatch::default();
        put_header(&*self.store, &mut batch, &header)?;
        reached("removal-asked");
        self.commit_recorded(batch, &AuditEntry::new(AuditKind::DataKeyRetired))?;
        (self.header, self.keys) = (header, keys);
        reached("removal-durable");
        tracing::info!("vault has removed the data keys that nothing is sealed with");
        Ok(())
    }
}

fn not_kept() -> VaultError {
    VaultError::unavailable("the store did not keep the vault's header, the old key stays")
}

/// Says which step was reached, to those who kill the process there.
fn reached(step: &'static str) {
    tracing::trace!(target: "tokenward::vault::keys", step);
}
