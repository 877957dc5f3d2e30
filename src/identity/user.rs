//! Whose something is: a user of the host, or an owner in the vault that is no user.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::name::{NameError, checked, name};

/// What the names of those begin with that own records in the vault and are no users.
const RESERVED: &str = "tokenward:";

/// A user of the host. The host chooses it; tokenward never interprets it, but for names that begin
/// with `tokenward:`. Those own what is in the vault and is no user's, such as the signing keys of the
/// authorization server. A host reads them, in entries of the audit trail, and can not make them.
///
/// ```
/// use tokenward::UserId;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let ada = UserId::new("ada@host.example")?;
/// assert_eq!(ada.as_str(), "ada@host.example");
///
/// let error = UserId::new("ada ").expect_err("a space that nobody sees");
/// assert_eq!(error.to_string(), "user name begins or ends with white space, remove it");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserId(Arc<str>);

impl UserId {
    /// Checks `text` and makes it a user name.
    ///
    /// # Errors
    ///
    /// When it is empty, longer than 200 bytes, holds a control character, begins or ends with white
    /// space, or begins with `tokenward:`.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let what = "user name";
        if text.starts_with(RESERVED) {
            let problem = "begins with tokenward:, which no user's may, use another";
            return Err(NameError { what, problem });
        }
        checked(what, text).map(Self)
    }

    /// Who owns records that are no user's. `name` is a name, and so short that the whole is one.
    pub(crate) fn reserved(name: &str) -> Self {
        Self(format!("{RESERVED}{name}").into())
    }

    /// Whether this is no user.
    pub(crate) fn is_reserved(&self) -> bool {
        self.0.starts_with(RESERVED)
    }

    /// Reads a name that the vault has kept, which may be one that is no user's.
    pub(crate) fn deserialize_kept<'de, D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        checked("user name", &text).map(Self).map_err(D::Error::custom)
    }
}

name! {
    impl UserId
}
