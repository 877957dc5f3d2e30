//! A clock that a test moves by hand. Waits resolve when its monotonic time reaches them, so no
//! test has to sleep.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, oneshot};

use super::SeededEntropy;
use crate::clock::{Clock, Moment, Sources, Wait};

/// A clock that stands still until it is told to move.
///
/// It has both clocks of a machine, and can do to them what happens to machines: time passes
/// ([`advance`]), a laptop sleeps ([`suspend`]), a time service or a person sets the wall clock
/// ([`step_wall_back`], [`step_wall_forward`]).
///
/// [`advance`]: ManualClock::advance
/// [`suspend`]: ManualClock::suspend
/// [`step_wall_back`]: ManualClock::step_wall_back
/// [`step_wall_forward`]: ManualClock::step_wall_forward
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use tokenward::testing::ManualClock;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let clock = ManualClock::new(SystemTime::UNIX_EPOCH);
/// let sources = clock.sources();
/// let hour = tokio::spawn(async move { sources.clock.wait(Duration::from_hours(1)).await });
///
/// clock.until_waits(1).await;
/// assert_eq!(clock.next_wait(), Some(Duration::from_hours(1)));
/// clock.advance(Duration::from_hours(1)); // and no time has gone by
/// hour.await?;
/// # Ok(())
/// # }
/// ```
pub struct ManualClock {
    face: Mutex<Face>,
    wait_added: Notify,
    entropy: Arc<SeededEntropy>,
}

struct Face {
    now: Moment,
    /// Waits by the monotonic time at which they end; the number keeps those that end together
    /// in the order in which they began.
    waits: BTreeMap<(Duration, u64), oneshot::Sender<()>>,
    waits_begun: u64,
}

impl ManualClock {
    /// A clock whose wall clock shows `start`, and whose monotonic time counts from zero.
    pub fn new(start: SystemTime) -> Arc<Self> {
        let now = Moment { wall: start, monotonic: Duration::ZERO };
        Arc::new(Self {
            face: Mutex::new(Face { now, waits: BTreeMap::new(), waits_begun: 0 }),
            wait_added: Notify::new(),
            entropy: Arc::new(SeededEntropy::new(0)),
        })
    }

    /// This clock together with repeatable randomness: what a runtime or a simulated provider is
    /// built with. All sources of one clock draw from one stream, so what they make is distinct.
    pub fn sources(self: &Arc<Self>) -> Sources {
        Sources { clock: self.clone(), entropy: self.entropy.clone() }
    }

    /// Lets time pass: both clocks move on by `by`, and the waits that have ended by then are
    /// woken, the earliest first.
    pub fn advance(&self, by: Duration) {
        let mut face = self.face();
        face.now = face.now.after(by);
        let now = face.now.monotonic;
        while let Some(wait) = face.waits.first_entry().filter(|wait| wait.key().0 <= now) {
            // A waiter that gave up has dropped its end: nobody to wake.
            let _ = wait.remove().send(());
        }
    }

    /// The machine sleeps for `duration`: the wall clock moves on, the monotonic clock stands
    /// still, and nothing is woken.
    pub fn suspend(&self, duration: Duration) {
        self.step_wall_forward(duration);
    }

    /// Sets the wall clock back. The monotonic clock does not notice.
    pub fn step_wall_back(&self, by: Duration) {
        let mut face = self.face();
        face.now.wall = face.now.wall.checked_sub(by).unwrap_or(face.now.wall);
    }

    /// Sets the wall clock forward. The monotonic clock does not notice.
    pub fn step_wall_forward(&self, by: Duration) {
        let mut face = self.face();
        face.now.wall = face.now.wall.checked_add(by).unwrap_or(face.now.wall);
    }

    /// How many waits have not ended. A wait whose future was dropped does not count.
    pub fn waits(&self) -> usize {
        self.face().pending().len()
    }

    /// How long until the next wait ends; none when nobody waits.
    pub fn next_wait(&self) -> Option<Duration> {
        let mut face = self.face();
        let now = face.now.monotonic;
        face.pending().first_key_value().map(|((end, _), _)| end.saturating_sub(now))
    }

    /// Resolves once at least `count` waits are pending: the code under test has got to where it
    /// waits, and the clock can be moved.
    pub async fn until_waits(&self, count: usize) {
        loop {
            let added = self.wait_added.notified();
            if self.waits() >= count {
                return;
            }
            added.await;
        }
    }

