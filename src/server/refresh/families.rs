//! Families in the vault. A use is a compare-and-swap there: read, decide, write if nobody else has
//! written meanwhile. No lock and no actor stands before it, so it holds for several hosts, too.

use std::time::SystemTime;

use dashmap::DashMap;

use super::RefreshPolicy;
use super::family::{Family, Presented, Use};
use super::token::{RefreshToken, RefreshTokens};
use crate::clock::Sources;
use crate::error::{Error, ErrorKind};
use crate::secret::Secret;
use crate::server::application::Application;
use crate::server::denials::{Denials, Denied};
use crate::server::scope::Scope;
use crate::vault::audit::{AuditEntry, AuditKind};
use crate::vault::{
    Batch, Expect, RecordKey, RecordKind, RecordVersion, Tags, VaultError, VaultHandle,
};

/// How often a family is read anew that somebody else has written meanwhile. A family changes by a
/// rotation and by its end: whoever is overtaken by both finds it over.
const TRIES: u32 = 8;

/// The families of a server.
pub(crate) struct Families {
    vault: VaultHandle,
    sources: Sources,
    denials: Denials,
    /// Rotations whose writing failed, so that they may be durable and nobody got the answer: by
    /// family, the hash of the token that was presented.
    unanswered: DashMap<String, [u8; 32]>,
}

/// What a use of a refresh token gives.
pub(crate) enum Refreshed {
    /// Another refresh token, and what its access token may allow.
    Granted { family: String, scope: Scope, successor: Secret },
    /// The scope is more than was granted; the token was not spent.
    InvalidScope,
    /// The token is not good, or not any more.
    InvalidGrant,
}

impl Families {
    pub(crate) fn new(vault: VaultHandle, sources: Sources, denials: Denials) -> Self {
        Self { vault, sources, denials, unanswered: DashMap::new() }
    }

    /// Begins a family, and gives its name and its first token once it is durable.
    pub(crate) async fn begin(
        &self,
        tokens: &RefreshTokens,
        application: &Application,
        scope: Scope,
    ) -> Result<(String, Secret), Error> {
        let now = self.sources.now().wall;
        let first = RefreshToken::generate(&*self.sources.entropy)?;
        let (id, hash) = (first.family(), tokens.hash(&first));
        let policy = application.refresh_policy();
        let owner = (application.id().clone(), application.generation());
        let family = Family::new(id.clone(), owner, scope, hash, &policy, now);
        let batch = put(Batch::new(), &family, Expect::Absent);
        self.vault.commit(batch).await?;
        Ok((id, tokens.write(&first, application.id())))
    }

    /// Uses a token that was issued to `application`: rotates it, or ends its family.
    pub(crate) async fn refresh(
        &self,
        tokens: &RefreshTokens,
        token: &RefreshToken,
        application: &Application,
        asked: Option<&Scope>,
    ) -> Result<Refreshed, Error> {
        let successor = tokens.successor(token);
        let presented = Presented { hash: tokens.hash(token), successor: tokens.hash(&successor) };
        let policy = application.refresh_policy();
        for _ in 0..TRIES {
            let now = self.sources.now().wall;
            let Some((family, version)) = self.read(&token.family(), application).await? else {
                return Ok(Refreshed::InvalidGrant);
            };
            let written = match self.judged(&family, &presented, &policy, now) {
                Use::Over => return Ok(Refreshed::InvalidGrant),
                Use::Reused(over) => {
                    match self.end(&over, version, now, "a refresh token was used twice").await {
                        Ok(()) => return Ok(Refreshed::InvalidGrant),
                        Err(error) => Err(error),
                    }
                }
                outcome => {
                    let Some(scope) = granted(&family, application, asked) else {
                        return Ok(Refreshed::InvalidScope);
                    };
                    let written = if let Use::Rotated(next) = outcome {
                        self.rotate(&next, version, &presented).await
                    } else {
                        self.unanswered.remove(&family.id);
                        Ok(())
                    };
                    if written.is_ok() {
                        let successor = tokens.write(&successor, application.id());
                        return Ok(Refreshed::Granted { family: family.id, scope, successor });
                    }
                    written
                }
            };
            match written {
                Err(error) if !error.is_conflict() => return Err(error.into()),
                _ => {}
            }
        }
        let text = "a refresh token is used by too many at once, try again";
        Err(Error::new(ErrorKind::Overloaded, text))
    }

