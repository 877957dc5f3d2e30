//! Whether and when a call goes out: the circuit breaker, the retry policy, the retry budget and the
//! back-off. Plain functions of outcomes and time; nothing here sends anything.
//!
//! Three things are kept apart: a [`RetryPolicy`] says which failures are worth another attempt, a
//! [`Backoff`] when it is made, a [`Budget`] whether the upstream can bear it.

mod backoff;
mod breaker;
mod budget;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod policy;
mod retry;
mod retry_after;

pub use backoff::Backoff;
pub(crate) use breaker::CallEnd;
pub use breaker::{
    Answered, Breaker, BreakerPolicy, BreakerStatus, Change, Counts, HeldBack, Permit, Reason,
    State,
};
pub use budget::{Budget, BudgetPolicy};
pub use policy::CallPolicy;
pub use retry::{Failed, GiveUp, RetryPolicy, Verdict, is_repeatable};
pub(crate) use retry_after::{retry_after, server_date};
