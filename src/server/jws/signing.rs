//! Keys that sign. Each is told from all others by the thumbprint of its public part (RFC 7638).

use std::fmt;

use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, Signature,
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Algorithm, JwsError, VerificationKey};
use crate::clock::{Entropy, EntropyError};

/// An algorithm by which tokens are signed.
///
/// ```
/// use tokenward::server::ServerSettings;
/// use tokenward::server::jws::{Algorithm, SigningAlgorithm};
///
/// // For callers that verify tokens themselves and do not know Ed25519.
/// let settings = ServerSettings::new("https://host.example", "https://host.example/api")
///     .signing_algorithm(SigningAlgorithm::Es256);
/// assert_eq!(Algorithm::from(SigningAlgorithm::Es256).as_str(), "ES256");
/// # let _ = settings;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub enum SigningAlgorithm {
    /// Ed25519. The default: short, fast, and no randomness is needed to sign.
    #[default]
    #[serde(rename = "EdDSA")]
    EdDsa,
    /// ECDSA over P-256 with SHA-256, for resource servers that know no Ed25519.
    #[serde(rename = "ES256")]
    Es256,
}

impl From<SigningAlgorithm> for Algorithm {
    fn from(algorithm: SigningAlgorithm) -> Self {
        match algorithm {
            SigningAlgorithm::EdDsa => Self::EdDsa,
            SigningAlgorithm::Es256 => Self::Es256,
        }
    }
}

/// A key pair that signs tokens.
///
/// ```
/// use tokenward::clock::Sources;
/// use tokenward::server::jws::{self, KeySet, SigningAlgorithm, SigningKey};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let key = SigningKey::generate(SigningAlgorithm::EdDsa, &*Sources::system().entropy)?;
/// let token = jws::sign(&key, "at+jwt", br#"{"sub":"app_reports"}"#)?;
///
/// let published: KeySet = [key.verification_key().clone()].into_iter().collect();
/// assert_eq!(jws::verify(&published, "at+jwt", &token)?, br#"{"sub":"app_reports"}"#);
/// # Ok(())
/// # }
/// ```
pub struct SigningKey {
    /// What the pair was made of, to be sealed: a seed for Ed25519, PKCS #8 for P-256.
    secret: Zeroizing<Vec<u8>>,
    pair: Pair,
    public: VerificationKey,
}

enum Pair {
    EdDsa(Ed25519KeyPair),
    Es256(Box<EcdsaKeyPair>, SystemRandom),
}

impl SigningKey {
    /// A fresh key.
    ///
    /// # Errors
    ///
    /// When the operating system gives no randomness.
    pub fn generate(
        algorithm: SigningAlgorithm,
        entropy: &dyn Entropy,
    ) -> Result<Self, EntropyError> {
        let secret = match algorithm {
            SigningAlgorithm::EdDsa => {
                let mut seed = Zeroizing::new(vec![0; 32]);
                entropy.fill(&mut seed)?;
                seed
            }
            SigningAlgorithm::Es256 => {
                let signs = &ECDSA_P256_SHA256_FIXED_SIGNING;
                let pair = EcdsaKeyPair::generate_pkcs8(signs, &randomness_of_ring());
                Zeroizing::new(pair.map_err(|_| EntropyError)?.as_ref().to_vec())
            }
        };
        Self::from_secret(algorithm, secret).ok_or(EntropyError)
    }

    /// The key that [`SigningKey::secret`] wrote; none when it is not one for `algorithm`.
    pub(crate) fn from_secret(
        algorithm: SigningAlgorithm,
        secret: Zeroizing<Vec<u8>>,
    ) -> Option<Self> {
        let (pair, public) = match algorithm {
            SigningAlgorithm::EdDsa => {
                let pair = Ed25519KeyPair::from_seed_unchecked(&secret).ok()?;
                let public = VerificationKey::ed25519(pair.public_key().as_ref())?;
                (Pair::EdDsa(pair), public)
            }
            SigningAlgorithm::Es256 => {
                let signs = &ECDSA_P256_SHA256_FIXED_SIGNING;
                let randomness = randomness_of_ring();
                let pair = EcdsaKeyPair::from_pkcs8(signs, &secret, &randomness).ok()?;
                let public = VerificationKey::p256(pair.public_key().as_ref())?;
                (Pair::Es256(Box::new(pair), randomness), public)
            }
        };
        Some(Self { secret, pair, public })
    }

    /// What the key can be made of again, to be sealed.
    pub(crate) fn secret(&self) -> &[u8] {
        &self.secret
    }

    /// What its tokens are signed with.
    pub fn algorithm(&self) -> SigningAlgorithm {
        match self.pair {
            Pair::EdDsa(_) => SigningAlgorithm::EdDsa,
            Pair::Es256(..) => SigningAlgorithm::Es256,
        }
    }

    /// Its `kid`.
    pub fn id(&self) -> &str {
        self.public.id()
    }

    /// What verifies its signatures.
    pub fn verification_key(&self) -> &VerificationKey {
        &self.public
    }

    pub(super) fn sign(&self, message: &[u8]) -> Result<Signature, JwsError> {
        match &self.pair {
            Pair::EdDsa(pair) => Ok(pair.sign(message)),
            Pair::Es256(pair, randomness) => {
                pair.sign(randomness, message).map_err(|_| JwsError::Signature)
            }
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("id", &self.id())
            .field("algorithm", &self.algorithm())
            .finish_non_exhaustive()
    }
}

/// ring takes no randomness but its own for ECDSA. That is as well: a simulated one repeats, and two
/// signatures by the same nonce give the private key away.
#[allow(clippy::disallowed_methods, reason = "ring's ECDSA takes no other source of randomness")]
fn randomness_of_ring() -> SystemRandom {
    SystemRandom::new()
}
