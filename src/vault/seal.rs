//! Sealing: AES-256-GCM under a key made for that one write, bound to where, in which vault and in
//! which version it is written. A record that was edited, moved, renamed or put back does not open.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};
use zeroize::Zeroizing;

use crate::clock::{Entropy, EntropyError};

/// The format of sealed bytes.
const FORMAT: u8 = 1;

/// AES-256-GCM under HKDF-SHA-256 of a data key.
const ALGORITHM: u8 = 1;

const SALT: usize = 32;

/// The random part of what a write's key is derived from. It is no secret, and never used twice.
pub(crate) type Salted = [u8; SALT];

const HEADER: usize = 1 + 1 + 4 + SALT + 8;
const TAG: usize = 16;

/// A 256-bit key; wiped on drop. ring does not wipe its key schedules, so those are made anew for
/// each operation and live as long as it does.
pub(crate) type KeyBytes = Zeroizing<[u8; 32]>;

/// Names a data key within its vault.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(transparent)]
pub(crate) struct KeyId(pub(crate) u32);

/// Names one vault, so that nothing of another vault opens in it.
pub(crate) type VaultId = [u8; 16];

/// Where something is sealed: what it is bound to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    /// The vault.
    pub(crate) vault: &'a VaultId,
    /// The key it is stored under.
    pub(crate) key: &'a [u8],
    /// Its version.
    pub(crate) version: u64,
}

/// Why sealed bytes do not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OpenError {
    /// It is too short, or of no format that ever was.
    #[error("it is not something that was sealed")]
    Malformed,
    /// It is of a format of the future.
    #[error("it was sealed by a newer release")]
    Newer,
    /// It is another version than the one that belongs here.
    #[error("it is another version than the one that belongs there")]
    OtherVersion,
    /// The data key it names is not in the key ring.
    #[error("its data key is not in the key ring")]
    UnknownKey,
    /// It was changed, moved or renamed.
    #[error("it was changed or moved")]
    NotAuthentic,
}

/// What stands before the sealed bytes, readable.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Header {
    pub(crate) key_id: KeyId,
    pub(crate) version: u64,
    salt: Salted,
}

impl Header {
    /// The header of `sealed`.
    pub(crate) fn of(sealed: &[u8]) -> Result<Self, OpenError> {
        let bytes: &[u8; HEADER] = sealed.first_chunk().ok_or(OpenError::Malformed)?;
        let [format, algorithm, rest @ ..] = bytes;
        match (*format, *algorithm) {
            (FORMAT, ALGORITHM) => {}
            (0, _) | (_, 0) => return Err(OpenError::Malformed),
            _ => return Err(OpenError::Newer),
        }
        let (key_id, rest) = rest.split_first_chunk().ok_or(OpenError::Malformed)?;
        let (salt, rest) = rest.split_first_chunk().ok_or(OpenError::Malformed)?;
        let version = rest.first_chunk().ok_or(OpenError::Malformed)?;
        Ok(Self {
            key_id: KeyId(u32::from_be_bytes(*key_id)),
            version: u64::from_be_bytes(*version),
            salt: *salt,
        })
    }

    fn bytes(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..2].copy_from_slice(&[FORMAT, ALGORITHM]);
        bytes[2..6].copy_from_slice(&self.key_id.0.to_be_bytes());
        bytes[6..6 + SALT].copy_from_slice(&self.salt);
        bytes[6 + SALT..].copy_from_slice(&self.version.to_be_bytes());
        bytes
    }
}

/// Seals `plain` for `place` under a fresh key derived from the data key `key`.
pub(crate) fn seal(
    key_id: KeyId,
    key: &KeyBytes,
    place: Place<'_>,
    plain: &[u8],
    entropy: &dyn Entropy,
) -> Result<Vec<u8>, EntropyError> {
    let mut salt = Salted::default();
    entropy.fill(&mut salt)?;
    seal_with(key_id, key, place, &[plain], salt)
}

/// Seals the `parts`, one after the other, as [`seal`] does. `salt` was drawn for this one write.
pub(crate) fn seal_with(
    key_id: KeyId,
    key: &KeyBytes,
    place: Place<'_>,
    parts: &[&[u8]],
    salt: Salted,
) -> Result<Vec<u8>, EntropyError> {
    let header = Header { key_id, version: place.version, salt };
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut sealed = Zeroizing::new(Vec::with_capacity(HEADER + length + TAG));
    sealed.extend_from_slice(&header.bytes());
    for part in parts {
        sealed.extend_from_slice(part);
    }
    let body = sealed.get_mut(HEADER..).unwrap_or_default();
    let tag = once_key(key, &header, place)
        .and_then(|once| {
            once.seal_in_place_separate_tag(once_nonce(), Aad::from(bound(&header, place)), body)
        })
        // Fails only for plaintexts of 64 GiB, or when ring can not derive a 32-byte key.
        .map_err(|_| EntropyError)?;
    sealed.extend_from_slice(tag.as_ref());
    Ok(std::mem::take(&mut *sealed))
}

/// Opens what was sealed for `place`. `key` gives the data key of an id; exactly that one is tried.
pub(crate) fn open<'k>(
    key: impl FnOnce(KeyId) -> Option<&'k KeyBytes>,
    place: Place<'_>,
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    let header = Header::of(sealed)?;
    if header.version != place.version {
        return Err(OpenError::OtherVersion);
    }
    let key = key(header.key_id).ok_or(OpenError::UnknownKey)?;
    let body = sealed.get(HEADER..).ok_or(OpenError::Malformed)?;
    let mut plain = Zeroizing::new(body.to_vec());
    let length = once_key(key, &header, place)
        .and_then(|once| {
            once.open_in_place(once_nonce(), Aad::from(bound(&header, place)), &mut plain)
                .map(|opened| opened.len())
        })
        .map_err(|_| OpenError::NotAuthentic)?;
    plain.truncate(length);
    Ok(plain)
}

