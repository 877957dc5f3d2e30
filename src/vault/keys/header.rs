//! The vault's header: the only thing in a vault that is not sealed under a data key. It holds the
//! key ring, sealed under the master key, and what is needed to tell whether a master key is right.

use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::encoding;
use super::master::{Held, KNOWN_KEY};
use super::ring::KeyRing;
use crate::clock::Entropy;
use crate::vault::error::VaultError;
use crate::vault::passphrase::Derivation;
use crate::vault::payload::{from_millis, to_millis};
use crate::vault::seal::{self, KeyBytes, KeyId, OpenError, Place, VaultId};
use crate::vault::store::{StoreBatch, Stored, VaultStore, past_counting};

/// The format of the vault that this release writes, and the newest that it reads.
///
/// 1: one data key for ever, a head without a count of seals, a header that shows nothing besides.
/// 2: data keys that rotate, seals counted in the head, [`Facts`] in the header.
pub(crate) const FORMAT: u16 = 2;

/// What the vault's header is stored under.
pub(crate) const HEADER_KEY: &[u8] = b"v";

/// What the header before a rotation of the master key is stored under, until the new one has been
/// opened. Any other change of the header removes it, so the two never differ in their data keys.
pub(crate) const FORMER_HEADER_KEY: &[u8] = b"w";

/// The id that stands in the header of what the master key itself seals.
const MASTER: KeyId = KeyId(0);

/// The vault's header.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct VaultHeader {
    /// The format of everything in the vault.
    format: u16,
    /// Names this vault.
    #[serde(with = "encoding")]
    pub(crate) vault: VaultId,
    /// Tells whether a master key is the right one, and nothing else about it.
    check: String,
    /// The key ring, sealed under the master key.
    ring: String,
    #[serde(flatten)]
    facts: Facts,
}

/// What a header shows of its master key. The ring holds the same under seal, so that a change of
/// it is found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Facts {
    /// Since when the present master key opens the vault, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    since: Option<u64>,
    /// How the master key is derived, if it is from a passphrase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    passphrase: Option<Derivation>,
    /// The master key before, so that whoever still has that one is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    former: Option<Former>,
}

/// What is remembered of a master key that was replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Former {
    check: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    passphrase: Option<Derivation>,
}

impl VaultHeader {
    /// A new vault: its header and its keys.
    pub(crate) fn create(
        master: &KeyBytes,
        derivation: Option<Derivation>,
        engine: Option<&str>,
        entropy: &dyn Entropy,
        now: SystemTime,
    ) -> Result<(Self, KeyRing), VaultError> {
        let mut vault = VaultId::default();
        entropy.fill(&mut vault)?;
        let mut ring = KeyRing::generate(entropy, now)?;
        ring.engine = engine.map(str::to_owned);
        let facts = Facts { since: Some(to_millis(now)), passphrase: derivation, former: None };
        Self::seal(vault, facts, master, ring, entropy)
    }

    /// This header with another ring, in the newest format.
    pub(crate) fn with_ring(
        &self,
        ring: KeyRing,
        master: &KeyBytes,
        entropy: &dyn Entropy,
    ) -> Result<(Self, KeyRing), VaultError> {
        Self::seal(self.vault, self.facts.clone(), master, ring, entropy)
    }

    /// This header under another master key.
    pub(crate) fn with_master(
        &self,
        ring: KeyRing,
        master: &KeyBytes,
        derivation: Option<Derivation>,
        entropy: &dyn Entropy,
        now: SystemTime,
    ) -> Result<(Self, KeyRing), VaultError> {
        let former =
            Former { check: self.check.clone(), passphrase: self.facts.passphrase.clone() };
        let facts =
            Facts { since: Some(to_millis(now)), passphrase: derivation, former: Some(former) };
        Self::seal(self.vault, facts, master, ring, entropy)
    }

