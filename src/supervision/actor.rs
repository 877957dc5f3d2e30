//! The supervisor's actor: it hears of exits, asks each child's ledger what to do, and does it.
//! Starting and waiting are tasks that report back; nothing here waits for anything.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use ractor::concurrency::JoinHandle;
use ractor::{ActorCell, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};

use super::child::Newcomer;
use super::handle::{Binding, Reply};
use super::nursery::{Child, ChildId, Death, Nursery, Phase, Task, TreeNode, Turn};
use super::restart::{Decision, Exit};
use super::supervisor::{Family, did_not_start};
use crate::error::{Error, ErrorKind};
use crate::event::EventKind;

/// How much of a panic's or an error's text is reported, in characters.
const LONGEST_REASON: usize = 160;

pub(super) enum SupervisorMessage {
    /// Add a child; the reply comes with its first start.
    Start { newcomer: Newcomer, reply: Reply<Result<(), Error>> },
    /// A child's starting task is done.
    Started { child: ChildId, turn: Turn, outcome: Result<(ActorCell, JoinHandle<()>), SpawnErr> },
    /// A child's back-off, quarantine or probation is over.
    Waited { child: ChildId, turn: Turn },
    /// Drain a child; the reply comes with its end.
    Stop { name: Arc<str>, reply: Reply<bool> },
    /// Kill a child's running incarnation.
    Crash { path: Arc<str>, reply: Reply<bool> },
    /// Show the children.
    Tree { reply: Reply<Vec<TreeNode>> },
    /// Take no more children; the reply has the names of those there are, last-started first.
    Close { reply: Reply<Vec<Arc<str>>> },
    /// Drain all children at once, then stop.
    DrainAll,
    /// Stop; the reply port is dropped with the end.
    Finish { reply: Reply<()> },
}

pub(super) struct SupervisorActor {
    family: Arc<Family>,
}

impl SupervisorActor {
    pub(super) fn new(family: Arc<Family>) -> Self {
        Self { family }
    }

    /// Takes the children in hand, for one step that does not wait.
    fn attend<'a>(
        &'a self,
        nursery: &'a mut Nursery,
        myself: &'a ActorRef<SupervisorMessage>,
    ) -> Attendant<'a> {
        Attendant { family: &self.family, nursery, myself }
    }
}

/// Who asked for the end of this supervisor: the port is dropped with the state.
type Finisher = Option<Reply<()>>;

#[ractor::actor(message = SupervisorMessage, state = Finisher)]
impl SupervisorActor {
    async fn pre_start(
        &self,
        myself: ActorRef<SupervisorMessage>,
        (): (),
    ) -> Result<Finisher, ActorProcessingErr> {
        self.attend(&mut self.family.nursery(), &myself).start_all_again();
        Ok(None)
    }

    async fn handle(
        &self,
        myself: ActorRef<SupervisorMessage>,
        message: SupervisorMessage,
        state: &mut Finisher,
    ) -> Result<(), ActorProcessingErr> {
        let mut nursery = self.family.nursery();
        let mut attendant = self.attend(&mut nursery, &myself);
        match message {
            SupervisorMessage::Start { newcomer, reply } => attendant.add(newcomer, reply),
            SupervisorMessage::Started { child, turn, outcome } => {
                attendant.started(child, turn, outcome);
            }
            SupervisorMessage::Waited { child, turn } => attendant.waited(child, turn),
            SupervisorMessage::Stop { name, reply } => attendant.stop(&name, reply),
            SupervisorMessage::Crash { path, reply } => {
                let cell = attendant.nursery.running(&path);
                if let Some(cell) = &cell {
                    cell.kill();
                }
                let _ = reply.send(cell.is_some());
            }
            SupervisorMessage::Tree { reply } => {
                let _ = reply.send(attendant.nursery.tree());
            }
            SupervisorMessage::Close { reply } => {
                attendant.nursery.closed = true;
                let _ = reply.send(attendant.nursery.names_from_the_last());
            }
            SupervisorMessage::DrainAll => attendant.drain_all(),
            SupervisorMessage::Finish { reply } => {
                attendant.nursery.closed = true;
                *state = Some(reply);
                myself.stop(None);
            }
        }
        Ok(())
    }

    /// Always overridden: ractor's own would stop this supervisor with any of its children.
    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<SupervisorMessage>,
        event: SupervisionEvent,
        _: &mut Finisher,
    ) -> Result<(), ActorProcessingErr> {
        let (cell, death) = match event {
            SupervisionEvent::ActorTerminated(cell, state, reason) => {
                // An idle actor that is killed hands over its state as one that stops does.
                let killed = state.is_none() || reason.as_deref() == Some("killed");
                let exit = if killed { Exit::Fault } else { Exit::Normal };
                let reason = shortened(reason.as_deref().unwrap_or("stopped"));
                (cell, Death { exit, reason })
            }
            SupervisionEvent::ActorFailed(cell, error) => {
                let reason = shortened(&error.to_string());
                (cell, Death { exit: Exit::Fault, reason })
            }
            _ => return Ok(()),
        };
        let mut nursery = self.family.nursery();
        if let Some((child, death)) = nursery.bury(cell.get_id(), death) {
            self.attend(&mut nursery, &myself).died(child, death);
        }
        Ok(())
    }
}

