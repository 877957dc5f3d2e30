//! The metadata document of an authorization server.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| tokenward::oauth::fuzzing::metadata(body, "https://idp.example"));
