//! A provider as data: endpoints, client, bodies, headers, errors. Everything in it can be
//! overridden, and none of it is code, so that an ordinary OAuth 2.0 provider needs no Rust.

use serde::{Deserialize, Serialize};
use url::Url;

use super::{AssertionSpec, DeviceSpec, ErrorTable, HealthSpec, RedirectRules, RefreshPolicy};
use crate::identity::{Method, ProviderId};
use crate::oauth::{ClientAuthentication, OUR_USER_AGENT, RequestProfile, TokenFields};
use crate::resilience::CallPolicy;
use crate::secret::Secret;

/// A provider as data. The [catalogue](super::catalog) has the built-in ones; the builder methods
/// override what most often differs, and every field is open for the rest.
///
/// ```
/// use tokenward::provider::catalog;
///
/// let openai = catalog::openai().client(catalog::OPENAI_PUBLIC_CLIENT_ID);
/// assert!(openai.problems().is_empty());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderSpec {
    /// Its name.
    pub id: ProviderId,
    /// The methods it offers, the default one first.
    pub methods: Vec<Method>,
    /// Where requests go.
    pub base_url: Url,
    /// What an API key looks like.
    #[serde(default)]
    pub api_key: ApiKeyShape,
    /// What its requests carry.
    pub headers: RequestHeaders,
    /// How it speaks OAuth 2.0.
    #[serde(default)]
    pub oauth: OAuthSpec,
    /// What its refusals mean.
    #[serde(default)]
    pub errors: ErrorTable,
    /// When its tokens are renewed.
    #[serde(default)]
    pub refresh: RefreshPolicy,
    /// How it is looked at to see whether it works.
    #[serde(default)]
    pub health: HealthSpec,
    /// How requests to it are made: time-outs, retries, the breaker.
    #[serde(default)]
    pub calls: CallPolicy,
    /// Whether tokens are kept between requests.
    #[serde(default = "yes")]
    pub cache_tokens: bool,
    /// What we call ourselves: the value of `{user_agent}` in header templates, and the user agent
    /// of token requests.
    #[serde(default = "our_user_agent")]
    pub user_agent: String,
}

/// What an API key looks like, so that a wrong paste is refused before it is stored.
///
/// ```
/// use tokenward::{Provider as _, Secret, catalog};
///
/// let anthropic = catalog::anthropic();
/// assert_eq!(anthropic.api_key.prefix, "sk-ant-api");
/// // The key of another provider is refused before it is stored or sent.
/// assert!(anthropic.check_api_key(&Secret::new("AIza-example")).is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApiKeyShape {
    /// A key begins with this.
    pub prefix: String,
    /// A key does not begin with any of these, which are other things.
    pub not: Vec<String>,
    /// A path that any key may `GET` and that costs nothing, by which a key is checked.
    pub probe: Option<String>,
}

/// What requests carry, in the order in which it is sent.
///
/// Placeholders: `{secret}` is the key or the token, `{user_agent}` and `{version}` are ours.
///
/// ```
/// use tokenward::{Method, Provider as _, Secret, catalog};
///
/// # fn main() -> Result<(), tokenward::Error> {
/// let orange = catalog::orange();
/// let first = &orange.headers.token[0];
/// assert_eq!((first.name.as_str(), first.value.as_str()), ("authorization", "Bearer {secret}"));
///
/// let headers = orange.headers(Method::ClientCredentials, &Secret::new("token"))?;
/// assert_eq!(headers["authorization"], "Bearer token");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RequestHeaders {
    /// With an API key.
    pub api_key: Vec<HeaderTemplate>,
    /// With an access token, whichever method it came by.
    pub token: Vec<HeaderTemplate>,
}

/// One header, as `["name", "value"]` in a file.
///
/// [`RequestHeaders`] has them, in the order in which they are sent.
///
/// ```
/// use tokenward::provider::HeaderTemplate;
/// use tokenward::{Method, Provider as _, Secret, catalog};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut orange = catalog::orange();
/// let tenant = HeaderTemplate { name: "x-tenant".to_owned(), value: "acme".to_owned() };
/// orange.headers.token.push(tenant);
/// let headers = orange.headers(Method::ClientCredentials, &Secret::new("token"))?;
/// assert_eq!(headers["x-tenant"], "acme");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(String, String)", into = "(String, String)")]
pub struct HeaderTemplate {
    /// Its name.
    pub name: String,
    /// Its value, with placeholders.
    pub value: String,
}

