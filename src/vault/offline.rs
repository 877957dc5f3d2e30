//! What is done with a vault while no runtime has it open, and copies that are made of it: moving it to
//! another engine, backing it up, restoring it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::VaultError;
use super::keys::is_open_to_everybody;
use super::names::BlindName;
use super::opened::OpenVault;
use super::settings::{Place, Vault};
use super::store::{
    DiskOptions, DiskStore, Engine, LockedDirectory, Mirror, StoreBatch, StoreError,
};
use super::store::{beside, copy_whole, remove, rename, sync_entries};
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
                    DiskOptions { engine: self.engine, create: false, reserve: Some(self.reserve) };
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
    /// there is one that somebody has open, or a vault is just being put in the same place, and
    /// whatever keeps the copy from being opened.
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
            if is_within(&from, &beside(path, UNFINISHED))? {
                return Err(VaultError::invalid("a copy that was never finished is no backup"));
            }
            if is_within(path, &from)? {
                return Err(VaultError::invalid(
                    "the vault would stand within its own backup, restore it to a place outside",
                ));
            }
            let aside = Aside::beside(path)?;
            copy_whole(&from, &aside.path)?;
            let place = Place::Directory(aside.path.clone());
            let copied = Self { place, create_if_missing: false, ..vault.clone() };
            drop(OpenVault::open(&copied, Sources::system(), Arc::new(|_| {}))?);
            aside.put_in_place()
        })
        .await
    }
}

/// A backup under way. It shows the vault as it is at its end: what is committed meanwhile is in it.
#[derive(Debug)]
pub(super) struct Backup {
    // Dropped in this order, since what is open can not be removed everywhere.
    mirror: Mirror,
    aside: Aside,
}

impl Backup {
    /// Does with the copy what was just committed.
    pub(super) fn follow(&mut self, batch: &StoreBatch) {
        self.mirror.follow(batch);
    }
}

impl OpenVault {
    /// Begins a copy of the vault that is to stand in the directory `to`.
    pub(super) fn begin_backup(&mut self, to: &Path) -> Result<(), VaultError> {
        if is_open_to_everybody(&*self.store)? {
            return Err(VaultError::unusable_key(
                "this vault in memory is sealed with a key that everybody knows, so no copy of it \
                 is made: give it a master key, or let it hang on another one",
            ));
        }
        let aside = Aside::beside(to)?;
        let (path, engine) = (aside.path.clone(), self.settings.engine);
        let options = DiskOptions { engine, create: true, reserve: Some(0) };
        let mirror =
            Mirror::begin(Arc::new(move || Ok(Box::new(DiskStore::open(&path, options)?))))?;
        self.backup = Some(Backup { mirror, aside });
        Ok(())
    }

    /// Gives a copy up that is under way.
    pub(super) fn give_up_backup(&mut self) {
        self.backup = None;
    }

    /// Copies or compares a page, and says whether the backup is in its place.
    pub(super) fn continue_backup(&mut self) -> Result<bool, VaultError> {
        let Some(mut backup) = self.backup.take() else { return Err(interrupted()) };
        if !backup.mirror.step(&*self.store)? {
            self.backup = Some(backup);
            return Ok(false);
        }
        let Backup { mirror, aside } = backup;
        for name in mirror.damaged().iter().filter_map(|key| BlindName::of_stored(key)) {
            if let Some(slot) = self.index.get(&name)
                && !self.quarantine.contains_key(&name)
            {
                let key = slot.entry.key.clone();
                self.set_quarantined(name, Some(&key), "a part of it is damaged".to_owned());
            }
        }
        drop(mirror);
        aside.put_in_place()?;
        Ok(true)
    }
}

/// Lets `build` make a new vault beside the place of `vault`, and moves it there when it is whole. A
/// vault in memory is made where it is.
pub(super) fn build_beside<T>(
    vault: &Vault,
    build: impl FnOnce(&Vault) -> Result<T, VaultError>,
) -> Result<T, VaultError> {
    let Place::Directory(path) = &vault.place else { return build(vault) };
    let aside = Aside::beside(path)?;
    let place = Place::Directory(aside.path.clone());
    let done = build(&Vault { place, ..vault.clone() })?;
    aside.put_in_place()?;
    Ok(done)
}

/// What the name of a directory in the making ends with. What else could be called that is none of
/// ours to remove.
const UNFINISHED: &str = ".tokenward-unfinished";

/// A directory in the making: in a workshop beside its place, which is ours alone until it is put there
/// or given up. The workshop is removed in either case.
#[derive(Debug)]
struct Aside {
    path: PathBuf,
    place: PathBuf,
    workshop: LockedDirectory,
}

impl Aside {
    /// A directory beside `place`, where there must be nothing. It is not there yet.
    fn beside(place: &Path) -> Result<Self, VaultError> {
        let occupied = || VaultError::occupied(place);
        if !is_free(place)? {
            return Err(occupied());
        }
        let workshop = LockedDirectory::take(&beside(place, UNFINISHED)).map_err(|error| {
            let taken = || StoreError::Locked(place.display().to_string());
            if matches!(error, StoreError::Locked(_)) { taken() } else { error }
        })?;
        let aside = Self { path: workshop.path().join("vault"), place: place.to_owned(), workshop };
        // Whoever had the workshop before may have put something there just now.
        if !is_free(place)? {
            return Err(occupied());
        }
        // What an attempt that was cut off left behind.
        aside.workshop.clear()?;
        Ok(aside)
    }

    fn put_in_place(self) -> Result<(), VaultError> {
        // Windows does not rename over a directory, not even an empty one.
        if self.place.exists() {
            fs::remove_dir(&self.place)?;
        }
        rename(&self.path, &self.place)?;
        let parent = self.place.parent().filter(|parent| !parent.as_os_str().is_empty());
        Ok(sync_entries(parent.unwrap_or(Path::new(".")))?)
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        let path = self.workshop.path();
        if let Err(error) = remove(path) {
            tracing::warn!(%error, path = %path.display(), "an unfinished copy was not removed");
        }
    }
}

/// Why what was under way is not any more.
pub(super) fn interrupted() -> VaultError {
    VaultError::unavailable("the vault was closed by a failure meanwhile, begin again")
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

/// Whether `path`, which need not be there, is `folder` or within it, whatever they are called.
fn is_within(path: &Path, folder: &Path) -> io::Result<bool> {
    let folder = match folder.canonicalize() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        folder => folder?,
    };
    let whole = std::path::absolute(path)?;
    let standing = whole.ancestors().find_map(|above| above.canonicalize().ok());
    Ok(standing.is_some_and(|standing| standing.starts_with(folder)))
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
