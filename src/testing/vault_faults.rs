//! A vault whose store fails on command: a disk that is full, read-only, slow, gone, broken, or gives back
//! other bytes than it was given.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::vault::Vault;
use crate::vault::settings::Place;
use crate::vault::store::{
    OpenStore, Scanned, StoreBatch, StoreError, StoreHealth, Stored, VaultStore, Visit,
};

/// What is wrong with a vault's store.
///
/// ```
/// use tokenward::testing::{VaultFault, VaultFaults};
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let anthropic = SimulatedProvider::anthropic().start().await?;
/// let (vault, faults) = VaultFaults::over(Vault::in_memory());
/// # let runtime = Runtime::builder().vault(vault).provider(anthropic.spec()).start().await?;
/// # let key = anthropic.issue_api_key();
/// faults.set(VaultFault::NoRoom);
/// let sign_in = runtime.user("ada").sign_in("anthropic");
/// let error = sign_in.with_api_key(key).await.expect_err("it can not be kept");
/// assert!(error.is_transient());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum VaultFault {
    /// The disk fills up: the next write fails and closes the store. It opens again and can be
    /// read, and refuses writes.
    Full,
    /// Writes are refused, and nothing else happens: the disk is full, and was before.
    NoRoom,
    /// The disk became read-only: a write fails, and the store does not open.
    ReadOnly,
    /// Every call fails, the opening too.
    Broken,
    /// The directory is not there any more: every call fails, and there is none to open.
    Vanished,
    /// A write takes effect, and is answered by a failure.
    LostAnswer,
}

/// What is done to the store of one vault. Clones are the same script.
///
/// ```
/// use tokenward::Vault;
/// use tokenward::testing::{VaultFault, VaultFaults};
///
/// let (vault, faults) = VaultFaults::over(Vault::in_memory());
/// // … `vault` is given to a runtime, and later:
/// faults.set(VaultFault::Full);
/// faults.heal();
/// ```
#[derive(Clone)]
pub struct VaultFaults(Arc<Inner>);

struct Inner {
    script: Mutex<Script>,
    released: Condvar,
    held: watch::Sender<usize>,
}

#[derive(Default)]
struct Script {
    /// What is wrong from now on.
    fault: Option<VaultFault>,
    /// What is wrong with single calls, by their numbers.
    calls: BTreeMap<u64, VaultFault>,
    /// Calls so far.
    count: u64,
    hold: bool,
    /// Whether the next value that is read is damaged from then on.
    damages_next: bool,
    /// The keys whose values are damaged.
    damaged: BTreeSet<Vec<u8>>,
}

/// What the vault asked of its store.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Call {
    Open,
    Commit,
    Read,
}

impl VaultFaults {
    /// The same vault over a store that fails on command, and what commands it. Nothing fails yet.
    pub fn over(vault: Vault) -> (Vault, Self) {
        let faults = Self(Arc::new(Inner {
            script: Mutex::default(),
            released: Condvar::new(),
            held: watch::Sender::new(0),
        }));
        (faults.again_over(vault), faults)
    }

    /// The same vault over the same store with its faults, for a host that is started again. What was
    /// damaged is damaged still.
    #[must_use]
    pub fn again_over(&self, vault: Vault) -> Vault {
        let (inner, of_store) = (vault.clone(), self.clone());
        let opened = AtomicBool::new(false);
        let open: OpenStore = Arc::new(move || {
            match of_store.call(Call::Open) {
                None | Some(VaultFault::Full | VaultFault::NoRoom | VaultFault::LostAnswer) => {}
                Some(VaultFault::Vanished) => return Err(absent()),
                Some(fault) => return Err(failure(fault)),
            }
            // As the vault itself does: what is missing is created at the first opening only.
            let create = inner.create_if_missing && !opened.load(Ordering::SeqCst);
            let kept = inner.clone().create_if_missing(create).store()()?;
            opened.store(true, Ordering::SeqCst);
            Ok(Box::new(FaultyStore { kept, faults: of_store.clone(), failed: false }))
        });
        Vault { place: Place::Other("a store with faults", open), ..vault }
    }

