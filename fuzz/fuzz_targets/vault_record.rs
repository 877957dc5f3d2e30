//! A record of the vault: what seals it, and everything that may be sealed in one.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    tokenward::vault::fuzzing::record(bytes);
    tokenward::credential::fuzzing::payload(bytes);
    tokenward::session::fuzzing::record(bytes);
    tokenward::server::fuzzing::record(bytes);
});
