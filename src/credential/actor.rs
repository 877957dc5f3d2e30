//! The shell around [`Lifecycle`]: it turns messages into events, carries out the effects as tasks
//! that post back, publishes the snapshot, answers the callers. It decides nothing.

mod errands;
mod publishing;
mod resting;

use std::fmt;
use std::sync::Arc;

use futures_util::FutureExt as _;
use ractor::{Actor as _, ActorProcessingErr, ActorRef};
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, Span, debug};

use super::cell::{Cell, Landed};
use super::endpoints::TokenEndpoints;
use super::idle::Rest;
use super::journal::{Came, Contents, JournalError};
use super::lifecycle::{Effect, Event, Evidence, Lifecycle, Loaded};
use super::material::Material;
use super::messages::{Answer, Inner, ProviderMessage, SignedOut};
use super::records::{Records, Stored, overtaken};
use super::revocations::Revocations;
use super::snapshot::Snapshot;
use crate::clock::Sources;
use crate::error::Error;
use crate::identity::{CredentialId, Generation, Method};
use crate::oauth::Transport;
use crate::provider::Provider;
use crate::supervision::{ChildSpec, EventBus, Handle, Reply, Timekeeper};
use crate::vault::VaultHandle;
use crate::vault::audit::{AuditEntry, AuditKind};

/// How many callers may wait for one credential at a time.
const ADMISSION: usize = 1 << 18;

/// What all credentials of a runtime share.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    pub(crate) sources: Sources,
    pub(crate) events: EventBus,
    pub(crate) vault: VaultHandle,
    pub(crate) transport: Transport,
    pub(crate) endpoints: TokenEndpoints,
    pub(crate) timekeeper: Timekeeper,
    pub(crate) revocations: Revocations,
    pub(crate) rest: Rest,
    /// Renewals, sign-ins and sign-outs under way; a shutdown waits for them.
    pub(crate) tasks: TaskTracker,
}

/// What one credential's actor works with.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) id: CredentialId,
    pub(crate) provider: Arc<dyn Provider>,
    pub(crate) shared: Arc<Shared>,
}

/// The specification of one credential's actor as a child of the credentials' supervisor.
pub(crate) fn child(context: Arc<Context>, cell: Arc<Cell>) -> ChildSpec<ProviderMessage> {
    ChildSpec::new(context.id.to_string(), move |spawning| {
        let arguments =
            Arguments { context: context.clone(), cell: cell.clone(), handle: spawning.handle };
        ProviderActor::spawn_linked(None, ProviderActor, arguments, spawning.supervisor).boxed()
    })
    .admission(ADMISSION)
}

/// One credential's actor.
struct ProviderActor;

struct Arguments {
    context: Arc<Context>,
    cell: Arc<Cell>,
    handle: Handle<ProviderMessage>,
}

struct State {
    context: Arc<Context>,
    cell: Arc<Cell>,
    handle: Handle<ProviderMessage>,
    core: Lifecycle,
    /// The material whose headers the published snapshot has.
    published: Option<Arc<Material>>,
    waiting: Vec<Waiter>,
    /// The span of the renewal under way.
    renewal: Span,
    inspecting: Vec<Reply<Arc<Snapshot>>>,
    signing_out: Option<Reply<Result<SignedOut, Error>>>,
    /// It was needed since it was last asked to rest.
    needed: bool,
    /// It asks the vault whether it can rest.
    comparing: bool,
    /// It ends; what still comes is for the next one.
    asleep: bool,
}

/// A caller that waits for a token, and the span that it waits in. The span is kept whole, since a
/// caller that gives up closes it, and nothing can stand beneath one that is closed.
struct Waiter {
    reply: Reply<Answer>,
    span: Span,
}

