//! Which credential a session's next request would use, and why: a plain function of what the session
//! has chosen and of the user's credentials as they are.

use std::fmt;
use std::sync::Arc;

use super::Session;
use crate::clock::{Moment, writable};
use crate::credential::{Ended, Snapshot, needs_user, stands_in};
use crate::error::Error;
use crate::event::CredentialState;
use crate::identity::{CredentialId, Method, ProviderId};

/// Which credential the next request of a session would use, and why each other one of its user would
/// not. One line for each when printed, without a secret.
///
/// ```
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let anthropic = SimulatedProvider::anthropic().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(anthropic.spec()).start().await?;
/// # let ada = runtime.user("ada");
/// # ada.sign_in("anthropic").with_api_key(anthropic.issue_api_key()).await?;
/// # let session = ada.open_session().await?;
/// # session.use_provider("anthropic").await?;
/// let choice = session.explain().await?;
/// print!("{choice}"); // a line for each credential, and why it is or is not used
/// let used = choice.used().expect("she is signed in");
/// assert_eq!(used.credential.id().to_string(), "ada/anthropic/api-key");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Choice {
    /// The session's active provider; none before its first switch.
    pub provider: Option<ProviderId>,
    /// Every credential of the user, the session's own first, then by provider, method and label.
    pub candidates: Vec<Candidate>,
}

/// One credential of the user.
///
/// ```
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let anthropic = SimulatedProvider::anthropic().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(anthropic.spec()).start().await?;
/// # let ada = runtime.user("ada");
/// # ada.sign_in("anthropic").with_api_key(anthropic.issue_api_key()).await?;
/// # let session = ada.open_session().await?;
/// # session.use_provider("anthropic").await?;
/// for candidate in session.explain().await?.candidates {
///     let credential = &candidate.credential;
///     println!("{} is {}: {}", credential.id(), credential.state(), candidate.why);
///     assert!(candidate.why.is_used());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Candidate {
    /// The credential as it is now: its state, why that is so, and until when it is good.
    pub credential: Arc<Snapshot>,
    /// Why it would be used, or would not.
    pub why: Why,
}

/// Why a credential would be used, or would not. It says what a request begins with: a refusal on its way
/// may still lead to a renewal, and from there to an API key that stands in.
///
/// ```
/// use tokenward::runtime::Why;
///
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let anthropic = SimulatedProvider::anthropic().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(anthropic.spec()).start().await?;
/// # let ada = runtime.user("ada");
/// # ada.sign_in("anthropic").with_api_key(anthropic.issue_api_key()).await?;
/// let session = ada.open_session().await?;
/// let choice = session.explain().await?;
/// assert_eq!(choice.candidates[0].why, Why::NoProvider, "it has to be switched to first");
///
/// session.use_provider("anthropic").await?;
/// let choice = session.explain().await?;
/// assert_eq!(choice.candidates[0].why, Why::Own);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// Used: the session switched to it, and it can be used.
    Own,
    /// Used: the session switched to it. The provider refused its token, and refused the one that it was renewed
    /// to, so that it may refuse the next request as well. For that the token is not renewed again before the
    /// time that its snapshot [tells](Snapshot::kept_until).
    OwnRefusedTwice,
    /// Used: the session switched to it. The provider refused its token right after that had been renewed because
    /// the one before it was [invalidated](crate::CredentialHandle::invalidate), so that it may refuse the next
    /// request as well. For that the token is not renewed before the time that its snapshot
    /// [tells](Snapshot::kept_until).
    OwnRefusedOnce,
    /// Used: the session switched to it. Its token is over, or is not kept between requests, so the request asks
    /// for another one first.
    OwnOnceRenewed,
    /// Used: the session's own needs its user, who [allowed](super::User::allow_fallback) that this API key
    /// stands in for it.
    StandsIn,
    /// Not used, although the session switched to it: it can not be renewed before the time that its snapshot
    /// tells, or before the vault can be written.
    OwnHeldBack,
    /// Not used, although the session switched to it: it needs a new sign-in; a credential without a user
    /// may need other settings.
    OwnNeedsUser,
    /// Not used, although the session switched to it: it is signed out of, or never was signed in.
    OwnIsSignedOut,
    /// Not used: the session's own needs its user, who did not allow that this API key stands in.
    NotAllowed,
    /// Not used: it was allowed to stand in, but can not be used itself.
    StandInIsUnusable,
    /// Not used: the vault can not read its record for now.
    Unreadable,
    /// Not used: the session uses another account or method at this provider.
    OtherAccount,
    /// Not used: another provider is active in the session.
    OtherProvider,
    /// Not used: no provider is active in the session.
    NoProvider,
}

impl Why {
    /// Whether the credential would be used.
    pub fn is_used(self) -> bool {
        let is_own = matches!(self, Self::Own | Self::OwnOnceRenewed) || self.is_although_refused();
        is_own || self == Self::StandsIn
    }

    /// Whether the credential is used although it was refused.
    fn is_although_refused(self) -> bool {
        matches!(self, Self::OwnRefusedTwice | Self::OwnRefusedOnce)
    }

