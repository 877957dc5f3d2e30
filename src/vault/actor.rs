//! The vault's actor: passes requests on to the vault's thread, and keeps the vault open. It holds
//! nothing itself, so when it dies nothing is lost: the thread answers what it has, and the next
//! incarnation finds the vault as it was.

use std::sync::Arc;
use std::time::Duration;

use ractor::{ActorProcessingErr, ActorRef};
use tokio::task::JoinSet;

use super::error::VaultError;
use super::keys::{MasterKey, NewMaster};
use super::messages::{Answer, Inner, Internal, VaultMessage};
use super::writer::{Request, Writer};
use crate::clock::Sources;
use crate::error::Error;
use crate::event::EventKind;
use crate::supervision::EventBus;

/// How often in a row an opening may fail before the vault is given up, where time heals nothing.
const MOST_FAILURES: u32 = 10;

/// The wait before the second opening; it doubles with each failure.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// The longest wait between two openings.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// What every incarnation of the actor is given.
#[derive(Clone)]
pub(super) struct VaultArguments {
    pub(super) writer: Arc<Writer>,
    pub(super) sources: Sources,
    pub(super) events: EventBus,
}

pub(super) struct VaultActor;

pub(super) struct VaultState {
    writer: Arc<Writer>,
    sources: Sources,
    /// Opens the vault again when it was closed, and writes notes; stopped when this is dropped.
    caretaker: JoinSet<()>,
}

#[ractor::actor(message = VaultMessage, state = VaultState, arguments = VaultArguments)]
impl VaultActor {
    async fn pre_start(
        &self,
        myself: ActorRef<VaultMessage>,
        arguments: VaultArguments,
    ) -> Result<VaultState, ActorProcessingErr> {
        let (writer, sources) = (Arc::clone(&arguments.writer), arguments.sources.clone());
        let mut caretaker = JoinSet::new();
        caretaker.spawn(async move {
            let reason = keep_open(arguments).await;
            // Fails only when the actor is gone already.
            let _gone = myself.send_message(VaultMessage::give_up(reason));
        });
        Ok(VaultState { writer, sources, caretaker })
    }

    async fn handle(
        &self,
        _myself: ActorRef<VaultMessage>,
        message: VaultMessage,
        state: &mut VaultState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            VaultMessage::WriteNotes { reply } => state.write_notes(reply),
            VaultMessage::RotateMasterKey { key, reply } => state.rotate_master_key(key, reply),
            VaultMessage::Internal(Internal(Inner::GiveUp(reason))) => {
                return Err(Error::from(reason).into());
            }
            message => state.writer.submit(Request::Message(message)),
        }
        Ok(())
    }

    /// An orderly stop closes the vault, so that whoever waited for it can open it again.
    async fn post_stop(
        &self,
        _myself: ActorRef<VaultMessage>,
        state: &mut VaultState,
    ) -> Result<(), ActorProcessingErr> {
        state.caretaker.shutdown().await;
        if let Err(error) = write_notes(&state.writer, true).await {
            tracing::warn!(%error, "what was noted for the audit trail was not written");
        }
        Ok(state.writer.close().await.map_err(Error::from)?)
    }
}

impl VaultState {
    fn write_notes(&mut self, reply: Option<Answer<()>>) {
        while self.caretaker.try_join_next().is_some() {}
        let writer = Arc::clone(&self.writer);
        self.caretaker.spawn(async move {
            let outcome = write_notes(&writer, false).await;
            if let Some(reply) = reply {
                // Whoever asked may have given up.
                let _ = reply.send(outcome);
            }
        });
    }

    /// Looks for the new key, which may take a while, and hands it to the thread.
    fn rotate_master_key(&self, key: MasterKey, answer: Answer<()>) {
        let (writer, sources) = (Arc::clone(&self.writer), self.sources.clone());
        // Not awaited: whoever asked waits for the answer, and the thread outlives this actor.
        tokio::task::spawn_blocking(move || match NewMaster::prepare(key, &*sources.entropy) {
            Ok(new) => writer.submit(Request::RotateMasterKey(Box::new(new), answer)),
            // Whoever asked may have given up; that is their right.
            Err(error) => drop(answer.send(Err(error))),
        });
    }
}

/// Writes what was noted, batch by batch. What can not be written waits on.
async fn write_notes(writer: &Writer, is_the_end: bool) -> Result<(), VaultError> {
    while writer.ask(|answer| Request::WriteNotes { is_the_end, answer }).await? {}
    Ok(())
}

/// Opens the vault again each time it was closed by a failure, and looks for room while it refuses
/// writes, with back-off. Returns the last failure when it gives up, which it does when time does
/// not heal it.
async fn keep_open(arguments: VaultArguments) -> VaultError {
    let VaultArguments { writer, sources, events, .. } = arguments;
    loop {
        let reason = writer.unwell().await;
        tracing::error!(%reason, "vault closed or refusing writes after a failure");
        events.emit(EventKind::VaultDegraded { reason: reason.to_string() });
        loop {
            match writer.open().await {
                Ok(true) => break,
                Ok(false) => {}
                Err(error) => {
                    tracing::error!(%error, failures = writer.failures(), "vault does not open");
                    if writer.failures() >= MOST_FAILURES && !error.may_pass() {
                        return error;
                    }
                }
            }
            tokio::select! {
                () = sources.clock.wait(wait_after(writer.failures(), sources.noise())) => {}
                () = writer.well() => {}
            }
        }
        tracing::info!("vault open again");
        events.emit(EventKind::VaultRecovered);
    }
}

/// The wait after so many failures: exponential, of which the upper half is left to chance.
fn wait_after(failures: u32, noise: u64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let longest = FIRST_WAIT.saturating_mul(1 << doublings).min(LONGEST_WAIT);
    let half = longest / 2;
    let spread = u64::try_from(half.as_millis()).unwrap_or(u64::MAX);
    half + Duration::from_millis(noise % spread.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn waits_grow_and_stay_within_bounds(failures in 1..1_000_u32, noise: u64) {
            let wait = wait_after(failures, noise);
            prop_assert!(wait >= FIRST_WAIT / 2 && wait <= LONGEST_WAIT);
            prop_assert!(wait_after(failures, 0) <= wait_after(failures + 1, 0));
        }
    }
}
