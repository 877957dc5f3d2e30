//! What can go wrong on the way to a provider and back, as values that a test scripts and a REPL
//! reads by name.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde_json::Value;

use super::Gate;

/// One thing that goes wrong with one request.
///
/// The text form (`Display`, `FromStr`) is a name, and for some a value after a colon:
/// `lost-answer`, `delay:5s`, `status:503`, `set-field:expires_in="60"`. [`Fault::KINDS`] lists
/// them all.
///
/// ```
/// use tokenward::testing::{Endpoint, Fault};
///
/// # use tokenward::testing::SimulatedProvider;
/// # use tokenward::{Runtime, Vault};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let orange = SimulatedProvider::orange().start().await?;
/// # let builder = Runtime::builder().vault(Vault::in_memory());
/// # let runtime = builder.provider(orange.spec()).start().await?;
/// # let ada = runtime.user("ada");
/// # ada.sign_in("orange").with_client_credentials().await?;
/// orange.faults().on(Endpoint::Token).next(1, "status:503".parse::<Fault>()?);
/// let credential = ada.preferred_credential("orange").await?;
/// let error = credential.refresh().await.expect_err("one answer of 503");
/// assert!(error.is_transient());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The connection is reset before anything is carried out or answered.
    ResetBeforeHeaders,
    /// The request is carried out, and the connection is reset after the headers of the answer.
    ResetAfterHeaders,
    /// The request is carried out, and the connection is reset in the middle of the body.
    ResetMidBody,
    /// The request is carried out, and the connection is closed without an answer: a rotated
    /// refresh token is spent, and its successor is lost.
    LostAnswer,
    /// The request is never answered and never carried out.
    Hang,
    /// The request is held before it is carried out, until the gate opens.
    Hold(Gate),
    /// The request is carried out, and its answer is held until the gate opens.
    HoldAnswer(Gate),
    /// The request is carried out this much later, on the provider's clock.
    Delay(Duration),
    /// This status with this body instead of an answer; nothing is carried out.
    Status(u16, String),
    /// `429` in the provider's own words; nothing is carried out.
    RateLimited {
        /// The `Retry-After` header, in whole seconds; none: no such header.
        retry_after: Option<Duration>,
    },
    /// `503`, as of a server that is down for a while; nothing is carried out.
    Unavailable {
        /// As for [`Fault::RateLimited`].
        retry_after: Option<Duration>,
    },
    /// `500` whose body says `invalid_grant`: a fault of the server, not of the grant. Nothing is
    /// carried out.
    ServerErrorInvalidGrant,
    /// A web page with status 200, as a captive portal gives it; nothing is carried out.
    Html200,
    /// The request is carried out, and the JSON of its answer ends in the middle.
    TornJson,
    /// The request is carried out, and the body of its answer is not even text.
    Garbage,
    /// 10 MiB of JSON with status 200; nothing is carried out.
    Huge,
    /// The request is carried out, and the `Date` of its answer is ahead by this much.
    DateAhead(Duration),
    /// The request is carried out, and the `Date` of its answer is behind by this much.
    DateBehind(Duration),
    /// The request is carried out, but no refresh token is issued: the old one stays in force.
    OmitRefreshToken,
    /// The request is carried out, and this member of the JSON answer has another value.
    SetField(String, Value),
    /// The request is carried out, and this member is missing from the JSON answer.
    RemoveField(String),
}

/// A kind of fault, for help texts.
///
/// ```
/// use tokenward::testing::Fault;
///
/// // What a tool offers to whoever breaks things by hand.
/// for kind in Fault::KINDS {
///     println!("{:30} {}", kind.example, kind.description);
///     assert!(kind.example.parse::<Fault>().is_ok());
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct FaultKind {
    /// What [`Fault`] parses: a name, with an example value where one can be given.
    pub example: &'static str,
    /// What it does, in one line.
    pub description: &'static str,
}

const DELAY: Duration = Duration::from_secs(2);
const RETRY_AFTER: Duration = Duration::from_secs(30);
const SKEW: Duration = Duration::from_hours(1);