    /// Whether what the credential says of itself has to do with it.
    fn is_by_itself(self) -> bool {
        !matches!(self, Self::OtherAccount | Self::OtherProvider | Self::NoProvider)
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Own => "used, the session switched to it",
            Self::OwnRefusedTwice => {
                "used, although it was refused right after it was renewed for that"
            }
            Self::OwnRefusedOnce => "used, although it was refused right after it was renewed",
            Self::OwnOnceRenewed => "used once it is renewed, the session switched to it",
            Self::StandsIn => "used, it is allowed to stand in for the session's own",
            Self::OwnHeldBack => "not used for now, its renewal is held back",
            Self::OwnNeedsUser => "not used, it needs a new sign-in",
            Self::OwnIsSignedOut => "not used, it is signed out of",
            Self::NotAllowed => "not used, its user did not allow that it stands in",
            Self::StandInIsUnusable => "not used, it was to stand in and can not be used either",
            Self::Unreadable => "not used for now, the vault can not read it",
            Self::OtherAccount => "not used, the session uses another account or method there",
            Self::OtherProvider => "not used, another provider is active in the session",
            Self::NoProvider => "not used, no provider is active in the session",
        })
    }
}

impl Choice {
    /// The credential that the next request would use; none when it would fail, and then the reason is
    /// with the session's own.
    pub fn used(&self) -> Option<&Candidate> {
        self.candidates.iter().find(|candidate| candidate.why.is_used())
    }

    /// What is used of `credentials` by a session that switched to `own`.
    fn among(own: Option<&Own>, credentials: &[Arc<Snapshot>], now: Moment) -> Self {
        let why = |it: &Snapshot| match own {
            Some(own) if it.id() == own.snapshot.id() => own.why(now),
            Some(own) => why_other(it, &own.snapshot, now),
            None => Why::NoProvider,
        };
        let candidate = |it: &Arc<Snapshot>| Candidate { why: why(it), credential: Arc::clone(it) };
        let mut candidates: Vec<_> = credentials.iter().map(candidate).collect();
        let own = own.map(|own| own.snapshot.id());
        candidates.sort_by(|a, b| {
            let [a, b] = [a, b].map(|it| (Some(it.credential.id()) != own, it.credential.id()));
            a.cmp(&b)
        });
        Self { provider: own.map(|own| own.provider.clone()), candidates }
    }
}

/// The credential that the session switched to.
struct Own {
    snapshot: Arc<Snapshot>,
    caches_tokens: bool,
}

impl Own {
    /// What becomes of it: the same as [`Session::admit`] finds, but that nothing is asked for.
    fn why(&self, now: Moment) -> Why {
        let own = &*self.snapshot;
        let is_over = own.state() == CredentialState::ReauthorizationRequired;
        let is_held_back = || own.retry_at().is_some_and(|at| now.wall < at) || !own.is_durable();
        match own.state() {
            CredentialState::Absent => Why::OwnIsSignedOut,
            _ if own.is_usable(now)
                && (self.caches_tokens || own.id().method == Method::ApiKey) =>
            {
                match own.kept_after(now) {
                    Some(Ended::Refused) => Why::OwnRefusedTwice,
                    Some(Ended::GivenUp) => Why::OwnRefusedOnce,
                    None => Why::Own,
                }
            }
            CredentialState::Unreadable => Why::Unreadable,
            _ if is_over || own.id().method == Method::ApiKey => Why::OwnNeedsUser,
            _ if is_held_back() => Why::OwnHeldBack,
            _ => Why::OwnOnceRenewed,
        }
    }
}

/// What becomes of another one than the session's own.
fn why_other(it: &Snapshot, own: &Snapshot, now: Moment) -> Why {
    if it.id().provider != own.id().provider {
        return Why::OtherProvider;
    }
    let could_stand_in = it.id().method == Method::ApiKey && it.id().label == own.id().label;
    if !could_stand_in || !needs_user(own, || now) {
        Why::OtherAccount
    } else if stands_in(it, own, now) {
        Why::StandsIn
    } else if it.state() == CredentialState::Unreadable {
        Why::Unreadable
    } else if it.may_stand_in() {
        Why::StandInIsUnusable
    } else {
        Why::NotAllowed
    }
}

impl Candidate {
    /// Why in words, with what the credential says of itself where that has to do with it.
    pub fn told(&self) -> String {
        let kept = self.credential.kept_until().filter(|_| self.why.is_although_refused());
        let reason = self.credential.reason().filter(|_| self.why.is_by_itself());
        let not_again = kept.map(|until| {
            let until = humantime::format_rfc3339_millis(writable(until));
            format!("it is not renewed for that before {until}")
        });
        match not_again.as_deref().or(reason) {
            Some(more) => format!("{} ({more})", self.why),
            None => self.why.to_string(),
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, candidate) in self.candidates.iter().enumerate() {
            let CredentialId { provider, method, label, .. } = candidate.credential.id();
            let line_break = if number > 0 { "\n" } else { "" };
            write!(f, "{line_break}{provider} {method} {label}: {}", candidate.told())?;
        }
        Ok(())
    }
}

impl Session {
    /// Which credential the next request would use, and why each other one of the user would not. Nobody is asked
    /// for it, and it does not count as activity. The actors of the user's stored credentials are started.
    ///
    /// # Errors
    ///
    /// When the session was closed or has expired, its active provider is not configured any more, which is what
    /// a request would say, too; or when the vault can not be read.
    pub async fn explain(&self) -> Result<Choice, Error> {
        let view = self.handle().look()?;
        let own = match view.active() {
            None => None,
            Some(context) => {
                let own = self.runtime().credential(&context.credential(view.user())).await?;
                let snapshot = own.inspect().await?;
                Some(Own { snapshot, caches_tokens: own.caches_tokens() })
            }
        };
        let mut credentials = self.user().credentials().await?;
        if let Some(Own { snapshot, .. }) = &own {
            // As it was a moment ago, and also when it is signed out of: the session has chosen it.
            credentials.retain(|it| it.id() != snapshot.id());
            credentials.push(Arc::clone(snapshot));
        }
        Ok(Choice::among(own.as_ref(), &credentials, self.sources().now()))
    }
}
