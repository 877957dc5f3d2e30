//! What an application is to be, as it is registered or changed. Everything that is wrong with it is
//! told before anything is stored.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use serde_json::Map;

use super::{
    Application, ApplicationId, GrantGeneration, GrantType, LONGEST_TOKEN_LIFETIME, RateLimit,
    StoredSecret,
};
use crate::error::{Error, ErrorKind};
use crate::secret::Secret;
use crate::server::refresh::RefreshPolicy;
use crate::server::scope::Scope;

/// The longest name, in bytes.
const LONGEST_NAME: usize = 200;

/// An application that is to be registered: enabled, with client credentials as its one grant,
/// access tokens of five minutes, and no permission yet.
///
/// ```
/// use std::time::Duration;
/// use tokenward::server::{ApplicationSpec, AuthorizationServer, GrantType, ServerSettings};
///
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let orange = SimulatedProvider::orange().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(orange.spec()).start().await?;
/// # let settings = ServerSettings::new("https://host.example", "https://host.example/api");
/// # let server = AuthorizationServer::start(&runtime, settings).await?;
/// let spec = ApplicationSpec::new("reports")
///     .permissions("memories:read memories:write".parse()?)
///     .grants([GrantType::ClientCredentials])
///     .access_token_lifetime(Duration::from_mins(5));
/// let registered = server.issuer().register(spec).await?;
/// assert_eq!(registered.application.name(), "reports");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct ApplicationSpec {
    id: Option<ApplicationId>,
    secret: Option<Secret>,
    as_changed: ApplicationChange,
}

/// What is to be changed about an application. What is not named stays as it is.
///
/// ```
/// use tokenward::server::ApplicationChange;
/// # use tokenward::server::{ApplicationSpec, AuthorizationServer, ServerSettings};
///
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let orange = SimulatedProvider::orange().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(orange.spec()).start().await?;
/// # let settings = ServerSettings::new("https://host.example", "https://host.example/api");
/// # let server = AuthorizationServer::start(&runtime, settings).await?;
/// # let registered = server.issuer().register(ApplicationSpec::new("reports")).await?;
/// let id = registered.application.id();
/// // At once: tokens that it has already are refused from now on, too.
/// server.issuer().change(id, ApplicationChange::new().enabled(false)).await?;
/// let application = server.issuer().application(id).expect("it is there still");
/// assert!(!application.is_enabled());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct ApplicationChange {
    name: Option<String>,
    permissions: Option<Scope>,
    grants: Option<BTreeSet<GrantType>>,
    access_token_lifetime: Option<Duration>,
    refresh: RefreshChange,
    rate_limit: Option<RateLimit>,
    enabled: Option<bool>,
}

impl ApplicationSpec {
    /// An application that people call `name`.
    pub fn new(name: impl Into<String>) -> Self {
        Self { id: None, secret: None, as_changed: ApplicationChange::new().name(name) }
    }

    /// Under this id rather than a random one.
    #[must_use]
    pub fn id(mut self, id: ApplicationId) -> Self {
        self.id = Some(id);
        self
    }

    /// With this secret rather than a random one, such as one from a configuration: 16 to 200
    /// characters of ASCII that are printed. Prefer a random one, which nobody can guess.
    #[must_use]
    pub fn secret(mut self, secret: Secret) -> Self {
        self.secret = Some(secret);
        self
    }

    /// As `change` says, on top of what was said before.
    #[must_use]
    pub fn changed(mut self, change: ApplicationChange) -> Self {
        self.as_changed = self.as_changed.then(change);
        self
    }

    /// What its tokens may allow. A request that names no scope gets all of it.
    #[must_use]
    pub fn permissions(mut self, permissions: Scope) -> Self {
        self.as_changed = self.as_changed.permissions(permissions);
        self
    }

    /// The grants that it may use.
    #[must_use]
    pub fn grants(mut self, grants: impl IntoIterator<Item = GrantType>) -> Self {
        self.as_changed = self.as_changed.grants(grants);
        self
    }

