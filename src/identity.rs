//! The names of things: users, providers, methods, labels, credentials, sessions, generations.
//! Each is a type of its own, checked where it is made, so that none can be taken for another.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::clock::{Entropy, EntropyError};

/// The longest name, in bytes.
const LONGEST: usize = 200;

/// What the names of those begin with that own records in the vault and are no users.
const RESERVED: &str = "tokenward:";

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
    what: &'static str,
    problem: &'static str,
}

fn checked(what: &'static str, text: &str) -> Result<Arc<str>, NameError> {
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

/// Names one credential: who it belongs to, where it is used, how it was obtained, and which of
/// several accounts it is. There is at most one credential for each such name.
///
/// ```
/// use tokenward::{CredentialId, Label, Method, ProviderId, UserId};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let id = CredentialId {
///     user: UserId::new("ada")?,
///     provider: ProviderId::new("openai")?,
///     method: Method::AuthorizationCode,
///     label: Label::default(),
/// };
/// // As events, logs and the tree of actors name it.
/// assert_eq!(id.to_string(), "ada/openai/authorization-code");
/// let at_work = CredentialId { label: Label::new("work")?, ..id };
/// assert_eq!(at_work.to_string(), "ada/openai/authorization-code/work");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CredentialId {
    /// Whose it is.
    pub user: UserId,
    /// Where it is used.
    pub provider: ProviderId,
    /// How it was obtained.
    pub method: Method,
    /// Which of several accounts.
    pub label: Label,
}

impl CredentialId {
    /// Provider, method and label as one string that no other credential of the user has.
    pub(crate) fn name_within_user(&self) -> String {
        format!(
            "{}/{}/{}",
            escaped(self.provider.as_str()),
            self.method,
            escaped(self.label.as_str())
        )
    }

    /// The id that [`CredentialId::name_within_user`] wrote.
    pub(crate) fn from_names(user: &UserId, name: &str) -> Option<Self> {
        let mut parts = name.split('/');
        let (provider, method, label) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Self {
            user: user.clone(),
            provider: ProviderId::new(&unescaped(provider)).ok()?,
            method: method.parse().ok()?,
            label: Label::new(&unescaped(label)).ok()?,
        })
    }
}

/// Escapes what separates the parts of a written id, so that different ids never read the same.
fn escaped(text: &str) -> Cow<'_, str> {
    if text.contains(['/', '%']) {
        Cow::Owned(text.replace('%', "%25").replace('/', "%2F"))
    } else {
        Cow::Borrowed(text)
    }
}

fn unescaped(text: &str) -> String {
    text.replace("%2F", "/").replace("%25", "%")
}

impl fmt::Display for CredentialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (user, provider) = (escaped(self.user.as_str()), escaped(self.provider.as_str()));
        write!(f, "{user}/{provider}/{}", self.method)?;
        if self.label == Label::default() {
            Ok(())
        } else {
            write!(f, "/{}", escaped(self.label.as_str()))
        }
    }
}

/// Counts the material of one credential: each sign-in and each renewal makes a new generation.
/// Whatever refers to an older one is late, and changes nothing.
///
/// ```
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let orange = SimulatedProvider::orange().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(orange.spec()).start().await?;
/// # let ada = runtime.user("ada");
/// # ada.sign_in("orange").with_client_credentials().await?;
/// let credential = ada.preferred_credential("orange").await?;
/// let used = credential.acquire().await?.generation();
///
/// // The provider refused the token of that generation: the credential is renewed, once.
/// let renewed = credential.rejected(used).await?.generation();
/// assert_eq!(renewed, used.next());
///
/// // Another request that was under way says the same. It is late, and renews nothing.
/// assert_eq!(credential.rejected(used).await?.generation(), renewed);
/// assert_eq!(orange.token_requests(), 2);
/// # Ok(())
/// # }
/// ```
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl Generation {
    /// The generation after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemEntropy;

    #[test]
    fn names_are_checked_where_they_are_made() {
        assert!(UserId::new("ada").is_ok());
        for bad in ["", " ada", "ada\n", &"x".repeat(201), "tokenward:", "tokenward:app_one"] {
            assert!(UserId::new(bad).is_err(), "{bad:?}");
        }
        assert_eq!(
            UserId::new("").map_err(|error| error.to_string()),
            Err("user name is empty, give it at least one character".to_owned())
        );
    }

    #[test]
    fn a_method_reads_what_it_writes() {
        for method in [Method::ApiKey, Method::AuthorizationCode, Method::JwtBearer] {
            assert_eq!(method.to_string().parse(), Ok(method));
        }
        assert!("password".parse::<Method>().is_err());
    }

    #[test]
    fn a_credential_id_reads_like_a_path() {
        let id = CredentialId {
            user: UserId::new("ada").expect("a name"),
            provider: ProviderId::new("openai").expect("a name"),
            method: Method::AuthorizationCode,
            label: Label::default(),
        };
        assert_eq!(id.to_string(), "ada/openai/authorization-code");
    }

    #[test]
    fn a_credential_id_with_odd_names_survives_a_round_trip() {
        let id = CredentialId {
            user: UserId::new("a/b").expect("a name"),
            provider: ProviderId::new("c%2F/d").expect("a name"),
            method: Method::ApiKey,
            label: Label::new("x/%/y").expect("a name"),
        };
        assert_eq!(CredentialId::from_names(&id.user, &id.name_within_user()), Some(id.clone()));
        assert_eq!(id.to_string(), "a%2Fb/c%252F%2Fd/api-key/x%2F%25%2Fy");
    }

    #[test]
    fn a_session_id_survives_a_round_trip() {
        let id = SessionId::random(&SystemEntropy::new()).expect("randomness");
        assert_eq!(id.as_str().parse(), Ok(id.clone()));
        assert!("short".parse::<SessionId>().is_err());
    }
}
