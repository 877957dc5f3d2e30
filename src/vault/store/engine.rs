//! Which embedded engine keeps a vault's files, and what its files are called.

use std::fmt;
use std::path::{Path, PathBuf};

use super::directory::{UNFINISHED, beside};
#[cfg(feature = "redb")]
use super::redb::RedbStore;
use super::sled::SledStore;
use super::{StoreError, VaultStore};

/// What the names of redb's files end with.
const REDB_SUFFIX: &str = ".redb";

/// The embedded engine that keeps a vault's files.
///
/// Both keep the same promises and pass the same tests. A vault stays with the engine that it was
/// created with until it is moved ([`Vault::move_to`](crate::Vault::move_to)).
///
/// ```
/// use tokenward::Vault;
/// use tokenward::vault::Engine;
///
/// // Whoever opens it later names the same engine.
/// let vault = Vault::open("agent.vault").engine(Engine::Sled);
/// # let _ = vault;
/// assert_eq!(Engine::default().as_str(), "sled");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Engine {
    /// sled 0.34.7 behind a barrier of our own.
    #[default]
    Sled,
    /// redb 4 (feature `redb`).
    #[cfg(feature = "redb")]
    Redb,
}

impl Engine {
    /// The name, as inspections and settings write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sled => "sled",
            #[cfg(feature = "redb")]
            Self::Redb => "redb",
        }
    }

    /// The engine of that name, if this build has it.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        let engines = [
            Self::Sled,
            #[cfg(feature = "redb")]
            Self::Redb,
        ];
        engines.into_iter().find(|engine| engine.as_str() == name)
    }

    /// What this engine's data is called in the vault's directory. Each rewriting takes the next
    /// number.
    pub(super) fn data_name(self, number: u64) -> String {
        match self {
            Self::Sled => data_name(number, ""),
            #[cfg(feature = "redb")]
            Self::Redb => data_name(number, REDB_SUFFIX),
        }
    }

    /// Damages what stands under `key` in the closed data at `data`, as a torn write would.
    #[cfg(test)]
    pub(crate) fn tear(self, data: &Path, key: &[u8]) {
        match self {
            Self::Sled => SledStore::tear(data, key),
            #[cfg(feature = "redb")]
            Self::Redb => RedbStore::tear(data, key),
        }
    }

    /// Opens what this engine keeps at `data`, or creates it.
    pub(super) fn open(self, data: &Path) -> Result<Box<dyn VaultStore>, StoreError> {
        Ok(match self {
            Self::Sled => Box::new(SledStore::open(data)?),
            #[cfg(feature = "redb")]
            Self::Redb => Box::new(RedbStore::open(data)?),
        })
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

fn data_name(number: u64, suffix: &str) -> String {
    let number = if number == 1 { String::new() } else { format!("-{number}") };
    format!("store{number}{suffix}")
}

/// What data of that number may be called, also that of an engine which this build lacks.
pub(super) fn data_names(number: u64) -> [String; 2] {
    ["", REDB_SUFFIX].map(|suffix| data_name(number, suffix))
}

/// The number in a data's name, and the name of its engine, which this build may lack.
pub(super) fn parse_data_name(name: &str) -> Option<(u64, &'static str)> {
    let rest = name.strip_prefix("store")?;
    let (rest, engine) = match rest.strip_suffix(REDB_SUFFIX) {
        Some(rest) => (rest, "redb"),
        None => (rest, "sled"),
    };
    let number = match rest.strip_prefix('-') {
        None if rest.is_empty() => 1,
        None => return None,
        Some(number) => number.parse().ok().filter(|number| *number > 1)?,
    };
    Some((number, engine))
}

/// Every file that an engine may have made for the data at `path`.
pub(super) fn files_of(path: &Path) -> Vec<PathBuf> {
    let mut files = SledStore::files(path);
    files.push(beside(path, UNFINISHED));
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_data_are_read_back_and_nothing_else_is_one() {
        for number in [1, 2, 300] {
            let name = Engine::Sled.data_name(number);
            assert_eq!(parse_data_name(&name), Some((number, "sled")));
            #[cfg(feature = "redb")]
            assert_eq!(
                parse_data_name(&Engine::Redb.data_name(number)),
                Some((number, Engine::Redb.as_str()))
            );
        }
        for other in ["", "lock", "store-", "store-x", "store-1", "store.damaged", "store/..", "a"]
        {
            assert_eq!(parse_data_name(other), None, "{other}");
        }
    }
}
