//! A stream of sealed chunks under a passphrase: their order and their end are authenticated, so
//! that a file that was cut, reordered or lengthened does not open. Memory is bounded on both sides.

use std::io::{self, Read, Write};

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::digest::{SHA256, digest};
use ring::hkdf::{HKDF_SHA256, Salt};
use ring::hmac;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::clock::Entropy;
use crate::vault::error::VaultError;
use crate::vault::passphrase::{self, Derivation};
use crate::vault::seal::KeyBytes;

/// What the file begins with.
const MAGIC: &[u8; 17] = b"tokenward export\n";

/// The format that this release writes, and the newest that it reads.
const FORMAT: u16 = 1;

/// The most that a header may take.
const LONGEST_HEADER: u32 = 4 * 1024;

/// The most plaintext in a chunk.
const CHUNK: usize = 64 * 1024;

/// What stands in the length of the last chunk.
const LAST: u32 = 1 << 31;

/// What stands readable at the beginning. The key of the chunks is derived with it, so none of it
/// can be changed.
#[derive(Serialize, Deserialize)]
struct Header {
    format: u16,
    derivation: Derivation,
    /// Tells whether a passphrase is the right one.
    check: String,
}

/// Seals what is written to it.
pub(super) struct SealingWriter<W> {
    to: W,
    /// ring does not wipe what it makes of a key, so that is made anew for each chunk.
    key: KeyBytes,
    chunks: u64,
    plain: Zeroizing<Vec<u8>>,
}

impl<W: Write> SealingWriter<W> {
    /// Derives a key from `passphrase`, which takes a while, and writes the header.
    pub(super) fn new(to: W, passphrase: &str, entropy: &dyn Entropy) -> Result<Self, VaultError> {
        passphrase::check(passphrase)?;
        let derivation = Derivation::fresh(entropy)?;
        let secret = derivation.key(passphrase)?;
        Self::with(to, derivation, &secret)
    }

    pub(super) fn with(
        mut to: W,
        derivation: Derivation,
        secret: &KeyBytes,
    ) -> Result<Self, VaultError> {
        let header = Header { format: FORMAT, derivation, check: check(secret) };
        let header = serde_json::to_vec(&header)
            .map_err(|_| VaultError::unavailable("the header of an export can not be written"))?;
        let length = u32::try_from(header.len()).unwrap_or(u32::MAX);
        let head = [MAGIC, &length.to_be_bytes()[..], &header].concat();
        to.write_all(&head)?;
        let key = chunk_key(secret, &head)?;
        Ok(Self { to, key, chunks: 0, plain: Zeroizing::new(Vec::with_capacity(CHUNK + 16)) })
    }

    pub(super) fn write_all(&mut self, mut bytes: &[u8]) -> Result<(), VaultError> {
        while !bytes.is_empty() {
            // A full chunk waits for what follows, since it may be the last.
            if self.plain.len() == CHUNK {
                self.seal_chunk(false)?;
            }
            let (now, later) = bytes.split_at(bytes.len().min(CHUNK - self.plain.len()));
            self.plain.extend_from_slice(now);
            bytes = later;
        }
        Ok(())
    }

    /// Writes the end, and gives what was written to.
    pub(super) fn finish(mut self) -> Result<W, VaultError> {
        self.seal_chunk(true)?;
        self.to.flush()?;
        Ok(self.to)
    }

    fn seal_chunk(&mut self, last: bool) -> Result<(), VaultError> {
        let nonce = nonce(self.chunks, last);
        chunk_cipher(&self.key)?
            .seal_in_place_append_tag(nonce, Aad::empty(), &mut *self.plain)
            .map_err(|_| VaultError::unavailable("an export can not be sealed"))?;
        let length = u32::try_from(self.plain.len()).unwrap_or(u32::MAX);
        let length = if last { length | LAST } else { length };
        self.to.write_all(&length.to_be_bytes())?;
        self.to.write_all(&self.plain)?;
        self.plain.clear();
        self.chunks += 1;
        Ok(())
    }
}

/// Opens what a [`SealingWriter`] wrote. Whatever it gives out is authentic; that nothing is missing
/// at the end is known only at the end.
pub(super) struct OpeningReader<R> {
    from: R,
    key: KeyBytes,
    chunks: u64,
    plain: Zeroizing<Vec<u8>>,
    /// How much of `plain` was given out.
    given: usize,
    ended: bool,
}

