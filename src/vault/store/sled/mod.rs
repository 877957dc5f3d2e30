//! The embedded store: sled 0.34.7, with what it needs to keep its word after a power cut: a
//! barrier of our own after every flush, no value large enough for its blob files, no second try.

mod parts;
mod recovery;
mod tally;
#[cfg(test)]
mod tests;

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use self::parts::{FirstPart, Standing, first_part_key, other_part_key, put_parts};
use self::recovery::open_or_recover;
use self::tally::Tally;
use super::directory::{beside, sync_entries};
use super::guard::guarded;
use super::steps::{self, done};
use super::{
    Scanned, StoreBatch, StoreError, StoreHealth, Stored, VaultStore, Visit, check_sizes,
    past_counting, scan_start,
};

/// Reads `bytes` as everything that stands in sled or beside it, for the fuzz targets.
#[cfg(fuzzing)]
pub(super) fn read_anything(bytes: &[u8]) {
    let (first, standing) = (FirstPart::parse(bytes), Standing::parse(bytes));
    assert_eq!((first.version, first.parts), (standing.version, standing.parts));
    let _ = tally::parse(bytes);
}

/// The key under which sled holds the number of the last commit.
const COMMITS: u8 = 2;

/// Keeps everything in a directory of its own, through sled.
pub(super) struct SledStore {
    db: sled::Db,
    /// Our own handle on sled's data file, for the barrier.
    barrier: File,
    /// The number of the last commit, beside sled.
    tally: Tally,
    /// sled's directory.
    data: PathBuf,
    /// The number of the last commit.
    commits: u64,
    /// Why nothing more can be acknowledged.
    poisoned: Option<String>,
}

impl SledStore {
    /// Opens the store in the directory `data`, which is created if it is not there. The caller
    /// holds the lock of the directory around it.
    pub(super) fn open(data: &Path) -> Result<Self, StoreError> {
        let db = open_or_recover(data)?;
        let barrier = OpenOptions::new().read(true).write(true).open(data.join("db"))?;
        barrier.sync_all()?;
        done(steps::SYNCED, data);
        sync_entries(data)?;
        let tally = Tally::open(&tally_path(data))?;
        let mut store =
            Self { db, barrier, tally, data: data.to_owned(), commits: 0, poisoned: None };
        guarded(|| store.count_commits())?;
        Ok(store)
    }

    /// What belongs to the store in `data`.
    pub(super) fn files(data: &Path) -> Vec<PathBuf> {
        let copies = [damaged_path(data), unfinished_copy_path(data)];
        [data.to_owned(), tally_path(data)].into_iter().chain(copies).collect()
    }

    /// Compares the number of the last commit in sled with the one beside it. Where a checksum in
    /// its log is wrong, sled goes on as if everything after it had never been.
    fn count_commits(&mut self) -> Result<(), StoreError> {
        let kept = self.db.get([COMMITS]).map_err(translate)?;
        let kept = kept.and_then(|bytes| Some(u64::from_be_bytes(*bytes.first_chunk()?)));
        match (kept, self.tally.acknowledged()) {
            (Some(kept), Some(acknowledged)) if kept < acknowledged => {
                let lost = acknowledged - kept;
                return Err(StoreError::Damaged(format!("its last {lost} commits are gone")));
            }
            (None, Some(_)) => return Err(StoreError::Damaged("all of it is gone".to_owned())),
            // A power cut may leave the number beside it behind, never ahead.
            (Some(kept), _) => self.commits = kept,
            (None, None) => {
                self.db.insert([COMMITS], &self.commits.to_be_bytes()).map_err(translate)?;
                self.make_durable()?;
            }
        }
        self.tally.acknowledge(self.commits)?;
        self.tally.sync()?;
        Ok(())
    }

