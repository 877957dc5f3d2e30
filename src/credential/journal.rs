//! What the vault holds of one credential, and the two-phase rotation of its material.
//!
//! A rotation is an intent that is durable before the request leaves, and a commit that makes the
//! new material durable and removes the intent in one batch. Every write names the version of the
//! record that it is based on, so a renewal that was overtaken by a sign-in or a sign-out can not
//! bring anything back.

use std::sync::Arc;

use tracing::warn;

use super::lifecycle::Trouble;
use super::material::Material;
use super::revocations::Owed;
use super::stored::{self, Unknown};
use crate::clock::Moment;
use crate::error::Error;
use crate::identity::{CredentialId, Generation, Method};
use crate::provider::FailureClass;
use crate::vault::audit::{AuditEntry, AuditKind};
use crate::vault::payload::PayloadError;
use crate::vault::{
    Batch, Expect, Record, RecordKey, RecordKind, RecordVersion, Tags, VaultError, VaultHandle,
};

/// How often a write is tried again when another one of the same credential came first.
const RACES: usize = 8;

/// One credential's records.
#[derive(Debug, Clone)]
pub(crate) struct Journal {
    vault: VaultHandle,
    id: CredentialId,
}

/// Everything the vault has of a credential.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) material: Option<Arc<Material>>,
    /// The generation that an interrupted rotation was spending.
    pub(crate) intent: Option<Generation>,
    pub(crate) trouble: Option<(Generation, Trouble)>,
    /// The user allows this API key to stand in for other sign-ins.
    pub(crate) stands_in: bool,
}

/// A rotation that may go on: what it is based on is still what the vault has.
#[derive(Debug)]
pub(crate) struct Rotation {
    based_on: RecordVersion,
    unknown: Unknown,
}

/// What stands beside the material.
enum Beside<T> {
    Nothing,
    Found(T),
    Damaged,
}

impl<T> Beside<T> {
    fn found(self) -> Option<T> {
        match self {
            Self::Found(found) => Some(found),
            Self::Nothing | Self::Damaged => None,
        }
    }
}

/// How material came that is stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Came {
    #[default]
    BySignIn,
    ByRenewal,
}

/// Why the vault did not take a write.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum JournalError {
    /// The vault holds other material, or none any more.
    #[error("the credential was changed meanwhile")]
    Superseded,
    /// The vault failed.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// A record was opened and is not what it should be.
    #[error("{0}")]
    Unreadable(String),
    /// Whatever read or wrote died half-way.
    #[error("{0}")]
    Interrupted(String),
}

impl JournalError {
    /// Whether it fails until somebody mends the vault.
    pub(crate) fn is_lasting(&self) -> bool {
        match self {
            Self::Unreadable(_) => true,
            Self::Vault(error) => Error::from(error.clone()).is_vault_unreadable(),
            Self::Superseded | Self::Interrupted(_) => false,
        }
    }
}

impl Journal {
    pub(crate) fn new(vault: VaultHandle, id: CredentialId) -> Self {
        Self { vault, id }
    }

    /// Reads all there is. An intent or a trouble of an older generation is left-over.
    ///
    /// What stands beside the material never makes it unreadable: where such a record is damaged,
    /// the careful reading of it holds, and the damage is reported.
    pub(crate) async fn load(&self, now: Moment) -> Result<Contents, JournalError> {
        let Some((material, ..)) = self.current(now).await? else {
            return Ok(Contents::default());
        };
        let generation = material.generation;
        let intent = self.beside(RecordKind::Rotation, stored::read_intent).await?;
        let trouble =
            self.beside(RecordKind::Backoff, |payload| stored::read_trouble(payload, now));
        let trouble = trouble.await?;
        let permission = self.beside(RecordKind::Fallback, stored::read_permission).await?;
        Ok(Contents {
            intent: match intent {
                Beside::Nothing => None,
                Beside::Found(intent) => Some(intent.generation).filter(|it| *it == generation),
                // It was left by some rotation, which may have been the last one.
                Beside::Damaged => Some(generation),
            },
            trouble: trouble.found().filter(|(about, _)| *about == generation),
            stands_in: permission.found().is_some(),
            material: Some(Arc::new(material)),
        })
    }

