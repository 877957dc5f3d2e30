//! The audit trail: sealed entries, numbered and chained, each durable together with the change that
//! it tells of. Who an entry is about can be erased; that it was there can not be hidden.

mod body;
mod chain;
mod entry;
mod identity;
mod query;
mod record;
mod trail;

pub use chain::AuditMark;
pub use entry::{AuditEntry, AuditKind, AuditOutcome};
pub use query::{AuditPage, AuditQuery, AuditRetention};
pub use record::{AuditRecord, AuditUser};
pub use trail::{AuditFinding, AuditProblem, AuditProgress, RetentionProgress};

pub(crate) use chain::Trail;
pub(crate) use identity::{Identity, SubjectId};

#[cfg(test)]
mod tests;