    /// How long its access tokens live: from a second to ten minutes, in whole seconds.
    #[must_use]
    pub fn access_token_lifetime(mut self, lifetime: Duration) -> Self {
        self.as_changed = self.as_changed.access_token_lifetime(lifetime);
        self
    }

    /// How long its refresh tokens live. It gets some where it may use [`GrantType::RefreshToken`].
    #[must_use]
    pub fn refresh_policy(mut self, policy: RefreshPolicy) -> Self {
        self.as_changed = self.as_changed.refresh_policy(policy);
        self
    }

    /// How often it may ask: 6,000 times in a minute, unless set.
    #[must_use]
    pub fn rate_limit(mut self, limit: RateLimit) -> Self {
        self.as_changed = self.as_changed.rate_limit(limit);
        self
    }

    /// Whether it gets tokens from the start.
    #[must_use]
    pub fn enabled(mut self, enabled: bool) -> Self {
        self.as_changed = self.as_changed.enabled(enabled);
        self
    }

    /// The id that it asks for.
    pub(crate) fn wanted_id(&self) -> Option<&ApplicationId> {
        self.id.as_ref()
    }

    /// The secret that it asks for.
    pub(crate) fn wanted_secret(&self) -> Result<Option<&Secret>, Error> {
        self.secret.iter().try_for_each(check_secret)?;
        Ok(self.secret.as_ref())
    }

    /// The application.
    pub(crate) fn into_application(
        self,
        id: ApplicationId,
        secret: StoredSecret,
        generation: GrantGeneration,
        now: SystemTime,
    ) -> Result<Application, Error> {
        let mut application = Application {
            id,
            name: String::new(),
            permissions: Scope::none(),
            grants: [GrantType::ClientCredentials].into(),
            access_token_lifetime: Duration::from_mins(5),
            refresh: RefreshPolicy::new(),
            generation,
            rate_limit: RateLimit::default(),
            enabled: true,
            created: now,
            secrets: vec![secret],
            kept: Map::new(),
        };
        self.as_changed.apply_to(&mut application)?;
        Ok(application)
    }
}

impl ApplicationChange {
    /// No change.
    pub fn new() -> Self {
        Self::default()
    }

    /// What `later` says, and what this says of the rest.
    #[must_use]
    pub fn then(self, later: Self) -> Self {
        Self {
            name: later.name.or(self.name),
            permissions: later.permissions.or(self.permissions),
            grants: later.grants.or(self.grants),
            access_token_lifetime: later.access_token_lifetime.or(self.access_token_lifetime),
            refresh: self.refresh.then(later.refresh),
            rate_limit: later.rate_limit.or(self.rate_limit),
            enabled: later.enabled.or(self.enabled),
        }
    }

    /// People call it `name`.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// What its tokens may allow, those that it has already included.
    #[must_use]
    pub fn permissions(mut self, permissions: Scope) -> Self {
        self.permissions = Some(permissions);
        self
    }

    /// The grants that it may use from now on.
    #[must_use]
    pub fn grants(mut self, grants: impl IntoIterator<Item = GrantType>) -> Self {
        self.grants = Some(grants.into_iter().collect());
        self
    }

    /// How long its access tokens live from now on: from a second to ten minutes, in whole seconds.
    #[must_use]
    pub fn access_token_lifetime(mut self, lifetime: Duration) -> Self {
        self.access_token_lifetime = Some(lifetime);
        self
    }

    /// How long its refresh tokens live from the next use on. It gets some where it may use
    /// [`GrantType::RefreshToken`].
    #[must_use]
    pub fn refresh_policy(self, policy: RefreshPolicy) -> Self {
        let RefreshPolicy { idle, absolute, grace } = policy;
        self.refresh_idle(idle).refresh_absolute(absolute).refresh_grace(grace)
    }

    /// The same of [`RefreshPolicy::idle`] alone.
    #[must_use]
    pub fn refresh_idle(mut self, idle: Duration) -> Self {
        self.refresh.idle = Some(idle);
        self
    }

