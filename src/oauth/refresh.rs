//! The renewal of a grant by its refresh token (RFC 6749 §6). The scope is not repeated: what was
//! granted is asked for again.

use oauth2::RefreshToken;
use zeroize::Zeroize as _;

use super::call::{Call, ExchangeError, TokenEndpoint, TokenGrant};
use super::transport::Transport;
use crate::clock::Moment;
use crate::secret::Secret;

/// An access token that stays in force where the answer to a refresh brings no new one.
///
/// [`Renewal::in_force`](crate::provider::Renewal::in_force) has it.
///
/// ```
/// use tokenward::oauth::TokenInForce;
/// use tokenward::provider::Renewal;
/// # use tokenward::{Method, clock::Sources, provider::Grant};
///
/// # let grant = Grant::new("token", Sources::system().now()).with_refresh_token("next");
/// // For a provider whose answer may be a refresh token alone.
/// let expires_at = grant.lifetime.map(|lifetime| grant.requested_at.after(lifetime));
/// let in_force = TokenInForce::new(&grant.access_token, expires_at);
/// let refresh_token = grant.refresh_token.as_ref();
/// let renewal = Renewal::new(Method::AuthorizationCode, refresh_token, Some(in_force));
/// # assert!(renewal.in_force.is_some_and(|token| token.expires_at.is_none()));
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct TokenInForce<'a> {
    /// The token.
    pub access_token: &'a Secret,
    /// When it expires; none when nobody knows.
    pub expires_at: Option<Moment>,
}

impl<'a> TokenInForce<'a> {
    /// A token that is used until `expires_at`; none when nobody knows.
    pub const fn new(access_token: &'a Secret, expires_at: Option<Moment>) -> Self {
        Self { access_token, expires_at }
    }
}

/// Spends a refresh token. The grant has no refresh token when the old one stays in force; it has
/// the access token `in_force` when the answer has a refresh token alone.
pub(crate) async fn refresh(
    transport: &Transport,
    endpoint: TokenEndpoint<'_>,
    refresh_token: &Secret,
    in_force: Option<TokenInForce<'_>>,
) -> Result<TokenGrant, ExchangeError> {
    let call = Call::new(transport, endpoint);
    let client = endpoint.client();
    let copy = RefreshToken::new(refresh_token.expose().to_owned());
    let result = client.exchange_refresh_token(&copy).request_async(&call).await;
    copy.into_secret().zeroize();
    call.conclude(result, in_force)
}
