//! What a vault is to be opened with.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::master::MasterKey;
use super::store::{MemoryStore, OpenStore, SledStore};

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
        let place = Place::Directory(path.as_ref().to_owned());
        Self { place, master_key: None, create_if_missing: true }
    }

    /// A vault in memory, for tests and for hosts that keep nothing; it is sealed all the same.
    /// Clones of this value open the same memory one after the other, as paths do with a disk.
    pub fn in_memory() -> Self {
        let store = MemoryStore::default();
        let open: OpenStore = Arc::new(move || Ok(Box::new(store.clone())));
        Self {
            place: Place::Other("memory", open),
            master_key: Some(MasterKey::from_bytes([0; 32])),
            create_if_missing: true,
        }
    }

    /// The key that everything in it hangs on.
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

    /// Where it is, in words.
    pub(crate) fn describe(&self) -> String {
        match &self.place {
            Place::Directory(path) => format!("sled at {}", path.display()),
            Place::Other(words, _) => (*words).to_owned(),
        }
    }

    /// What opens its store.
    pub(crate) fn store(&self) -> OpenStore {
        match &self.place {
            Place::Directory(path) => {
                let (path, create) = (path.clone(), self.create_if_missing);
                Arc::new(move || Ok(Box::new(SledStore::open(&path, create)?)))
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
            .finish()
    }
}
