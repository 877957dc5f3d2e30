//! Headers that decide something: the first line is `Retry-After`, the second `Date`; and all of it is
//! `Authorization` before a guarded route, and a refresh token.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tokenward::{resilience, server};

fuzz_target!(|data: &[u8]| {
    let mut lines = data.splitn(2, |byte| *byte == b'\n');
    let (wait, date) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    resilience::fuzzing::wait(wait, date);
    server::fuzzing::bearer(data);
    if let Ok(text) = std::str::from_utf8(data) {
        server::fuzzing::refresh_token(text);
    }
});
