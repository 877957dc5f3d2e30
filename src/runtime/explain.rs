//! Which credential a session's next request would use, and why: a plain function of what the session
//! has chosen and of the user's credentials as they are.

use std::fmt;
use std::sync::Arc;

use super::Session;
use crate::clock::Moment;
use crate::credential::{Snapshot, needs_user, stands_in};
use crate::error::Error;
use crate::event::CredentialState;
use crate::identity::{CredentialId, Method, ProviderId};

/// Which credential the next request of a session would use, and why each other one of its user would
/// not. One line for each when printed, without a secret.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Choice {
    /// The session's active provider; none before its first switch.
    pub provider: Option<ProviderId>,
    /// Every credential of the user, the session's own first, then by provider, method and label.
    pub candidates: Vec<Candidate>,
}

/// One credential of the user.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Candidate {
    /// The credential as it is now: its state, why that is so, and until when it is good.
    pub credential: Arc<Snapshot>,
    /// Why it would be used, or would not.
    pub why: Why,
}

/// Why a credential would be used, or would not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// Used: the session switched to it, and it is good.
    Own,
    /// Used: the session switched to it. Its token is not good now, so the request asks for another one
    /// first, and fails when there is none to be had.
    OwnOnceRenewed,
    /// Used: the session's own needs its user, who [allowed](super::User::allow_fallback) that this API key
    /// stands in for it.
    StandsIn,
    /// Not used, although the session switched to it: its user has to sign in again.
    OwnNeedsUser,
    /// Not used, although the session switched to it: its user signed out of it, or never was signed in.
    OwnIsSignedOut,
    /// Not used: the session's own needs its user, who did not allow that this API key stands in.
    NotAllowed,
    /// Not used: it was allowed to stand in, but the provider refused it when it was used last.
    StandInIsRefused,
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
        matches!(self, Self::Own | Self::OwnOnceRenewed | Self::StandsIn)
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Own => "used, the session switched to it",
            Self::OwnOnceRenewed => "used once it is renewed, the session switched to it",
            Self::StandsIn => "used, it is allowed to stand in for the session's own",
            Self::OwnNeedsUser => "not used, its user has to sign in again",
            Self::OwnIsSignedOut => "not used, its user is signed out of it",
            Self::NotAllowed => "not used, its user did not allow that it stands in",
            Self::StandInIsRefused => "not used, the provider refused it when it was to stand in",
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
    fn among(own: Option<&CredentialId>, credentials: &[Arc<Snapshot>], now: Moment) -> Self {
        let of_own = credentials.iter().find(|it| Some(it.id()) == own).cloned();
        let why = |it: &Arc<Snapshot>| match (own, &of_own) {
            (Some(own), _) if it.id() == own => why_own(it, now),
            (Some(own), Some(of_own)) => why_other(own, it, of_own, now),
            (Some(own), None) if it.id().provider == own.provider => Why::OtherAccount,
            (Some(_), None) => Why::OtherProvider,
            (None, _) => Why::NoProvider,
        };
        let candidate = |it: &Arc<Snapshot>| Candidate { why: why(it), credential: Arc::clone(it) };
        let mut candidates: Vec<_> = credentials.iter().map(candidate).collect();
        candidates.sort_by(|a, b| {
            let key =
                |it: &Candidate| (Some(it.credential.id()) != own, it.credential.id().clone());
            key(a).cmp(&key(b))
        });
        Self { provider: own.map(|own| own.provider.clone()), candidates }
    }
}

/// What becomes of the credential that the session switched to.
fn why_own(own: &Snapshot, now: Moment) -> Why {
    if own.state() == CredentialState::Absent {
        Why::OwnIsSignedOut
    } else if own.is_usable(now) {
        Why::Own
    } else if needs_user(own, || now) || own.id().method == Method::ApiKey {
        Why::OwnNeedsUser
    } else {
        Why::OwnOnceRenewed
    }
}

/// What becomes of another one than the session's own.
fn why_other(own: &CredentialId, it: &Snapshot, of_own: &Snapshot, now: Moment) -> Why {
    if it.id().provider != own.provider {
        return Why::OtherProvider;
    }
    let could_stand_in = it.id().method == Method::ApiKey && it.id().label == own.label;
    if !could_stand_in || !needs_user(of_own, || now) {
        Why::OtherAccount
    } else if stands_in(it, of_own, now) {
        Why::StandsIn
    } else if it.may_stand_in() {
        Why::StandInIsRefused
    } else {
        Why::NotAllowed
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, Candidate { credential, why }) in self.candidates.iter().enumerate() {
            let CredentialId { provider, method, label, .. } = credential.id();
            let line_break = if number > 0 { "\n" } else { "" };
            write!(f, "{line_break}{provider} {method} {label}: {why}")?;
            if let Some(reason) = credential.reason() {
                write!(f, " ({reason})")?;
            }
        }
        Ok(())
    }
}

impl Session {
    /// Which credential the next request would use, and why each other one of the user would not. It asks
    /// no provider, renews nothing and does not count as activity.
    ///
    /// # Errors
    ///
    /// When the session was closed or has expired, or the vault can not be read.
    pub async fn explain(&self) -> Result<Choice, Error> {
        let view = self.handle().look()?;
        let mut credentials = self.user().credentials().await?;
        let own = view.active().map(|context| context.credential(view.user()));
        if let Some(own) = &own
            && !credentials.iter().any(|it| it.id() == own)
        {
            // Signed out of: the vault has nothing of it any more, but the session has chosen it.
            credentials.push(self.runtime().credential(own).await?.inspect().await?);
        }
        Ok(Choice::among(own.as_ref(), &credentials, self.sources().now()))
    }
}
