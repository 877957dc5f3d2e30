//! What the vault says about itself: its keys, its format, its size, its health.

use std::time::SystemTime;

use super::error::VaultError;
use super::opened::OpenVault;
use super::record::RecordVersion;

/// What the vault says about itself. It names keys by their numbers and shows none.
///
/// ```
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let orange = SimulatedProvider::orange().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(orange.spec()).start().await?;
/// # let ada = runtime.user("ada");
/// # ada.sign_in("orange").with_client_credentials().await?;
/// let inspection = runtime.inspect_vault().await?;
/// println!("{}, key in {}", inspection.store, inspection.master_key);
/// assert!(inspection.records > 0);
/// assert!(!inspection.refuses_writes && inspection.degraded.is_none());
/// for warning in &inspection.warnings {
///     eprintln!("{warning}");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inspection {
    /// The store, in words.
    pub store: String,
    /// Where the master key came from, in words.
    pub master_key: String,
    /// How it was arrived at: each place that was looked at and what was there, how the key is
    /// derived, and since when it opens the vault.
    pub key_chain: Vec<String>,
    /// The data keys, the oldest first; the last one seals what is written.
    pub data_keys: Vec<DataKeyInspection>,
    /// The version of the format it is written in.
    pub format: u16,
    /// How many records there are.
    pub records: usize,
    /// How many records can not be opened, as far as known.
    pub quarantined: usize,
    /// The version of the last batch.
    pub version: RecordVersion,
    /// Bytes on disk, the reserve not included; none when it is kept in memory.
    pub bytes_on_disk: Option<u64>,
    /// Bytes that are held in reserve, 0 while they are given up; none when it is kept in memory.
    pub reserve: Option<u64>,
    /// Whether the disk was full and writes are refused until there is room again.
    pub refuses_writes: bool,
    /// Whether the store failed: nothing is read or acknowledged until it was opened again.
    pub poisoned: bool,
    /// Why the vault is closed and being opened again; none while it works. The rest is then as it
    /// was when it was last open.
    pub degraded: Option<String>,
    /// What is wrong although it works; empty when nothing is.
    pub warnings: Vec<String>,
}

/// One data key.
///
/// ```
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let orange = SimulatedProvider::orange().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(orange.spec()).start().await?;
/// runtime.vault().rotate_data_key().await?;
/// let inspection = runtime.inspect_vault().await?;
/// // The former key is kept for as long as a record is sealed by it.
/// let newest = inspection.data_keys.iter().find(|key| key.retired.is_none()).expect("one seals");
/// println!("key {} has sealed {} times", newest.id, newest.seals);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DataKeyInspection {
    /// Its number within the vault.
    pub id: u32,
    /// When it was made.
    pub created: SystemTime,
    /// Since when it only opens; none for the one that seals. A retired key is removed when no
    /// record is sealed with it and none is quarantined.
    pub retired: Option<SystemTime>,
    /// How many records are sealed with it.
    pub records: usize,
    /// How often it has sealed, since vaults have format 2.
    pub seals: u64,
}

impl OpenVault {
    /// What the vault says about itself.
    pub(crate) fn inspect(&mut self) -> Result<Inspection, VaultError> {
        let health = self.store.health()?;
        let mut warnings = health.warnings;
        warnings.extend(self.found.warning.clone());
        if self.unfinished_rotation {
            warnings.push(
                "a rotation of the master key is not over, the former key may still open the vault"
                    .to_owned(),
            );
        }
        if !self.quarantine.is_empty() {
            warnings.push(format!(
                "{} records do not open, restore a backup or discard them",
                self.quarantine.len()
            ));
        }
        if let Some(finding) = &self.trail_damage {
            warnings.push(format!(
                "the audit trail is not as it was written, {finding}: keep a copy, then verify it"
            ));
        }
        let data_keys = self.keys.data_keys().iter().map(|key| DataKeyInspection {
            id: key.id.0,
            created: key.created,
            retired: key.is_retired().then(|| key.retired_at.unwrap_or(key.created)),
            records: self.index.sealed_with(key.id),
            seals: if key.is_retired() { key.seals } else { self.seals },
        });
        Ok(Inspection {
            store: self.settings.describe(),
            master_key: self.found.source.clone(),
            key_chain: self.key_chain(),
            data_keys: data_keys.collect(),
            format: self.header.format(),
            records: self.index.len(),
            quarantined: self.quarantine.len(),
            version: self.last,
            bytes_on_disk: health.bytes_on_disk,
            reserve: health.reserve,
            refuses_writes: health.refuses_writes,
            poisoned: false,
            degraded: None,
            warnings,
        })
    }

    fn key_chain(&self) -> Vec<String> {
        let mut chain = self.found.looked_at.clone();
        chain.extend(self.header.derivation().map(|how| format!("derived by {}", how.describe())));
        chain.extend(
            self.header
                .since()
                .map(|since| format!("in use since {}", humantime::format_rfc3339_seconds(since))),
        );
        chain
    }
}
