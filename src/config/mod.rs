//! Settings: where they are read from, and everything that is wrong with them at once. It knows
//! no provider; what a setting means to one is decided there.

pub(crate) mod duration;
mod endpoint;
mod environment;
mod problem;

pub(crate) use endpoint::may_carry_secrets;
pub use environment::{ClientSettings, Environment};
pub use problem::{Problem, Problems};
