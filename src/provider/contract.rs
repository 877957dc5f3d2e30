//! What a provider is to the rest of the crate: the trait, and the values that cross it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use url::Url;

use super::health::reach;
use super::{DeviceAnswer, Failure, FailureClass, HealthSpec, Registration};
use crate::clock::Moment;
use crate::config::Problem;
use crate::error::Error;
use crate::identity::{Method, ProviderId};
use crate::oauth::{
    AuthorizationRequest, CodeExchange, DeviceAuthorization, OUR_USER_AGENT, TokenInForce,
    Transport,
};
use crate::resilience::CallPolicy;
use crate::secret::Secret;

/// An exchange with a provider that is under way.
///
/// The methods of [`Provider`] that ask a provider answer with one: `Box::pin(async move { … })`.
///
/// ```
/// use tokenward::oauth::Transport;
/// use tokenward::provider::{Exchanging, Failure};
///
/// /// As a provider of your own has it in `Provider::check_health`.
/// fn reached<'a>(transport: &'a Transport, base: &'a http::Uri) -> Exchanging<'a, ()> {
///     Box::pin(async move {
///         let mut request = http::Request::new(Vec::new());
///         *request.uri_mut() = base.clone();
///         let sent = transport.send(request).await;
///         sent.map(drop).map_err(|error| Failure::from(error).spending_nothing())
///     })
/// }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let orange = tokenward::testing::SimulatedProvider::orange().start().await?;
/// # let transport = Transport::new(tokenward::clock::Sources::system())?;
/// # reached(&transport, &orange.base_url().as_str().parse()?).await?;
/// # Ok(())
/// # }
/// ```
pub type Exchanging<'a, T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send + 'a>>;

