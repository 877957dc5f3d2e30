//! Families in the vault. A use is a compare-and-swap there: read, decide, write if nobody else has
//! written meanwhile. That needs no lock and no actor, so it holds for several hosts, too; the turns within
//! this process are for those alone who present a token again because they got no answer.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::oneshot;
use tracing::Instrument as _;

use super::RefreshPolicy;
use super::family::{Family, Presented, Use};
use super::shelf::Shelves;
use super::token::{RefreshToken, RefreshTokens};
use super::told::entry;
use super::turns::{Turn, Turns};
use super::unanswered::Unanswered;
use crate::clock::Sources;
use crate::error::{Error, ErrorKind};
use crate::secret::Secret;
use crate::server::application::{Application, ApplicationId};
use crate::server::denials::{Denials, Denied};
use crate::server::detached::{Insistence, Place, UnderWay, detached, died};
use crate::server::scope::Scope;
use crate::vault::audit::AuditKind;
use crate::vault::{
    Batch, Expect, RecordKey, RecordKind, RecordVersion, Tags, VaultError, VaultHandle,
};

/// How often a family is read anew that somebody else has written meanwhile. A family changes by a
/// rotation and by its end: whoever is overtaken by both finds it over.
const TRIES: u32 = 8;

/// Makes the access token of a family with a scope. It is made before anything is written, so that
/// nothing is spent when it can not be made.
pub(crate) type Mint = Box<dyn Fn(&str, &Scope) -> Result<String, Error> + Send + Sync>;

/// The families of a server. Clones are the same.
#[derive(Clone)]
pub(crate) struct Families(Arc<Inside>);

struct Inside {
    vault: VaultHandle,
    sources: Sources,
    denials: Denials,
    insistence: Insistence,
    shelves: Shelves,
    turns: Turns,
    unanswered: Unanswered,
}

/// A refresh token, and the application that it was issued to.
pub(crate) struct Presentation {
    pub(crate) tokens: RefreshTokens,
    pub(crate) token: RefreshToken,
    pub(crate) application: Arc<Application>,
    /// The place of the request that presents it.
    pub(crate) under_way: UnderWay,
}

/// What a use of a refresh token gives.
pub(crate) enum Refreshed {
    /// Both tokens, and what the access token allows.
    Granted { access_token: String, scope: Scope, successor: Secret },
    /// The scope is more than was granted; the token was not spent.
    InvalidScope,
    /// The token is not good, or not any more.
    InvalidGrant,
}

impl Families {
    pub(crate) fn new(
        vault: VaultHandle,
        sources: Sources,
        denials: Denials,
        insistence: Insistence,
    ) -> Self {
        let (shelves, turns, unanswered) = Default::default();
        Self(Arc::new(Inside { vault, sources, denials, insistence, shelves, turns, unanswered }))
    }

    /// Begins a family, and gives its access token and its first refresh token once it is durable.
    pub(crate) async fn begin(
        &self,
        tokens: &RefreshTokens,
        application: &Application,
        scope: Scope,
        mint: Mint,
        under_way: UnderWay,
    ) -> Result<(String, Secret), Error> {
        let now = self.0.sources.now().wall;
        let first = RefreshToken::generate(&*self.0.sources.entropy)?;
        let (id, hash) = (first.family(), tokens.hash(&first));
        let access_token = mint(&id, &scope)?;
        let policy = application.refresh_policy();
        let owner = (application.id().clone(), application.generation());
        let family = Family::new(id, owner, scope, hash, &policy, now);
        let families = self.clone();
        detached(under_way, async move { families.shelve(&family).await }).await?;
        Ok((access_token, tokens.write(&first, application.id())))
    }

