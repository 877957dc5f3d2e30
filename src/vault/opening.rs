//! Opening a vault: the store, the header, the keys, the index, in this order, what to do when the
//! index does not agree with the head, and what an earlier release or a crash left to be done.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::audit::{AuditEntry, AuditKind};
use super::commit::Failure;
use super::entries::{Entries, EntryReader};
use super::error::VaultError;
use super::head::{Digest, DigestKey, HEAD_KEY, Head};
use super::index::Index;
use super::keys::{
    FORMAT, Found, HEADER_KEY, KeyRing, Rotation, Sweep, Unlocked, VaultHeader, put_header, unlock,
};
use super::names::{BlindName, RECORDS};
use super::opened::{OpenVault, Report, Watched, open_stored};
use super::quarantine::Quarantine;
use super::record::RecordVersion;
use super::seal::{Header, KeyId, Place};
use super::settings::Vault;
use super::slot::Slot;
use super::store::{OpenStore, Scanned, StoreBatch, Stored, VaultStore};
use crate::clock::Sources;
use crate::event::EventKind;

/// What an opening finds to be written.
struct Unsettled {
    /// What became of the last rotation of the master key.
    rotation: Rotation,
    /// The records whose index entries were rebuilt from them.
    rebuilt: Vec<BlindName>,
}

impl OpenVault {
    /// Opens the vault that `settings` describe, or creates it where they allow that.
    pub(crate) fn open(
        settings: &Vault,
        sources: Sources,
        report: Report,
    ) -> Result<Self, VaultError> {
        let (mut vault, unsettled) = Self::find(settings, &settings.store(), sources, report)?;
        vault.settle(&unsettled).map_err(|failure| failure.error)?;
        Ok(vault)
    }

    /// Opens the vault that `settings` describe to be looked at: it is left as it is, whatever an
    /// opening would do to it.
    pub(crate) fn look(settings: &Vault, sources: Sources) -> Result<Self, VaultError> {
        let settings = settings.clone().create_if_missing(false);
        let store = settings.store_as_it_is();
        Ok(Self::find(&settings, &store, sources, Arc::new(|_| {}))?.0)
    }

    /// Opens what is there, and changes nothing in it; creates what is not there.
    fn find(
        settings: &Vault,
        open_store: &OpenStore,
        sources: Sources,
        report: Report,
    ) -> Result<(Self, Unsettled), VaultError> {
        let source = settings.master_key.as_ref().ok_or_else(|| {
            VaultError::missing_key(
                "the vault was given no master key, call `Vault::master_key` with one from a \
                 variable (`MasterKey::from_env`), a file (`MasterKey::from_file`, whose \
                 `create_if_missing` makes one for a new vault) or, with the feature keyring, the \
                 keyring (`MasterKey::from_keyring`)",
            )
        })?;
        settings.data_keys.check()?;
        // Before anything is touched, so that a missing key leaves no empty vault behind.
        let found = match source.find() {
            Err(error) if error.is_missing_key() && source.can_be_created() => None,
            found => Some(found?),
        };
        let mut store = open_store()?;
        let (unlocked, found) = match found {
            Some(found) => (unlock(&*store, &found.held)?, Some(found)),
            None if store.version(HEADER_KEY)?.is_some() => {
                return Err(VaultError::missing_key(format!(
                    "the master key of this vault is missing from its {}, put it back: a new key \
                     can not open an existing vault",
                    source.describe()
                )));
            }
            None => (None, None),
        };
        let (Unlocked { header, master, keys, rotation }, found) = match (unlocked, found) {
            (Some(unlocked), Some(found)) => (unlocked, found),
            (_, found) => {
                check_new(&*store, settings)?;
                let found = found.map_or_else(|| source.create(&*sources.entropy), Ok)?;
                (create(&mut *store, settings, &found, &sources)?, found)
            }
        };
        let (last, Head { digest, seals, trail }) = read_head(&*store, &header, &keys)?;
        let mut vault = Self {
            store,
            header,
            master,
            found: found.told,
            keys,
            index: Index::default(),
            last,
            digest,
            trail,
            trail_damage: None,
            mentions: None,
            seals,
            unfinished_rotation: rotation == Rotation::Happened,
            sweep: Sweep::default(),
            quarantine: Quarantine::default(),
            settings: Vault { master_key: None, ..settings.clone() },
            sources,
            report,
            export: None,
            backup: None,
            watched: Watched::default(),
        };
        let (unopened, live) = vault.load_index()?;
        let mut rebuilt = Vec::new();
        if !unopened.is_empty() || live != digest {
            rebuilt = vault.rebuild_index(unopened)?;
        }
        if let Some(finding) = vault.check_audit_end()? {
            tracing::error!(%finding, "the vault's audit trail is not as it was written");
            (vault.report)(EventKind::AuditTrailDamaged {
                entry: finding.number,
                problem: finding.to_string(),
            });
            vault.trail_damage = Some(finding);
        }
        if vault.keys.data_keys().len() > 1 {
            vault.sweep = Sweep::start();
        }
        Ok((vault, Unsettled { rotation, rebuilt }))
    }

