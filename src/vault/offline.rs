//! What is done with a vault while no runtime has it open, and copies that are made of it: moving it to
//! another engine, backing it up, restoring it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::VaultError;
use super::opened::OpenVault;
use super::settings::{Place, Vault};
use super::store::steps::{self, done};
use super::store::{DiskOptions, DiskStore, Engine};
use super::store::{beside, check_free, copy, copy_all, remove, sync_entries};
use crate::clock::Sources;

impl Vault {
    /// Moves the vault in its directory to another engine, and gives the settings that open it
    /// from then on. Every item is copied, read again and compared before the old data is removed;
    /// if anything fails before, the vault stays as it was.
    ///
    /// The master key is not needed: what is sealed stays sealed as it is. A vault in memory, and
    /// one that the engine keeps already, need no move.
    ///
    /// # Errors
    ///
    /// [`VaultError::is_in_use`] while a runtime has it open, [`VaultError::is_absent`] when there
    /// is none, [`VaultError::is_full`] when there is no room for both.
    pub async fn move_to(self, engine: Engine) -> Result<Self, VaultError> {
        blocking(move || {
            if let Place::Directory(path) = &self.place
                && self.engine != engine
            {
                let options =
                    DiskOptions { engine: self.engine, create: false, reserve: self.reserve };
                DiskStore::open(path, options)?.rewrite(engine)?;
            }
            Ok(self.engine(engine))
        })
        .await
    }

    /// Makes this vault from the backup in the directory `from`, which stays as it is. The copy is
    /// opened with the master key before it is put in place.
    ///
    /// A backup is the past: a refresh token that rotated since is spent, and its user has to sign
    /// in again.
    ///
    /// # Errors
    ///
    /// [`VaultError::is_occupied`] when there is something where the vault is to be,
    /// [`VaultError::is_absent`] when there is no vault in `from`, [`VaultError::is_in_use`] when
    /// there is one that somebody has open, and whatever keeps the copy from being opened.
    pub async fn restore(&self, from: impl Into<PathBuf>) -> Result<(), VaultError> {
        let (vault, from) = (self.clone(), from.into());
        blocking(move || {
            if !DiskStore::exists(&from)? {
                return Err(VaultError::absent(format!(
                    "there is no vault in {}, correct the path of the backup",
                    from.display()
                )));
            }
            let Place::Directory(path) = &vault.place else {
                return Err(VaultError::invalid("a backup is restored into a directory"));
            };
            // Files that are being written make no copy that holds together.
            check_free(&from)?;
            let aside = beside(path, ".new");
            in_place(path, &aside, || {
                copy_all(&from, &aside)?;
                let place = Place::Directory(aside.clone());
                let copied = Self { place, create_if_missing: false, ..vault.clone() };
                OpenVault::open(&copied, Sources::system(), Arc::new(|_| {})).map(drop)
            })
        })
        .await
    }
}

impl OpenVault {
    /// Copies the vault into the directory `to`.
    pub(super) fn back_up(&self, to: &Path) -> Result<(), VaultError> {
        in_place(to, &beside(to, ".new"), || {
            let options = DiskOptions { engine: self.settings.engine, create: true, reserve: 0 };
            Ok(copy(&*self.store, &mut DiskStore::open(&beside(to, ".new"), options)?)?)
        })
    }
}

/// Lets `build` make a new vault beside the place of `vault`, and moves it there when it is whole. A
/// vault in memory is made where it is.
pub(super) fn build_beside<T>(
    vault: &Vault,
    build: impl FnOnce(&Vault) -> Result<T, VaultError>,
) -> Result<T, VaultError> {
    let Place::Directory(path) = &vault.place else { return build(vault) };
    let aside = beside(path, ".new");
    let place = Place::Directory(aside.clone());
    in_place(path, &aside, || build(&Vault { place, ..vault.clone() }))
}

/// Lets `build` make a directory at `aside`, and moves it to `path`, where there must be nothing.
fn in_place<T>(
    path: &Path,
    aside: &Path,
    build: impl FnOnce() -> Result<T, VaultError>,
) -> Result<T, VaultError> {
    if !is_free(path)? {
        return Err(VaultError::occupied(path));
    }
    // What an attempt that was cut off left behind.
    remove(aside)?;
    let in_place = build().and_then(|built| {
        // Windows does not rename over a directory, not even an empty one.
        if path.exists() {
            fs::remove_dir(path)?;
        }
        fs::rename(aside, path)?;
        done(steps::RENAMED, path);
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        sync_entries(parent.unwrap_or(Path::new(".")))?;
        Ok(built)
    });
    in_place.inspect_err(|_| {
        if let Err(error) = remove(aside) {
            tracing::warn!(%error, path = %aside.display(), "an unfinished copy was not removed");
        }
    })
}

/// Whether there is nothing at `path`, or an empty directory.
fn is_free(path: &Path) -> io::Result<bool> {
    match fs::read_dir(path) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(false),
        Err(error) => Err(error),
    }
}

/// Runs what waits for the disk off the async threads. What it logs goes where its caller's goes.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, VaultError> + Send + 'static,
) -> Result<T, VaultError> {
    let log = tracing::dispatcher::get_default(Clone::clone);
    let work = move || tracing::dispatcher::with_default(&log, work);
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| {
        Err(VaultError::unavailable("work on the vault ended unexpectedly, try again"))
    })
}