// Boxed, since the futures of ractor have room for several states each.
#[ractor::actor(message = ProviderMessage, state = Box<State>, arguments = Arguments)]
impl ProviderActor {
    async fn pre_start(
        &self,
        myself: ActorRef<ProviderMessage>,
        arguments: Arguments,
    ) -> Result<Box<State>, ActorProcessingErr> {
        let Arguments { context, cell, handle } = arguments;
        let _ = myself.cast(ProviderMessage::inner(Inner::Load));
        cell.alarm(|| {
            let handle = handle.downgrade();
            context.shared.timekeeper.alarm_in_turn(move || {
                if let Some(handle) = handle.upgrade() {
                    handle.post(ProviderMessage::inner(Inner::Deadline));
                }
            })
        });
        let core = Lifecycle::new(context.id.clone(), context.provider.refresh_policy());
        let (shown, generation) = {
            let last = cell.peek();
            (last.state(), last.generation())
        };
        let core = core.after(shown, generation);
        Ok(Box::new(State {
            context,
            cell,
            handle,
            core,
            published: None,
            waiting: Vec::new(),
            renewal: Span::none(),
            inspecting: Vec::new(),
            signing_out: None,
            needed: true,
            comparing: false,
            asleep: false,
        }))
    }

    async fn handle(
        &self,
        myself: ActorRef<ProviderMessage>,
        message: ProviderMessage,
        state: &mut Box<State>,
    ) -> Result<(), ActorProcessingErr> {
        if state.asleep {
            if !message.is_about_rest() {
                state.handle.post(message);
            }
            return Ok(());
        }
        match message {
            ProviderMessage::Acquire { reply } => state.step(Event::Acquire, Some(reply)),
            ProviderMessage::Inspect { reply } => {
                state.inspecting.push(reply);
                state.answer_inspections();
            }
            ProviderMessage::Rejected { generation, reply } => {
                state.step(Event::Rejected { generation }, Some(reply));
            }
            ProviderMessage::RefusedAgain { generation, reply } => {
                state.step(Event::RefusedAgain { generation }, Some(reply));
            }
            ProviderMessage::Refresh { reply } => state.step(Event::Refresh, Some(reply)),
            ProviderMessage::Invalidate { reply } => {
                state.note_invalidation();
                state.step(Event::Invalidate, Some(reply));
            }
            ProviderMessage::Accepted { generation } => {
                state.step(Event::Accepted { generation }, None);
            }
            ProviderMessage::AllowFallback { allowed, reply } => {
                state.allow_fallback(allowed, reply);
            }
            ProviderMessage::SignIn { with, reply } => state.sign_in(with, reply),
            ProviderMessage::SignOut { reply } => {
                state.cell.desk().sign_out();
                state.signing_out = Some(reply);
                state.step(Event::SignOut, None);
            }
            ProviderMessage::Internal(internal) => state.internal(internal.0, &myself),
        }
        Ok(())
    }
}

impl State {
    fn internal(&mut self, inner: Inner, myself: &ActorRef<ProviderMessage>) {
        match inner {
            Inner::Load => self.load(),
            Inner::Loaded(contents) => self.loaded(contents),
            Inner::Deadline => self.step(Event::Deadline, None),
            Inner::LookAtTheDesk => self.look_at_the_desk(),
            Inner::Rest => self.rest(),
            Inner::Compared(contents) => self.fall_asleep(contents, myself),
            Inner::SignedIn { outcome: Ok(stored), reply } => {
                let _ = reply.send(self.signed_in(stored));
            }
            Inner::SignedIn { outcome: Err(error), reply } => {
                let _ = reply.send(Err(error));
            }
            Inner::Permitted { allowed, begun, outcome, reply } => {
                let in_time = self.cell.desk().era() == begun;
                let outcome =
                    outcome.and_then(|()| if in_time { Ok(()) } else { Err(overtaken()) });
                if outcome.is_ok() {
                    self.step(Event::StandIn { allowed }, None);
                }
                let _ = reply.send(outcome);
            }
            Inner::Saved { generation, result } => {
                self.step(Event::Saved { generation, result }, None);
            }
            Inner::Erased { generation, result, revoked, reply } => {
                let stored = result.clone().map_err(|error| error.to_string());
                self.step(Event::Erased { generation, result: stored, revoked }, None);
                if let Some(reply) = reply {
                    let _ = reply.send(result.map(|()| SignedOut { revoked }));
                }
            }
        }
    }

