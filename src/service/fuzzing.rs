//! A door for the fuzz targets to what services answer. It exists under `cfg(fuzzing)` alone.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::answer::Answer;
use super::{memory_bank, orange};

/// Reads an answer as each service does: as what was asked for, and as a refusal.
pub fn answer(status: StatusCode, headers: &HeaderMap, body: &[u8]) {
    for (manner, read) in [memory_bank::reading(), orange::reading()] {
        let answer =
            || Answer::read_already(manner, status, headers.clone(), Bytes::copy_from_slice(body));
        read(&answer());
        if let Err(error) = answer().with_status(StatusCode::CREATED) {
            assert!(!error.to_string().is_empty() && error.status() == Some(status));
        }
    }
}
