//! Whether a token is good here and now, and whom it speaks for: its signature, its claims, and the
//! application as it is today.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::claims::{ACCESS_TOKEN, AccessClaims, ClaimsError, Expectation};
use super::issuer::TokenIssuer;
use super::jws::{self, JwsError};
use super::scope::Scope;

/// Who calls, as a token says that was verified. Guarded handlers find it among the extensions of
/// their request.
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
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct TokenRefused(Why);

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
    judged(issuer, expected, token, now).map_err(TokenRefused)
}

fn judged(
    issuer: &TokenIssuer,
    expected: &Expectation,
    token: &str,
    now: SystemTime,
) -> Result<Caller, Why> {
    let published = issuer.published().map_err(|_| Why::NoKeys)?;
    let payload = jws::verify(&published.verifying, ACCESS_TOKEN, token)?;
    let claims = AccessClaims::parse(&payload)?;
    claims.check(expected, since_1970(now))?;
    if issuer.denials().contains(&claims.token_id, claims.family.as_deref()) {
        return Err(Why::Revoked);
    }
    let application = published.application(&claims.client_id).filter(|it| it.is_enabled());
    let application = application.ok_or(Why::Application)?;
    if !application.generation().counts(claims.generation.as_deref()) {
        return Err(Why::Generation);
    }
    let permissions = claims.scope.and(application.permissions());
    Ok(Caller { claims, permissions })
}

/// A time as claims have it.
pub(crate) fn since_1970(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}
