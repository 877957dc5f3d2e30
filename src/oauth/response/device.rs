//! The answers of a device sign-in (RFC 8628 §3.2), in the shapes that are seen: Google calls the
//! address `verification_url`, `OpenAI` names the codes otherwise and writes the interval as text.

use std::time::Duration;

use serde::Deserialize;
use url::Url;

use super::scalar::Scalar;
use super::{Problem, grant};
use crate::config::may_carry_secrets;
use crate::secret::Secret;

/// How often to ask when the provider does not say (RFC 8628 §3.2).
pub(in crate::oauth) const INTERVAL: Duration = Duration::from_secs(5);

/// The shortest interval that is kept to: zero would be a busy loop.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);

/// The longest life of a device code that is believed.
const LONGEST_LIFETIME: Duration = Duration::from_hours(1);

/// The longest user code: it is typed.
const LONGEST_USER_CODE: usize = 64;

/// A device code that was issued, checked member by member.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct DeviceIssued {
    pub(crate) device_code: Secret,
    pub(crate) user_code: String,
    /// None: the answer names no address.
    pub(crate) verification_uri: Option<Url>,
    pub(crate) verification_uri_complete: Option<Url>,
    /// None: the answer does not say.
    pub(crate) lifetime: Option<Duration>,
    pub(crate) interval: Duration,
}

/// A code to be exchanged, where the provider answers a poll with one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct DeviceCodeIssued {
    pub(crate) code: Secret,
    pub(crate) code_verifier: Secret,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Members {
    #[serde(alias = "device_auth_id")]
    device_code: Scalar,
    #[serde(alias = "usercode")]
    user_code: Scalar,
    #[serde(alias = "verification_url")]
    verification_uri: Scalar,
    #[serde(alias = "verification_url_complete")]
    verification_uri_complete: Scalar,
    expires_in: Scalar,
    interval: Scalar,
    authorization_code: Scalar,
    code_verifier: Scalar,
}

impl DeviceIssued {
    pub(crate) fn read(body: &[u8]) -> Result<Self, Problem> {
        let members = Members::read(body)?;
        let device_code = members.device_code.into_text().ok_or(Problem::DeviceCodeMissing)?;
        // It is shown on terminals, where a control character is a command.
        let typeable =
            |code: &String| code.len() <= LONGEST_USER_CODE && !code.chars().any(char::is_control);
        let user_code = members.user_code.into_text().filter(typeable);
        let lifetime = grant::lifetime(&members.expires_in)?;
        let interval = interval(&members.interval)?.unwrap_or(INTERVAL);
        Ok(Self {
            device_code: Secret::from(device_code),
            user_code: user_code.ok_or(Problem::UserCodeUnusable)?,
            verification_uri: match members.verification_uri {
                Scalar::Null => None,
                other => Some(address(other).ok_or(Problem::VerificationUriUnusable)?),
            },
            // Without it the user types: no reason to give up.
            verification_uri_complete: address(members.verification_uri_complete),
            lifetime: lifetime.map(|lifetime| lifetime.min(LONGEST_LIFETIME)),
            interval,
        })
    }
}

impl DeviceCodeIssued {
    pub(crate) fn read(body: &[u8]) -> Result<Self, Problem> {
        let members = Members::read(body)?;
        let code = members.authorization_code.into_text().ok_or(Problem::CodeMissing)?;
        let code_verifier = members.code_verifier.into_text().ok_or(Problem::CodeMissing)?;
        Ok(Self { code: Secret::from(code), code_verifier: Secret::from(code_verifier) })
    }
}

/// The interval that a `slow_down` asks for, where it names one.
pub(crate) fn asked_interval(body: &[u8]) -> Option<Duration> {
    interval(&Members::read(body).ok()?.interval).ok()?
}

impl Members {
    fn read(body: &[u8]) -> Result<Self, Problem> {
        let text = super::json_object(body).ok_or(Problem::NotJson)?;
        serde_json::from_str(text).map_err(|error| {
            let twice = error.to_string().starts_with("duplicate field");
            if twice { Problem::DuplicateMember } else { Problem::NotJson }
        })
    }
}

/// Seconds, as a number or as text.
fn interval(value: &Scalar) -> Result<Option<Duration>, Problem> {
    let interval = grant::lifetime(value).map_err(|_| Problem::IntervalUnusable)?;
    Ok(interval.map(|interval| interval.max(SHORTEST_INTERVAL)))
}

