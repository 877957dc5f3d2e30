//! A provider's data at work: reads a [`ProviderSpec`] and speaks the protocol as it says.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use url::Url;

use super::errors::{Spends, failure};
use super::template::render;
use super::{
    DeviceAnswer, Exchanging, Failure, FailureClass, Grant, HealthSpec, KeyVerdict, OAuthSpec,
    Provider, ProviderSpec, RedirectRules, RefreshPolicy, Registration, Renewal, Revocation,
    RevocationOutcome,
};
use crate::config::{Problem, client_id_variable};
use crate::error::{Error, ErrorKind};
use crate::identity::{Method, ProviderId};
use crate::oauth::{
    self, AuthorizationRequest, Client, CodeExchange, DeviceAuthorization, ExchangeError,
    RequestProfile, TokenEndpoint, TokenGrant, Transport,
};
use crate::resilience::CallPolicy;
use crate::secret::Secret;

/// A sign-out waits no longer than this for the provider.
const REVOCATION_DEADLINE: Duration = Duration::from_secs(10);

/// The longest API key, in bytes: more is a file that was pasted.
const LONGEST_API_KEY: usize = 4096;

impl Provider for ProviderSpec {
    fn id(&self) -> &ProviderId {
        &self.id
    }

    fn methods(&self) -> &[Method] {
        &self.methods
    }

    fn problems(&self) -> Vec<Problem> {
        ProviderSpec::problems(self)
    }

    fn base_url(&self) -> &Url {
        &self.base_url
    }

    fn endpoints(&self) -> Vec<Url> {
        let OAuthSpec {
            authorization_endpoint, token_endpoint, revocation_endpoint, device, ..
        } = &self.oauth;
        let of_devices = [&device.endpoint, &device.poll_endpoint];
        let of_oauth = [authorization_endpoint, token_endpoint, revocation_endpoint];
        let of_oauth = of_oauth.into_iter().chain(of_devices);
        std::iter::once(&self.base_url).chain(of_oauth.flatten()).cloned().collect()
    }

    fn refresh_policy(&self) -> RefreshPolicy {
        self.refresh
    }

    fn call_policy(&self) -> CallPolicy {
        self.calls
    }

    fn registration(&self) -> Registration {
        Registration {
            client_id: self.client_id().ok().map(str::to_owned),
            server: self.oauth.token_endpoint.as_ref().map(Registration::server_at),
            scopes: Some(self.oauth.scopes.clone()),
        }
    }

