//! A vault's directory: locked, with the data that is in force kept by its engine, and with room in
//! reserve. Engines know nothing of each other; what they have in common is here.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::current::{Current, remove_data};
use super::directory::{LockedDirectory, check_no_file};
use super::mirror::Mirror;
use super::reserve::{Reserve, room};
use super::{Engine, StoreBatch, StoreError, StoreHealth, Stored, VaultStore, Visit};

/// Below this share of the disk, in percent, there is a warning.
const LITTLE_ROOM: u64 = 15;

/// How a directory is to be opened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DiskOptions {
    pub(crate) engine: Engine,
    /// Whether one that is not there is created.
    pub(crate) create: bool,
    /// The bytes to hold in reserve; none: the directory is only looked at, and left as it is, but for
    /// what its engine does to its own files when it opens them.
    pub(crate) reserve: Option<u64>,
}

/// Keeps everything in a directory, by an engine.
pub(crate) struct DiskStore {
    // Dropped in this order: the engine lets go of its files before the directory's lock is lifted.
    data: Box<dyn VaultStore>,
    /// What is to take its place.
    rewriting: Option<Rewriting>,
    engine: Engine,
    current: Current,
    reserve: Reserve,
    directory: LockedDirectory,
}

impl DiskStore {
    /// Opens the store in the directory at `path`.
    pub(crate) fn open(path: &Path, options: DiskOptions) -> Result<Self, StoreError> {
        Self::opened(path, options).map_err(|error| match error {
            StoreError::Io(cause) => StoreError::Io(format!("{}: {cause}", path.display())),
            error => error,
        })
    }

    fn opened(path: &Path, options: DiskOptions) -> Result<Self, StoreError> {
        if !options.create && !Self::exists(path)? {
            return Err(StoreError::Absent(path.display().to_string()));
        }
        check_no_file(path)?;
        let directory = LockedDirectory::take(path)?;
        let standing = Current::read(path)?;
        let fresh = || Current::new(options.engine.data_name(1));
        let mut current = standing.clone().unwrap_or_else(fresh);
        if current.engine() != options.engine.as_str() {
            return Err(StoreError::OtherEngine {
                path: path.display().to_string(),
                found: current.engine(),
                wanted: options.engine.as_str(),
            });
        }
        let at = current.path(path);
        if path.join("current").exists() && !at.exists() {
            return Err(StoreError::Damaged("all of it is gone".to_owned()));
        }
        let mut reserve = match options.reserve {
            Some(bytes) => Reserve::new(path, bytes),
            None => Reserve::as_it_is(path),
        };
        let data = match options.engine.open(&at) {
            // No engine opens without room. Who only looks leaves the room to who writes.
            Err(StoreError::Full) if options.reserve.is_some() && reserve.give_up() => {
                options.engine.open(&at)?
            }
            opened => opened?,
        };
        if options.reserve.is_none() {
            return Ok(Self::with(data, options.engine, current, reserve, directory));
        }
        directory.sync()?;
        if standing.as_ref() != Some(&current) || !path.join("current").exists() {
            current.write(path)?;
        }
        current.remove_superseded(path)?;
        current.remove_unfinished(path)?;
        reserve.hold();
        Ok(Self::with(data, options.engine, current, reserve, directory))
    }

    fn with(
        data: Box<dyn VaultStore>,
        engine: Engine,
        current: Current,
        reserve: Reserve,
        directory: LockedDirectory,
    ) -> Self {
        Self { data, rewriting: None, engine, current, reserve, directory }
    }

    /// Whether there is a store in the directory at `path`.
    pub(crate) fn exists(path: &Path) -> Result<bool, StoreError> {
        check_no_file(path)?;
        Ok(Current::read(path)?.is_some())
    }

    /// Rewrites everything into fresh data of `engine`, which takes the place of what there is when
    /// it was opened again and found to be the same. Copies that were set aside go with the old.
    pub(crate) fn rewrite(&mut self, engine: Engine) -> Result<(), StoreError> {
        while !self.rewrite_some(engine)? {}
        Ok(())
    }

