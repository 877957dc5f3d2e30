//! Records that do not open: what is known of them, until a person or a fresh sign-in decides.

use std::collections::BTreeMap;

use super::names::BlindName;
use super::opened::OpenVault;
use super::record::RecordKey;
use crate::identity::QuarantineId;

/// What does not open, and why.
pub(crate) type Quarantine = BTreeMap<BlindName, String>;

/// A record that can not be opened. It is left as it is, and nothing is written in its place until
/// it is discarded or replaced (see [`super::Expect::AnythingOrQuarantined`]).
///
/// ```
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let orange = SimulatedProvider::orange().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(orange.spec()).start().await?;
/// for record in runtime.vault().quarantined().await? {
///     println!("{} ({:?}) does not open: {}", record.id, record.key, record.reason);
///     // Only when nothing can be had from a backup: it is gone then.
///     runtime.vault().discard(record.id).await?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Quarantined {
    /// What [`super::VaultHandle::discard`] takes.
    pub id: QuarantineId,
    /// Which record it is, if its index entry still tells.
    pub key: Option<RecordKey>,
    /// Why it does not open.
    pub reason: String,
}

impl OpenVault {
    /// Every record that does not open, as far as known.
    pub(crate) fn quarantined(&self) -> Vec<Quarantined> {
        let describe = |(name, reason): (&BlindName, &String)| Quarantined {
            id: (*name).into(),
            key: self.index.get(name).map(|slot| slot.entry.key),
            reason: reason.clone(),
        };
        self.quarantine.iter().map(describe).collect()
    }
}

impl From<BlindName> for QuarantineId {
    fn from(name: BlindName) -> Self {
        Self::from_bytes(name.to_bytes())
    }
}

impl From<QuarantineId> for BlindName {
    fn from(id: QuarantineId) -> Self {
        Self::from_bytes(id.to_bytes())
    }
}
