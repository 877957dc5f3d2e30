//! A family as the vault keeps it: hashes, and no token. What a newer release wrote into it and this
//! one does not know is kept.

use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::family::{Family, Previous};
use super::told::Told;
use crate::server::application::{ApplicationId, GrantGeneration};
use crate::server::kept;
use crate::server::scope::Scope;
use crate::vault::payload::{self, FORMAT, PayloadError, from_millis, to_millis};

/// What such a record is called in an error.
const WHAT: &str = "a family of refresh tokens";

#[derive(Deserialize)]
struct Known {
    family: String,
    application: ApplicationId,
    generation: GrantGeneration,
    scope: Scope,
    created: u64,
    ends: u64,
    idle_ends: u64,
    current: String,
    previous: Option<KnownPrevious>,
    revoked: bool,
    /// Records of before have neither.
    #[serde(default)]
    rotations_untold: u64,
    rotations_told: Option<u64>,
}

#[derive(Deserialize)]
struct KnownPrevious {
    hash: String,
    used: u64,
}

impl Family {
    /// Reads a record.
    pub(crate) fn from_record(payload: &[u8]) -> Result<Self, PayloadError> {
        let kept: Map<String, Value> = payload::read(payload, WHAT)?;
        let known = Known::deserialize(&Value::Object(kept.clone()));
        let known = known.map_err(|_| PayloadError::Malformed(WHAT))?;
        let previous = match known.previous {
            Some(previous) => {
                Some(Previous { hash: hash(&previous.hash)?, used: time(previous.used)? })
            }
            None => None,
        };
        Ok(Self {
            id: known.family,
            application: known.application,
            generation: known.generation,
            scope: known.scope,
            created: time(known.created)?,
            ends: time(known.ends)?,
            idle_ends: time(known.idle_ends)?,
            current: hash(&known.current)?,
            previous,
            revoked: known.revoked,
            told: Told {
                untold: known.rotations_untold,
                last: known.rotations_told.map(time).transpose()?,
            },
            kept,
        })
    }

    /// Writes the record.
    pub(crate) fn to_record(&self) -> Zeroizing<Vec<u8>> {
        let mut record = self.kept.clone();
        let text = |hash: &[u8; 32]| URL_SAFE_NO_PAD.encode(hash);
        let previous = self.previous.as_ref();
        let before = record.get("previous").and_then(|it| it["hash"].as_str());
        if before != previous.map(|it| text(&it.hash)).as_deref() {
            record.remove("previous");
        }
        let previous =
            previous.map(|it| json!({ "hash": text(&it.hash), "used": to_millis(it.used) }));
        for (name, value) in [
            ("format", json!(FORMAT)),
            ("family", json!(self.id)),
            ("application", json!(self.application)),
            ("generation", json!(self.generation)),
            ("scope", json!(self.scope)),
            ("created", json!(to_millis(self.created))),
            ("ends", json!(to_millis(self.ends))),
            ("idle_ends", json!(to_millis(self.idle_ends))),
            ("current", json!(text(&self.current))),
            ("previous", json!(previous)),
            ("revoked", json!(self.revoked)),
            ("rotations_untold", json!(self.told.untold)),
            ("rotations_told", json!(self.told.last.map(to_millis))),
        ] {
            kept::set(&mut record, name, value);
        }
        payload::write(&record)
    }
}

fn time(millis: u64) -> Result<SystemTime, PayloadError> {
    from_millis(millis).ok_or(PayloadError::Malformed(WHAT))
}

fn hash(text: &str) -> Result<[u8; 32], PayloadError> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or(PayloadError::Malformed(WHAT))
}