impl Fault {
    /// Every kind that has a text form that can be read. The two that hold requests at a [`Gate`]
    /// are for code only.
    pub const KINDS: &[FaultKind] = &[
        kind("reset-before-headers", "reset the connection before anything is carried out"),
        kind("reset-after-headers", "carry out, then reset the connection after the headers"),
        kind("reset-mid-body", "carry out, then reset the connection in the middle of the body"),
        kind("lost-answer", "carry out, spend the refresh token, and close without an answer"),
        kind("hang", "never answer"),
        kind("delay:2s", "answer this much later"),
        kind("status:503", "answer with this status; a body may follow after another colon"),
        kind("rate-limited:30s", "answer 429 with this Retry-After; without a value, with none"),
        kind("unavailable:30s", "answer 503 with this Retry-After; without a value, with none"),
        kind("server-error-invalid-grant", "answer 500 with a body that says invalid_grant"),
        kind("html-200", "answer a web page with status 200, as a captive portal does"),
        kind("torn-json", "carry out, and answer JSON that ends in the middle"),
        kind("garbage", "carry out, and answer bytes that are not even text"),
        kind("huge", "answer 10 MiB of JSON"),
        kind("date-ahead:1h", "carry out, and answer with a Date that is ahead"),
        kind("date-behind:1h", "carry out, and answer with a Date that is behind"),
        kind("omit-refresh-token", "renew without a new refresh token: the old one stays good"),
        kind("set-field:expires_in=0", "carry out, and change this member of the JSON answer"),
        kind("remove-field:expires_in", "carry out, and drop this member of the JSON answer"),
    ];

    /// Whether the provider carries out the request that this befalls: tokens are issued, codes
    /// and refresh tokens are spent, whatever becomes of the answer.
    pub fn carries_out(&self) -> bool {
        !matches!(
            self,
            Self::ResetBeforeHeaders
                | Self::Hang
                | Self::Status(..)
                | Self::RateLimited { .. }
                | Self::Unavailable { .. }
                | Self::ServerErrorInvalidGrant
                | Self::Html200
                | Self::Huge
        )
    }
}

const fn kind(example: &'static str, description: &'static str) -> FaultKind {
    FaultKind { example, description }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let duration = |by: &Duration| humantime::format_duration(*by).to_string().replace(' ', "");
        match self {
            Self::ResetBeforeHeaders => f.write_str("reset-before-headers"),
            Self::ResetAfterHeaders => f.write_str("reset-after-headers"),
            Self::ResetMidBody => f.write_str("reset-mid-body"),
            Self::LostAnswer => f.write_str("lost-answer"),
            Self::Hang => f.write_str("hang"),
            Self::Hold(_) => f.write_str("hold"),
            Self::HoldAnswer(_) => f.write_str("hold-answer"),
            Self::Delay(by) => write!(f, "delay:{}", duration(by)),
            Self::Status(status, body) if body.is_empty() => write!(f, "status:{status}"),
            Self::Status(status, body) => write!(f, "status:{status}:{body}"),
            Self::RateLimited { retry_after: None } => f.write_str("rate-limited"),
            Self::RateLimited { retry_after: Some(after) } => {
                write!(f, "rate-limited:{}", duration(after))
            }
            Self::Unavailable { retry_after: None } => f.write_str("unavailable"),
            Self::Unavailable { retry_after: Some(after) } => {
                write!(f, "unavailable:{}", duration(after))
            }
            Self::ServerErrorInvalidGrant => f.write_str("server-error-invalid-grant"),
            Self::Html200 => f.write_str("html-200"),
            Self::TornJson => f.write_str("torn-json"),
            Self::Garbage => f.write_str("garbage"),
            Self::Huge => f.write_str("huge"),
            Self::DateAhead(by) => write!(f, "date-ahead:{}", duration(by)),
            Self::DateBehind(by) => write!(f, "date-behind:{}", duration(by)),
            Self::OmitRefreshToken => f.write_str("omit-refresh-token"),
            Self::SetField(name, value) => write!(f, "set-field:{name}={value}"),
            Self::RemoveField(name) => write!(f, "remove-field:{name}"),
        }
    }
}

