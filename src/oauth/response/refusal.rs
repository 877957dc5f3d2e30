//! The answer that refuses (RFC 6749 §5.2), in all the shapes that are seen.

use std::fmt;
use std::time::Duration;

use http::StatusCode;
use serde::de::value::MapAccessDeserializer;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::Problem;
use super::scalar::Scalar;

/// An answer that refuses.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The HTTP status.
    pub(crate) status: StatusCode,
    /// What it came with.
    pub(crate) body: RefusalBody,
    /// `error.code`, or `error` when it is text, or `code`, or `error.type`, as it came.
    pub(crate) code: Option<String>,
    /// The description, in lower case. It is compared, never shown.
    pub(crate) description: Option<String>,
    /// The value of `Retry-After`, as a wait from now.
    pub(crate) retry_after: Option<Duration>,
}

/// Who is likely to have written a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RefusalBody {
    /// A JSON object: the endpoint itself.
    Json,
    /// Nothing, or white space: not a page for people, so not what stands in between.
    Empty,
    /// Anything else, such as the page of a proxy.
    Other,
}

impl Refusal {
    /// A refusal whose body says nothing that can be read.
    pub(super) fn opaque(status: StatusCode, body: &[u8]) -> Self {
        let empty = body.trim_ascii().is_empty();
        let body = if empty { RefusalBody::Empty } else { RefusalBody::Other };
        Self { status, body, code: None, description: None, retry_after: None }
    }

    /// Whether it is a JSON object.
    pub(crate) fn is_json(&self) -> bool {
        self.body == RefusalBody::Json
    }

    /// The code when it can not be anything but a code: a token that a server echoes has digits or
    /// capitals, or is longer.
    pub(crate) fn printable_code(&self) -> Option<&str> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
        self.code.as_deref().filter(|code| code.len() <= 40 && code.bytes().all(plain))
    }
}

impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refusal")
            .field("status", &self.status)
            .field("body", &self.body)
            .field("code", &self.printable_code())
            .field("retry_after", &self.retry_after)
            .finish_non_exhaustive()
    }
}

/// The members by which servers say what is wrong, in all the shapes that are seen.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct ErrorMembers {
    error: ErrorMember,
    code: Scalar,
    error_description: Scalar,
}

#[derive(Default)]
enum ErrorMember {
    #[default]
    Absent,
    Text(String),
    Object(ErrorObject),
    Other,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ErrorObject {
    code: Scalar,
    #[serde(rename = "type")]
    kind: Scalar,
    message: Scalar,
}

impl<'de> Deserialize<'de> for ErrorMember {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(ErrorVisitor)
    }
}

/// Takes text and an object, each for itself. A derived reader would take an array for the members of
/// the object in their order, and find a code where the server wrote none.
struct ErrorVisitor;

impl<'de> Visitor<'de> for ErrorVisitor {
    type Value = ErrorMember;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<ErrorMember, E> {
        Ok(ErrorMember::Absent)
    }

    fn visit_str<E>(self, text: &str) -> Result<ErrorMember, E> {
        Ok(ErrorMember::Text(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<ErrorMember, A::Error> {
        ErrorObject::deserialize(MapAccessDeserializer::new(members)).map(ErrorMember::Object)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<ErrorMember, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(ErrorMember::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<ErrorMember, E> {
        Ok(ErrorMember::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<ErrorMember, E> {
        Ok(ErrorMember::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<ErrorMember, E> {
        Ok(ErrorMember::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<ErrorMember, E> {
        Ok(ErrorMember::Other)
    }
}

impl ErrorMembers {
    /// Whether there is an `error` at all; null and empty are none.
    pub(super) fn refuses(&self) -> bool {
        match &self.error {
            ErrorMember::Absent => false,
            ErrorMember::Text(text) => !text.is_empty(),
            ErrorMember::Object(_) | ErrorMember::Other => true,
        }
    }

    /// Fails for anything but one whole JSON object in valid UTF-8.
    pub(super) fn read(body: &[u8]) -> Result<Self, Problem> {
        let text = std::str::from_utf8(body).map_err(|_| Problem::NotJson)?;
        if !text.trim_start().starts_with('{') {
            return Err(Problem::NotJson);
        }
        serde_json::from_str(text).map_err(|error| {
            // serde's own words for a member of this type that comes twice.
            let twice = error.to_string().starts_with("duplicate field");
            if twice { Problem::DuplicateMember } else { Problem::NotJson }
        })
    }

    pub(super) fn refusal(self, status: StatusCode) -> Refusal {
        let (code, kind, description) = match self.error {
            ErrorMember::Text(text) => (Scalar::Text(text), Scalar::Null, self.error_description),
            ErrorMember::Object(error) => (error.code, error.kind, error.message),
            ErrorMember::Absent | ErrorMember::Other => {
                (Scalar::Null, Scalar::Null, self.error_description)
            }
        };
        let code = [code, self.code, kind].into_iter().find_map(Scalar::into_text);
        Refusal {
            status,
            body: RefusalBody::Json,
            code,
            description: description.into_text().map(|text| text.to_ascii_lowercase()),
            retry_after: None,
        }
    }
}