    fn seal(
        vault: VaultId,
        facts: Facts,
        master: &KeyBytes,
        mut ring: KeyRing,
        entropy: &dyn Entropy,
    ) -> Result<(Self, KeyRing), VaultError> {
        ring.facts = Some(facts.clone());
        // Room for all of it from the start, so that growing leaves no copy behind.
        let room = 4 * 1024 + 512 * ring.data_keys().len();
        let mut plain = Zeroizing::new(Vec::with_capacity(room));
        serde_json::to_writer(&mut *plain, &ring)
            .map_err(|_| VaultError::unavailable("the key ring can not be written"))?;
        let place = Place { vault: &vault, key: HEADER_KEY, version: 0 };
        let sealed = STANDARD.encode(seal::seal(MASTER, master, place, &plain, entropy)?);
        let check = key_check(master, &vault);
        Ok((Self { format: FORMAT, vault, check, ring: sealed, facts }, ring))
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

    /// The format that the vault is written in.
    pub(crate) fn format(&self) -> u16 {
        self.format
    }

    /// How the master key is derived, if it is from a passphrase.
    pub(crate) fn derivation(&self) -> Option<&Derivation> {
        self.facts.passphrase.as_ref()
    }

    /// Since when the present master key opens the vault; none where format 1 did not say.
    pub(crate) fn since(&self) -> Option<SystemTime> {
        self.facts.since.and_then(from_millis)
    }

    /// Opens the key ring with what a source of master keys holds.
    pub(crate) fn open(&self, held: &Held) -> Result<(KeyBytes, KeyRing), VaultError> {
        match held.key(self.facts.passphrase.as_ref()) {
            Ok(master) if self.is_sealed_by(&master) => {
                let ring = self.unlock(&master)?;
                Ok((master, ring))
            }
            // No other key opens the ring, so it is the right one.
            Ok(master) if self.open_ring(&master).is_ok() => Err(VaultError::damaged(
                "the master key is right, and the vault's header was changed by something else than \
                 the vault, restore a backup",
            )),
            Ok(_) => Err(self.wrong_key(held)),
            // A key where a passphrase belongs, or a passphrase where a key does.
            Err(error) if error.is_wrong_key() && !self.knows(held) => Err(error),
            Err(error) if error.is_wrong_key() => Err(self.wrong_key(held)),
            Err(error) => Err(error),
        }
    }

    /// Opens the key ring, after the check that tells a wrong master key from damage.
    pub(crate) fn unlock(&self, master: &KeyBytes) -> Result<KeyRing, VaultError> {
        if !self.is_sealed_by(master) {
            return Err(VaultError::wrong_key(
                "the master key is not the one this vault was sealed with",
            ));
        }
        let damaged =
            || VaultError::damaged("the vault's key ring does not open, restore a backup");
        let plain = self.open_ring(master).map_err(|_| damaged())?;
        let ring: KeyRing = serde_json::from_slice(&plain).map_err(|_| damaged())?;
        let shown = match (&ring.facts, self.format) {
            (None, 1) => &Facts::default(),
            (None, _) => return Err(damaged()),
            (Some(facts), _) => facts,
        };
        if *shown != self.facts {
            return Err(VaultError::damaged(
                "the vault's header was changed by something else than the vault, restore a backup",
            ));
        }
        Ok(ring)
    }

    fn open_ring(&self, master: &KeyBytes) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let sealed = STANDARD.decode(&self.ring).map_err(|_| OpenError::Malformed)?;
        let place = Place { vault: &self.vault, key: HEADER_KEY, version: 0 };
        seal::open(|id| (id == MASTER).then_some(master), place, &sealed)
    }

    fn is_sealed_by(&self, master: &KeyBytes) -> bool {
        let check = key_check(master, &self.vault);
        check.as_bytes().ct_eq(self.check.as_bytes()).into()
    }

    /// Whether `held` is the master key from before the last rotation.
    fn knows(&self, held: &Held) -> bool {
        self.facts.former.as_ref().is_some_and(|former| {
            held.key(former.passphrase.as_ref()).is_ok_and(|key| {
                let check = key_check(&key, &self.vault);
                check.as_bytes().ct_eq(former.check.as_bytes()).into()
            })
        })
    }

    /// Why `held` opens nothing: it is the key from before the last rotation, or none that the
    /// vault has heard of.
    fn wrong_key(&self, held: &Held) -> VaultError {
        let since = self.since().map_or_else(String::new, |since| {
            format!(" (in use since {})", humantime::format_rfc3339_seconds(since))
        });
        if self.knows(held) {
            return VaultError::wrong_key(format!(
                "this is the master key from before the last rotation of this vault: the rotation \
                 was finished, give the new master key{since}"
            ));
        }
        // What the key is derived with, and what the ring is bound to, can not be told from the key.
        let derived = match self.facts.passphrase {
            Some(_) => "the id of the vault or the salt of the passphrase",
            None => "the id of the vault",
        };
        VaultError::wrong_key(format!(
            "the master key is not the one this vault was sealed with{since}: give the right key \
             or another vault path; if you wanted to change the key, that did not happen, the \
             former key is the right one; if you are sure of the key, {derived} was damaged in the \
             header, restore a backup"
        ))
    }
}

