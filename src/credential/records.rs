//! What happens to the records of one credential outside of a rotation: they are read, replaced by
//! a sign-in, written again, erased. One at a time, and each looks at the desk when it is its turn,
//! so that nothing that the user has given up meanwhile is written.

use std::sync::Arc;

use tracing::{debug, warn};

use super::actor::Context;
use super::cell::{Cell, Era};
use super::journal::{Contents, Journal, JournalError};
use super::lifecycle::Trouble;
use super::material::Material;
use super::messages::SignInWith;
use super::revocations::Owed;
use crate::error::{Error, ErrorKind};
use crate::identity::{CredentialId, Generation, Method};
use crate::provider::{Revocation, RevocationOutcome, shortly};
use crate::vault::audit::{AuditEntry, AuditKind};

/// The records of one credential.
#[derive(Debug, Clone)]
pub(crate) struct Records {
    pub(crate) context: Arc<Context>,
    pub(crate) cell: Arc<Cell>,
}

/// What became of the material of a sign-in.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) material: Arc<Material>,
    /// The era in which the sign-in was asked for.
    pub(crate) begun: Era,
    /// Why it is held in memory, where the vault could not take it.
    pub(crate) unsaved: Option<String>,
}

impl Records {
    pub(crate) fn journal(&self) -> Journal {
        Journal::new(self.context.shared.vault.clone(), self.context.id.clone())
    }

    /// Reads all there is, after the sign-ins and sign-outs that are under way.
    pub(crate) async fn load(&self) -> Result<Contents, JournalError> {
        let _writing = self.cell.writing.lock().await;
        self.journal().load(self.context.shared.sources.now()).await
    }

    /// Stores what a sign-in brought that was asked for in the era `begun`, when `seen` was the
    /// newest generation.
    ///
    /// # Errors
    ///
    /// When the user has signed out since, or the vault does not take an API key.
    pub(crate) async fn sign_in(
        &self,
        with: SignInWith,
        begun: Era,
        seen: Generation,
    ) -> Result<Stored, Error> {
        let writing = self.cell.writing.lock().await;
        let now = self.context.shared.sources.now();
        let by = self.context.provider.registration();
        let make = |generation| match &with {
            SignInWith::ApiKey(key) => Material::api_key(key.clone(), generation, now),
            SignInWith::Grant(grant) => Material::granted(grant.clone(), generation, by.clone()),
        };
        let (era, signed_out) = {
            let desk = self.cell.desk();
            (desk.era(), desk.signed_out)
        };
        if era != begun {
            drop(writing);
            self.revoke(&make(seen)).await;
            return Err(overtaken());
        }
        if signed_out && matches!(with, SignInWith::ApiKey(_)) {
            // The vault could not erase what was signed out of. What the user allowed to that key,
            // nobody has allowed to this one.
            let forbidden = self.journal().allow_fallback(false, now).await;
            forbidden.map_err(|error| unwritable(&error))?;
        }
        let (material, unsaved) = match self.journal().replace(seen, make, now).await {
            Ok(material) => (Arc::new(material), None),
            // The user has the key still; nothing is lost by saying no.
            Err((_, error)) if matches!(with, SignInWith::ApiKey(_)) => {
                return Err(unwritable(&error));
            }
            Err((material, error)) => (Arc::new(material), Some(error.to_string())),
        };
        let held = unsaved.is_some().then(|| material.clone());
        if self.cell.desk().sign_in(begun, held) {
            Ok(Stored { material, begun, unsaved })
        } else {
            // The sign-out erases what was written as soon as it is its turn.
            drop(writing);
            self.revoke(&material).await;
            Err(overtaken())
        }
    }

    /// Tries again to make material durable that is held in memory, unless it is not any more.
    /// Gives it as it is stored.
    pub(crate) async fn save(
        &self,
        material: &Arc<Material>,
    ) -> Result<Arc<Material>, JournalError> {
        let _writing = self.cell.writing.lock().await;
        let came = {
            let desk = self.cell.desk();
            if !desk.holds(material) {
                return Err(JournalError::Superseded);
            }
            desk.came
        };
        let now = self.context.shared.sources.now();
        let saved = self.journal().save(material, came, now).await?;
        self.cell.desk().saved(material);
        Ok(saved)
    }

    /// Erases what is stored, and revokes it and what was `held`. Whether the provider confirmed a
    /// revocation does not depend on the vault, nor the other way round.
    pub(crate) async fn sign_out(&self, held: Option<Arc<Material>>) -> (Result<(), Error>, bool) {
        let (erased, owed) = self.erase(held).await;
        let Context { provider, shared, .. } = &*self.context;
        let mut revoked = false;
        for owed in owed {
            revoked |= shared.revocations.settle(owed, &**provider).await;
        }
        (erased.map_err(|error| unwritable(&error)), revoked)
    }

    /// Erases what is stored if the user is signed out still, and gives the revocations that are
    /// owed for that and for what was `held`. They are durable when the erasure is.
    async fn erase(&self, held: Option<Arc<Material>>) -> (Result<(), JournalError>, Vec<Owed>) {
        let _writing = self.cell.writing.lock().await;
        let era = {
            let desk = self.cell.desk();
            // A sign-in that came after the sign-out has resolved the matter.
            desk.signed_out.then(|| desk.era())
        };
        let Some(era) = era else { return (Ok(()), self.owed(held.as_ref(), None)) };
        let (journal, now) = (self.journal(), self.context.shared.sources.now());
        let stored = journal.load(now).await;
        // What can not be read is something, too.
        let is_there = stored.as_ref().map_or(true, |contents| contents.material.is_some());
        let stored = stored.ok().and_then(|contents| contents.material);
        let owed = self.owed(held.as_ref(), stored.as_ref());
        let kept = if self.may_keep(&owed).await { &owed[..] } else { &[] };
        let erased = journal.erase(is_there, kept, now).await;
        if erased.is_ok() {
            self.cell.desk().erased(era);
        }
        (erased, owed)
    }

