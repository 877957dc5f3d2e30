//! When stored credentials that are not running are started. The vault's index knows when each is
//! due and is asked from time to time, so that only those that are due before long take an alarm.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use dashmap::{DashMap, Entry};
use tracing::warn;

use super::credentials::{Credentials, Inside, id_of};
use super::horizon::{Horizon, ROUND};
use crate::clock::Moment;
use crate::error::Error;
use crate::identity::CredentialId;
use crate::provider::Provider;
use crate::supervision::Alarm;
use crate::vault::{Query, RecordKind};

/// When the index is asked again after it could not be read.
const RETRY: Duration = Duration::from_secs(10);

/// The credentials that are due before long, and how far that reaches.
pub(super) struct Upcoming {
    /// One alarm for each that is due within the horizon and not running.
    alarms: DashMap<CredentialId, Alarm>,
    horizon: Mutex<Horizon>,
    /// When the index is asked next.
    round: OnceLock<Alarm>,
}

impl Upcoming {
    /// Nothing is known to be due yet.
    pub(super) fn new(now: Moment) -> Self {
        let (alarms, round) = (DashMap::new(), OnceLock::new());
        Self { alarms, horizon: Mutex::new(Horizon::new(now)), round }
    }

    /// No alarm is needed for a credential that is running.
    pub(super) fn remove(&self, id: &CredentialId) {
        self.alarms.remove(id);
    }

    /// No holder panics, so a poisoned lock holds nothing half-written.
    fn horizon(&self) -> MutexGuard<'_, Horizon> {
        self.horizon.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
impl Credentials {
    /// How many have an alarm though they are not running.
    pub(crate) fn alarms(&self) -> usize {
        self.0.upcoming.alarms.len()
    }
}

/// When a stored credential is started whose token expires at `expires`: its own actor decides
/// when it is renewed, which is no earlier.
pub(super) fn wake_before(expires: SystemTime, provider: &dyn Provider) -> SystemTime {
    expires.checked_sub(earliest(provider)).unwrap_or(expires)
}

/// So long before its expiry a token of this provider may be renewed: the threshold, and as much
/// again of jitter; or when its use ends, where that is earlier.
fn earliest(provider: &dyn Provider) -> Duration {
    let policy = provider.refresh_policy();
    policy.threshold.saturating_mul(2).max(policy.unusable_before_expiry)
}

impl Inside {
    /// Asks the index what is due before long, from now on again and again.
    ///
    /// # Errors
    ///
    /// When the vault's index can not be read the first time.
    pub(super) async fn begin_looking_ahead(self: &Arc<Self>) -> Result<(), Error> {
        let inside = Arc::downgrade(self);
        let round = || self.shared.timekeeper.alarm(move || look_ahead(&inside));
        self.upcoming.round.get_or_init(round);
        self.look_ahead().await?;
        self.set_next_look(ROUND);
        Ok(())
    }

    fn set_next_look(&self, wait: Duration) {
        if let Some(round) = self.upcoming.round.get() {
            round.set(self.shared.sources.now().after(wait));
        }
    }

    /// Sets an alarm for each credential that is due before the next round is over and is not
    /// running.
    async fn look_ahead(self: &Arc<Self>) -> Result<(), Error> {
        // The horizon moves before anybody is looked for: who is forgotten meanwhile is either
        // found here, or sees it and sets an alarm.
        let within = self.upcoming.horizon().look(self.shared.sources.now());
        let earliest = self.providers.values().map(|it| earliest(&**it)).max().unwrap_or_default();
        let mut query = Query::all(RecordKind::Credential);
        query.due_after = within.after;
        query.due_before = within.until.checked_add(earliest);
        for entry in self.shared.vault.list(query).await? {
            let (Some(id), Some(due)) = (id_of(&entry), entry.tags.due) else { continue };
            let Some(provider) = self.providers.get(&id.provider) else { continue };
            let wake = wake_before(due, &**provider);
            if !within.contains(wake) {
                continue;
            }
            // Nobody starts or forgets it while its entry is held.
            match self.running.entry(id) {
                Entry::Occupied(entry) if entry.get().handle.initialized() => {}
                // A start that failed is none.
                entry => {
                    let at = self.upcoming.horizon().moment_of(wake);
                    let set = self.upcoming.alarms.get(entry.key()).and_then(|it| it.deadline());
                    let at = set.map_or(at, |set| Moment {
                        wall: at.wall.min(set.wall),
                        monotonic: at.monotonic.min(set.monotonic),
                    });
                    self.wake_at(entry.key(), at);
                }
            }
        }
        self.upcoming.horizon().looked(within);
        Ok(())
    }

    /// Has a credential that is forgotten started by `deadline`. `wake` is when it would be by
    /// what the index knows, if that knows anything. Called while its entry is held.
    pub(super) fn wake_by(
        self: &Arc<Self>,
        id: &CredentialId,
        wake: Option<SystemTime>,
        deadline: Moment,
    ) {
        let now = self.shared.sources.now();
        let mut horizon = self.upcoming.horizon();
        let is_found_in_time = wake.is_some_and(|wake| horizon.leads_to(wake, deadline, now));
        drop(horizon);
        if !is_found_in_time {
            self.wake_at(id, deadline);
        }
    }

    /// Starts the actor of a credential at `at`, or in its turn when many are overdue.
    fn wake_at(self: &Arc<Self>, id: &CredentialId, at: Moment) {
        let (inside, sleeper) = (Arc::downgrade(self), id.clone());
        let alarm = self.shared.timekeeper.alarm_in_turn(move || wake(&inside, &sleeper));
        alarm.set(at);
        self.upcoming.alarms.insert(id.clone(), alarm);
    }
}

/// Looks ahead, in a task of its own: this runs on the timekeeper's.
fn look_ahead(inside: &Weak<Inside>) {
    let Some(inside) = inside.upgrade() else { return };
    tokio::spawn(async move {
        // However this one ends, there is a next one.
        inside.set_next_look(RETRY);
        match inside.look_ahead().await {
            Ok(()) => inside.set_next_look(ROUND),
            Err(error) => {
                warn!(%error, "the vault was not asked which credentials become due, it is soon");
            }
        }
    });
}

/// Starts the actor of a credential that became due. Runs on the timekeeper's task, so the start
/// itself is a task of its own.
fn wake(inside: &Weak<Inside>, id: &CredentialId) {
    let Some(inside) = inside.upgrade() else { return };
    let (credentials, id) = (Credentials(inside), id.clone());
    tokio::spawn(async move {
        match credentials.open(&id).await {
            // Held until then, so that it is not forgotten with an alarm that is needed.
            Ok(_held) => credentials.0.upcoming.remove(&id),
            Err(error) => {
                warn!(credential = %id, %error, "a credential that is due could not be started");
                if error.is_transient() {
                    let now = credentials.shared().sources.now();
                    credentials.0.wake_at(&id, now.after(RETRY));
                }
            }
        }
    });
}
