//! What must hold of any answer of a token endpoint, told in another way than the parser tells it:
//! by a generic JSON value. The fuzz target asks it, too.

use http::StatusCode;
use serde_json::Value;
use tokenward::ProviderSpec;
use tokenward::provider::{Failure, FailureClass, Grant};

/// Statuses that matter: each that has a meaning of its own, and some without one.
pub(crate) const STATUSES: [u16; 24] = [
    200, 200, 200, 201, 206, 301, 302, 307, 400, 400, 400, 401, 401, 402, 403, 404, 406, 408, 409,
    415, 428, 429, 500, 503,
];

/// Panics when `answer` is not what `status` and `body` allow.
pub(crate) fn check(
    provider: &ProviderSpec,
    status: StatusCode,
    body: &[u8],
    answer: &Result<Grant, Failure>,
) {
    match answer {
        Ok(grant) => {
            assert!(status.is_success(), "a grant behind {status}");
            assert!(!grant.access_token.expose().is_empty());
            assert!(grant.access_token.expose().bytes().all(|byte| byte.is_ascii_graphic()));
            let ten_years = 10 * 365 * 24 * 3600;
            assert!(grant.lifetime.is_none_or(|life| life.as_secs() <= ten_years));
            assert!(grant.refresh_token.as_ref().is_none_or(|token| !token.is_empty()));
            let Some(value) = object(body) else { return };
            let token = at(&value, &provider.oauth.token_fields.access_token);
            let token = token.and_then(Value::as_str).expect("a grant has a token");
            assert_eq!(grant.access_token.expose(), token, "the token is the one that came");
            let refuses = !matches!(value.get("error"), None | Some(Value::Null))
                && value.get("error").and_then(Value::as_str) != Some("");
            assert!(!refuses, "a grant beside an error");
        }
        Err(failure) => {
            let may_end = may_sign_out(provider, status, body);
            if failure.class == FailureClass::ReauthorizationRequired {
                assert!(may_end, "signed out by {status}: {}", String::from_utf8_lossy(body));
            }
            let reason = &failure.reason;
            assert!(!reason.is_empty() && reason.len() < 300, "{reason}");
            assert!(reason.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{reason}");
        }
    }
}

/// Whether an answer may end the user's sign-in: the endpoint itself refuses, in JSON, with a code
/// or a description of the provider's table, or without a word by a status that is final there; and
/// it is neither failing nor busy nor redirecting.
pub(crate) fn may_sign_out(provider: &ProviderSpec, status: StatusCode, body: &[u8]) -> bool {
    let number = status.as_u16();
    let refuses = (200..300).contains(&number)
        || (400..500).contains(&number) && ![406, 408, 415, 429].contains(&number);
    if !refuses {
        return false;
    }
    let table = &provider.errors;
    let any_status = &table.reauthorization_at_any_status;
    let mut listed = (&table.reauthorization, &table.reauthorization_descriptions);
    let none = Vec::new();
    if !table.reauthorization_statuses.contains(&number) {
        listed = (&none, &none);
    }
    let final_status = table.unauthorized_is_final && number == 401;
    let Some(value) = object(body) else {
        let text = String::from_utf8_lossy(body).to_lowercase();
        let mut known = listed.0.iter().chain(listed.1).chain(any_status);
        // A page of something in between has a body.
        let says_nothing = text.trim_start_matches('\u{feff}').trim().is_empty();
        return says_nothing && final_status
            || text.contains('{') && (final_status || known.any(|known| text.contains(known)));
    };
    let texts = |paths: &[&[&str]]| -> Vec<String> {
        let found = paths.iter().filter_map(|path| at(&value, path)?.as_str());
        found.map(str::to_lowercase).collect()
    };
    let codes = texts(&[&["error"], &["error", "code"], &["error", "type"], &["code"]]);
    let told = texts(&[&["error_description"], &["error", "message"]]);
    final_status
        || codes.iter().any(|code| listed.0.contains(code) || any_status.contains(code))
        || told.iter().any(|told| listed.1.iter().any(|known| told.contains(known)))
}

/// The body as a JSON object. Of a member that comes twice the last one counts here; the parser
/// refuses such an answer. None also where only this reader gives up: at a depth of 128, and at a
/// number that no float can be, in members that the parser passes over.
fn object(body: &[u8]) -> Option<Value> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    serde_json::from_slice(body).ok().filter(Value::is_object)
}

fn at<'v, K: AsRef<str>>(value: &'v Value, path: &[K]) -> Option<&'v Value> {
    path.iter().try_fold(value, |value, key| value.get(key.as_ref()))
}