/// The supervisor's actor with its children in hand.
struct Attendant<'a> {
    family: &'a Arc<Family>,
    nursery: &'a mut Nursery,
    myself: &'a ActorRef<SupervisorMessage>,
}

impl Attendant<'_> {
    fn add(&mut self, newcomer: Newcomer, reply: Reply<Result<(), Error>>) {
        let refusal = if self.nursery.closed {
            Error::new(ErrorKind::ShuttingDown, "no more actors are started, the runtime stops")
        } else if self.nursery.has(&newcomer.name) {
            let message =
                format!("there is an actor {} already, choose another name", newcomer.name);
            Error::new(ErrorKind::InvalidInput, message)
        } else {
            let myself = self.myself;
            self.nursery.add(newcomer, reply, |id, child| begin(myself, id, child));
            return;
        };
        let _ = reply.send(Err(refusal));
    }

    fn started(
        &mut self,
        id: ChildId,
        turn: Turn,
        outcome: Result<(ActorCell, JoinHandle<()>), SpawnErr>,
    ) {
        let Some(child) = self.nursery.children.get_mut(&id).filter(|child| child.turn == turn)
        else {
            return;
        };
        let (cell, running) = match outcome {
            Ok(started) => started,
            Err(error) => return self.did_not_start(id, error),
        };
        child.former = Some(running);
        let probation = child.ledger.probation();
        let turn = child.next_turn();
        let probation = probation.map(|time| wait(self.family, self.myself, time, id, turn));
        child.phase = Phase::Running { cell: cell.clone(), probation };
        if child.stopping {
            ask_to_end(child);
        } else {
            child.slot.rebind(Binding::Running(cell.clone()));
            self.announce(id);
        }
        if let Some(death) = self.nursery.adopt(cell.get_id(), id) {
            self.died(id, death);
        }
    }

    /// Tells who waits for the first start, or everyone of a restart.
    fn announce(&mut self, id: ChildId) {
        let Some(child) = self.nursery.children.get_mut(&id) else { return };
        if let Some(starter) = child.starter.take() {
            let _ = starter.send(Ok(()));
            return;
        }
        child.restarts = child.restarts.saturating_add(1);
        let actor = self.family.path_of(&child.name);
        let (restarts, reason) = (child.ledger.restarts().max(1), child.last_reason.clone());
        tracing::warn!(%actor, restarts, %reason, "actor restarted");
        self.family.events.emit(EventKind::ActorRestarted { actor, restarts, reason });
    }

    fn did_not_start(&mut self, id: ChildId, error: SpawnErr) {
        let Some(child) = self.nursery.children.get_mut(&id) else { return };
        let Some(starter) = child.starter.take() else {
            let reason = format!("did not start: {}", shortened(&spawn_failure(&error)));
            return self.died(id, Death { exit: Exit::Fault, reason });
        };
        let _ = starter.send(Err(did_not_start(&child.name, error)));
        self.end(id);
    }

    fn died(&mut self, id: ChildId, death: Death) {
        let Some(child) = self.nursery.children.get_mut(&id) else { return };
        if child.stopping {
            return self.end(id);
        }
        let path = self.family.path_of(&child.name);
        let sources = &self.family.sources;
        let (now, noise) = (sources.now(), sources.noise());
        child.last_reason.clone_from(&death.reason);
        match child.ledger.on_exit(death.exit, now, noise) {
            Decision::Restart => begin(self.myself, id, child),
            Decision::RestartAfter(time) => {
                child.slot.rebind(Binding::Restarting);
                let turn = child.next_turn();
                let task = wait(self.family, self.myself, time, id, turn);
                child.phase = Phase::BackingOff { _task: task };
            }
            Decision::Quarantine(time) => {
                let until = now.monotonic.saturating_add(time);
                child.slot.rebind(Binding::Quarantined { until });
                let turn = child.next_turn();
                let task = wait(self.family, self.myself, time, id, turn);
                child.phase = Phase::Quarantined { _task: task };
                tracing::error!(actor = %path, retry_in = ?time, reason = %death.reason, "actor quarantined");
                let reason = death.reason;
                let event = EventKind::ActorQuarantined { actor: path, retry_in: time, reason };
                self.family.events.emit(event);
            }
            Decision::Forget => self.end(id),
            Decision::Escalate => {
                child.slot.rebind(Binding::Stopped);
                child.phase = Phase::GivenUp;
                tracing::error!(actor = %path, reason = %death.reason, "actor can not come back");
                let message = format!("{path} can not be kept running: {}", death.reason);
                self.family.escalate(Error::new(ErrorKind::ShuttingDown, message));
            }
        }
    }

    fn waited(&mut self, id: ChildId, turn: Turn) {
        let Some(child) = self.nursery.children.get_mut(&id).filter(|child| child.turn == turn)
        else {
            return;
        };
        match &mut child.phase {
            Phase::BackingOff { .. } | Phase::Quarantined { .. } => begin(self.myself, id, child),
            Phase::Running { probation, .. } => {
                *probation = None;
                if child.ledger.on_recovered() {
                    let actor = self.family.path_of(&child.name);
                    tracing::info!(%actor, "actor recovered");
                    self.family.events.emit(EventKind::ActorRecovered { actor });
                }
            }
            Phase::Starting { .. } | Phase::GivenUp => {}
        }
    }

    fn stop(&mut self, name: &str, reply: Reply<bool>) {
        let Some(id) = self.nursery.id_of(name) else {
            let _ = reply.send(false);
            return;
        };
        if let Some(child) = self.nursery.children.get_mut(&id) {
            child.stoppers.push(reply);
        }
        self.begin_stop(id);
    }

    fn begin_stop(&mut self, id: ChildId) {
        let Some(child) = self.nursery.children.get_mut(&id) else { return };
        if std::mem::replace(&mut child.stopping, true) {
            return;
        }
        child.slot.rebind(Binding::Stopped);
        match &child.phase {
            Phase::Running { .. } => ask_to_end(child),
            // It is asked to end as soon as it has started.
            Phase::Starting { .. } => {}
            Phase::BackingOff { .. } | Phase::Quarantined { .. } | Phase::GivenUp => self.end(id),
        }
    }

    fn drain_all(&mut self) {
        self.nursery.closed = true;
        let children: Vec<_> = self.nursery.children.keys().rev().copied().collect();
        for id in children {
            self.begin_stop(id);
        }
        self.stop_when_drained();
    }

    /// The child is over: its handle is told, and whoever waited for it.
    fn end(&mut self, id: ChildId) {
        let Some(mut child) = self.nursery.remove(id) else { return };
        for stopper in child.stoppers.drain(..) {
            let _ = stopper.send(true);
        }
        if let Some(starter) = child.starter.take() {
            let _ = starter.send(Err(Error::new(ErrorKind::ShuttingDown, "the actor was stopped")));
        }
        drop(child);
        self.stop_when_drained();
    }

    /// A supervisor that takes no more children has nothing to do after the last one. Drained
    /// from outside, it is stopped again, which does nothing.
    fn stop_when_drained(&self) {
        if self.nursery.closed && self.nursery.children.is_empty() {
            self.myself.stop(None);
        }
    }

    /// In a later incarnation of this supervisor: its children died with the former one.
    fn start_all_again(&mut self) {
        let children: Vec<_> = self.nursery.children.keys().copied().collect();
        for id in children {
            let Some(child) = self.nursery.children.get_mut(&id) else { continue };
            if child.stopping {
                self.end(id);
            } else if !matches!(child.phase, Phase::GivenUp) {
                "its supervisor was restarted".clone_into(&mut child.last_reason);
                begin(self.myself, id, child);
            }
        }
    }
}

