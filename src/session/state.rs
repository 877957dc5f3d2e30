//! All sessions of a runtime as a plain function of events: who may do what, what is written
//! before it is seen, and when a session is over. The manager beside it only carries out.
//!
//! Changes of one session are made one after the other. While one is being written, those that
//! come in wait, and then become durable together.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, SystemTime};

use super::entry::{End, Entry, Request};
use super::record::Session;
use super::view::{ProviderContext, SessionView, Standing, expired, not_found};
use crate::clock::Moment;
use crate::error::Error;
use crate::event::EventKind;
use crate::identity::{SessionId, UserId};
use crate::vault::RecordVersion;
use crate::vault::audit::{AuditEntry, AuditKind};

/// When sessions end, and how exactly their activity is kept.
///
/// ```
/// use std::time::Duration;
/// use tokenward::Runtime;
/// use tokenward::session::SessionPolicy;
///
/// // Over after an hour without a request.
/// let policy = SessionPolicy { timeout: Duration::from_hours(1), ..SessionPolicy::default() };
/// let builder = Runtime::builder().sessions(policy);
/// # let _ = builder;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionPolicy {
    /// A session that was not used for this long has expired.
    pub timeout: Duration,
    /// How often expired sessions are cleaned up and new activity is written. After a crash of
    /// the whole process, a session's last activity may be this much too early. At least a second.
    pub sweep_every: Duration,
}

/// The sessions are looked through no more often than this, whatever the policy says.
const SHORTEST_SWEEP: Duration = Duration::from_secs(1);

impl SessionPolicy {
    /// How long it is from one clean-up to the next.
    pub(super) fn next_sweep(&self) -> Duration {
        self.sweep_every.max(SHORTEST_SWEEP)
    }
}

impl Default for SessionPolicy {
    /// 24 hours of inactivity; activity is written once a minute.
    fn default() -> Self {
        Self { timeout: Duration::from_hours(24), sweep_every: Duration::from_mins(1) }
    }
}

/// A change that a user makes to a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// Makes this the active context.
    Switch(ProviderContext),
    /// Remembers this context for its provider. The active provider stays.
    Prefer(ProviderContext),
}

/// What happens. `W` stands for whoever waits for the answer.
#[derive(Debug)]
pub(super) enum Event<W> {
    /// A user opens a session, under a fresh id.
    Open { user: UserId, session: SessionId, by: W },
    /// A user changes a session.
    Change { user: UserId, session: SessionId, change: Change, by: W },
    /// A user closes a session.
    Close { user: UserId, session: SessionId, by: W },
    /// A write ended.
    Written { session: SessionId, result: Written },
    /// A record was read again after a conflict.
    Reread { session: SessionId, result: Result<Option<Stored>, Error> },
    /// It is time to clean up, and to write what activity there was.
    Sweep,
}

/// How a write ended.
#[derive(Debug)]
pub(super) enum Written {
    /// The record is durable, in this version.
    Put(RecordVersion),
    /// The record is gone, durably.
    Removed,
    /// The vault holds another version than expected. Nothing was changed.
    Conflict,
    /// The vault could not do it.
    Failed(Error),
}

/// A session as the vault has it.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) session: Session,
    pub(super) last_activity: SystemTime,
    pub(super) version: RecordVersion,
}

/// What is to be done.
#[derive(Debug)]
pub(super) enum Effect<W> {
    /// Write the record, if the vault still has this version of it (none: no record).
    Put {
        session: Box<Session>,
        last_activity: SystemTime,
        expect: Option<RecordVersion>,
        /// What is recorded of it.
        entry: Option<AuditEntry>,
    },
    /// Remove the record, if the vault still has this version of it.
    Remove { user: UserId, session: SessionId, expect: RecordVersion, entry: AuditEntry },
    /// Read the record again.
    Reread { user: UserId, session: SessionId },
    /// Let everyone see this, with the last activity in case it is seen for the first time.
    Publish { view: SessionView, last_activity: Moment },
    /// Let everyone see that the session is over. Comes before the answers about it.
    Retire { session: SessionId, standing: Standing },
    /// Answer.
    Answer { by: W, session: SessionId, result: Result<(), Error> },
    /// Report.
    Emit(EventKind),
}

