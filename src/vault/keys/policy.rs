//! When a data key has sealed enough: the defaults, in one place.

use std::time::{Duration, SystemTime};

use crate::vault::error::VaultError;

/// When the vault rotates its data key by itself: as soon as either bound is reached.
///
/// Each write is sealed under a key derived for it alone, so neither bound is one of cryptography
/// (AES-GCM allows 2^32 random nonces under one key); they limit how much one key opens.
///
/// ```
/// use std::time::Duration;
/// use tokenward::Vault;
/// use tokenward::vault::DataKeyPolicy;
///
/// // A fresh key each week, or sooner where much is written.
/// let weekly = DataKeyPolicy {
///     rotate_after: Duration::from_hours(7 * 24),
///     ..DataKeyPolicy::default()
/// };
/// let vault = Vault::open("agent.vault").data_keys(weekly);
/// # let _ = vault;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataKeyPolicy {
    /// The longest that one data key seals, by the wall clock. Default: 90 days.
    pub rotate_after: Duration,
    /// The most that one data key seals: two for each write of a record, one for each group of
    /// writes. Default: 2^30.
    pub rotate_after_seals: u64,
}

impl Default for DataKeyPolicy {
    fn default() -> Self {
        Self { rotate_after: Duration::from_hours(90 * 24), rotate_after_seals: 1 << 30 }
    }
}

impl DataKeyPolicy {
    /// The least that can be asked for: below it a vault would only rotate.
    const LEAST: Self = Self { rotate_after: Duration::from_mins(1), rotate_after_seals: 1_000 };

    /// Refuses what no vault can work with.
    pub(crate) fn check(self) -> Result<(), VaultError> {
        if self.rotate_after < Self::LEAST.rotate_after
            || self.rotate_after_seals < Self::LEAST.rotate_after_seals
        {
            return Err(VaultError::invalid(
                "the data key is to be rotated more often than once a minute or once in 1000 \
                 seals, give a greater bound",
            ));
        }
        Ok(())
    }

    /// Whether a key of this age and use is to be rotated.
    pub(crate) fn is_due(self, created: SystemTime, seals: u64, now: SystemTime) -> bool {
        let age = now.duration_since(created).unwrap_or_default();
        age >= self.rotate_after || seals >= self.rotate_after_seals
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_rotated_when_it_is_old_or_has_sealed_enough() {
        let policy =
            DataKeyPolicy { rotate_after: Duration::from_hours(1), rotate_after_seals: 5_000 };
        let created = SystemTime::UNIX_EPOCH + Duration::from_hours(5);
        let later = created + Duration::from_hours(1);
        assert!(!policy.is_due(created, 4_999, later - Duration::from_secs(1)));
        assert!(policy.is_due(created, 0, later));
        assert!(policy.is_due(created, 5_000, created));
        let earlier = created - Duration::from_hours(2);
        assert!(!policy.is_due(created, 0, earlier), "a clock that was put back rotates nothing");
    }

    #[test]
    fn a_policy_that_would_only_rotate_is_refused() {
        assert!(DataKeyPolicy::default().check().is_ok());
        let always = DataKeyPolicy { rotate_after: Duration::ZERO, ..DataKeyPolicy::default() };
        assert!(always.check().is_err());
        let always = DataKeyPolicy { rotate_after_seals: 0, ..DataKeyPolicy::default() };
        assert!(always.check().is_err());
    }
}
