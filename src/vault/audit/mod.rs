//! The audit trail: sealed entries, numbered and chained, each durable together with the change that
//! it tells of. Who an entry is about can be erased; that it was there can not be hidden.

mod body;
mod chain;
mod entry;
mod face;
mod identity;
mod notes;
mod query;
mod record;
mod retention;
mod trail;

pub use chain::AuditMark;
pub use entry::{AuditEntry, AuditKind, AuditOutcome};
pub use face::{Audit, AuditRemoval, AuditReport};
pub use query::{AuditPage, AuditQuery, AuditRetention};
pub use record::{AuditRecord, AuditUser};
pub use retention::RetentionProgress;
pub use trail::{AuditFinding, AuditProblem, AuditProgress};

pub(crate) use chain::Trail;
pub(crate) use notes::Notebook;

pub(crate) use identity::{Identity, SubjectId};
pub(in crate::vault) use retention::Mentions;
pub(in crate::vault) use trail::entry_key;

/// Takes what is to be recorded although it changes nothing durable.
///
/// [`VaultHandle::audit_sink`](crate::vault::VaultHandle::audit_sink) gives one.
///
/// ```
/// use tokenward::vault::audit::{AuditEntry, AuditKind, AuditQuery};
///
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let orange = SimulatedProvider::orange().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(orange.spec()).start().await?;
/// // For what knows no vault, and waits for nothing.
/// let note = runtime.vault().audit_sink();
/// note(AuditEntry::new(AuditKind::AccessDenied).because("no licence"));
///
/// let page = runtime.audit().entries(AuditQuery::all()).await?;
/// assert!(page.entries.iter().any(|entry| entry.kind == AuditKind::AccessDenied));
/// # Ok(())
/// # }
/// ```
pub type AuditSink = std::sync::Arc<dyn Fn(AuditEntry) + Send + Sync>;

/// Reads `plain` as an entry of the trail.
#[cfg(fuzzing)]
pub(in crate::vault) fn read_anything(plain: &[u8]) {
    let _ = body::Body::parse(plain);
}

#[cfg(test)]
mod tests;
