//! The embedded store on redb 4 (feature `redb`): one file, one table, every commit durable before
//! it returns.

use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use ::redb::{
    Builder, CommitError, Database, DatabaseError, Durability, ReadableDatabase as _,
    ReadableTable as _, StorageError, TableDefinition, TableError, TransactionError,
};

use super::directory::{UNFINISHED, beside, remove, sync_entries};
use super::guard::{guarded, guarded_opening};
use super::steps::{self, done};
use super::{
    Scanned, StoreBatch, StoreError, StoreHealth, Stored, VaultStore, Visit, check_sizes,
    scan_start,
};

/// Key to version (eight bytes) and value.
const ITEMS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("items");

/// What redb may keep of its pages in memory.
const CACHE_BYTES: usize = 64 * 1024 * 1024;

/// Keeps everything in one file, through redb.
///
/// Commits are of one phase: what a second phase protects from is content that an attacker chose to
/// resemble redb's own pages, and all content here is sealed.
#[derive(Debug)]
pub(super) struct RedbStore {
    // Dropped in this order.
    db: Database,
    path: ClosedPath,
    /// Why nothing more can be acknowledged.
    poisoned: Option<String>,
}

/// Where the file is, which redb syncs once more as it closes it.
#[derive(Debug)]
struct ClosedPath(PathBuf);

impl Drop for ClosedPath {
    fn drop(&mut self) {
        done(steps::SYNCED, &self.0);
    }
}

impl RedbStore {
    /// Opens the store in the file at `path`, which is created if it is not there. The caller
    /// holds the lock of the directory around it.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        if !path.try_exists()? {
            Self::create(path)?;
        } else if fs::metadata(path)?.len() == 0 {
            // redb would make a new store of it.
            return Err(StoreError::Damaged("all of it is gone".to_owned()));
        }
        guarded_opening(|| Self::at(path))?
    }

    /// Makes the file aside and puts it in its place when it is whole: a file whose making was cut
    /// off is none of redb's, and would be refused for ever.
    fn create(path: &Path) -> Result<(), StoreError> {
        let aside = beside(path, UNFINISHED);
        remove(&aside)?;
        drop(Self::at(&aside)?);
        fs::rename(&aside, path)?;
        done(steps::RENAMED, path);
        Ok(path.parent().map_or(Ok(()), sync_entries)?)
    }

    fn at(path: &Path) -> Result<Self, StoreError> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let db = Builder::new().set_cache_size(CACHE_BYTES).create_file(file)?;
        let mut store = Self { db, path: ClosedPath(path.to_owned()), poisoned: None };
        // So that every later transaction finds the table.
        store.apply(&StoreBatch::default())?;
        Ok(store)
    }

    fn apply(&mut self, batch: &StoreBatch) -> Result<(), StoreError> {
        let mut transaction = self.db.begin_write()?;
        transaction
            .set_durability(Durability::Immediate)
            .map_err(|error| StoreError::Io(error.to_string()))?;
        let mut table = transaction.open_table(ITEMS)?;
        for write in &batch.writes {
            let standing = table.get(write.key.as_slice())?.map(|item| version_of(item.value()));
            if standing != write.expect {
                return Err(StoreError::Conflict);
            }
        }
        for write in &batch.writes {
            match &write.to {
                Some(to) => {
                    let item = [&to.version.to_be_bytes(), to.value.as_slice()].concat();
                    table.insert(write.key.as_slice(), item.as_slice())?;
                }
                None => drop(table.remove(write.key.as_slice())?),
            }
        }
        drop(table);
        transaction.commit()?;
        done(steps::SYNCED, &self.path.0);
        Ok(())
    }
}

