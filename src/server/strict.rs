//! JSON where a decision of access rests on it: an object, whole, in which no member stands twice
//! at any depth. serde's own map would silently keep the last one (RFC 7493 §2.3).

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// The text is no JSON object, or a member stands twice in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotStrict;

/// Reads `text` as one object. Deep nesting is refused by the reader's own bound.
pub(super) fn object(text: &[u8]) -> Result<Map<String, Value>, NotStrict> {
    serde_json::from_slice::<NoneTwice>(text).map_err(|_| NotStrict)?;
    // Read by serde_json itself, since how it hands over a number depends on what other crates want of
    // it (its feature `arbitrary_precision`).
    serde_json::from_slice(text).map_err(|_| NotStrict)
}

/// A value without a member that stands twice. What it is does not matter.
struct NoneTwice;

impl<'de> Deserialize<'de> for NoneTwice {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = NoneTwice;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON in which no member stands twice")
    }

    fn visit_unit<E>(self) -> Result<NoneTwice, E> {
        Ok(NoneTwice)
    }

    fn visit_bool<E>(self, _: bool) -> Result<NoneTwice, E> {
        Ok(NoneTwice)
    }

    fn visit_u64<E>(self, _: u64) -> Result<NoneTwice, E> {
        Ok(NoneTwice)
    }

    fn visit_i64<E>(self, _: i64) -> Result<NoneTwice, E> {
        Ok(NoneTwice)
    }

    fn visit_f64<E>(self, _: f64) -> Result<NoneTwice, E> {
        Ok(NoneTwice)
    }

    fn visit_str<E>(self, _: &str) -> Result<NoneTwice, E> {
        Ok(NoneTwice)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<NoneTwice, A::Error> {
        while items.next_element::<NoneTwice>()?.is_some() {}
        Ok(NoneTwice)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<NoneTwice, A::Error> {
        let mut names = BTreeSet::new();
        while let Some(name) = members.next_key::<String>()? {
            members.next_value::<NoneTwice>()?;
            if !names.insert(name) {
                return Err(A::Error::custom("a member stands twice"));
            }
        }
        Ok(NoneTwice)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_member_that_stands_twice_is_refused_at_any_depth() {
        for twice in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"b":2,"a":null}"#,
            r#"{"a":{"b":1,"b":2}}"#,
            r#"{"a":[{"b":1,"b":2}]}"#,
            r#"{"a":1,"\u0061":2}"#,
        ] {
            assert_eq!(object(twice.as_bytes()), Err(NotStrict), "{twice}");
        }
    }

    #[test]
    fn only_one_whole_object_is_an_object() {
        for other in ["", "[]", "1", "null", "\"a\"", "{", "{} {}", "{},", "\u{feff}{}"] {
            assert_eq!(object(other.as_bytes()), Err(NotStrict), "{other}");
        }
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(5_000), "]".repeat(5_000));
        assert_eq!(object(deep.as_bytes()), Err(NotStrict), "too deep");
        assert_eq!(object(b"{\"a\":\xff}"), Err(NotStrict), "not UTF-8");
    }

    #[test]
    fn everything_else_reads_as_serde_reads_it() {
        let text = r#"{"a":[1,-2,2.5,1e3,true,null,"x"],"b":{"c":{}}}"#;
        let expected = json!({"a": [1, -2, 2.5, 1e3, true, null, "x"], "b": {"c": {}}});
        assert_eq!(object(text.as_bytes()).map(Value::Object), Ok(expected));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = object(&bytes);
        }
    }
}
