//! Doors for the fuzz targets to what the vault reads from files. They exist under `cfg(fuzzing)` alone.

use zeroize::Zeroizing;

pub use super::export::read_anything as import;
use super::seal::{self, KeyId, Place};
use super::{audit, head, keys, opened, store};
use crate::clock::SystemEntropy;

/// Opens `bytes` as a sealed record, and reads them as whatever may have been sealed.
pub fn record(bytes: &[u8]) {
    let key = Zeroizing::new([7; 32]);
    let place = Place { vault: &[1; 16], key: b"a name", version: 1 };
    let _ = seal::open(|_| Some(&key), place, bytes);
    let _ = keys::VaultHeader::parse(bytes);
    if let Ok(sealed) = seal::seal(KeyId(1), &key, place, bytes, &SystemEntropy::new()) {
        let plain =
            seal::open(|_| Some(&key), place, &sealed).expect("it was sealed for this place");
        assert_eq!(*plain, bytes);
        read(&plain);
    }
}

/// Reads `bytes` as what stands beside the sealed records: the file that names the data, the items of an engine,
/// and a master key in text.
pub fn file(bytes: &[u8]) {
    store::read_anything(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        keys::read_anything(text);
    }
}

fn read(plain: &[u8]) {
    let _ = head::Head::parse(plain);
    audit::read_anything(plain);
    let _ = opened::split(plain);
}
