//! Requests that the oauth2 crate does not form as the providers want them, and the answers that
//! grant: revocation, device codes, assertions.

use http::StatusCode;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, USER_AGENT};
use zeroize::Zeroizing;

use super::call::{ExchangeError, Sent, TokenEndpoint, TokenGrant, token_grant, user_agent};
use super::profile::ClientAuthentication;
use super::response::{self, Problem, Refusal, TokenBody, Verdict};
use super::transport::{Answer, Transport};
use crate::clock::Moment;

/// Posts `values` and the client's authentication, written as the endpoint's profile says. A client
/// without an id is not named.
pub(super) async fn post(
    transport: &Transport,
    endpoint: TokenEndpoint<'_>,
    values: &[(&str, &str)],
) -> Result<Answer, ExchangeError> {
    let client = endpoint.client;
    let mut values = values.to_vec();
    if client.authentication != ClientAuthentication::Basic && !client.id.is_empty() {
        values.push(("client_id", client.id));
    }
    if let (ClientAuthentication::Post, Some(secret)) = (client.authentication, client.secret) {
        values.push(("client_secret", secret.expose()));
    }
    let body = std::mem::take(&mut *endpoint.profile.write(&values));
    let mut request = http::Request::new(body);
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = endpoint
        .url
        .as_str()
        .parse()
        .map_err(|_| ExchangeError::NotSent(format!("{} is not a url", endpoint.url)))?;
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, endpoint.profile.encoding.content_type());
    headers.insert(USER_AGENT, user_agent(endpoint.user_agent)?);
    if let Some(basic) = client.basic() {
        headers.insert(AUTHORIZATION, basic);
    }
    Ok(transport.send(request).await?)
}

/// What an answer to a request for tokens says. The error of the parser is mapped and dropped: it
/// may quote.
pub(super) fn read(
    answer: &Answer,
    endpoint: TokenEndpoint<'_>,
) -> Result<TokenGrant, ExchangeError> {
    match response::examine(answer.status, &answer.body)? {
        Verdict::Success(body) => granted(answer, body, endpoint),
        Verdict::Refusal(refusal) => Err(refused(refusal, answer)),
    }
}

/// As [`read`], of an answer that is at hand. What it renews may be good only once, and no access
/// token is in force beside it.
pub(crate) fn read_token_answer(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    requested_at: Moment,
    endpoint: TokenEndpoint<'_>,
) -> Result<TokenGrant, ExchangeError> {
    let (headers, body) = (headers.clone(), Zeroizing::new(body.to_vec()));
    read(&Answer { status, headers, body, requested_at }, endpoint)
}

/// The grant in the body of a success.
pub(super) fn granted(
    answer: &Answer,
    body: &[u8],
    endpoint: TokenEndpoint<'_>,
) -> Result<TokenGrant, ExchangeError> {
    let standard = endpoint.fields.standardized(body)?;
    let body = standard.as_ref().map_or(body, |standard| standard.as_slice());
    let body: TokenBody = serde_json::from_slice(body).map_err(|error| Problem::of(&error))?;
    Ok(token_grant(body, endpoint.assume_bearer, None, Sent::of(answer))?)
}

/// A refusal with the wait that the answer asks for.
pub(super) fn refused(refusal: Refusal, answer: &Answer) -> ExchangeError {
    ExchangeError::Refused(Refusal { retry_after: answer.retry_after(), ..refusal })
}
