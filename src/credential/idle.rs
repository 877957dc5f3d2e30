//! Credentials that nobody needs. From time to time every actor is asked to rest, which it does when
//! nothing came for it since it was asked last, so an actor sleeps after once to twice
//! [`Rest::after`]. A credential that sleeps, is well, and whose handle nobody holds is forgotten:
//! what is left of it is its entry in the vault's index, which tells when it is due. One that needs
//! somebody is kept, so that it is counted still.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::credentials::Inside;
use super::handle::CredentialHandle;
use super::messages::ProviderMessage;
use super::upcoming::wake_before;
use crate::event::CredentialState;
use crate::identity::{CredentialId, Generation, Method};
use crate::supervision::ChildStatus;

/// How long nobody has to need an actor before it sleeps, unless the host says otherwise.
pub(crate) const IDLE_AFTER: Duration = Duration::from_mins(10);

/// When actors sleep.
#[derive(Debug, Clone)]
pub(crate) struct Rest {
    /// How long nobody has to need one before it does.
    pub(super) after: Duration,
    /// Who asks the vault whether it can rest takes a place, so that those who need the vault do not
    /// wait behind a hundred thousand who need nothing.
    pub(super) places: Arc<Semaphore>,
}

impl Rest {
    /// After nobody has needed an actor for so long.
    pub(crate) fn after(after: Duration) -> Self {
        /// Enough to keep the vault's thread busy.
        const PLACES: usize = 32;
        Self { after, places: Arc::new(Semaphore::new(PLACES)) }
    }
}

impl Inside {
    /// Asks who sleeps, from now on again and again.
    pub(super) fn begin_rounds(self: &Arc<Self>) {
        let inside = Arc::downgrade(self);
        self.round.get_or_init(|| self.shared.timekeeper.alarm(move || go_round(&inside)));
        self.set_next_round();
    }

    fn set_next_round(&self) {
        if let Some(round) = self.round.get() {
            round.set(self.shared.sources.now().after(self.shared.rest.after));
        }
    }

    /// Asks each actor to rest, and forgets whom nobody has woken since the last round.
    fn go_round(self: &Arc<Self>) {
        let mut asleep = Vec::new();
        for running in &self.running {
            let Some(handle) = running.handle.get() else { continue };
            match handle.actor().status() {
                ChildStatus::Running => handle.actor().post(ProviderMessage::rest()),
                ChildStatus::Asleep => asleep.push(running.key().clone()),
                _ => {}
            }
        }
        for id in asleep {
            self.forget(&id);
        }
    }

    /// Forgets a credential whose actor sleeps, unless somebody holds its handle.
    fn forget(self: &Arc<Self>, id: &CredentialId) {
        // While this is decided, nobody gets the handle: they are all handed out under the lock of
        // the entry.
        self.running.remove_if(id, |_, running| {
            // Looked at before anything is given up: one that has none rings at this moment, for an
            // actor that must not be gone then.
            let deadline = running.records.cell.deadline();
            let held = |handle: &CredentialHandle| {
                let snapshot = handle.snapshot();
                // A generation is given once to whoever may have kept a snapshot of it.
                let is_new = snapshot.generation() == Generation::default();
                let is_well = match snapshot.state() {
                    CredentialState::Valid => deadline.is_some() || id.method == Method::ApiKey,
                    CredentialState::Absent => is_new,
                    _ => false,
                };
                !is_well
                    || Arc::strong_count(running) > 1
                    || !handle.is_unshared()
                    || !self.supervisor.forget_asleep(handle.actor())
            };
            if running.handle.get().is_none_or(held) {
                return false;
            }
            if let Some(deadline) = deadline {
                let provider = &running.records.context.provider;
                let expires = running.records.cell.peek().expires_at();
                let wake = expires.map(|expires| wake_before(expires, &**provider));
                self.wake_by(id, wake, deadline);
            }
            true
        });
    }
}

/// Goes round, in a task of its own: this runs on the timekeeper's.
fn go_round(inside: &Weak<Inside>) {
    let Some(inside) = inside.upgrade() else { return };
    tokio::spawn(async move {
        inside.go_round();
        inside.set_next_round();
    });
}
