//! The authorization response as it stands in the query of the redirect URI (RFC 6749 §4.1.2),
//! read strictly: what could mean two things is refused.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use url::form_urlencoded;

use crate::secret::Secret;

/// The longest query that is read, in bytes. Codes of some providers are JWTs of a few KiB.
const LONGEST_QUERY: usize = 12 * 1024;

/// The longest error code and error description that are kept, in characters.
const LONGEST_CODE: usize = 64;
const LONGEST_DESCRIPTION: usize = 200;

/// What the authorization server sent back with the browser.
///
/// ```
/// use tokenward::oauth::redirect::AuthorizationResponse;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let granted = AuthorizationResponse::from_query("code=abc&state=xyz")?;
/// assert_eq!(granted.outcome.expect("a code").expose(), "abc");
///
/// let refused = AuthorizationResponse::from_query("error=access_denied&state=xyz")?;
/// assert_eq!(refused.outcome.expect_err("she said no").code, "access_denied");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuthorizationResponse {
    /// The authorization code, or why there is none.
    pub outcome: Result<Secret, Refusal>,
    /// The `state` that came back. The owner of the sign-in compares it.
    pub state: Option<Secret>,
    /// The issuer that answers (RFC 9207), when the server says so.
    pub issuer: Option<String>,
}

/// The authorization server's refusal (RFC 6749 §4.1.2.1), made safe to show: printable ASCII,
/// bounded in length.
///
/// [`AuthorizationResponse::outcome`] has it where the provider gives no code.
///
/// ```
/// use tokenward::oauth::redirect::AuthorizationResponse;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let query = "error=access_denied&error_description=she+said+no&state=xyz";
/// let refusal = AuthorizationResponse::from_query(query)?.outcome.expect_err("no code");
/// assert_eq!(refusal.code, "access_denied");
/// assert_eq!(refusal.to_string(), "access_denied (she said no)");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusal {
    /// The error code, such as `access_denied`.
    pub code: String,
    /// What the server says about it.
    pub description: Option<String>,
}

/// Why a query is no authorization response.
///
/// ```
/// use tokenward::oauth::redirect::{AuthorizationResponse, ResponseError};
///
/// let answer = AuthorizationResponse::from_query("state=xyz");
/// assert_eq!(answer.expect_err("neither code nor error"), ResponseError::Empty);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResponseError {
    /// There is neither a code nor an error.
    #[error(
        "the address holds neither a code nor an error, copy the whole one that the browser shows once \
         you have agreed: it has code= in it"
    )]
    Empty,
    /// There are a code and an error.
    #[error("the address holds a code and an error at once, start the sign-in again")]
    Contradictory,
    /// A parameter stands there more than once.
    #[error("the address repeats a parameter, start the sign-in again")]
    Repeated,
    /// The code or the state holds characters that neither may hold.
    #[error("the address holds a damaged code or state, copy the whole address again")]
    Damaged,
    /// It is longer than any authorization response.
    #[error("the address is too long for the end of a sign-in, copy the right one")]
    TooLong,
}

impl AuthorizationResponse {
    /// Reads the query of a redirect URI.
    ///
    /// Parameters without a value count as absent (RFC 6749 §3.1); unknown ones are ignored
    /// (§4.1.2), unless they are repeated.
    ///
    /// # Errors
    ///
    /// When a parameter is repeated, when there are both a code and an error or neither, and when
    /// the code or the state is not printable ASCII (RFC 6749 appendix A.5, A.11).
    pub fn from_query(query: &str) -> Result<Self, ResponseError> {
        if query.len() > LONGEST_QUERY {
            return Err(ResponseError::TooLong);
        }
        let mut seen = HashSet::new();
        let (mut code, mut state, mut error, mut description, mut issuer) =
            (None, None, None, None, None);
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "code" => code = secret(value)?,
                "state" => state = secret(value)?,
                "error" => error = printable(&value, LONGEST_CODE),
                "error_description" => description = printable(&value, LONGEST_DESCRIPTION),
                "iss" => issuer = Some(value.into_owned()).filter(|issuer| !issuer.is_empty()),
                _ => {}
            }
            if !seen.insert(name) {
                return Err(ResponseError::Repeated);
            }
        }
        let outcome = match (code, error) {
            (Some(code), None) => Ok(code),
            (None, Some(code)) => Err(Refusal { code, description }),
            (Some(_), Some(_)) => return Err(ResponseError::Contradictory),
            (None, None) => return Err(ResponseError::Empty),
        };
        Ok(Self { outcome, state, issuer })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.code)?;
        self.description.iter().try_for_each(|description| write!(f, " ({description})"))
    }
}

