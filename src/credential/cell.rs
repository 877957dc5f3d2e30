//! What outlives the actor of a credential: the published snapshot, and the desk with all that is
//! under way. An actor that dies leaves both to the one that takes its place, so nothing that was
//! granted is lost and no refresh token is spent a second time because of a crash.
//!
//! Four numbers tell what comes too late, each of something else:
//!
//! | number | goes up with | what has a lower one |
//! | --- | --- | --- |
//! | [`Generation`] | new material, and a sign-out | a refusal of it changes nothing |
//! | [`Era`] | a sign-out | a sign-in that was begun before it stores nothing |
//! | [`Flight::ticket`] | a renewal that is booked | a renewal that ended leaves nothing behind: another one was booked since, or the user signed in or out |
//! | [`RecordVersion`](crate::vault::RecordVersion) | a write of a record | a write that expects it is refused by the vault |

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use super::journal::Came;
use super::lifecycle::RenewalOutcome;
use super::material::Material;
use super::snapshot::Snapshot;
use crate::clock::Moment;
use crate::identity::{CredentialId, Generation};
use crate::supervision::Alarm;

/// The shared memory of one credential.
#[derive(Debug)]
pub(crate) struct Cell {
    snapshot: ArcSwap<Snapshot>,
    desk: Mutex<Desk>,
    alarm: OnceLock<Alarm>,
    /// Whether the alarm is set: it is not any more once it rings.
    has_deadline: AtomicBool,
    /// Held by whoever reads or writes the credential's records outside a rotation.
    pub(crate) writing: tokio::sync::Mutex<()>,
}

/// What is under way.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    tickets: u64,
    era: Era,
    /// The renewal under way.
    pub(crate) flight: Option<Flight>,
    /// Told when somebody waits for that.
    awaited: Option<Arc<Notify>>,
    /// What ended and has not been taken in yet.
    pub(crate) landed: VecDeque<Landed>,
    /// Granted material that the vault could not take yet.
    pub(crate) unsaved: Option<Arc<Material>>,
    /// How that came.
    pub(crate) came: Came,
    /// The user has signed out, and the vault has not confirmed the erasure yet.
    pub(crate) signed_out: bool,
    /// When the published material was obtained, by both clocks.
    obtained: Option<(Generation, Moment)>,
    /// Requests go on with the user's API key instead.
    pub(super) fallen_back: bool,
}

/// The time between two sign-outs of one credential. What was begun in an earlier one brings
/// nothing back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Era(u64);

/// A renewal under way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flight {
    pub(crate) ticket: u64,
    pub(crate) era: Era,
    pub(crate) base: Generation,
    pub(crate) in_doubt: bool,
}

/// A renewal that ended.
#[derive(Debug)]
pub(crate) struct Landed {
    pub(crate) flight: Flight,
    pub(crate) outcome: RenewalOutcome,
}

impl Cell {
    pub(crate) fn new(id: CredentialId) -> Self {
        Self {
            snapshot: ArcSwap::from_pointee(Snapshot::loading(id)),
            desk: Mutex::default(),
            alarm: OnceLock::new(),
            has_deadline: AtomicBool::new(false),
            writing: tokio::sync::Mutex::new(()),
        }
    }

    /// The snapshot, without a lock or a message.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// The snapshot for as long as a read lasts, without touching its reference count.
    pub(crate) fn peek(&self) -> arc_swap::Guard<Arc<Snapshot>> {
        self.snapshot.load()
    }

    pub(crate) fn publish(&self, snapshot: Arc<Snapshot>) {
        self.snapshot.store(snapshot);
    }

    /// Has an alarm ring at the credential's next deadline, also while its actor sleeps.
    pub(super) fn alarm(&self, make: impl FnOnce() -> Alarm) {
        self.alarm.get_or_init(make);
    }

    /// Sets that, or clears it where there is no deadline.
    pub(super) fn set_deadline(&self, deadline: Option<Moment>) {
        let Some(alarm) = self.alarm.get() else { return };
        if let Some(deadline) = deadline {
            self.has_deadline.store(true, Ordering::SeqCst);
            alarm.set(deadline);
        } else {
            alarm.clear();
            self.has_deadline.store(false, Ordering::SeqCst);
        }
    }

    /// Whether the deadline, which was `set` a moment ago, has come, and the actor was not told yet or
    /// has not looked at it. Asked of the caller, who goes by the same answer: one that comes between
    /// two looks is neither set any more nor was it ringing.
    pub(super) fn is_ringing(&self, set: Option<Moment>) -> bool {
        set.is_none() && self.has_deadline.load(Ordering::SeqCst)
    }

