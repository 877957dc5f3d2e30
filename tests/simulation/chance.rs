//! Everything that a seed decides: what is drawn by the plan, and the randomness of the runtime itself.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokenward::clock::{Clock as _, Entropy, EntropyError};
use tokenward::testing::{ManualClock, SeededEntropy};

/// The draws of one part of the world.
#[derive(Debug)]
pub(crate) struct Chance(SeededEntropy);

impl Chance {
    /// The stream `part` of `seed`.
    pub(crate) fn new(seed: u64, part: u64) -> Self {
        let first: &dyn Entropy = &SeededEntropy::new(seed);
        Self(SeededEntropy::new(first.noise() ^ part.wrapping_mul(0xd605_1a7b_93ac_5d21)))
    }

    pub(crate) fn below(&self, end: u64) -> u64 {
        let entropy: &dyn Entropy = &self.0;
        entropy.noise() % end
    }

    pub(crate) fn one_in(&self, times: u64) -> bool {
        self.below(times) == 0
    }

    pub(crate) fn pick<T: Clone>(&self, from: &[T]) -> T {
        from[usize::try_from(self.below(from.len() as u64)).expect("small")].clone()
    }

    /// A time from nothing to `longest`, in milliseconds.
    pub(crate) fn time(&self, longest: Duration) -> Duration {
        let millis = u64::try_from(longest.as_millis()).expect("small");
        Duration::from_millis(self.below(millis + 1))
    }
}

/// The randomness of one process. It begins anew at each instant, and the vault's thread has its own:
/// where two threads take turns in another order once, all is as it was from the next instant on.
#[derive(Debug)]
pub(crate) struct Instants {
    clock: Arc<ManualClock>,
    seed: u64,
    /// The streams of the tasks and of the vault's thread, each with its instant.
    streams: [Mutex<(Duration, SeededEntropy)>; 2],
}

impl Instants {
    pub(crate) fn new(clock: Arc<ManualClock>, chance: &Chance) -> Self {
        let stream = || Mutex::new((Duration::MAX, SeededEntropy::new(0)));
        Self { clock, seed: chance.below(u64::MAX), streams: [stream(), stream()] }
    }
}

impl Entropy for Instants {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), EntropyError> {
        let now = self.clock.monotonic();
        let is_vault = std::thread::current().name() == Some("tokenward-vault");
        let mut stream =
            self.streams[usize::from(is_vault)].lock().unwrap_or_else(PoisonError::into_inner);
        if stream.0 != now {
            let instant = u64::try_from(now.as_nanos()).expect("some hours");
            let first: &dyn Entropy = &SeededEntropy::new(self.seed ^ u64::from(is_vault));
            *stream = (now, SeededEntropy::new(first.noise() ^ instant));
        }
        stream.1.fill(buffer)
    }
}