/// A place where credentials are obtained and used.
///
/// `ProviderSpec` implements it from data and is enough for an ordinary
/// OAuth 2.0 provider; implement the trait by hand for what data can not say, and send requests by
/// [`Transport::send`]. `docs/providers.md` has a whole one.
///
/// ```
/// use tokenward::{Method, Provider, catalog};
///
/// // Every spec is one; the guide to providers has one that is written by hand.
/// fn told(provider: &dyn Provider) -> String {
///     let ways: Vec<_> = provider.methods().iter().map(|method| method.as_str()).collect();
///     format!("{} at {}, by {}", provider.id(), provider.base_url(), ways.join(" or "))
/// }
///
/// assert!(told(&catalog::orange()).ends_with(Method::ClientCredentials.as_str()));
/// ```
pub trait Provider: fmt::Debug + Send + Sync + 'static {
    /// Its name.
    fn id(&self) -> &ProviderId;

    /// The methods it offers, the default one first.
    fn methods(&self) -> &[Method];

    /// Everything that is wrong with how it is set up, told before anything starts.
    fn problems(&self) -> Vec<Problem> {
        Vec::new()
    }

    /// Where requests go.
    fn base_url(&self) -> &Url;

    /// Every address that this provider is reached at, for [`Runtime::doctor`](crate::Runtime::doctor) to
    /// try whether one can get there.
    fn endpoints(&self) -> Vec<Url> {
        vec![self.base_url().clone()]
    }

    /// When its tokens are renewed.
    fn refresh_policy(&self) -> RefreshPolicy;

    /// How requests to it are made: within which time, how many at once, how often again.
    fn call_policy(&self) -> CallPolicy {
        CallPolicy::default()
    }

    /// The client that its grants are asked for by, and where. It is kept with a grant: one that was
    /// asked for by another is used no more, and its refresh token sent to nobody. Without an
    /// implementation of its own nothing is known, and every stored grant is taken for its own.
    fn registration(&self) -> Registration {
        Registration::default()
    }

    /// Checks the shape of an API key, before it is stored.
    ///
    /// # Errors
    ///
    /// When it can not be a key of this provider; the text says what one looks like.
    fn check_api_key(&self, key: &Secret) -> Result<(), Error>;

    /// The headers that authenticate a request, in the order in which they are sent. Values that
    /// hold `secret` are marked sensitive.
    ///
    /// # Errors
    ///
    /// When the secret can not stand in a header, or the method is not offered.
    fn headers(&self, method: Method, secret: &Secret) -> Result<HeaderMap, Error>;

    /// Where a browser sign-in may come back to; none when the provider has no browser sign-in.
    fn redirect(&self) -> Option<&RedirectRules>;

    /// Learns what has to be known before a browser sign-in begins, such as where the endpoints
    /// are. Nothing, for most.
    fn prepare<'a>(&'a self, transport: &'a Transport) -> Exchanging<'a, ()> {
        let _ = transport;
        Box::pin(std::future::ready(Ok(())))
    }

    /// The URL that the user opens to sign in.
    ///
    /// # Errors
    ///
    /// When the provider has no browser sign-in, or no client id is configured.
    fn authorization_url(&self, request: &AuthorizationRequest<'_>) -> Result<String, Error>;

    /// The issuer that has to stand in the provider's authorization responses (RFC 9207 §2.4);
    /// none when the provider does not announce that it names itself.
    fn issuer(&self) -> Option<&str> {
        None
    }

    /// Exchanges an authorization code for a grant. The code is sent once.
    fn exchange_code<'a>(
        &'a self,
        transport: &'a Transport,
        exchange: CodeExchange<'a>,
    ) -> Exchanging<'a, Grant>;

    /// Asks for a device code (RFC 8628 §3.1), for a user who signs in on another device.
    fn authorize_device<'a>(
        &'a self,
        transport: &'a Transport,
    ) -> Exchanging<'a, DeviceAuthorization> {
        let _ = transport;
        Box::pin(async { Err(no_device_sign_in(self.id())) })
    }

    /// Asks once whether the user has consented (RFC 8628 §3.4). The caller keeps to the interval.
    fn poll_device<'a>(
        &'a self,
        transport: &'a Transport,
        device: &'a DeviceAuthorization,
    ) -> Exchanging<'a, DeviceAnswer> {
        let _ = (transport, device);
        Box::pin(async { Err(no_device_sign_in(self.id())) })
    }

    /// Obtains a new grant for an existing credential: by refresh token, or by asking again where
    /// the method needs no user.
    fn renew<'a>(&'a self, transport: &'a Transport, renewal: Renewal<'a>)
    -> Exchanging<'a, Grant>;

    /// Tells the provider that the grant is over. Best effort, and bounded in time.
    fn revoke<'a>(
        &'a self,
        transport: &'a Transport,
        revocation: Revocation<'a>,
    ) -> Exchanging<'a, RevocationOutcome>;

    /// Whether its tokens are kept between requests. When not, each request for one asks the
    /// provider anew; only methods that need no user can do without.
    fn caches_tokens(&self) -> bool {
        true
    }

    /// Asks the provider whether it takes an API key. Nothing is stored.
    fn verify_api_key<'a>(
        &'a self,
        transport: &'a Transport,
        key: &'a Secret,
    ) -> Exchanging<'a, KeyVerdict> {
        let _ = (transport, key);
        Box::pin(std::future::ready(Ok(KeyVerdict::NotOffered)))
    }

    /// How it is looked at to see whether it works: how often, or not at all.
    fn health(&self) -> HealthSpec {
        HealthSpec::default()
    }

    /// Looks whether it works, without the credential of any user. Without an implementation of
    /// its own: whether the base URL answers a request that carries no credential.
    fn check_health<'a>(&'a self, transport: &'a Transport) -> Exchanging<'a, ()> {
        Box::pin(reach(transport, self.base_url(), OUR_USER_AGENT))
    }

    /// Whether the body of an answer with this status may say that the credential was refused. It
    /// is read then, when it is short, and given to [`Provider::refuses_credential`].
    fn body_may_refuse(&self, status: StatusCode) -> bool {
        let _ = status;
        false
    }

    /// Whether an answer of a resource says that the credential was refused, so that a renewal
    /// may help. `body` is empty unless [`Provider::body_may_refuse`] asks for it.
    fn refuses_credential(&self, status: StatusCode, body: &[u8]) -> bool {
        let _ = body;
        status == StatusCode::UNAUTHORIZED
    }
}

/// When tokens of a provider are renewed, and until when they are used.
///
/// ```
/// use std::time::Duration;
/// use tokenward::catalog;
/// use tokenward::provider::RefreshPolicy;
///
/// // Renewed when five minutes are left, and not sent within the last one.
/// let early = RefreshPolicy {
///     threshold: Duration::from_mins(5),
///     unusable_before_expiry: Duration::from_mins(1),
///     ..RefreshPolicy::default()
/// };
/// let provider = catalog::openai().with_refresh_policy(early);
/// assert_eq!(provider.problems(), []);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RefreshPolicy {
    /// Renewal starts this long before expiry. Shortened for tokens that live less than three
    /// times as long.
    #[serde(with = "crate::config::duration")]
    pub threshold: Duration,
    /// A token is not used in the last stretch before its expiry. Zero: used until it expires.
    #[serde(with = "crate::config::duration")]
    pub unusable_before_expiry: Duration,
    /// Renewal is moved forward by up to this share of the threshold, in percent, so that tokens
    /// that expire together are not renewed together.
    pub jitter_percent: u8,
    /// How long a token is taken to live when the provider does not say: its renewal is planned by
    /// this. It is used until it is refused or renewed.
    #[serde(with = "crate::config::duration")]
    pub assumed_lifetime: Duration,
}

