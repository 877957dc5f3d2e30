//! One credential by its name, and its material by a number that counts up.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Label, Method, ProviderId, UserId};

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
