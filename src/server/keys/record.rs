//! A key ring as the vault keeps it.

use std::sync::Arc;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::{KeyRing, RingKey};
use crate::secret::{Secret, sealed};
use crate::server::jws::{SigningAlgorithm, SigningKey};
use crate::server::kept::{Beside, Known};
use crate::vault::payload::{self, FORMAT, PayloadError, from_millis, to_millis};

/// What such a record is called in an error.
const WHAT: &str = "a ring of signing keys";

#[derive(Serialize, Deserialize)]
struct StoredRing {
    format: u32,
    #[serde(with = "sealed")]
    hash_key: Secret,
    keys: Vec<StoredKey>,
    /// Not read here: what is read so leaves copies of the secrets beside it.
    #[serde(flatten, skip_deserializing)]
    kept: Map<String, Value>,
}

#[derive(Serialize, Deserialize)]
struct StoredKey {
    algorithm: SigningAlgorithm,
    #[serde(with = "sealed")]
    secret: Secret,
    signs_from: u64,
    #[serde(flatten, skip_deserializing)]
    kept: Map<String, Value>,
}

/// What stands in a ring that this release does not know.
struct OfRing;

impl Known for OfRing {
    const NAMES: &[&str] = &["format", "hash_key", "keys"];
}

/// What stands in its keys that this release does not know.
#[derive(Deserialize)]
struct BesideKeys {
    keys: Vec<Beside<OfKey>>,
}

struct OfKey;

impl Known for OfKey {
    const NAMES: &[&str] = &["algorithm", "secret", "signs_from"];
}

impl KeyRing {
    /// Reads a record. All of its keys have to be readable: a ring without one of them would refuse
    /// good tokens.
    pub(crate) fn from_record(payload: &[u8]) -> Result<Self, PayloadError> {
        let malformed = PayloadError::Malformed(WHAT);
        let stored: StoredRing = payload::read(payload, WHAT)?;
        let hash_key = decoded(&stored.hash_key).ok_or(malformed)?;
        let hash_key: [u8; 32] = hash_key.as_slice().try_into().map_err(|_| malformed)?;
        let kept: Beside<OfRing> = payload::read(payload, WHAT)?;
        let beside: BesideKeys = payload::read(payload, WHAT)?;
        let key = |(stored, beside): (&StoredKey, Beside<OfKey>)| {
            let secret = decoded(&stored.secret)?;
            let key = SigningKey::from_secret(stored.algorithm, secret)?;
            let signs_from: SystemTime = from_millis(stored.signs_from)?;
            Some(RingKey { key: Arc::new(key), signs_from, kept: beside.0 })
        };
        let keys: Option<Vec<_>> = stored.keys.iter().zip(beside.keys).map(key).collect();
        let keys = keys.filter(|keys| !keys.is_empty()).ok_or(malformed)?;
        Ok(Self { hash_key: Arc::new(Zeroizing::new(hash_key)), keys, kept: kept.0 })
    }

    /// Writes the record.
    pub(crate) fn to_record(&self) -> Zeroizing<Vec<u8>> {
        let key = |ring: &RingKey| StoredKey {
            algorithm: ring.key.algorithm(),
            secret: encoded(ring.key.secret()),
            signs_from: to_millis(ring.signs_from),
            kept: ring.kept.clone(),
        };
        payload::write(&StoredRing {
            format: FORMAT,
            hash_key: encoded(self.hash_key.as_slice()),
            keys: self.keys.iter().map(key).collect(),
            kept: self.kept.clone(),
        })
    }
}

fn encoded(bytes: &[u8]) -> Secret {
    Secret::from(URL_SAFE_NO_PAD.encode(bytes))
}

fn decoded(text: &Secret) -> Option<Zeroizing<Vec<u8>>> {
    URL_SAFE_NO_PAD.decode(text.expose()).ok().map(Zeroizing::new)
}
