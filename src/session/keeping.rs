//! How sessions get into the vault and out of it. These run as tasks of the manager, so that no
//! handler waits for the disk.

use std::time::{Duration, SystemTime};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::record::Session;
use super::state::{Stored, Written};
use crate::error::Error;
use crate::identity::{SessionId, UserId};
use crate::vault::audit::{AuditEntry, AuditKind};
use crate::vault::{
    Batch, Entry, Expect, Query, RecordKey, RecordKind, RecordVersion, Tags, VaultError,
    VaultHandle,
};

/// How many records are read at a time.
const READS: usize = 32;

/// How many records go into one batch at the end.
const BATCH: usize = 128;

/// The vault, as the keeper of sessions.
#[derive(Debug, Clone)]
pub(super) struct Keeper {
    pub(super) vault: VaultHandle,
    /// How long after its last activity a session has expired, for the index.
    pub(super) timeout: Duration,
}

impl Keeper {
    /// Every session that can be read. One that can not is reported and left as it is.
    pub(super) async fn load(&self) -> Result<Vec<Stored>, Error> {
        let entries = self.vault.list(Query::all(RecordKind::Session)).await?;
        let read = |entry: Entry| async move { self.read(&entry.key).await };
        let stored: Vec<_> = stream::iter(entries).map(read).buffered(READS).try_collect().await?;
        Ok(stored.into_iter().flatten().collect())
    }

    /// One session; none when there is none, or none that can be used.
    pub(super) async fn reread(
        &self,
        user: UserId,
        session: &SessionId,
    ) -> Result<Option<Stored>, Error> {
        Ok(self.read(&key(user, session)).await?)
    }

    /// Writes a session's record.
    pub(super) async fn put(
        &self,
        session: &Session,
        last_activity: SystemTime,
        expect: Option<RecordVersion>,
        entry: Option<AuditEntry>,
    ) -> Written {
        let key = key(session.user.clone(), &session.id);
        let expect = expect.map_or(Expect::Absent, Expect::Version);
        let recorded = entry.into_iter().fold(Batch::new(), Batch::record);
        let batch = self.with_put(recorded, session, last_activity, expect);
        if let Err(error) = self.vault.commit(batch).await {
            return failed(error);
        }
        match self.vault.read(&key).await {
            Ok(Some(record)) => Written::Put(record.version),
            Ok(None) => Written::Conflict,
            Err(error) => failed(error),
        }
    }

    /// Removes a session's record.
    pub(super) async fn remove(
        &self,
        user: UserId,
        session: &SessionId,
        expect: RecordVersion,
        entry: AuditEntry,
    ) -> Written {
        let batch = Batch::new().delete(key(user, session), Expect::Version(expect)).record(entry);
        self.vault.commit(batch).await.map_or_else(failed, |()| Written::Removed)
    }

    /// Writes the last activity of many sessions, at the end of the manager's life.
    pub(super) async fn put_all(&self, sessions: &[(Session, SystemTime, RecordVersion)]) {
        for part in sessions.chunks(BATCH) {
            let batch = part.iter().fold(Batch::new(), |batch, (session, last, version)| {
                self.with_put(batch, session, *last, Expect::Version(*version))
            });
            if let Err(error) = self.vault.commit(batch).await {
                tracing::warn!(%error, sessions = part.len(), "last activity of sessions not kept");
            }
        }
    }

    /// Records that `user` asked for a session of somebody else.
    pub(super) fn denied(&self, user: &UserId, session: &SessionId) {
        let entry = AuditEntry::of_session(AuditKind::AccessDenied, user, session);
        let reason = "the session belongs to another user";
        self.vault.note(entry.origin("sessions").because(reason));
    }

    fn with_put(
        &self,
        batch: Batch,
        session: &Session,
        last_activity: SystemTime,
        expect: Expect,
    ) -> Batch {
        let due = last_activity.checked_add(self.timeout);
        let key = key(session.user.clone(), &session.id);
        batch.put(key, session.to_record(last_activity), expect, Tags { provider: None, due })
    }

    async fn read(&self, key: &RecordKey) -> Result<Option<Stored>, VaultError> {
        let record = match self.vault.read(key).await {
            Ok(Some(record)) => record,
            Ok(None) => return Ok(None),
            Err(error) if error.is_quarantined() => {
                tracing::warn!(user = %key.user, %error, "session left out");
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        match Session::from_record(&record.payload) {
            Ok((session, last_activity))
                if session.user == key.user && session.id.as_str() == key.name =>
            {
                Ok(Some(Stored { session, last_activity, version: record.version }))
            }
            Ok(_) => {
                tracing::warn!(user = %key.user, "session left out, its record names another");
                Ok(None)
            }
            Err(error) => {
                tracing::warn!(user = %key.user, %error, "session left out");
                Ok(None)
            }
        }
    }
}

fn key(user: UserId, session: &SessionId) -> RecordKey {
    RecordKey::new(RecordKind::Session, user, session.as_str())
}

fn failed(error: VaultError) -> Written {
    if error.is_conflict() { Written::Conflict } else { Written::Failed(error.into()) }
}
