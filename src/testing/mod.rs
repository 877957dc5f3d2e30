//! For tests of code that uses this crate: a clock that is moved by hand, and randomness that
//! repeats.

mod manual_clock;
mod seeded_entropy;

pub use manual_clock::ManualClock;
pub use seeded_entropy::SeededEntropy;
