//! Where the current views of all sessions stand. Shared by the incarnations of the manager, so
//! that a handle that was given out before a crash sees what its successor publishes.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::view::{Activity, Cell, SessionHandle, SessionView, Standing};
use crate::clock::{Moment, Sources};
use crate::identity::SessionId;

/// The views of all sessions that are open. The holders of handles need no look-up here.
pub(super) struct Board {
    sources: Sources,
    timeout: Duration,
    cells: RwLock<HashMap<SessionId, Arc<Cell>>>,
}

impl Board {
    pub(super) fn new(sources: Sources, timeout: Duration) -> Self {
        Self { sources, timeout, cells: RwLock::default() }
    }

    /// Lets everyone see `view`.
    pub(super) fn publish(&self, view: SessionView, last_activity: Moment) {
        let mut cells = self.cells_to_change();
        if let Some(cell) = cells.get(&view.id) {
            cell.view.store(Arc::new(view));
        } else {
            let (id, activity) = (view.id.clone(), Activity::at(last_activity));
            let cell = Cell { view: ArcSwap::from_pointee(view), activity, timeout: self.timeout };
            cells.insert(id, Arc::new(cell));
        }
    }

    /// Lets everyone see that a session is over, and forgets it.
    pub(super) fn retire(&self, session: &SessionId, standing: Standing) {
        if let Some(cell) = self.cells_to_change().remove(session) {
            let view = SessionView { standing, ..SessionView::clone(&cell.view.load()) };
            cell.view.store(Arc::new(view));
        }
    }

    /// Retires every session that is not among `loaded`: its record is gone.
    pub(super) fn retain(&self, loaded: &HashSet<SessionId>) {
        let gone: Vec<_> =
            self.cells().keys().filter(|session| !loaded.contains(session)).cloned().collect();
        for session in &gone {
            self.retire(session, Standing::Closed);
        }
    }

    pub(super) fn handle(&self, session: &SessionId) -> Option<SessionHandle> {
        let cell = Arc::clone(self.cells().get(session)?);
        Some(SessionHandle::new(cell, self.sources.clone()))
    }

    /// How many sessions are open.
    pub(super) fn len(&self) -> usize {
        self.cells().len()
    }

    /// Marks a session as used at `at`.
    pub(super) fn mark(&self, session: &SessionId, at: Moment) {
        if let Some(cell) = self.cells().get(session) {
            cell.activity.mark(at);
        }
    }

    /// The last use of a session, if it is news.
    pub(super) fn take_news_of(&self, session: &SessionId) -> Option<Moment> {
        self.cells().get(session)?.activity.take_news()
    }

    /// The last uses of all sessions, as far as they are news.
    pub(super) fn take_news(&self) -> Vec<(SessionId, Moment)> {
        let news = |(session, cell): (&SessionId, &Arc<Cell>)| {
            Some((session.clone(), cell.activity.take_news()?))
        };
        self.cells().iter().filter_map(news).collect()
    }

    /// The last uses of all sessions, news or not.
    pub(super) fn last_uses(&self) -> Vec<(SessionId, Moment)> {
        let last =
            |(session, cell): (&SessionId, &Arc<Cell>)| (session.clone(), cell.activity.last());
        self.cells().iter().map(last).collect()
    }

    // Nothing between two changes of the map can panic, so a poisoned one is whole.
    fn cells(&self) -> RwLockReadGuard<'_, HashMap<SessionId, Arc<Cell>>> {
        self.cells.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn cells_to_change(&self) -> RwLockWriteGuard<'_, HashMap<SessionId, Arc<Cell>>> {
        self.cells.write().unwrap_or_else(PoisonError::into_inner)
    }
}
