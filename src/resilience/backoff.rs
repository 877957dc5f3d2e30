//! How long to wait before trying again: exponentially longer, and at random within that, so that
//! those who failed together do not come back together.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::share;

/// Exponential back-off with full jitter: a wait is drawn from nothing to the bound, and the bound
/// doubles with each failure.
///
/// ```
/// use std::time::Duration;
/// use tokenward::resilience::Backoff;
///
/// let backoff = Backoff { base: Duration::from_millis(100), cap: Duration::from_secs(1) };
/// // The longest wait doubles, up to the cap; the wait itself is drawn from nothing to that.
/// assert_eq!(backoff.bound(1), Duration::from_millis(100));
/// assert_eq!(backoff.bound(2), Duration::from_millis(200));
/// assert_eq!(backoff.bound(9), Duration::from_secs(1));
/// assert!(backoff.wait(2, 0x5eed) <= backoff.bound(2));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Backoff {
    /// The bound of the first wait.
    #[serde(with = "crate::config::duration")]
    pub base: Duration,
    /// The bound that no wait goes beyond.
    #[serde(with = "crate::config::duration")]
    pub cap: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { base: Duration::from_millis(100), cap: Duration::from_secs(10) }
    }
}

impl Backoff {
    /// The wait after `failures` failures, at least one. `noise` is a random number.
    pub fn wait(&self, failures: u32, noise: u64) -> Duration {
        share(self.bound(failures), noise)
    }

    /// The longest that [`Backoff::wait`] can give.
    pub fn bound(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        self.base.saturating_mul(1 << doublings).min(self.cap)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_bound_doubles_up_to_its_cap() {
        let bounds: Vec<_> = (1..=9).map(|nth| Backoff::default().bound(nth).as_millis()).collect();
        assert_eq!(bounds, [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]);
    }

    /// T-3: full jitter.
    #[test]
    fn the_mean_is_about_half_the_bound() {
        let (backoff, draws) = (Backoff::default(), 10_000_u64);
        let total: Duration =
            (0..draws).map(|nth| backoff.wait(4, nth.wrapping_mul(0x9E37_79B9_7F4A_7C15))).sum();
        let mean = total.as_millis() / u128::from(draws);
        assert!((390..=410).contains(&mean), "{mean} ms of a bound of 800");
    }

    proptest! {
        /// T-3: never above the cap, never an overflow.
        #[test]
        fn no_wait_is_above_its_bound_and_nothing_overflows(
            failures: u32,
            noise: u64,
            base: u64,
            cap: u64,
        ) {
            let backoff = Backoff { base: Duration::from_secs(base), cap: Duration::from_secs(cap) };
            prop_assert!(backoff.wait(failures, noise) <= backoff.bound(failures));
            prop_assert!(backoff.bound(failures) <= backoff.cap);
        }
    }
}
