//! What can be said to a credential's actor.

use std::sync::Arc;

use super::cell::Era;
use super::journal::{Contents, JournalError};
use super::material::Material;
use super::records::Stored;
use super::snapshot::Snapshot;
use crate::error::Error;
use crate::identity::Generation;
use crate::provider::Grant;
use crate::secret::Secret;
use crate::supervision::Reply;

/// What a request for a token is answered with.
///
/// [`CredentialHandle::acquire`](super::CredentialHandle::acquire) answers with one.
///
/// ```
/// use tokenward::credential::Answer;
///
/// fn told(answer: Answer) -> String {
///     match answer {
///         Ok(snapshot) => format!("usable until {:?}", snapshot.expires_at()),
///         Err(error) if error.needs_reauthorization() => "sign in again".to_owned(),
///         Err(error) => format!("{error}, again in {:?}", error.retry_after()),
///     }
/// }
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let orange = SimulatedProvider::orange().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(orange.spec()).start().await?;
/// # let ada = runtime.user("ada");
/// # ada.sign_in("orange").with_client_credentials().await?;
/// # let credential = ada.preferred_credential("orange").await?;
/// # assert!(told(credential.acquire().await).starts_with("usable"));
/// # Ok(())
/// # }
/// ```
pub type Answer = Result<Arc<Snapshot>, Error>;

/// A message to the actor of one credential.
///
/// ```
/// use tokenward::credential::ProviderMessage;
///
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
/// let acquire = |reply| ProviderMessage::Acquire { reply };
/// let snapshot = credential.actor().ask_again(acquire).await??;
/// assert_eq!(snapshot.id(), credential.id());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum ProviderMessage {
    /// Answer with a usable token; renew it first if need be. Everybody who asks while a renewal
    /// is under way shares its outcome.
    Acquire {
        /// Where the answer goes.
        reply: Reply<Answer>,
    },
    /// Answer with the snapshot as soon as the vault has been heard. Renews nothing.
    Inspect {
        /// Where the snapshot goes.
        reply: Reply<Arc<Snapshot>>,
    },
    /// A resource refused the token of this generation. Answered with a newer one, or with the
    /// same when a newer one is not to be had. Late refusals of older generations change nothing.
    Rejected {
        /// The generation that was refused.
        generation: Generation,
        /// Where the answer goes.
        reply: Reply<Answer>,
    },
    /// A resource refused the token of this generation as well, to which the one was renewed that it
    /// had refused before. Renews nothing: it is answered with the snapshot, in which that can be
    /// [seen](Snapshot::kept_until).
    RefusedAgain {
        /// The generation that was refused.
        generation: Generation,
        /// Where the snapshot goes.
        reply: Reply<Answer>,
    },
    /// Renew now, due or not, and answer with the result.
    Refresh {
        /// Where the answer goes.
        reply: Reply<Answer>,
    },
    /// Do not use the access token any more; it is renewed before the next use.
    Invalidate {
        /// Where the answer goes.
        reply: Reply<Answer>,
    },
    /// A resource took a request with the key of this generation: if it was refused before, it is
    /// not any more. Nobody is answered.
    Accepted {
        /// The generation that was taken.
        generation: Generation,
    },
    /// Whether this API key may be spent while the user's other sign-ins at its provider, under
    /// the same label, need the user. It may not unless this was said; it holds over restarts and
    /// for the keys that follow under this label, until the sign-out.
    AllowFallback {
        /// Whether it may.
        allowed: bool,
        /// Where the outcome goes, once it is durable.
        reply: Reply<Result<(), Error>>,
    },
    /// Store what a sign-in brought, in place of what there is.
    SignIn {
        /// What it brought.
        with: SignInWith,
        /// Where the new generation, or the failure, goes.
        reply: Reply<Result<Generation, Error>>,
    },
    /// Stop using the credential at once, erase it, and revoke it at the provider where it can
    /// be. Erasure does not depend on the provider's answer.
    SignOut {
        /// Where the outcome goes.
        reply: Reply<Result<SignedOut, Error>>,
    },
    /// What the actor tells itself.
    Internal(Internal),
}

/// What a sign-in brought.
///
/// [`CredentialHandle::sign_in`](super::CredentialHandle::sign_in) takes it;
/// [`SignIn`](crate::SignIn) makes one for a user.
///
/// ```
/// use tokenward::credential::SignInWith;
/// use tokenward::{Label, Method};
///
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let openai = SimulatedProvider::openai().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(openai.spec()).start().await?;
/// # let ada = runtime.user("ada");
/// let credential = ada.credential("openai", Method::ApiKey, &Label::default()).await?;
/// let key = openai.issue_api_key();
/// let generation = credential.sign_in(SignInWith::ApiKey(key)).await?;
/// assert_eq!(credential.acquire().await?.generation(), generation);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum SignInWith {
    /// An API key.
    ApiKey(Secret),
    /// A grant of an OAuth flow.
    Grant(Grant),
}

/// What became of a sign-out.
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
/// for (credential, outcome) in ada.sign_out("orange").await? {
///     // Erased here in any case; the provider may be told later.
///     println!("{credential} is out of use, revoked: {}", outcome.revoked);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SignedOut {
    /// Whether the provider confirmed a revocation.
    pub revoked: bool,
}

/// What the actor tells itself; made only inside the crate.
#[derive(Debug)]
#[doc(hidden)]
pub struct Internal(pub(super) Inner);

#[derive(Debug)]
pub(super) enum Inner {
    Load,
    Loaded(Result<Contents, JournalError>),
    Deadline,
    /// Sleep, unless somebody has needed this since the last time.
    Rest,
    /// What the vault would give back to the one that is started next.
    Compared(Result<Contents, JournalError>),
    LookAtTheDesk,
    SignedIn {
        outcome: Result<Stored, Error>,
        reply: Reply<Result<Generation, Error>>,
    },
    Permitted {
        allowed: bool,
        begun: Era,
        outcome: Result<(), Error>,
        reply: Reply<Result<(), Error>>,
    },
    Saved {
        generation: Generation,
        result: Result<Arc<Material>, String>,
    },
    Erased {
        generation: Generation,
        result: Result<(), Error>,
        revoked: bool,
        reply: Option<Reply<Result<SignedOut, Error>>>,
    },
}

impl ProviderMessage {
    /// Asks the actor to sleep, if it was not needed since it was last asked.
    pub(super) fn rest() -> Self {
        Self::inner(Inner::Rest)
    }

    /// Whether it is of no use to an actor that rests already.
    pub(super) fn is_about_rest(&self) -> bool {
        matches!(self, Self::Internal(Internal(Inner::Rest | Inner::Compared(_))))
    }

    pub(super) fn inner(inner: Inner) -> Self {
        Self::Internal(Internal(inner))
    }
}
