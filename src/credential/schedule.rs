//! When a token is renewed, until when it is used, and how long a failed renewal waits: plain
//! arithmetic over a provider's policy.

use std::time::Duration;

use super::material::{Life, Material};
use crate::clock::{Moment, share};
use crate::provider::{FailureClass, RefreshPolicy};

/// A renewal never starts sooner than this after the one before it.
pub(crate) const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);

/// The two deadlines in the life of one generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Renewal starts here; none for what never expires.
    pub(crate) renew_at: Option<Moment>,
    /// Not used from here on; none for what is used until it is refused.
    pub(crate) unusable_at: Option<Moment>,
}

impl Plan {
    /// The plan for `material`. `noise` decides how much of the jitter is taken.
    ///
    /// Threshold and margin shrink with the lifetime (to a third and a quarter of it), so that a
    /// short-lived token is used for most of its life and its renewal never loops. Whatever the
    /// policy says, the renewal starts no later than the use ends: whoever needs a token between
    /// the two would wait for nothing but the alarm.
    pub(crate) fn new(policy: &RefreshPolicy, material: &Material, noise: u64) -> Self {
        let (lifetime, expires) = match material.life {
            Life::Unlimited => return Self { renew_at: None, unusable_at: None },
            Life::Unknown => (policy.assumed_lifetime, false),
            Life::For(lifetime) => (lifetime, true),
        };
        let threshold = policy.threshold.min(lifetime / 3);
        let margin = policy.unusable_before_expiry.min(lifetime / 4);
        let unused = if expires { margin } else { Duration::ZERO };
        let widest = threshold.saturating_mul(u32::from(policy.jitter_percent.min(100))) / 100;
        let early = threshold.saturating_add(share(widest, noise)).max(unused).min(lifetime / 2);
        let age = lifetime.saturating_sub(early).max(SHORTEST_INTERVAL);
        Self {
            renew_at: Some(material.obtained.after(age)),
            unusable_at: expires.then(|| material.obtained.after(lifetime.saturating_sub(margin))),
        }
    }
}

/// Until when a token may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Usable {
    No,
    Until(Moment),
    WithoutEnd,
}

/// How long failed renewals wait: exponential with full jitter, and a floor that keeps even the
/// luckiest draw from a busy loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Backoff {
    pub(crate) base: Duration,
    pub(crate) cap: Duration,
    pub(crate) floor: Duration,
}

impl Backoff {
    /// For outages and rate limits.
    pub(crate) const TRANSIENT: Self = Self {
        base: Duration::from_secs(2),
        cap: Duration::from_mins(5),
        floor: Duration::from_millis(500),
    };
    /// For answers that make no sense and for refused clients: nothing gets better by the second.
    pub(crate) const SLOW: Self = Self {
        base: Duration::from_secs(30),
        cap: Duration::from_mins(30),
        floor: Duration::from_secs(15),
    };
    /// For a vault that can not be written while it holds back material that must not be lost.
    pub(crate) const VAULT: Self = Self {
        base: Duration::from_millis(500),
        cap: Duration::from_secs(30),
        floor: Duration::from_millis(100),
    };

    /// The one after a renewal that failed so; none where only the user can help.
    pub(crate) fn after(class: FailureClass) -> Option<Self> {
        match class {
            FailureClass::ReauthorizationRequired => None,
            FailureClass::Misconfigured | FailureClass::Unlisted | FailureClass::Protocol => {
                Some(Self::SLOW)
            }
            _ => Some(Self::TRANSIENT),
        }
    }

    /// The longest wait that there is, when the other side asked for this.
    pub(crate) fn longest(&self, asked: Option<Duration>) -> Duration {
        // A provider that asks for a year is not believed for more than a day.
        self.cap.max(asked.unwrap_or_default().min(Duration::from_hours(24)))
    }