    /// Records that a token is taken out of use before its time.
    fn note_invalidation(&self) {
        let Context { id, shared, .. } = &*self.context;
        if id.method != Method::ApiKey && self.core.material().is_some() {
            let entry = AuditEntry::of_credential(AuditKind::TokenCleared, id);
            shared.vault.note(entry.origin("credentials"));
        }
    }

    /// Takes in what a sign-in stored, unless it was overtaken. The core alone can not tell: one
    /// that was restarted does not know the generations that it has signed out of.
    fn signed_in(&mut self, stored: Stored) -> Result<Generation, Error> {
        let Stored { material, begun, unsaved } = stored;
        if self.cell.desk().era() != begun {
            return Err(overtaken());
        }
        let generation = material.generation;
        self.step(Event::SignedIn { material, unsaved }, None);
        let in_force = self.core.material().map(|material| material.generation);
        if in_force == Some(generation) { Ok(generation) } else { Err(overtaken()) }
    }

    /// Steps the core, publishes what became of it, and only then carries out the effects.
    fn step(&mut self, event: Event, mut caller: Option<Reply<Answer>>) {
        self.needed = true;
        let sources = &self.context.shared.sources;
        let evidence = Evidence { now: sources.now(), noise: sources.noise() };
        let asks = matches!(event, Event::Acquire);
        let effects = self.core.step(event, evidence);
        // One more who asks, of the many who may, changes nothing that anybody could see or wait for.
        let changes_nothing = asks
            && match effects[..] {
                [Effect::Answer(Ok(()))] => self.cell.peek().is_usable(evidence.now),
                [Effect::Answer(Err(_))] => true,
                [Effect::Park] => !self.waiting.is_empty(),
                _ => false,
            };
        if !changes_nothing {
            self.publish(evidence);
        }
        for effect in effects {
            self.carry_out(effect, &mut caller);
        }
        if changes_nothing {
            return;
        }
        self.answer_inspections();
        self.cell.set_deadline(self.core.next_deadline(evidence.now));
    }

    fn carry_out(&mut self, effect: Effect, caller: &mut Option<Reply<Answer>>) {
        match effect {
            Effect::Load => self.load(),
            Effect::Renew { material, in_doubt } => self.renew(material, in_doubt),
            Effect::Save { material } => self.save(material),
            Effect::Erase { generation, material } => self.erase(generation, material),
            Effect::Remember { generation, trouble } => {
                // The handle is held, so that nobody forgets the credential over what it remembers.
                let (records, held) = (self.records(), self.handle.clone());
                let remembering = async move {
                    records.remember(generation, &trouble).await;
                    drop(held);
                };
                self.context.shared.tasks.spawn(remembering.in_current_span());
            }
            Effect::Forget { generation } => {
                let (records, held) = (self.records(), self.handle.clone());
                let forgetting = async move {
                    records.forget(generation).await;
                    drop(held);
                };
                self.context.shared.tasks.spawn(forgetting.in_current_span());
            }
            Effect::Park => self.park(caller.take()),
            Effect::Answer(answer) => {
                if let Some(reply) = caller.take() {
                    let _ = reply.send(answer.map(|()| self.cell.snapshot()));
                }
            }
            Effect::AnswerAll(answer) => {
                let answer = answer.map(|()| self.cell.snapshot());
                for Waiter { reply, .. } in std::mem::take(&mut self.waiting) {
                    let _ = reply.send(answer.clone());
                }
            }
            Effect::Emit(kind) => self.context.shared.events.emit(kind),
        }
    }