    fn check_api_key(&self, key: &Secret) -> Result<(), Error> {
        let text = key.expose();
        let provider = &self.id;
        let refused = |why: &str| Err(Error::new(ErrorKind::InvalidInput, why));
        if !self.methods.contains(&Method::ApiKey) {
            return refused(&format!("{provider} takes no api key, sign in by another method"));
        }
        let prefix = &self.api_key.prefix;
        if text.is_empty() {
            return refused(&format!("the api key for {provider} is empty, paste the whole key"));
        }
        if text.len() > LONGEST_API_KEY || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return refused(&format!(
                "this is no api key for {provider}: it is too long, or holds white space or \
                 characters beyond ascii, paste the key alone"
            ));
        }
        if !text.starts_with(prefix) || text.len() == prefix.len() && !prefix.is_empty() {
            return refused(&format!("an api key for {provider} begins with {prefix}"));
        }
        if let Some(other) = self.api_key.not.iter().find(|other| text.starts_with(*other)) {
            return refused(&format!(
                "what begins with {other} is no api key for {provider}, paste another"
            ));
        }
        Ok(())
    }

    fn headers(&self, method: Method, secret: &Secret) -> Result<HeaderMap, Error> {
        if !self.methods.contains(&method) {
            return Err(self.not_offered(method));
        }
        let templates = match method {
            Method::ApiKey => &self.headers.api_key,
            _ => &self.headers.token,
        };
        let values = [
            ("secret", secret.expose()),
            ("user_agent", self.user_agent.as_str()),
            ("version", env!("CARGO_PKG_VERSION")),
        ];
        let mut headers = HeaderMap::with_capacity(templates.len());
        for template in templates {
            let unusable = |what: &str| {
                let (provider, name) = (&self.id, &template.name);
                let text = format!("the {name} header of {provider} can not be made: {what}");
                Error::new(ErrorKind::Configuration, text)
            };
            let name = HeaderName::from_bytes(template.name.as_bytes())
                .map_err(|_| unusable("its name is not one"))?;
            let text = render(&template.value, &values).map_err(|e| unusable(&e.to_string()))?;
            let mut value = HeaderValue::from_str(&text)
                .map_err(|_| unusable("its value holds a control character"))?;
            value.set_sensitive(template.value.contains("{secret}"));
            headers.append(name, value);
        }
        Ok(headers)
    }

    fn redirect(&self) -> Option<&RedirectRules> {
        let offered = self.methods.contains(&Method::AuthorizationCode);
        self.oauth.redirect.as_ref().filter(|_| offered)
    }

    fn issuer(&self) -> Option<&str> {
        self.oauth.issuer.as_deref()
    }

    fn authorization_url(&self, request: &AuthorizationRequest<'_>) -> Result<String, Error> {
        if !self.methods.contains(&Method::AuthorizationCode) {
            return Err(self.not_offered(Method::AuthorizationCode));
        }
        let misconfigured = |text: String| Error::new(ErrorKind::Configuration, text);
        let endpoint = self.oauth.authorization_endpoint.as_ref().ok_or_else(|| {
            misconfigured(format!("{} has no authorization endpoint, configure it", self.id))
        })?;
        let client_id = self.client_id().map_err(misconfigured)?;
        let scope = self.scope();
        let values = [
            ("client_id", client_id),
            ("redirect_uri", request.redirect_uri),
            ("scope", scope.as_str()),
            ("code_challenge", request.code_challenge),
            ("state", request.state.expose()),
        ];
        let mut parameters = Vec::with_capacity(self.oauth.authorization.len());
        for parameter in self.oauth.authorization_parameters() {
            let value = render(&parameter.value, &values).map_err(|error| {
                let (name, provider) = (&parameter.name, &self.id);
                misconfigured(format!(
                    "the parameter {name} of {provider} can not be made: {error}"
                ))
            })?;
            parameters.push((parameter.name.as_str(), value));
        }
        let parameters = parameters.iter().map(|(name, value)| (*name, value.as_str()));
        Ok(oauth::authorization_url(endpoint, parameters))
    }

    fn exchange_code<'a>(
        &'a self,
        transport: &'a Transport,
        exchange: CodeExchange<'a>,
    ) -> Exchanging<'a, Grant> {
        Box::pin(async move {
            let endpoint = self.token_endpoint_for(&self.oauth.exchange)?;
            let result = oauth::exchange_code(transport, endpoint, exchange, self.oauth.pkce).await;
            self.granted(result, Spends::SingleUse)
        })
    }

    fn authorize_device<'a>(
        &'a self,
        transport: &'a Transport,
    ) -> Exchanging<'a, DeviceAuthorization> {
        Box::pin(self.ask_for_device_code(transport))
    }

    fn poll_device<'a>(
        &'a self,
        transport: &'a Transport,
        device: &'a DeviceAuthorization,
    ) -> Exchanging<'a, DeviceAnswer> {
        Box::pin(self.ask_for_device_grant(transport, device))
    }

    fn renew<'a>(
        &'a self,
        transport: &'a Transport,
        renewal: Renewal<'a>,
    ) -> Exchanging<'a, Grant> {
        Box::pin(async move {
            match (renewal.method, renewal.refresh_token) {
                (Method::ClientCredentials, _) => {
                    let endpoint = self.token_endpoint_for(&self.oauth.client_credentials)?;
                    let scope = Some(self.scope()).filter(|scope| !scope.is_empty());
                    let result =
                        oauth::request_client_credentials(transport, endpoint, scope).await;
                    self.granted(result, Spends::Nothing)
                }
                (Method::AuthorizationCode | Method::DeviceCode, Some(token)) => {
                    let endpoint = self.token_endpoint_for(&self.oauth.refresh)?;
                    let keeps = self.oauth.refresh_may_keep_access_token;
                    let in_force = renewal.in_force.filter(|_| keeps);
                    let result = oauth::refresh(transport, endpoint, token, in_force).await;
                    self.granted(result, Spends::SingleUse)
                }
                (Method::AuthorizationCode | Method::DeviceCode, None) => Err(Failure::new(
                    FailureClass::ReauthorizationRequired,
                    format!("{} gave no refresh token, sign in again", self.id),
                )),
                (Method::ApiKey, _) => Err(Failure::new(
                    FailureClass::Misconfigured,
                    "an api key is not renewed, replace it when it is refused",
                )),
                (Method::JwtBearer, _) => self.exchange_assertion(transport).await,
            }
        })
    }

    fn revoke<'a>(
        &'a self,
        transport: &'a Transport,
        revocation: Revocation<'a>,
    ) -> Exchanging<'a, RevocationOutcome> {
        Box::pin(async move {
            let endpoint = self.oauth.revocation_endpoint.as_ref();
            let Some(url) = endpoint.filter(|_| revocation.method != Method::ApiKey) else {
                return Ok(RevocationOutcome::NotOffered);
            };
            let endpoint = self.endpoint(url, &self.oauth.revocation)?;
            // With the refresh token the whole grant ends (RFC 7009 §2.1).
            let (token, hint) = match revocation.refresh_token {
                Some(token) => (token, "refresh_token"),
                None => (revocation.access_token, "access_token"),
            };
            let transport = transport.within(REVOCATION_DEADLINE);
            match oauth::revoke(&transport, endpoint, token, hint).await {
                Ok(()) => Ok(RevocationOutcome::Revoked),
                Err(error) => Err(failure(&self.errors, &error, Spends::Nothing)),
            }
        })
    }

    fn verify_api_key<'a>(
        &'a self,
        transport: &'a Transport,
        key: &'a Secret,
    ) -> Exchanging<'a, KeyVerdict> {
        Box::pin(self.probe_api_key(transport, key))
    }

    fn health(&self) -> HealthSpec {
        self.health.clone()
    }

    fn check_health<'a>(&'a self, transport: &'a Transport) -> Exchanging<'a, ()> {
        self.look(transport)
    }

    fn body_may_refuse(&self, status: StatusCode) -> bool {
        self.errors.credential_refused.iter().any(|sign| sign.may_stand_in(status))
    }

    fn refuses_credential(&self, status: StatusCode, body: &[u8]) -> bool {
        let signs = &self.errors.credential_refused;
        self.errors.credential_refused_statuses.contains(&status.as_u16())
            || signs.iter().any(|sign| sign.may_stand_in(status) && sign.stands_in(body))
    }

    fn caches_tokens(&self) -> bool {
        self.cache_tokens
    }
}

