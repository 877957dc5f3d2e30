//! The ways to sign in, by the names that configuration, events and the prompt have for them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::NameError;

/// A way to sign in, which is also the kind of credential that results.
///
/// ```
/// use tokenward::{Method, Provider as _, catalog};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // A provider says by which ways it is signed in to, the best one first.
/// let openai = catalog::openai();
/// assert!(openai.methods().contains(&Method::DeviceCode));
///
/// let written: Method = "device-code".parse()?;
/// assert_eq!(written, Method::DeviceCode);
/// assert_eq!(written.to_string(), "device-code");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Method {
    /// A key that the user got from the provider. It never expires by itself.
    ApiKey,
    /// OAuth 2.0 authorization code with PKCE (RFC 6749 §4.1, RFC 7636).
    AuthorizationCode,
    /// OAuth 2.0 device authorization (RFC 8628).
    DeviceCode,
    /// OAuth 2.0 client credentials (RFC 6749 §4.4).
    ClientCredentials,
    /// OAuth 2.0 JWT-bearer assertion (RFC 7523).
    JwtBearer,
}

impl Method {
    /// The name, as configuration, events and the REPL write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ApiKey => "api-key",
            Self::AuthorizationCode => "authorization-code",
            Self::DeviceCode => "device-code",
            Self::ClientCredentials => "client-credentials",
            Self::JwtBearer => "jwt-bearer",
        }
    }

    /// Whether a token can be had by it without the user, from nothing but what the host has.
    pub(crate) const fn needs_no_user(self) -> bool {
        matches!(self, Self::ClientCredentials | Self::JwtBearer)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Method {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        [
            Self::ApiKey,
            Self::AuthorizationCode,
            Self::DeviceCode,
            Self::ClientCredentials,
            Self::JwtBearer,
        ]
        .into_iter()
        .find(|method| method.as_str() == text)
        .ok_or(NameError {
            what: "method",
            problem: "is unknown, use api-key, authorization-code, device-code, \
                      client-credentials or jwt-bearer",
        })
    }
}