    /// The checks, the batch, the flush and the barrier.
    fn apply(&mut self, batch: &StoreBatch) -> Result<(), StoreError> {
        let mut changes = sled::Batch::default();
        for write in &batch.writes {
            let standing = self.standing(&write.key)?;
            if standing.map(|standing| standing.version) != write.expect {
                return Err(StoreError::Conflict);
            }
            let old_parts = standing.map_or(0, |standing| standing.parts);
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
        let number = self.commits.checked_add(1).ok_or_else(|| past_counting("commit"))?;
        changes.insert(&[COMMITS], &number.to_be_bytes());
        self.db.apply_batch(changes).map_err(translate)?;
        self.make_durable()?;
        self.tally.acknowledge(number)?;
        self.commits = number;
        Ok(())
    }

    fn make_durable(&self) -> Result<(), StoreError> {
        self.db.flush().map_err(translate)?;
        done(steps::WRITTEN, &self.data);
        // sled's flush is a write without a barrier. This is the moment of durability; after a
        // failure the kernel may have dropped the pages, so it is never tried again.
        self.barrier.sync_data()?;
        done(steps::SYNCED, &self.data);
        Ok(())
    }

    /// What stands under `key`, without a copy of it.
    fn standing(&self, key: &[u8]) -> Result<Option<Standing>, StoreError> {
        let bytes = self.db.get(first_part_key(key)).map_err(translate)?;
        Ok(bytes.map(|bytes| Standing::parse(&bytes)))
    }

    fn first_part(&self, key: &[u8]) -> Result<Option<FirstPart>, StoreError> {
        match self.db.get(first_part_key(key)).map_err(translate)? {
            Some(bytes) => Ok(Some(FirstPart::parse(&bytes))),
            None => Ok(None),
        }
    }

    /// The value that begins with `first`, or what is left of it.
    fn assemble(&self, key: &[u8], first: FirstPart) -> Result<Scanned, StoreError> {
        let FirstPart { version, parts, mut value, mut damage } = first;
        for number in 1..parts {
            match self.db.get(other_part_key(key, number)).map_err(translate)? {
                None => damage = Some("a part is missing"),
                Some(part) => match part.split_first_chunk() {
                    Some((of, rest)) if u64::from_be_bytes(*of) == version => {
                        value.extend_from_slice(rest);
                    }
                    _ => damage = Some("a part is of another version"),
                },
            }
        }
        Ok(Scanned { stored: Stored { version, value }, damage: damage.map(str::to_owned) })
    }

    fn blob_files(&self) -> io::Result<usize> {
        match fs::read_dir(self.data.join("blobs")) {
            Ok(files) => Ok(files.count()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error),
        }
    }
}

impl fmt::Debug for SledStore {
    /// sled's own would print the whole tree.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SledStore")
            .field("data", &self.data)
            .field("commits", &self.commits)
            .field("poisoned", &self.poisoned)
            .finish_non_exhaustive()
    }
}

impl Drop for SledStore {
    /// Makes the number beside sled exact for as long as the store is closed.
    fn drop(&mut self) {
        if let Err(error) = self.tally.sync() {
            tracing::warn!(%error, "the number of the vault's last commit was not synced");
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
            Some(first) => match self.assemble(key, first)? {
                Scanned { stored, damage: None } => Ok(Some(stored)),
                Scanned { damage: Some(damage), .. } => Err(StoreError::Damaged(damage)),
            },
            None => Ok(None),
        })
    }

    fn version(&self, key: &[u8]) -> Result<Option<u64>, StoreError> {
        guarded(|| Ok(self.standing(key)?.map(|standing| standing.version)))
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        visit: &mut Visit<'_>,
    ) -> Result<(), StoreError> {
        let start = scan_start(prefix, after).map(first_part_key);
        let prefix = first_part_key(prefix);
        guarded(|| {
            for item in self.db.range::<Vec<u8>, _>((start, Bound::Unbounded)) {
                let (key, bytes) = item.map_err(translate)?;
                if !key.starts_with(&prefix) {
                    break;
                }
                let key = key.get(1..).unwrap_or_default();
                if visit(key, self.assemble(key, FirstPart::parse(&bytes))?).is_break() {
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
        let mut warnings = Vec::new();
        let blobs = self.blob_files()?;
        if blobs > 0 {
            warnings.push(format!(
                "the store has {blobs} blob files that a power cut can tear, export and import it"
            ));
        }
        let bytes_on_disk = guarded(|| self.db.size_on_disk().map_err(translate))?;
        let bytes_on_disk = Some(bytes_on_disk);
        Ok(StoreHealth { bytes_on_disk, warnings, ..StoreHealth::default() })
    }
}

/// Where the number of the last commit stands.
fn tally_path(data: &Path) -> PathBuf {
    beside(data, ".commits")
}

/// Where a store that did not open is copied to before anything is tried.
fn damaged_path(data: &Path) -> PathBuf {
    beside(data, ".damaged")
}

/// The same as long as it is being copied.
fn unfinished_copy_path(data: &Path) -> PathBuf {
    beside(data, ".damaged.new")
}

fn translate(error: sled::Error) -> StoreError {
    match error {
        sled::Error::Io(error) => error.into(),
        sled::Error::Corruption { .. } => StoreError::Damaged("a checksum is wrong".to_owned()),
        other => StoreError::Damaged(other.to_string()),
    }
}
