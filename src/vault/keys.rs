//! The key ring: the data keys that seal records, the key that blinds names and the key that
//! chains the audit trail, all sealed under the master key, with a check that tells a wrong one.

use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::error::VaultError;
use super::seal::{self, KeyBytes, KeyId, OpenError, Place, VaultId};
use crate::clock::{Entropy, EntropyError};

/// The format of the vault that this release writes, and the newest that it reads.
pub(crate) const FORMAT: u16 = 1;

/// What the vault's header is stored under.
pub(crate) const HEADER_KEY: &[u8] = b"v";

/// The id that stands in the header of what the master key itself seals.
const MASTER: KeyId = KeyId(0);

/// Every key below the master key.
#[derive(Serialize, Deserialize)]
pub(crate) struct KeyRing {
    /// The data keys; the last one seals what is written.
    data_keys: Vec<DataKey>,
    #[serde(with = "encoded")]
    pub(crate) name_key: KeyBytes,
    #[serde(with = "encoded")]
    pub(crate) audit_key: KeyBytes,
}

/// A key that seals records.
#[derive(Serialize, Deserialize)]
struct DataKey {
    id: KeyId,
    #[serde(with = "encoded")]
    key: KeyBytes,
    created: SystemTime,
    /// How many records were sealed with it, as far as it was written down.
    seals: u64,
    /// Whether it only opens.
    retired: bool,
}

impl KeyRing {
    /// A ring of fresh keys.
    pub(crate) fn generate(entropy: &dyn Entropy, now: SystemTime) -> Result<Self, EntropyError> {
        let first = DataKey {
            id: KeyId(1),
            key: random_key(entropy)?,
            created: now,
            seals: 0,
            retired: false,
        };
        Ok(Self {
            data_keys: vec![first],
            name_key: random_key(entropy)?,
            audit_key: random_key(entropy)?,
        })
    }

    /// Seals `plain` for `place` with the newest data key.
    pub(crate) fn seal(
        &self,
        place: Place<'_>,
        plain: &[u8],
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>, VaultError> {
        let newest = self.data_keys.iter().rfind(|key| !key.retired);
        let newest = newest.ok_or_else(|| VaultError::damaged("the key ring has no data key"))?;
        Ok(seal::seal(newest.id, &newest.key, place, plain, entropy)?)
    }

    /// Opens what was sealed for `place` with the data key that it names.
    pub(crate) fn open(
        &self,
        place: Place<'_>,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let named = |id| self.data_keys.iter().find(|key| key.id == id).map(|key| &key.key);
        seal::open(named, place, sealed)
    }
}

/// The vault's header: the only thing in it that is not sealed under a data key.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct VaultHeader {
    /// The format of everything in the vault.
    format: u16,
    /// Names this vault.
    #[serde(with = "encoded_id")]
    pub(crate) vault: VaultId,
    /// Tells whether a master key is the right one, and nothing else about it.
    check: String,
    /// The key ring, sealed under the master key.
    ring: String,
}

impl VaultHeader {
    /// A new vault: its header and its keys.
    pub(crate) fn create(
        master: &KeyBytes,
        entropy: &dyn Entropy,
        now: SystemTime,
    ) -> Result<(Self, KeyRing), VaultError> {
        let mut vault = VaultId::default();
        entropy.fill(&mut vault)?;
        let ring = KeyRing::generate(entropy, now)?;
        // Room for all of it from the start, so that growing leaves no copy behind.
        let mut plain = Zeroizing::new(Vec::with_capacity(4 * 1024));
        serde_json::to_writer(&mut *plain, &ring)
            .map_err(|_| VaultError::unavailable("the key ring can not be written"))?;
        let place = Place { vault: &vault, key: HEADER_KEY, version: 0 };
        let sealed = seal::seal(MASTER, master, place, &plain, entropy)?;
        let check = STANDARD.encode(key_check(master, &vault));
        Ok((Self { format: FORMAT, vault, check, ring: STANDARD.encode(sealed) }, ring))
    }

    /// Reads a header. A newer format is told apart from damage.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, VaultError> {
        #[derive(Deserialize)]
        struct JustFormat {
            format: u16,
        }
        let unreadable =
            |_| VaultError::damaged("the vault's header can not be read, restore a backup");
        let JustFormat { format } = serde_json::from_slice(bytes).map_err(unreadable)?;
        if format == 0 {
            return Err(VaultError::damaged("the vault's header has no format, restore a backup"));
        }
        if format > FORMAT {
            return Err(VaultError::newer_format(format!(
                "the vault has format {format} and this release reads up to {FORMAT}, use the \
                 release that wrote it or a newer one"
            )));
        }
        serde_json::from_slice(bytes).map_err(unreadable)
    }

    /// The header as it is stored.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, VaultError> {
        serde_json::to_vec(self)
            .map_err(|_| VaultError::unavailable("the vault's header can not be written"))
    }

    /// Opens the key ring, after the check that tells a wrong master key from damage.
    pub(crate) fn unlock(&self, master: &KeyBytes) -> Result<KeyRing, VaultError> {
        let check = STANDARD.encode(key_check(master, &self.vault));
        if !bool::from(check.as_bytes().ct_eq(self.check.as_bytes())) {
            return Err(VaultError::wrong_key(
                "the master key is not the one this vault was sealed with, give the right key or \
                 another vault path",
            ));
        }
        let damaged =
            || VaultError::damaged("the vault's key ring does not open, restore a backup");
        let sealed = STANDARD.decode(&self.ring).map_err(|_| damaged())?;
        let place = Place { vault: &self.vault, key: HEADER_KEY, version: 0 };
        let plain = seal::open(|id| (id == MASTER).then_some(master), place, &sealed)
            .map_err(|_| damaged())?;
        serde_json::from_slice(&plain).map_err(|_| damaged())
    }
}

