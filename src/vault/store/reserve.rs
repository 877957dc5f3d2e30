//! Room on the disk that is held in reserve: an engine does not open on a full disk, so there has to
//! be something to give up when the disk is full.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// Room that is held by a file of nothing.
///
/// Once it was given up, it is taken back only when there is a quarter more room than it takes, so
/// that a disk that is just not full is not filled at once.
#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    bytes: u64,
    held: bool,
}

impl Reserve {
    /// A reserve of `bytes` in `directory`, not held yet. One of 0 bytes is always held.
    pub(super) fn new(directory: &Path, bytes: u64) -> Self {
        Self { path: directory.join("reserve"), bytes, held: false }
    }

    /// The reserve that stands in `directory`, whatever it is: as good as held, and not to be given up.
    pub(super) fn as_it_is(directory: &Path) -> Self {
        let path = directory.join("reserve");
        let bytes = fs::metadata(&path).map_or(0, |metadata| metadata.len());
        Self { path, bytes, held: true }
    }

    /// Whether it is held, after trying to take it.
    pub(super) fn hold(&mut self) -> bool {
        if !self.held {
            self.held = self.take().is_ok();
            if !self.held {
                self.give_up();
            }
        }
        self.held
    }

    /// The bytes that are held now.
    pub(super) fn held(&self) -> u64 {
        if self.held { self.bytes } else { 0 }
    }

    /// Gives the room up. Answers whether there was any.
    pub(super) fn give_up(&mut self) -> bool {
        self.held = false;
        fs::remove_file(&self.path).is_ok()
    }

    fn take(&self) -> io::Result<()> {
        let standing = fs::metadata(&self.path).map_or(0, |metadata| metadata.len());
        if standing == self.bytes {
            return Ok(());
        }
        if self.bytes == 0 {
            return fs::remove_file(&self.path);
        }
        let wanted = self.bytes + self.bytes / 4;
        let directory = self.path.parent().unwrap_or(Path::new("."));
        if room(directory).is_some_and(|room| room.free.saturating_add(standing) < wanted) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(&self.path)?;
        allocate(&file, wanted)?;
        file.set_len(self.bytes)
    }
}

/// The room on a disk, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub(super) free: u64,
    pub(super) total: u64,
}

/// The room on the disk that `path` is on, where the operating system tells.
#[cfg(unix)]
pub(super) fn room(path: &Path) -> Option<Room> {
    let of_disk = rustix::fs::statvfs(path).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(of_disk.f_frsize);
    Some(Room { free: bytes(of_disk.f_bavail), total: bytes(of_disk.f_blocks) })
}

/// The standard library does not tell, and the other ways need unsafe code.
#[cfg(not(unix))]
pub(super) fn room(_path: &Path) -> Option<Room> {
    None
}

/// Takes `bytes` of the disk for `file`, which is empty.
fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, bytes) {
        Err(rustix::io::Errno::OPNOTSUPP) => {}
        outcome => return Ok(outcome?),
    }
    fill(file, bytes)
}

/// Writes zeros: a file that was only lengthened may take no room.
fn fill(mut file: &File, bytes: u64) -> io::Result<()> {
    use std::io::Write as _;
    let zeros = vec![0; 1024 * 1024];
    let mut left = usize::try_from(bytes).map_err(|_| io::ErrorKind::StorageFull)?;
    while left > 0 {
        let next = left.min(zeros.len());
        file.write_all(&zeros[..next])?;
        left -= next;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_taken_given_up_and_taken_back() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut reserve = Reserve::new(directory.path(), 100_000);
        for _ in 0..2 {
            assert!(reserve.hold());
            let file = directory.path().join("reserve");
            assert_eq!(fs::metadata(&file).expect("a file").len(), 100_000);
            assert_eq!(reserve.held(), 100_000);
            assert!(reserve.give_up());
            assert_eq!(reserve.held(), 0);
            assert!(!file.exists());
        }
        assert!(!reserve.give_up(), "there is nothing left");
    }

    #[test]
    fn one_of_nothing_is_always_held_and_another_size_is_taken_anew() {
        let directory = tempfile::tempdir().expect("a directory");
        assert!(Reserve::new(directory.path(), 5_000).hold());
        assert!(Reserve::new(directory.path(), 70_000).hold());
        let file = directory.path().join("reserve");
        assert_eq!(fs::metadata(&file).expect("a file").len(), 70_000);
        assert!(Reserve::new(directory.path(), 0).hold());
        assert!(!file.exists());
    }

    #[test]
    fn more_than_the_disk_has_is_not_held_and_leaves_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut reserve = Reserve::new(directory.path(), u64::MAX / 2);
        assert!(!reserve.hold());
        assert!(!directory.path().join("reserve").exists());
    }

    #[test]
    fn filling_takes_the_bytes_one_by_one() {
        let file = tempfile::tempfile().expect("a file");
        fill(&file, 2_500_000).expect("written");
        assert_eq!(file.metadata().expect("metadata").len(), 2_500_000);
    }
}