/// A header that opened.
pub(crate) struct Unlocked {
    pub(crate) header: VaultHeader,
    pub(crate) master: KeyBytes,
    pub(crate) keys: KeyRing,
    /// Whether a rotation of the master key was interrupted.
    pub(crate) rotation: Rotation,
}

/// What became of the last rotation of the master key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rotation {
    /// There is one header.
    Over,
    /// It was interrupted and the new key was given: the former header is still to be removed.
    Happened,
    /// It was interrupted and the former key was given: the former header is to be put back.
    Undone,
}

/// Opens the header in `store` with what a source of master keys holds; none when there is no
/// header.
///
/// Where a rotation of the master key was interrupted there are two, and either key opens the
/// vault: the one that is used is the one that is to stay. Nothing is changed here.
pub(crate) fn unlock(store: &dyn VaultStore, held: &Held) -> Result<Option<Unlocked>, VaultError> {
    let Some(stored) = store.read(HEADER_KEY)? else { return Ok(None) };
    let former = store.read(FORMER_HEADER_KEY)?;
    let error = match open_stored(&stored, held) {
        Ok(unlocked) => {
            let rotation = if former.is_some() { Rotation::Happened } else { Rotation::Over };
            return Ok(Some(Unlocked { rotation, ..unlocked }));
        }
        Err(error) => error,
    };
    // The former header is for its own key alone; to whoever has another, it says nothing.
    match former.as_ref().map(|former| open_stored(former, held)) {
        Some(Ok(unlocked)) => Ok(Some(Unlocked { rotation: Rotation::Undone, ..unlocked })),
        Some(Err(_)) if error.is_wrong_key() => Err(VaultError::wrong_key(
            "a rotation of the master key of this vault was interrupted, and this is neither the \
             former key nor the new one: give either of them",
        )),
        Some(Err(_)) | None => Err(error),
    }
}

fn open_stored(stored: &Stored, held: &Held) -> Result<Unlocked, VaultError> {
    let header = VaultHeader::parse(&stored.value)?;
    let (master, keys) = header.open(held)?;
    Ok(Unlocked { header, master, keys, rotation: Rotation::Over })
}

