//! The header of a token: three members are read, one is refused, the rest is ignored.

use serde::Serialize;
use serde_json::{Map, Value};

use super::JwsError;
use crate::server::{answer, strict};

/// What a header says that matters.
pub(super) struct Header {
    pub(super) alg: String,
    pub(super) kid: String,
    typ: String,
}

/// The header of a token that we sign.
pub(super) fn written(alg: &str, kid: &str, typ: &str) -> String {
    #[derive(Serialize)]
    struct Written<'a> {
        alg: &'a str,
        kid: &'a str,
        typ: &'a str,
    }
    answer::written(&Written { alg, kid, typ })
}

impl Header {
    pub(super) fn parse(text: &[u8]) -> Result<Self, JwsError> {
        let mut members = strict::object(text).map_err(|_| JwsError::Header)?;
        // Refused also when it is empty or no list, which it must not be (RFC 7515 §4.1.11).
        if members.contains_key("crit") {
            return Err(JwsError::Critical);
        }
        Ok(Self {
            alg: taken(&mut members, "alg")?,
            kid: taken(&mut members, "kid")?,
            typ: taken(&mut members, "typ")?,
        })
    }

    /// Whether this is the header of a token of the type `typ`. Media types have no case.
    pub(super) fn is_of_type(&self, typ: &str) -> bool {
        let prefix = "application/";
        let bare = match self.typ.get(..prefix.len()) {
            Some(start) if start.eq_ignore_ascii_case(prefix) => &self.typ[prefix.len()..],
            _ => &self.typ,
        };
        bare.eq_ignore_ascii_case(typ)
    }
}

fn taken(members: &mut Map<String, Value>, name: &str) -> Result<String, JwsError> {
    match members.remove(name) {
        Some(Value::String(text)) => Ok(text),
        _ => Err(JwsError::Header),
    }
}