    /// When that is.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        self.alarm.get().and_then(Alarm::deadline)
    }

    /// The desk. No holder panics, so a poisoned lock holds nothing half-written.
    pub(crate) fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Desk {
    /// Books a renewal.
    pub(crate) fn take_off(&mut self, base: Generation, in_doubt: bool) -> Flight {
        self.tickets += 1;
        let flight = Flight { ticket: self.tickets, era: self.era, base, in_doubt };
        self.flight = Some(flight);
        flight
    }

    /// What is told when somebody waits for the renewal under way.
    pub(super) fn awaited(&mut self) -> Arc<Notify> {
        Arc::clone(self.awaited.get_or_insert_default())
    }

    /// Somebody waits for the renewal under way, if there is one.
    pub(super) fn wait(&self) {
        if let Some(awaited) = &self.awaited {
            awaited.notify_one();
        }
    }

    /// Notes how a renewal ended. A renewal that nobody waits for any more, because of a sign-in
    /// or a sign-out, leaves nothing behind.
    pub(crate) fn land(&mut self, flight: Flight, outcome: RenewalOutcome) {
        if self.flight.is_some_and(|current| current.ticket == flight.ticket) {
            (self.flight, self.awaited) = (None, None);
            if let RenewalOutcome::Granted { material, unsaved: Some(_) } = &outcome {
                self.unsaved = Some(material.clone());
                self.came = Came::ByRenewal;
            }
            self.landed.push_back(Landed { flight, outcome });
        }
    }

    /// A sign-in of the era `begun` takes the place of whatever was there; `unsaved` when the vault
    /// could not take it. Refused when the user has signed out since.
    pub(crate) fn sign_in(&mut self, begun: Era, unsaved: Option<Arc<Material>>) -> bool {
        let in_time = begun == self.era;
        if in_time {
            self.forget();
            self.unsaved = unsaved;
            self.came = Came::BySignIn;
            self.signed_out = false;
        }
        in_time
    }

    /// The user has signed out.
    pub(crate) fn sign_out(&mut self) {
        self.forget();
        self.era = Era(self.era.0 + 1);
        self.signed_out = true;
    }

    /// The vault has erased what was signed out of by the beginning of `era`.
    pub(crate) fn erased(&mut self, era: Era) {
        self.signed_out &= era != self.era;
    }

    /// Whether nothing is under way, and nothing waits to be taken in or to be written.
    pub(crate) fn is_clear(&self) -> bool {
        self.flight.is_none()
            && self.landed.is_empty()
            && self.unsaved.is_none()
            && !self.signed_out
            && !self.fallen_back
    }

    /// When it is.
    pub(crate) fn era(&self) -> Era {
        self.era
    }

    /// Material is published: a record of it tells when it was obtained by the wall clock alone.
    pub(super) fn published(&mut self, material: Option<&Arc<Material>>) {
        self.obtained = material.map(|material| (material.generation, material.obtained));
    }

    /// `material` of the vault, no younger than it is known to be: a wall clock that was set back
    /// since makes it seem so.
    pub(super) fn as_it_was_obtained(&self, material: Arc<Material>) -> Arc<Material> {
        match self.obtained {
            Some((generation, obtained))
                if generation == material.generation
                    && obtained.monotonic < material.obtained.monotonic =>
            {
                let mut older = (*material).clone();
                older.obtained.monotonic = obtained.monotonic;
                Arc::new(older)
            }
            _ => material,
        }
    }

    /// Whether the age of what is published is what its record will tell of it, by the wall clock.
    pub(super) fn is_as_old_as_recorded(&self, now: Moment) -> bool {
        /// A record tells milliseconds.
        const ROUNDING: Duration = Duration::from_secs(1);
        self.obtained.is_none_or(|(_, obtained)| {
            let told = now.wall.duration_since(obtained.wall).unwrap_or_default();
            now.monotonic.saturating_sub(obtained.monotonic) <= told + ROUNDING
        })
    }

    /// Whether `material` is what is held in memory. It may have been read from the vault meanwhile, which
    /// took it though its answer was lost.
    pub(crate) fn holds(&self, material: &Material) -> bool {
        self.unsaved.as_ref().is_some_and(|unsaved| material.is(unsaved))
    }

    /// The vault has taken `material`.
    pub(crate) fn saved(&mut self, material: &Material) {
        if self.holds(material) {
            self.unsaved = None;
        }
    }

    fn forget(&mut self) {
        (self.flight, self.awaited) = (None, None);
        self.landed.clear();
        self.unsaved = None;
    }
}
