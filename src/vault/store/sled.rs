//! The embedded store: sled 0.34.7, with what it needs to keep its word after a power cut: a
//! barrier of our own after every flush, no value large enough for its blob files, no second try.

use std::any::Any;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::directory::{LockedDirectory, copy_all, sync_entries};
use super::{StoreBatch, StoreError, StoreHealth, Stored, VaultStore, Visit, check_sizes};

/// The longest piece of a value. sled moves large pages into blob files that it never syncs;
/// measured: values of 7,000 bytes never get there, values of 9,000 bytes do.
const LONGEST_PART: usize = 4 * 1024;

/// What sled may keep of its pages in memory; it takes up to 2.5 times as much.
const CACHE_BYTES: u64 = 64 * 1024 * 1024;

/// How often sled writes out and syncs what is left over.
const FLUSH_EVERY_MS: u64 = 500;

/// The first byte of keys that hold a value's first part.
const FIRST_PART: u8 = 0;

/// The first byte of keys that hold the other parts.
const OTHER_PART: u8 = 1;

/// The key that is there in every store that was ever opened.
const PRESENCE: u8 = 2;

/// Keeps everything in a directory, through sled.
#[derive(Debug)]
pub(crate) struct SledStore {
    // Dropped in this order: sled lets go of its files before the directory's lock is lifted.
    db: sled::Db,
    /// Our own handle on sled's data file, for the barrier.
    barrier: File,
    directory: LockedDirectory,
    /// Why nothing more can be acknowledged.
    poisoned: Option<String>,
}

impl SledStore {
    /// Opens the store in the directory at `path`; a directory that is not there is created if
    /// `create` says so.
    pub(crate) fn open(path: &Path, create: bool) -> Result<Self, StoreError> {
        let directory = LockedDirectory::take(path, create)?;
        let data = data_path(&directory);
        let db = open_or_recover(&directory)?;
        let barrier = OpenOptions::new().read(true).write(true).open(data.join("db"))?;
        barrier.sync_all()?;
        sync_entries(&data)?;
        directory.sync()?;
        let store = Self { db, barrier, directory, poisoned: None };
        guarded(|| store.check_presence())?;
        Ok(store)
    }

    /// Tells a new store from one that has lost what was in it: a new one is marked, in sled first
    /// and then beside it.
    fn check_presence(&self) -> Result<(), StoreError> {
        let beside = self.directory.path().join("initialized");
        if self.db.contains_key([PRESENCE]).map_err(translate)? {
            if beside.exists() {
                return Ok(());
            }
        } else if beside.exists() {
            return Err(StoreError::Damaged("everything in it is gone".to_owned()));
        } else {
            self.db.insert([PRESENCE], &[]).map_err(translate)?;
            self.make_durable()?;
        }
        File::create(beside)?.sync_all()?;
        self.directory.sync()?;
        Ok(())
    }

    /// The checks, the batch, the flush and the barrier.
    fn apply(&self, batch: &StoreBatch) -> Result<(), StoreError> {
        let mut changes = sled::Batch::default();
        for write in &batch.writes {
            let standing = self.first_part(&write.key)?;
            if standing.as_ref().map(|first| first.version) != write.expect {
                return Err(StoreError::Conflict);
            }
            let old_parts = standing.map_or(0, |first| first.parts);
            let new_parts = if let Some(to) = &write.to {
                put_parts(&mut changes, &write.key, to)?
            } else {
                changes.remove(first_part_key(&write.key));
                0
            };
            for number in new_parts.max(1)..old_parts {
                changes.remove(other_part_key(&write.key, number));
            }
        }
        self.db.apply_batch(changes).map_err(translate)?;
        self.make_durable()
    }

    fn make_durable(&self) -> Result<(), StoreError> {
        self.db.flush().map_err(translate)?;
        // sled's flush is a write without a barrier. This is the moment of durability; after a
        // failure the kernel may have dropped the pages, so it is never tried again.
        self.barrier.sync_data()?;
        Ok(())
    }

    fn first_part(&self, key: &[u8]) -> Result<Option<FirstPart>, StoreError> {
        match self.db.get(first_part_key(key)).map_err(translate)? {
            Some(bytes) => FirstPart::parse(&bytes).map(Some),
            None => Ok(None),
        }
    }

    /// The whole value that begins with `first`.
    fn assemble(&self, key: &[u8], first: FirstPart) -> Result<Stored, StoreError> {
        let FirstPart { version, parts, mut value } = first;
        for number in 1..parts {
            let part = self.db.get(other_part_key(key, number)).map_err(translate)?;
            let part = part.ok_or_else(|| StoreError::Damaged("a part is missing".to_owned()))?;
            match part.split_first_chunk() {
                Some((of, rest)) if u64::from_be_bytes(*of) == version => {
                    value.extend_from_slice(rest);
                }
                _ => return Err(StoreError::Damaged("a part is of another version".to_owned())),
            }
        }
        Ok(Stored { version, value })
    }

