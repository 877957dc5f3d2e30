//! JSON bodies: one object of strings, and nothing else.

use std::fmt;

use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

use super::{Intake, Parameters};
use crate::server::refusal::Refusal;

/// Reads a JSON object whose members are strings, each once (RFC 7493 §2.3).
pub(super) fn parse(body: &[u8]) -> Result<Parameters, Refusal> {
    let members: Members = serde_json::from_slice(body)
        .map_err(|_| Refusal::InvalidRequest("the body is not one JSON object of strings"))?;
    Ok(members.0.finished())
}

struct Members(Intake);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Reader).map(Self)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Intake;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of strings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Intake, A::Error> {
        let mut intake = Intake::default();
        while let Some(name) = members.next_key::<String>()? {
            let value = Zeroizing::new(members.next_value::<String>()?);
            intake.add(name, value).map_err(|_| A::Error::custom("a member stands twice"))?;
        }
        Ok(intake)
    }
}
