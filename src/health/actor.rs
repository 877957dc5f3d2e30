//! The actor that watches the providers: it turns messages into events for the monitors, and
//! carries out what they say. A look is a task of its own, and ends with the actor.

use std::collections::HashMap;
use std::sync::Arc;

use dashmap::DashSet;
use ractor::{ActorProcessingErr, ActorRef};

use super::board::{Board, Health, HealthCheck};
use super::messages::{HealthMessage, Internal, News};
use super::monitor::{Effect, Event, Evidence, HealthPolicy, Monitor};
use crate::clock::Sources;
use crate::error::{Error, ErrorKind};
use crate::event::EventKind;
use crate::identity::ProviderId;
use crate::oauth::Transport;
use crate::provider::{self, Failure, FailureClass, Provider, shortly};
use crate::supervision::{Alarm, Errands, EventBus, Reply, Timekeeper};

/// What every incarnation of the actor is given.
#[derive(Clone)]
pub(super) struct Arguments {
    /// How providers are watched; none: they are looked at only when somebody asks.
    pub(super) policy: Option<HealthPolicy>,
    pub(super) providers: Vec<Arc<dyn Provider>>,
    pub(super) in_use: Arc<DashSet<ProviderId>>,
    pub(super) board: Arc<Board>,
    pub(super) transport: Transport,
    pub(super) timekeeper: Timekeeper,
    pub(super) sources: Sources,
    pub(super) events: EventBus,
}

pub(super) struct Watch;

/// The state of the actor.
pub(super) struct Watching {
    is: Arguments,
    watched: HashMap<ProviderId, Watched>,
    errands: Errands<Looked>,
}

/// One provider under watch.
struct Watched {
    provider: Arc<dyn Provider>,
    monitor: Monitor,
    alarm: Alarm,
    waiting: Vec<Reply<Result<HealthCheck, Error>>>,
}

/// How a look ended.
struct Looked {
    provider: ProviderId,
    outcome: Result<HealthCheck, Failure>,
}

#[ractor::actor(message = HealthMessage, state = Watching, arguments = Arguments)]
impl Watch {
    async fn pre_start(
        &self,
        myself: ActorRef<HealthMessage>,
        arguments: Arguments,
    ) -> Result<Watching, ActorProcessingErr> {
        let nudged = myself.clone();
        // Fails only when the actor is gone.
        let nudge = move || drop(nudged.send_message(News::ErrandReturned.into()));
        let mut watching =
            Watching { watched: HashMap::new(), errands: Errands::new(nudge), is: arguments };
        for provider in watching.is.providers.clone() {
            watching.watch(provider, &myself);
        }
        Ok(watching)
    }

    async fn handle(
        &self,
        _myself: ActorRef<HealthMessage>,
        message: HealthMessage,
        watching: &mut Watching,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            HealthMessage::Check { provider, reply } => watching.check(&provider, reply),
            HealthMessage::Internal(Internal(News::Due(provider))) => {
                watching.step(&provider, Event::Due);
            }
            HealthMessage::Internal(Internal(News::ErrandReturned)) => {
                while let Some(looked) = watching.errands.returned() {
                    watching.looked(looked);
                }
            }
        }
        Ok(())
    }
}

impl Watching {
    fn watch(&mut self, provider: Arc<dyn Provider>, myself: &ActorRef<HealthMessage>) {
        let (id, watch) = (provider.id().clone(), myself.clone());
        let own = provider.health();
        let policy = self.is.policy.unwrap_or_default();
        let policy = HealthPolicy { every: own.every.unwrap_or(policy.every), ..policy };
        let periodic = self.is.policy.is_some() && own.is_checked();
        let known = self.is.board.read(&id).map_or(Health::UNKNOWN, |it| Health::clone(&it));
        let due = id.clone();
        let ring = move || drop(watch.send_message(News::Due(due.clone()).into()));
        let watched = Watched {
            provider,
            monitor: Monitor::new(policy, periodic, known),
            alarm: self.is.timekeeper.alarm(ring),
            waiting: Vec::new(),
        };
        self.watched.insert(id.clone(), watched);
        self.step(&id, Event::Begin);
    }

    fn check(&mut self, provider: &ProviderId, reply: Reply<Result<HealthCheck, Error>>) {
        let Some(watched) = self.watched.get_mut(provider) else {
            let _ = reply.send(Err(provider::unknown(provider, self.watched.keys())));
            return;
        };
        if !watched.provider.health().is_checked() {
            let text = format!("{provider} is not to be checked, set health.probe to change that");
            let _ = reply.send(Err(Error::new(ErrorKind::InvalidInput, text)));
            return;
        }
        watched.waiting.push(reply);
        self.step(provider, Event::Asked);
    }

    fn looked(&mut self, Looked { provider, outcome }: Looked) {
        let found = match &outcome {
            Ok(check) => Ok(check.latency),
            Err(failure) => Err(failure.reason.clone()),
        };
        // What was found is there for everyone to read before anyone is answered.
        self.step(&provider, Event::Looked(found));
        if let Some(watched) = self.watched.get_mut(&provider) {
            for reply in watched.waiting.drain(..) {
                let _ = reply.send(outcome.clone().map_err(Error::from));
            }
        }
    }

    fn step(&mut self, id: &ProviderId, event: Event) {
        let Some(watched) = self.watched.get_mut(id) else { return };
        let sources = &self.is.sources;
        let in_use = self.is.in_use.contains(id);
        let evidence = Evidence { now: sources.now(), noise: sources.noise(), in_use };
        let effects = watched.monitor.step(event, evidence);
        match watched.monitor.due() {
            Some(due) => watched.alarm.set(due),
            None => watched.alarm.clear(),
        }
        for effect in effects {
            match effect {
                Effect::Look => {
                    let (provider, died) = (watched.provider.clone(), id.clone());
                    let (transport, sources) = (self.is.transport.clone(), sources.clone());
                    self.errands.send(look(provider, transport, sources), move || Looked {
                        provider: died,
                        outcome: Err(Failure::new(
                            FailureClass::Transient { retry_after: None },
                            "the task of the check died",
                        )),
                    });
                }
                Effect::Publish(health) => self.is.board.publish(id, health),
                Effect::Tell { from, to, reason } => {
                    let provider = id.clone();
                    tracing::info!(%provider, %from, %to, reason, "a provider's health changed");
                    let changed = EventKind::ProviderHealthChanged { provider, from, to, reason };
                    self.is.events.emit(changed);
                }
            }
        }
    }
}

async fn look(provider: Arc<dyn Provider>, transport: Transport, sources: Sources) -> Looked {
    let begun = sources.now().monotonic;
    let answer = shortly(&transport, provider.check_health(&transport)).await;
    let latency = sources.now().monotonic.saturating_sub(begun);
    Looked { provider: provider.id().clone(), outcome: answer.map(|()| HealthCheck { latency }) }
}
