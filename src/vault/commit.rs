//! Committing to an opened vault: a group of batches is judged, staged, sealed and written to the
//! store at once, and taken over only when the store has made it durable.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::time::SystemTime;

use zeroize::Zeroizing;

use super::audit::{AuditEntry, AuditKind, Identity, Trail};
use super::batch::{Batch, Change, Step};
use super::error::VaultError;
use super::head::{Digest, HEAD_KEY, Head};
use super::index::{Meta, Unknown, whole_micros};
use super::names::BlindName;
use super::opened::OpenVault;
use super::plan::{Effect, Intent, Refusal, Standing, decide};
use super::record::{Entry, RecordKey, RecordKind, RecordVersion, Tags};
use super::sealing::{Sealer, Writing};
use super::slot::Slot;
use super::store::{StoreBatch, StoreError, Stored};
use crate::identity::UserId;

/// What stands in the store from the deletion of a user until the store was rewritten, so that a
/// crash in between is found.
const REWRITE_KEY: &[u8] = b"e";

/// What became of a group of batches.
pub(crate) struct GroupOutcome {
    /// What became of each.
    pub(crate) verdicts: Vec<Result<(), VaultError>>,
    /// Why the store has to be closed and opened again.
    pub(crate) failed: Option<VaultError>,
}

/// The steps of a batch, each with its record's blinded name.
type NamedSteps = Vec<(BlindName, Step)>;

/// A batch of which every name is blinded, and what it records.
#[derive(Default)]
struct Named {
    steps: NamedSteps,
    entries: Vec<AuditEntry>,
}

/// An entry of the audit trail, and who gives it its names.
type Recorded = (AuditEntry, Option<Identity>);

/// What is to stand under a name after a group.
enum Staged {
    Put { slot: Slot, payload: Zeroizing<Vec<u8>> },
    Delete,
}

impl OpenVault {
    /// Applies a group of batches with one write to the store. Each batch is judged by itself; when
    /// this returns, those that succeeded would survive a power cut.
    pub(crate) fn commit(&mut self, group: Vec<Batch>) -> GroupOutcome {
        let checks: Vec<Result<(), VaultError>> = group.iter().map(Batch::check).collect();
        let group: Vec<Named> = group
            .into_iter()
            .zip(&checks)
            .map(|(batch, check)| if check.is_ok() { self.named(batch) } else { Named::default() })
            .collect();
        if let Err(failed) = self.prove_touched(&group) {
            return GroupOutcome::failed(group.len(), failed);
        }
        let intents: Vec<Vec<Intent<BlindName>>> =
            group.iter().map(|batch| batch.steps.iter().map(intent).collect()).collect();
        let decisions = decide(&intents, |name| self.standing(name), self.last);
        let mut verdicts = Vec::with_capacity(group.len());
        let mut applied = Vec::new();
        let mut last = self.last;
        for ((batch, decision), check) in group.into_iter().zip(decisions).zip(checks) {
            verdicts.push(check.and_then(|()| match decision {
                Ok(version) => {
                    last = version;
                    applied.push((version, batch));
                    Ok(())
                }
                Err(refusal) => Err(refused(refusal, &batch.steps)),
            }));
        }
        match self.apply(applied, last) {
            Ok(()) => GroupOutcome { verdicts, failed: None },
            Err(failure) => {
                let accepted = verdicts.iter_mut().filter(|verdict| verdict.is_ok());
                accepted.for_each(|verdict| *verdict = Err(failure.error.clone()));
                GroupOutcome { verdicts, failed: failure.closes.then_some(failure.error) }
            }
        }
    }

    fn named(&self, batch: Batch) -> Named {
        let name = |step: Step| (BlindName::new(&self.keys.name_key, &step.key), step);
        let (steps, entries) = batch.into_parts();
        Named { steps: steps.into_iter().map(name).collect(), entries }
    }

    /// Opens the records that the group touches, unless that was done before, so that one that does
    /// not open is never taken for one that may be overwritten.
    fn prove_touched(&mut self, group: &[Named]) -> Result<(), VaultError> {
        for (name, step) in group.iter().flat_map(|batch| &batch.steps) {
            let Some(slot) = self.index.get(name) else { continue };
            if slot.proven || self.quarantine.contains_key(name) {
                continue;
            }
            match self.open_record(name, slot.entry.version)? {
                Ok(_) => self.index.prove(name),
                Err(reason) => self.set_quarantined(*name, Some(&step.key), reason),
            }
        }
        Ok(())
    }

    fn standing(&self, name: &BlindName) -> Standing {
        if self.quarantine.contains_key(name) {
            return Standing::Quarantined;
        }
        self.index.version(name).map_or(Standing::Absent, Standing::Present)
    }

