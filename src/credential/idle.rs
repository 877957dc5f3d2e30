//! Credentials that nobody needs. From time to time every actor is asked to rest, which it does when
//! nothing came for it since it was asked last, so an actor sleeps after once to twice
//! [`idle_after`](super::actor::Shared::idle_after). A credential that sleeps, is well, and whose
//! handle nobody holds is forgotten: what is left of it is its entry in the vault's index, which tells
//! when it is due. One that needs somebody is kept, so that it is counted still.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::credentials::Inside;
use super::handle::CredentialHandle;
use super::messages::ProviderMessage;
use super::upcoming::wake_before;
use crate::event::CredentialState;
use crate::identity::CredentialId;
use crate::supervision::ChildStatus;

/// How long nobody has to need an actor before it sleeps, unless the host says otherwise.
pub(crate) const IDLE_AFTER: Duration = Duration::from_mins(10);

impl Inside {
    /// Asks who sleeps, from now on again and again.
    pub(super) fn begin_rounds(self: &Arc<Self>) {
        let inside = Arc::downgrade(self);
        self.round.get_or_init(|| self.shared.timekeeper.alarm(move || go_round(&inside)));
        self.set_next_round();
    }

    fn set_next_round(&self) {
        if let Some(round) = self.round.get() {
            round.set(self.shared.sources.now().after(self.shared.idle_after));
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
            let held = |handle: &CredentialHandle| {
                let state = handle.snapshot().state();
                !matches!(state, CredentialState::Valid | CredentialState::Absent)
                    || Arc::strong_count(running) > 1
                    || !handle.is_unshared()
                    || !self.supervisor.forget_asleep(handle.actor())
            };
            if running.handle.get().is_none_or(held) {
                return false;
            }
            if let Some(deadline) = running.records.cell.deadline() {
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