    fn blob_files(&self) -> io::Result<usize> {
        match fs::read_dir(data_path(&self.directory).join("blobs")) {
            Ok(files) => Ok(files.count()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error),
        }
    }
}

impl VaultStore for SledStore {
    fn commit(&mut self, batch: &StoreBatch) -> Result<(), StoreError> {
        if let Some(reason) = &self.poisoned {
            return Err(StoreError::Poisoned(reason.clone()));
        }
        check_sizes(batch)?;
        let outcome = guarded(|| self.apply(batch));
        match &outcome {
            Ok(()) | Err(StoreError::Conflict) => {}
            Err(error) => self.poisoned = Some(error.to_string()),
        }
        outcome
    }

    fn read(&self, key: &[u8]) -> Result<Option<Stored>, StoreError> {
        guarded(|| match self.first_part(key)? {
            Some(first) => self.assemble(key, first).map(Some),
            None => Ok(None),
        })
    }

    fn version(&self, key: &[u8]) -> Result<Option<u64>, StoreError> {
        guarded(|| Ok(self.first_part(key)?.map(|first| first.version)))
    }

    fn scan(&self, prefix: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        guarded(|| {
            for item in self.db.scan_prefix(first_part_key(prefix)) {
                let (key, bytes) = item.map_err(translate)?;
                let key = key.get(1..).unwrap_or_default();
                let stored = self.assemble(key, FirstPart::parse(&bytes)?)?;
                visit(key, stored);
            }
            Ok(())
        })
    }

    fn health(&self) -> Result<StoreHealth, StoreError> {
        let mut warnings = Vec::new();
        let blobs = self.blob_files()?;
        if blobs > 0 {
            warnings.push(format!(
                "the store has {blobs} blob files that a power cut can tear, export and import it"
            ));
        }
        let bytes_on_disk = guarded(|| self.db.size_on_disk().map_err(translate))?;
        Ok(StoreHealth { bytes_on_disk: Some(bytes_on_disk), warnings })
    }
}

/// The first part of a value, with what is needed to find the others.
struct FirstPart {
    version: u64,
    parts: u16,
    value: Vec<u8>,
}

impl FirstPart {
    fn parse(bytes: &[u8]) -> Result<Self, StoreError> {
        let torn = || StoreError::Damaged("an item is cut short".to_owned());
        let (version, rest) = bytes.split_first_chunk().ok_or_else(torn)?;
        let (parts, value) = rest.split_first_chunk().ok_or_else(torn)?;
        Ok(Self {
            version: u64::from_be_bytes(*version),
            parts: u16::from_be_bytes(*parts),
            value: value.to_vec(),
        })
    }
}

