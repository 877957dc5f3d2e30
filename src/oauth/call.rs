//! One call to a token endpoint: the oauth2 crate forms the request, this adapter writes it as the
//! provider wants it, sends it, and lets only answers that may hold a grant through to the parser.

use std::pin::Pin;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{HeaderValue, StatusCode};
use oauth2::basic::{
    BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse,
};
use oauth2::{
    AsyncHttpClient, AuthType, ClientId, ClientSecret, EndpointNotSet, EndpointSet, HttpRequest,
    HttpResponse, RequestTokenError, StandardRevocableToken, TokenUrl,
};
use url::{Url, form_urlencoded};
use zeroize::{Zeroize as _, Zeroizing};

use super::jwt;
use super::profile::{Client, ClientAuthentication, RequestProfile};
use super::refresh::TokenInForce;
use super::response::{self, Granted, Problem, Refusal, TokenBody, TokenFields, Verdict};
use super::transport::{Answer, Transport, TransportError};
use crate::clock::Moment;
use crate::secret::Secret;

/// A token endpoint and how it wants to be spoken to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TokenEndpoint<'a> {
    pub(crate) url: &'a Url,
    pub(crate) client: Client<'a>,
    pub(crate) profile: &'a RequestProfile,
    pub(crate) user_agent: &'a str,
    /// Whether an answer without a `token_type` is a bearer token all the same.
    pub(crate) assume_bearer: bool,
    /// Where the members of an answer stand.
    pub(crate) fields: &'a TokenFields,
}

/// What a token endpoint granted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TokenGrant {
    pub(crate) access_token: Secret,
    pub(crate) refresh_token: Option<Secret>,
    pub(crate) id_token: Option<Secret>,
    /// From `expires_in`, else from the `exp` claim of an access token that is a JWT; what is left
    /// of it where the old access token stays in force.
    pub(crate) lifetime: Option<Duration>,
    pub(crate) scopes: Option<Vec<String>>,
    /// Both clocks just before the request was sent.
    pub(crate) requested_at: Moment,
    /// The server's own clock.
    pub(crate) server_date: Option<SystemTime>,
}

/// Why a call did not end in a grant. The texts never hold a body or a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ExchangeError {
    /// We did not send it: the operator has to change something.
    #[error("{0}")]
    NotSent(String),
    /// The endpoint can not have received it.
    #[error("{0}")]
    Unreached(String),
    /// It may have been received and acted upon; no whole answer came back.
    #[error("{0}")]
    Ambiguous(String),
    /// The endpoint refused.
    #[error("the token endpoint refused with status {}", .0.status.as_u16())]
    Refused(Refusal),
    /// The endpoint answered, and the answer makes no sense.
    #[error("{0}")]
    Malformed(&'static str),
}

impl From<Problem> for ExchangeError {
    fn from(problem: Problem) -> Self {
        Self::Malformed(problem.as_str())
    }
}

impl From<TransportError> for ExchangeError {
    fn from(error: TransportError) -> Self {
        match error {
            TransportError::Refused(reason) => Self::NotSent(reason),
            TransportError::Unreached(reason) => Self::Unreached(reason),
            TransportError::Ambiguous(reason) => Self::Ambiguous(reason),
            TransportError::TooLong => Problem::TooLong.into(),
        }
    }
}

/// The oauth2 crate's client with our own answer type. Its parameters are spelt here and nowhere
/// else.
///
/// The crate wipes nothing. What it gives back is wiped here; its own copies of a client secret, a
/// code, a verifier and the bytes of an answer live until the call is over, and their memory is
/// then free without having been wiped.
pub(super) type GrantClient = oauth2::Client<
    BasicErrorResponse,
    TokenBody,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
>;

/// One call that is under way. It borrows nothing: the oauth2 crate's trait, with a borrowing
/// implementor, makes futures that the compiler can not prove to be `Send`.
pub(super) struct Call {
    transport: Transport,
    profile: RequestProfile,
    user_agent: String,
    assume_bearer: bool,
    fields: TokenFields,
    sent: OnceLock<Sent>,
}

/// What is remembered of a call beside its body.
#[derive(Clone, Copy)]
pub(super) struct Sent {
    requested_at: Moment,
    server_date: Option<SystemTime>,
}

impl Sent {
    pub(super) fn of(answer: &Answer) -> Self {
        Self { requested_at: answer.requested_at, server_date: answer.date() }
    }
}

impl TokenEndpoint<'_> {
    /// The oauth2 crate's client for this endpoint.
    pub(super) fn client(&self) -> GrantClient {
        let Client { id, secret, authentication } = self.client;
        let auth_type = match authentication {
            ClientAuthentication::Basic => AuthType::BasicAuth,
            ClientAuthentication::None | ClientAuthentication::Post => AuthType::RequestBody,
        };
        let client = oauth2::Client::new(ClientId::new(id.to_owned()))
            .set_auth_type(auth_type)
            .set_token_uri(TokenUrl::from_url(self.url.clone()));
        match secret.filter(|_| authentication != ClientAuthentication::None) {
            Some(secret) => client.set_client_secret(ClientSecret::new(secret.expose().to_owned())),
            None => client,
        }
    }
}

impl Call {
    pub(super) fn new(transport: &Transport, endpoint: TokenEndpoint<'_>) -> Self {
        Self {
            transport: transport.clone(),
            profile: endpoint.profile.clone(),
            user_agent: endpoint.user_agent.to_owned(),
            assume_bearer: endpoint.assume_bearer,
            fields: endpoint.fields.clone(),
            sent: OnceLock::new(),
        }
    }