    /// Uses a token that was issued to an application: rotates it, or ends its family. Whatever is
    /// written is followed to its end, also when nobody waits for the answer any more; and the next
    /// use of the family waits for it, since who presents a token again whose answer nobody got is no thief.
    pub(crate) async fn refresh(
        &self,
        presentation: Presentation,
        asked: Option<Scope>,
        mint: Mint,
    ) -> Result<Refreshed, Error> {
        let families = self.clone();
        let (mut tell, told) = oneshot::channel();
        let use_of_it = async move {
            let (family, presented) = (presentation.token.family(), presentation.presented());
            let turn = tokio::select! {
                biased;
                turn = families.0.turns.of(&family) => turn,
                // Nothing is begun for who does not wait any more, and nothing piles up.
                () = tell.closed() => return,
            };
            let outcome =
                families.refreshed(&presentation, &presented, asked.as_ref(), &mint).await;
            let outcome = Some(outcome);
            // What nobody takes is dropped, and remembers itself.
            let _ = tell.send(Delivery { outcome, families, family, presented, _turn: turn });
        };
        tokio::spawn(use_of_it.in_current_span());
        told.await.map_or_else(|_| Err(died()), Delivery::take)
    }

    /// Ends the family of a token, and every access token that came of it.
    pub(crate) async fn revoke(&self, presentation: &Presentation) -> Result<(), Error> {
        let (id, application) = presentation.names();
        let families = self.clone();
        let under_way = Arc::clone(&presentation.under_way);
        detached(under_way, async move { families.ended(&id, &application).await }).await
    }

    /// The family of a token and what an access token of it would allow, if the token is good: for
    /// introspection. It is judged as a use is, and nothing is spent.
    pub(crate) async fn living(
        &self,
        presentation: &Presentation,
    ) -> Result<Option<(Family, Scope)>, Error> {
        let (id, application) = presentation.names();
        let Some((family, _)) = self.read(&id, &application).await? else { return Ok(None) };
        let by = &presentation.application;
        let now = self.0.sources.now().wall;
        Ok(match self.judged(&family, &presentation.presented(), by, now) {
            Use::Rotated(_) | Use::Repeated => {
                granted(&family, by, None).map(|scope| (family, scope))
            }
            Use::Reused | Use::Over => None,
        })
    }

    async fn refreshed(
        &self,
        presentation: &Presentation,
        presented: &Presented,
        asked: Option<&Scope>,
        mint: &Mint,
    ) -> Result<Refreshed, Error> {
        let (id, owner) = presentation.names();
        let application = &*presentation.application;
        for _ in 0..TRIES {
            let now = self.0.sources.now().wall;
            let Some(standing) = self.read(&id, &owner).await? else {
                return Ok(Refreshed::InvalidGrant);
            };
            let (family, version) = &standing;
            let outcome = self.judged(family, presented, application, now);
            let written = match outcome {
                Use::Over => return Ok(Refreshed::InvalidGrant),
                Use::Reused => {
                    let place = self.0.insistence.place(&owner)?;
                    match self.end(&id, &owner, Some(&standing), BY_REUSE, place).await {
                        Ok(()) => return Ok(Refreshed::InvalidGrant),
                        Err(error) => Err(error),
                    }
                }
                Use::Rotated(_) | Use::Repeated => {
                    let Some(scope) = granted(family, application, asked) else {
                        return Ok(Refreshed::InvalidScope);
                    };
                    let access_token = mint(&id, &scope)?;
                    let written = match outcome {
                        Use::Rotated(next) => self.rotate(*next, *version, presented, now).await,
                        _ => Ok(()),
                    };
                    if written.is_ok() {
                        self.0.unanswered.forget(&id);
                        self.0.shelves.touch(&owner, &id);
                        let successor = presentation.tokens.successor(&presentation.token);
                        let successor = presentation.tokens.write(&successor, &owner);
                        return Ok(Refreshed::Granted { access_token, scope, successor });
                    }
                    written
                }
            };
            match written {
                Err(error) if !error.is_conflict() => return Err(error.into()),
                _ => {}
            }
        }
        Err(crowded())
    }

