//! The line in which overdue alarms stand. After a suspend, or when a host starts, all that became
//! due meanwhile is due at once, and whatever it leads to would happen at once, too.

use std::time::Duration;

/// So many need not wait: nobody with a handful of credentials notices the line.
const AT_ONCE: u32 = 16;

/// The others follow one by one, this far apart: 50 a second.
const APART: Duration = Duration::from_millis(20);

/// Gives out turns, on the monotonic clock.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// When everyone in the line has had their turn.
    free_from: Duration,
}

impl Turns {
    /// How long whoever comes at `now` waits for their turn.
    pub(super) fn take(&mut self, now: Duration) -> Duration {
        let turn = self.free_from.max(now);
        self.free_from = turn.saturating_add(APART);
        turn.saturating_sub(now.saturating_add(APART * (AT_ONCE - 1)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_few_do_not_wait_and_ten_thousand_are_served_before_a_token_of_five_minutes_ends() {
        let mut turns = Turns::default();
        let now = Duration::from_secs(1_000);
        let waits: Vec<_> = (0..10_000).map(|_| turns.take(now)).collect();
        assert!(waits[..16].iter().all(Duration::is_zero));
        assert_eq!(waits[16], APART);
        assert!(waits[9_999] < Duration::from_mins(5), "{:?}", waits[9_999]);
        assert_eq!(turns.take(Duration::from_hours(1)), Duration::ZERO, "the line is empty again");
    }

    proptest! {
        /// Whenever they come: no second has more turns than the bound, and none comes earlier
        /// than whoever came before.
        #[test]
        fn no_second_has_more_than_its_share(
            pauses in proptest::collection::vec(0_u64..500, 1..400),
        ) {
            let (mut turns, mut now) = (Turns::default(), Duration::from_secs(1));
            let mut taken = Vec::new();
            for pause in pauses {
                now += Duration::from_millis(pause);
                taken.push(now + turns.take(now));
            }
            prop_assert!(taken.is_sorted());
            for (index, first) in taken.iter().enumerate() {
                let within = |turn: &&Duration| **turn < *first + Duration::from_secs(1);
                let count = taken[index..].iter().take_while(within).count();
                prop_assert!(count <= 16 + 50, "{count} within a second");
            }
        }
    }
}