    /// The wait before attempt number `attempts + 1`, and no less than the other side asked for.
    pub(crate) fn wait(&self, attempts: u32, asked: Option<Duration>, noise: u64) -> Duration {
        let doublings = attempts.saturating_sub(1).min(31);
        let widest = self.base.saturating_mul(1_u32 << doublings).min(self.cap);
        let drawn = share(widest, noise).max(self.floor);
        drawn.max(asked.unwrap_or_default()).min(self.longest(asked))
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use proptest::prelude::*;

    use super::*;
    use crate::identity::Generation;
    use crate::secret::Secret;

    fn token(lifetime: Life) -> Material {
        let obtained =
            Moment { wall: SystemTime::UNIX_EPOCH, monotonic: Duration::from_secs(1_000) };
        let mut material = Material::api_key(Secret::new("t"), Generation(1), obtained);
        material.life = lifetime;
        material
    }

    fn age_of(moment: Option<Moment>) -> Duration {
        moment.expect("a deadline").monotonic.saturating_sub(Duration::from_secs(1_000))
    }

    #[test]
    fn an_hour_is_renewed_five_minutes_before_its_end() {
        let plan = Plan::new(
            &RefreshPolicy { jitter_percent: 0, ..RefreshPolicy::default() },
            &token(Life::For(Duration::from_hours(1))),
            0,
        );
        assert_eq!(age_of(plan.renew_at), Duration::from_mins(55));
        assert_eq!(age_of(plan.unusable_at), Duration::from_hours(1));
    }

    #[test]
    fn orange_is_renewed_at_fifty_minutes_and_unused_at_fifty_five() {
        let policy = RefreshPolicy {
            threshold: Duration::from_mins(10),
            unusable_before_expiry: Duration::from_mins(5),
            jitter_percent: 0,
            ..RefreshPolicy::default()
        };
        let plan = Plan::new(&policy, &token(Life::For(Duration::from_hours(1))), 0);
        assert_eq!(age_of(plan.renew_at), Duration::from_mins(50));
        assert_eq!(age_of(plan.unusable_at), Duration::from_mins(55));
    }

    #[test]
    fn an_api_key_has_no_deadline() {
        let plan = Plan::new(&RefreshPolicy::default(), &token(Life::Unlimited), 7);
        assert_eq!(plan, Plan { renew_at: None, unusable_at: None });
    }

    #[test]
    fn an_unknown_lifetime_is_renewed_as_assumed_and_used_until_refused() {
        let plan = Plan::new(&RefreshPolicy::default(), &token(Life::Unknown), 0);
        assert_eq!(age_of(plan.renew_at), Duration::from_mins(55));
        assert_eq!(plan.unusable_at, None);
    }

    proptest! {
        #[test]
        fn any_lifetime_is_renewed_in_its_second_half_and_never_at_once(
            seconds in 2_u64..400_000_000,
            noise: u64,
            percent in 0_u8..=100,
            threshold in 0_u64..100_000,
            margin in 0_u64..100_000,
        ) {
            let lifetime = Duration::from_secs(seconds);
            let policy = RefreshPolicy {
                threshold: Duration::from_secs(threshold),
                jitter_percent: percent,
                unusable_before_expiry: Duration::from_secs(margin),
                ..RefreshPolicy::default()
            };
            let plan = Plan::new(&policy, &token(Life::For(lifetime)), noise);
            let (renew, unusable) = (age_of(plan.renew_at), age_of(plan.unusable_at));
            prop_assert!(renew >= lifetime / 2);
            prop_assert!(renew >= SHORTEST_INTERVAL);
            prop_assert!(renew <= unusable, "nobody has to wait for the renewal to begin");
            prop_assert!(unusable <= lifetime);
            prop_assert!(unusable >= lifetime / 4 * 3);
        }

        #[test]
        fn hostile_lifetimes_do_not_overflow(seconds: u64, noise: u64) {
            let _ = Plan::new(
                &RefreshPolicy::default(),
                &token(Life::For(Duration::from_secs(seconds))),
                noise,
            );
        }

        #[test]
        fn jitter_spreads_over_its_window(noise: u64) {
            let plan = Plan::new(
                &RefreshPolicy::default(),
                &token(Life::For(Duration::from_hours(1))),
                noise,
            );
            let renew = age_of(plan.renew_at);
            prop_assert!(renew >= Duration::from_mins(54) && renew <= Duration::from_mins(55));
        }

        #[test]
        fn a_wait_stays_within_floor_and_cap_and_honours_what_was_asked(
            attempts: u32,
            asked in proptest::option::of(0_u64..10_000_000),
            noise: u64,
        ) {
            let asked = asked.map(Duration::from_secs);
            let wait = Backoff::TRANSIENT.wait(attempts, asked, noise);
            prop_assert!(wait >= Backoff::TRANSIENT.floor);
            let day = Duration::from_hours(24);
            prop_assert!(wait >= asked.unwrap_or_default().min(day));
            prop_assert!(wait <= Backoff::TRANSIENT.cap.max(asked.unwrap_or_default().min(day)));
        }
    }
}