/// Adds the parts of `to` to `changes` and says how many they are, at least one.
fn put_parts(changes: &mut sled::Batch, key: &[u8], to: &Stored) -> Result<u16, StoreError> {
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

fn first_part_key(key: &[u8]) -> Vec<u8> {
    [&[FIRST_PART], key].concat()
}

/// The key's length stands before it, so that no key's parts can be taken for another's.
fn other_part_key(key: &[u8], number: u16) -> Vec<u8> {
    let length = u32::try_from(key.len()).unwrap_or(u32::MAX);
    [&[OTHER_PART], &length.to_be_bytes()[..], key, &number.to_be_bytes()].concat()
}

fn data_path(directory: &LockedDirectory) -> PathBuf {
    directory.path().join("store")
}

/// Opens sled; if what it finds is damaged, sets a copy aside and tries once more without
/// snapshots, which only speed an opening up.
fn open_or_recover(directory: &LockedDirectory) -> Result<sled::Db, StoreError> {
    let data = data_path(directory);
    remove_snapshots(&data, |name| name.ends_with(".generating"))?;
    let reason = match open_sled(&data) {
        Err(StoreError::Damaged(reason)) => reason,
        other => return other,
    };
    let aside = directory.path().join("store.damaged");
    if !aside.exists() {
        copy_all(&data, &aside)?;
    }
    tracing::error!(
        reason,
        copy = %aside.display(),
        "vault store does not open, trying without snapshots"
    );
    remove_snapshots(&data, |_| true)?;
    open_sled(&data)
}

/// Opens sled. A former opening by this process may still be winding down in sled's threads, which
/// give no notice when they let go of the file; our own lock proves that it is no one else.
fn open_sled(data: &Path) -> Result<sled::Db, StoreError> {
    const TRIES: usize = 500;
    let config = sled::Config::new()
        .path(data)
        .use_compression(false)
        .cache_capacity(CACHE_BYTES)
        .flush_every_ms(Some(FLUSH_EVERY_MS));
    for _ in 0..TRIES {
        let opened = catch_unwind(AssertUnwindSafe(|| config.open()))
            .map_err(|panic| StoreError::Damaged(panic_text(panic.as_ref())))?;
        match opened {
            Err(sled::Error::Io(error)) if error.to_string().contains("could not acquire lock") => {
                std::thread::park_timeout(Duration::from_millis(10));
            }
            other => return other.map_err(translate),
        }
    }
    Err(StoreError::Locked(data.display().to_string()))
}

/// Removes the snapshots whose file name `which` picks.
fn remove_snapshots(data: &Path, which: impl Fn(&str) -> bool) -> Result<(), StoreError> {
    if !data.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(data)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && which(&name) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Runs `work` and turns a panic of sled into a failure that ends the use of this opening.
fn guarded<T>(work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|panic| Err(StoreError::Poisoned(panic_text(panic.as_ref()))))
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked").to_owned()
}

fn translate(error: sled::Error) -> StoreError {
    match error {
        sled::Error::Io(error) => error.into(),
        sled::Error::Corruption { .. } => StoreError::Damaged("a checksum is wrong".to_owned()),
        other => StoreError::Damaged(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::contract;
    use super::*;

    fn write(store: &mut SledStore, key: &[u8], expect: Option<u64>, to: Option<Stored>) {
        let mut batch = StoreBatch::default();
        batch.write(key.to_vec(), expect, to);
        store.commit(&batch).expect("a commit");
    }

    #[test]
    fn the_store_on_disk_keeps_the_contract() {
        contract::holds(|| {
            let directory = tempfile::tempdir().expect("a directory");
            move || Box::new(SledStore::open(&directory.path().join("v"), true).expect("a store"))
        });
    }

    #[test]
    fn a_store_is_only_created_when_asked() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("none");
        assert!(matches!(SledStore::open(&path, false), Err(StoreError::Absent(_))));
        assert!(!path.exists());
    }

    #[test]
    fn a_second_opener_is_told_that_the_store_is_in_use() {
        let directory = tempfile::tempdir().expect("a directory");
        let first = SledStore::open(directory.path(), true).expect("a store");
        let second = SledStore::open(directory.path(), true);
        assert!(matches!(second, Err(StoreError::Locked(_))), "{second:?}");
        drop(first);
        SledStore::open(directory.path(), true).expect("free again");
    }

    #[test]
    fn shorter_values_leave_no_old_parts_behind() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut store = SledStore::open(directory.path(), true).expect("a store");
        let long = Stored { version: 1, value: vec![7; 5 * LONGEST_PART] };
        write(&mut store, b"k", None, Some(long));
        assert_eq!(store.db.len(), 5 + 1, "and the mark");
        let short = Stored { version: 2, value: vec![7; LONGEST_PART + 1] };
        write(&mut store, b"k", Some(1), Some(short));
        assert_eq!(store.db.len(), 2 + 1);
        write(&mut store, b"k", Some(2), None);
        assert_eq!(store.db.len(), 1);
    }

    #[test]
    fn no_blob_file_is_ever_made() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut store = SledStore::open(directory.path(), true).expect("a store");
        for round in 0..4 {
            for length in [LONGEST_PART, 7_000, 9_000, 20_000, 100 * 1024, 1024 * 1024] {
                let key = length.to_be_bytes();
                let expect = (round > 0).then_some(round);
                let value = vec![7; length];
                write(&mut store, &key, expect, Some(Stored { version: round + 1, value }));
            }
        }
        assert_eq!(store.blob_files().expect("a directory"), 0);
        assert!(store.health().expect("health").warnings.is_empty());
    }

    #[test]
    fn a_snapshot_that_a_kill_left_half_written_does_not_matter() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut store = SledStore::open(directory.path(), true).expect("a store");
        write(&mut store, b"k", None, Some(Stored { version: 1, value: b"v".to_vec() }));
        drop(store);
        let leftover = directory.path().join("store").join("snap.0000000000000001.generating");
        fs::write(&leftover, b"half").expect("a file");
        let store = SledStore::open(directory.path(), true).expect("it opens");
        assert!(!leftover.exists());
        assert!(store.read(b"k").expect("a read").is_some());
    }

    #[test]
    fn a_store_whose_data_is_gone_is_damaged_and_not_new() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut store = SledStore::open(directory.path(), true).expect("a store");
        write(&mut store, b"k", None, Some(Stored { version: 1, value: b"v".to_vec() }));
        drop(store);
        fs::remove_dir_all(directory.path().join("store")).expect("removed");
        let opened = SledStore::open(directory.path(), true);
        assert!(matches!(opened, Err(StoreError::Damaged(_))), "{opened:?}");
    }

    #[test]
    fn nothing_is_acknowledged_after_a_failed_barrier() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut store = SledStore::open(directory.path(), true).expect("a store");
        store.poisoned = Some("the barrier failed".to_owned());
        let mut batch = StoreBatch::default();
        batch.write(b"k".to_vec(), None, Some(Stored { version: 1, value: Vec::new() }));
        assert!(matches!(store.commit(&batch), Err(StoreError::Poisoned(_))));
    }
}