/// How a provider speaks OAuth 2.0.
///
/// ```
/// use tokenward::ProviderSpec;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let spec = ProviderSpec::new("example".parse()?, "https://api.example.com".parse()?)
///     .client("mine")
///     .scopes(["read"])
///     .token_endpoint("https://example.com/token".parse()?);
/// assert_eq!(spec.oauth.client_id.as_deref(), Some("mine"));
/// assert_eq!(spec.oauth.scopes, ["read"]);
/// assert!(spec.oauth.pkce, "unless the provider can not");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OAuthSpec {
    /// Where the user consents (RFC 6749 §3.1).
    pub authorization_endpoint: Option<Url>,
    /// Where tokens are issued (RFC 6749 §3.2).
    pub token_endpoint: Option<Url>,
    /// Where tokens are revoked (RFC 7009).
    pub revocation_endpoint: Option<Url>,
    /// The client id.
    pub client_id: Option<String>,
    /// The client secret. It is read, and never written out.
    #[serde(skip_serializing, with = "crate::secret::sealed::option")]
    pub client_secret: Option<Secret>,
    /// How the client authenticates.
    pub client_authentication: ClientAuthentication,
    /// What is asked for.
    pub scopes: Vec<String>,
    /// What stands between two scopes; a space (RFC 6749 §3.3), with few exceptions.
    pub scope_separator: String,
    /// The parameters of the authorization URL, in their order.
    pub authorization: Vec<Parameter>,
    /// Whether a code is bound to this sign-in by PKCE (RFC 7636). Leave it on unless the provider
    /// refuses it.
    pub pkce: bool,
    /// How the exchange of a code is written. `state` is sent only where it is named here.
    pub exchange: RequestProfile,
    /// How a refresh is written.
    pub refresh: RequestProfile,
    /// How a client credentials request is written.
    pub client_credentials: RequestProfile,
    /// How a revocation is written.
    pub revocation: RequestProfile,
    /// How it signs users in on another device.
    pub device: DeviceSpec,
    /// How it takes assertions in place of a user.
    pub assertion: AssertionSpec,
    /// Where the members of its token answers stand.
    pub token_fields: TokenFields,
    /// Where a browser sign-in may come back to.
    pub redirect: Option<RedirectRules>,
    /// The issuer that has to stand as `iss` in authorization responses (RFC 9207); none where the
    /// provider does not announce that it sends one.
    pub issuer: Option<String>,
    /// Where in the id token the account stands; empty: nowhere.
    pub account_claim: Vec<String>,
    /// Whether an answer without a `token_type` is a bearer token all the same.
    pub assume_bearer: bool,
    /// Whether the answer to a refresh may hold a refresh token alone. The access token then stays
    /// in force for what is left of its life.
    pub refresh_may_keep_access_token: bool,
}

/// One parameter of an authorization URL.
///
/// Placeholders: `{client_id}`, `{redirect_uri}`, `{scope}`, `{code_challenge}`, `{state}`.
///
/// ```
/// use tokenward::provider::{OAuthSpec, Parameter};
///
/// let oauth = OAuthSpec {
///     // The second one is a wish, which `without_extra_parameters` leaves out.
///     authorization: vec![
///         Parameter::new("response_type", "code"),
///         Parameter::extra("prompt", "consent"),
///     ],
///     ..OAuthSpec::default()
/// };
/// assert!(oauth.authorization[1].extra);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// Its value, with placeholders.
    pub value: String,
    /// Whether it is beyond the standard, and can be switched off.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub extra: bool,
}

impl ProviderSpec {
    /// A provider that offers nothing yet: give it methods, headers and endpoints.
    pub fn new(id: ProviderId, base_url: Url) -> Self {
        Self {
            id,
            methods: Vec::new(),
            base_url,
            api_key: ApiKeyShape::default(),
            headers: RequestHeaders::default(),
            oauth: OAuthSpec::default(),
            errors: ErrorTable::default(),
            refresh: RefreshPolicy::default(),
            health: HealthSpec::default(),
            calls: CallPolicy::default(),
            cache_tokens: true,
            user_agent: our_user_agent(),
        }
    }

    /// The OAuth client id.
    #[must_use]
    pub fn client(mut self, id: impl Into<String>) -> Self {
        self.oauth.client_id = Some(id.into());
        self
    }

    /// The OAuth client secret. It goes into the body of token requests unless the provider wants
    /// HTTP Basic.
    #[must_use]
    pub fn client_secret(mut self, secret: impl Into<Secret>) -> Self {
        self.oauth.client_secret = Some(secret.into());
        if self.oauth.client_authentication == ClientAuthentication::None {
            self.oauth.client_authentication = ClientAuthentication::Post;
        }
        self
    }

    /// Where requests go.
    #[must_use]
    pub fn base_url(mut self, url: Url) -> Self {
        self.base_url = url;
        self
    }

    /// Where the user consents.
    #[must_use]
    pub fn authorization_endpoint(mut self, url: Url) -> Self {
        self.oauth.authorization_endpoint = Some(url);
        self
    }

