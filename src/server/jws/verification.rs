//! Keys that verify, each bound to its algorithm, and the set that a server publishes (RFC 7517).

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use serde_json::{Value, json};

use super::{Algorithm, JwsError};

/// A public key and the one algorithm that it is for.
///
/// ```
/// use tokenward::clock::Sources;
/// use tokenward::server::jws::{SigningAlgorithm, SigningKey, VerificationKey};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let key = SigningKey::generate(SigningAlgorithm::Es256, &*Sources::system().entropy)?;
/// // What may be published of it: its id is the thumbprint, unless another one is given.
/// let public: VerificationKey = key.verification_key().clone();
/// assert_eq!(public.id(), key.id());
/// assert_eq!(public.to_jwk()["crv"], "P-256");
/// assert_eq!(public.with_id("of-2026").to_jwk()["kid"], "of-2026");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct VerificationKey {
    id: String,
    public: Public,
}

#[derive(Clone)]
enum Public {
    Ed25519([u8; 32]),
    /// The point, uncompressed: 0x04, x, y.
    P256([u8; 65]),
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
}

impl VerificationKey {
    /// A key for EdDSA; none unless it has 32 bytes. Its `kid` is its thumbprint.
    pub fn ed25519(public: &[u8]) -> Option<Self> {
        public.try_into().ok().map(|bytes| Self::named_by_thumbprint(Public::Ed25519(bytes)))
    }

    /// A key for ES256; none unless it is an uncompressed point of 65 bytes. Its `kid` is its
    /// thumbprint.
    pub fn p256(point: &[u8]) -> Option<Self> {
        let point: [u8; 65] = point.try_into().ok()?;
        (point[0] == 4).then(|| Self::named_by_thumbprint(Public::P256(point)))
    }

    /// A key for RS256, of 2048 to 8192 bits, as big-endian numbers without leading zeros; none when
    /// it has another size. Its `kid` is its thumbprint.
    pub fn rsa(modulus: &[u8], exponent: &[u8]) -> Option<Self> {
        let fits = (256..=1024).contains(&modulus.len()) && (1..=8).contains(&exponent.len());
        let plain = modulus.first() != Some(&0) && exponent.first() != Some(&0);
        (fits && plain).then(|| {
            let (modulus, exponent) = (modulus.to_vec(), exponent.to_vec());
            Self::named_by_thumbprint(Public::Rsa { modulus, exponent })
        })
    }

    /// The same key under the `kid` that somebody else gave it.
    #[must_use]
    pub fn with_id(mut self, id: impl Into<String>) -> Self {
        self.id = id.into();
        self
    }

    /// Its `kid`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The algorithm that it is for.
    pub fn algorithm(&self) -> Algorithm {
        match self.public {
            Public::Ed25519(_) => Algorithm::EdDsa,
            Public::P256(_) => Algorithm::Es256,
            Public::Rsa { .. } => Algorithm::Rs256,
        }
    }

    /// The key as a JWK: the public part, `kid`, `alg` and `use` (RFC 7517 §4).
    pub fn to_jwk(&self) -> Value {
        let mut jwk = self.public.members();
        jwk["kid"] = json!(self.id);
        jwk["alg"] = json!(self.algorithm().as_str());
        jwk["use"] = json!("sig");
        jwk
    }

    /// Whether `signature` over `message` is by this key.
    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), JwsError> {
        let verified = match &self.public {
            Public::Ed25519(key) => {
                UnparsedPublicKey::new(&ED25519, key).verify(message, signature)
            }
            Public::P256(_) if !is_pair_of_scalars(signature) => return Err(JwsError::Signature),
            Public::P256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
            }
            Public::Rsa { modulus, exponent } => {
                let key = RsaPublicKeyComponents { n: modulus, e: exponent };
                key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
            }
        };
        verified.map_err(|_| JwsError::Signature)
    }

    fn named_by_thumbprint(public: Public) -> Self {
        // Its members in the order of their names, which is how the map writes them (RFC 7638 §3).
        let members = public.members().to_string();
        let id = URL_SAFE_NO_PAD.encode(digest(&SHA256, members.as_bytes()));
        Self { id, public }
    }
}

impl Public {
    /// The members that make the key what it is.
    fn members(&self) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match self {
            Self::Ed25519(key) => json!({ "crv": "Ed25519", "kty": "OKP", "x": text(key) }),
            Self::P256(point) => json!({
                "crv": "P-256", "kty": "EC", "x": text(&point[1..33]), "y": text(&point[33..]),
            }),
            Self::Rsa { modulus, exponent } => {
                json!({ "e": text(exponent), "kty": "RSA", "n": text(modulus) })
            }
        }
    }
}

/// Whether a signature is r and s of 32 bytes each and neither is zero (RFC 7518 §3.4). ring checks
/// it, too; that it does was not always so in other libraries, and all hangs on it.
fn is_pair_of_scalars(signature: &[u8]) -> bool {
    signature.len() == 64 && signature.chunks(32).all(|half| half.iter().any(|byte| *byte != 0))
}

impl fmt::Debug for VerificationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerificationKey")
            .field("id", &self.id)
            .field("algorithm", &self.algorithm())
            .finish_non_exhaustive()
    }
}

/// The keys whose signatures count, by their `kid`.
///
/// ```
/// use tokenward::clock::Sources;
/// use tokenward::server::jws::{KeySet, SigningAlgorithm, SigningKey};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let key = SigningKey::generate(SigningAlgorithm::EdDsa, &*Sources::system().entropy)?;
/// let keys: KeySet = [key.verification_key().clone()].into_iter().collect();
/// assert!(keys.get(key.id()).is_some());
/// assert_eq!(keys.to_jwks()["keys"][0]["kid"], key.id());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct KeySet(BTreeMap<String, VerificationKey>);

impl KeySet {
    /// The key with this `kid`.
    pub fn get(&self, id: &str) -> Option<&VerificationKey> {
        self.0.get(id)
    }

    /// The set as it is published (RFC 7517 §5).
    pub fn to_jwks(&self) -> Value {
        json!({ "keys": self.0.values().map(VerificationKey::to_jwk).collect::<Vec<_>>() })
    }
}

impl FromIterator<VerificationKey> for KeySet {
    fn from_iter<I: IntoIterator<Item = VerificationKey>>(keys: I) -> Self {
        Self(keys.into_iter().map(|key| (key.id.clone(), key)).collect())
    }
}
