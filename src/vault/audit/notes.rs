//! What is to be recorded although it changes nothing durable: it waits here for the next write.
//! Whoever can cause it at will must not fill the disk by it, so equal notes are counted rather than
//! repeated, and so many are written in a time and no more. None is lost by that: each is counted in
//! an entry sooner or later.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::entry::{AuditEntry, What};
use crate::clock::{Moment, Sources};
use crate::identity::UserId;

/// How many notes are written at once when it was quiet before.
const BURST: u64 = 4_096;

/// How long it takes until one more may be written.
const REFILL: Duration = Duration::from_secs(10);

/// How long a note that was written is counted before it is written again.
const HELD_BACK: Duration = Duration::from_mins(1);

/// How many different notes may wait. Those beyond are counted by their kind alone.
const MOST_PENDING: usize = 4_096;

/// How many are written in one batch.
const BATCH: usize = 64;

/// The notes that wait, as a plain value.
#[derive(Debug)]
struct Notes {
    pending: HashMap<What, Pending>,
    /// What was written lately.
    written: HashMap<What, Moment>,
    /// How many may be written, as of the time `refilled`.
    allowed: u64,
    refilled: Duration,
    taken_in: u64,
}

#[derive(Debug)]
struct Pending {
    since: SystemTime,
    count: u64,
    order: u64,
}

impl Notes {
    fn new(now: Moment) -> Self {
        Self {
            pending: HashMap::new(),
            written: HashMap::new(),
            allowed: BURST,
            refilled: now.monotonic,
            taken_in: 0,
        }
    }

    /// Takes a note in. Answers whether one could be written now that could not before.
    fn add(&mut self, entry: AuditEntry, now: Moment) -> bool {
        let AuditEntry { what, at, count } = entry;
        // Looked up once: this is on the way of every request that is noted.
        if let Some(pending) = self.pending.get_mut(&what) {
            pending.count = pending.count.saturating_add(count);
            return false;
        }
        let what = if self.pending.len() >= MOST_PENDING {
            AuditEntry::new(what.kind).because("more of them than are told apart").what
        } else {
            what
        };
        self.refill(now);
        let is_news = !self.pending.contains_key(&what) && !self.written.contains_key(&what);
        self.taken_in += 1;
        let (order, since) = (self.taken_in, at.unwrap_or(now.wall));
        let pending = self.pending.entry(what).or_insert(Pending { since, count: 0, order });
        pending.count = pending.count.saturating_add(count);
        is_news && self.allowed > 0
    }

    /// What may be written now, the oldest first; at the end, whatever there is.
    fn take(&mut self, now: Moment, is_the_end: bool) -> Vec<AuditEntry> {
        self.refill(now);
        self.written.retain(|_, at| now.since(*at) < HELD_BACK);
        let mut ready: Vec<(u64, What)> = self
            .pending
            .iter()
            .filter(|(what, _)| is_the_end || !self.written.contains_key(what))
            .map(|(what, pending)| (pending.order, what.clone()))
            .collect();
        ready.sort_unstable_by_key(|(order, _)| *order);
        let allowed = usize::try_from(self.allowed).unwrap_or(usize::MAX);
        ready.truncate(if is_the_end { BATCH } else { BATCH.min(allowed) });
        let mut taken = Vec::with_capacity(ready.len());
        for (_, what) in ready {
            let Some(Pending { since, count, .. }) = self.pending.remove(&what) else { continue };
            self.allowed = self.allowed.saturating_sub(1);
            self.written.insert(what.clone(), now);
            taken.push(AuditEntry { what, at: Some(since), count });
        }
        taken
    }

    /// Takes back what could not be written.
    fn give_back(&mut self, entries: Vec<AuditEntry>, now: Moment) {
        for entry in entries {
            self.allowed = self.allowed.saturating_add(1).min(BURST);
            self.written.remove(&entry.what);
            self.add(entry, now);
        }
    }

    /// Takes the name out of all that waits about `user`. It is counted all the same.
    fn forget(&mut self, user: &UserId, now: Moment) {
        let is_theirs = |what: &What| what.user.as_ref() == Some(user);
        self.written.retain(|what, _| !is_theirs(what));
        let theirs: Vec<What> =
            self.pending.keys().filter(|what| is_theirs(what)).cloned().collect();
        for what in theirs {
            let Some(Pending { since, count, .. }) = self.pending.remove(&what) else { continue };
            let What { kind, provider, method, origin, .. } = what;
            let (user, label, session, reason) = (None, None, None, None);
            let what = What { kind, user, provider, method, label, session, reason, origin };
            self.add(AuditEntry { what, at: Some(since), count }, now);
        }
    }

    fn refill(&mut self, now: Moment) {
        let passed = now.monotonic.saturating_sub(self.refilled);
        let more = passed.as_secs() / REFILL.as_secs();
        self.allowed = self.allowed.saturating_add(more).min(BURST);
        let counted = REFILL.saturating_mul(u32::try_from(more).unwrap_or(u32::MAX));
        self.refilled = self.refilled.saturating_add(counted);
    }
}

