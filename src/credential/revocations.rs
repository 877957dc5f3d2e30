//! Revocations that are owed to a provider. What a user signs out of is erased at once; the one token
//! that ends the grant at the provider is kept, sealed, until the provider has answered.
//!
//! It is written in the batch that erases the credential, so neither a crash nor an outage loses it,
//! and it is only ever written again where it stands: what was erased with its user stays erased.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use dashmap::DashMap;
use serde::{Deserialize, Serialize};
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::credentials::Providers;
use super::material::Material;
use super::schedule::Backoff;
use crate::clock::{Moment, Sources};
use crate::error::Error;
use crate::event::EventKind;
use crate::identity::{CredentialId, UserId};
use crate::oauth::Transport;
use crate::provider::{
    Failure, FailureClass, Provider, Registration, Revocation, RevocationOutcome, shortly,
};
use crate::secret::{self, Secret};
use crate::supervision::{Alarm, EventBus, Timekeeper};
use crate::vault::audit::{AuditEntry, AuditKind};
use crate::vault::payload::{self, FORMAT, PayloadError, from_millis, to_millis};
use crate::vault::{Batch, Expect, Query, RecordKey, RecordKind, Tags, VaultError, VaultHandle};

/// A token is kept no longer than this for its revocation.
const KEPT_FOR: Duration = Duration::from_hours(7 * 24);

/// So many are kept for one user.
const MOST_PER_USER: usize = 100;

/// The revocations that are owed in a runtime. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Revocations(Arc<Inside>);

/// What revocations are made with.
pub(crate) struct Inside {
    pub(crate) sources: Sources,
    pub(crate) events: EventBus,
    pub(crate) vault: VaultHandle,
    pub(crate) transport: Transport,
    pub(crate) timekeeper: Timekeeper,
    pub(crate) tasks: TaskTracker,
    pub(crate) providers: Providers,
    /// The next attempt at each.
    pub(crate) next: DashMap<RecordKey, Alarm>,
}

/// A revocation that is owed.
#[derive(Clone)]
pub(crate) struct Owed {
    key: RecordKey,
    credential: CredentialId,
    stored: Stored,
}

#[derive(Clone, Serialize, Deserialize)]
struct Stored {
    format: u32,
    /// The refresh token where there is one, which ends the whole grant, else the access token.
    #[serde(with = "secret::sealed")]
    token: Secret,
    is_refresh_token: bool,
    issued_to: Registration,
    since_ms: u64,
    attempts: u32,
}

impl Revocations {
    pub(crate) fn new(inside: Inside) -> Self {
        Self(Arc::new(inside))
    }

    /// Sets an alarm for each that an earlier process left.
    ///
    /// # Errors
    ///
    /// When the vault's index can not be read.
    pub(crate) async fn resume(&self) -> Result<(), Error> {
        for entry in self.0.vault.list(Query::all(RecordKind::Revocation)).await? {
            let now = self.0.sources.now();
            let due = entry.tags.due.unwrap_or(now.wall);
            let wait = due.duration_since(now.wall).unwrap_or_default();
            self.set_alarm(entry.key, Moment { wall: due, ..now.after(wait) });
        }
        Ok(())
    }

    /// What is owed for `material`.
    pub(crate) fn owed(&self, credential: &CredentialId, material: &Material) -> Owed {
        let Sources { clock, entropy } = &self.0.sources;
        let name = format!("{}/{:016x}", credential.name_within_user(), entropy.noise());
        let token = material.refresh.as_ref().unwrap_or(&material.access);
        Owed {
            key: RecordKey::new(RecordKind::Revocation, credential.user.clone(), name),
            credential: credential.clone(),
            stored: Stored {
                format: FORMAT,
                token: token.clone(),
                is_refresh_token: material.refresh.is_some(),
                issued_to: material.issued_to.clone(),
                since_ms: to_millis(clock.now().wall),
                attempts: 0,
            },
        }
    }

    /// Whether another one of `user` may be kept.
    pub(crate) async fn has_room(&self, user: &UserId) -> bool {
        let query = Query::all(RecordKind::Revocation).of_user(user.clone());
        let has_room = self.0.vault.list(query).await.is_ok_and(|kept| kept.len() < MOST_PER_USER);
        if !has_room {
            warn!(%user, "too many revocations are pending, this one is tried once");
        }
        has_room
    }

    /// Tells the provider that the token is over, and tries again later where it is kept and the
    /// provider could not answer. Whether it confirmed that now.
    pub(crate) async fn settle(&self, owed: Owed, provider: &dyn Provider) -> bool {
        let Owed { credential, stored, .. } = &owed;
        if let Some(conflict) = stored.issued_to.conflict(&provider.registration()) {
            self.put_off(owed, None, &conflict).await;
            return false;
        }
        let refresh_token = stored.is_refresh_token.then_some(&stored.token);
        let method = credential.method;
        let revocation = Revocation { method, access_token: &stored.token, refresh_token };
        let transport = &self.0.transport;
        match shortly(transport, provider.revoke(transport, revocation)).await {
            Ok(outcome) => {
                let revoked = outcome == RevocationOutcome::Revoked;
                if revoked {
                    self.note(AuditEntry::of_credential(AuditKind::Revoked, credential));
                }
                self.close(&owed).await;
                revoked
            }
            Err(failure) => {
                let entry = AuditEntry::of_credential(AuditKind::RevocationFailed, credential);
                self.note(entry.because_of(&failure));
                if passes(&failure) {
                    self.put_off(owed, failure.retry_after(), &failure.reason).await;
                } else {
                    self.give_up(&owed, failure.reason).await;
                }
                false
            }
        }
    }

