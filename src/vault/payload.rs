//! How rooms write what they keep into records: JSON with a format version. Each room says what is
//! in it; that a newer release is told apart from damage, and that nothing is left in memory, is
//! here.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// The format that this release writes, and the newest that it reads.
pub(crate) const FORMAT: u32 = 1;

/// A record that was opened, and does not hold what it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PayloadError {
    /// The text is not what this release writes.
    #[error("the record is not readable as {0}")]
    Malformed(&'static str),
    /// A newer release of tokenward wrote it.
    #[error("the record has format {0}, this version reads up to {FORMAT}: update tokenward")]
    NewerFormat(u32),
}

/// JSON in a buffer of exact size, so that no copy of a secret is left behind by its growth.
pub(crate) fn write<T: Serialize>(value: &T) -> Zeroizing<Vec<u8>> {
    let mut count = Count(0);
    // Writing plain structures of strings and numbers to memory can not fail.
    let _ = serde_json::to_writer(&mut count, value);
    let mut buffer = Zeroizing::new(Vec::with_capacity(count.0));
    let _ = serde_json::to_writer(&mut *buffer, value);
    buffer
}

/// Reads a payload as `what`, if its member `format` is one that this release knows.
pub(crate) fn read<T: DeserializeOwned>(
    payload: &[u8],
    what: &'static str,
) -> Result<T, PayloadError> {
    #[derive(Deserialize)]
    struct Header {
        format: u32,
    }
    let malformed = |_| PayloadError::Malformed(what);
    let header: Header = serde_json::from_slice(payload).map_err(malformed)?;
    if header.format > FORMAT {
        return Err(PayloadError::NewerFormat(header.format));
    }
    serde_json::from_slice(payload).map_err(malformed)
}

/// A wall-clock time as milliseconds since 1970, which are what payloads hold.
pub(crate) fn to_millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The time that [`to_millis`] wrote; none when this system's clock can not count so far.
pub(crate) fn from_millis(millis: u64) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_millis(millis))
}

struct Count(usize);

impl std::io::Write for Count {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_payload_fills_its_buffer_and_reads_back() {
        let value = json!({ "format": FORMAT, "text": "a \"b\" \u{e9}" });
        let payload = write(&value);
        assert_eq!(payload.len(), payload.capacity(), "it never grew");
        assert_eq!(read::<Value>(&payload, "a test"), Ok(value));
    }

    #[test]
    fn a_newer_format_is_told_apart_from_damage() {
        let newer = read::<Value>(br#"{"format":2}"#, "a test");
        assert_eq!(newer, Err(PayloadError::NewerFormat(2)));
        for damaged in [&b"{"[..], b"{}", br#"{"format":"1"}"#, b"\xff"] {
            let read = read::<Value>(damaged, "a test");
            assert_eq!(read, Err(PayloadError::Malformed("a test")));
        }
    }

    #[test]
    fn a_time_survives_to_the_millisecond() {
        let time = UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
        assert_eq!(from_millis(to_millis(time)), Some(time));
        assert_eq!(to_millis(UNIX_EPOCH - Duration::from_secs(1)), 0, "no time before 1970");
    }
}
