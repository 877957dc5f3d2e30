//! Telling the provider that a token is over (RFC 7009). The oauth2 crate refuses this over plain
//! text even to loopback, so the request is one of ours.

use super::call::{ExchangeError, TokenEndpoint};
use super::post::{post, refused};
use super::response::{self, Verdict};
use super::transport::Transport;
use crate::secret::Secret;

/// Revokes `token`; `hint` is its kind in the words of RFC 7009 §2.1. Any success counts, whatever
/// its body: a token that is unknown there is as good as revoked (§2.2).
pub(crate) async fn revoke(
    transport: &Transport,
    endpoint: TokenEndpoint<'_>,
    token: &Secret,
    hint: &str,
) -> Result<(), ExchangeError> {
    let values = [("token", token.expose()), ("token_type_hint", hint)];
    let answer = post(transport, endpoint, &values).await?;
    if answer.status.is_success() {
        return Ok(());
    }
    match response::examine(answer.status, &answer.body)? {
        Verdict::Success(_) => Ok(()),
        Verdict::Refusal(refusal) => Err(refused(refusal, &answer)),
    }
}
