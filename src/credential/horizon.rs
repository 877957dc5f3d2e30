//! How far ahead it is known which stored credentials are due: plain arithmetic over both clocks. What
//! the vault keeps was due by the wall clock; no step back of it may hold anything up.

use std::time::{Duration, SystemTime};

use crate::clock::Moment;

/// How often it is looked ahead.
pub(super) const ROUND: Duration = Duration::from_mins(5);

/// How far: beyond the next round, so that a round may be late.
pub(super) const AHEAD: Duration = Duration::from_mins(10);

/// Until when it is known who is due.
#[derive(Debug)]
pub(super) struct Horizon {
    /// What both clocks said when they were last read, the wall clock as if it were never set back.
    since: Moment,
    until: Option<SystemTime>,
    /// Up to where all that was due was found.
    found: Option<SystemTime>,
}

/// The part of the time to come that is looked at: later than `after`, and not later than `until`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Within {
    pub(super) after: Option<SystemTime>,
    pub(super) until: SystemTime,
}

impl Within {
    pub(super) fn contains(&self, time: SystemTime) -> bool {
        self.after.is_none_or(|after| time > after) && time <= self.until
    }
}

impl Horizon {
    /// Nothing is known yet.
    pub(super) fn new(now: Moment) -> Self {
        Self { since: now, until: None, found: None }
    }

    /// Moves on with the time. What is to be looked at now; it is so again until it was
    /// [`looked`](Self::looked) at.
    pub(super) fn look(&mut self, now: Moment) -> Within {
        self.note(now);
        let until = later(self.since.wall, AHEAD);
        let until = self.until.map_or(until, |before| before.max(until));
        self.until = Some(until);
        Within { after: self.found, until }
    }

    /// All that is due there has an alarm, or an actor.
    pub(super) fn looked(&mut self, at: Within) {
        self.found = Some(at.until);
    }

    /// Whether what is stored as due at `wake` is looked at later than now, and in time for
    /// `deadline`.
    pub(super) fn leads_to(&mut self, wake: SystemTime, deadline: Moment, now: Moment) -> bool {
        self.note(now);
        let at = self.moment_of(wake);
        self.until.is_some_and(|until| wake > until)
            && at.wall <= deadline.wall
            && at.monotonic <= deadline.monotonic
    }

    /// When both clocks have come to `wall`, as far as can be told now.
    pub(super) fn moment_of(&self, wall: SystemTime) -> Moment {
        let Moment { wall: since, monotonic } = self.since;
        let monotonic = match wall.duration_since(since) {
            Ok(later) => monotonic.saturating_add(later),
            Err(earlier) => monotonic.saturating_sub(earlier.duration()),
        };
        Moment { wall, monotonic }
    }

    /// The later of what the wall clock says, and what it would say if it had never been set back.
    fn wall_at(&self, now: Moment) -> SystemTime {
        now.wall.max(later(self.since.wall, now.monotonic.saturating_sub(self.since.monotonic)))
    }

    fn note(&mut self, now: Moment) {
        self.since = Moment { wall: self.wall_at(now), ..now };
    }
}

fn later(time: SystemTime, by: Duration) -> SystemTime {
    time.checked_add(by).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    fn moment(monotonic: u64, wall: u64) -> Moment {
        Moment {
            wall: SystemTime::UNIX_EPOCH + Duration::from_secs(wall),
            monotonic: Duration::from_secs(monotonic),
        }
    }

    #[test]
    fn who_is_due_in_a_day_is_left_to_a_later_look_and_who_is_due_soon_is_not() {
        let now = moment(1_000, 1_000_000);
        let mut horizon = Horizon::new(now);
        let (soon, later) = (now.after(AHEAD), now.after(DAY));
        assert!(!horizon.leads_to(later.wall, later, now), "nothing was looked at yet");

        let within = horizon.look(now);
        assert!(within.contains(now.wall - DAY) && within.contains(soon.wall));
        assert!(!within.contains(later.wall));
        assert!(!horizon.leads_to(soon.wall, soon, now));
        assert!(horizon.leads_to(later.wall, later, now));
        assert!(!horizon.leads_to(later.wall, now.after(DAY / 2), now), "that would be too late");
    }

    #[test]
    fn what_could_not_be_looked_at_is_looked_at_again_and_the_rest_once() {
        let now = moment(1_000, 1_000_000);
        let mut horizon = Horizon::new(now);
        let first = horizon.look(now);
        let again = horizon.look(now.after(ROUND));
        assert!(again.contains(first.until) && again.contains(now.wall - DAY));

        horizon.looked(again);
        let next = horizon.look(now.after(ROUND * 2));
        assert!(!next.contains(again.until));
        assert!(next.contains(again.until + Duration::from_secs(1)));
    }

    #[derive(Debug, Clone)]
    enum Change {
        Advance(u64),
        Suspend(u64),
        StepBack(u64),
        /// A credential is forgotten that is woken so long before its deadline.
        Forget {
            lifetime: u64,
            early: u64,
        },
    }

    fn any_change() -> impl Strategy<Value = Change> {
        prop_oneof![
            4 => (0_u64..1_000).prop_map(Change::Advance),
            1 => (0_u64..9_000).prop_map(Change::Suspend),
            1 => (0_u64..9_000).prop_map(Change::StepBack),
            2 => (0_u64..9_000, 0_u64..900)
                .prop_map(|(lifetime, early)| Change::Forget { lifetime, early }),
        ]
    }

    /// One that is left to the index.
    struct Left {
        wake: SystemTime,
        deadline: Moment,
        alarm: Option<Moment>,
    }

    proptest! {
        /// However the clocks move: who has no alarm of their own is found, and started, by the
        /// time at which that would ring.
        #[test]
        fn nobody_is_started_later_than_by_an_alarm_of_their_own(
            changes in proptest::collection::vec(any_change(), 1..120),
        ) {
            let (mut monotonic, mut wall) = (1_000, 2_000_000);
            let start = moment(monotonic, wall);
            let mut horizon = Horizon::new(start);
            let within = horizon.look(start);
            horizon.looked(within);
            let mut next_look = start.after(ROUND);
            let mut all: Vec<Left> = Vec::new();
            for change in changes {
                let mut forgotten = None;
                match change {
                    Change::Advance(by) => { monotonic += by; wall += by; }
                    Change::Suspend(by) => wall += by,
                    Change::StepBack(by) => wall -= by,
                    Change::Forget { lifetime, early } => forgotten = Some((lifetime, early)),
                }
                let now = moment(monotonic, wall);
                if now.has_passed(next_look) {
                    let within = horizon.look(now);
                    for left in all.iter_mut().filter(|left| within.contains(left.wake)) {
                        left.alarm = Some(horizon.moment_of(left.wake));
                    }
                    horizon.looked(within);
                    next_look = now.after(ROUND);
                }
                for left in all.iter().filter(|left| now.has_passed(left.deadline)) {
                    prop_assert!(left.alarm.is_some_and(|alarm| now.has_passed(alarm)));
                }
                if let Some((lifetime, early)) = forgotten {
                    let deadline = now.after(Duration::from_secs(lifetime));
                    let wake = deadline.wall - Duration::from_secs(early);
                    if horizon.leads_to(wake, deadline, now) {
                        all.push(Left { wake, deadline, alarm: None });
                    }
                }
            }
        }
    }
}
