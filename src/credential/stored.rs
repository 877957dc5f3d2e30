//! How material, rotation intents and troubles are written into sealed records, keeping the fields
//! of newer versions that this one does not know.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::lifecycle::Trouble;
use super::material::{Life, Material};
use super::schedule::Backoff;
use crate::clock::Moment;
use crate::identity::Generation;
use crate::provider::{Failure, FailureClass, Registration};
use crate::secret::{self, Secret};
use crate::vault::payload::{self, FORMAT, PayloadError, from_millis, to_millis};

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
    #[serde(default)]
    issued_to: Registration,
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

/// What stands in the vault while an API key may stand in for other sign-ins.
#[derive(Serialize, Deserialize)]
pub(crate) struct Permission {
    format: u32,
    /// When the user said so.
    allowed_ms: u64,
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
    /// How long the provider asked to wait, when it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    asked_ms: Option<u64>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredClass {
    Transient,
    RateLimited,
    ReauthorizationRequired,
    Misconfigured,
    Unlisted,
    Protocol,
    Uncertain,
}

/// Writes material, with the unknown fields of the record that it replaces.
pub(crate) fn write_material(material: &Material, unknown: Unknown) -> Zeroizing<Vec<u8>> {
    payload::write(&StoredMaterial {
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
        issued_to: material.issued_to.clone(),
        unknown,
    })
}

/// Reads material. `now` places the stored wall-clock times on both clocks.
pub(crate) fn read_material(
    payload: &[u8],
    now: Moment,
) -> Result<(Material, Unknown), PayloadError> {
    let what = "a credential";
    let stored: StoredMaterial = payload::read(payload, what)?;
    let material = Material {
        generation: stored.generation,
        access: stored.access,
        refresh: stored.refresh,
        obtained: past(stored.obtained_ms, now).ok_or(PayloadError::Malformed(what))?,
        life: match stored.life {
            StoredLife::Unlimited => Life::Unlimited,
            StoredLife::Unknown => Life::Unknown,
            StoredLife::Millis(millis) => Life::For(Duration::from_millis(millis)),
        },
        scopes: stored.scopes,
        account: stored.account,
        issued_to: stored.issued_to,
    };
    Ok((material, stored.unknown))
}

/// Writes the intent to spend the refresh token of `material`.
pub(crate) fn write_intent(material: &Material, now: Moment) -> Zeroizing<Vec<u8>> {
    use base64::Engine as _;
    let token = material.refresh.as_ref().map_or("", Secret::expose);
    let digest = ring::digest::digest(&ring::digest::SHA256, token.as_bytes());
    payload::write(&Intent {
        format: FORMAT,
        generation: material.generation,
        fingerprint: base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(digest),
        started_ms: to_millis(now.wall),
    })
}

/// Reads an intent.
pub(crate) fn read_intent(payload: &[u8]) -> Result<Intent, PayloadError> {
    payload::read(payload, "a rotation intent")
}

/// Writes that an API key may stand in for the user's other sign-ins, and since when.
pub(crate) fn write_permission(now: Moment) -> Zeroizing<Vec<u8>> {
    payload::write(&Permission { format: FORMAT, allowed_ms: to_millis(now.wall) })
}

/// Reads that permission.
pub(crate) fn read_permission(payload: &[u8]) -> Result<Permission, PayloadError> {
    payload::read(payload, "a permission to fall back")
}

