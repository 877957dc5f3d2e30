//! What a client sends to the authorization server: the first byte picks a form, JSON, or the header of
//! HTTP Basic. What is taken means the same to another reader.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tokenward::server::fuzzing;

fuzz_target!(|data: &[u8]| {
    let Some((first, rest)) = data.split_first() else { return };
    match first % 3 {
        0 => fuzzing::form(rest),
        1 => fuzzing::json(rest),
        _ => fuzzing::basic(rest),
    }
});