impl<R: Read> OpeningReader<R> {
    /// Reads the header and derives the key, which takes a while.
    pub(super) fn new(from: R, passphrase: &str) -> Result<Self, VaultError> {
        Self::with(from, |derivation| derivation.key(passphrase))
    }

    pub(super) fn with(
        mut from: R,
        derive: impl FnOnce(&Derivation) -> Result<KeyBytes, VaultError>,
    ) -> Result<Self, VaultError> {
        #[derive(Deserialize)]
        struct JustFormat {
            format: u16,
        }
        let foreign = || VaultError::damaged("this is not an export of a vault");
        let mut head = vec![0; MAGIC.len() + 4];
        read(&mut from, &mut head)?;
        let (magic, length) = head.split_at(MAGIC.len());
        let length = length.first_chunk().map(|length| u32::from_be_bytes(*length));
        let length = length.filter(|length| magic == MAGIC && *length <= LONGEST_HEADER);
        let length = usize::try_from(length.ok_or_else(foreign)?).map_err(|_| foreign())?;
        let mut header = vec![0; length];
        read(&mut from, &mut header)?;
        let JustFormat { format } = serde_json::from_slice(&header).map_err(|_| foreign())?;
        if format > FORMAT {
            return Err(VaultError::newer_format(format!(
                "the export has format {format} and this release reads up to {FORMAT}, use the \
                 release that wrote it or a newer one"
            )));
        }
        let parsed: Header = serde_json::from_slice(&header).map_err(|_| foreign())?;
        let secret = derive(&parsed.derivation)?;
        if !bool::from(check(&secret).as_bytes().ct_eq(parsed.check.as_bytes())) {
            return Err(VaultError::wrong_key(
                "the passphrase is not the one this export was sealed with",
            ));
        }
        head.extend_from_slice(&header);
        let key = chunk_key(&secret, &head)?;
        let plain = Zeroizing::new(Vec::with_capacity(CHUNK + 16));
        Ok(Self { from, key, chunks: 0, plain, given: 0, ended: false })
    }

    /// Fills `into`. Answers false, with nothing read, at the authenticated end.
    pub(super) fn fill(&mut self, into: &mut [u8]) -> Result<bool, VaultError> {
        let mut filled = 0;
        while filled < into.len() {
            if self.given == self.plain.len() {
                if self.ended {
                    return if filled == 0 { Ok(false) } else { Err(torn()) };
                }
                self.open_chunk()?;
                continue;
            }
            let rest = &self.plain[self.given..];
            let now = rest.len().min(into.len() - filled);
            into[filled..filled + now].copy_from_slice(&rest[..now]);
            filled += now;
            self.given += now;
        }
        Ok(true)
    }

    fn open_chunk(&mut self) -> Result<(), VaultError> {
        let mut length = [0; 4];
        read(&mut self.from, &mut length)?;
        let length = u32::from_be_bytes(length);
        let last = length & LAST != 0;
        let length = usize::try_from(length & !LAST).map_err(|_| torn())?;
        if length > CHUNK + AES_256_GCM.tag_len() {
            return Err(torn());
        }
        self.plain.resize(length, 0);
        read(&mut self.from, &mut self.plain)?;
        let nonce = nonce(self.chunks, last);
        let opened = chunk_cipher(&self.key)?.open_in_place(nonce, Aad::empty(), &mut self.plain);
        let length = opened.map_err(|_| torn())?.len();
        self.plain.truncate(length);
        (self.given, self.ended) = (0, last);
        self.chunks += 1;
        if last && self.from.read(&mut [0])? != 0 {
            return Err(torn());
        }
        Ok(())
    }
}

/// Reads exactly as much as asked for; that the file is over is damage.
fn read(from: &mut impl Read, into: &mut [u8]) -> Result<(), VaultError> {
    from.read_exact(into).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => torn(),
        _ => error.into(),
    })
}

fn torn() -> VaultError {
    VaultError::damaged("the export is cut short or was changed, use another copy of it")
}

/// The number of the chunk, and whether it is the last.
fn nonce(chunk: u64, last: bool) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    nonce[..8].copy_from_slice(&chunk.to_be_bytes());
    nonce[8] = u8::from(last);
    Nonce::assume_unique_for_key(nonce)
}

