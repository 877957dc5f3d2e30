//! The runtime as its host sees it: a real vault on disk, real HTTP on loopback, time by hand.

mod api_keys;
mod assertion;
mod audit;
mod backoff;
mod client;
mod clocks;
mod credentials;
mod device;
mod disk;
mod doctor;
mod explain;
mod fallback;
mod faults;
mod given_back;
mod google;
mod health;
mod host;
mod idle;
mod metrics;
mod outage;
mod overdue;
mod overtaken;
#[path = "../common/patience.rs"]
mod patience;
mod registration;
mod revocations;
mod sessions;
mod sign_in;
mod sign_out;
mod starting;
mod strangers;
mod stuck;
mod supervision;
mod told;
mod withdrawn;