    /// Does a part of [`DiskStore::rewrite`], and says whether that was the last.
    fn rewrite_some(&mut self, engine: Engine) -> Result<bool, StoreError> {
        let mut rewriting = match self.rewriting.take() {
            Some(rewriting) if rewriting.engine == engine => rewriting,
            _ => Rewriting::begin(&self.current, engine, self.directory.path()).map_err(kept)?,
        };
        match rewriting.mirror.step(&*self.data) {
            Ok(false) => {
                self.rewriting = Some(rewriting);
                Ok(false)
            }
            Ok(true) => self.put_in_force(rewriting).map(|()| true),
            Err(error) => {
                rewriting.give_up(self.directory.path());
                Err(kept(error))
            }
        }
    }

    fn put_in_force(&mut self, rewriting: Rewriting) -> Result<(), StoreError> {
        let Rewriting { mut next, engine, mirror } = rewriting;
        let path = self.directory.path();
        let fresh = mirror.into_store()?;
        self.directory.sync()?;
        // If this fails, either may be in force; the caller opens the store again to find out.
        next.write(path)?;
        self.data = fresh;
        self.engine = engine;
        self.current = next.clone();
        next.remove_superseded(path)?;
        self.current = next;
        Ok(())
    }

    fn little_room(&self) -> Option<String> {
        let room = room(self.directory.path())?;
        let share = room.free.saturating_mul(100).checked_div(room.total)?;
        (share < LITTLE_ROOM).then(|| {
            let mebibytes = room.free / (1024 * 1024);
            format!("the disk with the vault has {share} % free ({mebibytes} MiB), make room")
        })
    }
}

/// Fresh data that is to take the place of what is in force.
struct Rewriting {
    next: Current,
    engine: Engine,
    mirror: Mirror,
}

impl Rewriting {
    fn begin(current: &Current, engine: Engine, directory: &Path) -> Result<Self, StoreError> {
        let next = current.next(engine);
        let at = next.path(directory);
        current.remove_unfinished(directory)?;
        let mirror = Mirror::begin(Arc::new(move || engine.open(&at)))?;
        Ok(Self { next, engine, mirror })
    }

    fn give_up(self, directory: &Path) {
        let Self { next, mirror, .. } = self;
        drop(mirror);
        if let Err(error) = remove_data(&next.path(directory)) {
            tracing::warn!(%error, "a rewriting of the vault was not removed");
        }
    }
}

/// The data in force were only read, so a disk without room is no reason to close them.
fn kept(error: StoreError) -> StoreError {
    if error == StoreError::Full { StoreError::NoRoom } else { error }
}

impl VaultStore for DiskStore {
    fn commit(&mut self, batch: &StoreBatch) -> Result<(), StoreError> {
        if !self.reserve.hold() {
            return Err(StoreError::NoRoom);
        }
        let outcome = self.data.commit(batch);
        if outcome == Err(StoreError::Full) && self.reserve.give_up() {
            tracing::error!("the disk with the vault is full, its reserve is given up");
        }
        if let (Ok(()), Some(rewriting)) = (&outcome, &mut self.rewriting) {
            rewriting.mirror.follow(batch);
        }
        outcome
    }

    fn read(&self, key: &[u8]) -> Result<Option<Stored>, StoreError> {
        self.data.read(key)
    }

    fn version(&self, key: &[u8]) -> Result<Option<u64>, StoreError> {
        self.data.version(key)
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        visit: &mut Visit<'_>,
    ) -> Result<(), StoreError> {
        self.data.scan(prefix, after, visit)
    }

    fn is_faster_at_once(&self) -> bool {
        self.data.is_faster_at_once()
    }

    fn compact_some(&mut self) -> Result<bool, StoreError> {
        self.rewrite_some(self.engine)
    }

    fn health(&mut self) -> Result<StoreHealth, StoreError> {
        let mut health = self.data.health()?;
        health.refuses_writes = !self.reserve.hold();
        health.reserve = Some(self.reserve.held());
        if health.refuses_writes {
            health.warnings.push(StoreError::NoRoom.to_string());
        }
        health.warnings.extend(self.little_room());
        Ok(health)
    }
}