/// A text that names no fault.
///
/// ```
/// use std::time::Duration;
/// use tokenward::testing::{Fault, FaultError};
///
/// // A command of a test bench, say; `Fault::KINDS` has an example of each kind.
/// assert_eq!("delay:2s".parse(), Ok(Fault::Delay(Duration::from_secs(2))));
/// let error: FaultError = "delay:soon".parse::<Fault>().expect_err("no time");
/// println!("{error}"); // what it has to be
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no fault: {problem}")]
pub struct FaultError {
    text: String,
    problem: String,
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let problem = |problem: &str| FaultError { text: text.into(), problem: problem.into() };
        let (name, value) = match text.split_once(':') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        let duration = |default: Duration| match value {
            None => Ok(default),
            Some(value) => humantime::parse_duration(value)
                .map_err(|_| problem("write the duration as in 30s, 5m or 1h")),
        };
        let fault = match name {
            "delay" => return duration(DELAY).map(Self::Delay),
            "date-ahead" => return duration(SKEW).map(Self::DateAhead),
            "date-behind" => return duration(SKEW).map(Self::DateBehind),
            "rate-limited" | "unavailable" => {
                let retry_after = value.map(|_| duration(RETRY_AFTER)).transpose()?;
                return Ok(match name {
                    "unavailable" => Self::Unavailable { retry_after },
                    _ => Self::RateLimited { retry_after },
                });
            }
            "status" => {
                let (status, body) =
                    value.map_or(("503", ""), |value| value.split_once(':').unwrap_or((value, "")));
                return match status.parse() {
                    Ok(status @ 200..=599) => Ok(Self::Status(status, body.to_owned())),
                    _ => Err(problem("give a status from 200 to 599, as in status:503")),
                };
            }
            "set-field" => {
                let (name, value) = value
                    .and_then(|value| value.split_once('='))
                    .ok_or_else(|| problem("write it as in set-field:expires_in=0"))?;
                // What is no JSON is meant as a string, so that the shell needs no quotes.
                let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
                return Ok(Self::SetField(name.to_owned(), value));
            }
            "remove-field" => {
                let name =
                    value.ok_or_else(|| problem("name the member, as in remove-field:id"))?;
                return Ok(Self::RemoveField(name.to_owned()));
            }
            "reset-before-headers" => Self::ResetBeforeHeaders,
            "reset-after-headers" => Self::ResetAfterHeaders,
            "reset-mid-body" => Self::ResetMidBody,
            "lost-answer" => Self::LostAnswer,
            "hang" => Self::Hang,
            "server-error-invalid-grant" => Self::ServerErrorInvalidGrant,
            "html-200" => Self::Html200,
            "torn-json" => Self::TornJson,
            "garbage" => Self::Garbage,
            "huge" => Self::Huge,
            "omit-refresh-token" => Self::OmitRefreshToken,
            _ => {
                let known: Vec<_> = Self::KINDS.iter().map(|kind| kind.example).collect();
                return Err(problem(&format!("use one of {}", known.join(", "))));
            }
        };
        if value.is_some() { Err(problem("it takes no value")) } else { Ok(fault) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_kind_can_be_read_and_reads_back_the_same() {
        for kind in Fault::KINDS {
            let fault: Fault = kind.example.parse().expect("a listed kind");
            assert_eq!(fault.to_string(), kind.example);
        }
    }

    #[test]
    fn values_have_defaults_and_bodies_may_hold_colons() {
        assert_eq!("delay".parse(), Ok(Fault::Delay(DELAY)));
        assert_eq!("rate-limited".parse(), Ok(Fault::RateLimited { retry_after: None }));
        let body = r#"{"error":"slow_down"}"#;
        assert_eq!(format!("status:200:{body}").parse(), Ok(Fault::Status(200, body.to_owned())));
        assert_eq!(
            "set-field:scope=narrow".parse(),
            Ok(Fault::SetField("scope".to_owned(), Value::from("narrow")))
        );
    }

    #[test]
    fn what_names_no_fault_is_told_what_would() {
        for text in ["", "explode", "hang:1s", "delay:soon", "status:9", "set-field:x", "hold"] {
            let error = text.parse::<Fault>().expect_err(text);
            assert!(error.to_string().starts_with(&format!("{text:?} is no fault: ")));
        }
    }
}