    /// Makes our own grant, or our own error, of what the oauth2 crate returned.
    pub(super) fn conclude(
        &self,
        result: Result<TokenBody, RequestTokenError<ExchangeError, BasicErrorResponse>>,
        in_force: Option<TokenInForce<'_>>,
    ) -> Result<TokenGrant, ExchangeError> {
        let body = result.map_err(|error| match error {
            RequestTokenError::Request(error) => error,
            RequestTokenError::Parse(error, mut raw) => {
                raw.zeroize();
                Problem::of(error.inner()).into()
            }
            RequestTokenError::ServerResponse(_) | RequestTokenError::Other(_) => {
                Problem::NotJson.into()
            }
        })?;
        let sent = self.sent.get().copied();
        let sent = sent.unwrap_or_else(|| Sent {
            requested_at: self.transport.sources().now(),
            server_date: None,
        });
        Ok(token_grant(body, self.assume_bearer, in_force, sent)?)
    }

    async fn carry_out(&self, request: HttpRequest) -> Result<HttpResponse, ExchangeError> {
        let request = self.rewritten(request)?;
        let mut answer = self.transport.send(request).await?;
        let _ = self.sent.set(Sent::of(&answer));
        match response::examine(answer.status, &answer.body)? {
            Verdict::Refusal(refusal) => {
                let retry_after = answer.retry_after();
                Err(ExchangeError::Refused(Refusal { retry_after, ..refusal }))
            }
            Verdict::Success(body) => {
                if let Some(standard) = self.fields.standardized(body)? {
                    answer.body = standard;
                } else {
                    let start = answer.body.len() - body.len();
                    answer.body.drain(..start);
                }
                let mut response = HttpResponse::new(std::mem::take(&mut *answer.body));
                *response.status_mut() = StatusCode::OK;
                Ok(response)
            }
        }
    }

    /// The same request with the body in the provider's encoding and order, and our user agent.
    fn rewritten(&self, request: HttpRequest) -> Result<HttpRequest, ExchangeError> {
        let (mut parts, form) = request.into_parts();
        let form = Zeroizing::new(form);
        let values: Vec<(Zeroizing<String>, Zeroizing<String>)> = form_urlencoded::parse(&form)
            .map(|(name, value)| (name.into_owned().into(), value.into_owned().into()))
            .collect();
        let values: Vec<(&str, &str)> =
            values.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let body = std::mem::take(&mut *self.profile.write(&values));
        let content_type = self.profile.encoding.content_type();
        parts.headers.insert(CONTENT_TYPE, content_type);
        parts.headers.insert(USER_AGENT, user_agent(&self.user_agent)?);
        Ok(HttpRequest::from_parts(parts, body))
    }
}

impl<'c> AsyncHttpClient<'c> for Call {
    type Error = ExchangeError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, ExchangeError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.carry_out(request))
    }
}

/// Makes our own grant of what an answer holds. One without an access token leaves the one
/// `in_force`; where there is none, it is an error.
pub(super) fn token_grant(
    body: TokenBody,
    assume_bearer: bool,
    in_force: Option<TokenInForce<'_>>,
    sent: Sent,
) -> Result<TokenGrant, Problem> {
    let granted = body.into_granted(assume_bearer)?;
    let Sent { requested_at, server_date } = sent;
    let Granted { access_token, lifetime, refresh_token, scopes, id_token } = granted;
    let (access_token, lifetime) = match (access_token, in_force) {
        (Some(token), _) => {
            let now = server_date.unwrap_or(requested_at.wall);
            let lifetime = lifetime.or_else(|| claimed_lifetime(&token, now));
            (token, lifetime)
        }
        (None, Some(old)) => {
            let left = old.expires_at.map(|expires| requested_at.until(expires));
            (old.access_token.clone(), left)
        }
        (None, None) => return Err(Problem::AccessTokenMissing),
    };
    Ok(TokenGrant {
        access_token,
        refresh_token,
        id_token,
        lifetime,
        scopes,
        requested_at,
        server_date,
    })
}

pub(super) fn user_agent(text: &str) -> Result<HeaderValue, ExchangeError> {
    HeaderValue::from_str(text).map_err(|_| {
        ExchangeError::NotSent("the user agent can not stand in a header, change it".to_owned())
    })
}

/// How long a JWT says that it lives, by the clock of the server that issued it.
fn claimed_lifetime(token: &Secret, now: SystemTime) -> Option<Duration> {
    let expires = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(jwt::expiry(token)?))?;
    let lifetime = expires.duration_since(now).unwrap_or_default();
    Some(lifetime.min(response::LONGEST_LIFETIME))
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    #[test]
    fn a_jwt_lives_from_now_to_its_expiry_and_an_opaque_token_says_nothing() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let jwt = |exp: u64| {
            let claims = URL_SAFE_NO_PAD.encode(format!(r#"{{"exp":{exp}}}"#));
            Secret::from(format!("e30.{claims}.c2ln"))
        };
        assert_eq!(claimed_lifetime(&jwt(1600), now), Some(Duration::from_mins(10)));
        assert_eq!(claimed_lifetime(&jwt(10), now), Some(Duration::ZERO), "expired");
        let longest = Some(response::LONGEST_LIFETIME);
        assert_eq!(claimed_lifetime(&jwt(4_000_000_000_000), now), longest);
        assert_eq!(claimed_lifetime(&Secret::new("opaque"), now), None);
    }
}
