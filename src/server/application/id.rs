//! The id of an application: its `client_id`, and the subject of the tokens that it gets by its own
//! credentials.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::clock::{Entropy, EntropyError};
use crate::error::{Error, ErrorKind};
use crate::identity::UserId;
use crate::vault::audit::AuditQuery;

/// What every id begins with, so that none can be taken for a user (RFC 9700 §4.15).
const PREFIX: &str = "app_";

/// The most bytes after the prefix.
const LONGEST: usize = 100;

/// Names an application: `app_` and then letters, digits, `-`, `.`, `_` or `~`.
///
/// ```
/// use tokenward::server::ApplicationId;
///
/// # fn main() -> Result<(), tokenward::Error> {
/// // One that other systems know already; without, a random one is made.
/// let id: ApplicationId = "app_reports".parse()?;
/// assert_eq!(id.as_str(), "app_reports");
/// assert!("ada".parse::<ApplicationId>().is_err(), "it could be taken for a user");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ApplicationId(Arc<str>);

impl ApplicationId {
    /// A fresh one of 256 random bits.
    ///
    /// # Errors
    ///
    /// When the operating system gives no randomness.
    pub fn random(entropy: &dyn Entropy) -> Result<Self, EntropyError> {
        Ok(Self(format!("{PREFIX}{}", entropy.token()?).into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Who owns the application's records, and whom entries of the audit trail are about: nobody
    /// that a host can name a user, so that erasing a user never reaches an application.
    pub(crate) fn owner(&self) -> UserId {
        UserId::reserved(&self.0)
    }
}

impl AuditQuery {
    /// Only those about this application of the authorization server. It stands in them as the user
    /// `tokenward:` and its id.
    #[must_use]
    pub fn of_application(self, id: &ApplicationId) -> Self {
        self.of_user(id.owner())
    }
}

/// So that one is found by the text of a request.
impl Borrow<str> for ApplicationId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl FromStr for ApplicationId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        match text.strip_prefix(PREFIX) {
            Some(rest) if (1..=LONGEST).contains(&rest.len()) && rest.bytes().all(plain) => {
                Ok(Self(text.into()))
            }
            _ => Err(Error::new(
                ErrorKind::InvalidInput,
                "an application id is app_ and up to 100 letters, digits or -._~ after it",
            )),
        }
    }
}

impl TryFrom<String> for ApplicationId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<ApplicationId> for String {
    fn from(id: ApplicationId) -> String {
        id.as_str().to_owned()
    }
}

impl fmt::Display for ApplicationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ApplicationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
