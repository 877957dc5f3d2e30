//! Where the members of a token answer stand, for servers that put them elsewhere than
//! RFC 6749 §5.1 does. What is found is written as the standard has it, for the one parser.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::{Zeroize as _, Zeroizing};

use super::Problem;
use super::scalar::Scalar;

/// Where the members of a token answer stand: each a path of keys.
///
/// ```
/// use tokenward::oauth::TokenFields;
///
/// // A provider that wraps its answer: {"data": {"token": "…"}}.
/// let fields = TokenFields {
///     access_token: vec!["data".to_owned(), "token".to_owned()],
///     ..TokenFields::default()
/// };
/// assert_eq!(fields.refresh_token, ["refresh_token"]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenFields {
    /// The access token.
    pub access_token: Vec<String>,
    /// Its type.
    pub token_type: Vec<String>,
    /// How long it lives, in seconds.
    pub expires_in: Vec<String>,
    /// The refresh token.
    pub refresh_token: Vec<String>,
    /// What was granted.
    pub scope: Vec<String>,
    /// The id token.
    pub id_token: Vec<String>,
}

impl Default for TokenFields {
    fn default() -> Self {
        let path = |name: &str| vec![name.to_owned()];
        Self {
            access_token: path("access_token"),
            token_type: path("token_type"),
            expires_in: path("expires_in"),
            refresh_token: path("refresh_token"),
            scope: path("scope"),
            id_token: path("id_token"),
        }
    }
}

impl TokenFields {
    fn paths(&self) -> [(&'static str, &[String]); 6] {
        [
            ("access_token", &self.access_token),
            ("token_type", &self.token_type),
            ("expires_in", &self.expires_in),
            ("refresh_token", &self.refresh_token),
            ("scope", &self.scope),
            ("id_token", &self.id_token),
        ]
    }

    /// The answer with every member where the standard has it; none where it stands so already.
    pub(in crate::oauth) fn standardized(
        &self,
        body: &[u8],
    ) -> Result<Option<Zeroizing<Vec<u8>>>, Problem> {
        if *self == Self::default() {
            return Ok(None);
        }
        let mut found = Found(Vec::new());
        let mut json = serde_json::Deserializer::from_slice(body);
        let walk = Walk { wanted: self.paths().to_vec(), found: &mut found };
        walk.deserialize(&mut json)
            .and_then(|()| json.end())
            .map_err(|error| Problem::of(&error))?;
        // Room for the longest escape of each byte, so that no unwiped copy is left by growth.
        let mut flat = Zeroizing::new(Vec::with_capacity(6 * body.len() + 256));
        serde_json::to_writer(&mut *flat, &found).map_err(|_| Problem::NotJson)?;
        Ok(Some(flat))
    }
}

/// What was found, by its standard name. Wiped when dropped.
struct Found(Vec<(&'static str, Scalar)>);

impl Drop for Found {
    fn drop(&mut self) {
        for (_, value) in &mut self.0 {
            if let Scalar::Text(text) = value {
                text.zeroize();
            }
        }
    }
}

impl Serialize for Found {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut object = to.serialize_map(None)?;
        for (name, value) in &self.0 {
            match value {
                Scalar::Null => {}
                Scalar::Text(text) => object.serialize_entry(name, text)?,
                Scalar::Whole(number) => object.serialize_entry(name, number)?,
                Scalar::Fraction(number) => object.serialize_entry(name, number)?,
                // Of a kind that no member has: the parser judges it.
                Scalar::Other => object.serialize_entry(name, &false)?,
            }
        }
        object.end()
    }
}

/// Walks down an answer to what is wanted, each with the rest of its path.
struct Walk<'p, 'f> {
    wanted: Vec<(&'static str, &'p [String])>,
    found: &'f mut Found,
}

impl<'de> DeserializeSeed<'de> for Walk<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a json object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = BTreeSet::new();
        while let Some(key) = map.next_key::<String>()? {
            let below: Vec<_> = self
                .wanted
                .iter()
                .filter_map(|(name, path)| {
                    let (first, rest) = path.split_first()?;
                    (*first == key).then_some((*name, rest))
                })
                .collect();
            if below.is_empty() {
                map.next_value::<IgnoredAny>()?;
            } else if let Some((name, _)) = below.iter().find(|(_, rest)| rest.is_empty()) {
                let value = map.next_value()?;
                self.found.0.push((*name, value));
            } else {
                map.next_value_seed(Walk { wanted: below, found: &mut *self.found })?;
            }
            if !seen.insert(key) {
                return Err(A::Error::custom(Problem::DuplicateMember.as_str()));
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Vec<String> {
        text.split('.').map(str::to_owned).collect()
    }

    fn nested() -> TokenFields {
        TokenFields {
            access_token: path("data.user.token"),
            expires_in: path("data.ttl"),
            refresh_token: path("data.user.renewal"),
            ..TokenFields::default()
        }
    }

    fn flat(body: &str) -> Result<serde_json::Value, Problem> {
        let flat = nested().standardized(body.as_bytes())?.expect("it is not standard");
        Ok(serde_json::from_slice(&flat).expect("json"))
    }

    #[test]
    fn members_are_found_where_they_are_said_to_stand() {
        let body = r#"{"ok":true,"data":{"ttl":60,"user":{"token":"at","renewal":"rt"},"x":[1]},
                       "token_type":"bearer","access_token":"a decoy"}"#;
        let expected = serde_json::json!({
            "access_token": "at", "expires_in": 60, "refresh_token": "rt", "token_type": "bearer"
        });
        assert_eq!(flat(body), Ok(expected));
        let standard = TokenFields::default().standardized(body.as_bytes());
        assert!(matches!(standard, Ok(None)), "the standard is left as it is");
    }

    #[test]
    fn odd_answers_are_judged_and_never_guessed_at() {
        assert_eq!(flat(r#"{"data":"text"}"#), Ok(serde_json::json!({})));
        assert_eq!(flat("[1,{}]"), Ok(serde_json::json!({})));
        let twice = r#"{"data":{"ttl":1},"data":{"ttl":2}}"#;
        assert_eq!(flat(twice), Err(Problem::DuplicateMember));
        for broken in ["", "{", "<html>", "{} {}"] {
            assert_eq!(flat(broken), Err(Problem::NotJson), "{broken}");
        }
        let odd = flat(r#"{"data":{"ttl":[1],"user":{"token":{"a":1}}}}"#);
        assert_eq!(odd, Ok(serde_json::json!({"access_token": false, "expires_in": false})));
    }
}