    /// Removes what is quarantined under `name`, by the decision of a person.
    pub(crate) fn discard(&mut self, name: &BlindName) -> Result<(), Failure> {
        if !self.quarantine.contains_key(name) {
            return Err(VaultError::conflict("this record is not quarantined any more").into());
        }
        let mut entry = AuditEntry::new(AuditKind::RecordDiscarded);
        if let Some(Slot { entry: known, .. }) = self.index.get(name) {
            entry = entry.user(&known.key.user).because(known.key.kind.as_str());
            if let Some(provider) = &known.tags.provider {
                entry = entry.provider(provider);
            }
        }
        let version = RecordVersion(self.last.0 + 1);
        let recording = Named { entries: vec![entry], ..Named::default() };
        let (mut staged, recorded) = self.stage(vec![(version, recording)])?;
        staged.insert(*name, Staged::Delete);
        self.write_all(StoreBatch::default(), staged, &recorded, version)
    }

    /// Seals and stores what the accepted batches leave behind, and only then takes it over.
    fn apply(
        &mut self,
        batches: Vec<(RecordVersion, Named)>,
        last: RecordVersion,
    ) -> Result<(), Failure> {
        let (staged, recorded) = self.stage(batches)?;
        self.write_all(StoreBatch::default(), staged, &recorded, last)
    }

    /// Rewrites the store, if a user was deleted since that was last done.
    pub(crate) fn finish_erasure(&mut self) -> Result<(), Failure> {
        while !self.continue_erasure()? {}
        Ok(())
    }

    /// Does a part of rewriting the store, if a user was deleted since that was last done, and says
    /// whether nothing of it is left to do.
    pub(crate) fn continue_erasure(&mut self) -> Result<bool, Failure> {
        let Some(owed) = self.store.version(REWRITE_KEY)? else { return Ok(true) };
        if !self.store.compact_some()? {
            return Ok(false);
        }
        let mut batch = StoreBatch::default();
        batch.write(REWRITE_KEY.to_vec(), Some(owed), None);
        self.commit_to_store(&batch)?;
        Ok(true)
    }

    /// Deletes every record of `user`, those that do not open too, and leaves a mark that the store
    /// is to be rewritten. Gives the number of records there were.
    ///
    /// It is one batch, so that nobody ever sees a part of a user, such as a token without what is
    /// known of its last renewal.
    pub(super) fn delete_user(&mut self, user: &UserId) -> Result<usize, Failure> {
        if user.is_reserved() {
            let text = "these records are no user's and stay, erase users only";
            return Err(VaultError::invalid(text).into());
        }
        let mut staged = BTreeMap::new();
        for prefix in BlindName::stored_prefixes(&self.keys.name_key, user) {
            self.store.scan(&prefix, None, &mut |key, _| {
                staged.extend(BlindName::of_stored(key).map(|name| (name, Staged::Delete)));
                ControlFlow::Continue(())
            })?;
        }
        // What is in the index and gone from the store is to be forgotten as well.
        let (first, last) = BlindName::of_user(&self.keys.name_key, user);
        staged.extend(self.index.names(first, last).map(|name| (name, Staged::Delete)));
        let records = staged.len();
        let last = RecordVersion(self.last.0 + 1);
        // Its names are sealed under an identity that is kept nowhere.
        let entry = AuditEntry::new(AuditKind::UserErased).user(user);
        let identity = Identity::generate(&*self.sources.entropy).map_err(VaultError::from)?;
        let mut batch = StoreBatch::default();
        let owed = Stored { version: last.0, value: Vec::new() };
        batch.write(REWRITE_KEY.to_vec(), self.store.version(REWRITE_KEY)?, Some(owed));
        self.write_all(batch, staged, &[(entry, Some(identity))], last)?;
        Ok(records)
    }

    /// Deletes the records under `names`, if there are any.
    pub(super) fn remove_records(&mut self, names: &[BlindName]) -> Result<(), Failure> {
        let staged = names.iter().map(|name| (*name, Staged::Delete)).collect();
        let last = RecordVersion(self.last.0.saturating_add(1));
        self.write_all(StoreBatch::default(), staged, &[], last)
    }

    /// Puts records that were read from an export, with the times that they had.
    pub(super) fn adopt(
        &mut self,
        records: Vec<(Meta, Zeroizing<Vec<u8>>)>,
    ) -> Result<(), VaultError> {
        let version = RecordVersion(self.last.0 + 1);
        let sealed_with = self.keys.newest()?.id;
        let mut staged = BTreeMap::new();
        for (meta, payload) in records {
            let slot = Slot { proven: true, ..meta.into_slot(version, sealed_with) };
            let name = BlindName::new(&self.keys.name_key, &slot.entry.key);
            let twice = self.index.version(&name).is_some();
            if staged.insert(name, Staged::Put { slot, payload }).is_some() || twice {
                return Err(VaultError::damaged("the export holds one record twice"));
            }
        }
        let batch = StoreBatch::default();
        self.write_all(batch, staged, &[], version).map_err(|failure| failure.error)
    }