impl Default for RefreshPolicy {
    fn default() -> Self {
        Self {
            threshold: Duration::from_mins(5),
            unusable_before_expiry: Duration::ZERO,
            jitter_percent: 20,
            assumed_lifetime: Duration::from_hours(1),
        }
    }
}

/// What a provider granted.
///
/// ```
/// use std::time::Duration;
/// use tokenward::clock::Sources;
/// use tokenward::provider::Grant;
///
/// // What a provider of your own answers with when it was granted a token.
/// let requested_at = Sources::system().now(); // before the request was sent
/// let grant = Grant::new("the-token", requested_at)
///     .with_refresh_token("the-next-one")
///     .with_lifetime(Duration::from_hours(1));
/// assert!(!format!("{grant:?}").contains("the-token"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Grant {
    /// The token that authenticates requests.
    pub access_token: Secret,
    /// The token that renews it. None: the answer had none, and the old one stays in force.
    pub refresh_token: Option<Secret>,
    /// How long the access token lives, counted from `requested_at`. None: the provider did not
    /// say. Zero: it was expired when it came.
    pub lifetime: Option<Duration>,
    /// Both clocks just before the request was sent.
    pub requested_at: Moment,
    /// The provider's own clock, from the `Date` of its answer.
    pub server_date: Option<SystemTime>,
    /// What was granted, when the provider said so.
    pub scopes: Option<Vec<String>>,
    /// Whose account it is, when the provider said so.
    pub account: Option<String>,
}

impl Grant {
    /// A grant of `access_token` alone, of which the provider said nothing more. `requested_at`: both
    /// clocks just before it was asked for.
    pub fn new(access_token: impl Into<Secret>, requested_at: Moment) -> Self {
        Self {
            access_token: access_token.into(),
            refresh_token: None,
            lifetime: None,
            requested_at,
            server_date: None,
            scopes: None,
            account: None,
        }
    }

    /// With the token that renews it.
    #[must_use]
    pub fn with_refresh_token(self, token: impl Into<Secret>) -> Self {
        Self { refresh_token: Some(token.into()), ..self }
    }

    /// With how long the access token lives, counted from when it was asked for.
    #[must_use]
    pub fn with_lifetime(self, lifetime: Duration) -> Self {
        Self { lifetime: Some(lifetime), ..self }
    }

    /// With the provider's own clock.
    #[must_use]
    pub fn with_server_date(self, date: SystemTime) -> Self {
        Self { server_date: Some(date), ..self }
    }

    /// With what was granted.
    #[must_use]
    pub fn with_scopes(self, scopes: Vec<String>) -> Self {
        Self { scopes: Some(scopes), ..self }
    }

    /// With whose account it is.
    #[must_use]
    pub fn with_account(self, account: impl Into<String>) -> Self {
        Self { account: Some(account.into()), ..self }
    }
}

/// What goes into a renewal.
///
/// ```
/// use tokenward::provider::Renewal;
/// use tokenward::{Method, Provider as _};
/// # use tokenward::{clock::Sources, oauth::Transport, testing::SimulatedProvider};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let orange = SimulatedProvider::orange().start().await?;
/// # let transport = Transport::new(Sources::system())?;
/// // Client credentials need no refresh token: the client asks again.
/// let method = Method::ClientCredentials;
/// let renewal = Renewal::new(method, None, None);
/// let grant = orange.spec().renew(&transport, renewal).await?;
/// println!("another token, for {:?}", grant.lifetime);
/// # assert_eq!(orange.token_requests(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Renewal<'a> {
    /// How the credential was obtained.
    pub method: Method,
    /// The refresh token, where the method has one.
    pub refresh_token: Option<&'a Secret>,
    /// The access token that is to be renewed, where there is one: some providers leave it in
    /// force when they renew a refresh token.
    pub in_force: Option<TokenInForce<'a>>,
}

impl<'a> Renewal<'a> {
    /// The renewal of a credential that was obtained by `method`: with its refresh token, where
    /// there is one, and the access token that is in force, where it is known.
    pub const fn new(
        method: Method,
        refresh_token: Option<&'a Secret>,
        in_force: Option<TokenInForce<'a>>,
    ) -> Self {
        Self { method, refresh_token, in_force }
    }
}

