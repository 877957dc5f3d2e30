//! Where sealed bytes are kept: one narrow contract above every engine. A store knows nothing of
//! records, users or keys of encryption; it keeps bytes under bytes, and it keeps its word.

#[cfg(test)]
pub(crate) mod contract;
mod current;
mod directory;
mod disk;
mod engine;
mod guard;
mod memory;
mod mirror;
#[cfg(test)]
pub(crate) mod power_cut;
#[cfg(feature = "redb")]
mod redb;
mod reserve;
mod sled;
pub(crate) mod steps;

use std::fmt;
use std::ops::{Bound, ControlFlow};

#[cfg(test)]
pub(crate) use self::directory::keep_free;
pub(crate) use self::directory::{
    LockedDirectory, beside, copy_whole, create_private, remove, rename, sync_entries,
};
pub(crate) use self::disk::{DiskOptions, DiskStore};
pub use self::engine::Engine;
pub(crate) use self::memory::MemoryStore;
pub(crate) use self::mirror::Mirror;

/// Reads `bytes` as everything that is read back from a disk, for the fuzz targets.
#[cfg(fuzzing)]
pub(super) fn read_anything(bytes: &[u8]) {
    sled::read_anything(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        current::read_anything(text);
    }
}

/// A place that keeps opaque bytes in versions.
///
/// The caller is the only one, and calls block: they are made from the vault's own thread. Only while it
/// is opened, other threads may read beside that one.
pub(crate) trait VaultStore: fmt::Debug + Send + Sync {
    /// Applies all of `batch` or nothing, and returns once it would survive a power cut. There is
    /// no flush besides.
    ///
    /// After [`StoreError::Full`], [`StoreError::Io`] or [`StoreError::Poisoned`] it is unknown
    /// whether the batch will be there after the next opening, and no commit succeeds before it.
    fn commit(&mut self, batch: &StoreBatch) -> Result<(), StoreError>;

    /// What is kept under `key`.
    fn read(&self, key: &[u8]) -> Result<Option<Stored>, StoreError>;

    /// The version of what is kept under `key`, also where a part of the value is damaged. What is
    /// too damaged to tell has version 0.
    fn version(&self, key: &[u8]) -> Result<Option<u64>, StoreError>;

    /// Shows every key that begins with `prefix` and is greater than `after`, and what is kept under
    /// it, in the order of bytes, until `visit` breaks off. A value that is damaged does not end the
    /// scan: what is left of it is shown.
    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        visit: &mut Visit<'_>,
    ) -> Result<(), StoreError>;

    /// Whether several threads that scan at once are faster than one. Where they wait for each other, or
    /// calls are counted, one thread scans.
    fn is_faster_at_once(&self) -> bool {
        false
    }

    /// Does a part of rewriting everything, so that nothing of what was removed or replaced before the
    /// first part remains, and says whether that was the last. Between two parts the store is used
    /// as ever. One that remembers nothing has nothing to do.
    fn compact_some(&mut self) -> Result<bool, StoreError> {
        Ok(true)
    }

    /// How it is, after the upkeep that it can do by itself.
    fn health(&mut self) -> Result<StoreHealth, StoreError>;
}

/// Sees one key and what is kept under it, and says whether to go on.
pub(crate) type Visit<'a> = dyn FnMut(&[u8], Scanned) -> ControlFlow<()> + 'a;

/// What a scan finds under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scanned {
    /// What is kept there, or what is left of it. What the vault sealed does not open when a part of
    /// it is missing, so what is left is never taken for the whole.
    pub(crate) stored: Stored,
    /// Why the value is not whole, if it is not: [`VaultStore::read`] fails with this.
    pub(crate) damage: Option<String>,
}

/// Opens a store: once at the start, and again after it was poisoned.
pub(crate) type OpenStore =
    std::sync::Arc<dyn Fn() -> Result<Box<dyn VaultStore>, StoreError> + Send + Sync>;

/// What is kept under a key.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    /// The version it was written with.
    pub(crate) version: u64,
    /// The bytes.
    pub(crate) value: Vec<u8>,
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stored(version {}, {} bytes)", self.version, self.value.len())
    }
}

/// Writes that are applied together or not at all. A key stands in it once.
#[derive(Debug, Default)]
pub(crate) struct StoreBatch {
    pub(crate) writes: Vec<StoreWrite>,
}

