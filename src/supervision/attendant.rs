//! What a supervisor does about its children, one step at a time. Starting and waiting are tasks
//! that report back; nothing here waits for anything.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use ractor::concurrency::JoinHandle;
use ractor::{ActorCell, ActorRef, SpawnErr};
use tracing::Instrument as _;

use super::child::Newcomer;
use super::failure;
use super::handle::{AskError, Reply};
use super::messages::SupervisorMessage;
use super::nursery::{Child, ChildId, Death, Nursery, Phase, Task, TreeNode, Turn};
use super::restart::{Decision, Exit};
use super::slot::{Binding, Waker};
use super::supervisor::Family;
use crate::error::{Error, ErrorKind};
use crate::event::EventKind;

/// The supervisor's actor with its children in hand.
pub(super) struct Attendant<'a> {
    family: &'a Family,
    nursery: &'a mut Nursery,
    myself: &'a ActorRef<SupervisorMessage>,
}

impl<'a> Attendant<'a> {
    pub(super) fn new(
        family: &'a Family,
        nursery: &'a mut Nursery,
        myself: &'a ActorRef<SupervisorMessage>,
    ) -> Self {
        Self { family, nursery, myself }
    }

    /// Takes a child in and starts it.
    pub(super) fn add(&mut self, newcomer: Newcomer, reply: Reply<Result<(), Error>>) {
        let refusal = if self.nursery.closed {
            Error::new(ErrorKind::ShuttingDown, "no more actors are started, the runtime stops")
        } else if self.nursery.has(&newcomer.name) {
            let message =
                format!("there is an actor {} already, choose another name", newcomer.name);
            Error::new(ErrorKind::InvalidInput, message)
        } else {
            let (id, child) = self.nursery.add(newcomer, reply);
            return begin(self.myself, id, child);
        };
        let _ = reply.send(Err(refusal));
    }

    /// A starting task is done.
    pub(super) fn started(
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
        let probation = probation.map(|time| wait(self.family, self.myself, time, id, child));
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

    /// An incarnation is dead: the child's ledger says what becomes of it.
    pub(super) fn died(&mut self, id: ChildId, death: Death) {
        let Some(child) = self.nursery.children.get_mut(&id) else { return };
        if child.stopping {
            return self.end_when_gone(id);
        }
        if death.exit == Exit::Normal && child.slot.is_falling_asleep() {
            return self.put_to_sleep(id);
        }
        let sources = &self.family.sources;
        let (now, noise) = (sources.now(), sources.noise());
        child.last_reason = death.reason;
        child.woken = false;
        match child.ledger.on_exit(death.exit, now, noise) {
            Decision::Restart => begin(self.myself, id, child),
            Decision::RestartAfter(time) => {
                child.slot.rebind(Binding::Restarting);
                let task = wait(self.family, self.myself, time, id, child);
                child.phase = Phase::BackingOff { _task: task };
            }
            Decision::Quarantine(time) => {
                let until = now.monotonic.saturating_add(time);
                child.slot.rebind(Binding::Quarantined { until });
                let task = wait(self.family, self.myself, time, id, child);
                child.phase = Phase::Quarantined { _task: task };
                self.report_quarantine(id, time);
            }
            Decision::Forget => self.end_when_gone(id),
            Decision::Escalate => {
                child.slot.rebind(Binding::Stopped);
                child.phase = Phase::GivenUp;
                self.escalate(id);
            }
        }
    }

    /// A back-off, a quarantine or a probation is over.
    pub(super) fn waited(&mut self, id: ChildId, turn: Turn) {
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
            _ => {}
        }
    }

    /// The last incarnation of a child that is to end is entirely gone.
    pub(super) fn gone(&mut self, id: ChildId) {
        self.end(id);
    }