    /// Whether what is owed is kept until the provider has answered. An API key is not: few
    /// providers have a way to revoke one, and it never ends by itself.
    async fn may_keep(&self, owed: &[Owed]) -> bool {
        let Context { id, shared, .. } = &*self.context;
        !owed.is_empty()
            && id.method != Method::ApiKey
            && shared.revocations.has_room(&id.user).await
    }

    fn owed(&self, held: Option<&Arc<Material>>, stored: Option<&Arc<Material>>) -> Vec<Owed> {
        let Context { id, shared, .. } = &*self.context;
        // What was read back differs from what is held by the fractions of its times.
        let stored = stored.filter(|it| held.is_none_or(|held| !held.same_tokens(it)));
        held.into_iter().chain(stored).map(|it| shared.revocations.owed(id, it)).collect()
    }

    /// Remembers why a renewal of `generation` failed, if that is what is in force still.
    pub(crate) async fn remember(&self, generation: Generation, trouble: &Trouble) {
        let _writing = self.cell.writing.lock().await;
        let is_over = {
            let snapshot = self.cell.peek();
            snapshot.generation() != generation || snapshot.reason().is_none()
        };
        if is_over {
            return self.journal().note_failure(trouble);
        }
        if let Err(error) = self.journal().remember(generation, trouble).await {
            debug!(%error, "a back-off could not be remembered");
            self.journal().note_failure(trouble);
        }
    }

    /// Forgets the trouble of `generation`, unless there is another by now.
    pub(crate) async fn forget(&self, generation: Generation) {
        let _writing = self.cell.writing.lock().await;
        let is_over = {
            let snapshot = self.cell.peek();
            snapshot.generation() == generation && snapshot.reason().is_none()
        };
        if is_over && let Err(error) = self.journal().forget().await {
            debug!(%error, "a refusal that is over could not be forgotten");
        }
    }

    /// Keeps whether this API key may stand in for other sign-ins, as it was asked for in the era
    /// `begun`. `done` is called while no other record of the credential is written, so that the
    /// actor hears of several in their order.
    pub(crate) async fn allow_fallback(
        &self,
        allowed: bool,
        begun: Era,
        done: impl FnOnce(Result<(), Error>) + Send,
    ) {
        let _writing = self.cell.writing.lock().await;
        if self.cell.desk().era() != begun {
            return done(Err(overtaken()));
        }
        let now = self.context.shared.sources.now();
        done(match self.journal().allow_fallback(allowed, now).await {
            Ok(true) => Ok(()),
            Ok(false) => {
                let CredentialId { user, provider, .. } = &self.context.id;
                Err(Error::new(
                    ErrorKind::ReauthorizationRequired,
                    format!(
                        "{user} has no api key of {provider} to fall back to, sign in with one"
                    ),
                ))
            }
            Err(error) => Err(unwritable(&error)),
        });
    }

    /// Tries once more to write what the vault could not take before: the runtime stops.
    pub(crate) async fn write_what_is_left(&self) {
        let unsaved = self.cell.desk().unsaved.clone();
        if let Some(material) = unsaved {
            let _ = self.save(&material).await;
        }
        let _ = self.erase(None).await;
    }

    /// Whether the vault has all there is.
    pub(crate) fn is_written(&self) -> bool {
        let desk = self.cell.desk();
        desk.unsaved.is_none() && !desk.signed_out
    }

    /// Tells the provider that `material` is over. Whether it confirmed that. What another client
    /// or another server issued is not for its eyes.
    pub(crate) async fn revoke(&self, material: &Material) -> bool {
        let Context { id, provider, shared } = &*self.context;
        if let Some(conflict) = material.issued_to.conflict(&provider.registration()) {
            warn!(credential = %id, conflict, "a grant can not be revoked by these settings");
            return false;
        }
        let revocation = Revocation {
            method: id.method,
            access_token: &material.access,
            refresh_token: material.refresh.as_ref(),
        };
        match shortly(&shared.transport, provider.revoke(&shared.transport, revocation)).await {
            Ok(outcome) => {
                let revoked = outcome == RevocationOutcome::Revoked;
                if revoked {
                    let entry = AuditEntry::of_credential(AuditKind::Revoked, id);
                    shared.vault.note(entry.origin("credentials"));
                }
                revoked
            }
            Err(failure) => {
                let entry = AuditEntry::of_credential(AuditKind::RevocationFailed, id);
                shared.vault.note(entry.origin("credentials").because_of(&failure));
                debug!(credential = %id, %failure, "the provider did not confirm a revocation");
                false
            }
        }
    }
}

/// What a sign-in is answered with that came to nothing. Not a failure that passes: to ask again
/// would undo what the user did last.
pub(crate) fn overtaken() -> Error {
    Error::new(ErrorKind::Expired, "a later sign-in or sign-out overtook this one")
}

fn unwritable(error: &JournalError) -> Error {
    match error {
        JournalError::Vault(error) => Error::from(error.clone()),
        JournalError::Unreadable(text) => Error::new(ErrorKind::VaultUnreadable, text.clone()),
        other => Error::new(ErrorKind::VaultUnavailable, other.to_string()),
    }
}