/// Whether `text` is what a code or a state may be: printable ASCII, at least one character.
pub(super) fn is_visible(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| (0x20..=0x7e).contains(&byte))
}

/// The value as a secret; none when it is empty. Invalid UTF-8 was replaced while decoding and
/// is refused with everything else outside printable ASCII.
fn secret(value: Cow<'_, str>) -> Result<Option<Secret>, ResponseError> {
    if value.is_empty() {
        return Ok(None);
    }
    let allowed = is_visible(&value);
    let secret = match value {
        Cow::Borrowed(text) => Secret::new(text),
        Cow::Owned(text) => Secret::from(text),
    };
    if allowed { Ok(Some(secret)) } else { Err(ResponseError::Damaged) }
}

/// What of `text` can be shown: printable ASCII, at most `longest` characters; none when it is
/// empty. A text of nothing else is still an answer, so it becomes a question mark.
fn printable(text: &str, longest: usize) -> Option<String> {
    if text.is_empty() {
        return None;
    }
    let kept: String = text.chars().filter(|c| matches!(c, ' '..='~')).take(longest).collect();
    let kept = kept.trim();
    Some(if kept.is_empty() { "?".to_owned() } else { kept.to_owned() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(query: &str) -> Result<AuthorizationResponse, ResponseError> {
        AuthorizationResponse::from_query(query)
    }

    #[test]
    fn a_code_comes_with_its_state_and_issuer() {
        let response = read("code=4%2F0Ab&state=xyz&iss=https%3A%2F%2Fidp.example&scope=a+b")
            .expect("a response");
        assert_eq!(response.outcome, Ok(Secret::new("4/0Ab")));
        assert_eq!(response.state, Some(Secret::new("xyz")));
        assert_eq!(response.issuer.as_deref(), Some("https://idp.example"));
    }

    #[test]
    fn a_refusal_is_made_safe_to_show() {
        let query = format!(
            "error=access_denied&error_description=no%0D%0A%1B%5B31m%C3%A9{}&state=xyz",
            "x".repeat(500)
        );
        let refusal = read(&query).expect("a response").outcome.expect_err("a refusal");
        assert_eq!(refusal.code, "access_denied");
        let description = refusal.description.expect("a description");
        assert!(description.starts_with("no[31mxxx"));
        assert_eq!(description.len(), 200);
    }

    #[test]
    fn what_could_mean_two_things_is_refused() {
        assert_eq!(read("state=xyz"), Err(ResponseError::Empty));
        assert_eq!(read("code=&state=xyz"), Err(ResponseError::Empty), "no value: not there");
        assert_eq!(read("code=a&error=b&state=c"), Err(ResponseError::Contradictory));
        assert_eq!(read("code=a&code=a&state=c"), Err(ResponseError::Repeated));
        assert_eq!(read("code=a&state=c&x=1&x=1"), Err(ResponseError::Repeated));
        assert_eq!(read("code=a%FF&state=c"), Err(ResponseError::Damaged));
        assert_eq!(read("code=a&state=c%0A"), Err(ResponseError::Damaged));
        assert_eq!(read(&format!("code={}", "a".repeat(13_000))), Err(ResponseError::TooLong));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic_and_refusals_are_printable(query in ".{0,300}") {
            if let Ok(AuthorizationResponse { outcome: Err(refusal), .. }) = read(&query) {
                prop_assert!(is_visible(&refusal.to_string()));
            }
        }

        #[test]
        fn a_code_and_a_state_survive_their_encoding(code in "[ -~]{1,60}", state in "[ -~]{1,60}") {
            let query = form_urlencoded::Serializer::new(String::new())
                .append_pair("code", &code)
                .append_pair("state", &state)
                .finish();
            let response = read(&query).expect("a response");
            prop_assert_eq!(response.outcome, Ok(Secret::from(code)));
            prop_assert_eq!(response.state, Some(Secret::from(state)));
        }

        #[test]
        fn a_refusal_keeps_to_printable_ascii(error in "\\PC{1,100}", description in ".{0,400}") {
            let query = form_urlencoded::Serializer::new(String::new())
                .append_pair("error", &error)
                .append_pair("error_description", &description)
                .finish();
            let refusal = read(&query).expect("a response").outcome.expect_err("a refusal");
            prop_assert!(is_visible(&refusal.to_string()));
            prop_assert!(refusal.to_string().len() <= LONGEST_CODE + LONGEST_DESCRIPTION + 3);
        }
    }
}