/// One write of a batch.
#[derive(Debug)]
pub(crate) struct StoreWrite {
    pub(crate) key: Vec<u8>,
    /// The version that must stand there; none: the key must not be there.
    pub(crate) expect: Option<u64>,
    /// What is to stand there; none: nothing.
    pub(crate) to: Option<Stored>,
}

impl StoreBatch {
    /// Writes `to` under `key`, if version `expect` stands there.
    pub(crate) fn write(&mut self, key: Vec<u8>, expect: Option<u64>, to: Option<Stored>) {
        self.writes.push(StoreWrite { key, expect, to });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }
}

/// How a store is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct StoreHealth {
    /// Bytes on disk; none when it is kept in memory.
    pub(crate) bytes_on_disk: Option<u64>,
    /// Bytes that are held in reserve beside them; none when it is kept in memory.
    pub(crate) reserve: Option<u64>,
    /// What is wrong although it works.
    pub(crate) warnings: Vec<String>,
    /// Whether it refuses writes until there is room again.
    pub(crate) refuses_writes: bool,
}

/// The longest key that a store takes, in bytes.
pub(crate) const LONGEST_KEY: usize = 256;

/// The longest value that a store takes, in bytes.
pub(crate) const LONGEST_VALUE: usize = 4 * 1024 * 1024;

/// Why a store could not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StoreError {
    /// Another version stands there than was expected. Nothing was changed.
    #[error("the store holds another version than the vault knows of, restore a backup")]
    Conflict,
    /// A key or a value is longer than a store takes. Nothing was changed.
    #[error("a record is larger than 4 MiB, make it smaller")]
    TooLarge,
    /// The disk is full.
    #[error("the disk with the vault is full, make room")]
    Full,
    /// The disk was full, and there is not room enough yet. Nothing was changed.
    #[error("the disk with the vault is full, writes are refused until there is room")]
    NoRoom,
    /// An earlier failure left the store unusable until it is opened again.
    #[error("the vault's store is closed after a failure and will be opened again: {0}")]
    Poisoned(String),
    /// What is on disk makes no sense.
    #[error("the vault's store is damaged, restore a backup: {0}")]
    Damaged(String),
    /// Someone else has it open.
    #[error(
        "the vault at {0} is in use by another process or runtime, stop it or use another path"
    )]
    Locked(String),
    /// Another engine keeps it.
    #[error(
        "the vault at {path} is kept by {found}, open it with that engine or move it (this is \
         {wanted})"
    )]
    OtherEngine { path: String, found: &'static str, wanted: &'static str },
    /// Something stands where something new was to be put.
    #[error("there is something at {0} already and it is not overwritten, choose another path")]
    Occupied(String),
    /// A file stands where a directory belongs.
    #[error(
        "{0} is a file, and a vault is kept in a directory, choose another path or move the file"
    )]
    NoDirectory(String),
    /// There is none, and none was to be created.
    #[error("there is no vault at {0}, allow it to be created or correct the path")]
    Absent(String),
    /// The operating system failed.
    #[error("the vault's store can not be used, check its disk and directory: {0}")]
    Io(String),
}

impl From<std::io::Error> for StoreError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::Full,
            _ => Self::Io(error.to_string()),
        }
    }
}

/// Where a scan of `prefix` behind `after` begins.
fn scan_start<'a>(prefix: &'a [u8], after: Option<&'a [u8]>) -> Bound<&'a [u8]> {
    after.filter(|after| *after >= prefix).map_or(Bound::Included(prefix), Bound::Excluded)
}

/// The damage of a number that has no successor. None was ever counted so far, so somebody wrote it.
pub(crate) fn past_counting(what: &str) -> StoreError {
    StoreError::Damaged(format!("the number of its last {what} can not be one"))
}

/// Whether `batch` is small enough for every store.
fn check_sizes(batch: &StoreBatch) -> Result<(), StoreError> {
    let fits = |write: &StoreWrite| {
        write.key.len() <= LONGEST_KEY
            && write.to.as_ref().is_none_or(|to| to.value.len() <= LONGEST_VALUE)
    };
    if batch.writes.iter().all(fits) { Ok(()) } else { Err(StoreError::TooLarge) }
}
