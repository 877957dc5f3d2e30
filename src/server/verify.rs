//! Whether a token is good here and now, and whom it speaks for: its signature, its claims, and the
//! application as it is today.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::claims::{ACCESS_TOKEN, AccessClaims, ClaimsError, Expectation};
use super::issuer::{Published, TokenIssuer};
use super::jws::{self, JwsError};
use super::scope::Scope;

/// Who calls, as a token says that was verified. Guarded handlers find it among the extensions of
/// their request.
///
/// ```
/// use axum::Extension;
/// use tokenward::server::Caller;
///
/// // A route behind a guard: who calls, and what else they may do.
/// async fn list(Extension(caller): Extension<Caller>) -> String {
///     let may_write = caller.permissions().contains("memories:write");
///     format!("{} may write: {may_write}", caller.client_id())
/// }
/// # let _: axum::Router = axum::Router::new().route("/", axum::routing::get(list));
/// ```
#[derive(Debug, Clone)]
pub struct Caller {
    claims: AccessClaims,
    permissions: Scope,
}

impl Caller {
    /// Which application calls: its `client_id`.
    pub fn client_id(&self) -> &str {
        &self.claims.client_id
    }

    /// Whom it speaks for: itself, where it got its token by its own credentials.
    pub fn subject(&self) -> &str {
        &self.claims.subject
    }

    /// What tells its token from every other, for logs.
    pub fn token_id(&self) -> &str {
        &self.claims.token_id
    }

    /// What it may do: what its token says, as far as the application still has it.
    pub fn permissions(&self) -> &Scope {
        &self.permissions
    }

    /// The claims of its token.
    pub(crate) fn claims(&self) -> &AccessClaims {
        &self.claims
    }

    /// When its token expires.
    pub fn expires_at(&self) -> Option<SystemTime> {
        UNIX_EPOCH.checked_add(self.claims.expires_at)
    }
}

/// Why a token is not good. The text is for logs: a caller is told that the token is invalid, and no
/// more.
///
/// ```
/// use tokenward::server::{AuthorizationServer, ServerSettings};
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
/// let refused = server.verify("not.a.token").expect_err("nobody signed it");
/// println!("{refused}"); // for a log; the sender is told only that the token is invalid
/// assert_eq!(refused.client_id(), None);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct TokenRefused {
    why: Why,
    /// The application that it names, where a key that is trusted signed it.
    client_id: Option<String>,
}

impl TokenRefused {
    /// The application that the token was issued to, as far as that is beyond doubt.
    pub fn client_id(&self) -> Option<&str> {
        self.client_id.as_deref()
    }
}

impl From<Why> for TokenRefused {
    fn from(why: Why) -> Self {
        Self { why, client_id: None }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Why {
    #[error(transparent)]
    Signature(#[from] JwsError),
    #[error(transparent)]
    Claims(#[from] ClaimsError),
    #[error("there are no keys yet")]
    NoKeys,
    #[error("the token was revoked")]
    Revoked,
    #[error("the application of the token is disabled, or is gone")]
    Application,
    #[error("the grants of the token's generation are over")]
    Generation,
}

/// Verifies `token` at `now`.
pub(crate) fn verify(
    issuer: &TokenIssuer,
    expected: &Expectation,
    token: &str,
    now: SystemTime,
) -> Result<Caller, TokenRefused> {
    let published = issuer.published().map_err(|_| Why::NoKeys)?;
    let payload = jws::verify(&published.verifying, ACCESS_TOKEN, token).map_err(Why::from)?;
    let claims = AccessClaims::parse(&payload).map_err(Why::from)?;
    match judged(issuer, &published, expected, &claims, since_1970(now)) {
        Ok(permissions) => Ok(Caller { claims, permissions }),
        Err(why) => Err(TokenRefused { why, client_id: Some(claims.client_id) }),
    }
}

/// What the claims of a token allow that was signed by a key that is trusted.
fn judged(
    issuer: &TokenIssuer,
    published: &Published,
    expected: &Expectation,
    claims: &AccessClaims,
    now: Duration,
) -> Result<Scope, Why> {
    claims.check(expected, now)?;
    if issuer.denials().contains(&claims.token_id, claims.family.as_deref()) {
        return Err(Why::Revoked);
    }
    let application = published.application(&claims.client_id).filter(|it| it.is_enabled());
    let application = application.ok_or(Why::Application)?;
    let generation = claims.generation.as_deref();
    let was_removed = || issuer.denials().contains_application(&claims.client_id);
    if !application.generation().counts(generation) || (generation.is_none() && was_removed()) {
        return Err(Why::Generation);
    }
    Ok(claims.scope.and(application.permissions()))
}

/// A time as claims have it.
pub(crate) fn since_1970(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}
