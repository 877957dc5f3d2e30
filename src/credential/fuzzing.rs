//! A door for the fuzz targets to the payloads of a credential's records. It exists under
//! `cfg(fuzzing)` alone.

use std::time::{Duration, UNIX_EPOCH};

use super::revocations::Owed;
use super::stored::{read_intent, read_material, read_permission, read_trouble};
use crate::clock::Moment;
use crate::identity::UserId;
use crate::vault::{RecordKey, RecordKind};

/// Reads `bytes` as each of the payloads that a credential's records have.
pub fn payload(bytes: &[u8]) {
    let wall = UNIX_EPOCH + Duration::from_hours(500_000);
    let now = Moment { wall, monotonic: Duration::ZERO };
    let _ = read_material(bytes, now);
    let _ = read_intent(bytes);
    let _ = read_permission(bytes);
    let _ = read_trouble(bytes, now);
    let user = UserId::new("fuzz").expect("a name");
    let _ = Owed::read(RecordKey::new(RecordKind::Revocation, user, "fuzz"), bytes);
}
