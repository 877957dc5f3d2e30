//! An export of a vault: the file around it, and the records that are sealed in it.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| tokenward::vault::fuzzing::import(bytes));
