//! The address of one credential: reads go to the published snapshot, everything else is a message
//! to its actor.

use std::fmt;
use std::sync::Arc;

use tracing::{Instrument as _, info_span};

use super::cell::Cell;
use super::fallback::{Fallback, needs_user};
use super::messages::{Answer, ProviderMessage, SignInWith, SignedOut};
use super::snapshot::{Peeked, Snapshot};
use crate::clock::Sources;
use crate::error::Error;
use crate::event::CredentialState;
use crate::identity::{CredentialId, Generation, Method};
#[cfg(feature = "server")]
use crate::metrics::Meters;
use crate::supervision::{AskError, EventBus, Handle};

/// The address of one credential. Cheap to clone, and good for as long as the runtime runs: it
/// outlives restarts of the credential's actor.
///
/// ```
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let orange = SimulatedProvider::orange().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(orange.spec()).start().await?;
/// # let ada = runtime.user("ada");
/// # ada.sign_in("orange").with_client_credentials().await?;
/// let credential = ada.preferred_credential("orange").await?;
/// let before = credential.acquire().await?;
///
/// // The provider no longer takes the token: renewed once, for all who report it.
/// orange.expire_access_tokens();
/// let after = credential.rejected(before.generation()).await?;
/// assert!(after.generation() > before.generation());
///
/// // What is published is read without a message.
/// assert_eq!(credential.snapshot().generation(), after.generation());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct CredentialHandle(Arc<Inside>);

struct Inside {
    id: CredentialId,
    cell: Arc<Cell>,
    actor: Handle<ProviderMessage>,
    sources: Sources,
    /// Whether a token is used again, or asked for anew each time.
    caches_tokens: bool,
    #[cfg(feature = "server")]
    meters: Meters,
}

impl CredentialHandle {
    pub(crate) fn new(
        id: CredentialId,
        cell: Arc<Cell>,
        actor: Handle<ProviderMessage>,
        events: &EventBus,
        sources: Sources,
        caches_tokens: bool,
    ) -> Self {
        #[cfg(not(feature = "server"))]
        let _ = events;
        Self(Arc::new(Inside {
            id,
            cell,
            actor,
            sources,
            caches_tokens,
            #[cfg(feature = "server")]
            meters: events.meters().clone(),
        }))
    }

    /// What its runtime counts.
    #[cfg(feature = "server")]
    pub(crate) fn meters(&self) -> &Meters {
        &self.0.meters
    }

    /// A usable token. When the published one is, this is a read without a message; otherwise it
    /// waits for the renewal that everybody else waits for, too. Where the provider's tokens are
    /// not to be cached, each call asks for a new one, though no more than one a second.
    ///
    /// # Errors
    ///
    /// When there is none to be had now. The predicates tell whether to wait, to sign in again, or
    /// to mend the configuration.
    pub async fn acquire(&self) -> Answer {
        if let Some(snapshot) = self.published() {
            return Ok(snapshot);
        }
        if !self.0.caches_tokens {
            return self.refresh().await;
        }
        flat(self.0.actor.ask_again(|reply| ProviderMessage::Acquire { reply }).await)
    }

    /// The published token, when it is usable and may be used again, for as long as a request is put
    /// together. Nothing is counted for it, so that threads which read at once do not wait for each
    /// other; whoever keeps it for longer takes it by [`CredentialHandle::acquire`]. None when there is
    /// something to wait for, which that does.
    ///
    /// ```
    /// # fn example(credential: &tokenward::CredentialHandle, request: &mut http::HeaderMap) {
    /// if let Some(token) = credential.peek() {
    ///     for (name, value) in token.headers() {
    ///         request.insert(name, value.clone());
    ///     }
    /// }
    /// # }
    /// ```
    pub fn peek(&self) -> Option<Peeked> {
        if !self.0.caches_tokens {
            return None;
        }
        let snapshot = self.0.cell.peek();
        // The end of a token is a matter of seconds, and its way to the provider takes longer than
        // the tick by which this may be behind.
        snapshot.is_usable_by(|| self.0.sources.now_coarse()).then_some(Peeked(snapshot))
    }

    /// As [`CredentialHandle::peek`], to be kept.
    pub(crate) fn published(&self) -> Option<Arc<Snapshot>> {
        self.peek().map(Peeked::keep)
    }

    /// What to use now in place of a token that was `acquired` a while ago, without a message: none
    /// when it has to be acquired again.
    pub(crate) fn still(&self, acquired: Arc<Snapshot>) -> Option<Arc<Snapshot>> {
        if self.0.caches_tokens {
            return self.published();
        }
        let now = self.0.sources.now_coarse();
        let usable = acquired.is_usable(now) && self.0.cell.peek().is_usable(now);
        usable.then_some(acquired)
    }

    /// Reports that a resource refused the token of `generation`, and answers with what to use
    /// instead. The same generation again means that a newer one is not to be had.
    ///
    /// # Errors
    ///
    /// As [`CredentialHandle::acquire`].
    pub async fn rejected(&self, generation: Generation) -> Answer {
        flat(self.0.actor.ask_again(|reply| ProviderMessage::Rejected { generation, reply }).await)
    }

    /// Renews now, due or not. What never expires is answered as it is.
    ///
    /// # Errors
    ///
    /// As [`CredentialHandle::acquire`].
    pub async fn refresh(&self) -> Answer {
        flat(self.0.actor.ask_again(|reply| ProviderMessage::Refresh { reply }).await)
    }

