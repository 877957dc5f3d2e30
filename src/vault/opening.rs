//! Opening a vault: the store, the header, the keys, the index, in this order, and what to do when
//! the index does not agree with the head.

use std::collections::{BTreeSet, HashMap};

use super::error::VaultError;
use super::head::{HEAD_KEY, Head};
use super::index::{Index, Meta, Slot};
use super::keys::{HEADER_KEY, KeyRing, VaultHeader};
use super::names::{BlindName, ENTRIES, RECORDS};
use super::opened::{OpenVault, Report, Watched, encode, open_stored};
use super::record::RecordVersion;
use super::seal::{KeyBytes, Place};
use super::settings::Vault;
use super::store::{StoreBatch, Stored, VaultStore};
use crate::clock::Sources;
use crate::event::EventKind;

impl OpenVault {
    /// Opens the vault that `settings` describe, or creates it where they allow that.
    pub(crate) fn open(
        settings: &Vault,
        sources: Sources,
        report: Report,
    ) -> Result<Self, VaultError> {
        let source = settings.master_key.as_ref().ok_or_else(|| {
            VaultError::missing_key("the vault was given no master key, call `master_key`")
        })?;
        // Before anything is touched, so that a missing key leaves no empty vault behind.
        let master = match source.load() {
            Err(error) if error.is_missing_key() && source.can_be_created() => None,
            loaded => Some(loaded?),
        };
        let mut store = settings.store()()?;
        let (header, keys) = match (store.read(HEADER_KEY)?, master) {
            (Some(stored), Some(master)) => {
                let header = VaultHeader::parse(&stored.value)?;
                let keys = header.unlock(&master)?;
                (header, keys)
            }
            (Some(_), None) => {
                return Err(VaultError::missing_key(format!(
                    "the master key of this vault is missing from its {}, put it back: a new key \
                     can not open an existing vault",
                    source.describe()
                )));
            }
            (None, master) => {
                check_new(&*store, settings)?;
                let master = master.map_or_else(|| source.create(&*sources.entropy), Ok)?;
                create(&mut *store, settings, &master, &sources)?
            }
        };
        let (last, Head { digest, trail }) = read_head(&*store, &header, &keys)?;
        let mut vault = Self {
            store,
            header,
            keys,
            index: Index::default(),
            last,
            digest,
            trail,
            quarantine: HashMap::new(),
            settings: settings.clone(),
            sources,
            report,
            watched: Watched::default(),
        };
        let unopened = vault.load_index()?;
        if !unopened.is_empty() || vault.live() != digest {
            vault.rebuild_index(unopened)?;
        }
        if let Some(finding) = vault.check_audit_end()? {
            tracing::error!(%finding, "the vault's audit trail is not as it was written");
            (vault.report)(EventKind::AuditTrailDamaged {
                entry: finding.number,
                problem: finding.to_string(),
            });
        }
        Ok(vault)
    }

    /// Fills the index from its sealed entries, and gives the names of those that do not open.
    fn load_index(&mut self) -> Result<BTreeSet<BlindName>, VaultError> {
        let mut unopened = BTreeSet::new();
        let Self { store, header, keys, index, .. } = self;
        store.scan(ENTRIES, &mut |key, stored| {
            let Some(name) = BlindName::of_stored(key) else { return };
            let version = RecordVersion(stored.version);
            let plain = open_stored(keys, &header.vault, key, version, &stored);
            let meta = plain.ok().and_then(|plain| serde_json::from_slice::<Meta>(&plain).ok());
            match meta {
                Some(meta) => index.insert(name, meta.into_slot(version)),
                None => drop(unopened.insert(name)),
            }
        })?;
        Ok(unopened)
    }

    /// Rebuilds what is wrong in the index by opening records. What neither the index nor a record
    /// can tell is quarantined; if all can be told and the head still says otherwise, the vault
    /// was changed behind our back.
    fn rebuild_index(&mut self, mut unknown: BTreeSet<BlindName>) -> Result<(), VaultError> {
        tracing::warn!("vault index does not agree with the head, rebuilding it from the records");
        let mut suspects = Vec::new();
        self.store.scan(RECORDS, &mut |key, stored| {
            let Some(name) = BlindName::of_stored(key) else { return };
            let version = RecordVersion(stored.version);
            // A record older than its entry is found when it is read.
            if self.index.get(&name).is_none_or(|slot| slot.entry.version < version) {
                suspects.push((name, version));
            }
        })?;
        let mut rebuilt = Vec::new();
        for (name, version) in suspects {
            match self.open_record(&name, version)? {
                Ok((meta, _)) => {
                    unknown.remove(&name);
                    rebuilt.push((name, Slot { proven: true, ..meta.into_slot(version) }));
                }
                Err(_) if self.index.get(&name).is_some() => {}
                Err(_) => drop(unknown.insert(name)),
            }
        }
        for (name, slot) in &rebuilt {
            self.index.insert(*name, slot.clone());
        }
        if self.live() != self.digest && unknown.is_empty() {
            return Err(VaultError::damaged(
                "records of the vault are missing or were put back to an older state, restore a \
                 backup",
            ));
        }
        self.write_entries(&rebuilt)?;
        for name in unknown {
            let reason = "neither it nor its index entry opens".to_owned();
            self.set_quarantined(name, None, reason);
        }
        Ok(())
    }

    /// Stores index entries that were rebuilt.
    fn write_entries(&mut self, rebuilt: &[(BlindName, Slot)]) -> Result<(), VaultError> {
        let mut batch = StoreBatch::default();
        for (name, slot) in rebuilt {
            let key = name.entry_key();
            let meta = encode(&slot.entry, &slot.unknown)?;
            let sealed = self.seal(&key, slot.entry.version, &meta)?;
            let standing = self.store.version(&key)?;
            batch.write(key, standing, Some(sealed));
        }
        if !batch.is_empty() {
            self.store.commit(&batch)?;
        }
        Ok(())
    }
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
    store.scan(b"", &mut |_, _| empty = false)?;
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
    master: &KeyBytes,
    sources: &Sources,
) -> Result<(VaultHeader, KeyRing), VaultError> {
    let (header, keys) = VaultHeader::create(master, &*sources.entropy, sources.now().wall)?;
    let mut batch = StoreBatch::default();
    let stored = Stored { version: 1, value: header.to_bytes()? };
    batch.write(HEADER_KEY.to_vec(), None, Some(stored));
    let place = Place { vault: &header.vault, key: HEAD_KEY, version: 0 };
    let value = keys.seal(place, &Head::default().to_bytes(), &*sources.entropy)?;
    batch.write(HEAD_KEY.to_vec(), None, Some(Stored { version: 0, value }));
    store.commit(&batch)?;
    tracing::info!(vault = settings.describe(), "vault created");
    Ok((header, keys))
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
    let plain = open_stored(keys, &header.vault, HEAD_KEY, last, &stored).map_err(|_| damaged())?;
    Ok((last, Head::parse(&plain).ok_or_else(damaged)?))
}
