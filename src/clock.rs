//! Time and randomness as values that are passed in. Nothing else in the crate reads a raw clock
//! or draws a raw random number, so that every race and every clock fault can be simulated.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ring::rand::{SecureRandom, SystemRandom};

/// A future that resolves when a wait is over.
///
/// [`Clock::wait`] answers with one.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use tokenward::clock::{Clock as _, Wait};
/// use tokenward::testing::ManualClock;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let clock = ManualClock::new(SystemTime::UNIX_EPOCH);
/// let an_hour: Wait = clock.wait(Duration::from_hours(1));
/// clock.advance(Duration::from_hours(1));
/// an_hour.await; // and no time has gone by
/// # }
/// ```
pub type Wait = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What both clocks said at one moment.
///
/// The wall clock can be stepped by hand or by a time service; the monotonic clock may stand
/// still while a machine is suspended. Neither is the truth alone, so decisions about expiry take
/// both (see [`Moment::has_passed`]).
///
/// ```
/// use std::time::Duration;
/// use tokenward::clock::Sources;
///
/// let now = Sources::system().now();
/// let deadline = now.after(Duration::from_mins(5));
/// // Passed as soon as either clock says so: a machine that slept is not fooled.
/// assert!(!now.has_passed(deadline));
/// assert_eq!(now.until(deadline), Duration::from_mins(5));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Wall-clock time.
    pub wall: SystemTime,
    /// Time on the monotonic clock since an arbitrary origin of this process.
    pub monotonic: Duration,
}

impl Moment {
    /// The moment that lies `by` later on both clocks; what no clock can count to becomes a
    /// century.
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        let by = by.min(Duration::from_hours(100 * 365 * 24));
        Self {
            wall: self.wall.checked_add(by).unwrap_or(self.wall),
            monotonic: self.monotonic.saturating_add(by),
        }
    }

    /// Whether either clock has reached `deadline`.
    ///
    /// One clock is enough: after a suspend only the wall clock has moved on, after a step back
    /// of the wall clock only the monotonic one is right.
    pub fn has_passed(self, deadline: Self) -> bool {
        self.wall >= deadline.wall || self.monotonic >= deadline.monotonic
    }

    /// The time until `deadline`: the shorter of what the two clocks say, zero when passed.
    pub fn until(self, deadline: Self) -> Duration {
        let wall = deadline.wall.duration_since(self.wall).unwrap_or_default();
        wall.min(deadline.monotonic.saturating_sub(self.monotonic))
    }

    /// The time that passed since `earlier`: the longer of what the two clocks say.
    pub fn since(self, earlier: Self) -> Duration {
        let wall = self.wall.duration_since(earlier.wall).unwrap_or_default();
        wall.max(self.monotonic.saturating_sub(earlier.monotonic))
    }
}

/// A source of time. [`SystemClock`] is the real one; `tokenward::testing::ManualClock` is moved
/// by a test.
///
/// `testing::ManualClock` is one that is moved by hand.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use tokenward::clock::{Clock, Moment};
/// use tokenward::testing::ManualClock;
///
/// // What asks a clock runs by the system's and, in a test, by one that is moved by hand.
/// fn is_stale(clock: &dyn Clock, read_at: Moment) -> bool {
///     clock.now().since(read_at) > Duration::from_mins(5)
/// }
///
/// let clock = ManualClock::new(SystemTime::UNIX_EPOCH);
/// let read_at = clock.now();
/// assert!(!is_stale(&*clock, read_at));
/// clock.advance(Duration::from_mins(6));
/// assert!(is_stale(&*clock, read_at));
/// ```
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Both clocks, now.
    fn now(&self) -> Moment;

    /// The monotonic clock alone, for what is only counted.
    fn monotonic(&self) -> Duration {
        self.now().monotonic
    }

    /// Both clocks as they were at the last tick of the system: never ahead of [`Clock::now`], and
    /// behind it by one tick at most, which is 10 ms or less. For reads so frequent that asking a
    /// precise clock would be most of their cost; where there is none that is cheaper, the same.
    fn now_coarse(&self) -> Moment {
        self.now()
    }

    /// Resolves once the monotonic clock has moved on by `duration`. It may be late after a
    /// suspend, never early.
    fn wait(&self, duration: Duration) -> Wait;
}

/// What the monotonic clock says at its origin: enough to also name moments before the process
/// began, such as when a stored token was obtained.
const BEFORE_ORIGIN: Duration = Duration::from_hours(20 * 365 * 24);

