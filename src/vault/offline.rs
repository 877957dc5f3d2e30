//! What is done with a vault while no runtime has it open: moving it to another engine.

use super::error::VaultError;
use super::settings::{Place, Vault};
use super::store::{DiskOptions, DiskStore, Engine};

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
}

/// Runs what waits for the disk off the async threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, VaultError> + Send + 'static,
) -> Result<T, VaultError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| {
        Err(VaultError::unavailable("work on the vault ended unexpectedly, try again"))
    })
}
