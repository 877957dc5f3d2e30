//! Power cuts, replayed: a file has on the disk what it had when it was synced last, and any part of
//! the pages that were written since.
//!
//! `TOKENWARD_SOAK_ROUNDS` is how often the power is cut; without it there are a few cuts.

mod commits;
#[cfg(unix)]
mod machine;

#[cfg(unix)]
pub(crate) use self::machine::{Cut, Promises, cut_at_every_step};

const PAGE: usize = 4096;

/// How often to do it: so many times, unless the environment says how often.
pub(crate) fn rounds(few: usize) -> usize {
    let wanted = std::env::var("TOKENWARD_SOAK_ROUNDS").ok();
    wanted.map_or(few, |text| text.parse().expect("TOKENWARD_SOAK_ROUNDS is a number"))
}

/// Noise that is the same in every run.
pub(crate) struct Noise(u64);

impl Noise {
    pub(crate) fn new() -> Self {
        Self(0x2545_F491_4F6C_DD1D)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(bound.max(1)).expect("small")).expect("small")
    }
}

/// How much of what was written since it was synced has reached the disk.
struct Tear {
    /// In percent: some cuts are early, some late.
    share: usize,
    /// Whether it is what was written first.
    in_order: bool,
}

impl Tear {
    fn random(noise: &mut Noise) -> Self {
        Self { share: noise.below(101), in_order: noise.below(2) == 0 }
    }

    /// The file that was `old`, with some of the pages that differ as they are in `new`.
    fn apply(&self, old: &[u8], new: &[u8], noise: &mut Noise) -> Vec<u8> {
        if self.share == 100 {
            return new.to_vec();
        }
        let page = |number: usize| number * PAGE..new.len().min((number + 1) * PAGE);
        let changed: Vec<usize> = (0..new.len().div_ceil(PAGE))
            .filter(|number| old.get(page(*number)) != new.get(page(*number)))
            .collect();
        let kept = changed.len() * self.share / 100;
        let mut torn = old.to_vec();
        for (nth, number) in changed.into_iter().enumerate() {
            if if self.in_order { nth < kept } else { noise.below(100) < self.share } {
                let bytes = page(number);
                torn.resize(torn.len().max(bytes.end), 0);
                torn[bytes.clone()].copy_from_slice(&new[bytes]);
            }
        }
        torn
    }
}