/// The key of this one write.
fn once_key(
    key: &KeyBytes,
    header: &Header,
    place: Place<'_>,
) -> Result<LessSafeKey, ring::error::Unspecified> {
    let pseudorandom = Salt::new(HKDF_SHA256, &header.salt).extract(key.as_slice());
    let version = place.version.to_be_bytes();
    let info: [&[u8]; 3] = [b"tokenward record", place.key, &version];
    let output = pseudorandom.expand(&info, &AES_256_GCM)?;
    Ok(LessSafeKey::new(UnboundKey::from(output)))
}

/// The key is used once, so the nonce needs not vary.
fn once_nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

/// What is authenticated besides the plaintext: everything that says where it belongs.
fn bound(header: &Header, place: Place<'_>) -> Vec<u8> {
    [place.vault.as_slice(), &header.bytes(), place.key].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clock::SystemEntropy;

    const VAULT: VaultId = [1; 16];

    fn data_key() -> KeyBytes {
        Zeroizing::new([7; 32])
    }

    fn place(key: &[u8], version: u64) -> Place<'_> {
        Place { vault: &VAULT, key, version }
    }

    fn seal_at(place: Place<'_>, plain: &[u8]) -> Vec<u8> {
        seal(KeyId(1), &data_key(), place, plain, &SystemEntropy::new()).expect("randomness")
    }

    fn open_at(place: Place<'_>, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let key = data_key();
        open(|id| (id == KeyId(1)).then_some(&key), place, sealed)
    }

    proptest! {
        #[test]
        fn what_was_sealed_opens_in_its_place(
            key in prop::collection::vec(any::<u8>(), 0..64),
            version: u64,
            plain in prop::collection::vec(any::<u8>(), 0..3_000),
        ) {
            let sealed = seal_at(place(&key, version), &plain);
            prop_assert_eq!(&**open_at(place(&key, version), &sealed).expect("it opens"), &plain);
            if plain.len() >= 8 {
                prop_assert!(!sealed.windows(plain.len()).any(|window| window == plain));
            }
        }

        #[test]
        fn a_changed_byte_does_not_open(
            plain in prop::collection::vec(any::<u8>(), 0..300),
            at: prop::sample::Index,
            change in 1..=u8::MAX,
        ) {
            let mut sealed = seal_at(place(b"key", 3), &plain);
            let at = at.index(sealed.len());
            sealed[at] ^= change;
            prop_assert!(open_at(place(b"key", 3), &sealed).is_err());
        }

        #[test]
        fn what_is_cut_or_lengthened_does_not_open(
            plain in prop::collection::vec(any::<u8>(), 0..300),
            at: prop::sample::Index,
        ) {
            let mut sealed = seal_at(place(b"key", 3), &plain);
            prop_assert!(open_at(place(b"key", 3), &sealed[..at.index(sealed.len())]).is_err());
            sealed.push(0);
            prop_assert!(open_at(place(b"key", 3), &sealed).is_err());
        }

        #[test]
        fn a_moved_or_renamed_record_does_not_open(
            from in prop::collection::vec(any::<u8>(), 0..40),
            to in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            prop_assume!(from != to);
            let sealed = seal_at(place(&from, 3), b"plain");
            prop_assert_eq!(open_at(place(&to, 3), &sealed).err(), Some(OpenError::NotAuthentic));
        }

        #[test]
        fn another_version_does_not_open(written: u64, expected: u64) {
            prop_assume!(written != expected);
            let mut sealed = seal_at(place(b"key", written), b"plain");
            prop_assert_eq!(
                open_at(place(b"key", expected), &sealed).err(),
                Some(OpenError::OtherVersion)
            );
            sealed[HEADER - 8..HEADER].copy_from_slice(&expected.to_be_bytes());
            prop_assert_eq!(
                open_at(place(b"key", expected), &sealed).err(),
                Some(OpenError::NotAuthentic)
            );
        }

        #[test]
        fn arbitrary_bytes_never_open(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(open_at(place(b"key", 3), &bytes).is_err());
        }
    }

    #[test]
    fn a_record_of_another_vault_does_not_open() {
        let sealed = seal_at(place(b"key", 3), b"plain");
        let elsewhere = Place { vault: &[2; 16], ..place(b"key", 3) };
        assert_eq!(open_at(elsewhere, &sealed).err(), Some(OpenError::NotAuthentic));
    }

    #[test]
    fn only_the_key_that_is_named_is_tried() {
        let sealed = seal(KeyId(2), &data_key(), place(b"key", 3), b"", &SystemEntropy::new())
            .expect("randomness");
        assert_eq!(open_at(place(b"key", 3), &sealed).err(), Some(OpenError::UnknownKey));
    }

    #[test]
    fn two_sealings_of_the_same_plaintext_have_nothing_in_common() {
        let [one, two] = [(); 2].map(|()| seal_at(place(b"key", 3), b"plain"));
        assert_ne!(one[HEADER..], two[HEADER..]);
    }

    #[test]
    fn a_format_of_the_future_is_told_apart_from_damage() {
        let mut sealed = seal_at(place(b"key", 3), b"plain");
        sealed[0] = FORMAT + 1;
        assert_eq!(open_at(place(b"key", 3), &sealed).err(), Some(OpenError::Newer));
    }
}
