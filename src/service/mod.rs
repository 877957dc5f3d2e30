//! Typed clients for services, built on [`http`](crate::http): their calls are authenticated,
//! renewed, retried and held back there, and what comes back is a type or a [`ServiceError`].

mod answer;
mod error;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
pub mod memory_bank;
pub mod orange;

pub use error::{ServiceError, ServiceErrorKind};
