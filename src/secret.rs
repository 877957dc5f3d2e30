//! A secret string: wiped when dropped, never printed, read through one greppable accessor.

pub(crate) mod file;

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// A secret held in memory: an API key, a token, a client secret, a code verifier.
///
/// `Debug` prints a placeholder, there is no `Display` and no `Serialize`, comparison takes the
/// same time for every pair of equal length, and the memory is wiped on drop. Every reading of
/// the text goes through [`Secret::expose`].
///
/// ```
/// use tokenward::Secret;
///
/// let key = Secret::from(String::from("sk-ant-api03-hidden"));
/// assert_eq!(format!("{key:?}"), "[redacted]");
///
/// // Whoever needs the text says so.
/// assert!(key.expose().starts_with("sk-ant-"));
/// assert_eq!(key, Secret::new("sk-ant-api03-hidden"), "compared in constant time");
/// ```
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Copies `text` into a buffer of exact size.
    ///
    /// The caller's own copy is the caller's to wipe; [`Secret::from`] on a `String` wipes it.
    pub fn new(text: &str) -> Self {
        Self(SecretString::from(Box::<str>::from(text)))
    }

    /// The secret text. Search for `expose()` to audit every place that sees one.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// The number of bytes.
    pub fn len(&self) -> usize {
        self.expose().len()
    }

    /// Whether there is no byte at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<String> for Secret {
    /// Takes the text over and wipes the string it came in.
    fn from(mut text: String) -> Self {
        let secret = Self::new(&text);
        text.zeroize();
        secret
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.expose().as_bytes().ct_eq(other.expose().as_bytes()).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Serialization of secrets for sealed records only: `#[serde(with = "crate::secret::sealed")]`.
///
/// `Secret` has no `Serialize` of its own, so that no derived type can leak one by accident.
pub(crate) mod sealed {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::Secret;

    pub(crate) fn serialize<S: Serializer>(secret: &Secret, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(secret.expose())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Secret, D::Error> {
        String::deserialize(from).map(Secret::from)
    }

    /// The same for an optional secret.
    pub(crate) mod option {
        use super::{Deserialize, Deserializer, Secret, Serializer};

        #[allow(clippy::ref_option, reason = "the signature that serde's `with` asks for")]
        pub(crate) fn serialize<S: Serializer>(
            secret: &Option<Secret>,
            to: S,
        ) -> Result<S::Ok, S::Error> {
            match secret {
                Some(secret) => to.serialize_some(secret.expose()),
                None => to.serialize_none(),
            }
        }

        pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
            from: D,
        ) -> Result<Option<Secret>, D::Error> {
            Option::<String>::deserialize(from).map(|text| text.map(Secret::from))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing_of_the_secret() {
        let secret = Secret::new("sk-ant-api03-canary");
        assert_eq!(format!("{secret:?}"), "[redacted]");
        assert_eq!(format!("{:?}", Some(secret)), "Some([redacted])");
    }

    #[test]
    fn secrets_compare_by_their_text() {
        assert_eq!(Secret::new("one"), Secret::from("one".to_owned()));
        assert_ne!(Secret::new("one"), Secret::new("two"));
        assert_ne!(Secret::new("one"), Secret::new("on"));
    }
}
