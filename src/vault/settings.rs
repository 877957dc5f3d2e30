//! What a vault is to be opened with.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::VaultError;
use super::inspection::Inspection;
use super::keys::{DataKeyPolicy, KNOWN_KEY, MasterKey};
use super::opened::OpenVault;
use super::store::{DiskOptions, DiskStore, Engine, MemoryStore, OpenStore};
use crate::clock::Sources;

/// The bytes that a vault holds in reserve unless it is told otherwise.
pub(crate) const RESERVE: u64 = 64 * 1024 * 1024;

/// Where a vault is, and what opens it.
///
/// ```
/// use tokenward::vault::{MasterKey, Vault};
///
/// let vault = Vault::open("agent.vault")
///     .master_key(MasterKey::from_env("CREDENTIAL_ENCRYPTION_KEY"));
/// ```
#[derive(Clone)]
pub struct Vault {
    pub(crate) place: Place,
    pub(crate) master_key: Option<MasterKey>,
    pub(crate) create_if_missing: bool,
    pub(crate) engine: Engine,
    /// In bytes.
    pub(crate) reserve: u64,
    pub(crate) data_keys: DataKeyPolicy,
}

/// Where a vault's bytes are.
#[derive(Clone)]
pub(crate) enum Place {
    Directory(PathBuf),
    /// Something else, in words, and how it is opened.
    Other(&'static str, OpenStore),
}

impl Vault {
    /// The vault in the directory at `path`. It is created if there is none, unless
    /// [`Vault::create_if_missing`] says otherwise.
    pub fn open(path: impl AsRef<Path>) -> Self {
        Self {
            place: Place::Directory(path.as_ref().to_owned()),
            master_key: None,
            create_if_missing: true,
            engine: Engine::default(),
            reserve: RESERVE,
            data_keys: DataKeyPolicy::default(),
        }
    }

    /// A vault in memory, for tests and for hosts that keep nothing. Unless it is given a
    /// [`Vault::master_key`], it is sealed with a key that everybody knows, and no copy of it is made.
    /// Clones of this value open the same memory one after the other, as paths do with a disk.
    pub fn in_memory() -> Self {
        let store = MemoryStore::default();
        let open: OpenStore = Arc::new(move || Ok(Box::new(store.clone())));
        Self {
            place: Place::Other("memory", open),
            master_key: Some(MasterKey::from_bytes(KNOWN_KEY)),
            ..Self::open("")
        }
    }

    /// The key that opens everything in it.
    #[must_use]
    pub fn master_key(mut self, key: MasterKey) -> Self {
        self.master_key = Some(key);
        self
    }

    /// Whether a vault that is missing is created. Default: yes.
    #[must_use]
    pub fn create_if_missing(mut self, create: bool) -> Self {
        self.create_if_missing = create;
        self
    }

    /// The engine that keeps the vault's files. Default: sled. Opening a vault that another engine
    /// keeps fails ([`VaultError::is_other_engine`](super::VaultError::is_other_engine)).
    #[must_use]
    pub fn engine(mut self, engine: Engine) -> Self {
        self.engine = engine;
        self
    }

    /// How many bytes of the disk are held in reserve, by a file beside the data. Default: 64 MiB.
    ///
    /// On a full disk no engine opens. So the reserve is given up then: what is stored can be read
    /// again, and writes are refused until there is room to take the reserve back, a quarter more
    /// than it takes. Without one (0), a vault on a full disk can not be opened.
    #[must_use]
    pub fn reserve(mut self, bytes: u64) -> Self {
        self.reserve = bytes;
        self
    }

    /// When data keys are rotated without being asked. Default: [`DataKeyPolicy::default`].
    #[must_use]
    pub fn data_keys(mut self, policy: DataKeyPolicy) -> Self {
        self.data_keys = policy;
        self
    }

    /// Looks at the vault without a runtime: opens it, never creates it, and closes it again. Nothing
    /// in it is changed: what the next start would finish or upgrade is shown as it is.
    ///
    /// # Errors
    ///
    /// As for the start of a runtime with it, one that is open elsewhere included.
    pub async fn inspect(&self) -> Result<Inspection, VaultError> {
        let vault = self.clone();
        let look = move || OpenVault::look(&vault, Sources::system())?.inspect();
        tokio::task::spawn_blocking(look).await.unwrap_or_else(|_| {
            Err(VaultError::damaged("the vault does not open, restore a backup"))
        })
    }

    /// Where it is, in words.
    pub(crate) fn describe(&self) -> String {
        match &self.place {
            Place::Directory(path) => format!("{} at {}", self.engine, path.display()),
            Place::Other(words, _) => (*words).to_owned(),
        }
    }

    /// The name of the engine that keeps it, if one does.
    pub(crate) fn kept_by(&self) -> Option<&'static str> {
        match &self.place {
            Place::Directory(_) => Some(self.engine.as_str()),
            Place::Other(..) => None,
        }
    }

    /// What opens its store.
    pub(crate) fn store(&self) -> OpenStore {
        self.store_with(DiskOptions {
            engine: self.engine,
            create: self.create_if_missing,
            reserve: Some(self.reserve),
        })
    }

    /// What opens its store to be looked at.
    pub(crate) fn store_as_it_is(&self) -> OpenStore {
        self.store_with(DiskOptions { engine: self.engine, create: false, reserve: None })
    }

    fn store_with(&self, options: DiskOptions) -> OpenStore {
        match &self.place {
            Place::Directory(path) => {
                let path = path.clone();
                Arc::new(move || Ok(Box::new(DiskStore::open(&path, options)?)))
            }
            Place::Other(_, open) => open.clone(),
        }
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault")
            .field("place", &self.describe())
            .field("master_key", &self.master_key)
            .field("create_if_missing", &self.create_if_missing)
            .field("engine", &self.engine)
            .field("reserve", &self.reserve)
            .field("data_keys", &self.data_keys)
            .finish()
    }
}