/// Writes the trouble of `generation`.
pub(crate) fn write_trouble(generation: Generation, trouble: &Trouble) -> Zeroizing<Vec<u8>> {
    payload::write(&StoredTrouble {
        format: FORMAT,
        generation,
        class: match trouble.failure.class {
            FailureClass::Transient { .. } => StoredClass::Transient,
            FailureClass::RateLimited { .. } => StoredClass::RateLimited,
            FailureClass::ReauthorizationRequired => StoredClass::ReauthorizationRequired,
            FailureClass::Misconfigured => StoredClass::Misconfigured,
            FailureClass::Unlisted => StoredClass::Unlisted,
            FailureClass::Protocol => StoredClass::Protocol,
            FailureClass::Uncertain => StoredClass::Uncertain,
        },
        reason: trouble.failure.reason.clone(),
        attempts: trouble.attempts,
        retry_at_ms: trouble.retry_at.map(|moment| to_millis(moment.wall)),
        asked_ms: trouble
            .failure
            .retry_after()
            .map(|asked| u64::try_from(asked.as_millis()).unwrap_or(u64::MAX)),
    })
}

/// Reads a trouble, and the generation it is about. The time that was left of its back-off is
/// bounded by a day, whatever the clocks say now.
pub(crate) fn read_trouble(
    payload: &[u8],
    now: Moment,
) -> Result<(Generation, Trouble), PayloadError> {
    let stored: StoredTrouble = payload::read(payload, "a remembered failure")?;
    let asked = stored.asked_ms.map(Duration::from_millis);
    let class = match stored.class {
        StoredClass::Transient => FailureClass::Transient { retry_after: asked },
        StoredClass::RateLimited => FailureClass::RateLimited { retry_after: asked },
        StoredClass::ReauthorizationRequired => FailureClass::ReauthorizationRequired,
        StoredClass::Misconfigured => FailureClass::Misconfigured,
        StoredClass::Unlisted => FailureClass::Unlisted,
        StoredClass::Protocol => FailureClass::Protocol,
        StoredClass::Uncertain => FailureClass::Uncertain,
    };
    // Whoever set the clock back since would wait for as long again: no wait was set that is longer
    // than these.
    let longest = Backoff::after(class).map(|backoff| backoff.longest(asked)).unwrap_or_default();
    let retry_at = stored.retry_at_ms.map(|at| {
        let left = from_millis(at).and_then(|wall| wall.duration_since(now.wall).ok());
        now.after(left.unwrap_or_default().min(longest))
    });
    let trouble = Trouble {
        failure: Failure::new(class, stored.reason),
        attempts: stored.attempts,
        retry_at,
    };
    Ok((stored.generation, trouble))
}

/// A stored wall-clock time on both clocks. A time that lies in the future (the clock was stepped
/// back) is as good as now on the monotonic clock.
fn past(millis: u64, now: Moment) -> Option<Moment> {
    let wall = from_millis(millis)?;
    let age = now.wall.duration_since(wall).unwrap_or_default();
    Some(Moment { wall, monotonic: now.monotonic.saturating_sub(age) })
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

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
            issued_to: Registration {
                client_id: Some("client".to_owned()),
                server: Some("https://auth.example".to_owned()),
                scopes: Some(vec!["openid".to_owned()]),
            },
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

    #[test]
    fn what_a_provider_asked_for_is_waited_for_over_a_restart() {
        let retry_after = Some(Duration::from_hours(2));
        let trouble = Trouble {
            failure: Failure::new(FailureClass::RateLimited { retry_after }, "429"),
            attempts: 1,
            retry_at: Some(at(1_000 + 2 * 3_600)),
        };
        let payload = write_trouble(Generation(7), &trouble);
        let (_, read) = read_trouble(&payload, at(1_000)).expect("readable");
        assert_eq!(read, trouble);
    }

    #[test]
    fn a_clock_that_was_set_back_makes_no_back_off_longer_than_it_ever_was() {
        for (class, longest) in
            [(FailureClass::Uncertain, 5 * 60), (FailureClass::Protocol, 30 * 60)]
        {
            let trouble = Trouble {
                failure: Failure::new(class, "no answer"),
                attempts: 4,
                retry_at: Some(at(10_000)),
            };
            let payload = write_trouble(Generation(7), &trouble);
            let (_, read) = read_trouble(&payload, at(2_000)).expect("readable");
            assert_eq!(read.retry_at, Some(at(2_000 + longest)));
        }
    }
}
