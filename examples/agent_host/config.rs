//! What the host is told by a file. Everything has a default; a name that is not known is an error.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tokenward::server::{ApplicationId, GrantType, Scope};

/// The whole file.
#[derive(Debug, Deserialize)]
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
#[derive(Debug, Clone, Deserialize)]
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
    pub(crate) fn read(path: &Path) -> Result<Self, Box<dyn std::error::Error>> {
        Ok(toml::from_str(&std::fs::read_to_string(path)?)?)
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
