//! One timer service for all deadlines of a runtime. The queue is shared state, so that a crash
//! of the actor that drives it loses no deadline.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ractor::{Actor as _, ActorProcessingErr, ActorRef};
use tokio::sync::Notify;

use super::child::ChildSpec;
use super::deadlines::{Deadlines, Key};
use super::events::EventBus;
use super::nursery::Task;
use super::supervisor::Supervisor;
use super::turns::Turns;
use crate::clock::{Moment, Sources};
use crate::error::Error;
use crate::event::EventKind;

/// How often both clocks are compared, on the monotonic clock. A deadline that only the wall clock
/// has reached, since the machine slept, is at most this late after the wake.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// How far the clocks may move apart between two comparisons before it is reported.
const TOLERANCE: Duration = Duration::from_secs(2);

/// An alarm that rings later than this is overdue: the machine slept, or the process did not run.
const OVERDUE: Duration = Duration::from_secs(1);

/// All deadlines of one runtime. Cheap to clone.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use tokenward::supervision::{EventBus, Supervisor, Timekeeper};
/// use tokenward::testing::ManualClock;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let clock = ManualClock::new(SystemTime::UNIX_EPOCH);
/// let sources = clock.sources();
/// let events = EventBus::new(sources.clone());
/// let root = Supervisor::start("host", sources.clone(), events.clone()).await?;
/// let timekeeper = Timekeeper::start(&root, sources.clone(), events).await?;
///
/// let (ring, mut rung) = tokio::sync::mpsc::unbounded_channel();
/// let alarm = timekeeper.alarm(move || drop(ring.send("in an hour")));
/// alarm.set(sources.now().after(Duration::from_hours(1)));
/// clock.until_waits(1).await;
/// clock.advance(Duration::from_hours(1));
/// assert_eq!(rung.recv().await, Some("in an hour"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Timekeeper(Arc<Shared>);

impl Timekeeper {
    /// Starts the actor that drives the queue, as a permanent child of `under`.
    ///
    /// # Errors
    ///
    /// As [`Supervisor::start_child`].
    pub async fn start(
        under: &Supervisor,
        sources: Sources,
        events: EventBus,
    ) -> Result<Self, Error> {
        let now = sources.now();
        let shared = Arc::new(Shared {
            sources,
            events,
            last_key: AtomicU64::new(0),
            earlier: Notify::new(),
            queue: Mutex::new(Queue {
                deadlines: Deadlines::default(),
                turns: Turns::default(),
                heard: now,
                sleeps_until: now.monotonic,
            }),
        });
        let spec = ChildSpec::new("timekeeper", {
            let shared = Arc::clone(&shared);
            move |spawning| {
                let driver = Driver(Arc::clone(&shared));
                Box::pin(Driver::spawn_linked(None, driver, (), spawning.supervisor))
            }
        });
        under.start_child(spec).await?;
        Ok(Self(shared))
    }

    /// A new alarm, not set yet.
    ///
    /// `ring` is called on the timekeeper's task and must not wait: send a message to the actor
    /// that owns the alarm, through its own `ActorRef`, which needs no admission. Where an alarm
    /// is set again or cleared while it goes off, it may ring once more for the former deadline;
    /// the owner looks at its clock.
    pub fn alarm(&self, ring: impl Fn() + Send + Sync + 'static) -> Alarm {
        self.new_alarm(Bell { ring: Arc::new(ring), in_turn: false })
    }

    /// As [`Timekeeper::alarm`], for what thousands may wait for and must not be done by all of
    /// them at once, such as a request to a provider: when many of these alarms are overdue
    /// together, they ring one after another, 50 a second. One that is on time never waits.
    pub fn alarm_in_turn(&self, ring: impl Fn() + Send + Sync + 'static) -> Alarm {
        self.new_alarm(Bell { ring: Arc::new(ring), in_turn: true })
    }

    fn new_alarm(&self, bell: Bell) -> Alarm {
        let key = Key(self.0.last_key.fetch_add(1, Ordering::Relaxed));
        Alarm { key, bell, shared: Arc::clone(&self.0) }
    }
}

impl fmt::Debug for Timekeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timekeeper").finish_non_exhaustive()
    }
}

/// One deadline at a time, which rings once when either clock has reached it. Dropping it clears
/// it.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use tokenward::supervision::Timekeeper;
/// use tokenward::testing::ManualClock;
/// # use tokenward::supervision::{EventBus, Supervisor};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let clock = ManualClock::new(SystemTime::UNIX_EPOCH);
/// # let sources = clock.sources();
/// # let events = EventBus::new(sources.clone());
/// # let root = Supervisor::start("host", sources.clone(), events.clone()).await?;
/// # let timekeeper = Timekeeper::start(&root, sources.clone(), events).await?;
/// let (ring, mut rung) = tokio::sync::mpsc::unbounded_channel();
/// let alarm = timekeeper.alarm(move || drop(ring.send(())));
/// let now = sources.now();
/// alarm.set(now.after(Duration::from_hours(1)));
/// alarm.set(now.after(Duration::from_mins(1))); // in place of the first
/// # clock.until_waits(1).await;
/// clock.advance(Duration::from_mins(1));
/// assert_eq!(rung.recv().await, Some(()));
///
/// alarm.set(now.after(Duration::from_hours(1)));
/// drop(alarm); // it does not ring any more
/// assert_eq!(rung.recv().await, None);
/// # Ok(())
/// # }
/// ```
#[must_use = "an alarm that is dropped never rings"]
pub struct Alarm {
    key: Key,
    bell: Bell,
    shared: Arc<Shared>,
}

