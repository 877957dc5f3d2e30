//! Doors for the fuzz targets to parsers that have no other one. They exist under `cfg(fuzzing)` alone.

use super::{metadata, response};

/// Reads `body` as each answer of a device sign-in.
pub fn device_answer(body: &[u8]) {
    let _ = response::DeviceIssued::read(body);
    let _ = response::DeviceCodeIssued::read(body);
    let _ = response::asked_interval(body);
}

/// Reads `body` as the metadata document of `issuer`.
pub fn metadata(body: &[u8], issuer: &str) {
    let _ = metadata::read(body, issuer);
}