    /// Does what is left to be done. Until here nothing was changed, so that a vault which does not open
    /// is left as it was.
    fn settle(&mut self, unsettled: &Unsettled) -> Result<(), Failure> {
        if unsettled.rotation == Rotation::Undone {
            tracing::warn!("a rotation of the master key was interrupted, the former key stays");
            let mut batch = StoreBatch::default();
            put_header(&*self.store, &mut batch, &self.header)?;
            self.commit_to_store(&batch)?;
        }
        // With their records, so that both are sealed with the same key.
        self.reseal(&unsettled.rebuilt)?;
        if self.header.format() < FORMAT {
            self.upgrade()?;
        }
        // These do not keep a vault on a full disk from being read. The first is tried again by the
        // upkeep, the second by the next opening.
        if self.unfinished_rotation {
            self.finish_rotation().or_else(if_no_room)?;
        }
        if !self.unfinished_rotation {
            self.note_engine().or_else(if_no_room)?;
        }
        Ok(())
    }

    /// Brings a vault of an older format to the newest one, in one commit.
    fn upgrade(&mut self) -> Result<(), Failure> {
        let from = self.header.format();
        let (header, keys) =
            self.header.with_ring(self.keys.clone(), &self.master, &*self.sources.entropy)?;
        let mut batch = StoreBatch::default();
        put_header(&*self.store, &mut batch, &header)?;
        self.commit_with_head(batch, self.last, self.digest, self.trail)?;
        (self.header, self.keys) = (header, keys);
        tracing::info!(from, to = FORMAT, "vault upgraded to a newer format");
        Ok(())
    }

    /// Writes down which engine keeps the vault. Where it was moved from another one since it was last
    /// open, the trail tells of it in the same commit.
    fn note_engine(&mut self) -> Result<(), Failure> {
        let (Some(engine), before) = (self.settings.kept_by(), self.keys.engine.clone()) else {
            return Ok(());
        };
        if before.as_deref() == Some(engine) {
            return Ok(());
        }
        let ring = self.keys.kept_by(engine);
        let (header, keys) = self.header.with_ring(ring, &self.master, &*self.sources.entropy)?;
        let mut batch = StoreBatch::default();
        put_header(&*self.store, &mut batch, &header)?;
        match before {
            Some(before) => {
                let from_to = format!("from {before} to {engine}");
                let entry = AuditEntry::new(AuditKind::VaultMoved).in_words(&from_to);
                self.commit_recorded(batch, &entry)?;
                tracing::info!(from = before, to = engine, "vault was moved to another engine");
            }
            None => self.commit_with_head(batch, self.last, self.digest, self.trail)?,
        }
        (self.header, self.keys) = (header, keys);
        Ok(())
    }

    /// Fills the index from its sealed entries. Gives the names of those that do not open, and what
    /// the head says when it counts the others.
    fn load_index(&mut self) -> Result<(BTreeSet<BlindName>, Digest), VaultError> {
        let reader = EntryReader::new(&*self.store, &self.keys, &self.header.vault);
        let Entries { filling, digest, unopened } = reader.read()?;
        self.index = filling.finish();
        Ok((unopened, digest))
    }