impl fmt::Debug for DiskStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskStore")
            .field("directory", &self.directory.path())
            .field("data", &self.data)
            .field("reserve", &self.reserve)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::contract::{self, everything, put, stored};
    use super::*;

    const ENGINES: &[Engine] = &[
        Engine::Sled,
        #[cfg(feature = "redb")]
        Engine::Redb,
    ];

    fn options(engine: Engine) -> DiskOptions {
        DiskOptions { engine, create: true, reserve: Some(0) }
    }

    fn open(path: &Path, engine: Engine) -> DiskStore {
        DiskStore::open(path, options(engine)).expect("a store")
    }

    #[test]
    fn every_engine_keeps_the_contract() {
        for engine in ENGINES {
            contract::holds(|| {
                let directory = tempfile::tempdir().expect("a directory");
                move || Box::new(open(&directory.path().join("v"), *engine))
            });
        }
    }

    #[test]
    fn a_damaged_value_fails_alone_on_every_engine() {
        for engine in ENGINES {
            let directory = tempfile::tempdir().expect("a directory");
            contract::holds_with_a_torn_value(
                &|| Box::new(open(directory.path(), *engine)),
                |key| engine.tear(&directory.path().join(engine.data_name(1)), key),
            );
        }
    }

    #[test]
    fn a_store_is_only_created_when_asked() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("none");
        for engine in ENGINES {
            let opened = DiskStore::open(&path, DiskOptions { create: false, ..options(*engine) });
            assert!(matches!(opened, Err(StoreError::Absent(_))));
            assert!(!path.exists());
        }
    }

    #[test]
    fn a_second_opener_is_told_that_the_store_is_in_use() {
        for engine in ENGINES {
            let directory = tempfile::tempdir().expect("a directory");
            let first = open(directory.path(), *engine);
            for other in ENGINES {
                let second = DiskStore::open(directory.path(), options(*other));
                assert!(matches!(second, Err(StoreError::Locked(_))), "{second:?}");
            }
            drop(first);
            open(directory.path(), *engine);
        }
    }

    #[test]
    fn a_store_whose_data_is_gone_is_damaged_and_not_new() {
        for engine in ENGINES {
            let directory = tempfile::tempdir().expect("a directory");
            let mut store = open(directory.path(), *engine);
            put(&mut store, b"k", None, stored(1, b"v")).expect("a commit");
            let data = store.current.path(directory.path());
            drop(store);
            super::super::directory::remove(&data).expect("removed");
            let opened = DiskStore::open(directory.path(), options(*engine));
            assert!(matches!(opened, Err(StoreError::Damaged(_))), "{opened:?}");
        }
    }

    #[test]
    fn a_store_whose_mark_is_gone_after_a_rewriting_is_damaged_and_not_new() {
        for engine in ENGINES {
            let directory = tempfile::tempdir().expect("a directory");
            let mut store = open(directory.path(), *engine);
            put(&mut store, b"k", None, stored(1, b"v")).expect("a commit");
            store.rewrite(*engine).expect("rewritten");
            drop(store);
            let mark = directory.path().join("current");
            let kept = fs::read(&mark).expect("a mark");
            fs::remove_file(&mark).expect("removed");
            let opened = DiskStore::open(directory.path(), options(*engine));
            assert!(matches!(opened, Err(StoreError::Damaged(_))), "{opened:?}");
            fs::write(&mark, kept).expect("put back");
            let store = open(directory.path(), *engine);
            assert_eq!(store.read(b"k").expect("a read"), Some(stored(1, b"v")));
        }
    }

    #[test]
    fn a_rewriting_keeps_everything_and_leaves_nothing_of_what_was_removed() {
        for engine in ENGINES {
            let directory = tempfile::tempdir().expect("a directory");
            let mut store = open(directory.path(), *engine);
            let canary = b"canary-that-was-removed".repeat(20);
            put(&mut store, b"gone", None, stored(1, &canary)).expect("a commit");
            put(&mut store, b"kept", None, stored(2, &[7; 9_000])).expect("a commit");
            put(&mut store, b"changed", None, stored(3, &canary)).expect("a commit");
            put(&mut store, b"changed", Some(3), stored(4, b"new")).expect("a commit");
            let mut batch = StoreBatch::default();
            batch.write(b"gone".to_vec(), Some(1), None);
            store.commit(&batch).expect("a removal");
            for _ in 0..2 {
                let before = everything(&store, b"");
                store.rewrite(*engine).expect("rewritten");
                assert_eq!(everything(&store, b""), before);
                assert_eq!(contract::files_with(directory.path(), b"canary-that"), 0);
            }
            put(&mut store, b"kept", Some(2), stored(5, b"x")).expect("it goes on");
            let before = everything(&store, b"");
            drop(store);
            assert_eq!(everything(&open(directory.path(), *engine), b""), before);
            let data = |name: &str| name.starts_with("store") && !name.ends_with(".commits");
            let entries = fs::read_dir(directory.path()).expect("a directory");
            let names = entries.map(|entry| entry.expect("an entry").file_name());
            let left = names.filter(|name| data(&name.to_string_lossy())).count();
            assert_eq!(left, 1, "the old data is gone");
        }
    }

    #[cfg(feature = "redb")]
    #[test]
    fn the_other_engine_s_store_is_told_apart_and_can_be_moved() {
        for [from, to] in [[Engine::Sled, Engine::Redb], [Engine::Redb, Engine::Sled]] {
            let directory = tempfile::tempdir().expect("a directory");
            let mut store = open(directory.path(), from);
            put(&mut store, b"k", None, stored(1, &vec![7; 20_000])).expect("a commit");
            drop(store);
            let opened = DiskStore::open(directory.path(), options(to));
            assert!(matches!(opened, Err(StoreError::OtherEngine { .. })), "{opened:?}");
            let mut store = open(directory.path(), from);
            store.rewrite(to).expect("moved");
            put(&mut store, b"more", None, stored(2, b"v")).expect("it goes on");
            drop(store);
            assert_eq!(everything(&open(directory.path(), to), b"").len(), 2);
            let opened = DiskStore::open(directory.path(), options(from));
            assert!(matches!(opened, Err(StoreError::OtherEngine { .. })), "{opened:?}");
        }
    }

    #[test]
    fn without_room_for_the_reserve_reads_go_on_and_writes_are_refused() {
        for engine in ENGINES {
            let directory = tempfile::tempdir().expect("a directory");
            let mut store = open(directory.path(), *engine);
            put(&mut store, b"k", None, stored(1, b"v")).expect("a commit");
            drop(store);
            let larger_than_any_disk = u64::MAX / 4;
            let options = DiskOptions { reserve: Some(larger_than_any_disk), ..options(*engine) };
            let mut store = DiskStore::open(directory.path(), options).expect("it opens");
            assert_eq!(store.read(b"k"), Ok(Some(stored(1, b"v"))));
            let refused = put(&mut store, b"more", None, stored(2, b"v"));
            assert_eq!(refused, Err(StoreError::NoRoom));
            let health = store.health().expect("health");
            assert!(health.refuses_writes);
            assert!(health.warnings.iter().any(|warning| warning.contains("refused")));
            // As when somebody made room.
            store.reserve = Reserve::new(directory.path(), 10_000);
            assert!(!store.health().expect("health").refuses_writes);
            put(&mut store, b"more", None, stored(2, b"v")).expect("a commit");
        }
    }

    #[test]
    fn what_an_interrupted_rewriting_left_is_removed_whichever_engine_made_it() {
        for engine in ENGINES {
            for other in ENGINES {
                let directory = tempfile::tempdir().expect("a directory");
                let mut store = open(directory.path(), *engine);
                let canary = b"canary-that-is-erased-later".repeat(20);
                put(&mut store, b"k", None, stored(1, &canary)).expect("a commit");
                let half = directory.path().join(other.data_name(2));
                let mut copy = other.open(&half).expect("a store");
                put(&mut *copy, b"k", None, stored(1, &canary)).expect("a commit");
                drop((store, copy));

                let mut store = open(directory.path(), *engine);

                assert!(!half.exists());
                assert_eq!(everything(&store, b"").len(), 1);
                let mut batch = StoreBatch::default();
                batch.write(b"k".to_vec(), Some(1), None);
                store.commit(&batch).expect("a removal");
                store.rewrite(*engine).expect("rewritten");
                assert_eq!(contract::files_with(directory.path(), b"canary-that"), 0);
            }
        }
    }
}
