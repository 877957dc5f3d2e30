//! Telling the provider that a token is over (RFC 7009). The oauth2 crate refuses this over plain
//! text even to loopback, so the request is formed here.

use http::header::{AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use oauth2::HttpRequest;

use super::call::{ExchangeError, TokenEndpoint, retry_after, user_agent};
use super::profile::ClientAuthentication;
use super::response::{self, Refusal, Verdict};
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
    let client = endpoint.client;
    let mut values = vec![("token", token.expose()), ("token_type_hint", hint)];
    if client.authentication != ClientAuthentication::Basic {
        values.push(("client_id", client.id));
    }
    if let (ClientAuthentication::Post, Some(secret)) = (client.authentication, client.secret) {
        values.push(("client_secret", secret.expose()));
    }
    let body = std::mem::take(&mut *endpoint.profile.write(&values));
    let mut request = HttpRequest::new(body);
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() =
        endpoint.url.as_str().parse().map_err(|_| {
            ExchangeError::NotSent("the revocation endpoint is not a url".to_owned())
        })?;
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, endpoint.profile.encoding.content_type());
    headers.insert(USER_AGENT, user_agent(endpoint.user_agent)?);
    if let Some(basic) = client.basic() {
        headers.insert(AUTHORIZATION, basic);
    }

    let answer = transport.send(request).await?;
    if answer.status.is_success() {
        return Ok(());
    }
    match response::examine(answer.status, &answer.body)? {
        Verdict::Success(_) => Ok(()),
        Verdict::Refusal(refusal) => {
            let retry_after = retry_after(&answer);
            Err(ExchangeError::Refused(Refusal { retry_after, ..refusal }))
        }
    }
}