    /// One of the records that stand beside the material.
    async fn beside<T>(
        &self,
        kind: RecordKind,
        read: impl FnOnce(&[u8]) -> Result<T, PayloadError>,
    ) -> Result<Beside<T>, JournalError> {
        let damage = match self.vault.read(&self.key(kind)).await {
            Ok(None) => return Ok(Beside::Nothing),
            Ok(Some(record)) => match read(&record.payload) {
                Ok(found) => return Ok(Beside::Found(found)),
                Err(error) => error.to_string(),
            },
            Err(error) if error.is_quarantined() => error.to_string(),
            Err(error) => return Err(error.into()),
        };
        warn!(credential = %self.id, record = %kind, damage, "a record is damaged, left out");
        Ok(Beside::Damaged)
    }

    /// Makes durable that the refresh token of `material` is about to be spent.
    pub(crate) async fn begin(
        &self,
        material: &Material,
        method: Method,
        now: Moment,
    ) -> Result<Rotation, JournalError> {
        let (stored, based_on, unknown) =
            self.current(now).await?.ok_or(JournalError::Superseded)?;
        if stored.generation != material.generation || stored.access != material.access {
            return Err(JournalError::Superseded);
        }
        if material.spends_a_refresh_token(method) {
            let intent = stored::write_intent(material, now);
            let batch = Batch::new()
                .require(self.key(RecordKind::Credential), Expect::Version(based_on))
                // A damaged one said all it had to: that this rotation is in doubt.
                .put(
                    self.key(RecordKind::Rotation),
                    intent,
                    Expect::AnythingOrQuarantined,
                    Tags::default(),
                );
            self.commit_batch(batch).await?;
        }
        Ok(Rotation { based_on, unknown })
    }

    /// Makes the new material durable, and ends the rotation.
    pub(crate) async fn commit(
        &self,
        rotation: &Rotation,
        material: &Material,
    ) -> Result<(), JournalError> {
        let expect = Expect::Version(rotation.based_on);
        let batch = self.replacement(material, rotation.unknown.clone(), expect);
        self.commit_batch(self.recording(batch, Came::ByRenewal)).await
    }

    /// Ends a rotation in which nothing was spent.
    pub(crate) async fn abandon(&self, rotation: &Rotation) -> Result<(), JournalError> {
        let batch = Batch::new()
            .require(self.key(RecordKind::Credential), Expect::Version(rotation.based_on))
            .delete(self.key(RecordKind::Rotation), Expect::Anything);
        self.commit_batch(batch).await
    }

    /// Ends a rotation that the provider answered with the end of the grant.
    pub(crate) async fn refuse(
        &self,
        rotation: &Rotation,
        generation: Generation,
        trouble: &Trouble,
    ) -> Result<(), JournalError> {
        let trouble = stored::write_trouble(generation, trouble);
        let batch = Batch::new()
            .require(self.key(RecordKind::Credential), Expect::Version(rotation.based_on))
            .put(
                self.key(RecordKind::Backoff),
                trouble,
                Expect::AnythingOrQuarantined,
                Tags::default(),
            )
            .delete(self.key(RecordKind::Rotation), Expect::Anything);
        self.commit_batch(batch).await
    }

    /// Remembers why a renewal failed, so that a restart goes on with the same back-off.
    pub(crate) async fn remember(
        &self,
        generation: Generation,
        trouble: &Trouble,
    ) -> Result<(), JournalError> {
        let stored = stored::write_trouble(generation, trouble);
        let (key, expect) = (self.key(RecordKind::Backoff), Expect::AnythingOrQuarantined);
        let batch = Batch::new().put(key, stored, expect, Tags::default());
        let entry = self.failure(trouble).into_iter();
        self.commit_batch(entry.fold(batch, Batch::record)).await
    }

    /// Records a failure that needs not be remembered any more, or can not be.
    pub(crate) fn note_failure(&self, trouble: &Trouble) {
        if let Some(entry) = self.failure(trouble) {
            self.vault.note(entry);
        }
    }

