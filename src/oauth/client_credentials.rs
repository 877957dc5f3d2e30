//! A grant for the client itself (RFC 6749 §4.4). No user is involved and nothing is spent, so it
//! can be asked for again at any time.

use oauth2::Scope;

use super::call::{Call, ExchangeError, TokenEndpoint, TokenGrant};
use super::transport::Transport;

/// Asks for a token for the client itself. A refresh token in the answer is ignored
/// (RFC 6749 §4.4.3: there should be none).
pub(crate) async fn request_client_credentials(
    transport: &Transport,
    endpoint: TokenEndpoint<'_>,
    scope: Option<String>,
) -> Result<TokenGrant, ExchangeError> {
    let call = Call::new(transport, endpoint);
    let client = endpoint.client();
    // One scope value: the separator is the provider's, and may not be a space.
    let request = client.exchange_client_credentials().add_scopes(scope.map(Scope::new));
    let result = request.request_async(&call).await;
    let grant = call.conclude(result, None)?;
    Ok(TokenGrant { refresh_token: None, ..grant })
}