/// The key of the chunks of the file that begins with `head`.
fn chunk_key(secret: &KeyBytes, head: &[u8]) -> Result<KeyBytes, VaultError> {
    let underivable = |_| VaultError::unavailable("a key can not be derived");
    let pseudorandom =
        Salt::new(HKDF_SHA256, digest(&SHA256, head).as_ref()).extract(secret.as_slice());
    let output = pseudorandom.expand(&[b"tokenward export"], &AES_256_GCM);
    let mut key = KeyBytes::default();
    output.map_err(underivable)?.fill(key.as_mut_slice()).map_err(underivable)?;
    Ok(key)
}

fn chunk_cipher(key: &KeyBytes) -> Result<LessSafeKey, VaultError> {
    let key = UnboundKey::new(&AES_256_GCM, key.as_slice());
    Ok(LessSafeKey::new(key.map_err(|_| VaultError::unavailable("a key can not be used"))?))
}

fn check(secret: &KeyBytes) -> String {
    use base64::Engine as _;
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_slice());
    let tag = hmac::sign(&key, b"tokenward export check");
    base64::engine::general_purpose::STANDARD.encode(tag)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clock::SystemEntropy;

    /// What a passphrase would be derived to, in the time that it takes.
    fn secret() -> KeyBytes {
        Zeroizing::new([7; 32])
    }

    fn plain() -> Vec<u8> {
        (0..150_000_u32).flat_map(u32::to_be_bytes).take(150_000).collect()
    }

    fn sealed() -> Vec<u8> {
        let derivation = Derivation::fresh(&SystemEntropy::new()).expect("a salt");
        let mut writer = SealingWriter::with(Vec::new(), derivation, &secret()).expect("a writer");
        for part in plain().chunks(1_000) {
            writer.write_all(part).expect("written");
        }
        writer.finish().expect("finished")
    }

    /// Everything in `bytes`, with the right passphrase.
    fn open(bytes: &[u8]) -> Result<Vec<u8>, VaultError> {
        let mut reader = OpeningReader::with(bytes, |_| Ok(secret()))?;
        let mut plain = Vec::new();
        let mut byte = [0];
        while reader.fill(&mut byte)? {
            plain.push(byte[0]);
        }
        Ok(plain)
    }

    #[test]
    fn what_was_sealed_opens() {
        let (plain, bytes) = (plain(), sealed());
        assert!(open(&bytes).expect("it opens") == plain);
        assert!(!bytes.windows(16).any(|window| window == &plain[1_000..1_016]));
    }

    #[test]
    fn another_passphrase_is_told_apart_from_damage_and_a_short_one_is_refused() {
        let bytes = sealed();
        let opened = OpeningReader::with(&*bytes, |_| Ok(Zeroizing::new([8; 32])));
        assert!(opened.is_err_and(|error| error.is_wrong_key()));
        let short = SealingWriter::new(Vec::new(), "too short", &SystemEntropy::new());
        assert!(short.is_err_and(|error| error.is_unusable_key()));
    }

    #[test]
    fn a_stream_that_ends_between_two_chunks_is_cut_short() {
        let bytes = sealed();
        let head = bytes.len() - (150_000 + 3 * (4 + 16));
        for chunks in 0..3 {
            let cut = open(&bytes[..head + chunks * (4 + CHUNK + 16)]);
            assert!(cut.is_err_and(|error| error.is_damaged()), "{chunks}");
        }
        let first = head..head + 4 + CHUNK + 16;
        let mut doubled = bytes.clone();
        doubled.splice(first.end..first.end, bytes[first].to_vec());
        assert!(open(&doubled).is_err_and(|error| error.is_damaged()));
    }

    #[test]
    fn a_newer_format_is_told_apart() {
        let header = br#"{"format":2,"other":1}"#;
        let length = u32::try_from(header.len()).expect("small").to_be_bytes();
        let bytes = [MAGIC, &length[..], header].concat();
        let opened = OpeningReader::with(&*bytes, |_| Ok(secret()));
        assert!(opened.is_err_and(|error| error.is_newer_format()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_cut_lengthened_or_changed_does_not_open(
            at: prop::sample::Index,
            change in 1..=u8::MAX,
        ) {
            let mut bytes = sealed();
            let at = at.index(bytes.len());
            prop_assert!(open(&bytes[..at]).is_err());
            bytes[at] ^= change;
            prop_assert!(open(&bytes).is_err());
            bytes[at] ^= change;
            bytes.push(change);
            prop_assert!(open(&bytes).is_err());
        }

        #[test]
        fn arbitrary_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(open(&bytes).is_err());
            prop_assert!(open(&[MAGIC.as_slice(), &bytes].concat()).is_err());
        }
    }
}