    /// A child that sleeps is needed.
    pub(super) fn wake(&mut self, id: ChildId) {
        let Some(child) = self.nursery.children.get_mut(&id) else { return };
        if matches!(child.phase, Phase::Asleep) {
            child.woken = true;
            begin(self.myself, id, child);
        }
    }

    /// Lets a child finish what it has; the reply comes when it is gone.
    pub(super) fn stop(&mut self, name: &str, reply: Reply<bool>) {
        let Some(id) = self.nursery.id_of(name) else {
            let _ = reply.send(false);
            return;
        };
        if let Some(child) = self.nursery.children.get_mut(&id) {
            child.stoppers.push(reply);
        }
        self.begin_stop(id);
    }

    /// Kills the running incarnation at `path`; whether there is one.
    pub(super) fn crash(&self, path: &str) -> bool {
        let cell = self.nursery.running(path);
        if let Some(cell) = &cell {
            cell.kill();
        }
        cell.is_some()
    }

    /// The children, for display.
    pub(super) fn tree(&self) -> Vec<TreeNode> {
        self.nursery.tree()
    }

    /// From now on no child is added, and this supervisor stops after the last one. The names of
    /// those there are, last-started first.
    pub(super) fn close(&mut self) -> Vec<Arc<str>> {
        self.nursery.closed = true;
        let names = self.nursery.names_from_the_last();
        self.stop_when_drained();
        names
    }

    /// Lets all children finish what they have, at once.
    pub(super) fn drain_all(&mut self) {
        self.nursery.closed = true;
        let children: Vec<_> = self.nursery.children.keys().rev().copied().collect();
        for id in children {
            self.begin_stop(id);
        }
        self.stop_when_drained();
    }

    /// In a later incarnation of this supervisor: its children died with the former one.
    pub(super) fn start_all_again(&mut self) {
        self.nursery.forget_incarnations();
        let children: Vec<_> = self.nursery.children.keys().copied().collect();
        for id in children {
            let Some(child) = self.nursery.children.get_mut(&id) else { continue };
            if child.stopping {
                self.end_when_gone(id);
            } else if matches!(child.phase, Phase::Asleep) {
                self.put_to_sleep(id);
            } else if !matches!(child.phase, Phase::GivenUp) {
                "its supervisor was restarted".clone_into(&mut child.last_reason);
                begin(self.myself, id, child);
            }
        }
        self.stop_when_drained();
    }

    /// Tells whoever waits for the first start, or everyone of a restart.
    fn announce(&mut self, id: ChildId) {
        let Some(child) = self.nursery.children.get_mut(&id) else { return };
        if let Some(starter) = child.starter.take() {
            let _ = starter.send(Ok(()));
            return;
        }
        if std::mem::take(&mut child.woken) {
            return;
        }
        child.restarts = child.restarts.saturating_add(1);
        let actor = self.family.path_of(&child.name);
        let (restarts, reason) = (child.ledger.restarts().max(1), child.last_reason.clone());
        tracing::warn!(%actor, restarts, %reason, "actor restarted");
        self.family.events.emit(EventKind::ActorRestarted { actor, restarts, reason });
    }

    /// The child has no incarnation until somebody needs one.
    fn put_to_sleep(&mut self, id: ChildId) {
        let Some(child) = self.nursery.children.get_mut(&id) else { return };
        child.phase = Phase::Asleep;
        let waker = Waker { supervisor: self.myself.clone(), child: id };
        child.slot.rebind(Binding::Asleep(waker));
    }

    fn report_quarantine(&self, id: ChildId, retry_in: Duration) {
        let Some(child) = self.nursery.children.get(&id) else { return };
        let (actor, reason) = (self.family.path_of(&child.name), child.last_reason.clone());
        tracing::error!(%actor, ?retry_in, %reason, "actor quarantined");
        self.family.events.emit(EventKind::ActorQuarantined { actor, retry_in, reason });
    }