    /// What a use comes to. One whose rotation was written and never answered is a repetition.
    fn judged(
        &self,
        family: &Family,
        presented: &Presented,
        application: &Application,
        now: SystemTime,
    ) -> Use {
        if family.generation != application.generation() {
            return Use::Over;
        }
        let monotonic = self.0.sources.now().monotonic;
        let unanswered = self.0.unanswered.has(&family.id, presented.hash, monotonic);
        if unanswered && family.follows(presented) && !family.is_over(now) {
            return Use::Repeated;
        }
        let policy: RefreshPolicy = application.refresh_policy();
        family.used(presented, &policy, now)
    }

    /// Makes a new family durable, and removes those that are too many with it.
    async fn shelve(&self, family: &Family) -> Result<(), Error> {
        let (application, inside) = (&family.application, &*self.0);
        let gone = inside.shelves.add(application, &family.id, &inside.vault).await?;
        let mut batch = put(Batch::new(), family, Expect::Absent);
        // The others go with the next ones.
        for former in gone.iter().take(MOST_REMOVED) {
            // One that can not be read has to make room all the same.
            let read = self.read(former, application).await.ok().flatten();
            let last = read.and_then(|(family, _)| family.last_words());
            batch = last.into_iter().fold(batch, Batch::record);
            batch = batch.delete(key(application, former), Expect::AnythingOrQuarantined);
        }
        if gone.len() > MOST_REMOVED {
            inside.shelves.forget(application);
        }
        let written = inside.vault.commit(batch).await;
        if written.is_err() {
            inside.shelves.forget(application);
        }
        Ok(written?)
    }

    async fn rotate(
        &self,
        mut next: Family,
        version: RecordVersion,
        presented: &Presented,
        now: SystemTime,
    ) -> Result<(), VaultError> {
        let told = next.tell(now).into_iter().fold(Batch::new(), Batch::record);
        let batch = put(told, &next, Expect::Version(version));
        let written = self.0.vault.commit(batch).await;
        if written.as_ref().is_err_and(|error| !error.is_conflict()) {
            self.nobody_got_it(&next.id, presented);
        }
        written
    }

    fn nobody_got_it(&self, family: &str, presented: &Presented) {
        let now = self.0.sources.now().monotonic;
        self.0.unanswered.remember(family, presented.hash, now);
    }

