//! One pending device sign-in: turns what comes in into events for the flow, and carries out what
//! the flow says. It waits for nothing; polls, exchange and storing are tasks that report back.

use std::sync::{Arc, Mutex, PoisonError};

use ractor::{ActorProcessingErr, ActorRef};
use tokio::sync::watch;

use super::super::actor::GrantSink;
use super::super::outcome::{Ending, Outcome};
use super::super::verdict::{not_stored, stopping};
use super::flow::{Effect, Event, Flow};
use super::handle::DeviceProgress;
use super::messages::{DeviceInternal, DeviceMessage, News};
use crate::clock::Sources;
use crate::error::Error;
use crate::identity::{CredentialId, LoginId};
use crate::oauth::{DeviceAuthorization, Transport};
use crate::provider::{
    CodeExchange, DeviceAnswer, DeviceCode, Failure, FailureClass, Grant, Provider,
};
use crate::secret::Secret;
use crate::supervision::{Alarm, Errands, EventBus, Timekeeper};

/// What a device sign-in begins with.
pub(in super::super) struct DeviceArguments {
    pub(in super::super) id: LoginId,
    pub(in super::super) credential: CredentialId,
    pub(in super::super) provider: Arc<dyn Provider>,
    pub(in super::super) transport: Transport,
    pub(in super::super) sink: GrantSink,
    pub(in super::super) authorization: DeviceAuthorization,
    pub(in super::super) progress: watch::Sender<DeviceProgress>,
    pub(in super::super) outcome: watch::Sender<Outcome>,
    pub(in super::super) timekeeper: Timekeeper,
    pub(in super::super) sources: Sources,
    pub(in super::super) events: EventBus,
}

/// The arguments, for the one start that a sign-in has.
pub(in super::super) type ForOneStart = Arc<Mutex<Option<DeviceArguments>>>;

pub(in super::super) struct DeviceActor;

/// None after the end: what is secret in it is wiped then.
pub(in super::super) struct State(Option<Pending>);

struct Pending {
    flow: Flow,
    questions: Questions,
    sink: GrantSink,
    errands: Errands<Report>,
    alarm: Alarm,
    progress: watch::Sender<DeviceProgress>,
    sources: Sources,
    ending: Ending,
}

/// What a task of the sign-in comes back with.
enum Report {
    Polled(u32, Result<DeviceAnswer, Failure>),
    Exchanged(u32, Result<Grant, Failure>),
    Stored(Result<(), Error>),
}

#[ractor::actor(message = DeviceMessage, state = State, arguments = ForOneStart)]
impl DeviceActor {
    async fn pre_start(
        &self,
        myself: ActorRef<DeviceMessage>,
        arguments: ForOneStart,
    ) -> Result<State, ActorProcessingErr> {
        let arguments = arguments.lock().unwrap_or_else(PoisonError::into_inner).take();
        let arguments = arguments.ok_or("a sign-in is started once")?;
        Ok(State(Some(Pending::begin(arguments, myself))))
    }

    async fn handle(
        &self,
        myself: ActorRef<DeviceMessage>,
        message: DeviceMessage,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let Some(pending) = &mut state.0 else { return Ok(()) };
        pending.take(message);
        if pending.flow.is_over() {
            myself.stop(None);
        }
        Ok(())
    }

    /// The end. A grant that is being obtained is not given up.
    async fn post_stop(
        &self,
        _myself: ActorRef<DeviceMessage>,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let Some(mut pending) = state.0.take() else { return Ok(()) };
        while !pending.flow.is_over()
            && let Some(report) = pending.errands.next().await
        {
            pending.hear(report);
        }
        pending.ending.end(Err(stopping()));
        Ok(())
    }
}

