//! Randomness that repeats, for tests.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::{Entropy, EntropyError};

/// What the state of `SplitMix64` moves on by at each step.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// The same bytes for the same seed, at every run. It is a toy to an attacker: whoever sees a few
/// bytes can compute all others, so nothing real may be protected by it.
///
/// ```
/// use tokenward::clock::Entropy;
/// use tokenward::testing::SeededEntropy;
///
/// // The same seed, the same choices: a failure can be seen again.
/// let (one, two): (&dyn Entropy, &dyn Entropy) = (&SeededEntropy::new(7), &SeededEntropy::new(7));
/// assert_eq!(one.noise(), two.noise());
/// ```
#[derive(Debug)]
pub struct SeededEntropy {
    state: AtomicU64,
}

impl SeededEntropy {
    /// The stream of bytes that belongs to `seed`.
    pub const fn new(seed: u64) -> Self {
        Self { state: AtomicU64::new(seed) }
    }

    /// The next number of `SplitMix64` (Steele, Lea and Flood, 2014).
    fn next(&self) -> u64 {
        let mut mixed = self.state.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), EntropyError> {
        for chunk in buffer.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(entropy: &SeededEntropy) -> [u8; 20] {
        let mut bytes = [0; 20];
        entropy.fill(&mut bytes).expect("never fails");
        bytes
    }

    #[test]
    fn the_seed_decides_every_byte() {
        assert_eq!(drawn(&SeededEntropy::new(7)), drawn(&SeededEntropy::new(7)));
        assert_ne!(drawn(&SeededEntropy::new(7)), drawn(&SeededEntropy::new(8)));
    }

    #[test]
    fn one_stream_does_not_repeat_itself() {
        let entropy = SeededEntropy::new(7);
        assert_ne!(drawn(&entropy), drawn(&entropy));
    }

    #[test]
    fn it_is_split_mix_64() {
        assert_eq!(SeededEntropy::new(1_234_567).next(), 6_457_827_717_110_365_317);
    }
}