    /// What was remembered is over.
    pub(crate) async fn forget(&self) -> Result<(), JournalError> {
        let (key, expect) = (self.key(RecordKind::Backoff), Expect::AnythingOrQuarantined);
        self.commit_batch(Batch::new().delete(key, expect)).await
    }

    /// Keeps that this API key may stand in for the user's other sign-ins, or that it may not any
    /// more. Only what is there can be allowed; answers whether it is.
    pub(crate) async fn allow_fallback(
        &self,
        allowed: bool,
        now: Moment,
    ) -> Result<bool, JournalError> {
        let (key, expect) = (self.key(RecordKind::Fallback), Expect::AnythingOrQuarantined);
        let batch =
            if allowed {
                let Some((_, version, _)) = self.current(now).await? else { return Ok(false) };
                Batch::new()
                    .require(self.key(RecordKind::Credential), Expect::Version(version))
                    .put(key, stored::write_permission(now), expect, Tags::default())
            } else {
                Batch::new().delete(key, expect)
            };
        self.commit_batch(batch).await?;
        Ok(true)
    }

    /// Stores the material of a sign-in over whatever is there. `make` is given the generation
    /// that follows the newest one; `seen` is the newest that this process knows.
    pub(crate) async fn replace(
        &self,
        seen: Generation,
        make: impl Fn(Generation) -> Material + Send,
        now: Moment,
    ) -> Result<Material, (Material, JournalError)> {
        let mut material = make(seen.next());
        for _ in 0..RACES {
            let (expect, unknown) = match self.replaceable(now).await {
                Ok((replaced, expect, unknown)) => {
                    let replaced = replaced.map(|replaced| replaced.generation);
                    material = make(seen.max(replaced.unwrap_or_default()).next());
                    (expect, unknown)
                }
                Err(error) => return Err((material, error)),
            };
            let batch = self.replacement(&material, unknown, expect);
            match self.commit_batch(self.recording(batch, Came::BySignIn)).await {
                Ok(()) => return Ok(material),
                Err(JournalError::Superseded) => {}
                Err(error) => return Err((material, error)),
            }
        }
        Err((material, JournalError::Superseded))
    }

    /// Tries again to store material that had to be held in memory, and gives it as it is stored now:
    /// where a sign-in could not see what it was to take the place of, it may have to be of a later
    /// generation than it was held by.
    pub(crate) async fn save(
        &self,
        material: &Arc<Material>,
        came: Came,
        now: Moment,
    ) -> Result<Arc<Material>, JournalError> {
        let (replaced, expect, unknown) = match came {
            Came::BySignIn => self.replaceable(now).await?,
            Came::ByRenewal => match self.current(now).await? {
                Some((stored, ..)) if stored.generation > material.generation => {
                    return Err(JournalError::Superseded);
                }
                // It was written before, and the answer to that was lost.
                Some((stored, ..)) if stored.is(material) => return Ok(material.clone()),
                Some((_, version, unknown)) => (None, Expect::Version(version), unknown),
                None => (None, Expect::Absent, Unknown::new()),
            },
        };
        let material = match replaced {
            Some(replaced)
                if replaced.generation >= material.generation
                    && !material.same_tokens(&replaced) =>
            {
                let generation = replaced.generation.next();
                Arc::new(Material { generation, ..Material::clone(material) })
            }
            _ => material.clone(),
        };
        let batch = self.replacement(&material, unknown, expect);
        self.commit_batch(self.recording(batch, came)).await?;
        Ok(material)
    }

    /// Removes everything, and keeps what is `owed` for it. It is recorded if `is_anything_there`.
    pub(crate) async fn erase(
        &self,
        is_anything_there: bool,
        owed: &[Owed],
        now: Moment,
    ) -> Result<(), JournalError> {
        let mut batch = owed
            .iter()
            .fold(Batch::new(), |batch, owed| owed.put_into(batch, Expect::Absent, now.wall));
        if is_anything_there {
            batch = batch.record(self.entry(AuditKind::SignedOut));
        }
        for kind in [
            RecordKind::Credential,
            RecordKind::Rotation,
            RecordKind::Backoff,
            RecordKind::Fallback,
        ] {
            batch = batch.delete(self.key(kind), Expect::AnythingOrQuarantined);
        }
        self.commit_batch(batch).await
    }

