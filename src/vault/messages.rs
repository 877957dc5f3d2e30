//! What the vault's actor can be asked.

use super::batch::Batch;
use super::error::VaultError;
use super::record::{Entry, Inspection, Query, Record, RecordKey};
use crate::supervision::Reply;

/// Where the vault's answer goes.
pub type Answer<T> = Reply<Result<T, VaultError>>;

/// What the vault's actor can be asked. [`super::VaultHandle`] has a method for each.
#[derive(Debug)]
#[non_exhaustive]
pub enum VaultMessage {
    /// Reads one record.
    Read {
        /// Its key.
        key: RecordKey,
        /// Takes the record, or none when there is none.
        reply: Answer<Option<Record>>,
    },
    /// Applies a batch.
    Commit {
        /// The batch.
        batch: Batch,
        /// Told when the batch would survive a power cut.
        reply: Answer<()>,
    },
    /// Lists index entries.
    List {
        /// Which.
        query: Query,
        /// Takes the entries.
        reply: Answer<Vec<Entry>>,
    },
    /// Looks at the vault as a whole.
    Inspect {
        /// Takes what there is to say.
        reply: Answer<Inspection>,
    },
    /// Ends the actor, because the store can not be opened again: its supervisor decides what
    /// becomes of the runtime.
    GiveUp {
        /// Why the store does not open.
        reason: VaultError,
    },
}