    /// The same of [`RefreshPolicy::absolute`] alone.
    #[must_use]
    pub fn refresh_absolute(mut self, absolute: Duration) -> Self {
        self.refresh.absolute = Some(absolute);
        self
    }

    /// The same of [`RefreshPolicy::grace`] alone.
    #[must_use]
    pub fn refresh_grace(mut self, grace: Duration) -> Self {
        self.refresh.grace = Some(grace);
        self
    }

    /// How often it may ask from now on.
    #[must_use]
    pub fn rate_limit(mut self, limit: RateLimit) -> Self {
        self.rate_limit = Some(limit);
        self
    }

    /// Whether it gets tokens, and whether those it has are good. All of them are over for good once it
    /// was disabled.
    #[must_use]
    pub fn enabled(mut self, enabled: bool) -> Self {
        self.enabled = Some(enabled);
        self
    }

    /// Changes `application`, or says why not.
    pub(crate) fn apply_to(&self, application: &mut Application) -> Result<(), Error> {
        self.check()?;
        let refresh = self.refresh.on(application.refresh);
        if refresh != application.refresh {
            refresh.check()?;
        }
        let change = self.clone();
        if let Some(name) = change.name {
            application.name = name;
        }
        if let Some(permissions) = change.permissions {
            application.permissions = permissions;
        }
        if let Some(grants) = change.grants {
            application.grants = grants;
        }
        if let Some(lifetime) = change.access_token_lifetime {
            application.access_token_lifetime = lifetime;
        }
        application.refresh = refresh;
        if let Some(limit) = change.rate_limit {
            application.rate_limit = limit;
        }
        if let Some(enabled) = change.enabled {
            if application.enabled && !enabled {
                application.generation = application.generation.next();
            }
            application.enabled = enabled;
        }
        Ok(())
    }

    fn check(&self) -> Result<(), Error> {
        let problem = if self.name.as_ref().is_some_and(|name| !is_name(name)) {
            "the name of an application is 1 to 200 bytes without control characters"
        } else if self.access_token_lifetime.is_some_and(|life| !is_lifetime(life)) {
            "the lifetime of access tokens is 1 to 600 whole seconds"
        } else {
            return Ok(());
        };
        Err(Error::new(ErrorKind::InvalidInput, problem))
    }
}

/// What is to be changed about how long refresh tokens live. Each part is its own, so that of two changes
/// at once neither takes back what the other says.
#[derive(Debug, Clone, Copy, Default)]
struct RefreshChange {
    idle: Option<Duration>,
    absolute: Option<Duration>,
    grace: Option<Duration>,
}

impl RefreshChange {
    fn then(self, later: Self) -> Self {
        Self {
            idle: later.idle.or(self.idle),
            absolute: later.absolute.or(self.absolute),
            grace: later.grace.or(self.grace),
        }
    }

    /// What this says, and what `policy` says of the rest.
    fn on(self, policy: RefreshPolicy) -> RefreshPolicy {
        RefreshPolicy {
            idle: self.idle.unwrap_or(policy.idle),
            absolute: self.absolute.unwrap_or(policy.absolute),
            grace: self.grace.unwrap_or(policy.grace),
        }
    }
}

/// Whether an application may have this secret.
pub(crate) fn check_secret(secret: &Secret) -> Result<(), Error> {
    if is_secret(secret.expose()) {
        return Ok(());
    }
    let text = "the secret of an application is 16 to 200 printed characters of ASCII";
    Err(Error::new(ErrorKind::InvalidInput, text))
}

fn is_secret(secret: &str) -> bool {
    (16..=200).contains(&secret.len()) && secret.bytes().all(|byte| byte.is_ascii_graphic())
}

fn is_name(name: &str) -> bool {
    (1..=LONGEST_NAME).contains(&name.len()) && !name.chars().any(char::is_control)
}

/// Whether an access token may live so long.
pub(super) fn is_lifetime(life: Duration) -> bool {
    life.subsec_nanos() == 0 && !life.is_zero() && life <= LONGEST_TOKEN_LIFETIME
}