    fn face(&self) -> MutexGuard<'_, Face> {
        self.face.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Moment {
        self.face().now
    }

    /// The wait counts from this call, not from the first poll.
    fn wait(&self, duration: Duration) -> Wait {
        let mut face = self.face();
        let end = face.now.monotonic.saturating_add(duration);
        if end == face.now.monotonic {
            return Box::pin(std::future::ready(()));
        }
        let (wake, woken) = oneshot::channel();
        let number = face.waits_begun;
        face.waits_begun += 1;
        face.waits.insert((end, number), wake);
        drop(face);
        self.wait_added.notify_waiters();
        Box::pin(async move {
            if woken.await.is_err() {
                // The clock is gone: its time never comes.
                std::future::pending::<()>().await;
            }
        })
    }
}

impl Face {
    fn pending(&mut self) -> &BTreeMap<(Duration, u64), oneshot::Sender<()>> {
        self.waits.retain(|_, wake| !wake.is_closed());
        &self.waits
    }
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManualClock")
            .field("now", &self.now())
            .field("waits", &self.waits())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::task::{Context, Wake, Waker};

    use super::*;

    const START: SystemTime = SystemTime::UNIX_EPOCH;

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn time_passes_on_both_clocks_and_only_when_told() {
        let clock = ManualClock::new(START);
        let before = clock.now();
        clock.advance(seconds(5));
        assert_eq!(clock.now(), before.after(seconds(5)));
    }

    #[test]
    fn a_suspended_machine_sees_only_its_wall_clock_move() {
        let clock = ManualClock::new(START);
        clock.suspend(seconds(3_600));
        assert_eq!(clock.now(), Moment { wall: START + seconds(3_600), monotonic: Duration::ZERO });
    }

    #[test]
    fn the_wall_clock_steps_alone() {
        let clock = ManualClock::new(START + seconds(100));
        clock.step_wall_back(seconds(60));
        clock.step_wall_forward(seconds(1));
        assert_eq!(clock.now(), Moment { wall: START + seconds(41), monotonic: Duration::ZERO });
    }

    /// Notes its number when it is woken.
    struct Woken(u64, Mutex<Option<mpsc::Sender<u64>>>);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            let order = self.1.lock().expect("not poisoned").take();
            order.expect("woken once").send(self.0).expect("the test listens");
        }
    }

    #[test]
    fn waits_end_in_the_order_of_their_time() {
        let clock = ManualClock::new(START);
        let (noted, order) = mpsc::channel();
        let mut waits: Vec<_> = [3, 1, 4, 2].map(|length| clock.wait(seconds(length))).into();
        for (wait, length) in waits.iter_mut().zip([3, 1, 4, 2]) {
            let waker = Waker::from(Arc::new(Woken(length, Mutex::new(Some(noted.clone())))));
            assert!(wait.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        }
        clock.advance(seconds(3));
        assert_eq!(order.try_iter().collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(clock.next_wait(), Some(seconds(1)));
    }

    #[tokio::test]
    async fn a_wait_counts_from_the_call_and_ends_no_earlier() {
        let clock = ManualClock::new(START);
        let mut wait = clock.wait(seconds(2));
        clock.advance(seconds(1));
        assert!(futures_util::poll!(&mut wait).is_pending());
        clock.suspend(seconds(3_600));
        assert!(futures_util::poll!(&mut wait).is_pending(), "a suspend ends no wait");
        clock.advance(seconds(1));
        wait.await;
        clock.wait(Duration::ZERO).await;
    }

    #[test]
    fn a_wait_that_was_given_up_does_not_count() {
        let clock = ManualClock::new(START);
        let wait = clock.wait(seconds(1));
        assert_eq!(clock.waits(), 1);
        drop(wait);
        assert_eq!(clock.waits(), 0);
        assert_eq!(clock.next_wait(), None);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_test_can_tell_when_the_code_has_begun_to_wait() {
        let clock = ManualClock::new(START);
        let waiters: Vec<_> = (1..=20)
            .map(|length| {
                let clock = clock.clone();
                tokio::spawn(async move { clock.wait(seconds(length)).await })
            })
            .collect();
        clock.until_waits(20).await;
        clock.advance(seconds(20));
        for waiter in waiters {
            waiter.await.expect("the waiter ends");
        }
    }
}
