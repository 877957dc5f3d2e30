//! Applications: who gets tokens, for what, and by which secrets. Without a clock and without I/O.

mod generation;
mod id;
mod record;
mod secret;
mod spec;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroU32;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::refresh::RefreshPolicy;
use super::scope::Scope;

pub(crate) use generation::GrantGeneration;
pub use id::ApplicationId;
pub use secret::SecretStatus;
pub(crate) use secret::{SecretHasher, StoredSecret};
pub(crate) use spec::check_secret;
pub use spec::{ApplicationChange, ApplicationSpec};

/// The longest life of an access token. What verifies tokens elsewhere hears of no revocation, so
/// none is good for longer.
pub const LONGEST_TOKEN_LIFETIME: Duration = Duration::from_mins(10);

/// How an application gets a token (RFC 6749 §1.3).
///
/// ```
/// use tokenward::server::GrantType;
///
/// // As a request to the token endpoint writes them.
/// assert_eq!(GrantType::ALL.map(GrantType::as_str), ["client_credentials", "refresh_token"]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum GrantType {
    /// By its own credentials (RFC 6749 §4.4).
    ClientCredentials,
    /// By a refresh token (RFC 6749 §6), which an application that may use this grant gets with each
    /// token that it got by its own credentials.
    RefreshToken,
}

impl GrantType {
    /// All that this server knows.
    pub const ALL: [Self; 2] = [Self::ClientCredentials, Self::RefreshToken];

    /// The name, as a request writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClientCredentials => "client_credentials",
            Self::RefreshToken => "refresh_token",
        }
    }

    /// The grant of this name, in exactly this case.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|grant| grant.as_str() == name)
    }
}

impl fmt::Display for GrantType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How often an application may ask for tokens, or about them.
///
/// ```
/// use std::num::NonZeroU32;
/// use tokenward::server::{ApplicationSpec, RateLimit};
///
/// // Ten tokens a minute are enough for one that keeps them.
/// let limit = NonZeroU32::new(10).map_or(RateLimit::Unlimited, RateLimit::PerMinute);
/// let spec = ApplicationSpec::new("reports").rate_limit(limit);
/// # let _ = spec;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RateLimit {
    /// As often as it likes.
    Unlimited,
    /// So often in any minute, and never more.
    PerMinute(NonZeroU32),
}

/// How often an application may ask in a minute, unless it is set otherwise.
const TIMES_PER_MINUTE: NonZeroU32 = match NonZeroU32::new(6_000) {
    Some(times) => times,
    None => NonZeroU32::MIN,
};

impl Default for RateLimit {
    /// 6,000 times in a minute.
    fn default() -> Self {
        Self::PerMinute(TIMES_PER_MINUTE)
    }
}

/// A registered application. Its secrets are known by their keyed hashes only.
///
/// [`TokenIssuer::application`](super::TokenIssuer::application) answers with it, and
/// [`TokenIssuer::applications`](super::TokenIssuer::applications) with all of them.
///
/// ```
/// use std::time::SystemTime;
/// use tokenward::server::{ApplicationSpec, AuthorizationServer, ServerSettings};
///
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let orange = SimulatedProvider::orange().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(orange.spec()).start().await?;
/// # let settings = ServerSettings::new("https://host.example", "https://host.example/api");
/// # let server = AuthorizationServer::start(&runtime, settings).await?;
/// # let spec = ApplicationSpec::new("reports").permissions("memories:read".parse()?);
/// # let id = server.issuer().register(spec).await?.application.id().clone();
/// let application = server.issuer().application(&id).expect("it was registered");
/// assert_eq!((application.name(), application.is_enabled()), ("reports", true));
/// assert_eq!(application.permissions().to_string(), "memories:read");
/// for secret in application.secrets(SystemTime::now()) {
///     println!("{secret:?}"); // when it was used, and when it ends
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq)]
pub struct Application {
    pub(crate) id: ApplicationId,
    pub(crate) name: String,
    pub(crate) permissions: Scope,
    pub(crate) grants: BTreeSet<GrantType>,
    pub(crate) access_token_lifetime: Duration,
    pub(crate) refresh: RefreshPolicy,
    /// Grants of any other generation are over.
    pub(crate) generation: GrantGeneration,
    pub(crate) rate_limit: RateLimit,
    pub(crate) enabled: bool,
    pub(crate) created: SystemTime,
    /// At most two, the newest last.
    pub(crate) secrets: Vec<StoredSecret>,
    /// The record as it was read, with all that this release does not know.
    kept: Map<String, Value>,
}

