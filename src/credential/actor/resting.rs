//! How the actor of a credential comes to sleep: it was not needed between two askings, nothing is
//! under way or due, and the vault has all that it knows. Its snapshot stays for whoever holds the
//! credential's handle, its alarm stays set, and the next message or the alarm starts another one.

use std::sync::Arc;

use ractor::ActorRef;

use super::State;
use super::errands::died;
use crate::credential::journal::{Contents, JournalError};
use crate::credential::lifecycle::Evidence;
use crate::credential::messages::{Inner, ProviderMessage};

impl State {
    /// Asks the vault what the next actor would know, if nobody has needed this one for a while.
    pub(super) fn rest(&mut self) {
        let needed = std::mem::take(&mut self.needed);
        if needed || self.comparing || !self.is_at_rest() {
            return;
        }
        self.comparing = true;
        let records = self.records();
        let resting = Arc::clone(&self.context.shared.rest.places);
        let work = async move {
            let _turn = resting.acquire_owned().await;
            records.load().await
        };
        let if_it_dies = || Err(JournalError::Interrupted(died("the reading of its records")));
        tokio::spawn(self.errand(work, if_it_dies, Inner::Compared));
    }

    /// Ends this actor, if nothing would be lost by it.
    pub(super) fn fall_asleep(
        &mut self,
        contents: Result<Contents, JournalError>,
        myself: &ActorRef<ProviderMessage>,
    ) {
        self.comparing = false;
        let Ok(contents) = contents else { return };
        if self.needed || !self.is_at_rest() {
            return;
        }
        let sources = &self.context.shared.sources;
        let evidence = Evidence { now: sources.now(), noise: sources.noise() };
        if self.core.would_come_back(self.known(contents), evidence) && self.handle.fall_asleep() {
            self.asleep = true;
            let _ = myself.drain();
        }
    }

    fn is_at_rest(&self) -> bool {
        let shared = &self.context.shared;
        self.waiting.is_empty()
            && self.inspecting.is_empty()
            && self.signing_out.is_none()
            && self.cell.desk().is_clear()
            && self.core.is_at_rest(shared.sources.now(), shared.rest.after)
    }
}
