//! A vault in memory whose writes a test can hold up and refuse.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::settings::{Place, Vault};
use super::store::{MemoryStore, OpenStore, StoreBatch, StoreError, StoreHealth};
use super::store::{Stored, VaultStore, Visit};

/// What a test does to the writes of a vault. Clones are the same script.
#[derive(Debug, Clone)]
pub(crate) struct Script(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    writes: Mutex<Writes>,
    released: Condvar,
    held: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct Writes {
    hold: bool,
    refuse: bool,
}

impl Script {
    /// A vault, and what is done to its writes: nothing, for now.
    pub(crate) fn new() -> (Vault, Self) {
        let script = Self(Arc::new(Inner {
            writes: Mutex::default(),
            released: Condvar::new(),
            held: watch::Sender::new(0),
        }));
        let (kept, of_store) = (MemoryStore::default(), script.clone());
        let open: OpenStore = Arc::new(move || {
            Ok(Box::new(Scripted { kept: kept.clone(), script: of_store.clone() }))
        });
        let place = Place::Other("scripted memory", open);
        (Vault { place, ..Vault::in_memory() }, script)
    }

    /// From now on writes wait, and everything that comes after them.
    pub(crate) fn hold(&self) {
        self.0.held.send_replace(0);
        self.writes().hold = true;
    }

    /// Resolves once a write waits.
    pub(crate) async fn until_held(&self) {
        // The sender is in `self`, so the channel is open for as long as this waits.
        let _ = self.0.held.subscribe().wait_for(|held| *held > 0).await;
    }

    /// Lets the writes that wait, and all later ones, through.
    pub(crate) fn release(&self) {
        self.writes().hold = false;
        self.0.released.notify_all();
    }

    /// Whether writes are refused from now on. The vault stays open.
    pub(crate) fn refuse(&self, refuse: bool) {
        self.writes().refuse = refuse;
    }

    fn pass(&self) -> Result<(), StoreError> {
        let mut writes = self.writes();
        if writes.hold {
            self.0.held.send_modify(|held| *held += 1);
        }
        while writes.hold {
            writes = self.0.released.wait(writes).unwrap_or_else(PoisonError::into_inner);
        }
        if writes.refuse { Err(StoreError::TooLarge) } else { Ok(()) }
    }

    fn writes(&self) -> MutexGuard<'_, Writes> {
        self.0.writes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct Scripted {
    kept: MemoryStore,
    script: Script,
}

impl VaultStore for Scripted {
    fn commit(&mut self, batch: &StoreBatch) -> Result<(), StoreError> {
        self.script.pass()?;
        self.kept.commit(batch)
    }

    fn read(&self, key: &[u8]) -> Result<Option<Stored>, StoreError> {
        self.kept.read(key)
    }

    fn version(&self, key: &[u8]) -> Result<Option<u64>, StoreError> {
        self.kept.version(key)
    }

    fn scan(&self, prefix: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        self.kept.scan(prefix, visit)
    }

    fn health(&self) -> Result<StoreHealth, StoreError> {
        self.kept.health()
    }
}
