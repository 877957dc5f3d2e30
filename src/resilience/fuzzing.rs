//! A door for the fuzz targets to the headers that say when to come again. It exists under `cfg(fuzzing)`
//! alone.

use std::time::{Duration, UNIX_EPOCH};

use http::header::{DATE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue};

use super::retry_after::{LONGEST_WAIT, retry_after, server_date};

/// Reads `wait` as `Retry-After` and `date` as `Date`.
pub fn wait(wait: &[u8], date: &[u8]) {
    let mut headers = HeaderMap::new();
    headers.extend(HeaderValue::from_bytes(wait).map(|value| (RETRY_AFTER, value)));
    headers.extend(HeaderValue::from_bytes(date).map(|value| (DATE, value)));
    for now in [UNIX_EPOCH, UNIX_EPOCH + Duration::from_hours(500_000)] {
        let wait = retry_after(&headers, now);
        assert!(wait.is_none_or(|wait| wait <= LONGEST_WAIT), "{wait:?} is believed");
    }
    let _ = server_date(&headers);
}
