//! Compact JWS (RFC 7515 §3.1) through ring: what access tokens need of it, and no more. A key
//! brings its algorithm with it, so the header of a token can ask for no other.

mod header;
mod signing;
#[cfg(test)]
mod tests;
mod verification;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use header::Header;
pub use signing::{SigningAlgorithm, SigningKey};
pub use verification::{KeySet, VerificationKey};

/// The longest token that is looked at, in bytes.
pub const LONGEST_TOKEN: usize = 8 * 1024;

/// An algorithm by which signatures are verified (RFC 7518 §3.1, RFC 8037 §3.1).
///
/// [`VerificationKey::algorithm`] tells the one of a key: a token is verified by no other.
///
/// ```
/// use tokenward::clock::Sources;
/// use tokenward::server::jws::{Algorithm, SigningAlgorithm, SigningKey};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let key = SigningKey::generate(SigningAlgorithm::Es256, &*Sources::system().entropy)?;
/// let public = key.verification_key();
/// assert_eq!(public.algorithm(), Algorithm::Es256);
/// assert_eq!(public.to_jwk()["alg"], Algorithm::Es256.as_str());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Algorithm {
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
    /// ECDSA over P-256 with SHA-256.
    #[serde(rename = "ES256")]
    Es256,
    /// RSASSA-PKCS1-v1_5 with SHA-256; verified and never signed with.
    #[serde(rename = "RS256")]
    Rs256,
}

impl Algorithm {
    /// The name, as the header of a token and a JWK write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a token is no token of ours. For logs: a caller is told that it is invalid, and no more.
///
/// ```
/// use tokenward::server::jws::{self, JwsError, KeySet};
///
/// let nobody: KeySet = [].into_iter().collect();
/// let answer = jws::verify(&nobody, "at+jwt", "not a token");
/// assert_eq!(answer, Err(JwsError::NotCompact));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JwsError {
    /// It has more bytes than are looked at.
    #[error("the token is longer than 8 KiB")]
    TooLong,
    /// It is not three parts of canonical base64url without padding.
    #[error("the token is not in the compact form of a JWS")]
    NotCompact,
    /// Its header is not one that can be read.
    #[error("the header is not a JSON object with alg, kid and typ")]
    Header,
    /// Its header asks for an extension, and none is known (RFC 7515 §4.1.11).
    #[error("the header names critical extensions")]
    Critical,
    /// It is a token of another kind, such as an id token (RFC 9068 §4).
    #[error("the token is of another type")]
    Type,
    /// No key of ours has its `kid`.
    #[error("the token is signed with a key that is not known")]
    UnknownKey,
    /// Its header names another algorithm than its key is for (RFC 8725 §3.1).
    #[error("the header names another algorithm than that of its key")]
    Algorithm,
    /// The signature is not one by that key.
    #[error("the signature does not verify")]
    Signature,
}

/// Signs `payload` as a token of the type `typ`.
///
/// # Errors
///
/// [`JwsError::Signature`] when ring can not sign, which for ECDSA takes randomness.
pub fn sign(key: &SigningKey, typ: &str, payload: &[u8]) -> Result<String, JwsError> {
    let algorithm = Algorithm::from(key.algorithm());
    let header = header::written(algorithm.as_str(), key.id(), typ);
    let mut token = String::with_capacity((header.len() + payload.len()) * 4 / 3 + 96);
    URL_SAFE_NO_PAD.encode_string(header, &mut token);
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(payload, &mut token);
    let signature = key.sign(token.as_bytes())?;
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    Ok(token)
}

/// The payload of `token`, if one of `keys` signed it and it is of the type `typ`, which may be
/// written with `application/` before it (RFC 7515 §4.1.9).
///
/// # Errors
///
/// See [`JwsError`]. What the header says of keys (`jwk`, `jku`, `x5u`, `x5c`) is not looked at.
pub fn verify(keys: &KeySet, typ: &str, token: &str) -> Result<Vec<u8>, JwsError> {
    if token.len() > LONGEST_TOKEN {
        return Err(JwsError::TooLong);
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(JwsError::NotCompact)?;
    let (header, payload) = signed.split_once('.').ok_or(JwsError::NotCompact)?;
    let header = Header::parse(&decoded(header)?)?;
    if !header.is_of_type(typ) {
        return Err(JwsError::Type);
    }
    let key = keys.get(&header.kid).ok_or(JwsError::UnknownKey)?;
    if header.alg != key.algorithm().as_str() {
        return Err(JwsError::Algorithm);
    }
    key.verify(signed.as_bytes(), &decoded(signature)?)?;
    decoded(payload)
}

/// Base64url without padding and without stray trailing bits, so that no two texts mean the same.
fn decoded(part: &str) -> Result<Vec<u8>, JwsError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| JwsError::NotCompact)
}
