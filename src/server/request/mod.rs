//! What a request to an endpoint of the server says: its parameters, and who asks. Plain functions of
//! the bytes; nothing is read from the address (RFC 6749 §2.3.1).

mod credentials;
mod form;
mod json;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use zeroize::Zeroizing;

use super::refusal::Refusal;

pub(crate) use credentials::ClientCredentials;

/// The parameters of a request. Values are wiped when they are dropped.
pub(crate) struct Parameters(BTreeMap<String, Zeroizing<String>>);

impl Parameters {
    /// Reads a body of the type that its header names: a form, or as our extension JSON.
    pub(crate) fn parse(content_type: Option<&str>, body: &[u8]) -> Result<Self, Refusal> {
        match ContentType::parse(content_type) {
            Some(ContentType::Form) => form::parse(body),
            Some(ContentType::Json) => json::parse(body),
            None => Err(Refusal::InvalidRequest(
                "the content type is neither application/x-www-form-urlencoded nor application/json",
            )),
        }
    }

    /// Those of a request without a body.
    pub(crate) fn none() -> Self {
        Self(BTreeMap::new())
    }

    /// The value of a parameter. One without a value counts as omitted (RFC 6749 §3.2).
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.as_str()).filter(|value| !value.is_empty())
    }
}

impl fmt::Debug for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Takes in parameters, none of them twice (RFC 6749 §3.2).
#[derive(Default)]
struct Intake(BTreeMap<String, Zeroizing<String>>);

impl Intake {
    fn add(&mut self, name: String, value: Zeroizing<String>) -> Result<(), Refusal> {
        match self.0.insert(name, value) {
            None => Ok(()),
            Some(_) => Err(Refusal::InvalidRequest("a parameter stands twice")),
        }
    }

    fn finished(self) -> Parameters {
        Parameters(self.0)
    }
}

/// Whether a body of this type is JSON.
pub(crate) fn is_json(content_type: Option<&str>) -> bool {
    matches!(ContentType::parse(content_type), Some(ContentType::Json))
}

enum ContentType {
    Form,
    Json,
}

impl ContentType {
    /// A media type has no case and may have parameters; its text is UTF-8 in any case.
    fn parse(header: Option<&str>) -> Option<Self> {
        let mut parts = header?.split(';').map(str::trim);
        let essence = parts.next()?;
        let utf_8 = |parameter: &str| match parameter.split_once('=') {
            Some((name, value)) if name.trim().eq_ignore_ascii_case("charset") => {
                value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
            }
            _ => true,
        };
        if !parts.all(utf_8) {
            return None;
        }
        if essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            Some(Self::Form)
        } else if essence.eq_ignore_ascii_case("application/json") {
            Some(Self::Json)
        } else {
            None
        }
    }
}
