//! The answers of a device sign-in: a code that was issued, and what a poll brings.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| tokenward::oauth::fuzzing::device_answer(body));
