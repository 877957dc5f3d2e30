//! What the runtime reports as it happens: one closed list of events in the crate's own words.
//! How they reach a subscriber is in [`crate::supervision::events`].

use std::fmt;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::identity::{
    CredentialId, Generation, LoginId, Method, ProviderId, QuarantineId, SessionId, UserId,
};
use crate::resilience::Change as BreakerChange;

/// Where a credential stands in its life.
///
/// ```
/// use tokenward::{CredentialState, Label, Method};
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
/// let credential = ada.credential("anthropic", Method::ApiKey, &Label::default()).await?;
/// let state = credential.inspect().await?.state();
/// assert_eq!(state, CredentialState::Valid);
/// let advice = match state {
///     CredentialState::Absent | CredentialState::ReauthorizationRequired => "sign in",
///     CredentialState::Degraded | CredentialState::Expired => "wait, it is being tried again",
///     _ => "nothing to do",
/// };
/// assert_eq!((advice, state.as_str()), ("nothing to do", "valid"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum CredentialState {
    /// The vault has not answered yet.
    Loading,
    /// There is none: never signed in, or signed out.
    Absent,
    /// Usable, and not due.
    Valid,
    /// Usable, and a renewal is under way.
    ExpiringSoon,
    /// Not usable, and a renewal is under way.
    Refreshing,
    /// The last renewal failed; usable until it expires, and the next attempt is set.
    Degraded,
    /// Expired, the last renewal failed for a reason that is not the user's, and the next attempt
    /// is set.
    Expired,
    /// A renewal's outcome is unknown. What lives of the old token is served; one guarded attempt
    /// decides.
    Uncertain,
    /// Only the user can go on from here, by signing in again.
    ReauthorizationRequired,
    /// The vault's record of it can not be opened, or the vault did not answer.
    Unreadable,
}

impl CredentialState {
    /// The name, as events and the REPL write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Loading => "loading",
            Self::Absent => "absent",
            Self::Valid => "valid",
            Self::ExpiringSoon => "expiring-soon",
            Self::Refreshing => "refreshing",
            Self::Degraded => "degraded",
            Self::Expired => "expired",
            Self::Uncertain => "uncertain",
            Self::ReauthorizationRequired => "reauthorization-required",
            Self::Unreadable => "unreadable",
        }
    }
}

impl fmt::Display for CredentialState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Whether a provider works, as far as is known.
///
/// ```
/// use tokenward::event::HealthState;
///
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let openai = SimulatedProvider::openai().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(openai.spec()).start().await?;
/// let health = runtime.health().of("openai").expect("a provider of this runtime");
/// assert_eq!(health.state, HealthState::Unknown, "nobody has looked yet");
///
/// runtime.check_health("openai").await?;
/// let health = runtime.health().of("openai").expect("a provider of this runtime");
/// assert_eq!(health.state.to_string(), "healthy");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum HealthState {
    /// It was not looked at yet, or not often enough to say.
    Unknown,
    /// It answers.
    Healthy,
    /// It did not answer several times in a row, or said that it fails.
    Unhealthy,
}

impl HealthState {
    /// The name, as events and the REPL write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

impl fmt::Display for HealthState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Something that happened, and when.
///
/// An event is a line for a log of the host's own:
///
/// ```
/// # async fn example(event: tokenward::Event) -> Result<(), Box<dyn std::error::Error>> {
/// let line = serde_json::to_string(&event)?; // {"at":{…},"kind":{"event":"signed-in",…}}
/// println!("{line}");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Event {
    /// Wall-clock time.
    pub at: SystemTime,
    /// What happened.
    pub kind: EventKind,
}