    /// Stops using the access token: it is renewed before the next use. An API key has nothing to
    /// renew, and stays.
    ///
    /// # Errors
    ///
    /// When the actor can not be reached.
    pub async fn invalidate(&self) -> Answer {
        flat(self.0.actor.ask_again(|reply| ProviderMessage::Invalidate { reply }).await)
    }

    /// Reports that a resource took a request with the key of `generation`. An API key that was
    /// shown as refused is not any more; otherwise this is a read without a message.
    pub fn accepted(&self, generation: Generation) {
        let snapshot = self.0.cell.peek();
        let refused = snapshot.state() == CredentialState::ReauthorizationRequired;
        if refused && snapshot.id().method == Method::ApiKey {
            self.0.actor.post(ProviderMessage::Accepted { generation });
        }
    }

    /// Reports that a resource refused the token of `generation` as well, which took the place of one that it
    /// had refused. Nothing is renewed; everyone can see it in the [snapshot](Snapshot::kept_until) from then on.
    ///
    /// # Errors
    ///
    /// When the actor can not be reached.
    pub async fn refused_again(&self, generation: Generation) -> Answer {
        let ask = |reply| ProviderMessage::RefusedAgain { generation, reply };
        flat(self.0.actor.ask_again(ask).await)
    }

    /// Says whether this API key may be spent while the user's other sign-ins at its provider,
    /// under the same label, need the user. It may not unless this was said, since a key is billed
    /// by its use. What was said holds over restarts and for the keys that follow under this
    /// label, until the sign-out.
    ///
    /// # Errors
    ///
    /// When this is no API key ([`Error::is_invalid_input`]), there is none to be allowed
    /// ([`Error::needs_reauthorization`]), or the vault can not be written.
    pub async fn allow_fallback(&self, allowed: bool) -> Result<(), Error> {
        let ask = |reply| ProviderMessage::AllowFallback { allowed, reply };
        flat(self.0.actor.ask_again(ask).await)
    }

    /// Stores what a sign-in brought, in place of what there is, and answers with its generation.
    ///
    /// # Errors
    ///
    /// When it can not be used in a request, a sign-out or another sign-in came meanwhile
    /// ([`Error::is_expired`]; a grant is revoked then), or the vault does not take an API key. A
    /// grant that the vault does not take is held in memory and written as soon as it can be, since
    /// it can not be had again: that is no error here but an event, and visible in the snapshot.
    pub async fn sign_in(&self, with: SignInWith) -> Result<Generation, Error> {
        self.store(with).instrument(info_span!("sign-in", credential = %self.0.id)).await
    }

    /// As [`CredentialHandle::sign_in`], in the span of whoever signs in.
    pub(crate) async fn store(&self, with: SignInWith) -> Result<Generation, Error> {
        flat(self.0.actor.ask(move |reply| ProviderMessage::SignIn { with, reply }).await)
    }

    /// Stops using the credential at once, erases it, and revokes it at the provider where it can.
    ///
    /// # Errors
    ///
    /// When the vault could not erase it yet. It is out of use all the same, and erased as soon as
    /// the vault can.
    pub async fn sign_out(&self) -> Result<SignedOut, Error> {
        self.sign_out_in_current_span()
            .instrument(info_span!("sign-out", credential = %self.0.id))
            .await
    }

    /// As [`CredentialHandle::sign_out`], in the span of whoever signs out.
    pub(super) async fn sign_out_in_current_span(&self) -> Result<SignedOut, Error> {
        flat(self.0.actor.ask_again(|reply| ProviderMessage::SignOut { reply }).await)
    }

    /// The actor, for hosts that rather send messages.
    pub fn actor(&self) -> &Handle<ProviderMessage> {
        &self.0.actor
    }

    /// The credential as it was when it last changed.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.0.cell.snapshot()
    }

    /// As [`CredentialHandle::snapshot`], once the vault has been heard: never in the state
    /// `Loading`. Renews nothing.
    ///
    /// # Errors
    ///
    /// When the actor can not be reached.
    pub async fn inspect(&self) -> Answer {
        let snapshot = self.snapshot();
        if snapshot.state() != CredentialState::Loading {
            return Ok(snapshot);
        }
        Ok(self.0.actor.ask_again(|reply| ProviderMessage::Inspect { reply }).await?)
    }

    /// Whether no one holds it but the caller.
    pub(crate) fn is_unshared(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    /// Whether there is no token until the user has signed in again. A read without a message.
    pub(crate) fn needs_user(&self) -> bool {
        needs_user(&self.0.cell.peek(), || self.0.sources.now())
    }

    /// Requests go on with `key`, if it may be spent and this credential needs its user still.
    pub(crate) fn fall_back(&self, key: &Snapshot, events: &EventBus) -> Option<Fallback> {
        self.0.cell.fall_back(key, self.0.sources.now(), events)
    }

    /// Whether a token is kept between requests, rather than asked for anew by each of them.
    pub(crate) fn caches_tokens(&self) -> bool {
        self.0.caches_tokens
    }

    /// Which credential it is.
    pub fn id(&self) -> &CredentialId {
        &self.0.id
    }
}

impl fmt::Debug for CredentialHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CredentialHandle").field(&self.0.id).finish()
    }
}

fn flat<T>(answer: Result<Result<T, Error>, AskError>) -> Result<T, Error> {
    answer.unwrap_or_else(|error| Err(error.into()))
}
