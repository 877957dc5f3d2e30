//! How keys and applications get into the vault and out of it. These run as tasks of the issuer, so
//! that no handler waits for the disk.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::state::{Base, Found, Stored, Subject, Target, Written};
use crate::error::{Error, ErrorKind};
use crate::identity::UserId;
use crate::server::application::{Application, ApplicationId, LONGEST_TOKEN_LIFETIME};
use crate::server::denials::Denied;
use crate::server::keys::KeyRing;
use crate::server::refresh::Family;
use crate::server::settings::MOST_LEEWAY;
use crate::vault::audit::{AuditEntry, AuditKind};
use crate::vault::payload::PayloadError;
use crate::vault::{
    Batch, Entry, Expect, Query, Record, RecordKey, RecordKind, Tags, VaultError, VaultHandle,
};

/// How many records are read at a time.
const READS: usize = 32;

/// How many records are removed at a time. So many entries may be recorded with it.
const BATCH: usize = 64;

/// Whose record the key ring is. There is nothing else of it.
const OWNER: &str = "token-issuer";

/// What else the server keeps: where there is any of it, there were keys.
const KINDS: [RecordKind; 3] =
    [RecordKind::Application, RecordKind::TokenFamily, RecordKind::RevokedToken];

/// The vault, as the keeper of keys and applications.
#[derive(Debug, Clone)]
pub(super) struct Keeper {
    pub(super) vault: VaultHandle,
    /// Whether tokens are good that this server did not issue.
    pub(super) trusts_others: bool,
}

/// Everything that there is.
pub(super) struct Loaded {
    pub(super) ring: Option<Stored<KeyRing>>,
    pub(super) applications: Vec<Stored<Application>>,
    /// Those that can not be read.
    pub(super) damaged: BTreeSet<ApplicationId>,
    /// Whether anything is there that was made with keys.
    pub(super) made_with_keys: bool,
}

impl Keeper {
    /// The tokens that are denied.
    pub(super) async fn denials(&self) -> Result<Vec<Denied>, Error> {
        let entries = self.vault.list(Query::all(RecordKind::RevokedToken)).await?;
        Ok(entries.iter().filter_map(Denied::from_entry).collect())
    }

    /// Removes what is over: families of refresh tokens, and denials of tokens that have expired. One that
    /// does not open is over as well, by its entry in the index.
    pub(super) async fn sweep(&self, now: SystemTime) -> Result<(), Error> {
        // A family is there for as long as an access token of it can live: revoking the one revokes the
        // other.
        let since = LONGEST_TOKEN_LIFETIME + MOST_LEEWAY;
        let kinds = [(RecordKind::TokenFamily, since), (RecordKind::RevokedToken, Duration::ZERO)];
        for (kind, since) in kinds {
            let Some(before) = now.checked_sub(since) else { continue };
            let over = self.vault.list(Query::all(kind).due_before(before)).await?;
            for part in over.chunks(BATCH) {
                match self.remove(part, as_listed).await {
                    // One of them does not open, and is not to keep the others.
                    Err(error) if error.is_quarantined() => self.remove_each(part).await?,
                    removed => removed?,
                }
            }
        }
        Ok(())
    }

    /// Removes records one by one, those that do not open, too.
    async fn remove_each(&self, over: &[Entry]) -> Result<(), VaultError> {
        for one in over.chunks(1) {
            match self.remove(one, as_listed).await {
                Err(error) if error.is_quarantined() => {
                    tracing::warn!(%error, "a record that is over is removed although it does not open");
                    self.remove(one, |_| Expect::AnythingOrQuarantined).await?;
                }
                removed => removed?,
            }
        }
        Ok(())
    }

    /// Removes records together, with what is to be recorded of them.
    async fn remove(
        &self,
        over: &[Entry],
        expect: impl Fn(&Entry) -> Expect,
    ) -> Result<(), VaultError> {
        let mut batch = Batch::new();
        for entry in over {
            batch = batch.delete(entry.key.clone(), expect(entry));
            if entry.key.kind == RecordKind::TokenFamily {
                let last = self.last_words(&entry.key).await?;
                batch = last.into_iter().fold(batch, Batch::record);
            }
        }
        match self.vault.commit(batch).await {
            // One of them was used meanwhile: the next sweep finds the others.
            Err(error) if error.is_conflict() => Ok(()),
            removed => removed,
        }
    }

    /// What is to be recorded when a family is removed; nothing of one that can not be read.
    async fn last_words(&self, family: &RecordKey) -> Result<Option<AuditEntry>, VaultError> {
        let record = match self.vault.read(family).await {
            Err(error) if !error.is_quarantined() => return Err(error),
            read => read.ok().flatten(),
        };
        let family = record.and_then(|record| Family::from_record(&record.payload).ok());
        Ok(family.and_then(|family| family.last_words()))
    }

