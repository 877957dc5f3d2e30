//! What the host is told by a file. Everything has a default; a name that is not known is an error.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use tokenward::server::{
    ApplicationChange, ApplicationId, Capability, GrantType, RateLimit, RefreshPolicy, Scope,
};

/// The whole file. Secrets may stand in it, so it has no `Debug`.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Where to listen; port 0 is a free one.
    pub(crate) listen: SocketAddr,
    /// The URL that tokens name as their issuer; where the host listens, unless it is set.
    pub(crate) issuer: Option<String>,
    /// What tokens are for; the issuer, unless it is set.
    pub(crate) audience: Option<String>,
    /// The folder of the vault; it is kept in memory, unless it is set.
    pub(crate) vault: Option<PathBuf>,
    /// The file of the vault's master key, created when it is missing.
    pub(crate) key_file: Option<PathBuf>,
    /// What is switched off.
    #[serde(rename = "without")]
    pub(crate) switched_off: Vec<Capability>,
    /// How many requests for tokens, and about them, may be under way at once.
    pub(crate) most_requests: Option<usize>,
    /// How long access tokens live, in seconds, as all that follow; five minutes, unless it is set here
    /// or for an application.
    access_token_lifetime: Option<u64>,
    /// How long refresh tokens live that are not used; seven days, likewise.
    refresh_token_idle: Option<u64>,
    /// How long refresh tokens live in any case; thirty days, likewise.
    refresh_token_lifetime: Option<u64>,
    /// How long after its first use a refresh token may be used again; not at all, likewise.
    refresh_token_grace: Option<u64>,
    /// Who gets tokens. Whoever is not among them gets none any more.
    pub(crate) applications: Vec<ApplicationConfig>,
}

/// One application.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApplicationConfig {
    /// What people call it.
    pub(crate) name: String,
    /// Its id; `app_` and its name, unless it is set.
    id: Option<ApplicationId>,
    /// Its secret. Unless it is set it is a random one, which is shown at the first start.
    pub(crate) secret: Option<String>,
    /// What its tokens may allow.
    permissions: Scope,
    /// How it gets them.
    #[serde(default = "client_credentials")]
    grants: Vec<GrantType>,
    /// How often it may ask in a minute; 0 is as often as it likes.
    requests_per_minute: Option<u32>,
    /// Whether it gets any tokens.
    #[serde(default = "yes")]
    enabled: bool,
    access_token_lifetime: Option<u64>,
    refresh_token_idle: Option<u64>,
    refresh_token_lifetime: Option<u64>,
    refresh_token_grace: Option<u64>,
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// When it can not be read, or what stands in it makes no sense: where, and never the value, since
    /// that may be a secret.
    pub(crate) fn read(path: &Path) -> Result<Self, Box<dyn std::error::Error>> {
        let shown = path.display();
        let text = std::fs::read_to_string(path).map_err(|error| format!("{shown}: {error}"))?;
        let config: Self = toml::from_str(&text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            // This names a setting; what else it says can repeat a value.
            let unknown = error.message().starts_with("unknown field");
            let problem = if unknown { error.message() } else { "not a value of this setting" };
            format!("{shown}, line {line}: {problem}")
        })?;
        let mut ids = BTreeSet::new();
        for application in &config.applications {
            if !ids.insert(application.id()?) {
                let name = &application.name;
                return Err(format!("{shown}: two applications have the id of {name}").into());
            }
        }
        Ok(config)
    }
}

impl ApplicationConfig {
    /// Its id, which is the same at each start.
    pub(crate) fn id(&self) -> Result<ApplicationId, Box<dyn std::error::Error>> {
        let named = || format!("app_{}", self.name).parse();
        self.id.clone().map_or_else(named, Ok).map_err(|error: tokenward::Error| {
            format!("the application {} needs an id of its own: {error}", self.name).into()
        })
    }

    /// Everything that the file says of it, apart from id and secret.
    pub(crate) fn to_change(&self, file: &Config) -> ApplicationChange {
        let access = self.access_token_lifetime.or(file.access_token_lifetime).unwrap_or(300);
        let limit = self.requests_per_minute.map_or_else(RateLimit::default, |times| {
            NonZeroU32::new(times).map_or(RateLimit::Unlimited, RateLimit::PerMinute)
        });
        ApplicationChange::new()
            .name(&self.name)
            .permissions(self.permissions.clone())
            .grants(self.grants.clone())
            .access_token_lifetime(Duration::from_secs(access))
            .refresh_policy(self.refresh_policy(file))
            .rate_limit(limit)
            .enabled(self.enabled)
    }

    fn refresh_policy(&self, file: &Config) -> RefreshPolicy {
        let mut policy = RefreshPolicy::new();
        if let Some(idle) = self.refresh_token_idle.or(file.refresh_token_idle) {
            policy = policy.idle(Duration::from_secs(idle));
        }
        if let Some(lifetime) = self.refresh_token_lifetime.or(file.refresh_token_lifetime) {
            policy = policy.absolute(Duration::from_secs(lifetime));
        }
        if let Some(grace) = self.refresh_token_grace.or(file.refresh_token_grace) {
            policy = policy.grace(Duration::from_secs(grace));
        }
        policy
    }
}

impl Default for Config {
    fn default() -> Self {
        let application = |name: &str, permissions: Scope| ApplicationConfig {
            name: name.to_owned(),
            id: None,
            secret: None,
            permissions,
            grants: client_credentials(),
            requests_per_minute: None,
            enabled: true,
            access_token_lifetime: None,
            refresh_token_idle: None,
            refresh_token_lifetime: None,
            refresh_token_grace: None,
        };
        let scope = |text: &str| text.parse().unwrap_or_default();
        Self {
            listen: ([127, 0, 0, 1], 8080).into(),
            issuer: None,
            audience: None,
            vault: None,
            key_file: None,
            switched_off: Vec::new(),
            most_requests: None,
            access_token_lifetime: None,
            refresh_token_idle: None,
            refresh_token_lifetime: None,
            refresh_token_grace: None,
            applications: vec![
                application("writer", scope("memories:read memories:write models:read")),
                application("reader", scope("memories:read")),
            ],
        }
    }
}

fn client_credentials() -> Vec<GrantType> {
    vec![GrantType::ClientCredentials]
}

fn yes() -> bool {
    true
}