impl ProviderSpec {
    fn not_offered(&self, method: Method) -> Error {
        let offered: Vec<_> = self.methods.iter().map(|method| method.as_str()).collect();
        let offered = offered.join(", ");
        let provider = &self.id;
        let text = format!("{provider} does not offer {method}, use one of: {offered}");
        Error::new(ErrorKind::InvalidInput, text)
    }

    pub(super) fn client_id(&self) -> Result<&str, String> {
        let id = self.oauth.client_id.as_deref().filter(|id| !id.is_empty());
        id.ok_or_else(|| {
            let provider = &self.id;
            let variable = client_id_variable(provider.as_str())
                .map_or_else(String::new, |name| format!("the variable {name}, "));
            format!(
                "no oauth client id is configured for {provider}, set one by {variable}the setting \
                 providers.{provider}.oauth.client_id or `ProviderSpec::client`"
            )
        })
    }

    pub(super) fn scope(&self) -> String {
        self.oauth.scopes.join(&self.oauth.scope_separator)
    }

    pub(super) fn token_endpoint_for<'a>(
        &'a self,
        profile: &'a RequestProfile,
    ) -> Result<TokenEndpoint<'a>, Failure> {
        let url = self.oauth.token_endpoint.as_ref().ok_or_else(|| {
            let text = format!("{} has no token endpoint, configure it", self.id);
            Failure::new(FailureClass::Misconfigured, text)
        })?;
        self.endpoint(url, profile)
    }

    pub(super) fn endpoint<'a>(
        &'a self,
        url: &'a Url,
        profile: &'a RequestProfile,
    ) -> Result<TokenEndpoint<'a>, Failure> {
        let id =
            self.client_id().map_err(|reason| Failure::new(FailureClass::Misconfigured, reason))?;
        Ok(self.endpoint_of(url, profile, id))
    }

    /// As [`ProviderSpec::endpoint`], for a client that needs no id: an empty one is not sent.
    pub(super) fn endpoint_of<'a>(
        &'a self,
        url: &'a Url,
        profile: &'a RequestProfile,
        id: &'a str,
    ) -> TokenEndpoint<'a> {
        TokenEndpoint {
            url,
            client: Client {
                id,
                secret: self.oauth.client_secret.as_ref(),
                authentication: self.oauth.client_authentication,
            },
            profile,
            user_agent: &self.user_agent,
            assume_bearer: self.oauth.assume_bearer,
            fields: &self.oauth.token_fields,
        }
    }

    pub(super) fn granted(
        &self,
        result: Result<TokenGrant, ExchangeError>,
        spends: Spends,
    ) -> Result<Grant, Failure> {
        let grant = result.map_err(|error| failure(&self.errors, &error, spends))?;
        let claim = &self.oauth.account_claim;
        let account = grant.id_token.as_ref().and_then(|token| oauth::claim_at(token, claim));
        Ok(Grant {
            access_token: grant.access_token,
            refresh_token: grant.refresh_token,
            lifetime: grant.lifetime,
            requested_at: grant.requested_at,
            server_date: grant.server_date,
            scopes: grant.scopes,
            account,
        })
    }
}
