//! Services as their callers see them: real HTTP on loopback, a vault on disk, time by hand.

#[path = "../common/mod.rs"]
mod common;
mod examples;
mod faults;
mod guide;
mod host;
mod hostile;
mod memories;
mod orange;
mod prepared;
#[path = "../common/program.rs"]
mod program;
