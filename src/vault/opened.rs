//! An opened vault: the store, the keys and the index together, as plain calls that block. The
//! writer's thread owns it; nothing else sees it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::batch::{Batch, Change, Step};
use super::error::VaultError;
use super::head::{Digest, HEAD_KEY};
use super::index::{Index, Meta, Slot, Unknown, whole_micros};
use super::keys::{FORMAT, KeyRing, VaultHeader};
use super::master::MasterKey;
use super::names::BlindName;
use super::plan::{Effect, Intent, Refusal, Standing, decide};
use super::record::{Entry, Inspection, Query, Record, RecordKey, RecordVersion};
use super::seal::{Place, VaultId};
use super::settings::Vault;
use super::store::{StoreBatch, StoreError, Stored, VaultStore};
use crate::clock::Sources;
use crate::event::EventKind;

/// Takes what is to be reported.
pub(crate) type Report = Arc<dyn Fn(EventKind) + Send + Sync>;

/// A vault that is open.
pub(crate) struct OpenVault {
    pub(super) store: Box<dyn VaultStore>,
    pub(super) header: VaultHeader,
    pub(super) keys: KeyRing,
    pub(super) index: Index,
    /// The version of the last batch.
    pub(super) last: RecordVersion,
    /// What the head says of the live records.
    pub(super) digest: Digest,
    /// What does not open, and why.
    pub(super) quarantine: HashMap<BlindName, String>,
    pub(super) settings: Vault,
    pub(super) sources: Sources,
    pub(super) report: Report,
}

/// What a record sealed, or why it does not open.
pub(super) type OpenedRecord = Result<(Meta, Zeroizing<Vec<u8>>), String>;

/// What became of a group of batches.
pub(crate) struct GroupOutcome {
    /// What became of each.
    pub(crate) verdicts: Vec<Result<(), VaultError>>,
    /// Why the store has to be closed and opened again.
    pub(crate) failed: Option<VaultError>,
}