    /// Writes `batch` and what is to stand under each name with one commit of the store, and takes
    /// it over.
    fn write_all(
        &mut self,
        mut batch: StoreBatch,
        staged: BTreeMap<BlindName, Staged>,
        recorded: &[Recorded],
        last: RecordVersion,
    ) -> Result<(), Failure> {
        let writings: Vec<Writing<'_>> =
            staged.iter().map(|(name, to)| self.writing(name, to)).collect::<Result<_, _>>()?;
        let sealer = Sealer { keys: &self.keys, vault: &self.header.vault };
        let (writes, toggled) = sealer.seal_all(&writings, &*self.sources.entropy)?;
        batch.writes.extend(writes);
        let mut digest = self.digest;
        digest.toggle_all(toggled);
        let mut trail = self.trail;
        for (entry, identity) in recorded {
            self.append_audit(&mut batch, &mut trail, entry, identity.as_ref())?;
        }
        if batch.is_empty() {
            return Ok(());
        }
        self.keep_for_export(staged.keys());
        self.commit_with_head(batch, last, digest, trail)?;
        for (name, to) in staged {
            self.quarantine.remove(&name);
            match to {
                Staged::Put { slot, .. } => self.index.insert(name, slot),
                Staged::Delete => {
                    self.index.remove(&name);
                    self.forget_for_export(&name);
                }
            }
        }
        Ok(())
    }

    /// Commits `batch` together with the head that belongs to it, and takes that over.
    pub(super) fn commit_with_head(
        &mut self,
        mut batch: StoreBatch,
        last: RecordVersion,
        digest: Digest,
        trail: Trail,
    ) -> Result<(), Failure> {
        let sealed = batch.writes.iter().filter(|write| write.to.is_some()).count() + 1;
        let seals = self.seals.saturating_add(u64::try_from(sealed).unwrap_or(u64::MAX));
        let head = self.seal(HEAD_KEY, last, &Head { digest, seals, trail }.to_bytes())?;
        batch.write(HEAD_KEY.to_vec(), Some(self.last.0), Some(head));
        self.commit_to_store(&batch)?;
        (self.last, self.digest, self.seals, self.trail) = (last, digest, seals, trail);
        Ok(())
    }

    /// Every commit of an open vault passes here, so that a backup under way can follow.
    pub(super) fn commit_to_store(&mut self, batch: &StoreBatch) -> Result<(), StoreError> {
        self.store.commit(batch)?;
        if let Some(backup) = &mut self.backup {
            backup.follow(batch);
        }
        Ok(())
    }

    /// What stands under each name after the last of the batches that change it, and what they
    /// record.
    fn stage(
        &mut self,
        batches: Vec<(RecordVersion, Named)>,
    ) -> Result<(BTreeMap<BlindName, Staged>, Vec<Recorded>), Failure> {
        let sealed_with = self.keys.newest()?.id;
        let now = whole_micros(self.sources.now().wall);
        let mut staged = BTreeMap::new();
        let (mut recorded, mut identities) = (Vec::new(), HashMap::new());
        for (version, batch) in batches {
            // Before the steps, so that a batch that erases a user erases the names in its entry.
            for entry in batch.entries {
                let identity =
                    self.identity_for(&entry, (version, now), &mut staged, &mut identities)?;
                recorded.push((entry, identity));
            }
            for (name, step) in batch.steps {
                if step.key.kind == RecordKind::AuditIdentity {
                    identities.remove(&step.key.user);
                }
                match step.change {
                    Change::Put { payload, mut tags } => {
                        tags.due = tags.due.map(whole_micros);
                        let before = match staged.get(&name) {
                            Some(Staged::Put { slot, .. }) => Some(slot.clone()),
                            Some(Staged::Delete) => None,
                            None => self.index.get(&name),
                        };
                        let (created, unknown) = before.map_or((now, Unknown::new()), |slot| {
                            (slot.entry.created, slot.unknown)
                        });
                        let entry = Entry { key: step.key, version, tags, created, updated: now };
                        let slot = Slot { entry, unknown, sealed_with, proven: true };
                        staged.insert(name, Staged::Put { slot, payload });
                    }
                    Change::Delete => drop(staged.insert(name, Staged::Delete)),
                    Change::Nothing => {}
                }
            }
        }
        Ok((staged, recorded))
    }

