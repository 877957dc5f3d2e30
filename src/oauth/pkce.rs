//! Proof key for code exchange (RFC 7636): a verifier for one sign-in and its S256 challenge.
//! There is no plain challenge, so there is nothing to downgrade to.

use oauth2::{PkceCodeChallenge, PkceCodeVerifier};
use zeroize::Zeroize as _;

use crate::clock::{Entropy, EntropyError};
use crate::secret::Secret;

/// A verifier and its challenge, made for one sign-in (RFC 9700 §2.1.1).
///
/// ```
/// use tokenward::clock::Sources;
/// use tokenward::oauth::Pkce;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pkce = Pkce::generate(&*Sources::system().entropy)?;
/// // The challenge goes along with the browser; the verifier only with the code.
/// assert_eq!(pkce.challenge.len(), 43);
/// assert_eq!(Pkce::of(pkce.verifier.clone()).challenge, pkce.challenge);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pkce {
    /// Sent with the exchange of the code; 43 characters of base64url.
    pub verifier: Secret,
    /// Sent with the authorization request; S256 of the verifier.
    pub challenge: String,
}

impl Pkce {
    /// A fresh pair from 32 random bytes (RFC 7636 §4.1).
    ///
    /// # Errors
    ///
    /// When the operating system gives no randomness.
    pub fn generate(entropy: &dyn Entropy) -> Result<Self, EntropyError> {
        entropy.token().map(|verifier| Self::of(Secret::from(verifier)))
    }

    /// The pair that belongs to a verifier that was kept (RFC 7636 §4.2).
    pub fn of(verifier: Secret) -> Self {
        let copy = PkceCodeVerifier::new(verifier.expose().to_owned());
        let challenge = PkceCodeChallenge::from_code_verifier_sha256(&copy).as_str().to_owned();
        copy.into_secret().zeroize();
        Self { verifier, challenge }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemEntropy;

    #[test]
    fn the_vector_of_rfc_7636_appendix_b() {
        let pkce = Pkce::of(Secret::new("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"));
        assert_eq!(pkce.challenge, "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }

    #[test]
    fn a_verifier_is_43_unreserved_characters_and_fresh() {
        let entropy = SystemEntropy::new();
        let first = Pkce::generate(&entropy).expect("randomness");
        let second = Pkce::generate(&entropy).expect("randomness");
        let text = first.verifier.expose();
        assert_eq!(text.len(), 43);
        assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b)));
        assert_ne!(first.verifier, second.verifier);
        assert_ne!(first.challenge, text, "the challenge must not disclose the verifier");
    }
}
