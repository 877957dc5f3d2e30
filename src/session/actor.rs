//! The session manager: turns messages into events for the table, and carries out what the table
//! says. It waits for nothing; the vault is written by tasks that report back.

use std::collections::HashSet;
use std::sync::Arc;

use ractor::{ActorProcessingErr, ActorRef};
use tracing::Span;

use super::board::Board;
use super::keeping::Keeper;
use super::messages::{Internal, News, SessionMessage};
use super::state::{Change, Effect, Event, SessionPolicy, SessionTable, Stored, Written};
use super::view::{SessionHandle, not_found};
use crate::clock::Sources;
use crate::error::{Error, ErrorKind};
use crate::identity::{SessionId, UserId};
use crate::supervision::{Alarm, Errands, EventBus, Reply, Timekeeper};

/// What every incarnation of the manager is given.
#[derive(Clone)]
pub(super) struct ManagerArguments {
    pub(super) policy: SessionPolicy,
    pub(super) keeper: Keeper,
    pub(super) board: Arc<Board>,
    pub(super) timekeeper: Timekeeper,
    pub(super) sources: Sources,
    pub(super) events: EventBus,
}

pub(super) struct SessionManager;

pub(super) struct Manager {
    is: ManagerArguments,
    table: SessionTable<Waiter>,
    errands: Errands<Outcome>,
    sweep: Alarm,
    loading: Loading,
}

/// Whether the sessions are there.
enum Loading {
    /// They are not, and were not to be had.
    NotYet,
    /// They are being read; these requests wait for them, each with the span that it is of.
    UnderWay(Vec<(SessionMessage, Span)>),
    Done,
}

/// Who waits for an answer, and the span that the request is of: what is written for it stands there.
struct Waiter {
    reply: Waiting,
    span: Span,
}

enum Waiting {
    Open(Reply<Result<SessionHandle, Error>>),
    Done(Reply<Result<(), Error>>),
}

/// What a task of the manager comes back with.
enum Outcome {
    Loaded(Result<Vec<Stored>, Error>),
    Written(SessionId, Written),
    Reread(SessionId, Result<Option<Stored>, Error>),
}

#[ractor::actor(message = SessionMessage, state = Manager, arguments = ManagerArguments)]
impl SessionManager {
    async fn pre_start(
        &self,
        myself: ActorRef<SessionMessage>,
        arguments: ManagerArguments,
    ) -> Result<Manager, ActorProcessingErr> {
        myself.send_message(News::Load.into())?;
        let (nudged, rung) = (myself.clone(), myself);
        // Either fails only when the manager is gone.
        let errands = Errands::new(move || drop(nudged.send_message(News::ErrandReturned.into())));
        let sweep =
            arguments.timekeeper.alarm(move || drop(rung.send_message(News::SweepDue.into())));
        Ok(Manager {
            table: SessionTable::new(arguments.policy),
            errands,
            sweep,
            loading: Loading::NotYet,
            is: arguments,
        })
    }

    async fn handle(
        &self,
        _myself: ActorRef<SessionMessage>,
        message: SessionMessage,
        manager: &mut Manager,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            SessionMessage::Internal(Internal(news)) => manager.hear(news),
            request => manager.take(request),
        }
        Ok(())
    }

    /// The end: what is under way finishes, and the last activity is kept.
    async fn post_stop(
        &self,
        _myself: ActorRef<SessionMessage>,
        manager: &mut Manager,
    ) -> Result<(), ActorProcessingErr> {
        while let Some(outcome) = manager.errands.next().await {
            manager.take_in(outcome);
        }
        if let Loading::UnderWay(parked) = std::mem::replace(&mut manager.loading, Loading::NotYet)
        {
            let stopping = Error::new(ErrorKind::ShuttingDown, "the runtime is stopping");
            for (request, _) in parked {
                request.refuse(stopping.clone());
            }
        }
        manager.hear_of_activity();
        let unsaved = manager.table.unsaved();
        let unsaved: Vec<_> =
            unsaved.map(|(s, last, version)| (s.clone(), last, version)).collect();
        manager.is.keeper.put_all(&unsaved).await;
        Ok(())
    }
}