/// The clocks of the operating system.
///
/// ```
/// use tokenward::clock::{Clock as _, SystemClock};
///
/// let clock = SystemClock::new();
/// let before = clock.now();
/// assert!(clock.monotonic() >= before.monotonic, "it never goes back");
/// ```
#[derive(Debug, Clone)]
pub struct SystemClock {
    origin: Instant,
    /// The same as the kernel counts it, which its coarse clock does, too.
    #[cfg(target_os = "linux")]
    origin_on_linux: Duration,
}

impl SystemClock {
    /// A clock whose monotonic time counts from now.
    #[allow(clippy::disallowed_methods, reason = "the one place that reads the raw clocks")]
    pub fn new() -> Self {
        Self {
            origin: Instant::now(),
            // After the other, so that the coarse clock is never ahead of the precise one.
            #[cfg(target_os = "linux")]
            origin_on_linux: linux::monotonic(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "the one place that reads the raw clocks")]
    fn now(&self) -> Moment {
        Moment { wall: SystemTime::now(), monotonic: self.monotonic() }
    }

    fn monotonic(&self) -> Duration {
        BEFORE_ORIGIN.saturating_add(self.origin.elapsed())
    }

    #[cfg(target_os = "linux")]
    fn now_coarse(&self) -> Moment {
        let (wall, monotonic) = linux::coarse();
        // Before the first tick since the origin there is nothing to count yet.
        let since = monotonic.saturating_sub(self.origin_on_linux);
        Moment { wall, monotonic: BEFORE_ORIGIN.saturating_add(since) }
    }

    #[allow(clippy::disallowed_methods, reason = "the one place that waits in real time")]
    fn wait(&self, duration: Duration) -> Wait {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// The clocks of Linux that the standard library does not read: those that the kernel moves at each
/// tick. Both follow their precise ones through a suspend and a step at once.
#[cfg(target_os = "linux")]
mod linux {
    use std::time::{Duration, SystemTime};

    use rustix::time::{ClockId, Timespec, clock_gettime};

    pub(super) fn monotonic() -> Duration {
        duration(clock_gettime(ClockId::Monotonic))
    }

    /// Wall clock and monotonic clock.
    pub(super) fn coarse() -> (SystemTime, Duration) {
        let wall = duration(clock_gettime(ClockId::RealtimeCoarse));
        (SystemTime::UNIX_EPOCH + wall, duration(clock_gettime(ClockId::MonotonicCoarse)))
    }

    /// What is before the origin, a wall clock before 1970, is the origin.
    fn duration(time: Timespec) -> Duration {
        Duration::try_from(time).unwrap_or_default()
    }
}

/// A source of unpredictable bytes: states, verifiers, session ids, jitter.
///
/// ```
/// use tokenward::clock::Sources;
///
/// # fn main() -> Result<(), tokenward::clock::EntropyError> {
/// let entropy = Sources::system().entropy;
/// let token = entropy.token()?; // 256 bits, as base64url
/// assert_eq!(token.len(), 43);
/// # Ok(())
/// # }
/// ```
pub trait Entropy: fmt::Debug + Send + Sync + 'static {
    /// Fills `buffer`.
    ///
    /// # Errors
    ///
    /// When the operating system gives no randomness; nothing secret may be made then.
    fn fill(&self, buffer: &mut [u8]) -> Result<(), EntropyError>;
}

impl dyn Entropy {
    /// A number for jitter. Where the source fails, the middle of the range is good enough to
    /// go on with: jitter is not a secret.
    pub fn noise(&self) -> u64 {
        let mut bytes = [0; 8];
        match self.fill(&mut bytes) {
            Ok(()) => u64::from_le_bytes(bytes),
            Err(EntropyError) => u64::MAX / 2,
        }
    }

    /// Thirty-two random bytes as 43 characters of base64url without padding.
    ///
    /// # Errors
    ///
    /// As [`Entropy::fill`].
    pub fn token(&self) -> Result<String, EntropyError> {
        use base64::Engine as _;
        let mut bytes = zeroize::Zeroizing::new([0; 32]);
        self.fill(bytes.as_mut_slice())?;
        Ok(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes.as_slice()))
    }
}

/// The time that lies nearest to `time` and can be written as RFC 3339 has it, which knows four digits of a
/// year.
pub(crate) fn writable(time: SystemTime) -> SystemTime {
    const END: Duration = Duration::from_secs(253_402_300_799);
    let end = SystemTime::UNIX_EPOCH.checked_add(END).unwrap_or(SystemTime::UNIX_EPOCH);
    time.clamp(SystemTime::UNIX_EPOCH, end)
}

/// `noise` as a share of `whole`, from nothing to all of it: the one way that jitter is drawn.
pub(crate) fn share(whole: Duration, noise: u64) -> Duration {
    // More than 584 years are cut to that, so that the product fits.
    let whole = whole.as_nanos().min(u128::from(u64::MAX));
    let nanos = u128::from(noise) * whole / u128::from(u64::MAX);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// The operating system gave no randomness.
///
/// [`Entropy::fill`] fails with it: nothing is made then that ought to be secret.
///
/// ```
/// use tokenward::SessionId;
/// use tokenward::clock::{Entropy, EntropyError};
///
/// #[derive(Debug)]
/// struct Exhausted;
///
/// impl Entropy for Exhausted {
///     fn fill(&self, _: &mut [u8]) -> Result<(), EntropyError> {
///         Err(EntropyError)
///     }
/// }
///
/// assert_eq!(SessionId::random(&Exhausted), Err(EntropyError));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gave no randomness, check its entropy source and try again")]
pub struct EntropyError;

/// The operating system's randomness, through ring.
///
/// ```
/// use tokenward::SessionId;
/// use tokenward::clock::SystemEntropy;
///
/// # fn main() -> Result<(), tokenward::clock::EntropyError> {
/// let entropy = SystemEntropy::new();
/// assert_ne!(SessionId::random(&entropy)?, SessionId::random(&entropy)?);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct SystemEntropy(SystemRandom);

impl SystemEntropy {
    /// The operating system's source.
    #[allow(clippy::disallowed_methods, reason = "the one place that opens the raw source")]
    pub fn new() -> Self {
        Self(SystemRandom::new())
    }
}

impl Default for SystemEntropy {
    fn default() -> Self {
        Self::new()
    }
}

impl Entropy for SystemEntropy {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), EntropyError> {
        self.0.fill(buffer).map_err(|_| EntropyError)
    }
}

/// The sources of time and randomness that every part of one runtime shares.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use tokenward::testing::ManualClock;
///
/// // Whatever is to share one time is given the same sources: here ones of a test.
/// let clock = ManualClock::new(SystemTime::UNIX_EPOCH);
/// let sources = clock.sources();
/// let before = sources.now();
/// clock.advance(Duration::from_hours(1));
/// assert_eq!(sources.now().since(before), Duration::from_hours(1));
/// ```
#[derive(Debug, Clone)]
pub struct Sources {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

impl Sources {
    /// The operating system's clock and randomness.
    pub fn system() -> Self {
        Self { clock: Arc::new(SystemClock::new()), entropy: Arc::new(SystemEntropy::new()) }
    }