    /// Ends a family, whatever it is by now.
    async fn ended(&self, id: &str, application: &ApplicationId) -> Result<(), Error> {
        for _ in 0..TRIES {
            let standing = self.read(id, application).await?;
            if standing.as_ref().is_some_and(|(family, _)| family.revoked) {
                return Ok(());
            }
            let place = self.0.insistence.place(application)?;
            match self.end(id, application, standing.as_ref(), BY_REQUEST, place).await {
                Ok(()) => return Ok(()),
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(crowded())
    }

    /// Ends a family as it stands. When nobody knows whether that is durable, it is found out, and done
    /// if it is not.
    async fn end(
        &self,
        id: &str,
        application: &ApplicationId,
        standing: Option<&(Family, RecordVersion)>,
        why: &'static str,
        place: Place,
    ) -> Result<(), VaultError> {
        let written = self.write_end(id, application, standing, why).await;
        if written.as_ref().is_err_and(|error| !error.is_conflict()) {
            let (families, id, application) = (self.clone(), id.to_owned(), application.clone());
            place.insist(format!("the end of {id}"), move || {
                let (families, id) = (families.clone(), id.clone());
                let application = application.clone();
                async move { families.end_again(&id, &application, why).await }
            });
        }
        written
    }

    async fn end_again(
        &self,
        id: &str,
        application: &ApplicationId,
        why: &'static str,
    ) -> Result<(), Error> {
        let standing = self.read(id, application).await?;
        if standing.as_ref().is_some_and(|(family, _)| family.revoked) {
            return Ok(());
        }
        match self.write_end(id, application, standing.as_ref(), why).await {
            Err(error) if error.is_conflict() => Err(crowded()),
            written => Ok(written?),
        }
    }

    /// Makes the end of a family durable, and with it that of its access tokens; then it is seen. Of one
    /// that made room for another, or is over for long, there are the access tokens alone. One that does
    /// not open is removed, so that it is over also should it open again.
    async fn write_end(
        &self,
        id: &str,
        application: &ApplicationId,
        standing: Option<&(Family, RecordVersion)>,
        why: &'static str,
    ) -> Result<(), VaultError> {
        let denied = Denied::family(id, self.0.sources.now().wall);
        let last = standing.and_then(|(family, _)| family.last_words());
        let batch = last.into_iter().fold(Batch::new(), Batch::record);
        let batch = batch.record(entry(AuditKind::Revoked, application).because(why));
        let mut batch = denied.put(batch, &application.owner());
        batch = match standing {
            Some((family, version)) => put(batch, &family.revoked(), Expect::Version(*version)),
            None => batch.delete(key(application, id), Expect::AnythingOrQuarantined),
        };
        self.0.vault.commit(batch).await?;
        self.0.denials.add(denied);
        Ok(())
    }

    /// A family of an application; none where its record does not open, since nobody can tell whether a
    /// token of it is good. The access tokens of one that is revoked are denied from now on, whoever
    /// revoked it.
    async fn read(
        &self,
        id: &str,
        application: &ApplicationId,
    ) -> Result<Option<(Family, RecordVersion)>, Error> {
        let record = match self.0.vault.read(&key(application, id)).await {
            Ok(Some(record)) => record,
            Ok(None) => return Ok(None),
            Err(error) if error.is_quarantined() => {
                tracing::warn!(%application, %error, "a family of refresh tokens is taken for none");
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        let family = Family::from_record(&record.payload)
            .map_err(|error| Error::new(ErrorKind::VaultUnreadable, error.to_string()))?;
        if family.id != id || family.application != *application {
            return Ok(None);
        }
        if family.revoked {
            self.0.denials.add(Denied::family(id, self.0.sources.now().wall));
        }
        Ok(Some((family, record.version)))
    }
}

/// An outcome on its way to who asked for it.
struct Delivery {
    outcome: Option<Result<Refreshed, Error>>,
    families: Families,
    family: String,
    presented: Presented,
    /// Over when the outcome was taken, or is remembered as one that nobody got.
    _turn: Turn,
}

impl Delivery {
    fn take(mut self) -> Result<Refreshed, Error> {
        self.outcome.take().unwrap_or_else(|| Err(died()))
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if let Some(Ok(Refreshed::Granted { .. })) = self.outcome {
            self.families.nobody_got_it(&self.family, &self.presented);
        }
    }
}

/// Why families end, as the audit trail tells it.
const BY_REUSE: &str = "a refresh token was used twice";
const BY_REQUEST: &str = "its application asked for it";

/// How many families are removed with one that begins.
const MOST_REMOVED: usize = 64;

impl Presentation {
    /// The name of the family, and whose it is.
    fn names(&self) -> (String, ApplicationId) {
        (self.token.family(), self.application.id().clone())
    }

    fn presented(&self) -> Presented {
        let successor = self.tokens.successor(&self.token);
        Presented { hash: self.tokens.hash(&self.token), successor: self.tokens.hash(&successor) }
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

fn crowded() -> Error {
    Error::new(ErrorKind::Overloaded, "a refresh token is used by too many at once, try again")
}

fn key(application: &ApplicationId, family: &str) -> RecordKey {
    RecordKey::new(RecordKind::TokenFamily, application.owner(), family)
}

fn put(batch: Batch, family: &Family, expect: Expect) -> Batch {
    let tags = Tags { provider: None, due: Some(family.end()) };
    batch.put(key(&family.application, &family.id), family.to_record(), expect, tags)
}