/// Whether the key that everybody knows opens a header in `store`, so that a copy of it would keep
/// nothing from anybody.
pub(crate) fn is_open_to_everybody(store: &dyn VaultStore) -> Result<bool, VaultError> {
    let known = Held::Key(Zeroizing::new(KNOWN_KEY));
    for key in [HEADER_KEY, FORMER_HEADER_KEY] {
        if store.read(key)?.is_some_and(|stored| open_stored(&stored, &known).is_ok()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Adds to `batch` what makes `header` the only one in `store`.
pub(crate) fn put_header(
    store: &dyn VaultStore,
    batch: &mut StoreBatch,
    header: &VaultHeader,
) -> Result<(), VaultError> {
    let standing = store.version(HEADER_KEY)?;
    let stored = successor(standing, header)?;
    batch.write(HEADER_KEY.to_vec(), standing, Some(stored));
    if let Some(former) = store.version(FORMER_HEADER_KEY)? {
        batch.write(FORMER_HEADER_KEY.to_vec(), Some(former), None);
    }
    Ok(())
}

/// `header` as it follows version `standing`, which the store holds unsealed.
pub(super) fn successor(standing: Option<u64>, header: &VaultHeader) -> Result<Stored, VaultError> {
    let version = standing.unwrap_or_default().checked_add(1);
    let version = version.ok_or_else(|| past_counting("header"))?;
    Ok(Stored { version, value: header.to_bytes()? })
}

fn key_check(master: &KeyBytes, vault: &VaultId) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &**master);
    STANDARD.encode(hmac::sign(&key, &[b"tokenward key check".as_slice(), vault].concat()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemEntropy;
    use crate::secret::Secret;

    fn master(byte: u8) -> KeyBytes {
        Zeroizing::new([byte; 32])
    }

    fn held(byte: u8) -> Held {
        Held::Key(master(byte))
    }

    fn create() -> (VaultHeader, KeyRing) {
        let (entropy, now) = (SystemEntropy::new(), SystemTime::UNIX_EPOCH);
        VaultHeader::create(&master(1), None, Some("sled"), &entropy, now).expect("a vault")
    }

    fn refused(header: &VaultHeader, held: &Held) -> VaultError {
        header.open(held).map(|_| ()).expect_err("refused")
    }

    #[test]
    fn the_right_master_key_gives_the_same_keys_back() {
        let (header, ring) = create();
        let header = VaultHeader::parse(&header.to_bytes().expect("bytes")).expect("a header");
        let (_, again) = header.open(&held(1)).expect("it unlocks");
        assert_eq!(again.name_key, ring.name_key);
        let place = Place { vault: &header.vault, key: b"k", version: 1 };
        let sealed = ring.seal(place, b"plain", &SystemEntropy::new()).expect("sealed");
        assert_eq!(&**again.open(place, &sealed).expect("it opens"), b"plain");
    }

    #[test]
    fn a_wrong_master_key_is_told_apart_from_a_damaged_ring() {
        let (mut header, _) = create();
        assert!(refused(&header, &held(2)).is_wrong_key());
        header.ring.replace_range(80..81, if &header.ring[80..81] == "A" { "B" } else { "A" });
        assert!(refused(&header, &held(1)).is_damaged());
    }

    #[test]
    fn the_key_from_before_a_rotation_is_told_so_and_any_other_is_not() {
        let (header, ring) = create();
        let now = SystemTime::UNIX_EPOCH;
        let rotated = header.with_master(ring, &master(2), None, &SystemEntropy::new(), now);
        let (header, _) = rotated.expect("a header");
        assert!(header.open(&held(2)).is_ok());
        let [former, other] = [1, 3].map(|byte| refused(&header, &held(byte)));
        assert!(former.is_wrong_key() && other.is_wrong_key());
        assert!(former.to_string().contains("before the last rotation"), "{former}");
        assert!(!other.to_string().contains("before the last rotation"), "{other}");
    }

    #[test]
    fn a_damaged_check_value_is_told_apart_from_a_wrong_master_key() {
        let (mut header, _) = create();
        header.check = "A".repeat(44);
        let damaged = refused(&header, &held(1));
        assert!(damaged.is_damaged() && damaged.to_string().contains("key is right"), "{damaged}");
        assert!(refused(&header, &held(2)).is_wrong_key());
    }

    #[test]
    fn a_damaged_salt_is_told_as_what_a_wrong_passphrase_may_be_too() {
        let passphrase = Held::Passphrase(Secret::new("correct horse battery staple"));
        let (entropy, now) = (SystemEntropy::new(), SystemTime::UNIX_EPOCH);
        let (master, how) = passphrase.new_key(&entropy).expect("a key");
        let (mut header, _) =
            VaultHeader::create(&master, how, None, &entropy, now).expect("a vault");
        header.facts.passphrase = Some(Derivation::fresh(&entropy).expect("another salt"));
        let error = refused(&header, &passphrase);
        assert!(error.is_wrong_key() && error.to_string().contains("the salt"), "{error}");
    }

    #[test]
    fn what_the_header_shows_can_not_be_changed() {
        let (mut header, _) = create();
        header.facts.since = Some(1);
        assert!(refused(&header, &held(1)).is_damaged());
    }

    #[test]
    fn a_newer_format_is_told_apart_from_a_damaged_header() {
        let newer = VaultHeader::parse(br#"{"format":3,"something":"new"}"#);
        assert!(newer.is_err_and(|error| error.is_newer_format()));
        assert!(VaultHeader::parse(b"{\"form").is_err_and(|error| error.is_damaged()));
    }

    #[test]
    fn the_header_shows_no_key() {
        let (header, ring) = create();
        let bytes = header.to_bytes().expect("bytes");
        let text = String::from_utf8(bytes).expect("text");
        let plain = serde_json::to_value(&ring).expect("the ring's text");
        let shown = [&plain["name_key"], &plain["audit_key"], &plain["data_keys"][0]["key"]]
            .map(|key| text.contains(key.as_str().expect("a key")));
        assert_eq!(shown, [false; 3]);
        assert!(!text.contains(&STANDARD.encode([1; 32])));
    }
}
