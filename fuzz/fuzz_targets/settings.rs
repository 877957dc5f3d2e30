//! A settings file: whatever stands in it, there are settings or a list of what is wrong.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tokenward::Settings;

fuzz_target!(|text: &str| {
    // A file that is named would be opened, and the fuzzer could name any.
    if text.contains("file") || text.contains('\\') {
        return;
    }
    if let Err(problems) = Settings::new().with_toml("fuzz.toml", text).check() {
        assert!(!problems.to_string().is_empty());
    }
});
