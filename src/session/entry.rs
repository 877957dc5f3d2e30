//! One session in the table: what is durable of it, what is being written, and what waits for
//! that.

use std::collections::VecDeque;
use std::time::Duration;

use super::record::Session;
use super::state::{Change, Effect, Stored, Written};
use super::view::{ProviderContext, Standing};
use crate::clock::Moment;
use crate::error::Error;
use crate::event::EventKind;
use crate::identity::SessionId;
use crate::vault::RecordVersion;
use crate::vault::audit::{AuditEntry, AuditKind};

/// One session, and what is being done to it.
#[derive(Debug)]
pub(super) struct Entry<W> {
    /// As it is durable, and seen.
    pub(super) session: Session,
    pub(super) version: RecordVersion,
    pub(super) last_activity: Moment,
    /// It was seen to have expired; the record may still be there.
    pub(super) expired: bool,
    /// The activity that is durable.
    saved_activity: Moment,
    busy: Option<Busy<W>>,
    queue: VecDeque<Request<W>>,
}

/// What is to be done to a session, in the order of asking.
#[derive(Debug)]
pub(super) enum Request<W> {
    Change(Change, W),
    Close(W),
    /// The manager's own: the session has expired.
    Expire,
    /// The manager's own: there was activity.
    Save,
}

/// How a session ended, and at whose request.
#[derive(Debug)]
pub(super) struct End<W> {
    standing: Standing,
    request: Option<Request<W>>,
}

/// What an entry waits for.
#[derive(Debug)]
enum Busy<W> {
    Putting { next: Session, activity: Moment, requests: Vec<Request<W>> },
    Removing(Request<W>),
    Rereading,
}

impl<W> Entry<W> {
    pub(super) fn new(session: Session, version: RecordVersion, activity: Moment) -> Self {
        Self {
            session,
            version,
            last_activity: activity,
            expired: false,
            saved_activity: activity,
            busy: None,
            queue: VecDeque::new(),
        }
    }

    pub(super) fn touch(&mut self, at: Moment) {
        if at.monotonic >= self.last_activity.monotonic {
            self.last_activity = at;
        }
    }

    /// Takes a request in, and begins with it unless something is under way.
    pub(super) fn take(&mut self, request: Request<W>, effects: &mut Vec<Effect<W>>) {
        self.queue.push_back(request);
        self.go_on(effects);
    }

    /// Takes the end of a write in. Returns how the session ended, when it did.
    pub(super) fn written(
        &mut self,
        result: Written,
        effects: &mut Vec<Effect<W>>,
    ) -> Option<End<W>> {
        match (self.busy.take()?, result) {
            (Busy::Putting { next, activity, requests }, Written::Put(version)) => {
                self.version = version;
                self.saved_activity = activity;
                self.become_durable(next, effects);
                self.answer(requests, &Ok(()), effects);
            }
            (Busy::Removing(request), Written::Removed) => {
                let standing = match request {
                    Request::Expire => Standing::Expired,
                    _ => Standing::Closed,
                };
                return Some(End { standing, request: Some(request) });
            }
            (busy, Written::Conflict) => {
                for request in busy.into_requests().into_iter().rev() {
                    self.queue.push_front(request);
                }
                self.busy = Some(Busy::Rereading);
                let (user, session) = (self.session.user.clone(), self.session.id.clone());
                effects.push(Effect::Reread { user, session });
            }
            (busy, Written::Failed(error)) => {
                self.answer(busy.into_requests(), &Err(error), effects);
            }
            (busy, Written::Put(_) | Written::Removed) => self.busy = Some(busy),
        }
        self.go_on(effects);
        None
    }

    /// Takes in what the vault has after a conflict. Returns how the session ended, when it did.
    pub(super) fn reread(
        &mut self,
        result: Result<Option<Stored>, Error>,
        effects: &mut Vec<Effect<W>>,
    ) -> Option<End<W>> {
        self.busy.take_if(|busy| matches!(busy, Busy::Rereading))?;
        match result {
            Ok(Some(stored)) => {
                self.version = stored.version;
                self.become_durable(stored.session, effects);
                self.go_on(effects);
            }
            Ok(None) => {
                let standing = if self.expired { Standing::Expired } else { Standing::Closed };
                return Some(End { standing, request: None });
            }
            Err(error) => {
                let waiting = std::mem::take(&mut self.queue);
                self.answer(waiting, &Err(error), effects);
            }
        }
        None
    }

    /// Lets everyone know that the session is over.
    pub(super) fn end(mut self, end: End<W>, effects: &mut Vec<Effect<W>>) {
        let (user, session) = (self.session.user.clone(), self.session.id.clone());
        effects.push(Effect::Retire { session: session.clone(), standing: end.standing });
        effects.push(Effect::Emit(match end.standing {
            Standing::Expired => EventKind::SessionExpired { user, session },
            Standing::Open | Standing::Closed => EventKind::SessionClosed { user, session },
        }));
        self.answer(end.request, &Ok(()), effects);
        let waiting = std::mem::take(&mut self.queue);
        self.answer(waiting, &Err(end.standing.error()), effects);
    }

