//! The vault: sealed records under blinded names, in a store that survives a power cut, behind one
//! actor. Nothing readable about a user stands in its files.

mod actor;
pub mod audit;
mod batch;
mod commit;
mod entries;
mod error;
mod export;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod handle;
mod head;
mod index;
mod inspection;
mod keeper;
mod keys;
mod messages;
mod names;
mod offline;
mod opened;
mod opening;
mod passphrase;
pub(crate) mod payload;
mod plan;
mod quarantine;
mod record;
mod seal;
mod sealing;
pub(crate) mod settings;
mod slot;
pub(crate) mod store;
mod tasks;
mod writer;

pub use crate::identity::QuarantineId;
pub use batch::{Batch, Expect};
pub use error::VaultError;
pub use export::{ExportFile, Exported};
pub use handle::VaultHandle;
pub use inspection::{DataKeyInspection, Inspection};
pub use keys::{DataKeyPolicy, MasterKey};
pub use messages::{Answer, Internal, VaultMessage};
pub use quarantine::Quarantined;
pub use record::{Entry, Query, Record, RecordKey, RecordKind, RecordVersion, Tags};
pub use settings::Vault;
pub use store::Engine;

#[cfg(test)]
mod tests;
