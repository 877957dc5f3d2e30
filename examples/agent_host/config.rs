//! What the host is told by a file. Everything has a default; a name that is not known is an error.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tokenward::server::{ApplicationId, GrantType, Scope};

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
    /// Who gets tokens.
    pub(crate) applications: Vec<ApplicationConfig>,
}

/// One application.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApplicationConfig {
    /// What people call it.
    pub(crate) name: String,
    /// Its id; a random one, unless it is set.
    pub(crate) id: Option<ApplicationId>,
    /// Its secret; a random one, unless it is set.
    pub(crate) secret: Option<String>,
    /// What its tokens may allow.
    pub(crate) permissions: Scope,
    /// How it gets them.
    #[serde(default = "client_credentials")]
    pub(crate) grants: Vec<GrantType>,
    /// How long they live, in seconds.
    #[serde(default = "five_minutes")]
    pub(crate) access_token_lifetime: u64,
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
        toml::from_str(&text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            // This names a setting; what else it says can repeat a value.
            let unknown = error.message().starts_with("unknown field");
            let problem = if unknown { error.message() } else { "not a value of this setting" };
            format!("{shown}, line {line}: {problem}").into()
        })
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
            access_token_lifetime: five_minutes(),
        };
        let scope = |text: &str| text.parse().unwrap_or_default();
        Self {
            listen: ([127, 0, 0, 1], 8080).into(),
            issuer: None,
            audience: None,
            vault: None,
            key_file: None,
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

fn five_minutes() -> u64 {
    300
}
