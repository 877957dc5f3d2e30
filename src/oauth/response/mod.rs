//! Reading the answer of a token endpoint (RFC 6749 §5): every way in which real servers bend the
//! specification has one defined meaning here, and nothing that is read is ever quoted.

mod device;
mod fields;
mod grant;
mod refusal;
mod scalar;

use http::StatusCode;

pub(super) use device::{DeviceCodeIssued, DeviceIssued, INTERVAL, asked_interval};
pub use fields::TokenFields;
pub(super) use grant::{Granted, LONGEST_LIFETIME, TokenBody};
use refusal::ErrorMembers;
pub(crate) use refusal::{Refusal, RefusalBody};

/// What an answer of a token endpoint turned out to be.
pub(super) enum Verdict<'a> {
    /// A success whose body, without its byte-order mark, may hold a grant.
    Success(&'a [u8]),
    /// A refusal, by status or by an `error` behind a success.
    Refusal(Refusal),
}

/// Tells a refusal from a success: by the `error` member first, then by the status.
pub(super) fn examine(status: StatusCode, body: &[u8]) -> Result<Verdict<'_>, Problem> {
    let body = without_byte_order_mark(body);
    let members = ErrorMembers::read(body);
    if status.is_success() {
        let members = members?;
        if members.refuses() {
            return Ok(Verdict::Refusal(members.refusal(status)));
        }
        return Ok(Verdict::Success(body));
    }
    Ok(Verdict::Refusal(match members {
        Ok(members) => members.refusal(status),
        Err(_) => Refusal::opaque(status, body),
    }))
}

/// Why an answer can not be used. The texts are ours, so that no error can quote the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Problem {
    NotJson,
    DuplicateMember,
    AccessTokenMissing,
    AccessTokenUnusable,
    RefreshTokenUnusable,
    TokenTypeMissing,
    TokenTypeUnusable,
    LifetimeUnusable,
    TooLong,
    DeviceCodeMissing,
    UserCodeUnusable,
    VerificationUriUnusable,
    VerificationUriMissing,
    IntervalUnusable,
    CodeMissing,
}

impl Problem {
    const ALL: [Self; 15] = [
        Self::NotJson,
        Self::DuplicateMember,
        Self::AccessTokenMissing,
        Self::AccessTokenUnusable,
        Self::RefreshTokenUnusable,
        Self::TokenTypeMissing,
        Self::TokenTypeUnusable,
        Self::LifetimeUnusable,
        Self::TooLong,
        Self::DeviceCodeMissing,
        Self::UserCodeUnusable,
        Self::VerificationUriUnusable,
        Self::VerificationUriMissing,
        Self::IntervalUnusable,
        Self::CodeMissing,
    ];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::NotJson => "the answer is not a json object",
            Self::DuplicateMember => "the answer names a member twice",
            Self::AccessTokenMissing => "the answer has no access token",
            Self::AccessTokenUnusable => "the access token can not stand in a header",
            Self::RefreshTokenUnusable => "the refresh token is not text",
            Self::TokenTypeMissing => "the answer has no token type",
            Self::TokenTypeUnusable => "the token type is not bearer",
            Self::LifetimeUnusable => "the lifetime is not a number of seconds",
            Self::TooLong => "the answer is too long",
            Self::DeviceCodeMissing => "the answer has no device code",
            Self::UserCodeUnusable => "the answer has no user code that can be typed",
            Self::VerificationUriUnusable => "the verification address is not a page to open",
            Self::VerificationUriMissing => "the answer has no verification address",
            Self::IntervalUnusable => "the interval is not a number of seconds",
            Self::CodeMissing => "the answer has no code and verifier to exchange",
        }
    }

    /// Finds our own words in the error of a parser; anything else is not JSON.
    pub(super) fn of(error: &serde_json::Error) -> Self {
        let text = error.to_string();
        let ours = Self::ALL.into_iter().find(|problem| text.starts_with(problem.as_str()));
        ours.unwrap_or(Self::NotJson)
    }
}

/// The text of a body that is to hold one JSON object, without its byte-order mark. serde would
/// also take a list, for the members in their order, and ill-formed text where it skips a member.
pub(super) fn json_object(body: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(without_byte_order_mark(body)).ok()?;
    text.trim_ascii_start().starts_with('{').then_some(text)
}

fn without_byte_order_mark(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)
}

#[cfg(test)]
mod tests;
