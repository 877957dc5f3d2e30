//! How a resource says that it refuses a credential, where the status alone does not: a text at a
//! place in the body.

use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One such way: a status, a path of keys into the body, and the text that stands there.
///
/// ```
/// use tokenward::provider::RefusalSign;
/// use tokenward::{Provider as _, catalog};
/// use http::StatusCode;
///
/// // {"error": {"code": "token_expired"}} behind a 400 is a refusal, too.
/// let mut provider = catalog::openai();
/// let sign = RefusalSign::new(400, &["error", "code"], "token_expired");
/// provider.errors.credential_refused.push(sign);
/// let body = br#"{"error": {"code": "token_expired"}}"#;
/// assert!(provider.refuses_credential(StatusCode::BAD_REQUEST, body));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefusalSign {
    /// The status of the answer.
    pub status: u16,
    /// The keys that lead to the text. Lists on the way are searched through.
    pub path: Vec<String>,
    /// The text, exactly, or a number as it is written.
    pub value: String,
}

impl RefusalSign {
    /// A sign at `path`.
    pub fn new(status: u16, path: &[&str], value: &str) -> Self {
        let path = path.iter().map(|&key| key.to_owned()).collect();
        Self { status, path, value: value.to_owned() }
    }

    pub(crate) fn may_stand_in(&self, status: StatusCode) -> bool {
        self.status == status.as_u16()
    }

    /// What is no JSON holds no sign.
    pub(crate) fn stands_in(&self, body: &[u8]) -> bool {
        let body: Result<Value, _> = serde_json::from_slice(body);
        body.is_ok_and(|body| self.is_at(&body, &self.path))
    }

    fn is_at(&self, value: &Value, path: &[String]) -> bool {
        match (value, path) {
            (Value::Array(items), _) => items.iter().any(|item| self.is_at(item, path)),
            (Value::Object(members), [key, rest @ ..]) => {
                members.get(key).is_some_and(|member| self.is_at(member, rest))
            }
            (Value::String(text), []) => *text == self.value,
            (Value::Number(number), []) => number.to_string() == self.value,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sign() -> RefusalSign {
        RefusalSign::new(400, &["error", "details", "reason"], "API_KEY_INVALID")
    }

    #[test]
    fn the_text_has_to_stand_at_its_place() {
        let bad_key = br#"{"error":{"code":400,"status":"INVALID_ARGUMENT","details":[
            {"@type":"x"},{"reason":"API_KEY_INVALID","domain":"googleapis.com"}]}}"#;
        assert!(sign().stands_in(bad_key));
        for other in [
            // What a caller sent, and the provider repeats.
            r#"{"error":{"message":"API_KEY_INVALID"}}"#,
            r#"{"error":{"details":[{"reason":"API_KEY_INVALID_NOT"}]}}"#,
            r#"{"error":{"details":[{"reason":{"API_KEY_INVALID":1}}]}}"#,
            r#"{"details":[{"reason":"API_KEY_INVALID"}]}"#,
            r#""API_KEY_INVALID""#,
            "API_KEY_INVALID",
            "",
        ] {
            assert!(!sign().stands_in(other.as_bytes()), "{other}");
        }
        let expired = RefusalSign::new(400, &["code"], "42");
        assert!(expired.stands_in(br#"{"code":42}"#) && expired.stands_in(br#"{"code":"42"}"#));
        assert!(!expired.stands_in(br#"{"code":420}"#));
        assert!(sign().may_stand_in(StatusCode::BAD_REQUEST));
        assert!(!sign().may_stand_in(StatusCode::OK));
    }

    proptest! {
        #[test]
        fn no_body_panics(body in ".{0,80}") {
            let _ = sign().stands_in(body.as_bytes());
        }
    }
}