impl Pending {
    fn begin(arguments: DeviceArguments, myself: ActorRef<DeviceMessage>) -> Self {
        let DeviceArguments { id, credential, authorization, sources, events, .. } = arguments;
        let (nudged, rung) = (myself.clone(), myself);
        // Sending to itself fails only when the sign-in is over.
        let errands = Errands::new(move || drop(nudged.send_message(News::ErrandReturned.into())));
        let alarm =
            arguments.timekeeper.alarm(move || drop(rung.send_message(News::AlarmRang.into())));
        let end = authorization.requested_at.after(authorization.lifetime);
        let pending = Self {
            flow: Flow::new(authorization.interval, sources.now(), end),
            questions: Questions {
                provider: arguments.provider,
                transport: arguments.transport,
                authorization: Arc::new(authorization),
            },
            sink: arguments.sink,
            errands,
            alarm,
            progress: arguments.progress,
            sources,
            ending: Ending::new(id, credential, events, arguments.outcome),
        };
        pending.wake_up();
        pending
    }

    fn take(&mut self, message: DeviceMessage) {
        match message {
            DeviceMessage::Cancel { reply } => {
                self.step(Event::Cancelled);
                let _ = reply.send(());
            }
            DeviceMessage::Internal(DeviceInternal(News::AlarmRang)) => {
                self.step(Event::AlarmRang);
            }
            DeviceMessage::Internal(DeviceInternal(News::ErrandReturned)) => {
                while let Some(report) = self.errands.returned() {
                    self.hear(report);
                }
            }
        }
    }

    fn hear(&mut self, report: Report) {
        self.step(match report {
            Report::Polled(attempt, result) => {
                self.progress.send_modify(|progress| progress.polls += 1);
                Event::Polled { attempt, result }
            }
            Report::Exchanged(attempt, result) => Event::Exchanged { attempt, result },
            Report::Stored(result) => Event::Stored(result),
        });
    }

    fn step(&mut self, event: Event) {
        let effect = self.flow.step(event, self.sources.now());
        self.wake_up();
        match effect {
            None => {}
            Some(Effect::Poll { attempt }) => {
                let questions = self.questions.clone();
                self.errands.send(
                    async move { Report::Polled(attempt, questions.poll().await) },
                    // The next poll tells.
                    move || Report::Polled(attempt, Err(died(UNANSWERED))),
                );
            }
            Some(Effect::Exchange { attempt, code }) => {
                let questions = self.questions.clone();
                self.errands.send(
                    async move { Report::Exchanged(attempt, questions.exchange(code).await) },
                    move || Report::Exchanged(attempt, Err(died(FailureClass::Uncertain))),
                );
            }
            Some(Effect::Store { grant, after }) => {
                let (sink, pause) = (Arc::clone(&self.sink), self.sources.clock.wait(after));
                let work = async move {
                    pause.await;
                    Report::Stored(sink(grant).await.map(|_| ()))
                };
                self.errands.send(work, || Report::Stored(Err(not_stored())));
            }
            Some(Effect::Finish(result)) => self.ending.end(result),
        }
    }

    /// Sets the alarm for what is next, and tells the holders.
    fn wake_up(&self) {
        let next = self.flow.next();
        match next {
            Some(next) => self.alarm.set(next),
            None => self.alarm.clear(),
        }
        let interval = self.flow.interval();
        self.progress.send_modify(|progress| {
            progress.interval = interval;
            progress.next_poll = next.map(|next| next.wall);
        });
    }
}

/// What is asked of the provider.
#[derive(Clone)]
struct Questions {
    provider: Arc<dyn Provider>,
    transport: Transport,
    authorization: Arc<DeviceAuthorization>,
}

impl Questions {
    async fn poll(self) -> Result<DeviceAnswer, Failure> {
        self.provider.poll_device(&self.transport, &self.authorization).await
    }

    async fn exchange(self, code: DeviceCode) -> Result<Grant, Failure> {
        let exchange = CodeExchange {
            code: &code.code,
            // The provider itself made the code and its verifier: there was no redirect to bind.
            state: &Secret::new(""),
            redirect_uri: &code.redirect_uri,
            code_verifier: &code.code_verifier,
        };
        self.provider.exchange_code(&self.transport, exchange).await
    }
}

const UNANSWERED: FailureClass = FailureClass::Transient { retry_after: None };

/// The outcome of a task that died: nobody knows how far it got.
fn died(class: FailureClass) -> Failure {
    Failure::new(class, "the exchange was interrupted")
}