/// Starts the child in a task of its own, after its former incarnation is entirely gone.
fn begin(myself: &ActorRef<SupervisorMessage>, id: ChildId, child: &mut Child) {
    child.slot.rebind(Binding::Restarting);
    let (former, start, myself) = (child.former.take(), Arc::clone(&child.start), myself.clone());
    let turn = child.next_turn();
    let task = Task::spawn(async move {
        if let Some(former) = former {
            let _ = former.await;
        }
        let supervisor = myself.get_cell();
        let starting = AssertUnwindSafe(async move { start(supervisor).await });
        let outcome = starting
            .catch_unwind()
            .await
            .unwrap_or_else(|_| Err(SpawnErr::StartupFailed("the starter panicked".into())));
        let _ = myself.send_message(SupervisorMessage::Started { child: id, turn, outcome });
    });
    child.phase = Phase::Starting { _task: task };
}

fn wait(
    family: &Family,
    myself: &ActorRef<SupervisorMessage>,
    time: Duration,
    child: ChildId,
    turn: Turn,
) -> Task {
    let (wait, myself) = (family.sources.clock.wait(time), myself.clone());
    Task::spawn(async move {
        wait.await;
        let _ = myself.send_message(SupervisorMessage::Waited { child, turn });
    })
}

/// Asks the running incarnation to finish what it has and end.
fn ask_to_end(child: &Child) {
    let Phase::Running { cell, .. } = &child.phase else { return };
    if child.family.is_some() {
        let supervisor = ActorRef::<SupervisorMessage>::from(cell.clone());
        let _ = supervisor.send_message(SupervisorMessage::DrainAll);
    } else {
        let _ = cell.drain();
    }
}

fn spawn_failure(error: &SpawnErr) -> String {
    match error {
        SpawnErr::StartupFailed(inner) => inner.to_string(),
        other => other.to_string(),
    }
}

/// The first line of `text`, cut where it is long and without control characters.
pub(super) fn shortened(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let mut short: String = line.chars().filter(|c| !c.is_control()).take(LONGEST_REASON).collect();
    if line.chars().count() > LONGEST_REASON {
        short.push('…');
    }
    short
}