impl Manager {
    fn hear(&mut self, news: News) {
        match news {
            News::Load => self.load(),
            News::ErrandReturned => {
                while let Some(outcome) = self.errands.returned() {
                    self.take_in(outcome);
                }
            }
            News::SweepDue => {
                self.sweep.set(self.is.sources.now().after(self.is.policy.next_sweep()));
                match self.loading {
                    Loading::Done => {
                        self.hear_of_activity();
                        self.step(Event::Sweep);
                    }
                    Loading::NotYet => self.load(),
                    Loading::UnderWay(_) => {}
                }
            }
        }
    }

    /// Takes a request, now or when the sessions are there.
    fn take(&mut self, request: SessionMessage) {
        if let Loading::NotYet = self.loading {
            self.load();
        }
        match &mut self.loading {
            Loading::UnderWay(parked) => parked.push((request, Span::current())),
            Loading::NotYet | Loading::Done => self.answer(request),
        }
    }

    fn answer(&mut self, request: SessionMessage) {
        match request {
            SessionMessage::Open { user, reply } => match self.fresh_id() {
                Ok(session) => {
                    let by = Waiter::new(Waiting::Open(reply));
                    self.step(Event::Open { user, session, by });
                }
                Err(error) => drop(reply.send(Err(error))),
            },
            SessionMessage::Attach { user, session, reply } => {
                let _ = reply.send(self.find(&user, &session));
            }
            SessionMessage::Switch { user, session, context, reply } => {
                self.change(user, session, Change::Switch(context), reply);
            }
            SessionMessage::Prefer { user, session, context, reply } => {
                self.change(user, session, Change::Prefer(context), reply);
            }
            SessionMessage::Active { user, session, reply } => {
                let found = self.find(&user, &session);
                let _ = reply.send(found.map(|found| found.view().active().cloned()));
            }
            SessionMessage::Providers { user, session, reply } => {
                let found = self.find(&user, &session);
                let _ = reply.send(found.map(|found| found.view().contexts().cloned().collect()));
            }
            SessionMessage::List { user, reply } => {
                for session in self.table.all_of_user(&user) {
                    self.hear_of_activity_in(&session);
                }
                let sessions = self.table.usable_of_user(&user, self.is.sources.now());
                let handles = sessions.iter().filter_map(|session| self.is.board.handle(session));
                let _ = reply.send(Ok(handles.collect()));
            }
            SessionMessage::Touch { user, session, reply } => {
                let touched = self.find(&user, &session);
                if touched.is_ok() {
                    self.is.board.mark(&session, self.is.sources.now());
                }
                let _ = reply.send(touched.map(|_| ()));
            }
            SessionMessage::Close { user, session, reply } => {
                // Looked at for what is recorded of it; the table decides.
                let _ = self.find(&user, &session);
                self.step(Event::Close { user, session, by: Waiter::new(Waiting::Done(reply)) });
            }
            SessionMessage::Internal(_) => {}
        }
    }

    fn change(
        &mut self,
        user: UserId,
        session: SessionId,
        change: Change,
        reply: Reply<Result<(), Error>>,
    ) {
        if self.find(&user, &session).is_ok() {
            self.is.board.mark(&session, self.is.sources.now());
        }
        let by = Waiter::new(Waiting::Done(reply));
        self.step(Event::Change { user, session, change, by });
    }

    /// The session, if it is this user's and can be used.
    fn find(&mut self, user: &UserId, session: &SessionId) -> Result<SessionHandle, Error> {
        self.hear_of_activity_in(session);
        if self.table.is_of_another(user, session) {
            self.is.keeper.denied(user, session);
        }
        self.table.check(user, session, self.is.sources.now())?;
        self.is.board.handle(session).ok_or_else(not_found)
    }