    /// Sets the next attempt, if the token is kept still and not for too long.
    async fn put_off(&self, mut owed: Owed, asked: Option<Duration>, reason: &str) {
        let now = self.0.sources.now();
        if owed.is_too_old(now.wall) {
            return self.give_up(&owed, format!("not confirmed within a week: {reason}")).await;
        }
        owed.stored.attempts = owed.stored.attempts.saturating_add(1);
        let noise = self.0.sources.noise();
        let wait = Backoff::SLOW.wait(owed.stored.attempts, asked, noise);
        let at = now.after(wait);
        match self.write_again(&owed, at.wall).await {
            Ok(true) => {}
            // Erased with its user, or never kept: there is no room, or nothing that could write it.
            Ok(false) => {
                return debug!(credential = %owed.credential, reason, "a revocation is not kept");
            }
            Err(error) => {
                warn!(credential = %owed.credential, %error, "an attempt was not counted");
            }
        }
        self.0.events.emit(EventKind::RevocationPending {
            credential: owed.credential.clone(),
            reason: reason.to_owned(),
            retry_in: wait,
        });
        self.set_alarm(owed.key, at);
    }

    /// Writes it where it stands. Whether it does.
    async fn write_again(&self, owed: &Owed, due: SystemTime) -> Result<bool, VaultError> {
        let Some(record) = self.0.vault.read(&owed.key).await? else { return Ok(false) };
        let written = self.0.vault.commit(owed.put(Expect::Version(record.version), due)).await;
        match written {
            Err(error) if error.is_conflict() => Ok(false),
            other => other.map(|()| true),
        }
    }

    async fn give_up(&self, owed: &Owed, reason: String) {
        let credential = owed.credential.clone();
        warn!(%credential, reason, "a revocation is given up");
        self.0.events.emit(EventKind::RevocationGivenUp { credential, reason });
        self.close(owed).await;
    }

    /// Forgets the token.
    async fn close(&self, owed: &Owed) {
        let batch = Batch::new().delete(owed.key.clone(), Expect::AnythingOrQuarantined);
        if let Err(error) = self.0.vault.commit(batch).await {
            warn!(credential = %owed.credential, %error, "a settled revocation is tried again");
            self.set_alarm(owed.key.clone(), self.0.sources.now().after(Backoff::SLOW.base));
        }
    }

    fn note(&self, entry: AuditEntry) {
        self.0.vault.note(entry.origin("credentials"));
    }

    fn set_alarm(&self, key: RecordKey, at: Moment) {
        let (inside, rung) = (Arc::downgrade(&self.0), key.clone());
        let alarm = self.0.timekeeper.alarm_in_turn(move || ring(&inside, &rung));
        alarm.set(at);
        self.0.next.insert(key, alarm);
    }

    /// Another attempt at what stands under `key`.
    async fn try_again(&self, key: RecordKey) {
        self.0.next.remove(&key);
        let record = match self.0.vault.read(&key).await {
            Ok(Some(record)) => record,
            Ok(None) => return,
            Err(error) => {
                debug!(%error, "a revocation can not be read for now");
                let at = self.0.sources.now().after(Backoff::SLOW.cap);
                return self.set_alarm(key, at);
            }
        };
        let owed = match Owed::read(key, &record.payload) {
            Ok(owed) => owed,
            Err(error) => return warn!(%error, "a revocation is left as it is"),
        };
        match self.0.providers.get(&owed.credential.provider).cloned() {
            Some(provider) => {
                let credential = owed.credential.clone();
                if self.settle(owed, &*provider).await {
                    self.0.events.emit(EventKind::Revoked { credential });
                }
            }
            None => self.put_off(owed, None, "its provider is not in the settings").await,
        }
    }
}

impl Owed {
    /// The batch that keeps it, due at `due`.
    fn put(&self, expect: Expect, due: SystemTime) -> Batch {
        self.put_into(Batch::new(), expect, due)
    }

    /// As part of `batch`.
    pub(crate) fn put_into(&self, batch: Batch, expect: Expect, due: SystemTime) -> Batch {
        let tags = Tags { provider: Some(self.credential.provider.clone()), due: Some(due) };
        batch.put(self.key.clone(), payload::write(&self.stored), expect, tags)
    }

    pub(super) fn read(key: RecordKey, payload: &[u8]) -> Result<Self, PayloadError> {
        let what = "a revocation";
        let stored = payload::read(payload, what)?;
        let credential = CredentialId::from_names(&key.user, &key.name);
        Ok(Self { credential: credential.ok_or(PayloadError::Malformed(what))?, key, stored })
    }

    fn is_too_old(&self, now: SystemTime) -> bool {
        let since = from_millis(self.stored.since_ms).unwrap_or(now);
        now.duration_since(since).is_ok_and(|age| age > KEPT_FOR)
    }
}

/// Whether another attempt may go better.
fn passes(failure: &Failure) -> bool {
    matches!(
        failure.class,
        FailureClass::Transient { .. } | FailureClass::RateLimited { .. } | FailureClass::Uncertain
    )
}

/// Runs on the timekeeper's task, so the attempt is a task of its own.
fn ring(inside: &Weak<Inside>, key: &RecordKey) {
    let Some(inside) = inside.upgrade() else { return };
    let (revocations, key) = (Revocations(inside), key.clone());
    let tasks = revocations.0.tasks.clone();
    // It stays in the vault for the next start.
    if !tasks.is_closed() {
        tasks.spawn(async move { revocations.try_again(key).await });
    }
}

impl fmt::Debug for Revocations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revocations").field("next", &self.0.next.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Owed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Owed").field("credential", &self.credential).finish_non_exhaustive()
    }
}
