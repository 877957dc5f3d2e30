//! The runtime as its host sees it: a real vault on disk, real HTTP on loopback, time by hand.

mod assertion;
mod client;
mod clocks;
mod credentials;
mod device;
mod faults;
mod host;
mod sessions;
mod sign_in;
mod supervision;