/// An address that a browser may be sent to: a page, not a script and not a file.
fn address(value: Scalar) -> Option<Url> {
    Url::parse(&value.into_text()?).ok().filter(may_carry_secrets)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(more: &str) -> Result<DeviceIssued, Problem> {
        DeviceIssued::read(
            format!(r#"{{"device_code":"dc","user_code":"WDJB-MJHT"{more}}}"#).as_bytes(),
        )
    }

    const URI: &str = r#","verification_uri":"https://example.com/device""#;

    /// C-DEV-1: the interval is 5 s by default, and tolerated as text.
    #[test]
    fn an_interval_is_five_seconds_unless_told_otherwise() {
        let seconds = |more: &str| read(more).map(|issued| issued.interval.as_secs());
        for (more, expected) in [
            ("", 5),
            (r#","interval":null"#, 5),
            (r#","interval":7"#, 7),
            (r#","interval":"5""#, 5),
            (r#","interval":2.9"#, 2),
            (r#","interval":0"#, 1),
        ] {
            assert_eq!(seconds(more), Ok(expected), "{more}");
        }
        for more in [r#","interval":-1"#, r#","interval":"soon""#, r#","interval":{}"#] {
            assert_eq!(seconds(more), Err(Problem::IntervalUnusable), "{more}");
        }
    }

    /// C-DEV-1: `verification_url` is another name for the address, as Google has it.
    #[test]
    fn the_address_has_two_names_and_has_to_be_a_page() {
        let uri = |more: &str| {
            read(more).map(|issued| issued.verification_uri.map(|uri| uri.to_string()))
        };
        let page = Some("https://example.com/device".to_owned());
        assert_eq!(uri(URI), Ok(page.clone()));
        assert_eq!(uri(&URI.replace("_uri", "_url")), Ok(page));
        assert_eq!(uri(""), Ok(None));
        for bad in ["javascript:alert(1)", "file:///etc/passwd", "http://example.com/", "", "7"] {
            let more = format!(r#","verification_uri":"{bad}""#);
            assert_eq!(uri(&more), Err(Problem::VerificationUriUnusable), "{bad}");
        }
        let both = format!(r#"{URI},"verification_url":"https://example.com/""#);
        assert_eq!(uri(&both), Err(Problem::DuplicateMember));
        let complete = format!(r#"{URI},"verification_uri_complete":"javascript:1""#);
        let issued = read(&complete).expect("usable without it");
        assert_eq!(issued.verification_uri_complete, None);
    }

    #[test]
    fn the_names_of_openai_are_read() {
        let body = br#"{"device_auth_id":"da","usercode":"AB-12","interval":"5"}"#;
        let issued = DeviceIssued::read(body).expect("a device code");
        assert_eq!(issued.device_code, Secret::new("da"));
        assert_eq!(issued.user_code, "AB-12");
        assert_eq!((issued.interval, issued.lifetime), (INTERVAL, None));
        let body = br#"{"authorization_code":"ac","code_challenge":"c","code_verifier":"v"}"#;
        let code = DeviceCodeIssued::read(body).expect("a code");
        assert_eq!((code.code, code.code_verifier), (Secret::new("ac"), Secret::new("v")));
        assert_eq!(DeviceCodeIssued::read(b"{}"), Err(Problem::CodeMissing));
    }

    #[test]
    fn what_can_not_be_used_is_named_and_not_quoted() {
        for (body, problem) in [
            (r#"{"user_code":"A"}"#, Problem::DeviceCodeMissing),
            (r#"{"device_code":"d"}"#, Problem::UserCodeUnusable),
            ("{\"device_code\":\"d\",\"user_code\":\"\\u001b[2J\"}", Problem::UserCodeUnusable),
            ("<html>", Problem::NotJson),
            ("[]", Problem::NotJson),
            (r#"{"device_code":"d","device_code":"e","user_code":"A"}"#, Problem::DuplicateMember),
        ] {
            assert_eq!(DeviceIssued::read(body.as_bytes()), Err(problem), "{body}");
        }
        assert_eq!(read(r#","expires_in":"x""#), Err(Problem::LifetimeUnusable));
        let long = read(r#","expires_in":1e12"#).expect("huge");
        assert_eq!(long.lifetime, Some(LONGEST_LIFETIME));
    }

    proptest! {
        #[test]
        fn no_answer_panics(body in ".{0,120}") {
            let _ = DeviceIssued::read(body.as_bytes());
            let _ = DeviceCodeIssued::read(body.as_bytes());
            let _ = asked_interval(body.as_bytes());
        }
    }
}