/// The notes of one vault, for whoever notes and for the vault's thread, which writes. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Notebook(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    notes: Mutex<Notes>,
    /// Whether the actor was told and has not looked yet.
    told: AtomicBool,
    sources: Sources,
}

impl Notebook {
    pub(crate) fn new(sources: Sources) -> Self {
        let notes = Mutex::new(Notes::new(sources.now()));
        Self(Arc::new(Inner { notes, told: AtomicBool::new(false), sources }))
    }

    /// Takes a note in. Answers whether the actor is to be told.
    pub(crate) fn add(&self, entry: AuditEntry) -> bool {
        let now = self.0.sources.now();
        self.notes().add(entry, now) && !self.0.told.swap(true, Ordering::AcqRel)
    }

    /// What may be written in one batch now; at the end, whatever there is.
    pub(crate) fn take(&self, is_the_end: bool) -> Vec<AuditEntry> {
        self.0.told.store(false, Ordering::Release);
        let now = self.0.sources.now();
        self.notes().take(now, is_the_end)
    }

    /// Takes the name out of all that waits about `user`.
    pub(crate) fn forget(&self, user: &UserId) {
        let now = self.0.sources.now();
        self.notes().forget(user, now);
    }

    /// Takes back what could not be written.
    pub(crate) fn give_back(&self, entries: Vec<AuditEntry>) {
        let now = self.0.sources.now();
        self.notes().give_back(entries, now);
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        // Nothing between two changes of the maps can panic, so poisoned ones are whole.
        self.0.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::vault::audit::AuditKind;

    fn moment(seconds: u64) -> Moment {
        let monotonic = Duration::from_secs(seconds);
        Moment { wall: SystemTime::UNIX_EPOCH + monotonic, monotonic }
    }

    fn denied(user: u64) -> AuditEntry {
        let user = UserId::new(&user.to_string()).expect("a name");
        AuditEntry::new(AuditKind::AccessDenied).user(&user)
    }

    fn everything(notes: &mut Notes, now: Moment) -> Vec<AuditEntry> {
        let mut all = Vec::new();
        loop {
            let some = notes.take(now, true);
            if some.is_empty() {
                return all;
            }
            all.extend(some);
        }
    }

    proptest! {
        #[test]
        fn every_note_is_counted_once_and_no_more_entries_are_written_than_the_time_allows(
            steps in prop::collection::vec((0..6_u64, 0..30_u64, any::<bool>(), any::<bool>()), 1..80),
        ) {
            let mut notes = Notes::new(moment(0));
            notes.allowed = 3;
            let (mut now, mut noted, mut counted, mut written) = (0, 0, 0, 0);
            for (user, seconds, look, fails) in steps {
                now += seconds;
                notes.add(denied(user), moment(now));
                noted += 1;
                if look {
                    let taken = notes.take(moment(now), false);
                    if fails {
                        notes.give_back(taken, moment(now));
                    } else {
                        written += taken.len() as u64;
                        counted += taken.iter().map(|entry| entry.count).sum::<u64>();
                    }
                    prop_assert!(written <= 3 + now / 10);
                }
            }
            let rest = everything(&mut notes, moment(now));
            counted += rest.iter().map(|entry| entry.count).sum::<u64>();
            prop_assert_eq!(counted, noted);
        }
    }

    #[test]
    fn what_is_repeated_is_counted_for_a_minute() {
        let mut notes = Notes::new(moment(0));
        assert!(notes.add(denied(1), moment(0)), "the first is written at once");
        assert_eq!(notes.take(moment(0), false).len(), 1);
        for second in 0..59 {
            assert!(!notes.add(denied(1), moment(second)), "nobody need look");
            assert_eq!(notes.take(moment(second), false), []);
        }
        let counted = notes.take(moment(60), false);
        assert_eq!(counted.iter().map(|entry| entry.count).collect::<Vec<_>>(), [59]);
        assert_eq!(counted[0].at, Some(moment(0).wall), "since when");
    }

    #[test]
    fn what_waits_about_an_erased_user_is_counted_without_the_name() {
        let mut notes = Notes::new(moment(0));
        for user in [1, 1, 2] {
            notes.add(denied(user).because("user 1 tried"), moment(0));
        }
        notes.forget(&UserId::new("1").expect("a name"), moment(0));
        let mut all = everything(&mut notes, moment(0));
        all.sort_by_key(|entry| entry.count);
        assert_eq!(all.len(), 2);
        assert_eq!((all[1].count, &all[1].what.user, &all[1].what.reason), (2, &None, &None));
    }

    #[test]
    fn a_crowd_of_different_notes_takes_bounded_room() {
        let mut notes = Notes::new(moment(0));
        for user in 0..10_000 {
            notes.add(denied(user), moment(0));
        }
        assert!(notes.pending.len() <= MOST_PENDING + 1);
        let all = everything(&mut notes, moment(0));
        assert_eq!(all.iter().map(|entry| entry.count).sum::<u64>(), 10_000);
    }
}
