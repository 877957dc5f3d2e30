//! The exchange of an authorization code for a grant (RFC 6749 §4.1.3). A code is sent once: a
//! second attempt would make the server revoke what the first one got.

use std::borrow::Cow;

use oauth2::{AuthorizationCode, PkceCodeVerifier, RedirectUrl};

use super::call::{Call, ExchangeError, TokenEndpoint, TokenGrant};
use super::transport::Transport;
use crate::secret::Secret;

/// What goes into the exchange of an authorization code.
///
/// ```
/// use tokenward::Provider as _;
/// use tokenward::oauth::redirect::AuthorizationResponse;
/// use tokenward::oauth::{AuthorizationRequest, CodeExchange, Pkce, Transport};
/// # use tokenward::{Secret, clock::Sources, testing::SimulatedProvider};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let openai = SimulatedProvider::openai().start().await?;
/// # let (spec, transport) = (openai.spec(), Transport::new(Sources::system())?);
/// # let pkce = Pkce::generate(&*Sources::system().entropy)?;
/// # let (state, redirect_uri) = (Secret::new("random"), "http://localhost:1455/auth/callback");
/// # let request = AuthorizationRequest::new(redirect_uri, &pkce.challenge, &state);
/// # let url = openai.approve(&spec.authorization_url(&request)?)?.parse::<url::Url>()?;
/// // `url` is where the browser came back to.
/// let response = AuthorizationResponse::from_query(url.query().unwrap_or_default())?;
/// assert_eq!(response.state.as_ref(), Some(&state), "of this sign-in, and of no other");
/// let code = response.outcome.expect("the user agreed");
/// let exchange = CodeExchange::new(&code, &state, redirect_uri, &pkce.verifier);
/// let grant = spec.exchange_code(&transport, exchange).await?;
/// # assert!(grant.refresh_token.is_some());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct CodeExchange<'a> {
    /// The authorization code.
    pub code: &'a Secret,
    /// The state of this sign-in; some providers want it in the exchange.
    pub state: &'a Secret,
    /// Exactly the redirect URI of the authorization request (RFC 6749 §4.1.3).
    pub redirect_uri: &'a str,
    /// The PKCE verifier.
    pub code_verifier: &'a Secret,
}

impl<'a> CodeExchange<'a> {
    /// The exchange of `code`, which came back to `redirect_uri` with `state`; `code_verifier` shows
    /// that it is by whoever asked.
    pub const fn new(
        code: &'a Secret,
        state: &'a Secret,
        redirect_uri: &'a str,
        code_verifier: &'a Secret,
    ) -> Self {
        Self { code, state, redirect_uri, code_verifier }
    }
}

/// Exchanges a code. `state` goes along only where the endpoint's profile names it, and the verifier
/// only `with_verifier`.
pub(crate) async fn exchange_code(
    transport: &Transport,
    endpoint: TokenEndpoint<'_>,
    exchange: CodeExchange<'_>,
    with_verifier: bool,
) -> Result<TokenGrant, ExchangeError> {
    let redirect_uri = RedirectUrl::new(exchange.redirect_uri.to_owned())
        .map_err(|_| ExchangeError::NotSent("the redirect uri is not a url".to_owned()))?;
    let call = Call::new(transport, endpoint);
    let client = endpoint.client();
    let mut request = client
        .exchange_code(AuthorizationCode::new(exchange.code.expose().to_owned()))
        .set_redirect_uri(Cow::Borrowed(&redirect_uri));
    if with_verifier {
        let verifier = exchange.code_verifier.expose().to_owned();
        request = request.set_pkce_verifier(PkceCodeVerifier::new(verifier));
    }
    if endpoint.profile.names("state") {
        request = request.add_extra_param("state", exchange.state.expose());
    }
    let result = request.request_async(&call).await;
    call.conclude(result, None)
}