    /// Both clocks, now.
    pub fn now(&self) -> Moment {
        self.clock.now()
    }

    /// The monotonic clock, now.
    pub fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }

    /// Both clocks at the last tick ([`Clock::now_coarse`]).
    pub fn now_coarse(&self) -> Moment {
        self.clock.now_coarse()
    }

    /// What `work` comes to, when that is in `time`.
    pub(crate) async fn within<T>(
        &self,
        time: Duration,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        tokio::select! {
            biased;
            done = work => Some(done),
            // Begun only when there is something to wait for.
            () = async { self.clock.wait(time).await } => None,
        }
    }

    /// A number for jitter.
    pub fn noise(&self) -> u64 {
        self.entropy.noise()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(wall: u64, monotonic: u64) -> Moment {
        Moment {
            wall: SystemTime::UNIX_EPOCH + Duration::from_secs(wall),
            monotonic: Duration::from_secs(monotonic),
        }
    }

    #[test]
    fn a_deadline_passes_when_either_clock_reaches_it() {
        let deadline = moment(1_000, 100);
        assert!(!moment(999, 99).has_passed(deadline));
        assert!(moment(1_000, 10).has_passed(deadline), "suspended: the wall clock alone moved");
        assert!(moment(10, 100).has_passed(deadline), "stepped back: the monotonic clock is right");
    }

    #[test]
    fn the_shorter_way_to_a_deadline_counts() {
        assert_eq!(moment(990, 60).until(moment(1_000, 100)), Duration::from_secs(10));
        assert_eq!(moment(2_000, 60).until(moment(1_000, 100)), Duration::ZERO);
    }

    #[test]
    fn the_coarse_clock_is_never_ahead_and_catches_up() {
        let clock = SystemClock::new();
        for _ in 0..5 {
            let now = clock.now();
            let mut coarse = clock.now_coarse();
            while coarse.monotonic < now.monotonic || coarse.wall < now.wall {
                coarse = clock.now_coarse();
                let after = clock.now();
                assert!(coarse.monotonic <= after.monotonic && coarse.wall <= after.wall);
                assert!(after.since(now) < Duration::from_secs(10), "it stands still");
            }
        }
    }

    #[test]
    fn a_token_has_256_bits() {
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy::new());
        let token = entropy.token().expect("randomness");
        assert_eq!(token.len(), 43);
        assert_ne!(token, entropy.token().expect("randomness"));
    }
}
