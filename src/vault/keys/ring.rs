//! The key ring: the data keys that seal records, the key that blinds names and the key that chains
//! the audit trail. It stands in the vault's header, sealed under the master key.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::encoding;
use super::header::Facts;
use crate::clock::{Entropy, EntropyError};
use crate::vault::error::VaultError;
use crate::vault::seal::{self, KeyBytes, KeyId, OpenError, Place, Salted};

/// Every key below the master key.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct KeyRing {
    /// The data keys, in the order of their making; the newest one seals what is written.
    data_keys: Vec<DataKey>,
    #[serde(with = "encoding::key")]
    pub(crate) name_key: KeyBytes,
    #[serde(with = "encoding::key")]
    pub(crate) audit_key: KeyBytes,
    /// What the header shows beside the ring, so that a change of that is found. Format 1 had
    /// nothing to show.
    #[serde(default)]
    pub(super) facts: Option<Facts>,
    /// The engine that kept the vault when it was last open, so that a move to another one, which is made
    /// without the master key, is found by the opening after it. None where no engine keeps it, and
    /// in a vault that was last open before this was written down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) engine: Option<String>,
}

/// A key that seals records.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct DataKey {
    pub(crate) id: KeyId,
    /// In a place of its own, so that a list of keys that grows or shrinks leaves no copy behind.
    #[serde(with = "encoding::key")]
    key: Box<KeyBytes>,
    pub(crate) created: SystemTime,
    /// How often it has sealed, once it is retired. Of the newest key the head of the vault
    /// counts, so that the number is as durable as what was sealed.
    pub(crate) seals: u64,
    /// Whether it only opens.
    retired: bool,
    /// Since when it only opens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) retired_at: Option<SystemTime>,
}

impl KeyRing {
    /// A ring of fresh keys.
    pub(crate) fn generate(entropy: &dyn Entropy, now: SystemTime) -> Result<Self, EntropyError> {
        Ok(Self {
            data_keys: vec![DataKey::generate(KeyId(1), entropy, now)?],
            name_key: random_key(entropy)?,
            audit_key: random_key(entropy)?,
            facts: None,
            engine: None,
        })
    }

    /// The same keys, kept by `engine`.
    pub(crate) fn kept_by(&self, engine: &str) -> Self {
        Self { engine: Some(engine.to_owned()), ..self.clone() }
    }

    /// The ring with a fresh data key before which all others retire. `seals` is how often the
    /// newest one has sealed.
    pub(crate) fn rotated(
        &self,
        entropy: &dyn Entropy,
        now: SystemTime,
        seals: u64,
    ) -> Result<Self, VaultError> {
        let mut ring = self.clone();
        let last = ring.data_keys.iter().map(|key| key.id.0).max().unwrap_or_default();
        let next = last.checked_add(1).ok_or_else(|| {
            VaultError::invalid(
                "the key ring has no id left for another data key, export the vault",
            )
        })?;
        for key in ring.data_keys.iter_mut().filter(|key| !key.retired) {
            (key.retired, key.retired_at, key.seals) = (true, Some(now), seals);
        }
        ring.data_keys.push(DataKey::generate(KeyId(next), entropy, now)?);
        Ok(ring)
    }

    /// The ring without the data keys that have retired.
    pub(crate) fn without_retired(&self) -> Self {
        let mut ring = self.clone();
        ring.data_keys.retain(|key| !key.retired);
        ring
    }

    /// The data key that seals what is written.
    pub(crate) fn newest(&self) -> Result<&DataKey, VaultError> {
        let newest = self.data_keys.iter().rfind(|key| !key.retired);
        newest.ok_or_else(|| VaultError::damaged("the key ring has no data key, restore a backup"))
    }

    /// Every data key, the oldest first.
    pub(crate) fn data_keys(&self) -> &[DataKey] {
        &self.data_keys
    }