/// What is to stand under a name after a group.
enum Staged {
    Put { slot: Slot, payload: Zeroizing<Vec<u8>> },
    Delete,
}

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

    /// What the vault says about itself.
    pub(crate) fn inspect(&self) -> Result<Inspection, VaultError> {
        let health = self.store.health()?;
        Ok(Inspection {
            store: self.settings.describe(),
            master_key: self
                .settings
                .master_key
                .as_ref()
                .map_or_else(String::new, MasterKey::describe),
            format: FORMAT,
            records: self.index.len(),
            quarantined: self.quarantine.len(),
            version: self.last,
            bytes_on_disk: health.bytes_on_disk,
            warnings: health.warnings,
        })
    }

    /// Applies a group of batches with one write to the store. Each batch is judged by itself; when
    /// this returns, those that succeeded would survive a power cut.
    pub(crate) fn commit(&mut self, group: Vec<Batch>) -> GroupOutcome {
        let checks: Vec<Result<(), VaultError>> = group.iter().map(Batch::check).collect();
        let group: Vec<Vec<(BlindName, Step)>> = group
            .into_iter()
            .zip(&checks)
            .map(|(batch, check)| if check.is_ok() { self.named(batch) } else { Vec::new() })
            .collect();
        if let Err(failed) = self.prove_touched(&group) {
            return GroupOutcome::failed(group.len(), failed);
        }
        let intents: Vec<Vec<Intent<BlindName>>> =
            group.iter().map(|steps| steps.iter().map(intent).collect()).collect();
        let decisions = decide(&intents, |name| self.standing(name), self.last);
        let mut verdicts = Vec::with_capacity(group.len());
        let mut applied = Vec::new();
        let mut last = self.last;
        for ((steps, decision), check) in group.into_iter().zip(decisions).zip(checks) {
            verdicts.push(check.and_then(|()| match decision {
                Ok(version) => {
                    last = version;
                    applied.push((version, steps));
                    Ok(())
                }
                Err(refusal) => Err(refused(refusal, &steps)),
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

    fn named(&self, batch: Batch) -> Vec<(BlindName, Step)> {
        let name = |step: Step| (BlindName::new(&self.keys.name_key, &step.key), step);
        batch.into_steps().into_iter().map(name).collect()
    }

    /// Opens the records that the group touches, unless that was done before, so that one that does
    /// not open is never taken for one that may be overwritten.
    fn prove_touched(&mut self, group: &[Vec<(BlindName, Step)>]) -> Result<(), VaultError> {
        for (name, step) in group.iter().flatten() {
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
        self.index.get(name).map_or(Standing::Absent, |slot| Standing::Present(slot.entry.version))
    }

    /// Seals and stores what the accepted batches leave behind, and only then takes it over.
    fn apply(
        &mut self,
        batches: Vec<(RecordVersion, Vec<(BlindName, Step)>)>,
        last: RecordVersion,
    ) -> Result<(), Failure> {
        let staged = self.stage(batches);
        let mut batch = StoreBatch::default();
        let mut digest = if self.accounts_for_all(&staged) { self.live() } else { self.digest };
        for (name, to) in &staged {
            self.write(&mut batch, &mut digest, name, to)?;
        }
        if batch.is_empty() {
            return Ok(());
        }
        let sealed = self.seal(HEAD_KEY, last, &digest.to_bytes())?;
        batch.write(HEAD_KEY.to_vec(), Some(self.last.0), Some(sealed));
        self.store.commit(&batch).map_err(Failure::of_store)?;
        self.last = last;
        self.digest = digest;
        for (name, to) in staged {
            self.quarantine.remove(&name);
            match to {
                Staged::Put { slot, .. } => self.index.insert(name, slot),
                Staged::Delete => drop(self.index.remove(&name)),
            }
        }
        Ok(())
    }

    /// What stands under each name after the last of the batches that change it.
    fn stage(
        &self,
        batches: Vec<(RecordVersion, Vec<(BlindName, Step)>)>,
    ) -> BTreeMap<BlindName, Staged> {
        let now = whole_micros(self.sources.now().wall);
        let mut staged = BTreeMap::new();
        for (version, steps) in batches {
            for (name, step) in steps {
                match step.change {
                    Change::Put { payload, mut tags } => {
                        tags.due = tags.due.map(whole_micros);
                        let before = match staged.get(&name) {
                            Some(Staged::Put { slot, .. }) => Some(slot),
                            Some(Staged::Delete) => None,
                            None => self.index.get(&name),
                        };
                        let (created, unknown) = before.map_or((now, Unknown::new()), |slot| {
                            (slot.entry.created, slot.unknown.clone())
                        });
                        let entry = Entry { key: step.key, version, tags, created, updated: now };
                        let slot = Slot { entry, unknown, proven: true };
                        staged.insert(name, Staged::Put { slot, payload });
                    }
                    Change::Delete => drop(staged.insert(name, Staged::Delete)),
                    Change::Nothing => {}
                }
            }
        }
        staged
    }

    /// Whether there are records of which nothing is known, and `staged` replaces the last of them.
    /// The head still counts them at versions that nobody knows, so it has to be made anew then.
    fn accounts_for_all(&self, staged: &BTreeMap<BlindName, Staged>) -> bool {
        let mut unknown =
            self.quarantine.keys().filter(|name| self.index.get(name).is_none()).peekable();
        unknown.peek().is_some() && unknown.all(|name| staged.contains_key(name))
    }

    /// What the head says when it counts what the index holds.
    pub(super) fn live(&self) -> Digest {
        let mut digest = Digest::default();
        for (name, slot) in self.index.iter() {
            digest.toggle(&self.keys.name_key, name, slot.entry.version);
        }
        digest
    }

    /// Adds to `batch` what brings the store from what stands under `name` to `to`.
    fn write(
        &self,
        batch: &mut StoreBatch,
        digest: &mut Digest,
        name: &BlindName,
        to: &Staged,
    ) -> Result<(), Failure> {
        let (record_key, entry_key) = (name.record_key(), name.entry_key());
        let known = self.index.get(name).map(|slot| slot.entry.version);
        // What does not open may be there in another version than the index says, or in none.
        let (record, entry) = if self.quarantine.contains_key(name) {
            let version = |key: &[u8]| self.store.version(key).map_err(Failure::of_store);
            (version(&record_key)?, version(&entry_key)?)
        } else {
            (known.map(|version| version.0), known.map(|version| version.0))
        };
        if let Some(version) = known {
            digest.toggle(&self.keys.name_key, name, version);
        }
        match to {
            Staged::Put { slot, payload } => {
                let version = slot.entry.version;
                let meta = encode(&slot.entry, &slot.unknown)?;
                let sealed = self.seal(&record_key, version, &join(&meta, payload))?;
                batch.write(record_key, record, Some(sealed));
                let sealed = self.seal(&entry_key, version, &meta)?;
                batch.write(entry_key, entry, Some(sealed));
                digest.toggle(&self.keys.name_key, name, version);
            }
            Staged::Delete => {
                let there = [(record_key, record), (entry_key, entry)];
                for (key, version) in there.into_iter().filter(|(_, version)| version.is_some()) {
                    batch.write(key, version, None);
                }
            }
        }
        Ok(())
    }

    /// Seals `plain` for the place `key` at `version`.
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
        let key = name.record_key();
        let stored = match self.store.read(&key) {
            Ok(Some(stored)) => stored,
            Ok(None) => return Ok(Err("it is gone".to_owned())),
            Err(StoreError::Damaged(reason)) => return Ok(Err(reason)),
            Err(error) => return Err(error.into()),
        };
        let opened = open_stored(&self.keys, &self.header.vault, &key, version, &stored);
        Ok(opened.and_then(|plain| split(&plain)))
    }

    pub(super) fn set_quarantined(
        &mut self,
        name: BlindName,
        key: Option<&RecordKey>,
        reason: String,
    ) {
        let record = key.map_or("record", |key| key.kind.as_str());
        tracing::error!(record, ?name, reason, "vault record does not open, it is quarantined");
        (self.report)(EventKind::RecordQuarantined {
            record: record.to_owned(),
            reason: reason.clone(),
        });
        self.quarantine.insert(name, reason);
    }
}

impl GroupOutcome {
    fn failed(batches: usize, error: VaultError) -> Self {
        Self { verdicts: vec![Err(error.clone()); batches], failed: Some(error) }
    }
}

/// Why accepted batches could not be applied.
struct Failure {
    error: VaultError,
    /// Whether the store has to be closed and opened again.
    closes: bool,
}

impl Failure {
    fn of_store(error: StoreError) -> Self {
        Self { error: error.into(), closes: true }
    }
}

impl From<VaultError> for Failure {
    fn from(error: VaultError) -> Self {
        Self { error, closes: false }
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

/// What a record seals: its index entry, after its length, and its payload.
fn join(meta: &[u8], payload: &[u8]) -> Zeroizing<Vec<u8>> {
    let length = u32::try_from(meta.len()).unwrap_or(u32::MAX);
    let mut plain = Zeroizing::new(Vec::with_capacity(4 + meta.len() + payload.len()));
    plain.extend_from_slice(&length.to_be_bytes());
    plain.extend_from_slice(meta);
    plain.extend_from_slice(payload);
    plain
}

fn split(plain: &[u8]) -> OpenedRecord {
    let parts = plain.split_first_chunk().and_then(|(length, rest)| {
        rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
    });
    let (meta, payload) = parts.ok_or("its content is cut short")?;
    let meta = serde_json::from_slice(meta)
        .map_err(|_| "its content can not be read, a newer release may have written it")?;
    Ok((meta, Zeroizing::new(payload.to_vec())))
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

fn quarantined(key: &RecordKey) -> VaultError {
    VaultError::quarantined(format!(
        "the stored {} can not be opened, sign in again to replace it or restore a backup",
        key.kind
    ))
}