    /// Everything else. An application that can not be read is reported and left out; keys that can not
    /// be read are an error, since others would void every token.
    pub(super) async fn load(&self) -> Result<Loaded, Error> {
        let ring = self.ring().await?;
        let entries = self.vault.list(Query::all(RecordKind::Application)).await?;
        let read = |Entry { key, .. }: Entry| async move {
            match self.vault.read(&key).await {
                Err(error) if !error.is_quarantined() => Err(Error::from(error)),
                read => Ok((found(&key, read), key.name)),
            }
        };
        let read: Vec<_> = stream::iter(entries).map(read).buffered(READS).try_collect().await?;
        let (mut applications, mut damaged) = (Vec::new(), BTreeSet::new());
        for (found, name) in read {
            match found {
                Ok(Found::Application(Some(stored))) => applications.push(*stored),
                Ok(Found::Damaged) => damaged.extend(name.parse()),
                // It was removed since the list was made.
                Ok(Found::Application(None) | Found::Ring(_)) => {}
                Err(error) => {
                    tracing::warn!(application = name, %error, "application left out");
                }
            }
        }
        let made_with_keys = ring.is_some() || !self.everything().await?.is_empty();
        Ok(Loaded { ring, applications, damaged, made_with_keys })
    }

    /// Removes everything that a server has in the vault, the keys last, and says how many records
    /// there were. Those that can not be read are removed, too.
    pub(super) async fn erase(&self) -> Result<usize, Error> {
        let mut entries = self.everything().await?;
        entries.extend(self.vault.list(Query::all(RecordKind::SigningKeys)).await?);
        for part in entries.chunks(BATCH) {
            let batch = part.iter().fold(Batch::new(), |batch, entry| {
                batch.delete(entry.key.clone(), Expect::AnythingOrQuarantined)
            });
            let entry = AuditEntry::new(AuditKind::ApplicationRemoved).origin("token-issuer");
            let entry = entry.because("the authorization server was erased");
            self.vault.commit(batch.record(entry)).await?;
        }
        Ok(entries.len())
    }

    /// What there is beside the keys.
    async fn everything(&self) -> Result<Vec<Entry>, Error> {
        let mut entries = Vec::new();
        for kind in KINDS {
            entries.extend(self.vault.list(Query::all(kind)).await?);
        }
        Ok(entries)
    }

    /// What the vault has of one record.
    pub(super) async fn reread(&self, subject: &Subject) -> Result<Found, Error> {
        match subject {
            Subject::Ring => self.ring().await.map(Found::Ring),
            Subject::Application(id) => self.application(&application_key(id)).await,
        }
    }

    /// Makes `target` durable, and reads what stands there then.
    pub(super) async fn write(
        &self,
        target: Target,
        base: Base,
        audit: Option<AuditKind>,
        now: SystemTime,
    ) -> Written {
        let subject = target.subject();
        match self.vault.commit(self.batch(target, base, audit, now)).await {
            Ok(()) => self.reread(&subject).await.map_or_else(Written::Failed, Written::Done),
            Err(error) if error.is_conflict() || error.is_quarantined() => Written::Conflict,
            Err(error) => Written::Failed(error.into()),
        }
    }

    async fn ring(&self) -> Result<Option<Stored<KeyRing>>, Error> {
        let Some(record) = self.vault.read(&ring_key()).await? else { return Ok(None) };
        let value = KeyRing::from_record(&record.payload);
        let value = value.map_err(|error| unreadable(error.to_string()))?;
        Ok(Some(Stored { value, version: record.version }))
    }

    async fn application(&self, key: &RecordKey) -> Result<Found, Error> {
        found(key, self.vault.read(key).await)
    }

    /// What makes a target durable, and records it.
    fn batch(
        &self,
        target: Target,
        base: Base,
        audit: Option<AuditKind>,
        now: SystemTime,
    ) -> Batch {
        let expect = match base {
            Base::Nothing => Expect::Absent,
            Base::Version(version) => Expect::Version(version),
            Base::Damaged => Expect::AnythingOrQuarantined,
        };
        let entry = audit.map(|audit| AuditEntry::new(audit).origin("token-issuer"));
        let (batch, entry) = match target {
            Target::Ring(ring) => {
                (Batch::new().put(ring_key(), ring.to_record(), expect, Tags::default()), entry)
            }
            Target::Application(application) => {
                let key = application_key(&application.id);
                let entry = entry.map(|entry| entry.user(&key.user));
                (Batch::new().put(key, application.to_record(), expect, Tags::default()), entry)
            }
            Target::Gone(id) => {
                let key = application_key(&id);
                let entry = entry.map(|entry| entry.user(&key.user));
                let batch = Batch::new().delete(key.clone(), expect);
                // No token of ours is good for an application that comes later under its name.
                let denied = self.trusts_others.then(|| Denied::application(&id, now));
                (denied.iter().fold(batch, |batch, it| it.put(batch, &key.user)), entry)
            }
        };
        entry.into_iter().fold(batch, Batch::record)
    }
}

