//! An access token: a text, and after the first line break the payload that was really signed. No other
//! text verifies, and no claims are worse than refused.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let (text, payload) = match data.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&data[..end], &data[end + 1..]),
        None => (data, &[][..]),
    };
    if let Ok(text) = std::str::from_utf8(text) {
        tokenward::server::fuzzing::access_token(text, payload);
    }
});