    pub(super) fn publish(&self) -> Effect<W> {
        let standing = if self.expired { Standing::Expired } else { Standing::Open };
        Effect::Publish { view: self.session.view(standing), last_activity: self.last_activity }
    }

    pub(super) fn has_expired(&self, timeout: Duration, now: Moment) -> bool {
        self.expired || now.since(self.last_activity) >= timeout
    }

    /// Whether there was activity that is not durable.
    pub(super) fn is_dirty(&self) -> bool {
        self.last_activity != self.saved_activity
    }

    /// Who is the first of those for whom something is under way.
    pub(super) fn works_for(&self) -> Option<&W> {
        match self.busy.as_ref()? {
            Busy::Putting { requests, .. } => requests.iter().find_map(Request::asked_by),
            Busy::Removing(request) => request.asked_by(),
            Busy::Rereading => self.queue.iter().find_map(Request::asked_by),
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.busy.is_none()
    }

    pub(super) fn is_being_removed(&self) -> bool {
        matches!(self.busy, Some(Busy::Removing(_)))
            || self.queue.iter().any(|request| matches!(request, Request::Expire))
    }

    /// Begins the next write, if there is something to do and nothing under way: all changes up to
    /// the next removal together, or the removal.
    fn go_on(&mut self, effects: &mut Vec<Effect<W>>) {
        while self.busy.is_none() {
            match self.queue.pop_front() {
                None => return,
                Some(removal @ (Request::Close(_) | Request::Expire)) => {
                    let kind = match removal {
                        Request::Expire => AuditKind::SessionExpired,
                        _ => AuditKind::SessionClosed,
                    };
                    effects.push(Effect::Remove {
                        user: self.session.user.clone(),
                        session: self.session.id.clone(),
                        expect: self.version,
                        entry: self.recorded(kind),
                    });
                    self.busy = Some(Busy::Removing(removal));
                }
                Some(change) => {
                    self.queue.push_front(change);
                    self.put_changes(effects);
                }
            }
        }
    }

    fn put_changes(&mut self, effects: &mut Vec<Effect<W>>) {
        let (mut next, mut requests, mut is_save) = (self.session.clone(), Vec::new(), false);
        while let Some(request) = self.queue.pop_front_if(|request| !request.removes()) {
            match &request {
                Request::Change(change, _) => next.apply(change),
                _ => is_save = true,
            }
            requests.push(request);
        }
        if next == self.session && !is_save {
            // It is as they want it already.
            return self.answer(requests, &Ok(()), effects);
        }
        let switched =
            next.active_context().filter(|it| self.session.active_context() != Some(*it));
        let entry = switched.map(|active| {
            let ProviderContext { provider, method, label } = active;
            let entry = self.recorded(AuditKind::SessionSwitched);
            entry.provider(provider).method(*method).label(label)
        });
        effects.push(Effect::Put {
            session: Box::new(next.clone()),
            last_activity: self.last_activity.wall,
            expect: Some(self.version),
            entry,
        });
        self.busy = Some(Busy::Putting { next, activity: self.last_activity, requests });
    }

    fn recorded(&self, kind: AuditKind) -> AuditEntry {
        AuditEntry::of_session(kind, &self.session.user, &self.session.id)
    }

    /// Takes in what the vault has, and lets everyone see it if it is new.
    fn become_durable(&mut self, session: Session, effects: &mut Vec<Effect<W>>) {
        let former = std::mem::replace(&mut self.session, session);
        if former == self.session {
            return;
        }
        effects.push(self.publish());
        if let Some(active) = self.session.active_context()
            && former.active_context() != Some(active)
        {
            effects.push(Effect::Emit(EventKind::SessionSwitched {
                user: self.session.user.clone(),
                session: self.session.id.clone(),
                provider: active.provider.clone(),
                method: active.method,
            }));
        }
    }

    fn answer(
        &self,
        requests: impl IntoIterator<Item = Request<W>>,
        result: &Result<(), Error>,
        effects: &mut Vec<Effect<W>>,
    ) {
        for request in requests {
            if let Request::Change(_, by) | Request::Close(by) = request {
                let session: SessionId = self.session.id.clone();
                effects.push(Effect::Answer { by, session, result: result.clone() });
            }
        }
    }
}

impl<W> Request<W> {
    fn asked_by(&self) -> Option<&W> {
        match self {
            Self::Change(_, by) | Self::Close(by) => Some(by),
            Self::Expire | Self::Save => None,
        }
    }

    fn removes(&self) -> bool {
        matches!(self, Self::Close(_) | Self::Expire)
    }
}

impl<W> Busy<W> {
    fn into_requests(self) -> Vec<Request<W>> {
        match self {
            Self::Putting { requests, .. } => requests,
            Self::Removing(request) => vec![request],
            Self::Rereading => Vec::new(),
        }
    }
}

impl Session {
    fn active_context(&self) -> Option<&ProviderContext> {
        self.active.as_ref().and_then(|provider| self.contexts.get(provider))
    }

    pub(super) fn apply(&mut self, change: &Change) {
        let (Change::Switch(context) | Change::Prefer(context)) = change;
        self.contexts.insert(context.provider.clone(), context.clone());
        if let Change::Switch(context) = change {
            self.active = Some(context.provider.clone());
        }
    }
}
