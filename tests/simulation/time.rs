//! The time of the world: the clocks of the host, which may sleep and lie, and the time that really
//! passed, which is the provider's.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use tokenward::testing::ManualClock;

/// One clock for the host, and how much more time passed than its monotonic clock noticed.
#[derive(Debug, Clone)]
pub(crate) struct Time {
    pub(crate) clock: Arc<ManualClock>,
    asleep: Arc<Mutex<Duration>>,
}

impl Time {
    pub(crate) fn new() -> Self {
        let start = SystemTime::UNIX_EPOCH + Duration::from_hours(500_000);
        Self { clock: ManualClock::new(start), asleep: Arc::default() }
    }

    /// The host slept: the monotonic clock alone did not notice.
    pub(crate) fn suspend(&self, time: Duration) {
        self.clock.suspend(time);
        *self.asleep.lock().expect("no panic here") += time;
    }

    /// How much time really passed since the beginning.
    pub(crate) fn passed(&self) -> Duration {
        self.awake() + *self.asleep.lock().expect("no panic here")
    }

    /// How much of it the host was awake.
    pub(crate) fn awake(&self) -> Duration {
        tokenward::clock::Clock::monotonic(&*self.clock)
    }
}
