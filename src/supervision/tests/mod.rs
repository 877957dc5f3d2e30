//! The room as a whole: real actors, simulated time.

mod draining;
mod handles;
mod restarts;
mod sleeping;
mod timekeeping;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use ractor::{Actor as _, ActorProcessingErr, ActorRef};
use tokio::sync::{oneshot, watch};

use super::*;
use crate::error::{Error, ErrorKind};
use crate::event::EventKind;
use crate::testing::ManualClock;

/// A tree on simulated time, and what it reports.
struct Stage {
    clock: Arc<ManualClock>,
    bus: EventBus,
    events: Events,
    root: Supervisor,
}

impl Stage {
    async fn set() -> Self {
        let clock = ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_hours(500_000));
        let bus = EventBus::new(clock.sources());
        let events = bus.subscribe();
        let root = Supervisor::start("root", clock.sources(), bus.clone()).await.expect("a root");
        Self { clock, bus, events, root }
    }

    async fn event(&mut self) -> EventKind {
        match self.events.next().await {
            Some(Notice::Event(event)) => event.kind.clone(),
            other => panic!("no event but {other:?}"),
        }
    }

    /// Lets a child that crashes over and over get into quarantine, and returns how often it was
    /// restarted on the way.
    async fn until_quarantine(&mut self) -> u32 {
        let clock = Arc::clone(&self.clock);
        let mut restarted = 0;
        loop {
            tokio::select! {
                biased;
                event = self.event() => match event {
                    EventKind::ActorRestarted { .. } => restarted += 1,
                    EventKind::ActorQuarantined { .. } => return restarted,
                    other => panic!("{other:?}"),
                },
                () = clock.until_waits(1) => {
                    clock.advance(clock.next_wait().unwrap_or_default());
                }
            }
        }
    }
}

/// What the test actor is asked to do.
enum Ask {
    /// Answer with the incarnation's number and the value.
    Echo(u32, Reply<(u32, u32)>),
    /// Panic with this text.
    Panic(&'static str),
    /// Panic with the request in hand, in this incarnation and the ones before.
    PanicUntil(u32, Reply<u32>),
    /// Stop as an actor does that is done.
    Leave,
    /// Say that it began, then wait for the gate before answering.
    Wait { began: oneshot::Sender<()>, gate: watch::Receiver<bool>, reply: Reply<()> },
    /// Keep the reply and go on.
    Park(Reply<()>),
    /// Sleep, if nobody waits for an answer, and say whether.
    Sleep(oneshot::Sender<bool>),
    /// Be handled.
    Note(#[allow(dead_code, reason = "held for its drop")] Permit),
}

fn no_bread() -> Error {
    Error::new(ErrorKind::Transient, "no bread")
}

struct TestActor {
    incarnation: u32,
    dies_at_once: bool,
    handle: Handle<Ask>,
}

#[ractor::actor(message = Ask, state = Vec<Reply<()>>)]
impl TestActor {
    async fn pre_start(
        &self,
        _: ActorRef<Ask>,
        (): (),
    ) -> Result<Vec<Reply<()>>, ActorProcessingErr> {
        Ok(Vec::new())
    }

    async fn post_start(
        &self,
        _: ActorRef<Ask>,
        _: &mut Vec<Reply<()>>,
    ) -> Result<(), ActorProcessingErr> {
        if self.dies_at_once { Err(no_bread().into()) } else { Ok(()) }
    }

    async fn handle(
        &self,
        myself: ActorRef<Ask>,
        message: Ask,
        parked: &mut Vec<Reply<()>>,
    ) -> Result<(), ActorProcessingErr> {
        if self.handle.status() == ChildStatus::Asleep {
            self.handle.post(message);
            return Ok(());
        }
        match message {
            Ask::Echo(value, reply) => {
                let _ = reply.send((self.incarnation, value));
            }
            Ask::Panic(text) => panic!("{text}"),
            Ask::PanicUntil(incarnation, reply) => {
                assert!(self.incarnation > incarnation, "not yet");
                let _ = reply.send(self.incarnation);
            }
            Ask::Leave => myself.stop(None),
            Ask::Wait { began, mut gate, reply } => {
                let _ = began.send(());
                let _ = gate.wait_for(|open| *open).await;
                let _ = reply.send(());
            }
            Ask::Park(reply) => parked.push(reply),
            Ask::Sleep(outcome) => {
                let asleep = self.handle.fall_asleep();
                if asleep {
                    let _ = myself.drain();
                }
                let _ = outcome.send(asleep);
            }
            Ask::Note(_permit) => {}
        }
        Ok(())
    }
}

/// A test actor that lives until it is told otherwise.
fn sound(name: &str) -> ChildSpec<Ask> {
    dying_in(name, 0..0)
}

/// A test actor whose incarnations within `sick` die as soon as they have started. The first one
/// is number 1.
fn dying_in(name: &str, sick: std::ops::Range<u32>) -> ChildSpec<Ask> {
    let incarnations = AtomicU32::new(0);
    ChildSpec::new(name, move |spawning: Spawning<Ask>| {
        let incarnation = incarnations.fetch_add(1, Ordering::Relaxed) + 1;
        let handle = spawning.handle.clone();
        let dies_at_once = sick.contains(&incarnation);
        let actor = TestActor { incarnation, dies_at_once, handle };
        Box::pin(TestActor::spawn_linked(None, actor, (), spawning.supervisor))
    })
}

/// Restarts without limit and without waiting.
fn eager() -> RestartPolicy {
    RestartPolicy { intensity: u32::MAX, backoff: Duration::ZERO, ..RestartPolicy::default() }
}

async fn echo(handle: &Handle<Ask>, value: u32) -> Result<(u32, u32), AskError> {
    handle.ask_again(|reply| Ask::Echo(value, reply)).await
}
