//! How a value stands in sled: in parts, since sled moves large pages into blob files that it never
//! syncs. The first part says how many there are, and each says which version it belongs to.

use crate::vault::store::{StoreError, Stored};

/// The longest piece of a value. Measured: values of 7,000 bytes never get into a blob file,
/// values of 9,000 bytes do.
pub(super) const LONGEST_PART: usize = 4 * 1024;

/// The first byte of keys that hold a value's first part.
const FIRST_PART: u8 = 0;

/// The first byte of keys that hold the other parts.
const OTHER_PART: u8 = 1;

/// The first part of a value, with what is needed to find the others.
pub(super) struct FirstPart {
    pub(super) version: u64,
    pub(super) parts: u16,
    pub(super) value: Vec<u8>,
    /// Why it is not whole, if it is not.
    pub(super) damage: Option<&'static str>,
}

impl FirstPart {
    /// Reads `bytes`, which may be cut short: then it is damaged, and its version is 0.
    pub(super) fn parse(bytes: &[u8]) -> Self {
        let Standing { version, parts } = Standing::parse(bytes);
        let value = bytes.get(BEFORE_VALUE..);
        let damage = value.is_none().then_some("an item is cut short");
        Self { version, parts, value: value.unwrap_or_default().to_vec(), damage }
    }
}

/// What stands before the first part of a value.
#[derive(Clone, Copy)]
pub(super) struct Standing {
    pub(super) version: u64,
    pub(super) parts: u16,
}

const BEFORE_VALUE: usize = size_of::<u64>() + size_of::<u16>();

impl Standing {
    /// Reads the beginning of `bytes`. Of what is cut short the version is 0.
    pub(super) fn parse(bytes: &[u8]) -> Self {
        let parse = || {
            let (version, rest) = bytes.split_first_chunk()?;
            let version = u64::from_be_bytes(*version);
            Some(Self { version, parts: u16::from_be_bytes(*rest.first_chunk()?) })
        };
        parse().unwrap_or(Self { version: 0, parts: 1 })
    }
}

/// Adds the parts of `to` to `changes` and says how many they are, at least one.
pub(super) fn put_parts(
    changes: &mut sled::Batch,
    key: &[u8],
    to: &Stored,
) -> Result<u16, StoreError> {
    let parts = to.value.len().div_ceil(LONGEST_PART).max(1);
    let parts = u16::try_from(parts).map_err(|_| StoreError::TooLarge)?;
    let version = to.version.to_be_bytes();
    let mut pieces = to.value.chunks(LONGEST_PART);
    let first = pieces.next().unwrap_or_default();
    changes.insert(first_part_key(key), [&version, &parts.to_be_bytes()[..], first].concat());
    for (number, piece) in (1..parts).zip(pieces) {
        changes.insert(other_part_key(key, number), [&version, piece].concat());
    }
    Ok(parts)
}

pub(super) fn first_part_key(key: &[u8]) -> Vec<u8> {
    [&[FIRST_PART], key].concat()
}

/// The key's length stands before it, so that no key's parts can be taken for another's.
pub(super) fn other_part_key(key: &[u8], number: u16) -> Vec<u8> {
    let length = u32::try_from(key.len()).unwrap_or(u32::MAX);
    [&[OTHER_PART], &length.to_be_bytes()[..], key, &number.to_be_bytes()].concat()
}