    /// The identity that seals the names in `entry`: that of its user, who gets one with the first
    /// entry. The last entry about a user has one that is kept nowhere.
    fn identity_for(
        &mut self,
        entry: &AuditEntry,
        (version, now): (RecordVersion, SystemTime),
        staged: &mut BTreeMap<BlindName, Staged>,
        known: &mut HashMap<UserId, Identity>,
    ) -> Result<Option<Identity>, Failure> {
        let Some(user) = entry.about() else { return Ok(None) };
        if entry.kind() == AuditKind::UserErased {
            return Ok(Some(Identity::generate(&*self.sources.entropy).map_err(VaultError::from)?));
        }
        if let Some(identity) = known.get(user) {
            return Ok(Some(identity.clone()));
        }
        let name_key = self.keys.name_key.clone();
        let leaving = |key: &RecordKey| {
            matches!(staged.get(&BlindName::new(&name_key, key)), Some(Staged::Delete))
        };
        let there = self.audit_identity(user, leaving)?;
        let identity = if let Some(identity) = there {
            identity
        } else {
            let fresh = Identity::generate(&*self.sources.entropy).map_err(VaultError::from)?;
            let key = fresh.record_key(user);
            let name = BlindName::new(&name_key, &key);
            let tags = Tags::default();
            let entry = Entry { key, version, tags, created: now, updated: now };
            let sealed_with = self.keys.newest()?.id;
            let slot = Slot { entry, unknown: Unknown::new(), sealed_with, proven: true };
            staged.insert(name, Staged::Put { slot, payload: fresh.to_payload() });
            fresh
        };
        known.insert(user.clone(), identity.clone());
        Ok(Some(identity))
    }

    /// What brings the store from what stands under `name` to `to`.
    fn writing<'a>(&self, name: &'a BlindName, to: &'a Staged) -> Result<Writing<'a>, Failure> {
        let slot = self.index.get(name);
        let known = slot.as_ref().map(|slot| slot.entry.version);
        // What does not open, or was not opened yet, may be there in another version than the index
        // says, or in none.
        let is_proven = slot.is_none_or(|slot| slot.proven);
        let (record, entry) = if self.quarantine.contains_key(name) || !is_proven {
            (self.store.version(&name.record_key())?, self.store.version(&name.entry_key())?)
        } else {
            (known.map(|version| version.0), known.map(|version| version.0))
        };
        // The head counts a record of which nothing is known at the version that it is stored with.
        let counted = known.or_else(|| record.or(entry).map(RecordVersion));
        let to = match to {
            Staged::Put { slot, payload } => Some((slot, payload.as_slice())),
            Staged::Delete => None,
        };
        Ok(Writing { name, record, entry, counted, to })
    }
}

impl GroupOutcome {
    fn failed(batches: usize, error: VaultError) -> Self {
        Self { verdicts: vec![Err(error.clone()); batches], failed: Some(error) }
    }
}

/// Why a change could not be made.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: VaultError,
    /// Whether the store has to be closed and opened again.
    pub(crate) closes: bool,
}

impl Failure {
    pub(super) fn of_store(error: StoreError) -> Self {
        // Refused for its size or for want of room: the store is as it was. After anything else it
        // may not be.
        let closes = !matches!(error, StoreError::TooLarge | StoreError::NoRoom);
        Self { error: error.into(), closes }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::of_store(error)
    }
}

impl From<VaultError> for Failure {
    /// What could not be read closes the store as well: it is not to be trusted any more.
    fn from(error: VaultError) -> Self {
        Self { closes: error.is_unavailable() && !error.is_full(), error }
    }
}

fn intent((name, step): &(BlindName, Step)) -> Intent<BlindName> {
    let effect = match step.change {
        Change::Put { .. } => Effect::Put,
        Change::Delete => Effect::Delete,
        Change::Nothing => Effect::Nothing,
    };
    Intent { name: *name, expect: step.expect, effect }
}

fn refused(refusal: Refusal, steps: &[(BlindName, Step)]) -> VaultError {
    let kind = |step: usize| steps.get(step).map_or("record", |(_, step)| step.key.kind.as_str());
    match refusal {
        Refusal::Quarantined { step } => VaultError::quarantined(format!(
            "the stored {} can not be opened and is not overwritten, sign in again to replace it",
            kind(step)
        )),
        Refusal::Conflict { step, found } => {
            let found = match found {
                Standing::Present(version) => format!("version {version} stands there"),
                Standing::Absent | Standing::Quarantined => "nothing stands there".to_owned(),
            };
            VaultError::conflict(format!(
                "the {} was changed meanwhile ({found}), read it again",
                kind(step)
            ))
        }
    }
}