/// All sessions, and what is being done to them.
#[derive(Debug)]
pub(super) struct SessionTable<W> {
    policy: SessionPolicy,
    entries: HashMap<SessionId, Entry<W>>,
    opening: HashMap<SessionId, (Session, Moment, W)>,
    by_user: BTreeMap<UserId, BTreeSet<SessionId>>,
}

impl<W> SessionTable<W> {
    pub(super) fn new(policy: SessionPolicy) -> Self {
        Self { policy, entries: HashMap::new(), opening: HashMap::new(), by_user: BTreeMap::new() }
    }

    /// Takes in what the vault has at the start. What expired meanwhile goes with the next sweep.
    pub(super) fn load(&mut self, stored: Vec<Stored>, now: Moment) -> Vec<Effect<W>> {
        let mut effects = Vec::with_capacity(stored.len());
        for Stored { session, last_activity, version } in stored {
            // Only the wall clock speaks about a time before this process. One that lies in the future
            // was told by a clock that was ahead, or this one is behind: it is kept, so that nothing
            // has passed since when the clock is put right.
            let ago = now.wall.duration_since(last_activity).unwrap_or_default();
            let monotonic = now.monotonic.saturating_sub(ago);
            let activity = Moment { wall: last_activity, monotonic };
            let entry = Entry::new(session, version, activity);
            effects.push(entry.publish());
            self.insert(entry);
        }
        effects
    }

    /// Takes `event` in, and says what is to be done, in this order.
    pub(super) fn step(&mut self, event: Event<W>, now: Moment) -> Vec<Effect<W>> {
        let mut effects = Vec::new();
        match event {
            Event::Open { user, session, by } => {
                let session = Session::new(session, user, now.wall);
                let entry =
                    AuditEntry::of_session(AuditKind::SessionOpened, &session.user, &session.id);
                effects.push(Effect::Put {
                    session: Box::new(session.clone()),
                    last_activity: now.wall,
                    expect: None,
                    entry: Some(entry),
                });
                self.opening.insert(session.id.clone(), (session, now, by));
            }
            Event::Change { user, session, change, by } => {
                self.request(
                    &user,
                    &session,
                    now,
                    by,
                    |by| Request::Change(change, by),
                    &mut effects,
                );
            }
            Event::Close { user, session, by } => {
                self.request(&user, &session, now, by, Request::Close, &mut effects);
            }
            Event::Written { session, result } => self.written(&session, result, &mut effects),
            Event::Reread { session, result } => self.reread(&session, result, &mut effects),
            Event::Sweep => self.sweep(now, &mut effects),
        }
        effects
    }

    /// Takes in that a session was used.
    pub(super) fn touched(&mut self, session: &SessionId, at: Moment) {
        if let Some(entry) = self.entries.get_mut(session) {
            entry.touch(at);
        }
    }

    /// Whether `user` has this session and can use it.
    pub(super) fn check(
        &self,
        user: &UserId,
        session: &SessionId,
        now: Moment,
    ) -> Result<(), Error> {
        match self.entries.get(session).filter(|entry| entry.session.user == *user) {
            Some(entry) if entry.has_expired(self.policy.timeout, now) => Err(expired()),
            Some(_) => Ok(()),
            None => Err(not_found()),
        }
    }

    /// Whether there is such a session, and it is another user's.
    pub(super) fn is_of_another(&self, user: &UserId, session: &SessionId) -> bool {
        self.entries.get(session).is_some_and(|entry| entry.session.user != *user)
    }

    /// Who is the first of those for whom a session is being written, or read again; none when it
    /// is nobody's request.
    pub(super) fn works_for(&self, session: &SessionId) -> Option<&W> {
        match self.opening.get(session) {
            Some((_, _, by)) => Some(by),
            None => self.entries.get(session)?.works_for(),
        }
    }

    /// Every session of `user`, usable or not.
    pub(super) fn all_of_user(&self, user: &UserId) -> Vec<SessionId> {
        self.by_user.get(user).into_iter().flatten().cloned().collect()
    }

