//! Whether the vault can be used, for whoever asks often: what was seen a moment ago, and no request of
//! health makes work for the vault more often than that.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Sources;
use crate::vault::VaultHandle;

/// For how long what was seen is told.
const AGE: Duration = Duration::from_secs(1);

/// How long a look may take. A vault that does not answer by then can not be used.
const PATIENCE: Duration = Duration::from_secs(2);

/// Watches a vault.
pub(crate) struct VaultWatch {
    vault: VaultHandle,
    sources: Sources,
    seen: Mutex<Option<Seen>>,
    looking: tokio::sync::Mutex<()>,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    at: Duration,
    usable: bool,
}

impl VaultWatch {
    pub(crate) fn new(vault: VaultHandle, sources: Sources) -> Self {
        Self { vault, sources, seen: Mutex::default(), looking: tokio::sync::Mutex::default() }
    }

    /// Whether the vault can be read and written, as of a second ago at most.
    pub(crate) async fn is_usable(&self) -> bool {
        if let Some(usable) = self.lately() {
            return usable;
        }
        let clock = &self.sources.clock;
        tokio::select! {
            biased;
            usable = self.look() => usable,
            () = clock.wait(PATIENCE) => {
                self.note(false);
                false
            }
        }
    }

    /// Looks, once for all who wait.
    async fn look(&self) -> bool {
        let _looking = self.looking.lock().await;
        if let Some(usable) = self.lately() {
            return usable;
        }
        let found = self.vault.inspect().await;
        let usable = found.is_ok_and(|found| found.degraded.is_none() && !found.refuses_writes);
        self.note(usable);
        usable
    }

    fn lately(&self) -> Option<bool> {
        let now = self.sources.now().monotonic;
        let seen = *self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.filter(|seen| now.saturating_sub(seen.at) < AGE).map(|seen| seen.usable)
    }

    fn note(&self, usable: bool) {
        let at = self.sources.now().monotonic;
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(Seen { at, usable });
    }
}