/// A record goes as the list has it, unless it has changed since.
fn as_listed(entry: &Entry) -> Expect {
    Expect::Version(entry.version)
}

/// What was read under the key of an application. A record that does not open, and one that is not what it
/// should be, is damaged; one that a newer release wrote is not, and any other failure says nothing of it.
fn found(key: &RecordKey, read: Result<Option<Record>, VaultError>) -> Result<Found, Error> {
    let reason = match read {
        Ok(None) => return Ok(Found::Application(None)),
        Ok(Some(record)) => match Application::from_record(&record.payload) {
            Ok(value) if value.id.as_str() == key.name => {
                let stored = Stored { value, version: record.version };
                return Ok(Found::Application(Some(Box::new(stored))));
            }
            Ok(_) => "the record names another application".to_owned(),
            Err(error @ PayloadError::NewerFormat(_)) => {
                return Err(unreadable(format!("the application {}: {error}", key.name)));
            }
            Err(error) => error.to_string(),
        },
        Err(error) if error.is_quarantined() => error.to_string(),
        Err(error) => return Err(error.into()),
    };
    tracing::warn!(application = %key.name, reason, "application can not be read");
    Ok(Found::Damaged)
}

/// A record that opens, and is not what it should be.
fn unreadable(problem: impl Into<String>) -> Error {
    Error::new(ErrorKind::VaultUnreadable, problem)
}

fn ring_key() -> RecordKey {
    RecordKey::new(RecordKind::SigningKeys, UserId::reserved(OWNER), "ring")
}

/// The record of an application is its own, and so are the entries about it in the audit trail.
fn application_key(id: &ApplicationId) -> RecordKey {
    RecordKey::new(RecordKind::Application, id.owner(), id.as_str())
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;
    use crate::server::application::{ApplicationSpec, GrantGeneration, SecretHasher};
    use crate::testing::SeededEntropy;
    use crate::vault::RecordVersion;

    fn key(id: &str) -> RecordKey {
        application_key(&id.parse().expect("an id"))
    }

    fn record(payload: Zeroizing<Vec<u8>>) -> Record {
        let time = SystemTime::UNIX_EPOCH;
        Record { version: RecordVersion(1), payload, created: time, updated: time }
    }

    fn application(id: &str) -> Application {
        let secret =
            SecretHasher::new(&[1; 32]).fresh(&SeededEntropy::new(1), SystemTime::UNIX_EPOCH);
        let (_, secret) = secret.expect("randomness");
        let (id, first) = (id.parse().expect("an id"), GrantGeneration::first(1));
        let spec = ApplicationSpec::new("a client");
        spec.into_application(id, secret, first, SystemTime::UNIX_EPOCH).expect("an application")
    }

    #[test]
    fn an_application_is_damaged_by_its_own_record_and_by_no_failure_of_the_vault() {
        let whole = || record(application("app_one").to_record());
        let one = key("app_one");
        assert!(matches!(found(&one, Ok(Some(whole()))), Ok(Found::Application(Some(_)))));
        assert!(matches!(found(&one, Ok(None)), Ok(Found::Application(None))));
        for damaged in [
            (&one, Err(VaultError::quarantined("it does not open"))),
            (&one, Ok(Some(record(Zeroizing::new(b"{}".to_vec()))))),
            (&key("app_two"), Ok(Some(whole()))),
        ] {
            assert!(matches!(found(damaged.0, damaged.1), Ok(Found::Damaged)));
        }
        let newer = found(&one, Ok(Some(record(Zeroizing::new(br#"{"format":2}"#.to_vec())))));
        let told = newer.expect_err("it is left to the release that wrote it").to_string();
        assert!(told.contains("app_one") && told.contains("update tokenward"), "{told}");
        for failure in [
            VaultError::damaged("the vault is damaged"),
            VaultError::newer_format("the vault is newer"),
            VaultError::missing_key("the vault is locked"),
            VaultError::unavailable("the disk failed"),
        ] {
            let told = found(&one, Err(failure.clone())).expect_err("nothing is known of it");
            assert_eq!(told.to_string(), failure.to_string());
        }
    }
}
