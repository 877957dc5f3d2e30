//! The directory that a store on disk lives in: made private, locked against a second opener, and
//! synced where entries must survive a power cut.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::StoreError;
use super::steps::{self, done};

/// The file whose lock says whose the directory is.
const LOCK: &str = "lock";

/// How often it is tried to take a directory.
const TRIES: usize = 50;

/// What the name of a file ends with as long as it is being made.
pub(super) const UNFINISHED: &str = ".new";

/// A directory that is ours alone for as long as this value lives.
#[derive(Debug)]
pub(crate) struct LockedDirectory {
    path: PathBuf,
    /// Held for its lock, which the operating system lifts when the process ends in any way.
    _lock: File,
}

impl LockedDirectory {
    /// Takes the directory at `path`, which is created if it is not there.
    pub(crate) fn take(path: &Path) -> Result<Self, StoreError> {
        let file = path.join(LOCK);
        for _ in 0..TRIES {
            let mut options = OpenOptions::new();
            options.create(true).truncate(false).write(true).read(true);
            let lock = match create_private(path).and_then(|()| options.open(&file)) {
                // Whoever had the directory has just removed it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                lock => lock?,
            };
            try_lock(&lock, path)?;
            if stands_at(&lock, &file)? {
                return Ok(Self { path: path.to_owned(), _lock: lock });
            }
        }
        Err(StoreError::Locked(path.display().to_string()))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes everything in it but its lock.
    pub(crate) fn clear(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_name() != LOCK {
                remove(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Makes the entries of the directory, and its own entry in its parent, durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        sync_entries(&self.path)?;
        match self.path.canonicalize()?.parent() {
            Some(parent) => sync_entries(parent),
            None => Ok(()),
        }
    }
}

/// Checks that neither `path` nor anything above it is something else than a directory: no error of the
/// operating system would name it.
pub(super) fn check_no_file(path: &Path) -> Result<(), StoreError> {
    let is_file = |path: &&Path| fs::metadata(path).is_ok_and(|it| !it.is_dir());
    match path.ancestors().find(is_file) {
        Some(file) => Err(StoreError::NoDirectory(file.display().to_string())),
        None => Ok(()),
    }
}

/// A directory that nobody has open, and nobody can open for as long as this value lives. It is not
/// changed.
#[derive(Debug)]
pub(crate) struct Untouched(#[allow(dead_code, reason = "held for its lock")] Option<File>);

/// Checks that nobody has the directory at `path` open, and keeps everybody from opening it.
pub(crate) fn keep_free(path: &Path) -> Result<Untouched, StoreError> {
    let lock = match File::open(path.join(LOCK)) {
        Ok(lock) => lock,
        // Nobody ever opened it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Untouched(None)),
        Err(error) => return Err(error.into()),
    };
    try_lock(&lock, path)?;
    Ok(Untouched(Some(lock)))
}

/// Locks the file `lock` of the directory at `path`.
///
/// A process that this one starts has its open files until it has become another program, and so holds
/// locks for a moment that were lifted here. So one that somebody has is tried for half a second.
fn try_lock(lock: &File, path: &Path) -> Result<(), StoreError> {
    for _ in 0..TRIES {
        match lock.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => std::thread::park_timeout(Duration::from_millis(10)),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
    }
    Err(StoreError::Locked(path.display().to_string()))
}

/// Whether `lock` is the file that stands at `path`: whoever had it before may have removed it with its
/// directory, and the lock of what is not there keeps nobody out.
#[cfg(unix)]
fn stands_at(lock: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    let same = |one: fs::Metadata, other: fs::Metadata| {
        (one.dev(), one.ino()) == (other.dev(), other.ino())
    };
    match fs::symlink_metadata(path) {
        Ok(standing) => Ok(same(lock.metadata()?, standing)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Elsewhere files have no number that the standard library tells.
#[cfg(not(unix))]
fn stands_at(_lock: &File, path: &Path) -> io::Result<bool> {
    path.try_exists()
}

/// Copies the directory at `from`, which nobody has open and nobody can open meanwhile, to `to`, durably:
/// files that are being written make no copy that holds together.
pub(crate) fn copy_whole(from: &Path, to: &Path) -> Result<(), StoreError> {
    let _unwritten = keep_free(from)?;
    Ok(copy_all(from, to)?)
}

/// Creates a directory, and those above it, that only its owner can enter. The entries of those that
/// were not there are durable then.
pub(crate) fn create_private(path: &Path) -> io::Result<()> {
    let is_missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
    let missing: Vec<&Path> = path.ancestors().take_while(is_missing).collect();
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    builder.create(path)?;
    missing.iter().try_for_each(|made| match made.canonicalize()?.parent() {
        Some(parent) => sync_entries(parent),
        None => Ok(()),
    })
}

/// Makes the entries of a directory durable.
#[cfg(unix)]
pub(crate) fn sync_entries(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()?;
    done(steps::ENTRIES_SYNCED, path);
    Ok(())
}

/// Windows can not open a directory as a file; NTFS journals its entries.
#[cfg(not(unix))]
#[allow(clippy::unnecessary_wraps, reason = "the other systems can fail here")]
pub(crate) fn sync_entries(_path: &Path) -> io::Result<()> {
    Ok(())
}

/// The path beside `path` whose name goes on with `suffix`.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}

/// Removes a file, or a directory with all that is in it, that may not be there.
///
/// sled's threads can still be writing when a closed store is removed, and they give no notice when
/// they end; so a directory that fills again is removed again.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    const TRIES: usize = 500;
    let mut outcome = Ok(());
    for tried in 0..TRIES {
        outcome = match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if tried > 0 {
                    done(steps::REMOVED, path);
                }
                return Ok(());
            }
            Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
            Ok(_) => fs::remove_file(path),
            Err(error) => Err(error),
        };
        if outcome.is_err() {
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }
    outcome
}

/// Moves a directory to `to`, where there is nothing. On Windows nothing is moved while a file in it is
/// open, and sled's threads let go of theirs without notice, so that is waited for.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    let mut tries_left = if cfg!(windows) { 500 } else { 0 };
    loop {
        match fs::rename(from, to) {
            Err(error) if tries_left > 0 && error.kind() == io::ErrorKind::PermissionDenied => {
                tries_left -= 1;
                std::thread::park_timeout(Duration::from_millis(10));
            }
            outcome => {
                outcome?;
                done(steps::RENAMED, to);
                return Ok(());
            }
        }
    }
}

/// Replaces the content of a file durably: all of it, or not at all.
pub(super) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let aside = beside(path, UNFINISHED);
    let mut file = File::create(&aside)?;
    file.write_all(content)?;
    done(steps::WRITTEN, &aside);
    file.sync_all()?;
    done(steps::SYNCED, &aside);
    fs::rename(&aside, path)?;
    done(steps::RENAMED, path);
    path.parent().map_or(Ok(()), sync_entries)
}

/// Copies the files of `from` and of the directories in it to `to`, durably. The lock is not copied: it
/// is of no use to the copy, and Windows lets nobody read it while it is held.
pub(super) fn copy_all(from: &Path, to: &Path) -> io::Result<()> {
    create_private(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_name() == LOCK {
            continue;
        }
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_all(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
            done(steps::WRITTEN, &target);
            OpenOptions::new().write(true).open(&target)?.sync_all()?;
            done(steps::SYNCED, &target);
        }
    }
    sync_entries(to)
}

#[cfg(all(test, unix))]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_that_is_being_started_keeps_nobody_from_the_lock() {
        let directory = tempfile::tempdir().expect("a directory");
        let starting = std::thread::spawn(|| {
            for _ in 0..200 {
                assert!(Command::new("true").status().expect("it starts").success());
            }
        });
        let mut taken = 0;
        while !starting.is_finished() {
            drop(LockedDirectory::take(directory.path()).expect("nobody has it"));
            taken += 1;
        }
        starting.join().expect("no panic");
        assert!(taken > 0);
    }
}