    fn take_in(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Loaded(Ok(stored)) => self.loaded(stored),
            Outcome::Loaded(Err(error)) => {
                tracing::error!(%error, "sessions not loaded");
                self.sweep.set(self.is.sources.now().after(self.is.policy.next_sweep()));
                let waiting = std::mem::replace(&mut self.loading, Loading::NotYet);
                if let Loading::UnderWay(parked) = waiting {
                    for (request, _) in parked {
                        request.refuse(error.clone());
                    }
                }
            }
            Outcome::Written(session, result) => self.step(Event::Written { session, result }),
            Outcome::Reread(session, result) => self.step(Event::Reread { session, result }),
        }
    }

    fn loaded(&mut self, stored: Vec<Stored>) {
        tracing::debug!(sessions = stored.len(), "sessions loaded");
        let loaded: HashSet<_> = stored.iter().map(|stored| stored.session.id.clone()).collect();
        self.is.board.retain(&loaded);
        let effects = self.table.load(stored, self.is.sources.now());
        // What an incarnation before this one heard of and did not get to write.
        for (session, at) in self.is.board.last_uses() {
            self.table.touched(&session, at);
        }
        self.carry_out(effects);
        let waiting = std::mem::replace(&mut self.loading, Loading::Done);
        // What expired while nobody was there is cleaned up at once.
        self.hear(News::SweepDue);
        if let Loading::UnderWay(parked) = waiting {
            for (request, span) in parked {
                span.in_scope(|| self.answer(request));
            }
        }
    }

    fn load(&mut self) {
        self.loading = Loading::UnderWay(Vec::new());
        let keeper = self.is.keeper.clone();
        let work = async move { Outcome::Loaded(keeper.load().await) };
        self.errands.send(work, || Outcome::Loaded(Err(died())));
    }

    fn step(&mut self, event: Event<Waiter>) {
        let effects = self.table.step(event, self.is.sources.now());
        self.carry_out(effects);
    }

    fn carry_out(&mut self, effects: Vec<Effect<Waiter>>) {
        for effect in effects {
            let keeper = self.is.keeper.clone();
            match effect {
                Effect::Put { session, last_activity, expect, entry } => {
                    let id = session.id.clone();
                    self.write(id, async move {
                        keeper.put(&session, last_activity, expect, entry).await
                    });
                }
                Effect::Remove { user, session, expect, entry } => {
                    let id = session.clone();
                    self.write(
                        id,
                        async move { keeper.remove(user, &session, expect, entry).await },
                    );
                }
                Effect::Reread { user, session } => {
                    let id = session.clone();
                    let work = async move {
                        let result = keeper.reread(user, &session).await;
                        Outcome::Reread(session, result)
                    };
                    let span = self.span_of(&id);
                    self.errands.send_in(span, work, move || Outcome::Reread(id, Err(died())));
                }
                Effect::Publish { view, last_activity } => {
                    self.is.board.publish(view, last_activity);
                }
                Effect::Retire { session, standing } => self.is.board.retire(&session, standing),
                Effect::Answer { by, session, result } => match by.reply {
                    Waiting::Done(reply) => drop(reply.send(result)),
                    Waiting::Open(reply) => {
                        let handle = || self.is.board.handle(&session).ok_or_else(not_found);
                        let _ = reply.send(result.and_then(|()| handle()));
                    }
                },
                Effect::Emit(event) => self.is.events.emit(event),
            }
        }
    }

    fn write(&mut self, id: SessionId, work: impl Future<Output = Written> + Send + 'static) {
        let span = self.span_of(&id);
        let (session, dead) = (id.clone(), id);
        let work = async move { Outcome::Written(session, work.await) };
        let if_it_dies = move || Outcome::Written(dead, Written::Failed(died()));
        self.errands.send_in(span, work, if_it_dies);
    }

    /// The span of whoever comes first of those for whom a session is written. None when it is the
    /// manager's own doing, which then stands beneath nothing.
    fn span_of(&self, session: &SessionId) -> Span {
        let first = self.table.works_for(session);
        first.map_or_else(Span::none, |waiter| waiter.span.clone())
    }

    fn hear_of_activity_in(&mut self, session: &SessionId) {
        if let Some(at) = self.is.board.take_news_of(session) {
            self.table.touched(session, at);
        }
    }

    fn hear_of_activity(&mut self) {
        for (session, at) in self.is.board.take_news() {
            self.table.touched(&session, at);
        }
    }

    fn fresh_id(&self) -> Result<SessionId, Error> {
        Ok(SessionId::random(&*self.is.sources.entropy)?)
    }
}

impl Waiter {
    fn new(reply: Waiting) -> Self {
        Self { reply, span: Span::current() }
    }
}

/// The outcome of a task that died.
fn died() -> Error {
    Error::new(ErrorKind::Interrupted, "a task of the session manager died, ask again")
}