fn key_check(master: &KeyBytes, vault: &VaultId) -> hmac::Tag {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &**master);
    hmac::sign(&key, &[b"tokenward key check".as_slice(), vault].concat())
}

/// Thirty-two random bytes.
pub(crate) fn random_key(entropy: &dyn Entropy) -> Result<KeyBytes, EntropyError> {
    let mut key = Zeroizing::new([0; 32]);
    entropy.fill(key.as_mut_slice())?;
    Ok(key)
}

/// A key as base64, by way of buffers that are wiped.
mod encoded {
    use super::{Deserialize, Deserializer, KeyBytes, STANDARD, Serialize as _, Serializer};
    use base64::Engine as _;
    use zeroize::{Zeroize as _, Zeroizing};

    pub(super) fn serialize<S: Serializer>(key: &KeyBytes, to: S) -> Result<S::Ok, S::Error> {
        Zeroizing::new(STANDARD.encode(key.as_slice())).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<KeyBytes, D::Error> {
        let wrong = || serde::de::Error::custom("not 32 bytes of base64");
        let mut text = String::deserialize(from)?;
        let bytes = STANDARD.decode(&text).map(Zeroizing::new);
        text.zeroize();
        let bytes = bytes.map_err(|_| wrong())?;
        let key: &[u8; 32] = bytes.as_slice().try_into().map_err(|_| wrong())?;
        Ok(Zeroizing::new(*key))
    }
}

/// A vault id as base64.
mod encoded_id {
    use base64::Engine as _;

    use super::{Deserialize, Deserializer, STANDARD, Serializer, VaultId};

    pub(super) fn serialize<S: Serializer>(id: &VaultId, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(id))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<VaultId, D::Error> {
        let wrong = || serde::de::Error::custom("not 16 bytes of base64");
        let bytes = STANDARD.decode(String::deserialize(from)?).map_err(|_| wrong())?;
        bytes.try_into().map_err(|_| wrong())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemEntropy;

    fn master(byte: u8) -> KeyBytes {
        Zeroizing::new([byte; 32])
    }

    fn create() -> (VaultHeader, KeyRing) {
        VaultHeader::create(&master(1), &SystemEntropy::new(), SystemTime::UNIX_EPOCH)
            .expect("a vault")
    }

    #[test]
    fn the_right_master_key_gives_the_same_keys_back() {
        let (header, ring) = create();
        let header = VaultHeader::parse(&header.to_bytes().expect("bytes")).expect("a header");
        let again = header.unlock(&master(1)).expect("it unlocks");
        assert_eq!(again.name_key, ring.name_key);
        let place = Place { vault: &header.vault, key: b"k", version: 1 };
        let sealed = ring.seal(place, b"plain", &SystemEntropy::new()).expect("sealed");
        assert_eq!(&**again.open(place, &sealed).expect("it opens"), b"plain");
    }

    #[test]
    fn a_wrong_master_key_is_told_apart_from_a_damaged_ring() {
        let (mut header, _) = create();
        assert!(header.unlock(&master(2)).is_err_and(|error| error.is_wrong_key()));
        header.ring.replace_range(80..81, if &header.ring[80..81] == "A" { "B" } else { "A" });
        assert!(header.unlock(&master(1)).is_err_and(|error| error.is_damaged()));
    }

    #[test]
    fn a_newer_format_is_told_apart_from_a_damaged_header() {
        let newer = VaultHeader::parse(br#"{"format":2,"something":"new"}"#);
        assert!(newer.is_err_and(|error| error.is_newer_format()));
        assert!(VaultHeader::parse(b"{\"form").is_err_and(|error| error.is_damaged()));
    }

    #[test]
    fn the_header_shows_no_key() {
        let (header, ring) = create();
        let bytes = header.to_bytes().expect("bytes");
        let text = String::from_utf8(bytes).expect("text");
        let shown = [&ring.name_key, &ring.audit_key, &ring.data_keys[0].key, &master(1)]
            .map(|key| text.contains(&STANDARD.encode(key.as_slice())));
        assert_eq!(shown, [false; 4]);
    }
}