/// What happened.
///
/// It serializes under the name of what happened, in kebab case:
///
/// ```
/// use tokenward::{EventKind, Notice};
///
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let orange = SimulatedProvider::orange().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(orange.spec()).start().await?;
/// # let ada = runtime.user("ada");
/// let mut events = runtime.events();
/// ada.open_session().await?;
/// let Some(Notice::Event(event)) = events.next().await else { panic!("no event") };
/// let json = serde_json::to_value(&event.kind)?;
/// assert_eq!(json["event"], "session-opened");
/// assert_eq!(json["user"], "ada");
///
/// // What a host would wake somebody for. More kinds may come, so there is a last arm; more may be
/// // told of each, so a pattern with fields ends with two dots.
/// let why = match &event.kind {
///     EventKind::VaultDegraded { reason, .. } => Some(reason),
///     EventKind::ActorQuarantined { reason, .. } => Some(reason),
///     _ => None,
/// };
/// assert_eq!(why, None);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum EventKind {
    /// A credential went from one state to another.
    #[non_exhaustive]
    StateChanged {
        /// Which.
        credential: CredentialId,
        /// The state it left.
        from: CredentialState,
        /// The state it is in.
        to: CredentialState,
        /// Its generation.
        generation: Generation,
        /// Why, where there is more to say.
        reason: Option<String>,
    },
    /// A user signed in, and the credential is durable.
    #[non_exhaustive]
    SignedIn {
        /// Which.
        credential: CredentialId,
        /// Its generation.
        generation: Generation,
    },
    /// A user signed out, and the credential is erased.
    #[non_exhaustive]
    SignedOut {
        /// Which.
        credential: CredentialId,
        /// Whether the provider confirmed a revocation. Erasure does not depend on it.
        revoked: bool,
    },
    /// A provider could not confirm the revocation of what a user signed out of: it is tried again,
    /// and the token is kept, sealed, for nothing else.
    #[non_exhaustive]
    RevocationPending {
        /// Which.
        credential: CredentialId,
        /// What went wrong; never a secret, never a body.
        reason: String,
        /// How long until the next attempt.
        retry_in: Duration,
    },
    /// A revocation that had been pending was confirmed.
    #[non_exhaustive]
    Revoked {
        /// Which.
        credential: CredentialId,
    },
    /// A revocation is not tried again, and its token forgotten: it lives on at the provider until it
    /// expires or its user revokes it there.
    #[non_exhaustive]
    RevocationGivenUp {
        /// Which.
        credential: CredentialId,
        /// Why.
        reason: String,
    },
    /// A token was renewed, and is durable.
    #[non_exhaustive]
    Refreshed {
        /// Which.
        credential: CredentialId,
        /// The new generation.
        generation: Generation,
        /// When the new token expires, where that is known.
        expires_at: Option<SystemTime>,
    },
    /// A renewal failed.
    #[non_exhaustive]
    RefreshFailed {
        /// Which.
        credential: CredentialId,
        /// The generation that stays in force.
        generation: Generation,
        /// What went wrong; never a secret, never a body.
        reason: String,
        /// How long until the next attempt. None where only the user can help, or where a renewal
        /// is in doubt and the next attempt waits for somebody who needs a token.
        retry_in: Option<Duration>,
    },
    /// The vault could not be written: material is kept in memory, served, and written again.
    #[non_exhaustive]
    HeldInMemory {
        /// Which.
        credential: CredentialId,
        /// The generation that is not durable yet.
        generation: Generation,
        /// What the vault said.
        reason: String,
    },
    /// Material that was held in memory is durable now.
    #[non_exhaustive]
    HeldMaterialStored {
        /// Which.
        credential: CredentialId,
        /// The generation that is durable now.
        generation: Generation,
    },
    /// A user allowed, or no longer allows, an API key to be spent while the other sign-ins at its
    /// provider need the user.
    #[non_exhaustive]
    FallbackAllowed {
        /// The API key.
        credential: CredentialId,
        /// Whether it may be spent from now on.
        allowed: bool,
    },
    /// Requests go on with an API key, since the credential that they are meant for needs its
    /// user. Reported at the first such request, and not again before it ended.
    #[non_exhaustive]
    FallbackBegan {
        /// The credential that needs its user.
        credential: CredentialId,
        /// The API key that is spent instead.
        key: CredentialId,
        /// What the credential needs its user for.
        reason: Option<String>,
    },
    /// No request goes on with the API key any more: the credential can be used again or was signed
    /// out of, or the key may not, or can not, be spent any longer.
    #[non_exhaustive]
    FallbackEnded {
        /// The credential that had needed its user.
        credential: CredentialId,
    },
    /// A provider that worked fails, or one that failed works again, as its health checks see it.
    #[non_exhaustive]
    ProviderHealthChanged {
        /// Which.
        provider: ProviderId,
        /// What it was.
        from: HealthState,
        /// What it is.
        to: HealthState,
        /// What fails.
        reason: Option<String>,
    },
    /// A sign-in by browser or by device code began.
    #[non_exhaustive]
    LoginStarted {
        /// Which.
        login: LoginId,
        /// Who signs in.
        user: UserId,
        /// Where.
        provider: ProviderId,
        /// How.
        method: Method,
    },
    /// A sign-in by browser or by device code, which began with `LoginStarted`, ended without a
    /// credential.
    #[non_exhaustive]
    LoginFailed {
        /// Which.
        login: LoginId,
        /// Who tried.
        user: UserId,
        /// Where.
        provider: ProviderId,
        /// Why.
        reason: String,
    },
    /// A sign-in by API key, client credentials or JWT assertion ended without a credential. What was
    /// there before stays.
    #[non_exhaustive]
    SignInFailed {
        /// The credential that it would have become.
        credential: CredentialId,
        /// Why; never a secret, never a body.
        reason: String,
    },
    /// A session was opened.
    #[non_exhaustive]
    SessionOpened {
        /// Whose.
        user: UserId,
        /// Which.
        session: SessionId,
    },
    /// A session's active provider changed.
    #[non_exhaustive]
    SessionSwitched {
        /// Whose.
        user: UserId,
        /// Which.
        session: SessionId,
        /// The provider that is active now.
        provider: ProviderId,
        /// By which method.
        method: Method,
    },
    /// A session was closed by its user.
    #[non_exhaustive]
    SessionClosed {
        /// Whose.
        user: UserId,
        /// Which.
        session: SessionId,
    },
    /// A session was inactive for too long and is gone.
    #[non_exhaustive]
    SessionExpired {
        /// Whose.
        user: UserId,
        /// Which.
        session: SessionId,
    },
    /// The breaker before an upstream changed its state.
    #[non_exhaustive]
    BreakerChanged {
        /// Scheme, host and port; with the word `renewals` after it, the token endpoint there.
        upstream: String,
        /// What changed, and why.
        change: BreakerChange,
    },
    /// An actor died and was started again.
    #[non_exhaustive]
    ActorRestarted {
        /// Its place in the tree.
        actor: String,
        /// Restarts within the window, this one included.
        restarts: u32,
        /// What it died of, by an error of this crate; the text of a panic is never told.
        reason: String,
    },
    /// An actor died too often and is kept down for a while; the rest serve.
    #[non_exhaustive]
    ActorQuarantined {
        /// Its place in the tree.
        actor: String,
        /// When it is tried again.
        retry_in: Duration,
        /// What it died of last.
        reason: String,
    },
    /// An actor that was quarantined runs again.
    #[non_exhaustive]
    ActorRecovered {
        /// Its place in the tree.
        actor: String,
    },
    /// The vault refuses writes, or can not be reached.
    #[non_exhaustive]
    VaultDegraded {
        /// What it said.
        reason: String,
    },
    /// The vault works again.
    VaultRecovered,
    /// Something about the vault's store needs attention, such as a disk with little room.
    #[non_exhaustive]
    VaultWarning {
        /// What, and what to do.
        warning: String,
    },
    /// A record of the vault can not be opened; it is left as it is and reported.
    #[non_exhaustive]
    RecordQuarantined {
        /// Names it, for [`VaultHandle::discard`](crate::vault::VaultHandle::discard).
        id: QuarantineId,
        /// What kind of record, in words.
        record: String,
        /// Why it does not open.
        reason: String,
    },
    /// The end of the vault's audit trail is not as it was written. A verification says more.
    #[non_exhaustive]
    AuditTrailDamaged {
        /// The number of the entry that is not.
        entry: u64,
        /// What is wrong with it.
        problem: String,
    },
    /// A fresh data key seals what the vault writes from now on.
    #[non_exhaustive]
    DataKeyRotated {
        /// The number of the key within its vault.
        key: u32,
    },
    /// Another master key opens the vault from now on.
    #[non_exhaustive]
    MasterKeyRotated {
        /// Where that key is, in words.
        source: String,
    },
    /// The wall clock and the monotonic clock moved apart: a suspend, or a step of the clock.
    #[non_exhaustive]
    ClockStepped {
        /// By how much, in milliseconds; positive when the wall clock is ahead.
        by_millis: i64,
    },
    /// The runtime stops.
    ShuttingDown,
}
