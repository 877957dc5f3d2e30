//! What a newer release wrote into a record, and this one does not know: it is left where it stands,
//! at any depth, so that going back to this release loses nothing of it.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// Sets a member. Within an object only what `value` has is set.
pub(super) fn set(record: &mut Map<String, Value>, name: &str, value: Value) {
    match (record.get_mut(name), value) {
        (Some(Value::Object(before)), Value::Object(after)) => {
            for (name, value) in after {
                set(before, &name, value);
            }
        }
        (_, value) => drop(record.insert(name.to_owned(), value)),
    }
}

/// Sets a member to a list of objects. Each goes on from the one before that has the same `key`.
pub(super) fn set_list(
    record: &mut Map<String, Value>,
    name: &str,
    key: &str,
    values: impl IntoIterator<Item = Value>,
) {
    let before = record.remove(name);
    let before = before.as_ref().and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let merged = values.into_iter().map(|value| {
        let mut slot = Map::new();
        let same = before.iter().find(|it| it.get(key).is_some() && it.get(key) == value.get(key));
        slot.extend(same.map(|same| (String::new(), same.clone())));
        set(&mut slot, "", value);
        slot.remove("").unwrap_or_default()
    });
    let merged = Value::Array(merged.collect());
    record.insert(name.to_owned(), merged);
}

/// The members that a release knows of an object.
pub(super) trait Known {
    /// Their names.
    const NAMES: &[&str];
}

/// What stands in an object beside the members that are known. Those are not copied: they may be
/// secrets.
pub(super) struct Beside<K>(pub(super) Map<String, Value>, PhantomData<K>);

impl<'de, K: Known> Deserialize<'de> for Beside<K> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Reader(PhantomData))
    }
}

struct Reader<K>(PhantomData<K>);

impl<'de, K: Known> Visitor<'de> for Reader<K> {
    type Value = Beside<K>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Beside<K>, A::Error> {
        let mut beside = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if K::NAMES.contains(&name.as_str()) {
                members.next_value::<IgnoredAny>()?;
            } else {
                beside.insert(name, members.next_value()?);
            }
        }
        Ok(Beside(beside, PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(object) => object,
            other => panic!("{other} is no object"),
        }
    }

    #[test]
    fn what_is_not_set_stays_at_any_depth() {
        let mut record = object(json!({ "a": 1, "b": { "c": 2, "new": 3 }, "new": [4] }));
        set(&mut record, "a", json!(5));
        set(&mut record, "b", json!({ "c": null }));
        set(&mut record, "d", json!({ "e": 6 }));
        let expected = json!({ "a": 5, "b": { "c": null, "new": 3 }, "d": { "e": 6 }, "new": [4] });
        assert_eq!(Value::Object(record), expected);
    }

    #[test]
    fn an_item_of_a_list_goes_on_from_the_one_of_the_same_key() {
        let mut record = object(json!({ "l": [{ "k": 1, "new": 2 }, { "k": 3, "new": 4 }] }));
        set_list(&mut record, "l", "k", [json!({ "k": 3, "x": 5 }), json!({ "k": 6 })]);
        assert_eq!(
            Value::Object(record),
            json!({ "l": [{ "k": 3, "new": 4, "x": 5 }, { "k": 6 }] })
        );
    }

    #[test]
    fn what_is_known_is_not_copied() {
        struct Secret;
        impl Known for Secret {
            const NAMES: &[&str] = &["secret"];
        }
        let read = serde_json::from_str::<Beside<Secret>>(r#"{"secret":"x","new":{"y":1}}"#);
        assert_eq!(Value::Object(read.expect("an object").0), json!({ "new": { "y": 1 } }));
    }
}