    /// Rebuilds what is wrong in the index by opening records. What neither the index nor a record
    /// can tell is quarantined; if the head still says otherwise, the vault was changed behind our
    /// back. Gives the names of the records whose index entries are to be written again.
    fn rebuild_index(
        &mut self,
        mut unknown: BTreeSet<BlindName>,
    ) -> Result<Vec<BlindName>, VaultError> {
        tracing::warn!("vault index does not agree with the head, rebuilding it from the records");
        let mut suspects = Vec::new();
        self.store.scan(RECORDS, None, &mut |key, Scanned { stored, .. }| {
            let Some(name) = BlindName::of_stored(key) else { return ControlFlow::Continue(()) };
            let version = RecordVersion(stored.version);
            // A record older than its entry is found when it is read.
            if self.index.version(&name).is_none_or(|known| known < version) {
                suspects.push((name, version));
            }
            ControlFlow::Continue(())
        })?;
        let mut rebuilt = Vec::new();
        for (name, version) in suspects {
            match self.open_record(&name, version)? {
                Ok((meta, _)) => {
                    unknown.remove(&name);
                    // Written when the opening is settled, with the newest key.
                    let slot = meta.into_slot(version, KeyId::default());
                    rebuilt.push((name, Slot { proven: true, ..slot }));
                }
                Err(_) if self.index.version(&name).is_some() => {}
                Err(_) => drop(unknown.insert(name)),
            }
        }
        let names: Vec<BlindName> = rebuilt.iter().map(|(name, _)| *name).collect();
        for (name, slot) in rebuilt {
            self.index.insert(name, slot);
        }
        // What does not open is counted at the version that it is stored with. If the head says
        // otherwise, something else than these records was changed, too.
        let (key, mut counted) = (DigestKey::new(&self.keys.name_key), self.live());
        for name in &unknown {
            let version = self.store.version(&name.record_key())?;
            let version =
                version.map_or_else(|| self.store.version(&name.entry_key()), |it| Ok(Some(it)))?;
            counted.toggle(&key, name, RecordVersion(version.unwrap_or_default()));
        }
        if counted != self.digest {
            return Err(VaultError::damaged(
                "records of the vault are missing or were put back to an older state, restore a \
                 backup",
            ));
        }
        for name in unknown {
            let reason = "neither it nor its index entry opens".to_owned();
            self.set_quarantined(name, None, reason);
        }
        Ok(names)
    }
}

/// Goes on where there was no room for something, and the store is as it was.
fn if_no_room(failure: Failure) -> Result<(), Failure> {
    let Failure { error, closes } = &failure;
    if *closes || !error.is_full() {
        return Err(failure);
    }
    tracing::warn!(%error, "a part of opening the vault waits for room");
    Ok(())
}

/// Checks that a store without a header may become a new vault.
fn check_new(store: &dyn VaultStore, settings: &Vault) -> Result<(), VaultError> {
    if !settings.create_if_missing {
        return Err(VaultError::absent(format!(
            "there is no vault in {}, allow it to be created or correct the path",
            settings.describe()
        )));
    }
    let mut empty = true;
    store.scan(b"", None, &mut |_, _| {
        empty = false;
        ControlFlow::Break(())
    })?;
    if empty {
        Ok(())
    } else {
        Err(VaultError::damaged("the vault's header is missing, restore a backup"))
    }
}

/// Makes a new vault in a store that is empty.
fn create(
    store: &mut dyn VaultStore,
    settings: &Vault,
    found: &Found,
    sources: &Sources,
) -> Result<Unlocked, VaultError> {
    let entropy = &*sources.entropy;
    let (master, derivation) = found.held.new_key(entropy)?;
    let (engine, now) = (settings.kept_by(), sources.now().wall);
    let (header, keys) = VaultHeader::create(&master, derivation, engine, entropy, now)?;
    let mut batch = StoreBatch::default();
    put_header(&*store, &mut batch, &header)?;
    let place = Place { vault: &header.vault, key: HEAD_KEY, version: 0 };
    let value = keys.seal(place, &Head { seals: 1, ..Head::default() }.to_bytes(), entropy)?;
    batch.write(HEAD_KEY.to_vec(), None, Some(Stored { version: 0, value }));
    store.commit(&batch)?;
    tracing::info!(vault = settings.describe(), "vault created");
    Ok(Unlocked { header, master, keys, rotation: Rotation::Over })
}

/// The version of the last batch, and what the head says as of it.
fn read_head(
    store: &dyn VaultStore,
    header: &VaultHeader,
    keys: &KeyRing,
) -> Result<(RecordVersion, Head), VaultError> {
    let damaged = || VaultError::damaged("the vault's head does not open, restore a backup");
    let stored = store.read(HEAD_KEY)?.ok_or_else(damaged)?;
    let last = RecordVersion(stored.version);
    // One that an older key sealed is from before the rotation, and was put back.
    if Header::of(&stored.value).ok().map(|sealed| sealed.key_id) != Some(keys.newest()?.id) {
        return Err(damaged());
    }
    let plain = open_stored(keys, &header.vault, HEAD_KEY, last, &stored).map_err(|_| damaged())?;
    Ok((last, Head::parse(&plain).ok_or_else(damaged)?))
}
