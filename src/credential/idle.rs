//! Credentials that nobody needs. From time to time every actor is asked to rest, which it does when
//! nothing came for it since it was asked last, so an actor sleeps after once to twice
//! [`Rest::after`]. A credential that sleeps, is well, and whose handle nobody holds is forgotten:
//! what is left of it is its entry in the vault's index, which tells when it is due. One that needs
//! somebody is kept, so that it is counted still.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::credentials::Inside;
use super::handle::CredentialHandle;
use super::messages::ProviderMessage;
use super::upcoming::wake_before;
use crate::event::CredentialState;
use crate::identity::{CredentialId, Generation};
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
    /// The newest generation of what was signed out of and forgotten. Somebody may have kept a
    /// snapshot of it, so those that follow are newer.
    newest: Arc<AtomicU64>,
}

impl Rest {
    /// After nobody has needed an actor for so long.
    pub(crate) fn after(after: Duration) -> Self {
        /// Enough to keep the vault's thread busy.
        const PLACES: usize = 32;
        Self { after, places: Arc::new(Semaphore::new(PLACES)), newest: Arc::default() }
    }

    /// A credential is forgotten that was signed out of at this generation.
    fn give_up(&self, generation: Generation) {
        self.newest.fetch_max(generation.0, Ordering::SeqCst);
    }

    /// What the generation of a sign-in has to be newer than, whosever it is.
    pub(super) fn newest(&self) -> Generation {
        Generation(self.newest.load(Ordering::SeqCst))
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
            let cell = &running.records.cell;
            // Looked at before anything is given up: what rings at this moment rings for an actor
            // that must not be gone then.
            let deadline = cell.deadline();
            let is_ringing = cell.is_ringing(deadline);
            let now = self.shared.sources.now();
            let held = |handle: &CredentialHandle| {
                let snapshot = handle.snapshot();
                let is_well = match snapshot.state() {
                    // A record of it alone must not make it younger.
                    CredentialState::Valid => cell.desk().is_as_old_as_recorded(now),
                    CredentialState::Absent => {
                        self.shared.rest.give_up(snapshot.generation());
                        true
                    }
                    _ => false,
                };
                is_ringing
                    || !is_well
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
        inside.set_next_round();
        inside.go_round();
    });
}