impl VaultStore for RedbStore {
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
        guarded(|| {
            let table = self.db.begin_read()?.open_table(ITEMS)?;
            let Some(item) = table.get(key)? else { return Ok(None) };
            let Scanned { stored, damage } = parse(item.value());
            damage.map_or(Ok(Some(stored)), |damage| Err(StoreError::Damaged(damage)))
        })
    }

    fn version(&self, key: &[u8]) -> Result<Option<u64>, StoreError> {
        guarded(|| {
            let table = self.db.begin_read()?.open_table(ITEMS)?;
            Ok(table.get(key)?.map(|item| version_of(item.value())))
        })
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        visit: &mut Visit<'_>,
    ) -> Result<(), StoreError> {
        guarded(|| {
            let table = self.db.begin_read()?.open_table(ITEMS)?;
            let found = table.range::<&[u8]>((scan_start(prefix, after), Bound::Unbounded))?;
            for item in found {
                let (key, item) = item?;
                let key = key.value();
                if !key.starts_with(prefix) || visit(key, parse(item.value())).is_break() {
                    break;
                }
            }
            Ok(())
        })
    }

    fn is_faster_at_once(&self) -> bool {
        true
    }

    fn health(&mut self) -> Result<StoreHealth, StoreError> {
        let bytes_on_disk = Some(fs::metadata(&self.path.0)?.len());
        Ok(StoreHealth { bytes_on_disk, ..StoreHealth::default() })
    }
}

fn version_of(item: &[u8]) -> u64 {
    item.first_chunk().map_or(0, |version| u64::from_be_bytes(*version))
}

fn parse(item: &[u8]) -> Scanned {
    let value = item.get(8..).unwrap_or_default().to_vec();
    let damage = (item.len() < 8).then(|| "an item is cut short".to_owned());
    Scanned { stored: Stored { version: version_of(item), value }, damage }
}

impl From<StorageError> for StoreError {
    fn from(error: StorageError) -> Self {
        match error {
            // What is in the file, or is not any more, and not what became of reading it.
            StorageError::Io(error)
                if matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof) =>
            {
                Self::Damaged(error.to_string())
            }
            StorageError::Io(error) => error.into(),
            StorageError::ValueTooLarge(_) => Self::TooLarge,
            StorageError::Corrupted(reason) => Self::Damaged(reason),
            other => Self::Poisoned(other.to_string()),
        }
    }
}

impl From<DatabaseError> for StoreError {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Storage(error) => error.into(),
            DatabaseError::DatabaseAlreadyOpen => Self::Locked("its redb file".to_owned()),
            other => Self::Damaged(other.to_string()),
        }
    }
}

impl From<TransactionError> for StoreError {
    fn from(error: TransactionError) -> Self {
        match error {
            TransactionError::Storage(error) => error.into(),
            other => Self::Poisoned(other.to_string()),
        }
    }
}

impl From<TableError> for StoreError {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Storage(error) => error.into(),
            other => Self::Damaged(other.to_string()),
        }
    }
}

impl From<CommitError> for StoreError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Storage(error) => error.into(),
            other => Self::Poisoned(other.to_string()),
        }
    }
}

#[cfg(test)]
impl RedbStore {
    /// Loses all but a few bytes of a value.
    pub(crate) fn tear(path: &Path, key: &[u8]) {
        let store = Self::open(path).expect("a store");
        let transaction = store.db.begin_write().expect("a transaction");
        transaction
            .open_table(ITEMS)
            .expect("a table")
            .insert(key, [1, 2, 3].as_slice())
            .expect("written");
        transaction.commit().expect("durable");
    }
}

#[cfg(test)]
mod tests {
    use super::super::contract::{put, stored};
    use super::*;

    #[test]
    fn a_file_whose_making_was_cut_off_is_made_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("store.redb");
        let aside = beside(&path, UNFINISHED);
        // As redb leaves it: lengthened, and without its first bytes.
        fs::write(&aside, vec![0; 1024 * 1024]).expect("written");
        assert!(RedbStore::at(&aside).is_err(), "redb does not take it up again");

        let mut store = RedbStore::open(&path).expect("a store");

        put(&mut store, b"k", None, stored(1, b"v")).expect("a commit");
        drop(store);
        let store = RedbStore::open(&path).expect("the same store");
        assert_eq!(store.read(b"k"), Ok(Some(stored(1, b"v"))));
        assert!(!aside.exists());
    }
}
