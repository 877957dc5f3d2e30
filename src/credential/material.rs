//! What a credential consists of: an API key, or an access token with what renews it. Material is
//! immutable; each sign-in and each renewal makes a new one, of the next generation.

use std::fmt;
use std::time::{Duration, SystemTime};

use crate::clock::Moment;
use crate::identity::{Generation, Method};
use crate::provider::{Grant, Registration, Renewal, TokenInForce};
use crate::secret::Secret;

/// The material of one credential at one generation.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Material {
    /// Which generation it is.
    pub(crate) generation: Generation,
    /// The secret that authenticates requests: the API key, or the access token.
    pub(crate) access: Secret,
    /// The refresh token, where there is one.
    pub(crate) refresh: Option<Secret>,
    /// When it was obtained: both clocks, from before the request was sent.
    pub(crate) obtained: Moment,
    /// How long it lives from then on.
    pub(crate) life: Life,
    /// What was granted, when the provider said so.
    pub(crate) scopes: Option<Vec<String>>,
    /// Whose account it is at the provider, when it said so.
    pub(crate) account: Option<String>,
    /// The client that asked for it, and where; unknown for an API key.
    pub(crate) issued_to: Registration,
}

/// How long material lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    /// It does not expire by itself: an API key.
    Unlimited,
    /// The provider did not say. Used until it is refused, renewed as if it lived as long as the
    /// provider's policy assumes.
    Unknown,
    /// So long from the moment it was obtained.
    For(Duration),
}

/// A renewal that came back with somebody else's account, and what was granted to that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AccountChanged(pub(crate) Box<Grant>);

impl Material {
    /// An API key.
    pub(crate) fn api_key(key: Secret, generation: Generation, now: Moment) -> Self {
        Self {
            generation,
            access: key,
            refresh: None,
            obtained: now,
            life: Life::Unlimited,
            scopes: None,
            account: None,
            issued_to: Registration::default(),
        }
    }

    /// What a sign-in by the client `issued_to` was granted.
    pub(crate) fn granted(grant: Grant, generation: Generation, issued_to: Registration) -> Self {
        Self {
            generation,
            access: grant.access_token,
            refresh: grant.refresh_token,
            obtained: grant.requested_at,
            life: grant.lifetime.map_or(Life::Unknown, Life::For),
            scopes: grant.scopes,
            account: grant.account,
            issued_to,
        }
    }

    /// Whether it is the same tokens, whatever is known of their times.
    pub(crate) fn same_tokens(&self, other: &Self) -> bool {
        self.access == other.access && self.refresh == other.refresh
    }

    /// Whether it came of the same sign-in or renewal.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.generation == other.generation && self.same_tokens(other)
    }

    /// What goes into a renewal of this material.
    pub(crate) fn renewal(&self, method: Method) -> Renewal<'_> {
        let in_force = TokenInForce { access_token: &self.access, expires_at: self.expires() };
        Renewal { method, refresh_token: self.refresh.as_ref(), in_force: Some(in_force) }
    }

    /// What a renewal of this material by the client `by` was granted. What the answer left out
    /// stays in force; the scopes of a user's grant are those of the sign-in.
    ///
    /// # Errors
    ///
    /// When the answer names another account than the one that signed in.
    pub(crate) fn renewed(
        &self,
        grant: Grant,
        method: Method,
        by: Registration,
    ) -> Result<Self, AccountChanged> {
        if let (Some(old), Some(new)) = (&self.account, &grant.account)
            && old != new
        {
            return Err(AccountChanged(Box::new(grant)));
        }
        let scopes = if method.needs_no_user() { by.scopes } else { self.issued_to.scopes.clone() };
        let issued_to = Registration { scopes, ..by };
        let mut next = Self::granted(grant, self.generation.next(), issued_to);
        next.refresh = next.refresh.or_else(|| self.refresh.clone());
        next.scopes = next.scopes.or_else(|| self.scopes.clone());
        next.account = next.account.or_else(|| self.account.clone());
        Ok(next)
    }

    /// When it expires, on both clocks; none when it does not, or nobody knows.
    pub(crate) fn expires(&self) -> Option<Moment> {
        match self.life {
            Life::For(lifetime) => Some(self.obtained.after(lifetime)),
            Life::Unlimited | Life::Unknown => None,
        }
    }

    /// When it expires by the wall clock.
    pub(crate) fn expires_at(&self) -> Option<SystemTime> {
        self.expires().map(|moment| moment.wall)
    }

    /// Whether a new generation can be had without the user.
    pub(crate) fn is_renewable(&self, method: Method) -> bool {
        match method {
            Method::ApiKey => false,
            Method::ClientCredentials | Method::JwtBearer => true,
            Method::AuthorizationCode | Method::DeviceCode => self.refresh.is_some(),
        }
    }

    /// Whether a renewal spends something that can be spent only once.
    pub(crate) fn spends_a_refresh_token(&self, method: Method) -> bool {
        self.is_renewable(method) && self.refresh.is_some()
    }
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Material")
            .field("generation", &self.generation)
            .field("obtained", &self.obtained)
            .field("life", &self.life)
            .field("renewable", &self.refresh.is_some())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: Method = Method::AuthorizationCode;

    fn at(seconds: u64) -> Moment {
        Moment {
            wall: SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
            monotonic: Duration::from_secs(seconds),
        }
    }

    fn grant(refresh: Option<&str>, account: Option<&str>) -> Grant {
        Grant {
            access_token: Secret::new("access-2"),
            refresh_token: refresh.map(Secret::new),
            lifetime: Some(Duration::from_mins(1)),
            requested_at: at(100),
            server_date: None,
            scopes: None,
            account: account.map(str::to_owned),
        }
    }

    #[test]
    fn a_renewal_without_a_refresh_token_keeps_the_old_one() {
        let first = Material::granted(
            grant(Some("refresh-1"), Some("acct")),
            Generation(1),
            Registration::default(),
        );
        let second = first
            .renewed(grant(None, None), CODE, Registration::default())
            .expect("the same account");
        assert_eq!(second.refresh, Some(Secret::new("refresh-1")));
        assert_eq!(second.account.as_deref(), Some("acct"));
        assert_eq!(second.generation, Generation(2));
    }

    #[test]
    fn a_renewal_with_a_refresh_token_replaces_the_old_one() {
        let first = Material::granted(
            grant(Some("refresh-1"), None),
            Generation(1),
            Registration::default(),
        );
        let second = first
            .renewed(grant(Some("refresh-2"), None), CODE, Registration::default())
            .expect("the same account");
        assert_eq!(second.refresh, Some(Secret::new("refresh-2")));
    }

    #[test]
    fn a_renewal_for_another_account_is_refused() {
        let first = Material::granted(
            grant(Some("refresh-1"), Some("ada")),
            Generation(1),
            Registration::default(),
        );
        let eves = grant(None, Some("eve"));
        assert_eq!(
            first.renewed(eves.clone(), CODE, Registration::default()),
            Err(AccountChanged(Box::new(eves)))
        );
    }

    #[test]
    fn life_counts_from_before_the_request() {
        let material = Material::granted(grant(None, None), Generation(1), Registration::default());
        assert_eq!(material.expires(), Some(at(160)));
    }
}