    /// Ends the family of a token, and every access token that came of it.
    pub(crate) async fn revoke(
        &self,
        token: &RefreshToken,
        application: &Application,
    ) -> Result<(), Error> {
        for _ in 0..TRIES {
            let now = self.sources.now().wall;
            let Some((family, version)) = self.read(&token.family(), application).await? else {
                return Ok(());
            };
            if family.revoked {
                return Ok(());
            }
            match self.end(&family.revoked(), version, now, "its application asked for it").await {
                Ok(()) => return Ok(()),
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(error.into()),
            }
        }
        let text = "a refresh token is used by too many at once, try again";
        Err(Error::new(ErrorKind::Overloaded, text))
    }

    /// The family of a token, if it is good: for introspection.
    pub(crate) async fn living(
        &self,
        tokens: &RefreshTokens,
        token: &RefreshToken,
        application: &Application,
    ) -> Result<Option<Family>, Error> {
        let now = self.sources.now().wall;
        let hash = tokens.hash(token);
        let presented = Presented { hash, successor: hash };
        let found = self.read(&token.family(), application).await?.map(|(family, _)| family);
        Ok(found.filter(|family| family.is_current(&presented) && !family.is_over(now)))
    }

    /// What a use comes to. One whose rotation was written and never answered is a repetition.
    fn judged(
        &self,
        family: &Family,
        presented: &Presented,
        policy: &RefreshPolicy,
        now: SystemTime,
    ) -> Use {
        let unanswered = self.unanswered.get(&family.id).is_some_and(|it| *it == presented.hash);
        if unanswered && family.follows(presented) && !family.is_over(now) {
            return Use::Repeated;
        }
        family.used(presented, policy, now)
    }

    async fn rotate(
        &self,
        next: &Family,
        version: RecordVersion,
        presented: &Presented,
    ) -> Result<(), VaultError> {
        let entry = entry(AuditKind::Refreshed, next);
        let batch = put(Batch::new().record(entry), next, Expect::Version(version));
        let written = self.vault.commit(batch).await;
        match &written {
            Err(error) if !error.is_conflict() => {
                self.unanswered.insert(next.id.clone(), presented.hash);
            }
            _ => drop(self.unanswered.remove(&next.id)),
        }
        written
    }

    /// Makes the end of a family durable, and with it that of its access tokens; then it is seen.
    async fn end(
        &self,
        over: &Family,
        version: RecordVersion,
        now: SystemTime,
        why: &'static str,
    ) -> Result<(), VaultError> {
        let denied = Denied::family(&over.id, now);
        let entry = entry(AuditKind::Revoked, over).because(why);
        let batch = put(Batch::new().record(entry), over, Expect::Version(version));
        self.vault.commit(denied.put(batch, &over.application.owner())).await?;
        self.denials.add(denied);
        Ok(())
    }

    async fn read(
        &self,
        id: &str,
        application: &Application,
    ) -> Result<Option<(Family, RecordVersion)>, Error> {
        let key = RecordKey::new(RecordKind::TokenFamily, application.id().owner(), id);
        let Some(record) = self.vault.read(&key).await? else { return Ok(None) };
        let family = Family::from_record(&record.payload)
            .map_err(|error| Error::new(ErrorKind::Protocol, error.to_string()))?;
        let ours = family.id == id
            && family.application == *application.id()
            && family.generation == application.generation();
        Ok(ours.then_some((family, record.version)))
    }
}

/// What an access token may allow: what was asked for, if it was granted, or what was granted; as far
/// as the application still has it.
fn granted(family: &Family, application: &Application, asked: Option<&Scope>) -> Option<Scope> {
    if asked.is_some_and(|asked| !family.scope.contains_all(asked)) {
        return None;
    }
    let scope = asked.unwrap_or(&family.scope).and(application.permissions());
    (!scope.is_empty()).then_some(scope)
}

fn put(batch: Batch, family: &Family, expect: Expect) -> Batch {
    let owner = family.application.owner();
    let key = RecordKey::new(RecordKind::TokenFamily, owner, family.id.clone());
    let tags = Tags { provider: None, due: Some(family.end()) };
    batch.put(key, family.to_record(), expect, tags)
}

fn entry(kind: AuditKind, family: &Family) -> AuditEntry {
    AuditEntry::new(kind).user(&family.application.owner()).origin("token-issuer")
}