    /// Seals `plain` for `place` with the newest data key.
    pub(crate) fn seal(
        &self,
        place: Place<'_>,
        plain: &[u8],
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>, VaultError> {
        let newest = self.newest()?;
        Ok(seal::seal(newest.id, &newest.key, place, plain, entropy)?)
    }

    /// Seals the `parts`, one after the other, as [`KeyRing::seal`] does. `salt` was drawn for this one
    /// write.
    pub(crate) fn seal_with(
        &self,
        place: Place<'_>,
        parts: &[&[u8]],
        salt: Salted,
    ) -> Result<Vec<u8>, VaultError> {
        let newest = self.newest()?;
        Ok(seal::seal_with(newest.id, &newest.key, place, parts, salt)?)
    }

    /// Opens what was sealed for `place` with the data key that it names.
    pub(crate) fn open(
        &self,
        place: Place<'_>,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let named = |id| self.data_keys.iter().find(|key| key.id == id).map(|key| &*key.key);
        seal::open(named, place, sealed)
    }
}

impl DataKey {
    fn generate(id: KeyId, entropy: &dyn Entropy, now: SystemTime) -> Result<Self, EntropyError> {
        let key = Box::new(random_key(entropy)?);
        Ok(Self { id, key, created: now, seals: 0, retired: false, retired_at: None })
    }

    /// Whether it only opens.
    pub(crate) fn is_retired(&self) -> bool {
        self.retired
    }
}

impl std::fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ids: Vec<u32> = self.data_keys.iter().map(|key| key.id.0).collect();
        f.debug_struct("KeyRing").field("data_keys", &ids).finish_non_exhaustive()
    }
}

/// Thirty-two random bytes.
pub(crate) fn random_key(entropy: &dyn Entropy) -> Result<KeyBytes, EntropyError> {
    let mut key = Zeroizing::new([0; 32]);
    entropy.fill(key.as_mut_slice())?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemEntropy;

    const PLACE: Place<'_> = Place { vault: &[1; 16], key: b"k", version: 1 };

    #[test]
    fn a_rotated_ring_opens_what_the_former_one_sealed_until_the_key_is_dropped() {
        let entropy = SystemEntropy::new();
        let now = SystemTime::UNIX_EPOCH;
        let one = KeyRing::generate(&entropy, now).expect("a ring");
        let old = one.seal(PLACE, b"old", &entropy).expect("sealed");
        let two = one.rotated(&entropy, now, 7).expect("a ring");
        let new = two.seal(PLACE, b"new", &entropy).expect("sealed");
        assert_eq!(two.newest().expect("a key").id, KeyId(2));
        assert_eq!((two.data_keys()[0].seals, two.data_keys()[0].is_retired()), (7, true));
        assert_eq!(&**two.open(PLACE, &old).expect("it opens"), b"old");
        assert_eq!(one.open(PLACE, &new).err(), Some(OpenError::UnknownKey));
        let three = two.without_retired();
        assert_eq!(three.open(PLACE, &old).err(), Some(OpenError::UnknownKey));
        assert_eq!(&**three.open(PLACE, &new).expect("it opens"), b"new");
        let three = three.rotated(&entropy, now, 0).expect("a ring");
        assert_eq!(three.newest().expect("a key").id, KeyId(3), "no id is used twice");
    }

    #[test]
    fn a_key_stays_where_it_is_while_others_come_and_go() {
        let entropy = SystemEntropy::new();
        let fresh = |id| {
            DataKey::generate(KeyId(id), &entropy, SystemTime::UNIX_EPOCH).expect("randomness")
        };
        let mut ring = KeyRing::generate(&entropy, SystemTime::UNIX_EPOCH).expect("a ring");
        ring.data_keys.push(fresh(2));
        let before = ring.data_keys[1].key.as_ptr();
        ring.data_keys.extend((3..40).map(fresh));
        ring.data_keys.remove(0);
        assert_eq!(ring.data_keys[0].key.as_ptr(), before, "a move would leave a copy behind");
    }
}
