//! The runtime as its host sees it: a real vault on disk, real HTTP on loopback, time by hand.

mod api_keys;
mod assertion;
mod audit;
mod backoff;
mod by_hand;
mod client;
mod clocks;
mod clumsy;
mod counted;
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
#[path = "../common/rounds.rs"]
mod rounds;
mod sessions;
mod sign_in;
mod sign_out;
mod starting;
mod strangers;
mod stuck;
mod subscribers;
mod supervision;
mod told;
mod withdrawn;
