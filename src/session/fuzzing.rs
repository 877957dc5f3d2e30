//! A door for the fuzz targets to the records of sessions. It exists under `cfg(fuzzing)` alone.

use super::record::Session;

/// Reads `bytes` as a session.
pub fn record(bytes: &[u8]) {
    let _ = Session::from_record(bytes);
}
