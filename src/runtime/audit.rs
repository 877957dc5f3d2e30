//! The audit trail of a runtime, and the care that it needs: what was noted is written in time, and
//! what is old is removed by policy.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::Runtime;
use crate::clock::Sources;
use crate::supervision::{Alarm, Timekeeper};
use crate::vault::VaultHandle;
use crate::vault::audit::{Audit, AuditRetention};

/// How often what had to wait is written.
const NOTES_EVERY: Duration = Duration::from_mins(1);

/// How often the policy is applied. It is also applied at the start.
const RETENTION_EVERY: Duration = Duration::from_hours(24);

/// What takes care of the trail for as long as it is held.
pub(crate) struct AuditCare {
    _notes: Arc<Round>,
    _retention: Arc<Round>,
}

/// Something that is done again and again.
struct Round {
    alarm: std::sync::OnceLock<Alarm>,
    sources: Sources,
    every: Duration,
}

impl Runtime {
    /// The audit trail: what happened, to whom, when; each entry durable with the change that it
    /// tells of.
    pub fn audit(&self) -> Audit {
        Audit::new(self.0.vault.clone())
    }
}

impl AuditCare {
    pub(crate) fn begin(
        vault: &VaultHandle,
        policy: AuditRetention,
        timekeeper: &Timekeeper,
        sources: &Sources,
    ) -> Self {
        let of_notes = vault.clone();
        let notes = Round::begin(NOTES_EVERY, timekeeper, sources, move || {
            let vault = of_notes.clone();
            async move {
                if let Err(error) = vault.write_notes().await {
                    tracing::debug!(%error, "what was noted for the audit trail waits on");
                }
            }
        });
        let audit = Audit::new(vault.clone());
        let retention = Round::begin(RETENTION_EVERY, timekeeper, sources, move || {
            let audit = audit.clone();
            async move {
                match audit.apply_retention(policy).await {
                    Ok(removal) => {
                        if let Some(finding) = removal.blocked {
                            tracing::error!(%finding, "old entries of the audit trail are kept");
                        }
                    }
                    Err(error) => tracing::debug!(%error, "the audit trail's retention waits on"),
                }
            }
        });
        retention.ring();
        Self { _notes: notes, _retention: retention }
    }
}

impl Round {
    fn begin<F>(
        every: Duration,
        timekeeper: &Timekeeper,
        sources: &Sources,
        work: impl Fn() -> F + Send + Sync + 'static,
    ) -> Arc<Self>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let round =
            Arc::new(Self { alarm: std::sync::OnceLock::new(), sources: sources.clone(), every });
        let weak: Weak<Self> = Arc::downgrade(&round);
        // The work itself is a task, since a ring must not wait.
        let alarm = timekeeper.alarm(move || {
            let Some(round) = weak.upgrade() else { return };
            tokio::spawn(work());
            round.set(round.every);
        });
        let _first = round.alarm.set(alarm);
        round.set(every);
        round
    }

    /// Does it now, too.
    fn ring(&self) {
        self.set(Duration::ZERO);
    }

    fn set(&self, after: Duration) {
        if let Some(alarm) = self.alarm.get() {
            alarm.set(self.sources.now().after(after));
        }
    }
}
