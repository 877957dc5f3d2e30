//! Settings: where they are read from, and everything that is wrong with them at once. It knows
//! no provider; what a setting means to one is decided there.

pub(crate) mod duration;
mod endpoint;
mod environment;
pub(crate) mod file;
mod origin;
mod path;
mod problem;
pub(crate) mod schema;
pub(crate) mod value;

pub(crate) use endpoint::{NAMES_A_USER, is_loopback, may_carry_secrets, names_a_user};
pub(crate) use environment::client_id_variable;
pub use environment::{ClientSettings, Environment};
pub use origin::Origin;
pub(crate) use path::SettingPath;
pub use problem::{Problem, Problems};