    /// The sessions that `user` can use, oldest first.
    pub(super) fn usable_of_user(&self, user: &UserId, now: Moment) -> Vec<SessionId> {
        let mut usable: Vec<_> = self
            .by_user
            .get(user)
            .into_iter()
            .flatten()
            .filter_map(|id| self.entries.get(id))
            .filter(|entry| !entry.has_expired(self.policy.timeout, now))
            .map(|entry| (entry.session.created, &entry.session.id))
            .collect();
        usable.sort_unstable();
        usable.into_iter().map(|(_, id)| id.clone()).collect()
    }

    /// The activity that is not durable yet, as records to write at the end.
    pub(super) fn unsaved(&self) -> impl Iterator<Item = (&Session, SystemTime, RecordVersion)> {
        self.entries
            .values()
            .filter(|entry| entry.is_dirty() && entry.is_idle() && !entry.expired)
            .map(|entry| (&entry.session, entry.last_activity.wall, entry.version))
    }

    fn request(
        &mut self,
        user: &UserId,
        session: &SessionId,
        now: Moment,
        by: W,
        make: impl FnOnce(W) -> Request<W>,
        effects: &mut Vec<Effect<W>>,
    ) {
        if let Err(error) = self.check(user, session, now) {
            effects.push(Effect::Answer { by, session: session.clone(), result: Err(error) });
        } else if let Some(entry) = self.entries.get_mut(session) {
            entry.touch(now);
            entry.take(make(by), effects);
        }
    }

    fn written(&mut self, id: &SessionId, result: Written, effects: &mut Vec<Effect<W>>) {
        if let Some((session, activity, by)) = self.opening.remove(id) {
            return self.opened(session, activity, by, result, effects);
        }
        let Some(entry) = self.entries.get_mut(id) else { return };
        if let Some(end) = entry.written(result, effects) {
            self.remove(id, end, effects);
        }
    }

    fn opened(
        &mut self,
        session: Session,
        activity: Moment,
        by: W,
        result: Written,
        effects: &mut Vec<Effect<W>>,
    ) {
        let id = session.id.clone();
        let result = match result {
            Written::Put(version) => {
                let (user, session) = (session.user.clone(), session);
                let entry = Entry::new(session, version, activity);
                effects.push(entry.publish());
                self.insert(entry);
                effects.push(Effect::Emit(EventKind::SessionOpened { user, session: id.clone() }));
                Ok(())
            }
            Written::Failed(error) => Err(error),
            Written::Conflict | Written::Removed => Err(not_found()),
        };
        effects.push(Effect::Answer { by, session: id, result });
    }

    fn reread(
        &mut self,
        id: &SessionId,
        result: Result<Option<Stored>, Error>,
        effects: &mut Vec<Effect<W>>,
    ) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        if let Some(end) = entry.reread(result, effects) {
            self.remove(id, end, effects);
        }
    }

    /// The record is gone: so is the session, for everyone.
    fn remove(&mut self, id: &SessionId, end: End<W>, effects: &mut Vec<Effect<W>>) {
        let Some(entry) = self.entries.remove(id) else { return };
        if let Some(sessions) = self.by_user.get_mut(&entry.session.user) {
            sessions.remove(id);
            if sessions.is_empty() {
                self.by_user.remove(&entry.session.user);
            }
        }
        entry.end(end, effects);
    }

    fn sweep(&mut self, now: Moment, effects: &mut Vec<Effect<W>>) {
        for entry in self.entries.values_mut() {
            if entry.has_expired(self.policy.timeout, now) {
                if !entry.expired {
                    entry.expired = true;
                    let session = entry.session.id.clone();
                    effects.push(Effect::Retire { session, standing: Standing::Expired });
                }
                if !entry.is_being_removed() {
                    entry.take(Request::Expire, effects);
                }
            } else if entry.is_dirty() && entry.is_idle() {
                entry.take(Request::Save, effects);
            }
        }
    }

    fn insert(&mut self, entry: Entry<W>) {
        let id = entry.session.id.clone();
        self.by_user.entry(entry.session.user.clone()).or_default().insert(id.clone());
        self.entries.insert(id, entry);
    }
}

#[cfg(test)]
mod tests;
