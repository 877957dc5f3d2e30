//! The supervisor's actor: it hears of exits and of what its users want, and has the
//! [`Attendant`] see to it.

use std::sync::Arc;

use ractor::{ActorProcessingErr, ActorRef, SupervisionEvent};

use super::attendant::Attendant;
use super::failure;
use super::messages::SupervisorMessage;
use super::nursery::Death;
use super::restart::Exit;
use super::supervisor::Family;

pub(super) struct SupervisorActor {
    family: Arc<Family>,
}

impl SupervisorActor {
    pub(super) fn new(family: Arc<Family>) -> Self {
        Self { family }
    }
}

#[ractor::actor(message = SupervisorMessage)]
impl SupervisorActor {
    async fn pre_start(
        &self,
        myself: ActorRef<SupervisorMessage>,
        (): (),
    ) -> Result<(), ActorProcessingErr> {
        Attendant::new(&self.family, &mut self.family.nursery(), &myself).start_all_again();
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<SupervisorMessage>,
        message: SupervisorMessage,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        let mut nursery = self.family.nursery();
        let mut attendant = Attendant::new(&self.family, &mut nursery, &myself);
        match message {
            SupervisorMessage::Start { newcomer, reply } => attendant.add(newcomer, reply),
            SupervisorMessage::Started { child, turn, outcome } => {
                attendant.started(child, turn, outcome);
            }
            SupervisorMessage::Waited { child, turn } => attendant.waited(child, turn),
            SupervisorMessage::Wake { child } => attendant.wake(child),
            SupervisorMessage::Gone { child } => attendant.gone(child),
            SupervisorMessage::Stop { name, reply } => attendant.stop(&name, reply),
            SupervisorMessage::Crash { path, reply } => {
                let _ = reply.send(attendant.crash(&path));
            }
            SupervisorMessage::Tree { reply } => {
                let _ = reply.send(attendant.tree());
            }
            SupervisorMessage::Close { reply } => {
                let _ = reply.send(attendant.close());
            }
            SupervisorMessage::DrainAll => attendant.drain_all(),
        }
        Ok(())
    }

    /// Always overridden: ractor's own would stop this supervisor with any of its children.
    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<SupervisorMessage>,
        event: SupervisionEvent,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        let (cell, death) = match event {
            SupervisionEvent::ActorTerminated(cell, state, reason) => {
                // An idle actor that is killed hands over its state as one that stops does.
                let killed = state.is_none() || reason.as_deref() == Some("killed");
                let exit = if killed { Exit::Fault } else { Exit::Normal };
                let reason = failure::shortened(reason.as_deref().unwrap_or("stopped"));
                (cell, Death { exit, reason })
            }
            SupervisionEvent::ActorFailed(cell, error) => {
                let reason = failure::of_a_death(&error);
                (cell, Death { exit: Exit::Fault, reason })
            }
            _ => return Ok(()),
        };
        let mut nursery = self.family.nursery();
        if let Some((child, death)) = nursery.bury(cell.get_id(), death) {
            Attendant::new(&self.family, &mut nursery, &myself).died(child, death);
        }
        Ok(())
    }
}
