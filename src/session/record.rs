//! A session as the vault keeps it. What a newer release wrote into
//! it and this one does not know is kept.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::view::{ProviderContext, SessionView, Standing};
use crate::identity::{Label, Method, ProviderId, SessionId, UserId};
use crate::vault::payload::{self, FORMAT, PayloadError, from_millis, to_millis};

/// What such a record is called in an error.
const WHAT: &str = "a session";

/// What a session is, apart from its activity.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) user: UserId,
    pub(super) created: SystemTime,
    pub(super) active: Option<ProviderId>,
    pub(super) contexts: BTreeMap<ProviderId, ProviderContext>,
    /// The record as it was read, with all that this release does not know.
    kept: Map<String, Value>,
}

#[derive(Deserialize)]
struct Known {
    session: SessionId,
    user: UserId,
    created: u64,
    last_activity: u64,
    active: Option<ProviderId>,
    contexts: BTreeMap<ProviderId, Value>,
}

#[derive(Deserialize)]
struct KnownContext {
    method: Method,
    label: Label,
}

impl Session {
    pub(super) fn new(id: SessionId, user: UserId, created: SystemTime) -> Self {
        Self { id, user, created, active: None, contexts: BTreeMap::new(), kept: Map::new() }
    }

    /// Reads a record: the session and its last activity.
    pub(super) fn from_record(payload: &[u8]) -> Result<(Self, SystemTime), PayloadError> {
        let kept: Map<String, Value> = payload::read(payload, WHAT)?;
        let known = Known::deserialize(&Value::Object(kept.clone()));
        let known = known.map_err(|_| PayloadError::Malformed(WHAT))?;
        // A context with a method of a newer release can not be used here, and is kept.
        let contexts: BTreeMap<_, _> = known
            .contexts
            .into_iter()
            .filter_map(|(provider, value)| {
                let KnownContext { method, label } = serde_json::from_value(value).ok()?;
                Some((provider.clone(), ProviderContext { provider, method, label }))
            })
            .collect();
        let session = Self {
            id: known.session,
            user: known.user,
            created: time(known.created)?,
            active: known.active.filter(|active| contexts.contains_key(active)),
            contexts,
            kept,
        };
        Ok((session, time(known.last_activity)?))
    }

    /// Writes the record.
    pub(super) fn to_record(&self, last_activity: SystemTime) -> Zeroizing<Vec<u8>> {
        let mut record = self.kept.clone();
        record.insert("format".to_owned(), json!(FORMAT));
        record.insert("session".to_owned(), json!(self.id));
        record.insert("user".to_owned(), json!(self.user));
        record.insert("created".to_owned(), json!(to_millis(self.created)));
        record.insert("last_activity".to_owned(), json!(to_millis(last_activity)));
        record.insert("active".to_owned(), json!(self.active));
        let mut contexts = match record.remove("contexts") {
            Some(Value::Object(contexts)) => contexts,
            _ => Map::new(),
        };
        for context in self.contexts.values() {
            let entry = contexts.entry(context.provider.as_str()).or_insert_with(|| json!({}));
            if !entry.is_object() {
                *entry = json!({});
            }
            entry["method"] = json!(context.method);
            entry["label"] = json!(context.label);
        }
        record.insert("contexts".to_owned(), Value::Object(contexts));
        payload::write(&record)
    }

    pub(super) fn view(&self, standing: Standing) -> SessionView {
        SessionView {
            id: self.id.clone(),
            user: self.user.clone(),
            created: self.created,
            active: self.active.clone(),
            contexts: self.contexts.clone(),
            standing,
        }
    }
}

fn time(millis: u64) -> Result<SystemTime, PayloadError> {
    from_millis(millis).ok_or(PayloadError::Malformed(WHAT))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::testing::SeededEntropy;

    fn time(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn session() -> Session {
        let id = SessionId::random(&SeededEntropy::new(1)).expect("randomness");
        let mut session = Session::new(id, UserId::new("ada").expect("a name"), time(100));
        let provider = ProviderId::new("openai").expect("a name");
        session.active = Some(provider.clone());
        let context = ProviderContext {
            provider: provider.clone(),
            method: Method::AuthorizationCode,
            label: Label::default(),
        };
        session.contexts.insert(provider, context);
        session
    }

    fn as_json(payload: &[u8]) -> Value {
        serde_json::from_slice(payload).expect("json")
    }

    #[test]
    fn a_session_reads_what_it_wrote() {
        let session = session();
        let (read, last_activity) =
            Session::from_record(&session.to_record(time(200))).expect("a session");
        assert_eq!(read.view(Standing::Open), session.view(Standing::Open));
        assert_eq!(last_activity, time(200));
    }

    #[test]
    fn what_a_newer_release_added_is_kept() {
        let mut value = as_json(&session().to_record(time(200)));
        value["colour"] = json!("green");
        value["contexts"]["openai"]["fallback"] = json!(true);
        value["contexts"]["other"] = json!({ "method": "telepathy", "label": "default" });
        let (mut read, _) = Session::from_record(value.to_string().as_bytes()).expect("a session");
        assert_eq!(read.contexts.len(), 1, "a context with an unknown method can not be used");

        read.active = None;
        value["active"] = Value::Null;
        assert_eq!(as_json(&read.to_record(time(200))), value);
    }

    #[test]
    fn a_record_of_a_newer_format_is_not_taken_for_damage() {
        let mut value = as_json(&session().to_record(time(200)));
        value["format"] = json!(2);
        let read = Session::from_record(value.to_string().as_bytes());
        assert_eq!(read.expect_err("newer"), PayloadError::NewerFormat(2));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Session::from_record(&bytes).is_err());
        }

        #[test]
        fn any_numbers_are_read_without_a_panic(created in any::<u64>(), last in any::<u64>()) {
            let mut value = as_json(&session().to_record(time(200)));
            value["created"] = json!(created);
            value["last_activity"] = json!(last);
            let _ = Session::from_record(value.to_string().as_bytes());
        }
    }
}
