//! For tests of code that uses this crate: a clock that is moved by hand, and randomness that
//! repeats.

mod answer;
mod builder;
mod dialect;
mod fault;
mod gate;
mod ledger;
mod manual_clock;
mod mint;
mod record;
mod script;
mod seeded_entropy;
mod server;
mod simulated_provider;
mod simulation;
mod spec;
#[cfg(test)]
mod tests;

pub use builder::SimulatedProviderBuilder;
pub use fault::{Fault, FaultError, FaultKind};
pub use gate::Gate;
pub use manual_clock::ManualClock;
pub use record::{Counters, Endpoint, EndpointError, RecordedRequest};
pub use script::Faults;
pub use seeded_entropy::SeededEntropy;
pub use simulated_provider::SimulatedProvider;
