//! What a name may be, and why one can not be used. A name is checked where it is made, so that whoever
//! holds one need not ask again.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The longest name, in bytes.
const LONGEST: usize = 200;

/// A name that can not be used, and why.
///
/// ```
/// use tokenward::Label;
/// use tokenward::identity::NameError;
///
/// let error: NameError = Label::new("").expect_err("no name");
/// assert_eq!(error.to_string(), "label is empty, give it at least one character");
/// assert!(tokenward::Error::from(error).is_invalid_input());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {problem}")]
pub struct NameError {
    pub(super) what: &'static str,
    pub(super) problem: &'static str,
}

/// The text of a name of the kind `what`.
pub(super) fn checked(what: &'static str, text: &str) -> Result<Arc<str>, NameError> {
    let problem = if text.is_empty() {
        "is empty, give it at least one character"
    } else if text.len() > LONGEST {
        "is longer than 200 bytes, use a shorter one"
    } else if text.chars().any(char::is_control) {
        "holds a control character, remove it"
    } else if text.trim() != text {
        "begins or ends with white space, remove it"
    } else {
        return Ok(Arc::from(text));
    };
    Err(NameError { what, problem })
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            #[doc = concat!("Checks `text` and makes it a ", $what, ".")]
            ///
            /// # Errors
            ///
            /// When it is empty, longer than 200 bytes, holds a control character, or begins or
            /// ends with white space.
            pub fn new(text: &str) -> Result<Self, NameError> {
                checked($what, text).map(Self)
            }
        }

        name! { impl $name }
    };
    (impl $name:ident) => {
        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                Self::new(&text)
            }
        }

        impl TryFrom<&str> for $name {
            type Error = NameError;

            fn try_from(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
    };
}

pub(super) use name;

name! {
    /// A provider, such as `anthropic`.
    ///
    /// ```
    /// use tokenward::{ProviderId, catalog};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let named: ProviderId = "anthropic".parse()?;
    /// assert_eq!(named, catalog::anthropic().id);
    /// # Ok(())
    /// # }
    /// ```
    ProviderId, "provider name"
}
name! {
    /// Tells several accounts of one user at one provider apart. Most have just `default`.
    ///
    /// ```
    /// use tokenward::{Label, Method};
    ///
    /// # use tokenward::testing::SimulatedProvider;
    /// # use tokenward::{Runtime, Vault};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let anthropic = SimulatedProvider::anthropic().start().await?;
    /// # let builder = Runtime::builder().vault(Vault::in_memory());
    /// # let runtime = builder.provider(anthropic.spec()).start().await?;
    /// # let ada = runtime.user("ada");
    /// # ada.sign_in("anthropic").with_api_key(anthropic.issue_api_key()).await?;
    /// // The account that was given no label, and another one beside it.
    /// let only = ada.credential("anthropic", Method::ApiKey, &Label::default()).await?;
    /// ada.sign_in("anthropic").label("work").with_api_key(anthropic.issue_api_key()).await?;
    /// let work = ada.credential("anthropic", Method::ApiKey, &Label::new("work")?).await?;
    /// assert_ne!(only.id(), work.id());
    /// assert_eq!(only.id().label.as_str(), "default");
    /// assert_eq!(ada.credentials().await?.len(), 2);
    /// # Ok(())
    /// # }
    /// ```
    Label, "label"
}

impl Default for Label {
    fn default() -> Self {
        Self(Arc::from("default"))
    }
}