    /// The batch that stores material, with what is recorded of it.
    fn recording(&self, batch: Batch, came: Came) -> Batch {
        let kinds: &[AuditKind] = match came {
            Came::BySignIn if self.id.method == Method::ApiKey => &[AuditKind::SignedIn],
            Came::BySignIn => &[AuditKind::SignedIn, AuditKind::TokenGenerated],
            Came::ByRenewal if self.id.method.needs_no_user() => &[AuditKind::TokenGenerated],
            Came::ByRenewal => &[AuditKind::Refreshed],
        };
        kinds.iter().fold(batch, |batch, kind| batch.record(self.entry(*kind)))
    }

    /// What is recorded of a failure. Those in a row are told in ever larger groups, so that an
    /// outage does not fill the trail; the last of them, that only the user can mend, always.
    fn failure(&self, trouble: &Trouble) -> Option<AuditEntry> {
        let attempts = u64::from(trouble.attempts.max(1));
        let is_final = trouble.failure.class == FailureClass::ReauthorizationRequired;
        if !is_final && !attempts.is_power_of_two() {
            return None;
        }
        // The largest power of two below: until there all were told.
        let told = if attempts == 1 { 0 } else { attempts.next_power_of_two() / 2 };
        let kind = if self.id.method == Method::ApiKey {
            AuditKind::AccessDenied
        } else {
            AuditKind::GenerationFailed
        };
        Some(self.entry(kind).because_of(&trouble.failure).times(attempts - told))
    }

    fn entry(&self, kind: AuditKind) -> AuditEntry {
        AuditEntry::of_credential(kind, &self.id).origin("credentials")
    }

    fn replacement(&self, material: &Material, unknown: Unknown, expect: Expect) -> Batch {
        let tags = Tags { provider: Some(self.id.provider.clone()), due: material.expires_at() };
        let payload = stored::write_material(material, unknown);
        Batch::new()
            .put(self.key(RecordKind::Credential), payload, expect, tags)
            .delete(self.key(RecordKind::Rotation), Expect::AnythingOrQuarantined)
            .delete(self.key(RecordKind::Backoff), Expect::AnythingOrQuarantined)
    }

    /// What a sign-in takes the place of, and how. What can not be read is resolved by it.
    async fn replaceable(
        &self,
        now: Moment,
    ) -> Result<(Option<Material>, Expect, Unknown), JournalError> {
        match self.current(now).await {
            Ok(Some((stored, version, unknown))) => {
                Ok((Some(stored), Expect::Version(version), unknown))
            }
            Ok(None) => Ok((None, Expect::Absent, Unknown::new())),
            Err(JournalError::Unreadable(_)) => {
                Ok((None, Expect::AnythingOrQuarantined, Unknown::new()))
            }
            Err(JournalError::Vault(error)) if error.is_quarantined() => {
                Ok((None, Expect::AnythingOrQuarantined, Unknown::new()))
            }
            Err(error) => Err(error),
        }
    }

    async fn current(
        &self,
        now: Moment,
    ) -> Result<Option<(Material, RecordVersion, Unknown)>, JournalError> {
        let Some(record) = self.vault.read(&self.key(RecordKind::Credential)).await? else {
            return Ok(None);
        };
        let Record { version, payload, .. } = record;
        let (material, unknown) = stored::read_material(&payload, now)?;
        Ok(Some((material, version, unknown)))
    }

    async fn commit_batch(&self, batch: Batch) -> Result<(), JournalError> {
        self.vault.commit(batch).await.map_err(|error| {
            if error.is_conflict() { JournalError::Superseded } else { JournalError::Vault(error) }
        })
    }

    fn key(&self, kind: RecordKind) -> RecordKey {
        RecordKey { kind, user: self.id.user.clone(), name: self.id.name_within_user() }
    }
}

impl From<PayloadError> for JournalError {
    fn from(error: PayloadError) -> Self {
        Self::Unreadable(error.to_string())
    }
}
