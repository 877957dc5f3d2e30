//! The exchange of an assertion for a grant (RFC 7523 §2.1): somebody else vouches for the client by
//! a JWT. Nothing is spent by it.

use super::call::{ExchangeError, TokenEndpoint, TokenGrant};
use super::post::{post, read};
use super::transport::Transport;
use crate::secret::Secret;

const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// Exchanges `assertion`, with what else the provider wants to know. A refresh token in the answer
/// is ignored: a new grant is had the same way.
pub(crate) async fn exchange_assertion(
    transport: &Transport,
    endpoint: TokenEndpoint<'_>,
    assertion: &Secret,
    scope: &str,
    parameters: &[(&str, &str)],
) -> Result<TokenGrant, ExchangeError> {
    let mut values = vec![("grant_type", GRANT_TYPE), ("assertion", assertion.expose())];
    if !scope.is_empty() {
        values.push(("scope", scope));
    }
    values.extend_from_slice(parameters);
    let answer = post(transport, endpoint, &values).await?;
    let grant = read(&answer, endpoint)?;
    Ok(TokenGrant { refresh_token: None, ..grant })
}