impl Alarm {
    /// Sets the deadline in place of the one that may be set. One that has passed rings at once.
    pub fn set(&self, at: Moment) {
        let now = self.shared.sources.now();
        let mut queue = self.shared.queue();
        queue.deadlines.set(self.key, at, self.bell.clone());
        let is_earlier = now.monotonic.saturating_add(now.until(at)) < queue.sleeps_until;
        drop(queue);
        if is_earlier {
            self.shared.earlier.notify_one();
        }
    }

    /// The deadline that is set.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        self.shared.queue().deadlines.get(self.key)
    }

    /// Clears the deadline that may be set.
    pub fn clear(&self) {
        // What it returns is this alarm's own bell, so nothing is dropped under the lock.
        let _ = self.shared.queue().deadlines.clear(self.key);
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.clear();
    }
}

impl fmt::Debug for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Alarm").field(&self.key.0).finish()
    }
}

type Ring = Arc<dyn Fn() + Send + Sync>;

/// What hangs on a deadline.
#[derive(Clone)]
struct Bell {
    ring: Ring,
    /// Whether it waits for its turn when it is overdue.
    in_turn: bool,
}

struct Shared {
    sources: Sources,
    events: EventBus,
    last_key: AtomicU64,
    /// Wakes the driver for a deadline that is earlier than what it waits for.
    earlier: Notify,
    queue: Mutex<Queue>,
}

struct Queue {
    deadlines: Deadlines<Bell>,
    /// The line of those that are overdue.
    turns: Turns,
    /// The clocks at the last comparison.
    heard: Moment,
    /// When the driver wakes by itself, on the monotonic clock.
    sleeps_until: Duration,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // No step of the queue is left half done by a panic: nothing in it can panic midway.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Compares the clocks, rings what is due, and says how long to sleep.
    fn tick(&self) -> Duration {
        let now = self.sources.now();
        let by_millis = step_between(self.queue().heard, now);
        if let Some(by_millis) = by_millis {
            tracing::info!(by_millis, "the clocks moved apart");
            self.events.emit(EventKind::ClockStepped { by_millis });
        }
        // One at a time and outside of the lock: a ring may set or drop alarms.
        loop {
            let due = self.queue().next_due(now);
            let Some(ring) = due else { break };
            if catch_unwind(AssertUnwindSafe(|| ring())).is_err() {
                tracing::error!("an alarm panicked, the others go on");
            }
        }
        let mut queue = self.queue();
        if by_millis.is_some() || now.monotonic.saturating_sub(queue.heard.monotonic) >= HEARTBEAT {
            queue.heard = now;
        }
        let heartbeat = (queue.heard.monotonic + HEARTBEAT).saturating_sub(now.monotonic);
        let sleep = queue.deadlines.next_in(now).map_or(heartbeat, |next| next.min(heartbeat));
        queue.sleeps_until = now.monotonic + sleep;
        sleep
    }
}

impl Queue {
    /// Takes one alarm that has to ring now. Those that have to wait for their turn get it as their
    /// deadline.
    fn next_due(&mut self, now: Moment) -> Option<Ring> {
        loop {
            let (key, at, bell) = self.deadlines.pop_due(now)?;
            let in_line = bell.in_turn && now.since(at) > OVERDUE;
            let wait = if in_line { self.turns.take(now.monotonic) } else { Duration::ZERO };
            if wait.is_zero() {
                return Some(bell.ring);
            }
            self.deadlines.set(key, now.after(wait), bell);
        }
    }
}

/// By how many milliseconds the wall clock moved ahead of the monotonic one, where that is more
/// than the tolerance.
fn step_between(before: Moment, now: Moment) -> Option<i64> {
    let monotonic = now.monotonic.saturating_sub(before.monotonic);
    let expected = before.wall.checked_add(monotonic)?;
    let (by, is_ahead) = match now.wall.duration_since(expected) {
        Ok(ahead) => (ahead, true),
        Err(behind) => (behind.duration(), false),
    };
    let millis = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
    (by > TOLERANCE).then_some(if is_ahead { millis } else { -millis })
}

/// The actor that drives the queue.
struct Driver(Arc<Shared>);

/// The driver's only message: something may be due.
struct Tick;

impl Driver {
    /// Does what is due and sleeps until the next deadline, in a task that ends with the state.
    fn drive(&self, myself: ActorRef<Tick>) -> Task {
        let sleep = self.0.tick();
        let (shared, wait) = (Arc::clone(&self.0), self.0.sources.clock.wait(sleep));
        Task::spawn(async move {
            tokio::select! {
                () = wait => {}
                () = shared.earlier.notified() => {}
            }
            let _ = myself.send_message(Tick);
        })
    }
}

#[ractor::actor(message = Tick, state = Task)]
impl Driver {
    async fn pre_start(&self, myself: ActorRef<Tick>, (): ()) -> Result<Task, ActorProcessingErr> {
        Ok(self.drive(myself))
    }

    async fn handle(
        &self,
        myself: ActorRef<Tick>,
        _: Tick,
        sleeping: &mut Task,
    ) -> Result<(), ActorProcessingErr> {
        *sleeping = self.drive(myself);
        Ok(())
    }
}
