//! The authorization server as its host and its clients see it: real HTTP on loopback, a real vault
//! on disk, time by hand. Tests name the rows of `docs/server-conformance.md` that they are for.

mod admin;
mod administration;
mod applications;
mod end_to_end;
mod guard;
mod health;
mod host;
mod keys;
mod limits;
mod metrics;
mod records;
mod refresh;
mod revocation;
mod rotations;

mod timing;
mod token;
