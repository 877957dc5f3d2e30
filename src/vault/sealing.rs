//! Sealing what a group of batches leaves behind. What each write would do for itself is done once for
//! all where it can be, such as asking the operating system for salts.

use super::error::VaultError;
use super::head::{Digest, DigestKey};
use super::keys::KeyRing;
use super::names::BlindName;
use super::opened::{encode, length_of};
use super::record::RecordVersion;
use super::seal::{Place, Salted, VaultId};
use super::slot::Slot;
use super::store::{StoreWrite, Stored};
use crate::clock::{Entropy, EntropyError};

/// What is to become of what stands under a name.
pub(super) struct Writing<'a> {
    pub(super) name: &'a BlindName,
    /// The versions at which the record and its index entry stand in the store.
    pub(super) record: Option<u64>,
    pub(super) entry: Option<u64>,
    /// The version at which the head counts the record.
    pub(super) counted: Option<RecordVersion>,
    /// What is to stand there, and its payload; none when nothing is.
    pub(super) to: Option<(&'a Slot, &'a [u8])>,
}

/// What is needed to seal.
pub(super) struct Sealer<'a> {
    pub(super) keys: &'a KeyRing,
    pub(super) vault: &'a VaultId,
}

impl Sealer<'_> {
    /// What is to be written, and what it changes in the digest of the head.
    pub(super) fn seal_all(
        &self,
        writings: &[Writing<'_>],
        entropy: &dyn Entropy,
    ) -> Result<(Vec<StoreWrite>, Digest), VaultError> {
        let (key, mut digest) = (DigestKey::new(&self.keys.name_key), Digest::default());
        let mut writes = Vec::with_capacity(2 * writings.len());
        for (writing, [record_salt, entry_salt]) in draw_salts(writings, entropy)? {
            let Writing { name, record, entry, counted, to } = writing;
            let (record_key, entry_key) = (name.record_key(), name.entry_key());
            if let Some(version) = counted {
                digest.toggle(&key, name, *version);
            }
            let [mut sealed_record, mut sealed_entry] = [None, None];
            if let Some((slot, payload)) = to {
                let version = slot.entry.version;
                let meta = encode(&slot.entry, &slot.unknown)?;
                let parts = [&length_of(&meta)[..], &meta, payload];
                sealed_record = Some(self.seal(&record_key, version, &parts, record_salt)?);
                sealed_entry = Some(self.seal(&entry_key, version, &[&meta], entry_salt)?);
                digest.toggle(&key, name, version);
            }
            let both = [(record_key, *record, sealed_record), (entry_key, *entry, sealed_entry)];
            // What is not there is not removed.
            let needed =
                both.into_iter().filter(|(_, expect, to)| expect.is_some() || to.is_some());
            writes.extend(needed.map(|(key, expect, to)| StoreWrite { key, expect, to }));
        }
        Ok((writes, digest))
    }

    fn seal(
        &self,
        key: &[u8],
        version: RecordVersion,
        parts: &[&[u8]],
        salt: Salted,
    ) -> Result<Stored, VaultError> {
        let place = Place { vault: self.vault, key, version: version.0 };
        let value = self.keys.seal_with(place, parts, salt)?;
        Ok(Stored { version: version.0, value })
    }
}

/// Two salts for each of `writings`, by one call of the operating system.
fn draw_salts<'a>(
    writings: &'a [Writing<'a>],
    entropy: &dyn Entropy,
) -> Result<Vec<(&'a Writing<'a>, [Salted; 2])>, EntropyError> {
    const SALT: usize = size_of::<Salted>();
    let mut drawn = vec![0; 2 * SALT * writings.len()];
    entropy.fill(&mut drawn)?;
    let salts = drawn.as_chunks::<SALT>().0.as_chunks::<2>().0;
    Ok(writings.iter().zip(salts.iter().copied()).collect())
}
