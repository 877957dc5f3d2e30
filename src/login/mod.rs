//! Pending sign-ins: each is a supervised actor that any front end can complete.

mod flow;
mod verdict;