    /// From now on `fault` is wrong with the store.
    pub fn set(&self, fault: VaultFault) {
        self.script().fault = Some(fault);
    }

    /// Lets the call after the next `calls` ones fail, and only that one. Openings, reads and
    /// writes of the store are calls.
    pub fn after(&self, calls: u64, fault: VaultFault) {
        let mut script = self.script();
        let number = script.count + calls + 1;
        script.calls.insert(number, fault);
    }

    /// Damages the record that is read next: from then on the disk gives back other bytes than it was
    /// given, until the record is written anew.
    ///
    /// ```
    /// use tokenward::testing::{SimulatedProvider, VaultFaults};
    /// use tokenward::vault::{Batch, Expect, RecordKey, RecordKind, Tags};
    /// use tokenward::{Runtime, UserId, Vault};
    /// use zeroize::Zeroizing;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let orange = SimulatedProvider::orange().start().await?;
    /// let (vault, faults) = VaultFaults::over(Vault::in_memory());
    /// let runtime = Runtime::builder().vault(vault).provider(orange.spec()).start().await?;
    /// let key = RecordKey::new(RecordKind::Probe, UserId::new("ada")?, "counter");
    /// let text = Zeroizing::new(b"1".to_vec());
    /// let put = Batch::new().put(key.clone(), text, Expect::Absent, Tags::default());
    /// runtime.vault().commit(put).await?;
    ///
    /// faults.damage_next_read();
    /// let error = runtime.vault().read(&key).await.expect_err("it does not open");
    /// assert!(error.is_quarantined());
    /// # Ok(())
    /// # }
    /// ```
    pub fn damage_next_read(&self) {
        self.script().damages_next = true;
    }

    /// Nothing is wrong any more. Writes that wait are let through, and what was damaged is whole.
    pub fn heal(&self) {
        let mut script = self.script();
        script.fault = None;
        script.calls.clear();
        script.hold = false;
        script.damages_next = false;
        script.damaged.clear();
        self.0.released.notify_all();
    }

    /// From now on writes wait, and with them everything that comes after them.
    pub fn hold(&self) {
        self.0.held.send_replace(0);
        self.script().hold = true;
    }

    /// Resolves once a write waits.
    pub async fn until_held(&self) {
        // The sender is in `self`, so the channel is open for as long as this waits.
        let _ = self.0.held.subscribe().wait_for(|held| *held > 0).await;
    }

    /// Lets the writes that wait, and all later ones, through.
    pub fn release(&self) {
        self.script().hold = false;
        self.0.released.notify_all();
    }

    /// How many calls the store had so far.
    pub fn calls(&self) -> u64 {
        self.script().count
    }

    /// Counts a call, and says what is wrong with it.
    fn call(&self, call: Call) -> Option<VaultFault> {
        let mut script = self.script();
        if call == Call::Commit && script.hold {
            self.0.held.send_modify(|held| *held += 1);
            while script.hold {
                script = self.0.released.wait(script).unwrap_or_else(PoisonError::into_inner);
            }
        }
        script.count += 1;
        let count = script.count;
        script.calls.remove(&count).or(script.fault)
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        // Whoever panicked left a script that is whole: it is plain values.
        self.0.script.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for VaultFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let script = self.script();
        f.debug_struct("VaultFaults")
            .field("fault", &script.fault)
            .field("calls", &script.count)
            .finish_non_exhaustive()
    }
}

impl Script {
    /// What the disk gives back of a value that is kept under `key`.
    fn given_back(&self, key: &[u8], mut stored: Stored) -> Stored {
        if self.damaged.contains(key)
            && let Some(byte) = stored.value.last_mut()
        {
            *byte ^= 1;
        }
        stored
    }
}