    fn escalate(&self, id: ChildId) {
        let Some(child) = self.nursery.children.get(&id) else { return };
        let (actor, reason) = (self.family.path_of(&child.name), &child.last_reason);
        tracing::error!(%actor, %reason, "actor can not come back");
        let message = format!("{actor} can not be kept running: {reason}");
        self.family.escalate(Error::new(ErrorKind::ShuttingDown, message));
    }

    fn did_not_start(&mut self, id: ChildId, error: SpawnErr) {
        let Some(child) = self.nursery.children.get_mut(&id) else { return };
        if let Some(starter) = child.starter.take() {
            let _ = starter.send(Err(failure::of_a_first_start(&child.name, error)));
            return self.end(id);
        }
        let reason = format!("did not start: {}", failure::of_a_start(&error));
        self.died(id, Death { exit: Exit::Fault, reason });
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
            Phase::Unstarted | Phase::Starting { .. } | Phase::Ending { .. } => {}
            Phase::Asleep => self.end_when_gone(id),
            Phase::BackingOff { .. } | Phase::Quarantined { .. } | Phase::GivenUp => self.end(id),
        }
    }

    /// Ends the child once its last incarnation is entirely gone, so that whatever it held (a file,
    /// a lock) is free when those who wait for the end hear of it.
    fn end_when_gone(&mut self, id: ChildId) {
        let Some(child) = self.nursery.children.get_mut(&id) else { return };
        child.stopping = true;
        child.slot.rebind(Binding::Stopped);
        let Some(former) = child.former.take() else { return self.end(id) };
        let myself = self.myself.clone();
        let task = Task::spawn(async move {
            let _ = former.await;
            let _ = myself.send_message(SupervisorMessage::Gone { child: id });
        });
        child.phase = Phase::Ending { _task: task };
    }

    /// The child is over: its handle is told, and whoever waited for it.
    fn end(&mut self, id: ChildId) {
        let Some(mut child) = self.nursery.remove(id) else { return };
        for stopper in child.stoppers.drain(..) {
            let _ = stopper.send(true);
        }
        if let Some(starter) = child.starter.take() {
            let _ = starter.send(Err(AskError::Stopped.into()));
        }
        drop(child);
        self.stop_when_drained();
    }

    /// A supervisor that takes no more children has nothing to do after the last one.
    fn stop_when_drained(&self) {
        if self.nursery.closed && self.nursery.children.is_empty() {
            self.myself.stop(None);
        }
    }
}

/// Starts the child in a task of its own, after its former incarnation is entirely gone.
fn begin(myself: &ActorRef<SupervisorMessage>, id: ChildId, child: &mut Child) {
    child.slot.rebind(Binding::Restarting);
    let (former, start, myself) = (child.former.take(), Arc::clone(&child.start), myself.clone());
    let turn = child.next_turn();
    let starting = async move {
        if let Some(former) = former {
            let _ = former.await;
        }
        let supervisor = myself.get_cell();
        let starting = AssertUnwindSafe(async move { start(supervisor).await });
        let outcome = starting.catch_unwind().await.unwrap_or_else(|_| {
            let panicked = Error::new(ErrorKind::Transient, "the starter panicked");
            Err(SpawnErr::StartupFailed(panicked.into()))
        });
        let _ = myself.send_message(SupervisorMessage::Started { child: id, turn, outcome });
    };
    // What it does first is for whoever needs it.
    child.phase = Phase::Starting { _task: Task::spawn(starting.in_current_span()) };
}

/// Reports back after `time`, unless the child has another turn by then.
fn wait(
    family: &Family,
    myself: &ActorRef<SupervisorMessage>,
    time: Duration,
    id: ChildId,
    child: &mut Child,
) -> Task {
    let turn = child.next_turn();
    let (wait, myself) = (family.sources.clock.wait(time), myself.clone());
    Task::spawn(async move {
        wait.await;
        let _ = myself.send_message(SupervisorMessage::Waited { child: id, turn });
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