impl Application {
    /// Its id, which is its `client_id`.
    pub fn id(&self) -> &ApplicationId {
        &self.id
    }

    /// What people call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Everything that its tokens may allow. What is taken from here is taken from the tokens that it
    /// already has, too.
    pub fn permissions(&self) -> &Scope {
        &self.permissions
    }

    /// The grants that it may use.
    pub fn grants(&self) -> impl Iterator<Item = GrantType> {
        self.grants.iter().copied()
    }

    /// How long its access tokens live.
    pub fn access_token_lifetime(&self) -> Duration {
        self.access_token_lifetime
    }

    /// How long its refresh tokens live, where it gets any.
    pub fn refresh_policy(&self) -> RefreshPolicy {
        self.refresh
    }

    /// What its tokens are issued in. Those of any other are over: it was disabled since, or its
    /// secret exchanged without an overlap.
    pub(crate) fn generation(&self) -> GrantGeneration {
        self.generation
    }

    /// Whether it may use `grant`.
    pub(crate) fn may_use(&self, grant: GrantType) -> bool {
        self.grants.contains(&grant)
    }

    /// How often it may ask.
    pub fn rate_limit(&self) -> RateLimit {
        self.rate_limit
    }

    /// Whether it gets tokens, and whether those it has are good.
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// When it was registered.
    pub fn created(&self) -> SystemTime {
        self.created
    }

    /// How many of its secrets are good at `now`.
    pub fn live_secrets(&self, now: SystemTime) -> usize {
        self.secrets(now).count()
    }

    /// Those of its secrets that are good at `now`, the newest last.
    pub fn secrets(&self, now: SystemTime) -> impl Iterator<Item = SecretStatus> {
        self.secrets.iter().filter(move |secret| secret.is_live(now)).map(StoredSecret::status)
    }

    /// Lets `fresh` be its secret. One of the former ones goes on for `overlap`, and any other ends at
    /// once. Without an overlap somebody else may have had it, so every grant ends, too.
    ///
    /// The one that goes on is the newest; but while nobody has used that one, and somebody uses the one
    /// before it, it is that one: an exchange whose answer was lost can be done again, and locks out
    /// nobody who has used a secret.
    pub(crate) fn replace_secret(
        &mut self,
        mut fresh: StoredSecret,
        overlap: Duration,
        now: SystemTime,
    ) {
        let mut live = std::mem::take(&mut self.secrets);
        // One that is given once more is the same secret, and was used when it was.
        let given_again = live.iter().position(|secret| secret.hash == fresh.hash);
        fresh.used = fresh.used.or(given_again.and_then(|at| live.remove(at).used));
        live.retain(|secret| !overlap.is_zero() && secret.is_live(now));
        let former = match (live.pop(), live.pop()) {
            (Some(newest), Some(before)) if newest.used.is_none() && before.used.is_some() => {
                Some(before)
            }
            (newest, _) => newest,
        };
        self.secrets.extend(former.map(|secret| secret.ending(now + overlap)));
        self.secrets.push(fresh);
        if overlap.is_zero() {
            self.generation = self.generation.next();
        }
    }

    /// Whether `secret` is the one that was given last and has no end.
    pub(crate) fn has_newest(&self, secret: &StoredSecret) -> bool {
        self.secrets.last().is_some_and(|it| it.hash == secret.hash && it.ends.is_none())
    }

    /// Notes that the secret with this hash was used at `used`. Answers whether there is one.
    pub(crate) fn note_use(&mut self, hash: &[u8; 32], used: SystemTime) -> bool {
        let found = self.secrets.iter_mut().find(|secret| secret.hash == *hash);
        found.map(|secret| secret.used = Some(used)).is_some()
    }

    /// Forgets secrets with these hashes: those that nobody got.
    pub(crate) fn forget_secrets(&mut self, hashes: &BTreeSet<[u8; 32]>) {
        self.secrets.retain(|secret| secret.used.is_some() || !hashes.contains(&secret.hash));
    }
}

impl fmt::Debug for Application {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Application")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("permissions", &self.permissions)
            .field("enabled", &self.enabled)
            .finish_non_exhaustive()
    }
}