    /// Keeps a caller waiting. A renewal that is under way already is theirs from now on, too.
    fn park(&mut self, caller: Option<Reply<Answer>>) {
        let Some(reply) = caller else { return };
        let span = Span::current();
        if self.waiting.is_empty() {
            self.cell.desk().wait();
        }
        self.renewal.follows_from(span.id());
        self.waiting.push(Waiter { reply, span });
    }

    fn loaded(&mut self, contents: Result<Contents, JournalError>) {
        let contents = match contents {
            Ok(contents) => contents,
            Err(error) => {
                let (reason, lasting) = (error.to_string(), error.is_lasting());
                return self.step(Event::LoadFailed { reason, lasting }, None);
            }
        };
        let loaded = self.known(contents);
        self.step(Event::Loaded(loaded), None);
        self.look_at_the_desk();
    }

    /// What the vault and the desk have, together. The desk has material only while the vault could not
    /// take it:
    ///
    /// | the vault has | the desk has | what counts |
    /// | --- | --- | --- |
    /// | anything | nothing | what the vault has |
    /// | nothing, or a lower generation | what a renewal brought | what the desk has |
    /// | the same generation or a higher one | what a renewal brought | what the vault has: the write took effect, or somebody signed in |
    /// | anything | what a sign-in brought | what the desk has: its generation may have been counted without what is stored |
    fn known(&self, contents: Contents) -> Loaded {
        let desk = self.cell.desk();
        let material = match (&desk.unsaved, contents.material) {
            (Some(unsaved), stored)
                if desk.came == Came::BySignIn
                    || stored.as_ref().is_none_or(|s| s.generation < unsaved.generation) =>
            {
                Some(unsaved.clone())
            }
            (_, stored) => stored,
        };
        let material = material.map(|material| desk.as_it_was_obtained(material));
        let generation = material.as_ref().map(|material| material.generation);
        let unsaved = desk.unsaved.as_ref().map(|unsaved| unsaved.generation);
        // One that has landed is still under way as far as the core knows.
        let flight = desk
            .flight
            .or_else(|| desk.landed.back().map(|landed| landed.flight))
            .filter(|flight| Some(flight.base) == generation);
        Loaded {
            in_doubt: match flight {
                Some(flight) => flight.in_doubt,
                None => contents.intent.is_some() && contents.intent == generation,
            },
            trouble: contents
                .trouble
                .filter(|(about, _)| Some(*about) == generation)
                .map(|(_, trouble)| trouble),
            under_way: flight.is_some(),
            unsaved: unsaved.is_some() && unsaved == generation,
            conflict: material.as_ref().and_then(|material| self.conflict(material)),
            signed_out: desk.signed_out,
            stands_in: contents.stands_in,
            material,
        }
    }

    /// Why `material` is not for the client that the settings name now, where it is not.
    fn conflict(&self, material: &Material) -> Option<String> {
        let Context { id, provider, .. } = &*self.context;
        let now = provider.registration();
        material.issued_to.conflict(&now).or_else(|| {
            let others =
                id.method.needs_no_user() && material.issued_to.asks_for_other_scopes(&now);
            others.then(|| "it is for other scopes".to_owned())
        })
    }

    fn look_at_the_desk(&mut self) {
        loop {
            let landed = self.cell.desk().landed.pop_front();
            let Some(Landed { flight, outcome }) = landed else {
                if self.cell.desk().flight.is_none() {
                    // One that nobody waits for any more ended without a word.
                    self.renewal = Span::none();
                }
                return;
            };
            self.renewal = Span::none();
            debug!(
                target: "tokenward::rotation",
                step = "before-publication",
                credential = %self.context.id,
                generation = flight.base.0,
            );
            self.step(Event::Renewed { base: flight.base, outcome }, None);
        }
    }

    fn records(&self) -> Records {
        Records { context: self.context.clone(), cell: self.cell.clone() }
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("id", &self.context.id).finish_non_exhaustive()
    }
}