    /// Where tokens are issued.
    #[must_use]
    pub fn token_endpoint(mut self, url: Url) -> Self {
        self.oauth.token_endpoint = Some(url);
        self
    }

    /// Where tokens are revoked.
    #[must_use]
    pub fn revocation_endpoint(mut self, url: Url) -> Self {
        self.oauth.revocation_endpoint = Some(url);
        self
    }

    /// Where device codes are issued.
    #[must_use]
    pub fn device_endpoint(mut self, url: Url) -> Self {
        self.oauth.device.endpoint = Some(url);
        self
    }

    /// What is asked for, in place of the preset.
    #[must_use]
    pub fn scopes<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.oauth.scopes = scopes.into_iter().map(Into::into).collect();
        self
    }

    /// Leaves the parameters beyond the standard out of the authorization URL.
    #[must_use]
    pub fn without_extra_parameters(mut self) -> Self {
        self.oauth.authorization.retain(|parameter| !parameter.extra);
        self
    }

    /// Where a browser sign-in may come back to, in place of the preset.
    #[must_use]
    pub fn with_redirect(mut self, rules: RedirectRules) -> Self {
        self.oauth.redirect = Some(rules);
        self
    }

    /// When tokens are renewed, in place of the preset.
    #[must_use]
    pub fn with_refresh_policy(mut self, policy: RefreshPolicy) -> Self {
        self.refresh = policy;
        self
    }

    /// How requests to it are made, in place of the defaults.
    #[must_use]
    pub fn with_call_policy(mut self, policy: CallPolicy) -> Self {
        self.calls = policy;
        self
    }

    /// Whether tokens are kept between requests.
    #[must_use]
    pub fn cache_tokens(mut self, keep: bool) -> Self {
        self.cache_tokens = keep;
        self
    }

    /// What we call ourselves, in place of `tokenward/<version>`.
    #[must_use]
    pub fn user_agent(mut self, text: impl Into<String>) -> Self {
        self.user_agent = text.into();
        self
    }

    /// One more header on every request with an access token, such as a project to bill.
    #[must_use]
    pub fn token_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.token.push(HeaderTemplate { name: name.into(), value: value.into() });
        self
    }
}

impl Default for OAuthSpec {
    fn default() -> Self {
        Self {
            authorization_endpoint: None,
            token_endpoint: None,
            revocation_endpoint: None,
            client_id: None,
            client_secret: None,
            client_authentication: ClientAuthentication::None,
            scopes: Vec::new(),
            scope_separator: " ".to_owned(),
            authorization: standard_parameters(),
            pkce: true,
            exchange: RequestProfile::default(),
            refresh: RequestProfile::default(),
            client_credentials: RequestProfile::default(),
            revocation: RequestProfile::default(),
            device: DeviceSpec::default(),
            assertion: AssertionSpec::default(),
            token_fields: TokenFields::default(),
            redirect: None,
            issuer: None,
            account_claim: Vec::new(),
            assume_bearer: false,
            refresh_may_keep_access_token: false,
        }
    }
}

impl OAuthSpec {
    /// The parameters that go out: without PKCE, none of its own.
    pub(super) fn authorization_parameters(&self) -> impl Iterator<Item = &Parameter> {
        let of_pkce = |parameter: &Parameter| {
            parameter.name == "code_challenge_method"
                || parameter.value.contains("{code_challenge}")
        };
        self.authorization.iter().filter(move |parameter| self.pkce || !of_pkce(parameter))
    }
}

impl Parameter {
    /// A parameter of the standard.
    pub fn new(name: &str, value: &str) -> Self {
        Self { name: name.to_owned(), value: value.to_owned(), extra: false }
    }

    /// A parameter beyond the standard.
    pub fn extra(name: &str, value: &str) -> Self {
        Self { extra: true, ..Self::new(name, value) }
    }
}

impl From<(String, String)> for HeaderTemplate {
    fn from((name, value): (String, String)) -> Self {
        Self { name, value }
    }
}

impl From<HeaderTemplate> for (String, String) {
    fn from(header: HeaderTemplate) -> Self {
        (header.name, header.value)
    }
}

/// Code flow with PKCE (RFC 6749 §4.1.1, RFC 7636 §4.3).
fn standard_parameters() -> Vec<Parameter> {
    vec![
        Parameter::new("response_type", "code"),
        Parameter::new("client_id", "{client_id}"),
        Parameter::new("redirect_uri", "{redirect_uri}"),
        Parameter::new("scope", "{scope}"),
        Parameter::new("code_challenge", "{code_challenge}"),
        Parameter::new("code_challenge_method", "S256"),
        Parameter::new("state", "{state}"),
    ]
}

fn our_user_agent() -> String {
    OUR_USER_AGENT.to_owned()
}

fn yes() -> bool {
    true
}
