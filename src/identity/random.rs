//! Names that nobody chooses and nobody guesses: 256 random bits each.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::NameError;
use crate::clock::{Entropy, EntropyError};

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// A fresh one of 256 random bits.
            ///
            /// # Errors
            ///
            /// When the operating system gives no randomness.
            pub fn random(entropy: &dyn Entropy) -> Result<Self, EntropyError> {
                entropy.token().map(|token| Self(Arc::from(token)))
            }

            /// The text, 43 characters of base64url.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
                if text.len() == 43 && text.bytes().all(plain) {
                    Ok(Self(Arc::from(text)))
                } else {
                    Err(NameError { what: $what, problem: "is not 43 characters of base64url, copy the whole id" })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

random_id! {
    /// Names one session of one user.
    ///
    /// ```
    /// use tokenward::SessionId;
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
    /// let session = ada.open_session().await?;
    /// let kept: String = session.id().into(); // in a cookie, say
    ///
    /// let id: SessionId = kept.parse()?;
    /// assert_eq!(ada.session(&id).await?.id(), session.id());
    /// // It opens nothing for anybody else.
    /// assert!(runtime.user("grace").session(&id).await.expect_err("hers").is_not_found());
    /// # Ok(())
    /// # }
    /// ```
    SessionId, "session id"
}
random_id! {
    /// Names one pending sign-in. It is not the OAuth `state`.
    ///
    /// ```
    /// # use tokenward::testing::SimulatedProvider;
    /// # use tokenward::{Runtime, Vault};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let openai = SimulatedProvider::openai().start().await?;
    /// # let builder = Runtime::builder().vault(Vault::in_memory());
    /// # let runtime = builder.provider(openai.spec()).start().await?;
    /// # let ada = runtime.user("ada");
    /// let login = ada.sign_in("openai").by_paste().await?;
    /// let id = login.id().clone();
    ///
    /// // Another front end finds the same sign-in by it, for as long as it is pending.
    /// let found = runtime.logins().find(ada.id()?, &id).expect("pending");
    /// assert_eq!(found.url(), login.url());
    /// # Ok(())
    /// # }
    /// ```
    LoginId, "sign-in id"
}