/// A store that fails as its script says.
#[derive(Debug)]
struct FaultyStore {
    kept: Box<dyn VaultStore>,
    faults: VaultFaults,
    /// Whether a write failed since it was opened.
    failed: bool,
}

impl FaultyStore {
    /// Writes `batch`, and with that whole values in the place of damaged ones.
    fn write(&mut self, batch: &StoreBatch) -> Result<(), StoreError> {
        self.kept.commit(batch)?;
        let mut script = self.faults.script();
        for write in &batch.writes {
            script.damaged.remove(&write.key);
        }
        Ok(())
    }

    fn before_read(&self) -> Result<(), StoreError> {
        match self.faults.call(Call::Read) {
            Some(fault @ (VaultFault::Broken | VaultFault::Vanished)) => Err(failure(fault)),
            _ => Ok(()),
        }
    }
}

impl VaultStore for FaultyStore {
    fn commit(&mut self, batch: &StoreBatch) -> Result<(), StoreError> {
        if self.failed {
            return Err(StoreError::Poisoned("an earlier write failed".to_owned()));
        }
        let fault = self.faults.call(Call::Commit);
        let outcome = match fault {
            None => return self.write(batch),
            Some(VaultFault::NoRoom) => return Err(StoreError::NoRoom),
            Some(VaultFault::Full) => {
                let mut script = self.faults.script();
                if script.fault == Some(VaultFault::Full) {
                    script.fault = Some(VaultFault::NoRoom);
                }
                Err(StoreError::Full)
            }
            Some(fault @ VaultFault::LostAnswer) => {
                self.write(batch)?;
                Err(failure(fault))
            }
            Some(fault) => Err(failure(fault)),
        };
        self.failed = true;
        outcome
    }

    fn read(&self, key: &[u8]) -> Result<Option<Stored>, StoreError> {
        self.before_read()?;
        let stored = self.kept.read(key)?;
        let mut script = self.faults.script();
        if stored.is_some() && std::mem::take(&mut script.damages_next) {
            script.damaged.insert(key.to_vec());
        }
        Ok(stored.map(|stored| script.given_back(key, stored)))
    }

    fn version(&self, key: &[u8]) -> Result<Option<u64>, StoreError> {
        self.before_read()?;
        self.kept.version(key)
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        visit: &mut Visit<'_>,
    ) -> Result<(), StoreError> {
        self.before_read()?;
        self.kept.scan(prefix, after, &mut |key, Scanned { stored, damage }| {
            let stored = self.faults.script().given_back(key, stored);
            visit(key, Scanned { stored, damage })
        })
    }

    fn compact_some(&mut self) -> Result<bool, StoreError> {
        match self.faults.call(Call::Commit) {
            None => self.kept.compact_some(),
            Some(VaultFault::NoRoom | VaultFault::Full) => Err(StoreError::NoRoom),
            Some(fault) => Err(failure(fault)),
        }
    }

    fn health(&mut self) -> Result<StoreHealth, StoreError> {
        self.before_read()?;
        let mut health = self.kept.health()?;
        if self.faults.script().fault == Some(VaultFault::NoRoom) {
            health.refuses_writes = true;
            health.warnings.push(StoreError::NoRoom.to_string());
        }
        Ok(health)
    }
}

fn failure(fault: VaultFault) -> StoreError {
    StoreError::Io(match fault {
        VaultFault::ReadOnly => "read-only file system".to_owned(),
        VaultFault::Vanished => "the directory is gone".to_owned(),
        VaultFault::LostAnswer => "the answer to a write was lost".to_owned(),
        VaultFault::Full | VaultFault::NoRoom | VaultFault::Broken => {
            "the disk is unwell".to_owned()
        }
    })
}

fn absent() -> StoreError {
    StoreError::Absent("a place that vanished".to_owned())
}
