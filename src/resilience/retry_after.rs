//! `Retry-After`, as a wait from now.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::{DATE, RETRY_AFTER};

/// The longest wait that is believed: a day.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_hours(24);

/// `Retry-After` in seconds or as a date (RFC 9110 §10.2.3). What is not a time to come is absent.
/// A date is judged by the server's own clock, where the answer tells it, else by `now`.
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if text.bytes().all(|byte| byte.is_ascii_digit()) {
        Duration::from_secs(text.parse().ok()?)
    } else {
        let until = httpdate::parse_http_date(text).ok()?;
        let now = server_date(headers).unwrap_or(now);
        until.duration_since(now).ok().filter(|wait| !wait.is_zero())?
    };
    Some(wait.min(LONGEST_WAIT))
}

/// The server's own clock (RFC 9110 §6.6.1).
pub(crate) fn server_date(headers: &HeaderMap) -> Option<SystemTime> {
    httpdate::parse_http_date(headers.get(DATE)?.to_str().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    /// What our clock says: a minute before, and a minute after, dates that are tried.
    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777)
    }

    fn asked(headers: &[(HeaderName, &'static str)]) -> Option<Duration> {
        let pairs = headers.iter();
        let pairs = pairs.map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
        retry_after(&pairs.collect(), now())
    }

    /// T-4: what counts as a wait.
    #[test]
    fn a_wait_is_a_number_of_seconds_or_a_date_to_come() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        for (value, wait) in [
            ("0", seconds(0)),
            ("120", seconds(120)),
            (" 7 ", seconds(7)),
            ("99999999", Some(LONGEST_WAIT)),
            ("99999999999999999999999", None),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
            ("Sun, 06 Nov 1994 08:50:37 GMT", seconds(60)),
            ("Sun, 06 Nov 1994 08:48:37 GMT", None),
        ] {
            assert_eq!(asked(&[(RETRY_AFTER, value)]), wait, "{value:?}");
        }
        assert_eq!(asked(&[]), None);
    }

    #[test]
    fn a_date_is_judged_by_the_clock_of_the_server_that_wrote_it() {
        let headers = [
            (DATE, "Fri, 01 Jan 2100 00:00:00 GMT"),
            (RETRY_AFTER, "Fri, 01 Jan 2100 00:00:05 GMT"),
        ];
        assert_eq!(asked(&headers), Some(Duration::from_secs(5)));
    }
}
