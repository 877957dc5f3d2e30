//! Records that do not open: what is known of them, until a person or a fresh sign-in decides.

use std::collections::BTreeMap;
use std::fmt;

use super::names::BlindName;
use super::opened::OpenVault;
use super::record::RecordKey;

/// What does not open, and why.
pub(crate) type Quarantine = BTreeMap<BlindName, String>;

/// Names a quarantined record, also one of which nothing else is known. It says nothing about the
/// record and stays the same from one opening to the next.
///
/// [`VaultHandle::discard`](super::VaultHandle::discard) takes the one of a [`Quarantined`] record.
///
/// ```
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let orange = SimulatedProvider::orange().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(orange.spec()).start().await?;
/// # fn chosen(_: &[tokenward::vault::Quarantined]) -> Option<usize> { None }
/// let quarantined = runtime.vault().quarantined().await?;
/// // A person is shown what is known of them, and gives one up.
/// if let Some(number) = chosen(&quarantined) {
///     runtime.vault().discard(quarantined[number].id).await?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QuarantineId(pub(super) BlindName);

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
///     println!("{:?} does not open: {}", record.key, record.reason);
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
            id: QuarantineId(*name),
            key: self.index.get(name).map(|slot| slot.entry.key),
            reason: reason.clone(),
        };
        self.quarantine.iter().map(describe).collect()
    }
}

impl fmt::Debug for QuarantineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
