//! Retention: the oldest entries go in whole segments, and with them, in the end, the identities that no
//! entry names any more. No call reads more than a bounded part of the trail.

use std::collections::HashSet;

use super::chain::{Trail, segment_of};
use super::entry::{AuditEntry, AuditKind};
use super::identity::SubjectId;
use super::query::AuditRetention;
use super::trail::{AuditFinding, MOST_READS, entry_key};
use crate::vault::batch::MOST_STEPS;
use crate::vault::commit::Failure;
use crate::vault::names::BlindName;
use crate::vault::opened::OpenVault;
use crate::vault::record::{RecordKind, RecordVersion};
use crate::vault::store::StoreBatch;

/// What one step of retention did.
///
/// [`VaultHandle::apply_audit_retention`](crate::vault::VaultHandle::apply_audit_retention) answers
/// with it, and [`Audit::apply_retention`](super::Audit::apply_retention) asks until all is done.
///
/// ```
/// use tokenward::vault::audit::AuditRetention;
///
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let orange = SimulatedProvider::orange().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(orange.spec()).start().await?;
/// # let ada = runtime.user("ada");
/// # ada.sign_in("orange").with_client_credentials().await?;
/// // A step at a time, so that the host may do something else in between.
/// loop {
///     let step = runtime.vault().apply_audit_retention(AuditRetention::default()).await?;
///     println!("{} entries removed, {} users forgotten", step.removed, step.forgotten);
///     if step.done {
///         break;
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RetentionProgress {
    /// How many entries were removed: a whole segment, or none.
    pub removed: u64,
    /// How many users are named by no entry and no record any more, and were forgotten: what their
    /// names were sealed with is gone.
    pub forgotten: usize,
    /// The entry that is not as it was written, and keeps its segment from being removed.
    pub blocked: Option<AuditFinding>,
    /// Whether there is nothing left to do.
    pub done: bool,
}

/// Which subjects the entries are about, as far as they were read.
#[derive(Debug, Default)]
pub(in crate::vault) struct Mentions {
    /// The last entry that was read.
    reached: u64,
    subjects: HashSet<SubjectId>,
}

impl OpenVault {
    /// Does a part of what `policy` asks for: removes a segment, or looks for identities that nothing
    /// needs.
    pub(crate) fn apply_audit_retention(
        &mut self,
        policy: AuditRetention,
    ) -> Result<RetentionProgress, Failure> {
        if policy.keep.is_none() {
            return Ok(RetentionProgress { done: true, ..RetentionProgress::default() });
        }
        let removal = self.remove_segment(policy)?;
        if removal.removed > 0 {
            return Ok(removal);
        }
        let (forgotten, done) = self.forget_some()?;
        Ok(RetentionProgress { forgotten, done, ..removal })
    }

    /// Removes the oldest segment, if `policy` says so and it is as it was written. What is not is
    /// evidence, and stays.
    fn remove_segment(&mut self, policy: AuditRetention) -> Result<RetentionProgress, Failure> {
        let nothing = RetentionProgress::default();
        let mut trail = self.trail;
        let first = *trail.numbers().start();
        let last = *segment_of(first).end();
        if last > trail.newest.number {
            return Ok(nothing);
        }
        let blocked = |number, problem| {
            Ok(RetentionProgress { blocked: Some(AuditFinding { number, problem }), ..nothing })
        };
        let span = match self.read_entry(last)? {
            Ok(opened) => opened.body.span(),
            Err(problem) => return blocked(last, problem),
        };
        let left = trail.newest.number - last;
        if !policy.removes(span, left, self.sources.now().wall) {
            return Ok(nothing);
        }
        let mut batch = StoreBatch::default();
        for number in first..=last {
            trail.anchor = match self.follow(trail.anchor)? {
                Ok(mark) => mark,
                Err(problem) => return blocked(number, problem),
            };
            batch.write(entry_key(number), Some(number), None);
        }
        let removed = last - first + 1;
        let entry = AuditEntry::new(AuditKind::RetentionApplied).times(removed);
        self.append_audit(&mut batch, &mut trail, &entry, None)?;
        let version = RecordVersion(self.last.0.saturating_add(1));
        self.commit_with_head(batch, version, self.digest, trail)?;
        tracing::info!(removed, "old entries of the audit trail removed");
        Ok(RetentionProgress { removed, ..nothing })
    }

    /// Reads on in search of identities that no entry is about, and removes those of users who have no
    /// other record. Says how many, and whether that was all.
    ///
    /// An identity comes with its first entry, so there is nothing to look for before the first removal;
    /// and what does not open may be about anybody.
    fn forget_some(&mut self) -> Result<(usize, bool), Failure> {
        let Trail { anchor, newest, .. } = self.trail;
        let mut mentions = self.mentions.take().unwrap_or_default();
        if anchor.number == 0 {
            return Ok((0, true));
        }
        mentions.reached = mentions.reached.max(anchor.number);
        for _ in 0..MOST_READS {
            if mentions.reached >= newest.number {
                break;
            }
            let Ok(opened) = self.read_entry(mentions.reached + 1)? else { return Ok((0, true)) };
            mentions.subjects.extend(opened.body.subject());
            mentions.reached += 1;
        }
        if mentions.reached < newest.number {
            self.mentions = Some(mentions);
            return Ok((0, false));
        }
        let unneeded = self.index.subjects().filter(|(subject, name)| {
            !mentions.subjects.contains(subject) && self.has_nothing_but_identities(name)
        });
        let names: Vec<BlindName> = unneeded.map(|(_, name)| name).take(MOST_STEPS).collect();
        let forgotten = names.len();
        self.remove_records(&names)?;
        let done = forgotten < MOST_STEPS;
        self.mentions = (!done).then_some(mentions);
        Ok((forgotten, done))
    }

    /// Whether the user who has the identity under `name` has no other kind of record, nor one of which
    /// nothing is known.
    fn has_nothing_but_identities(&self, name: &BlindName) -> bool {
        let (first, last) = name.range_of_user();
        let is_identity =
            |name: &BlindName| self.index.kind(name) == Some(RecordKind::AuditIdentity);
        self.index.names(first, last).all(|name| is_identity(&name))
            && self.quarantine.range(first..=last).next().is_none()
    }
}
