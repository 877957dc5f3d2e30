//! How material, rotation intents and troubles are written into sealed records: JSON with a format
//! version, keeping the fields of newer versions that this one does not know.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::lifecycle::Trouble;
use super::material::{Life, Material};
use crate::clock::Moment;
use crate::identity::Generation;
use crate::provider::{Failure, FailureClass};
use crate::secret::{self, Secret};

/// The format that this version writes, and the newest that it reads.
const FORMAT: u32 = 1;

/// A record that was opened, and does not hold what it should.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoredError {
    /// The text is not what this version writes.
    #[error("the record is not readable as {0}")]
    Malformed(&'static str),
    /// A newer version of tokenward wrote it.
    #[error("the record has format {0}, this version reads up to {FORMAT}: update tokenward")]
    NewerFormat(u32),
}

/// Fields that a newer version wrote and this one carries along.
pub(crate) type Unknown = Map<String, Value>;

#[derive(Serialize, Deserialize)]
struct StoredMaterial {
    format: u32,
    generation: Generation,
    #[serde(with = "secret::sealed")]
    access: Secret,
    #[serde(default, with = "secret::sealed::option", skip_serializing_if = "Option::is_none")]
    refresh: Option<Secret>,
    obtained_ms: u64,
    life: StoredLife,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scopes: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    account: Option<String>,
    #[serde(flatten)]
    unknown: Unknown,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredLife {
    Unlimited,
    Unknown,
    Millis(u64),
}

/// What stands in the vault while a refresh token is being spent.
#[derive(Serialize, Deserialize)]
pub(crate) struct Intent {
    format: u32,
    /// The generation whose refresh token is spent.
    pub(crate) generation: Generation,
    /// SHA-256 over the refresh token, in base64url: tells people which one it was.
    fingerprint: String,
    started_ms: u64,
}

#[derive(Serialize, Deserialize)]
struct StoredTrouble {
    format: u32,
    generation: Generation,
    class: StoredClass,
    reason: String,
    attempts: u32,
    #[serde(default)]
    retry_at_ms: Option<u64>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredClass {
    Transient,
    RateLimited,
    ReauthorizationRequired,
    Misconfigured,
    Protocol,
    Uncertain,
}

/// Writes material, with the unknown fields of the record that it replaces.
pub(crate) fn write_material(material: &Material, unknown: Unknown) -> Zeroizing<Vec<u8>> {
    to_json(&StoredMaterial {
        format: FORMAT,
        generation: material.generation,
        access: material.access.clone(),
        refresh: material.refresh.clone(),
        obtained_ms: to_millis(material.obtained.wall),
        life: match material.life {
            Life::Unlimited => StoredLife::Unlimited,
            Life::Unknown => StoredLife::Unknown,
            Life::For(lifetime) => {
                StoredLife::Millis(u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX))
            }
        },
        scopes: material.scopes.clone(),
        account: material.account.clone(),
        unknown,
    })
}

/// Reads material. `now` places the stored wall-clock times on both clocks.
pub(crate) fn read_material(
    payload: &[u8],
    now: Moment,
) -> Result<(Material, Unknown), StoredError> {
    let stored: StoredMaterial = from_json(payload, "a credential")?;
    let material = Material {
        generation: stored.generation,
        access: stored.access,
        refresh: stored.refresh,
        obtained: past(stored.obtained_ms, now),
        life: match stored.life {
            StoredLife::Unlimited => Life::Unlimited,
            StoredLife::Unknown => Life::Unknown,
            StoredLife::Millis(millis) => Life::For(Duration::from_millis(millis)),
        },
        scopes: stored.scopes,
        account: stored.account,
    };
    Ok((material, stored.unknown))
}

/// Writes the intent to spend the refresh token of `material`.
pub(crate) fn write_intent(material: &Material, now: Moment) -> Zeroizing<Vec<u8>> {
    use base64::Engine as _;
    let token = material.refresh.as_ref().map_or("", Secret::expose);
    let digest = ring::digest::digest(&ring::digest::SHA256, token.as_bytes());
    to_json(&Intent {
        format: FORMAT,
        generation: material.generation,
        fingerprint: base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(digest),
        started_ms: to_millis(now.wall),
    })
}

/// Reads an intent.
pub(crate) fn read_intent(payload: &[u8]) -> Result<Intent, StoredError> {
    from_json(payload, "a rotation intent")
}

/// Writes the trouble of `generation`.
pub(crate) fn write_trouble(generation: Generation, trouble: &Trouble) -> Zeroizing<Vec<u8>> {
    to_json(&StoredTrouble {
        format: FORMAT,
        generation,
        class: match trouble.failure.class {
            FailureClass::Transient { .. } => StoredClass::Transient,
            FailureClass::RateLimited { .. } => StoredClass::RateLimited,
            FailureClass::ReauthorizationRequired => StoredClass::ReauthorizationRequired,
            FailureClass::Misconfigured => StoredClass::Misconfigured,
            FailureClass::Protocol => StoredClass::Protocol,
            FailureClass::Uncertain => StoredClass::Uncertain,
        },
        reason: trouble.failure.reason.clone(),
        attempts: trouble.attempts,
        retry_at_ms: trouble.retry_at.map(|moment| to_millis(moment.wall)),
    })
}

/// Reads a trouble, and the generation it is about. The time that was left of its back-off is
/// bounded by a day, whatever the clocks say now.
pub(crate) fn read_trouble(
    payload: &[u8],
    now: Moment,
) -> Result<(Generation, Trouble), StoredError> {
    let stored: StoredTrouble = from_json(payload, "a remembered failure")?;
    let left = stored.retry_at_ms.map(|at| {
        let wall = UNIX_EPOCH + Duration::from_millis(at);
        wall.duration_since(now.wall).unwrap_or_default().min(Duration::from_hours(24))
    });
    let class = match stored.class {
        StoredClass::Transient => FailureClass::Transient { retry_after: None },
        StoredClass::RateLimited => FailureClass::RateLimited { retry_after: left },
        StoredClass::ReauthorizationRequired => FailureClass::ReauthorizationRequired,
        StoredClass::Misconfigured => FailureClass::Misconfigured,
        StoredClass::Protocol => FailureClass::Protocol,
        StoredClass::Uncertain => FailureClass::Uncertain,
    };
    let trouble = Trouble {
        failure: Failure::new(class, stored.reason),
        attempts: stored.attempts,
        retry_at: left.map(|left| now.after(left)),
    };
    Ok((stored.generation, trouble))
}

/// A stored wall-clock time on both clocks. A time that lies in the future (the clock was stepped
/// back) is as good as now on the monotonic clock.
fn past(millis: u64, now: Moment) -> Moment {
    let wall = UNIX_EPOCH + Duration::from_millis(millis);
    let age = now.wall.duration_since(wall).unwrap_or_default();
    Moment { wall, monotonic: now.monotonic.saturating_sub(age) }
}

fn to_millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// JSON in a buffer of exact size, so that no copy of a secret is left behind by its growth.
fn to_json<T: Serialize>(value: &T) -> Zeroizing<Vec<u8>> {
    let mut count = Count(0);
    // Writing plain structures of strings and numbers to memory can not fail.
    let _ = serde_json::to_writer(&mut count, value);
    let mut buffer = Zeroizing::new(Vec::with_capacity(count.0));
    let _ = serde_json::to_writer(&mut *buffer, value);
    buffer
}

struct Count(usize);

impl std::io::Write for Count {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn from_json<T: DeserializeOwned>(payload: &[u8], what: &'static str) -> Result<T, StoredError> {
    #[derive(Deserialize)]
    struct Header {
        format: u32,
    }
    let malformed = |_| StoredError::Malformed(what);
    let header: Header = serde_json::from_slice(payload).map_err(malformed)?;
    if header.format > FORMAT {
        return Err(StoredError::NewerFormat(header.format));
    }
    serde_json::from_slice(payload).map_err(malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment {
            wall: UNIX_EPOCH + Duration::from_secs(seconds),
            monotonic: Duration::from_secs(seconds),
        }
    }

    fn material() -> Material {
        Material {
            generation: Generation(7),
            access: Secret::new("access"),
            refresh: Some(Secret::new("refresh")),
            obtained: at(1_000),
            life: Life::For(Duration::from_mins(10)),
            scopes: Some(vec!["openid".to_owned()]),
            account: Some("acct".to_owned()),
        }
    }

    #[test]
    fn material_survives_a_round_trip_and_keeps_unknown_fields() {
        let mut unknown = Unknown::new();
        unknown.insert("colour".to_owned(), Value::from("green"));
        let payload = write_material(&material(), unknown.clone());
        let (read, kept) = read_material(&payload, at(1_030)).expect("readable");
        assert_eq!(read, material());
        assert_eq!(kept, unknown);
    }

    #[test]
    fn a_newer_format_is_told_apart_from_damage() {
        assert!(matches!(
            read_material(br#"{"format":2}"#, at(0)),
            Err(StoredError::NewerFormat(2))
        ));
        assert!(matches!(read_material(b"{", at(0)), Err(StoredError::Malformed(_))));
    }

    #[test]
    fn a_token_from_the_future_lives_no_longer_than_its_lifetime() {
        let payload = write_material(&material(), Unknown::new());
        let (read, _) = read_material(&payload, at(500)).expect("readable");
        let expires = read.expires().expect("it expires");
        assert_eq!(expires.monotonic, Duration::from_secs(500 + 600));
    }

    #[test]
    fn a_trouble_keeps_its_back_off_over_a_restart() {
        let trouble = Trouble {
            failure: Failure::new(FailureClass::Transient { retry_after: None }, "503"),
            attempts: 4,
            retry_at: Some(at(1_040)),
        };
        let payload = write_trouble(Generation(7), &trouble);
        let (generation, read) = read_trouble(&payload, at(1_030)).expect("readable");
        assert_eq!(generation, Generation(7));
        assert_eq!(read, trouble);
    }
}
