//! The answer of a service beside the providers: two bytes of status, a line of headers, and the body.

#![no_main]

use http::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((status, rest)) = data.split_first_chunk() else { return };
    let status = 100 + u16::from_be_bytes(*status) % 900;
    let mut lines = rest.splitn(2, |byte| *byte == b'\n');
    let (line, body) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_bytes(line) {
        for name in [CONTENT_TYPE, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE] {
            headers.insert(name, value.clone());
        }
    }
    let status = StatusCode::from_u16(status).expect("three digits");
    tokenward::service::fuzzing::answer(status, &headers, body);
});
