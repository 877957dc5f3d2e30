//! An application as the vault keeps it. What a newer release wrote into it and this one does not
//! know is kept.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::spec::is_lifetime;
use super::{Application, ApplicationId, GrantGeneration, GrantType, RateLimit, StoredSecret};
use crate::server::kept;
use crate::server::refresh::RefreshPolicy;
use crate::server::scope::Scope;
use crate::vault::payload::{self, FORMAT, PayloadError, from_millis, to_millis};

/// What such a record is called in an error.
const WHAT: &str = "an application";

#[derive(Deserialize)]
struct Known {
    application: ApplicationId,
    name: String,
    permissions: Scope,
    grants: Vec<Value>,
    access_token_lifetime: u64,
    refresh: KnownRefresh,
    generation: GrantGeneration,
    rate_limit: Option<NonZeroU32>,
    enabled: bool,
    created: u64,
    secrets: Vec<KnownSecret>,
}

/// In milliseconds.
#[derive(Serialize, Deserialize)]
struct KnownRefresh {
    idle: u64,
    absolute: u64,
    grace: u64,
}

#[derive(Serialize, Deserialize)]
struct KnownSecret {
    hash: String,
    created: u64,
    ends: Option<u64>,
    used: Option<u64>,
}

impl Application {
    /// Reads a record.
    pub(crate) fn from_record(payload: &[u8]) -> Result<Self, PayloadError> {
        let malformed = PayloadError::Malformed(WHAT);
        let kept: Map<String, Value> = payload::read(payload, WHAT)?;
        let known = Known::deserialize(&Value::Object(kept.clone())).map_err(|_| malformed)?;
        let lifetime = Duration::from_secs(known.access_token_lifetime);
        let secrets: Option<Vec<_>> = known.secrets.iter().map(KnownSecret::read).collect();
        // A grant of a newer release can not be used here, and is kept.
        let grants: BTreeSet<_> =
            known.grants.iter().filter_map(|name| GrantType::named(name.as_str()?)).collect();
        Ok(Self {
            id: known.application,
            name: known.name,
            permissions: known.permissions,
            grants,
            access_token_lifetime: Some(lifetime).filter(|it| is_lifetime(*it)).ok_or(malformed)?,
            refresh: known.refresh.read().ok_or(malformed)?,
            generation: known.generation,
            rate_limit: known.rate_limit.map_or(RateLimit::Unlimited, RateLimit::PerMinute),
            enabled: known.enabled,
            created: from_millis(known.created).ok_or(malformed)?,
            secrets: secrets.filter(|secrets| secrets.len() <= 2).ok_or(malformed)?,
            kept,
        })
    }

    /// Writes the record.
    pub(crate) fn to_record(&self) -> Zeroizing<Vec<u8>> {
        let mut record = self.kept.clone();
        let unknown = match record.remove("grants") {
            Some(Value::Array(names)) => names,
            _ => Vec::new(),
        };
        let unknown = unknown
            .into_iter()
            .filter(|name| name.as_str().is_none_or(|name| GrantType::named(name).is_none()));
        let grants: Vec<_> =
            self.grants.iter().map(|grant| json!(grant.as_str())).chain(unknown).collect();
        let secrets: Vec<Value> =
            self.secrets.iter().map(|secret| json!(KnownSecret::write(secret))).collect();
        let rate_limit = match self.rate_limit {
            RateLimit::Unlimited => None,
            RateLimit::PerMinute(times) => Some(times),
        };
        for (name, value) in [
            ("format", json!(FORMAT)),
            ("application", json!(self.id)),
            ("name", json!(self.name)),
            ("permissions", json!(self.permissions)),
            ("grants", json!(grants)),
            ("access_token_lifetime", json!(self.access_token_lifetime.as_secs())),
            ("refresh", json!(KnownRefresh::write(&self.refresh))),
            ("generation", json!(self.generation)),
            ("rate_limit", json!(rate_limit)),
            ("enabled", json!(self.enabled)),
            ("created", json!(to_millis(self.created))),
        ] {
            kept::set(&mut record, name, value);
        }
        kept::set_list(&mut record, "secrets", "hash", secrets);
        payload::write(&record)
    }
}

impl KnownRefresh {
    fn read(&self) -> Option<RefreshPolicy> {
        let policy = RefreshPolicy::new()
            .idle(Duration::from_millis(self.idle))
            .absolute(Duration::from_millis(self.absolute))
            .grace(Duration::from_millis(self.grace));
        policy.check().is_ok().then_some(policy)
    }

    fn write(policy: &RefreshPolicy) -> Self {
        let millis = |life: Duration| u64::try_from(life.as_millis()).unwrap_or(u64::MAX);
        Self {
            idle: millis(policy.idle),
            absolute: millis(policy.absolute),
            grace: millis(policy.grace),
        }
    }
}

impl KnownSecret {
    fn read(&self) -> Option<StoredSecret> {
        let hash = URL_SAFE_NO_PAD.decode(&self.hash).ok()?;
        let time = |millis: Option<u64>| millis.map_or(Some(None), |it| from_millis(it).map(Some));
        Some(StoredSecret {
            hash: hash.try_into().ok()?,
            created: from_millis(self.created)?,
            ends: time(self.ends)?,
            used: time(self.used)?,
        })
    }

    fn write(secret: &StoredSecret) -> Self {
        Self {
            hash: URL_SAFE_NO_PAD.encode(secret.hash),
            created: to_millis(secret.created),
            ends: secret.ends.map(to_millis),
            used: secret.used.map(to_millis),
        }
    }
}