/// What goes into a revocation.
///
/// ```
/// use tokenward::provider::{Revocation, RevocationOutcome};
/// use tokenward::{Method, Provider as _, Secret};
/// # use tokenward::{clock::Sources, oauth::Transport, testing::SimulatedProvider};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let openai = SimulatedProvider::openai().start().await?;
/// # let transport = Transport::new(Sources::system())?;
/// let (access, refresh) = (Secret::new("the-access-token"), Secret::new("the-refresh-token"));
/// let revocation = Revocation::new(Method::AuthorizationCode, &access, Some(&refresh));
/// let outcome = openai.spec().revoke(&transport, revocation).await?;
/// assert_eq!(outcome, RevocationOutcome::Revoked);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Revocation<'a> {
    /// How the credential was obtained.
    pub method: Method,
    /// The access token, or the API key.
    pub access_token: &'a Secret,
    /// The refresh token, where there is one.
    pub refresh_token: Option<&'a Secret>,
}

impl<'a> Revocation<'a> {
    /// The revocation of a credential that was obtained by `method`: of its access token or API key,
    /// and of its refresh token, where there is one.
    pub const fn new(
        method: Method,
        access_token: &'a Secret,
        refresh_token: Option<&'a Secret>,
    ) -> Self {
        Self { method, access_token, refresh_token }
    }
}

/// What a provider says of an API key.
///
/// [`Provider::verify_api_key`] answers with it, for
/// [`SignIn::with_verified_api_key`](crate::SignIn::with_verified_api_key).
///
/// ```
/// use tokenward::Provider as _;
/// use tokenward::provider::KeyVerdict;
/// # use tokenward::{clock::Sources, oauth::Transport, testing::SimulatedProvider};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let anthropic = SimulatedProvider::anthropic().start().await?;
/// # let transport = Transport::new(Sources::system())?;
/// # let key = anthropic.issue_api_key();
/// match anthropic.spec().verify_api_key(&transport, &key).await? {
///     KeyVerdict::Accepted => println!("the key works"),
///     KeyVerdict::Refused => println!("it was revoked, or never was a key"),
///     _ => println!("only its first use will tell"),
/// }
/// # anthropic.revoke_everything();
/// # let refused = anthropic.spec().verify_api_key(&transport, &key).await?;
/// # assert_eq!(refused, KeyVerdict::Refused);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyVerdict {
    /// It takes it.
    Accepted,
    /// It does not.
    Refused,
    /// There is no address at which a key could be checked.
    NotOffered,
}

/// What became of a revocation.
///
/// [`Provider::revoke`] answers with it.
///
/// ```
/// use tokenward::provider::{Revocation, RevocationOutcome};
/// use tokenward::{Method, Provider as _};
/// # use tokenward::{clock::Sources, oauth::Transport, testing::SimulatedProvider};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let anthropic = SimulatedProvider::anthropic().start().await?;
/// # let transport = Transport::new(Sources::system())?;
/// # let key = anthropic.issue_api_key();
/// # let method = Method::ApiKey;
/// # let revocation = Revocation::new(method, &key, None);
/// match anthropic.spec().revoke(&transport, revocation).await? {
///     RevocationOutcome::Revoked => println!("of no use to anybody any more"),
///     _ => println!("delete the key on the provider's own page"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RevocationOutcome {
    /// The provider confirmed it.
    Revoked,
    /// The provider has no way to revoke such a credential.
    NotOffered,
}

/// Where a browser sign-in may come back to.
///
/// ```
/// use tokenward::catalog;
/// use tokenward::provider::RedirectRules;
///
/// // OpenAI's client allows one of two ports; Google's any.
/// let rules = catalog::openai().oauth.redirect.expect("it has a browser sign-in");
/// assert_eq!((rules.host.as_str(), rules.path.as_str()), ("localhost", "/auth/callback"));
/// assert!(catalog::google().oauth.redirect.is_some_and(|rules| rules.ports.is_empty()));
///
/// // A provider of your own, whose client allows one port.
/// let mut rules = RedirectRules::new("localhost", "/callback");
/// rules.ports = vec![8080];
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct RedirectRules {
    /// The host as it stands in the redirect URI: `localhost` or `127.0.0.1`. The listener binds
    /// the loopback address in either case.
    pub host: String,
    /// The path, beginning with a slash.
    pub path: String,
    /// The ports that the provider accepts; empty: any.
    #[serde(default)]
    pub ports: Vec<u16>,
    /// The page that shows the code to paste, for when no listener can be reached.
    #[serde(default)]
    pub manual: Option<String>,
}

impl RedirectRules {
    /// Back to `path`, which begins with a slash, at `host`: at any port, and with no page that shows
    /// the code.
    pub fn new(host: impl Into<String>, path: impl Into<String>) -> Self {
        Self { host: host.into(), path: path.into(), ports: Vec::new(), manual: None }
    }
}

fn no_device_sign_in(provider: &ProviderId) -> Failure {
    let text = format!("{provider} has no sign-in by device code, use another method");
    Failure::new(FailureClass::Misconfigured, text)
}
